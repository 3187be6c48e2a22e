/* SPDX-License-Identifier: MIT
 *
 * What threads do with one library each: libraries.c, libc.c, tls.c.
 */
#ifndef LIBRARIES_H
#define LIBRARIES_H

#include <stdbool.h>

/* Of the command line. */
extern const char *address;
extern int rounds;

/* Thread number (1, 2, …) does its calls; false: an answer was wrong. */
bool use_openssl(int number);
bool use_dns(int number);
bool use_pipes(int number);
bool use_popen(int number);
bool use_system(int number);

#endif
