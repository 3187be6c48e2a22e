/* SPDX-License-Identifier: MIT
 *
 * The file that --program names.
 */
#ifndef PROGRAM_H
#define PROGRAM_H

#include "target.h"

/* EXIT_OK: it may be the program that wrote this core file; or a problem that has been
 * reported. */
int program_check(struct target *t, const char *path);

#endif
