/* SPDX-License-Identifier: MIT
 *
 * The word of a slot (slot_word.h), for those who change it (hibernate.h).
 */
#ifndef STACKS_SLEEP_H
#define STACKS_SLEEP_H

#include "arena.h"
#include "hibernate.h"
#include "slot_word.h"
#include "uffd.h"

#define SLEEP_CHUNK_SHIFT 21

extern struct hibernation {
	struct spin lock;
	_Atomic size_t count; /* hibernated now */
	_Atomic uint64_t total;
	_Atomic bool ready;
} hibernation;

static inline struct arena *arena_of(stack_id stack)
{
	return &arenas[stack_class_of(stack)];
}

static inline struct slot_sleep *sleep_of(stack_id stack)
{
	return &arena_of(stack)->sleep[arena_slot_of(stack)];
}

static inline _Atomic uint8_t *chunk_of(stack_id stack)
{
	struct arena *a = arena_of(stack);

	return &a->chunk_sleeps[arena_slot_of(stack) >> (SLEEP_CHUNK_SHIFT - a->shift)];
}

static inline char *slot_of(stack_id stack)
{
	return arena_slot(arena_of(stack), arena_slot_of(stack));
}

/* Where all that is live lies. */
static inline char *top_page(stack_id stack)
{
	return slot_of(stack) + arena_stride(arena_of(stack)) - UFFD_PAGE_MAX;
}

/* Release pairs with the acquires of those who wait for the state. */
static inline void set_state(struct slot_sleep *s, uint32_t state)
{
	atomic_store_explicit(&s->word, state, memory_order_release);
}

static inline size_t length_in(uint32_t word)
{
	return word >> LENGTH_SHIFT & LENGTH_MASK;
}

static inline bool move_state(struct slot_sleep *s, uint32_t *word, uint32_t state)
{
	return atomic_compare_exchange_strong_explicit(&s->word, word,
	                                               (*word & ~STATE_MASK) | state,
	                                               memory_order_acq_rel, memory_order_acquire);
}

#endif
