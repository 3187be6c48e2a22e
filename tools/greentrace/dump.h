/* SPDX-License-Identifier: MIT
 *
 * greentrace dump: all green threads of a process and their call paths, as greenps shows
 * them.
 */
#ifndef DUMP_H
#define DUMP_H

#include <stdbool.h>
#include <sys/types.h>

/* The exit status. */
int dump(pid_t pid, bool json);

#endif
