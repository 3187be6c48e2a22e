/* SPDX-License-Identifier: MIT
 *
 * struct arena: the one mapping that holds all stacks of a class, and a second
 * one with what is known about each slot.
 *
 * Both are address space only: a page gets memory when it is first touched.
 * The part never handed out is kept out of core dumps, or each dump would be as
 * long as the arena: this is why an arena shows as two VMAs, used and never
 * used, whatever the number of stacks.
 */
#ifndef STACKS_ARENA_H
#define STACKS_ARENA_H

#include "arch/cpu.h"
#include "slotmap.h"
#include "stack.h"

#include <stdatomic.h>

#define ARENA_SLOTS_MIN 64 /* of the smallest class */
#define ARENA_BATCH 16u    /* slots fetched by a cache at once */
#define ARENA_SLOTS_MAX ((size_t)1 << 24)

/* What hibernate.h knows of a slot. */
struct slot_sleep {
	_Atomic uint32_t word;  /* length of the live bytes << 2 | state; 0: resident */
	uint32_t slab;          /* their entry; written before, read after `word` says so */
	_Atomic uint32_t owner; /* hint: who runs on it */
};

struct arena {
	/* Written once, when the arena is mapped; base last. */
	char *_Atomic base; /* of slot 0, 2 MiB-aligned; NULL: not mapped */
	unsigned shift;     /* a slot is 1 << shift bytes */
	uint32_t slots;
	uint32_t capacity;    /* stacks that may be promised; the rest is in caches */
	uint32_t cache_limit; /* hot slots one cache may hold */
	void *mapping, *side_mapping;
	size_t mapping_size, side_size;
	/* One bit a slot: its guard is in place, or given up.  Set by the slot's
	 * holder; the map's lock orders it before the next holder. */
	_Atomic uint64_t *settled;
	_Atomic uint32_t *pins;
	struct slot_sleep *sleep;
	_Atomic uint8_t *chunk_sleeps; /* all of its slots hibernate, its page table is gone */
	uint32_t *chunk_notes;         /* the sweeper's, of each chunk */
	unsigned *checker_names;       /* NULL unless under valgrind */

	cache_aligned struct slotmap map;
	_Atomic uint32_t dumpable; /* slots below it appear in core dumps */
	_Atomic uint32_t watched;  /* those below it are registered with userfaultfd: watch.h */
	cache_aligned _Atomic uint32_t reserved;
};

struct arena_want {
	unsigned shift;
	size_t slots; /* promises wanted, halved until they fit */
	size_t slots_min;
	unsigned spare; /* slots beyond what is promised */
	bool valgrind;
	bool uffd; /* register all of it */
};

extern struct arena arenas[STACK_CLASSES];
extern unsigned arena_caches_max; /* that may hold hot slots */

/* 0, or -ENOMEM and the arena is as before. */
int arena_map(struct arena *a, const struct arena_want *want);
void arena_unmap(struct arena *a);

/* The slots up to this one shall be part of core dumps. */
void arena_dump_up_to(struct arena *a, uint32_t slot);

static inline stack_id arena_id(unsigned class, uint32_t slot)
{
	return (stack_id)(class + 1) << STACK_ID_SHIFT | slot;
}

static inline uint32_t arena_slot_of(stack_id stack)
{
	return stack & (((stack_id)1 << STACK_ID_SHIFT) - 1);
}

static inline bool arena_is_mapped(const struct arena *a)
{
	/* Acquire pairs with the release in arena_map(). */
	return atomic_load_explicit(&a->base, memory_order_acquire) != NULL;
}

static inline char *arena_slot(const struct arena *a, uint32_t slot)
{
	/* Relaxed: who holds a slot was handed it after the arena was mapped. */
	return atomic_load_explicit(&a->base, memory_order_relaxed) + ((size_t)slot << a->shift);
}

static inline size_t arena_stride(const struct arena *a)
{
	return (size_t)1 << a->shift;
}

/* Is a page that is missing in the slot seen to by this process (uffd.h)? */
static inline bool arena_is_watched(const struct arena *a, uint32_t slot)
{
	/* Sequentially consistent: see watch.c. */
	return slot < atomic_load_explicit(&a->watched, memory_order_seq_cst);
}

static inline bool arena_is_settled(const struct arena *a, uint32_t slot)
{
	uint64_t word = atomic_load_explicit(&a->settled[slot / 64], memory_order_relaxed);

	return word >> slot % 64 & 1;
}

static inline void arena_unsettle(struct arena *a, uint32_t slot)
{
	atomic_fetch_and_explicit(&a->settled[slot / 64], ~((uint64_t)1 << slot % 64),
	                          memory_order_relaxed);
}

static inline void arena_settle(struct arena *a, uint32_t slot)
{
	atomic_fetch_or_explicit(&a->settled[slot / 64], (uint64_t)1 << slot % 64,
	                         memory_order_relaxed);
}

#endif
