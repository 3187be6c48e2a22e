/* SPDX-License-Identifier: MIT
 *
 * green_chan: sending, receiving, closing.  select.c does it on several.
 *
 * Each operation takes the lock once.  A sender that finds a receiver waiting
 * gives it the element directly; a receiver that finds a sender waiting takes
 * its element, or the oldest one held and moves the sender's to the end.
 */
#include "channel.h"
#include "trace.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static inline void copy(void *to, const void *from, size_t size)
{
	/* Pointers are what most programs send. */
	if (likely(size == sizeof(uint64_t)))
		memcpy(to, from, sizeof(uint64_t));
	else if (size)
		memcpy(to, from, size);
}

static inline size_t chan_count(const green_chan_t *chan)
{
	return atomic_load_explicit(&chan->count, memory_order_relaxed);
}

/* Relaxed: only green_chan_len() reads it without the lock. */
static inline void chan_set_count(green_chan_t *chan, size_t count)
{
	atomic_store_explicit(&chan->count, count, memory_order_relaxed);
}

/* Where a waiter's element lies. */
static inline void *waiter_value(const green_chan_t *chan, struct green_waiter *w)
{
	return chan->elem_size <= WAITER_INLINE ? w->value : w->buffer;
}

static void slots_put(green_chan_t *chan, const void *value)
{
	size_t count = chan_count(chan);
	size_t tail = chan->head + count;
	if (tail >= chan->capacity)
		tail -= chan->capacity;
	copy(chan->slots + tail * chan->elem_size, value, chan->elem_size);
	chan_set_count(chan, count + 1);
}

static void slots_get(green_chan_t *chan, void *value)
{
	copy(value, chan->slots + chan->head * chan->elem_size, chan->elem_size);
	if (++chan->head == chan->capacity)
		chan->head = 0;
	chan_set_count(chan, chan_count(chan) - 1);
}

static inline int offer(green_chan_t *chan, const void *value, struct green_waiter **peer)
{
	*peer = NULL;
	if (unlikely(chan->closed))
		return -EPIPE;
	*peer = wait_list_claim(&chan->receivers, WAKE_PEER);
	if (*peer)
		copy(waiter_value(chan, *peer), value, chan->elem_size);
	else if (chan_count(chan) < chan->capacity)
		slots_put(chan, value);
	else
		return -EAGAIN;
	return 0;
}

static inline int take(green_chan_t *chan, void *value, struct green_waiter **peer)
{
	bool held = chan_count(chan) > 0;
	if (held)
		slots_get(chan, value);
	*peer = wait_list_claim(&chan->senders, WAKE_PEER);
	if (*peer && held)
		slots_put(chan, waiter_value(chan, *peer));
	else if (*peer)
		copy(value, waiter_value(chan, *peer), chan->elem_size);
	else if (!held)
		return chan->closed ? -EPIPE : -EAGAIN;
	return 0;
}

void chan_enqueue(green_chan_t *chan, struct green_waiter *w, bool send, void *value)
{
	w->size = chan->elem_size;
	if (w->size > WAITER_INLINE)
		w->buffer = value;
	else if (send)
		copy(w->value, value, w->size);
	wait_list_append(send ? &chan->senders : &chan->receivers, w);
}

/* Lets the lock go and wakes the peer, unless nothing could be done. */
static inline int finish(green_chan_t *chan, struct green_waiter *peer, int result)
{
	if (result == -EAGAIN)
		return result;
	spin_unlock(&chan->lock);
	if (peer)
		park_finish(peer->ticket.gt);
	return result;
}

/* Sends at once, with the lock held; keeps it only if that is -EAGAIN. */
static inline int send_now(green_chan_t *chan, const void *value)
{
	struct green_waiter *w, *peer;
	/* One access to the receiver's park word: the element is written before,
	 * into a record that cannot go while it is listed and the lock is held.
	 * Not for large ones, which would be written to a thread that gives up. */
	while (likely(!chan->closed) && (w = chan->receivers.first) && w->direct) {
		struct park_ticket ticket = w->ticket;
		copy(w->value, value, chan->elem_size);
		wait_list_remove(&chan->receivers, w);
		spin_unlock(&chan->lock);
		if (likely(park_wake(ticket, WAKE_PEER)))
			return 0;
		spin_lock(&chan->lock);
	}
	int result = offer(chan, value, &peer);
	return finish(chan, peer, result);
}

/* Receives at once, likewise. */
static inline int recv_now(green_chan_t *chan, void *value)
{
	struct green_waiter *w, *peer;
	/* As above.  The element must be read before it is certain that it is ours,
	 * and value stay as it is if not: only for what fits in a register. */
	while (chan->elem_size == sizeof(uint64_t) && !chan_count(chan) &&
	       (w = chan->senders.first) && w->direct) {
		struct park_ticket ticket = w->ticket;
		uint64_t element;
		memcpy(&element, w->value, sizeof(element));
		wait_list_remove(&chan->senders, w);
		spin_unlock(&chan->lock);
		if (likely(park_wake(ticket, WAKE_PEER))) {
			memcpy(value, &element, sizeof(element));
			return 0;
		}
		spin_lock(&chan->lock);
	}
	int result = take(chan, value, &peer);
	return finish(chan, peer, result);
}

