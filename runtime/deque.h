/* SPDX-License-Identifier: MIT
 *
 * struct deque: never-run green threads of one worker (Chase-Lev).
 *
 * The owner pushes and pops at the bottom, thieves (and the owner, for
 * fairness) take single entries at the top by one compare-and-swap.  Taking
 * more than one at a time is unsound: between the thief's read of the bottom
 * and its CAS the owner may pop into the range without touching the top
 * (measured: 274 of 20 million items taken twice).
 *
 * Source: Le, Pop, Cohen, Zappa Nardelli, "Correct and efficient work-stealing
 * for weak memory models", PPoPP 2013; slots are atomic.  Old arrays are kept
 * until the deque is destroyed, because a thief may still be reading one.
 */
#ifndef DEQUE_H
#define DEQUE_H

#include "arch/cpu.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct deque_array {
	uint64_t capacity; /* power of two */
	struct deque_array *older;
	size_t bytes;
	_Atomic uint32_t slot[];
};

struct deque {
	cache_aligned _Atomic uint64_t top;    /* thieves */
	cache_aligned _Atomic uint64_t bottom; /* owner */
	struct deque_array *_Atomic array;
};

int deque_init(struct deque *d, uint64_t start); /* start index: tests use UINT64_MAX - 8 */
void deque_destroy(struct deque *d);
int deque_push(struct deque *d, uint32_t value);  /* owner; 0 or -ENOMEM */
bool deque_pop(struct deque *d, uint32_t *value); /* owner, newest */
/* Anyone, oldest.  False when empty or when another was faster (*raced). */
bool deque_steal(struct deque *d, uint32_t *value, bool *raced);

static inline int64_t deque_count(const struct deque *d)
{
	uint64_t bottom = atomic_load_explicit(&d->bottom, memory_order_relaxed);
	uint64_t top = atomic_load_explicit(&d->top, memory_order_relaxed);
	return (int64_t)(bottom - top);
}

#endif
