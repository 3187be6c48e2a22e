/* SPDX-License-Identifier: MIT
 *
 * struct ring: migratable green threads of one worker, a bounded FIFO.
 *
 * Only the owner adds, at the tail.  The owner and thieves take from the head
 * by compare-and-swap, thieves up to half.  What does not fit goes back to the
 * caller, which keeps it elsewhere.  The source is Go's runq (proc.go).
 */
#ifndef RING_H
#define RING_H

#include "arch/cpu.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define RING_SIZE 256 /* power of two */

struct ring {
	cache_aligned _Atomic uint32_t head; /* takers */
	cache_aligned _Atomic uint32_t tail; /* owner */
	_Atomic uint32_t slot[RING_SIZE];
};

void ring_init(struct ring *r, uint32_t start); /* start index: tests use UINT32_MAX - 8 */
bool ring_push(struct ring *r, uint32_t value); /* owner; false: full */
bool ring_pop(struct ring *r, uint32_t *value); /* owner */
/* Takes up to half of r (at least one) into values[RING_SIZE / 2]; the number. */
unsigned ring_steal_half(struct ring *r, uint32_t *values);

static inline uint32_t ring_count(const struct ring *r)
{
	uint32_t tail = atomic_load_explicit(&r->tail, memory_order_relaxed);
	return tail - atomic_load_explicit(&r->head, memory_order_relaxed);
}

#endif
