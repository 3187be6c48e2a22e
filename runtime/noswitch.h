/* SPDX-License-Identifier: MIT
 *
 * Sections in which nothing may switch: green_noswitch_begin() of green.h.
 *
 * The thread's extension holds where the innermost section began.  Once a section
 * has been begun anywhere, every call that may switch asks (trace_enter()).
 */
#ifndef NOSWITCH_H
#define NOSWITCH_H

#include "park.h"

/* self enters a call that may switch, called from pc. */
void noswitch_entered(struct gt *self, void *pc, enum park_why why);

/* Violations in this run, by green_init(): none. */
uint64_t noswitch_count(void);
void noswitch_reset(void);

#endif
