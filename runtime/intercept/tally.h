/* SPDX-License-Identifier: MIT
 *
 * What greenrun --report prints when the program exits: how many system calls of which
 * kind green threads made, and what became of them.  GREEN_REPORT names the file, "-"
 * standard error; without it nothing is counted.
 */
#ifndef INTERCEPT_TALLY_H
#define INTERCEPT_TALLY_H

#include "intercept/call.h"
#include "worker.h"

/* [worker][number of the call]; NULL: nobody asked.  Each worker counts its own. */
extern internal _Atomic uint64_t *tally_counts;

/* In any stage. */
static inline void tally_call(const struct worker *w, unsigned long nr)
{
	if (likely(!tally_counts))
		return;
	_Atomic uint64_t *count = &tally_counts[(size_t)w->id * CALL_NR_MAX + nr];
	/* Relaxed: one writer, and a reader who wants to know roughly. */
	atomic_store_explicit(count, atomic_load_explicit(count, memory_order_relaxed) + 1,
	                      memory_order_relaxed);
}

/* Reads GREEN_AUDIT_MS.  0, or -EINVAL with error_set(). */
int tally_options(void);
/* Reads GREEN_REPORT; once, when workers are there. */
void tally_start(void);

/* The process ends: reports, the first time. */
void tally_end(void);

/* Where reports go; -1: nowhere. */
int tally_fd(void);

#endif
