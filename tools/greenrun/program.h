/* SPDX-License-Identifier: MIT
 *
 * The program that shall run: where it is, and whether greenrun can run it.
 */
#ifndef PROGRAM_H
#define PROGRAM_H

#include <limits.h>

/* Finds name as execvp(3) would, into path.  0, or the exit status after a complaint. */
int program_find(const char *name, char path[PATH_MAX]);

/* 0, or the exit status after saying why this program cannot run on green threads and
 * what helps.  A script is judged by its interpreter. */
int program_check(const char *path);

#endif