/* With the lock held, which this lets go. */
static __attribute__((noinline)) int chan_wait(green_chan_t *chan, bool send, void *value, void *pc)
{
	struct worker *worker = worker_self();
	struct gt *self = waiter_self(worker);
	int error;
	if (unlikely(!self)) {
		/* An OS thread, whose descriptor may have to be made first. */
		spin_unlock(&chan->lock);
		self = park_self();
		spin_lock(&chan->lock);
		error = send ? send_now(chan, value) : recv_now(chan, value);
		if (error != -EAGAIN)
			return error;
	}
	struct green_waiter *w = NULL;
	error = self ? park_check(self) : -ENOMEM;
	if (unlikely(error) || unlikely(!(w = waiter_get_on(worker)))) {
		spin_unlock(&chan->lock);
		return error ? error : -ENOMEM;
	}
	bool large = chan->elem_size > WAITER_INLINE;
	if (large)
		waiter_pin(self);
	w->direct = !large;
	w->ticket = park_begin(self, send ? PARK_SEND : PARK_RECV, chan, pc);
	chan_enqueue(chan, w, send, value);
	spin_unlock(&chan->lock);

	enum wake_reason reason = park_commit(w->ticket, 0, GREEN_FOREVER);
	if (large)
		waiter_unpin(self);
	/* Woken by a peer: the channel may be gone. */
	if (likely(reason == WAKE_PEER)) {
		if (!send && !large)
			copy(value, w->value, w->size);
	} else if (reason != WAKE_CLOSED) {
		wait_withdraw(&chan->lock, send ? &chan->senders : &chan->receivers, w);
	}
	waiter_put(w);
	return likely(reason == WAKE_PEER) ? 0 : park_error(reason);
}

int green_chan_send(green_chan_t *chan, const void *value)
{
	trace_enter(PARK_PC, PARK_SEND, (uintptr_t)chan);
	spin_lock(&chan->lock);
	int result = send_now(chan, value);
	if (result != -EAGAIN)
		return result;
	return chan_wait(chan, true, (void *)value, PARK_PC);
}

int green_chan_recv(green_chan_t *chan, void *value)
{
	trace_enter(PARK_PC, PARK_RECV, (uintptr_t)chan);
	spin_lock(&chan->lock);
	int result = recv_now(chan, value);
	if (result != -EAGAIN)
		return result;
	return chan_wait(chan, false, value, PARK_PC);
}

int green_chan_trysend(green_chan_t *chan, const void *value)
{
	spin_lock(&chan->lock);
	int result = send_now(chan, value);
	if (result == -EAGAIN)
		spin_unlock(&chan->lock);
	return result;
}

int green_chan_tryrecv(green_chan_t *chan, void *value)
{
	spin_lock(&chan->lock);
	int result = recv_now(chan, value);
	if (result == -EAGAIN)
		spin_unlock(&chan->lock);
	return result;
}

/* ---- for select.c ---------------------------------------------------------- */

int chan_offer(green_chan_t *chan, const void *value, struct green_waiter **peer)
{
	return offer(chan, value, peer);
}

int chan_take(green_chan_t *chan, void *value, struct green_waiter **peer)
{
	return take(chan, value, peer);
}

void chan_delivered(const struct green_waiter *w, void *value)
{
	if (w->size <= WAITER_INLINE)
		copy(value, w->value, w->size);
}

/* ---- closing, making, freeing ------------------------------------------------ */

int green_chan_close(green_chan_t *chan)
{
	struct green_waiter *chain;
	spin_lock(&chan->lock);
	if (chan->closed) {
		spin_unlock(&chan->lock);
		return -EPIPE;
	}
	chan->closed = true;
	chain = wait_list_claim_all(&chan->receivers, WAKE_CLOSED, NULL);
	chain = wait_list_claim_all(&chan->senders, WAKE_CLOSED, chain);
	spin_unlock(&chan->lock);
	waiters_finish(chain);
	return 0;
}

size_t green_chan_len(const green_chan_t *chan)
{
	return chan_count(chan);
}

green_chan_t *green_chan_new(size_t elem_size, size_t capacity)
{
	size_t bytes;
	if (elem_size > CHAN_ELEM_MAX) {
		errno = EINVAL;
		return NULL;
	}
	if (__builtin_mul_overflow(elem_size, capacity, &bytes) ||
	    bytes > PTRDIFF_MAX - sizeof(green_chan_t) - CACHE_LINE) {
		errno = ENOMEM;
		return NULL;
	}
	bytes = (sizeof(green_chan_t) + bytes + CACHE_LINE - 1) & ~(size_t)(CACHE_LINE - 1);
	green_chan_t *chan = aligned_alloc(CACHE_LINE, bytes);
	if (!chan)
		return NULL;
	memset(chan, 0, sizeof(*chan));
	chan->elem_size = (uint32_t)elem_size;
	chan->capacity = capacity;
	return chan;
}

void green_chan_free(green_chan_t *chan)
{
	free(chan);
}
