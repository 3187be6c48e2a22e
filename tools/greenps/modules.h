/* SPDX-License-Identifier: MIT
 *
 * The modules of a target, for libdwfl: its program and libraries, and their files.
 */
#ifndef GREENPS_MODULES_H
#define GREENPS_MODULES_H

#include "target.h"

#include <elfutils/libdwfl.h>
#include <stdbool.h>

/* NULL: no memory. */
Dwfl *modules_open(const struct target *t);
/* False: there are none to be seen.  *core is to be ended after the close, if not NULL. */
bool modules_report(Dwfl *dwfl, struct target *t, Elf **core);
/* Complains of files that have been cut short. */
void modules_close(Dwfl *dwfl, struct target *t);

#endif
