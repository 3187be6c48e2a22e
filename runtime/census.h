/* SPDX-License-Identifier: MIT
 *
 * The census: how deep the stacks of threads are used, by the place that spawns them.
 *
 * A stack says how deep it has been used, by its lowest word that is not zero, if it was
 * all zeroes when its thread began.  So some of the threads that begin on a stack that
 * has no pages yet are looked at when they end, and, because most threads begin on a
 * used one, now and then such a one is emptied first.  Both are bounded by time, not by
 * a share of the threads: CENSUS_FRESH_NS and CENSUS_HOT_NS apart for each worker, which
 * is less than a thousandth of its time.  A thread that is not looked at pays nothing:
 * the flag lies in a byte that its end reads anyway (gt.stack_class).
 *
 * Threads that have not ended are counted with the depth at which they are parked when
 * somebody asks (green_dump(), greenps).
 */
#ifndef CENSUS_H
#define CENSUS_H

#include "worker.h"

#define CENSUS_SITES 1024
#define CENSUS_FRESH_NS GREEN_MS(1) /* between two; CENSUS_BURST at once at first */
#define CENSUS_BURST 64
#define CENSUS_HOT_NS GREEN_MS(20)

/* Read from outside (descriptor.h). */
struct census_site {
	void *_Atomic pc;         /* of the spawn; green_serve(): the handler; NULL: unused */
	void *_Atomic fn;         /* of the first thread */
	_Atomic uint32_t deepest; /* bytes */
	_Atomic uint32_t size;    /* of that stack */
	_Atomic uint32_t looked;  /* threads */
	_Atomic uint32_t is_handler;
};
extern internal struct census_site census_sites[CENSUS_SITES];

/* gt has got a stack of zeroes: is it one to be looked at?  Its worker. */
void census_begin(struct worker *w, struct gt *gt);
/* It ends, and was to be looked at.  On its stack. */
void census_end(const struct gt *gt);
/* As deep as that at least.  Any thread. */
void census_record(const struct gt *gt, stack_id stack, size_t depth);

/* Shall the next thread to begin here begin on a stack of zeroes?  Its worker. */
static inline bool census_is_due(const struct worker *w)
{
	return atomic_load_explicit(&w->now, memory_order_relaxed) >= w->census_hot_at;
}

#endif
