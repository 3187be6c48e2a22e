/* SPDX-License-Identifier: MIT
 *
 * Calls that never have to wait must not keep a worker for ever: every so many of them
 * the full stage lets others run (io_went_on()).
 */
#ifndef INTERCEPT_TURN_H
#define INTERCEPT_TURN_H

#include "arch/base.h"
#include "worker.h"

#define TURN_CALLS 127 /* io_went_on() yields at the next */

/* May the fast stage answer once more? */
static inline bool turn_lasts(void)
{
	struct worker *w = base_gs();
	uint64_t switches = atomic_load_explicit(&w->switches, memory_order_relaxed);

	if (w->io_switches != switches) {
		w->io_switches = switches;
		w->io_went_on = 0;
		return true;
	}
	if (unlikely(w->io_went_on >= TURN_CALLS))
		return false;
	w->io_went_on++;
	return true;
}

#endif
