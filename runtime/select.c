/* SPDX-License-Identifier: MIT
 *
 * green_select: one thread waits in several channels at once.
 *
 * With the locks of all its channels held, in order of their addresses, it
 * looks whether a case can go on, and does one of those that can.  Else it
 * queues one record per case, all with the same ticket, and parks: the first
 * peer that claims the ticket has chosen the case, and marks its record.  Peers
 * that come later fail to claim it and drop the record (waiter.h).
 *
 * (Locking all, then queueing in all, is the scheme of Go's runtime/select.go.)
 */
#include "channel.h"
#include "trace.h"

#include <errno.h>
#include <stdlib.h>

#define CASES_MAX 65535
#define CASES_SMALL 8 /* more need heap memory */

struct selection {
	struct green_select *cases;
	uint16_t *order; /* cases with a channel, by the channel's address */
	int n;           /* cases */
	int locks;       /* entries in order: one per channel */
	bool pin;        /* an element lies in the caller's frame */
	struct gt *self;
	struct green_waiter *records; /* linked through sibling */
	struct green_waiter *peer;    /* owed a park_finish() */
};

/* ---- lock order ------------------------------------------------------------ */

static inline uintptr_t address_of(const struct selection *s, uint16_t index)
{
	return (uintptr_t)s->cases[index].chan;
}

static void sift_down(const struct selection *s, int root, int count)
{
	uint16_t *order = s->order;
	for (int child; (child = 2 * root + 1) < count; root = child) {
		if (child + 1 < count &&
		    address_of(s, order[child]) < address_of(s, order[child + 1]))
			child++;
		if (address_of(s, order[root]) >= address_of(s, order[child]))
			return;
		uint16_t swap = order[root];
		order[root] = order[child];
		order[child] = swap;
	}
}

/* Heap sort: no recursion on a small stack, no bad case. */
static void sort_by_address(const struct selection *s, int count)
{
	uint16_t *order = s->order;
	for (int i = count / 2 - 1; i >= 0; i--)
		sift_down(s, i, count);
	for (int last = count - 1; last > 0; last--) {
		uint16_t swap = order[0];
		order[0] = order[last];
		order[last] = swap;
		sift_down(s, 0, last);
	}
}

/* Fills order with one case per channel. */
static void find_locks(struct selection *s)
{
	int count = 0;
	for (int i = 0; i < s->n; i++) {
		if (!s->cases[i].chan)
			continue;
		s->order[count++] = (uint16_t)i;
		s->pin |= s->cases[i].chan->elem_size > WAITER_INLINE;
	}
	sort_by_address(s, count);
	for (int i = 0; i < count; i++)
		if (!i || address_of(s, s->order[i]) != address_of(s, s->order[i - 1]))
			s->order[s->locks++] = s->order[i];
}

static void lock_all(const struct selection *s)
{
	for (int i = 0; i < s->locks; i++)
		spin_lock(&s->cases[s->order[i]].chan->lock);
}

static void unlock_all(const struct selection *s)
{
	for (int i = s->locks; i-- > 0;)
		spin_unlock(&s->cases[s->order[i]].chan->lock);
}

/* ---- choosing -------------------------------------------------------------- */

/* splitmix64: any state will do, so neither needs to be seeded well. */
static uint64_t random_next(void)
{
	static _Atomic uint64_t foreign;
	struct worker *w = worker_self();
	const uint64_t step = 0x9e3779b97f4a7c15;
	uint64_t x;
	if (w)
		x = w->random += step;
	else
		x = atomic_fetch_add_explicit(&foreign, step, memory_order_relaxed);
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
	x = (x ^ x >> 27) * 0x94d049bb133111eb;
	return x ^ x >> 31;
}

/* May be wrong about waiters that have given up: then the attempt fails. */
static bool looks_ready(const struct green_select *c)
{
	const green_chan_t *chan = c->chan;
	if (!chan)
		return false;
	size_t count = atomic_load_explicit(&chan->count, memory_order_relaxed);
	if (chan->closed)
		return true;
	if (c->send)
		return count < chan->capacity || chan->receivers.first;
	return count > 0 || chan->senders.first;
}

