/* SPDX-License-Identifier: MIT
 *
 * The heap of deadlines of timer.h.  Four children a node: half the levels of
 * a binary heap, and the four lie in one cache line.
 */
#include "timer.h"
#include "arch/sys.h"

#include <errno.h>
#include <string.h>

#define TIMERS_FIRST 4096 /* entries: 64 KiB */

int timers_init(struct timers *t)
{
	long error;

	t->heap = sys_map(TIMERS_FIRST * sizeof(*t->heap), 0, &error);
	if (!t->heap)
		return -ENOMEM;
	sys_name(t->heap, TIMERS_FIRST * sizeof(*t->heap), "green timers");
	t->capacity = TIMERS_FIRST;
	t->count = 0;
	atomic_init(&t->first_ns, INT64_MAX);
	return 0;
}

void timers_destroy(struct timers *t)
{
	sys_unmap(t->heap, t->capacity * sizeof(*t->heap));
	t->heap = NULL;
	t->capacity = t->count = 0;
}

static void place(struct timers *t, uint32_t i, struct timer entry)
{
	t->heap[i] = entry;
	atomic_store_explicit(&gt_at(entry.gt)->timer_pos, i + 1, memory_order_relaxed);
}

static void sift_up(struct timers *t, uint32_t i, struct timer entry)
{
	while (i > 0) {
		uint32_t parent = (i - 1) / 4;
		if (t->heap[parent].deadline_ns <= entry.deadline_ns)
			break;
		place(t, i, t->heap[parent]);
		i = parent;
	}
	place(t, i, entry);
}

static void sift_down(struct timers *t, uint32_t i, struct timer entry)
{
	for (;;) {
		uint64_t child = 4 * (uint64_t)i + 1;
		if (child >= t->count)
			break;
		uint64_t end = child + 4 < t->count ? child + 4 : t->count;
		uint64_t least = child;
		for (uint64_t c = child + 1; c < end; c++)
			if (t->heap[c].deadline_ns < t->heap[least].deadline_ns)
				least = c;
		if (t->heap[least].deadline_ns >= entry.deadline_ns)
			break;
		place(t, i, t->heap[least]);
		i = (uint32_t)least;
	}
	place(t, i, entry);
}

static void publish_first(struct timers *t)
{
	/* Relaxed: a hint for the owner's sleep and for others' reports. */
	atomic_store_explicit(&t->first_ns, t->count ? t->heap[0].deadline_ns : INT64_MAX,
	                      memory_order_relaxed);
}

static int grow(struct timers *t)
{
	size_t old = t->capacity * sizeof(*t->heap);
	long error;
	struct timer *bigger = sys_map(old * 2, 0, &error);

	if (!bigger)
		return -ENOMEM;
	memcpy(bigger, t->heap, old);
	sys_unmap(t->heap, old);
	sys_name(bigger, old * 2, "green timers");
	t->heap = bigger;
	t->capacity *= 2;
	return 0;
}

int timers_add(struct timers *t, int64_t deadline_ns, struct park_ticket ticket)
{
	struct timer entry = { deadline_ns, gt_index(ticket.gt),
		               (uint32_t)(ticket.seq >> PARK_SEQ_SHIFT) };
	int r = 0;

	spin_lock(&t->lock);
	if (t->count == t->capacity)
		r = grow(t);
	if (r == 0) {
		sift_up(t, t->count++, entry);
		publish_first(t);
	}
	spin_unlock(&t->lock);
	return r;
}

/* Fills the hole at i with the last entry. */
static void remove_at(struct timers *t, uint32_t i)
{
	struct timer last = t->heap[--t->count];

	atomic_store_explicit(&gt_at(t->heap[i].gt)->timer_pos, 0, memory_order_relaxed);
	if (i < t->count) {
		if (i > 0 && last.deadline_ns < t->heap[(i - 1) / 4].deadline_ns)
			sift_up(t, i, last);
		else
			sift_down(t, i, last);
	}
	publish_first(t);
}

void timers_remove(struct timers *t, struct gt *gt)
{
	spin_lock(&t->lock);
	uint32_t pos = atomic_load_explicit(&gt->timer_pos, memory_order_relaxed);
	if (pos)
		remove_at(t, pos - 1);
	spin_unlock(&t->lock);
}

bool timers_due(struct timers *t, int64_t now, struct timer *due)
{
	bool found = false;

	spin_lock(&t->lock);
	if (t->count && t->heap[0].deadline_ns <= now) {
		*due = t->heap[0];
		remove_at(t, 0);
		found = true;
	}
	spin_unlock(&t->lock);
	return found;
}

bool timers_due_where(struct timers *t, int64_t now, bool (*may)(const struct timer *),
                      struct timer *due)
{
	bool found = false;

	spin_lock(&t->lock);
	for (uint32_t i = 0; i < t->count && !found; i++) {
		if (t->heap[i].deadline_ns > now || !may(&t->heap[i]))
			continue;
		*due = t->heap[i];
		remove_at(t, i);
		found = true;
	}
	spin_unlock(&t->lock);
	return found;
}
