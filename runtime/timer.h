/* SPDX-License-Identifier: MIT
 *
 * struct timers: the deadlines of threads parked on one worker, a 4-ary heap.
 *
 * An entry names a ticket (thread and park sequence), so that one that fires
 * after its thread has been woken does nothing.  A thread has at most one
 * entry; gt.timer_pos is its place.  The lock is the owner's in practice: only
 * a migratable thread that was resumed elsewhere removes its entry from
 * outside, and the monitor takes those of a stuck worker.
 */
#ifndef TIMER_H
#define TIMER_H

#include "park.h"
#include "spin.h"

struct timer {
	int64_t deadline_ns;
	uint32_t gt;  /* index */
	uint32_t seq; /* low bits of the park sequence: a check, not the safety */
};

struct timers {
	struct spin lock;
	uint32_t count, capacity;
	struct timer *heap;
	_Atomic int64_t first_ns; /* INT64_MAX: none */
};

int timers_init(struct timers *t);
void timers_destroy(struct timers *t);
int timers_add(struct timers *t, int64_t deadline_ns,
               struct park_ticket ticket); /* owner; -ENOMEM */
void timers_remove(struct timers *t, struct gt *gt);
/* Takes the earliest entry if it is due by now. */
bool timers_due(struct timers *t, int64_t now, struct timer *due);
/* Takes an entry that is due by now and of which may() says that another OS
 * thread than the owner can deal with it (a stuck worker's).  Looks at all. */
bool timers_due_where(struct timers *t, int64_t now, bool (*may)(const struct timer *),
                      struct timer *due);

#endif
