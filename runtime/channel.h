/* SPDX-License-Identifier: MIT
 *
 * struct green_chan: a ring of elements, senders and receivers that wait.
 *
 * At any time, with the lock held: receivers wait only while it holds nothing
 * and no sender waits; senders wait only while it is full; nobody waits once it
 * is closed.  (Waiters that have given up may still be listed.)
 *
 * Elements of up to WAITER_INLINE bytes wait in their record.  Larger ones stay
 * in the waiting thread's own buffer, its stack pinned while it is parked.
 *
 * Elements are copied with the lock held: a page fault in the caller's buffer
 * delays the users of this channel, nobody else.
 */
#ifndef CHANNEL_H
#define CHANNEL_H

#include "waiter.h"

#define CHAN_ELEM_MAX 65536

struct green_chan {
	cache_aligned struct spin lock;
	uint32_t elem_size;
	_Atomic size_t count; /* elements held; written with the lock held */
	struct green_wait_list receivers, senders;
	bool closed;
	size_t head; /* slot of the oldest */
	size_t capacity;
	unsigned char slots[];
};

/* What can be done at once, with the lock held: 0, -EPIPE, or -EAGAIN.  *peer
 * is then whom the caller owes a park_finish() once it has unlocked, or NULL. */
int chan_offer(green_chan_t *chan, const void *value, struct green_waiter **peer);
int chan_take(green_chan_t *chan, void *value, struct green_waiter **peer);

/* Begins to wait: fills w, which has its ticket, and queues it.  The lock is
 * held. */
void chan_enqueue(green_chan_t *chan, struct green_waiter *w, bool send, void *value);

/* A receiver was woken with an element: it is in w, or in value already.  The
 * channel may be gone. */
void chan_delivered(const struct green_waiter *w, void *value);

#endif
