/* SPDX-License-Identifier: MIT
 *
 * The bounded FIFO of ring.h.
 */
#include "ring.h"

void ring_init(struct ring *r, uint32_t start)
{
	atomic_init(&r->head, start);
	atomic_init(&r->tail, start);
}

bool ring_push(struct ring *r, uint32_t value)
{
	uint32_t tail = atomic_load_explicit(&r->tail, memory_order_relaxed);
	/* Acquire pairs with the release of a taker's CAS: the slot is read. */
	uint32_t head = atomic_load_explicit(&r->head, memory_order_acquire);

	if (tail - head >= RING_SIZE)
		return false;
	atomic_store_explicit(&r->slot[tail % RING_SIZE], value, memory_order_relaxed);
	/* Release pairs with the acquire of tail in the takers. */
	atomic_store_explicit(&r->tail, tail + 1, memory_order_release);
	return true;
}

bool ring_pop(struct ring *r, uint32_t *value)
{
	uint32_t head = atomic_load_explicit(&r->head, memory_order_acquire);

	for (;;) {
		uint32_t tail = atomic_load_explicit(&r->tail, memory_order_relaxed);
		if (head == tail)
			return false;
		*value = atomic_load_explicit(&r->slot[head % RING_SIZE], memory_order_relaxed);
		if (atomic_compare_exchange_weak_explicit(&r->head, &head, head + 1,
		                                          memory_order_acq_rel,
		                                          memory_order_acquire))
			return true;
	}
}

unsigned ring_steal_half(struct ring *r, uint32_t *values)
{
	uint32_t head = atomic_load_explicit(&r->head, memory_order_acquire);

	for (;;) {
		uint32_t tail = atomic_load_explicit(&r->tail, memory_order_acquire);
		uint32_t n = tail - head;
		n -= n / 2;
		if (n == 0)
			return 0;
		if (n > RING_SIZE / 2) { /* head and tail were read at different times */
			head = atomic_load_explicit(&r->head, memory_order_acquire);
			continue;
		}
		for (uint32_t i = 0; i < n; i++)
			values[i] = atomic_load_explicit(&r->slot[(head + i) % RING_SIZE],
			                                 memory_order_relaxed);
		/* Release: the slots have been read and may be written again. */
		if (atomic_compare_exchange_weak_explicit(&r->head, &head, head + n,
		                                          memory_order_acq_rel,
		                                          memory_order_acquire))
			return n;
	}
}