/* Does one of the cases that can go on, each with the same probability; its
 * index or -EAGAIN.  The locks are held. */
static int choose(struct selection *s)
{
	for (;;) {
		unsigned ready = 0;
		int chosen = -1;
		for (int i = 0; i < s->n; i++) {
			if (!looks_ready(&s->cases[i]))
				continue;
			ready++;
			if (ready == 1 || random_next() % ready == 0)
				chosen = i;
		}
		if (chosen < 0)
			return -EAGAIN;
		struct green_select *c = &s->cases[chosen];
		c->result = c->send ? chan_offer(c->chan, c->value, &s->peer)
		                    : chan_take(c->chan, c->value, &s->peer);
		if (c->result != -EAGAIN)
			return chosen;
		/* All who waited there had given up and are now off the list. */
	}
}

/* ---- waiting --------------------------------------------------------------- */

static void put_records(struct selection *s)
{
	struct green_waiter *w;
	while ((w = s->records)) {
		s->records = w->sibling;
		waiter_put(w);
	}
}

/* One record per case with a channel, the last case first. */
static int get_records(struct selection *s)
{
	for (int i = 0; i < s->n; i++) {
		if (!s->cases[i].chan)
			continue;
		struct green_waiter *w = waiter_get();
		if (!w) {
			put_records(s);
			return -ENOMEM;
		}
		w->index = (uint32_t)i;
		w->sibling = s->records;
		s->records = w;
	}
	return 0;
}

/* The records that did not win leave their channels.  The winner's channel may
 * be gone; the others cannot be, while somebody waits there. */
static int leave(struct selection *s, enum wake_reason reason)
{
	int result = park_error(reason);
	for (struct green_waiter *w = s->records; w; w = w->sibling) {
		struct green_select *c = &s->cases[w->index];
		if (!w->claimed) {
			wait_withdraw(&c->chan->lock,
			              c->send ? &c->chan->senders : &c->chan->receivers, w);
			continue;
		}
		if (reason == WAKE_PEER && !c->send)
			chan_delivered(w, c->value);
		c->result = result;
		result = (int)w->index;
	}
	put_records(s);
	return result;
}

/* With the locks held, which this lets go. */
static int wait_all(struct selection *s, void *pc)
{
	int error = s->self ? park_check(s->self) : -ENOMEM;
	if (!error)
		error = get_records(s);
	if (error) {
		unlock_all(s);
		return error;
	}
	if (s->pin)
		waiter_pin(s->self);
	struct park_ticket ticket = park_begin(s->self, PARK_SELECT, s->cases, pc);
	for (struct green_waiter *w = s->records; w; w = w->sibling) {
		struct green_select *c = &s->cases[w->index];
		w->ticket = ticket;
		chan_enqueue(c->chan, w, c->send, c->value);
	}
	unlock_all(s);
	enum wake_reason reason = park_commit(ticket, 0, GREEN_FOREVER);
	if (s->pin)
		waiter_unpin(s->self);
	return leave(s, reason);
}

int green_select(struct green_select *cases, int n, bool dont_wait)
{
	uint16_t small[CASES_SMALL], *large = NULL;
	struct selection s = { .cases = cases, .n = n, .self = park_self(), .order = small };
	if (!dont_wait)
		trace_enter(PARK_PC, PARK_SELECT, (uintptr_t)cases);
	if (n < 0 || n > CASES_MAX)
		return -EINVAL;
	if (n > CASES_SMALL) {
		s.order = large = malloc((size_t)n * sizeof(*large));
		if (!large)
			return -ENOMEM;
	}
	find_locks(&s);
	lock_all(&s);
	int result = choose(&s);
	if (result == -EAGAIN && !dont_wait) {
		result = wait_all(&s, PARK_PC);
	} else {
		unlock_all(&s);
		if (s.peer)
			park_finish(s.peer->ticket.gt);
	}
	free(large);
	return result;
}
