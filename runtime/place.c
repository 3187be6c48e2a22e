/* SPDX-License-Identifier: MIT
 *
 * Where work that may start anywhere is sent: the worker with the least load.
 */
#include "scheduler.h"

unsigned sched_least_loaded(void)
{
	unsigned n = rt.workers_count;
	/* Relaxed: it only spreads ties. */
	unsigned first = atomic_fetch_add_explicit(&rt.place_next, 1, memory_order_relaxed) % n;
	unsigned best = first;
	uint64_t least = UINT64_MAX;

	for (unsigned i = 0; i < n; i++) {
		unsigned id = (first + i) % n;
		struct worker *w = worker_at(id);
		uint64_t load = atomic_load_explicit(&w->load, memory_order_relaxed);
		/* An idle worker may carry an eighth more; a stuck one is the last
		 * resort. */
		bool idle =
			atomic_load_explicit(&rt.idle[id / 64], memory_order_relaxed) >> (id % 64) &
			1;
		uint64_t score = load * 8 + (idle ? 0 : load + 1);
		if (atomic_load_explicit(&w->stuck_since, memory_order_relaxed))
			score += (uint64_t)1 << 40;
		if (score < least) {
			least = score;
			best = id;
		}
	}
	return best;
}
