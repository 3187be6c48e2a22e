/* SPDX-License-Identifier: MIT
 *
 * What threads do with one library each: libraries.c, libc.c, tls.c,
 * exceptions.cc.
 */
#ifndef LIBRARIES_H
#define LIBRARIES_H

#include <stdbool.h>

extern const char *address; /* of the command line */

/* Is there a round i?  Counts when it is begun on another CPU than the one before. */
bool goes_on(int i);

/* Thread number (1, 2, …) does its calls; false: an answer was wrong. */
bool use_openssl(int number);
bool use_dns(int number);
bool use_pipes(int number);
bool use_popen(int number);
bool use_system(int number);
bool use_exceptions(int number);

#endif
