/* SPDX-License-Identifier: MIT
 *
 * The wait-for graph.
 *
 * A thread waits for one thing, and a mutex or a join has one owner: from each
 * thread at most one arrow leads to another, so a walk along the arrows that
 * comes back to where it has been on this walk has found a circle.
 */
#include "waits.h"

#include <stdlib.h>
#include <string.h>

/* ---- groups ----------------------------------------------------------------- */

static bool waits_in_object(const struct snapshot *s, const struct thread *thread)
{
	return thread_is_parked(s, thread) && thread->settled &&
	       (thread->object || thread->fd >= 0);
}

static uint64_t key_of(const struct thread *thread)
{
	return thread->fd >= 0 ? (uint64_t)(uint32_t)thread->fd : thread->object;
}

/* A channel is one thing, whether its waiters send or receive. */
static int by_object(const void *a, const void *b)
{
	const struct thread *x = *(const struct thread *const *)a;
	const struct thread *y = *(const struct thread *const *)b;

	if (key_of(x) != key_of(y))
		return key_of(x) < key_of(y) ? -1 : 1;
	if (x->why != y->why)
		return x->why < y->why ? -1 : 1;
	if (x->since_ns != y->since_ns)
		return x->since_ns < y->since_ns ? -1 : 1;
	return x->id < y->id ? -1 : x->id > y->id;
}

static void make_groups(struct waits *w, size_t waiters)
{
	for (size_t i = 0; i < waiters; i++) {
		struct wait_group *g = w->groups_count ? &w->groups[w->groups_count - 1] : NULL;
		const struct thread *thread = w->waiters[i];
		if (!g || key_of(w->waiters[g->first]) != key_of(thread)) {
			g = &w->groups[w->groups_count++];
			g->first = i;
			g->count = 0;
		}
		g->count++;
		g->owner = thread->owner;
	}
}

/* ---- circles ---------------------------------------------------------------- */

static const struct thread *waits_for(const struct snapshot *s, const struct thread *thread)
{
	return waits_in_object(s, thread) && thread->owner ? snapshot_find(s, thread->owner) : NULL;
}

/* Every thread of it waits as it did, since the snapshot: all of them at once, then. */
static bool still_stands(struct snapshot *s, const struct thread *const *threads, size_t count)
{
	struct thread now;

	for (size_t i = 0; i < count && !s->t->core; i++)
		if (!snapshot_look(s, snapshot_index(s, threads[i]->id), &now) ||
		    now.id != threads[i]->id || now.park != threads[i]->park || !now.settled ||
		    now.owner != threads[i]->owner)
			return false;
	return true;
}

/* Follows the arrows from one thread.  walks: in which walk each was met first. */
static void walk(struct waits *w, struct snapshot *s, size_t from, uint32_t *walks, size_t *used)
{
	const struct thread *thread = &s->threads[from], *start;
	size_t count = 0;

	while (thread && !walks[thread - s->threads]) {
		walks[thread - s->threads] = (uint32_t)from + 1;
		thread = waits_for(s, thread);
	}
	if (!thread || walks[thread - s->threads] != from + 1)
		return;
	start = thread;
	do {
		w->in_cycles[*used + count++] = thread;
		thread = waits_for(s, thread);
	} while (thread != start);
	if (!still_stands(s, w->in_cycles + *used, count))
		return;
	w->cycles[w->cycles_count++] = (struct cycle){ *used, count };
	*used += count;
}

bool waits_find(struct waits *w, struct snapshot *s)
{
	size_t n = s->threads_count, waiters = 0, used = 0;
	uint32_t *walks = calloc(n + 1, sizeof(*walks));

	memset(w, 0, sizeof(*w));
	w->waiters = calloc(n + 1, sizeof(const struct thread *));
	w->groups = calloc(n + 1, sizeof(*w->groups));
	w->in_cycles = calloc(n + 1, sizeof(const struct thread *));
	w->cycles = calloc(n + 1, sizeof(*w->cycles));
	if (!walks || !w->waiters || !w->groups || !w->in_cycles || !w->cycles) {
		free(walks);
		waits_free(w);
		return false;
	}
	for (size_t i = 0; i < n; i++)
		if (waits_in_object(s, &s->threads[i]))
			w->waiters[waiters++] = &s->threads[i];
	qsort(w->waiters, waiters, sizeof(const struct thread *), by_object);
	make_groups(w, waiters);
	for (size_t i = 0; i < n; i++)
		walk(w, s, i, walks, &used);
	free(walks);
	return true;
}

void waits_free(struct waits *w)
{
	free(w->waiters);
	free(w->groups);
	free(w->in_cycles);
	free(w->cycles);
	memset(w, 0, sizeof(*w));
}
