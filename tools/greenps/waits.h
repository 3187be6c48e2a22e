/* SPDX-License-Identifier: MIT
 *
 * struct waits: the wait-for graph of a snapshot: which threads wait in which
 * object, who would have to act, and circles of threads that wait for one another.
 */
#ifndef WAITS_H
#define WAITS_H

#include "snapshot.h"

struct wait_group {          /* threads that wait for the same thing */
	size_t first, count; /* in waits.waiters */
	uint64_t owner;      /* who can end the wait: a handle; 0: anybody */
};

struct cycle {
	size_t first,
		count; /* in waits.in_cycles; each waits for the next, the last for the first */
};

struct waits {
	const struct thread **waiters; /* by what they wait for */
	struct wait_group *groups;
	size_t groups_count;
	const struct thread **in_cycles;
	struct cycle *cycles;
	size_t cycles_count;
};

/* False: no memory.  Circles are looked at once more in a live program, so that one
 * put together from two moments is not shown. */
bool waits_find(struct waits *w, struct snapshot *s);
void waits_free(struct waits *w);

#endif
