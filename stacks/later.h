/* SPDX-License-Identifier: MIT
 *
 * Later: bringing what a watched slot lacks only when somebody touches it.
 *
 * Filling a slot with zeroes below its top page takes as long as the top page itself,
 * and as long again when it is protected and dropped.  Most threads that start or come
 * back do not go deeper before they wait again or end.  So where the handler brings a
 * missing page for whoever touches it, in a system call too (kernel mode), the zeroes are
 * left out; but then it takes ten times as long, so that is done only while few of those
 * that lacked something had to be filled in the end.
 *
 * Whoever touches such a page waits for the handler, whatever it holds: the handler
 * waits for nobody (keeper.h).
 */
#ifndef STACKS_LATER_H
#define STACKS_LATER_H

#include <stdbool.h>
#include <stdint.h>

/* What became of the slot last; kept in its place in the slab while it is resident, where
 * hibernate.c has the tag of the last trim, and no entry is. */
enum later { LATER_NOTHING, LATER_STARTED, LATER_RESTORED };

/* May the rest of a slot that is about to be started or restored be left out?  Counts it.
 * Async-signal-safe, as all here. */
bool later_may(enum later what);
/* It could not, after all.  Takes what slot_sleep.slab says. */
void later_filled(uint32_t what);

#endif
