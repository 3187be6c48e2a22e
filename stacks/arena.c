/* SPDX-License-Identifier: MIT
 *
 * Mapping and unmapping of arenas, and what of them core dumps see.
 */
#include "arena.h"
#include "arch/sys.h"
#include "uffd.h"

#include <assert.h>
#include <errno.h>
#include <sys/mman.h>

#define ARENA_ALIGN ((size_t)2 << 20) /* one page-table page */
#define ARENA_DUMP_MIN 64u            /* slots: core dumps grow by an eighth, or this */

struct arena arenas[STACK_CLASSES];
unsigned arena_caches_max;

static const char *arena_name(unsigned shift)
{
	return shift == 16   ? "green stacks 64K"
	       : shift == 18 ? "green stacks 256K"
	                     : "green stacks 1M";
}

/* Slots of an arena that can promise count: what the caches hold of it is out
 * of the others' reach, so it comes on top, at most an eighth. */
static void arena_size(struct arena *a, const struct arena_want *want, size_t count)
{
	size_t limit = count / 8 / arena_caches_max;

	if (limit > STACK_CACHE_MAX)
		limit = STACK_CACHE_MAX;
	a->shift = want->shift;
	a->capacity = (uint32_t)count;
	a->cache_limit = want->valgrind ? 0 : (uint32_t)limit;
	size_t held = limit + (limit ? ARENA_BATCH - 1 : 0);
	a->slots = (uint32_t)(count + held * arena_caches_max + want->spare);
	a->mapping_size = ((size_t)a->slots << a->shift) + ARENA_ALIGN;
}

/* Maps room for the wanted slots, or for half of what can be had: the rest of
 * the program needs addresses too. */
static int map_slots(struct arena *a, const struct arena_want *want)
{
	long error;
	size_t count = want->slots;
	bool whole = true;

	for (;;) {
		arena_size(a, want, count);
		a->mapping = sys_map(a->mapping_size, SYS_MAP_NORESERVE, &error);
		if (a->mapping && (whole || count / 2 < want->slots_min))
			return 0;
		if (a->mapping) {
			sys_unmap(a->mapping, a->mapping_size);
			whole = true;
		} else {
			whole = false;
		}
		if (count / 2 < want->slots_min)
			return -ENOMEM;
		count /= 2;
	}
}

/* What is known of each slot: how it hibernates, free or not, guard, pins. */
static int map_side(struct arena *a, bool valgrind)
{
	long error;
	size_t map_bytes = (slotmap_size(a->slots) + 63) & ~(size_t)63;
	size_t settled_bytes = ((size_t)a->slots + 511) / 512 * 64;
	size_t pins_bytes = ((size_t)a->slots * sizeof(*a->pins) + 63) & ~(size_t)63;
	size_t sleep_bytes = ((size_t)a->slots * sizeof(*a->sleep) + 63) & ~(size_t)63;
	size_t chunks = ((size_t)a->slots << a->shift) / ARENA_ALIGN + 1;
	size_t notes_bytes = (chunks * sizeof(*a->chunk_notes) + 63) & ~(size_t)63;
	size_t chunks_bytes = (chunks + 63) & ~(size_t)63;
	size_t names_bytes = valgrind ? (size_t)a->slots * sizeof(*a->checker_names) : 0;

	a->side_size = map_bytes + settled_bytes + pins_bytes + sleep_bytes + notes_bytes +
	               chunks_bytes + names_bytes;
	a->side_mapping = sys_map(a->side_size, SYS_MAP_NORESERVE, &error);
	if (!a->side_mapping)
		return -ENOMEM;
	sys_name(a->side_mapping, a->side_size, "green stack tables");
	sys3(SYS_madvise, a->side_mapping, a->side_size, MADV_DONTDUMP); /* long, and no help */
	char *p = a->side_mapping;
	/* First: it is what core dumps do see, as far as slots are in use. */
	a->sleep = (void *)p;
	p += sleep_bytes;
	slotmap_init(&a->map, p, a->slots);
	a->settled = (void *)(p + map_bytes);
	a->pins = (void *)(p + map_bytes + settled_bytes);
	p += map_bytes + settled_bytes + pins_bytes;
	a->chunk_notes = (void *)p;
	p += notes_bytes;
	a->chunk_sleeps = (void *)p;
	a->checker_names = valgrind ? (void *)(p + chunks_bytes) : NULL;
	return 0;
}

int arena_map(struct arena *a, const struct arena_want *want)
{
	assert(!atomic_load_explicit(&a->base, memory_order_relaxed));
	assert(want->slots >= want->slots_min && want->slots_min > 0);
	if (map_slots(a, want) < 0)
		return -ENOMEM;
	if (map_side(a, want->valgrind) < 0) {
		sys_unmap(a->mapping, a->mapping_size);
		return -ENOMEM;
	}
	sys_name(a->mapping, a->mapping_size, arena_name(a->shift));
	if (want->uffd && uffd_register(a->mapping, a->mapping_size) < 0) {
		sys_unmap(a->mapping, a->mapping_size);
		sys_unmap(a->side_mapping, a->side_size);
		return -ENOMEM;
	}
	/* Neither can fail in a way that matters: a kernel without huge pages
	 * refuses the first, and the second only makes core dumps shorter. */
	sys3(SYS_madvise, a->mapping, a->mapping_size, MADV_NOHUGEPAGE);
	sys3(SYS_madvise, a->mapping, a->mapping_size, MADV_DONTDUMP);
	atomic_store_explicit(&a->dumpable, 0, memory_order_relaxed);
	atomic_store_explicit(&a->watched, want->uffd ? a->slots : 0, memory_order_relaxed);
	atomic_store_explicit(&a->reserved, 0, memory_order_relaxed);
	uintptr_t aligned = ((uintptr_t)a->mapping + ARENA_ALIGN - 1) & ~(ARENA_ALIGN - 1);
	/* Release pairs with the acquire of stack_find() and stack_reserve(). */
	atomic_store_explicit(&a->base, (char *)aligned, memory_order_release);
	return 0;
}

void arena_unmap(struct arena *a)
{
	if (!atomic_load_explicit(&a->base, memory_order_relaxed))
		return;
	atomic_store_explicit(&a->base, NULL, memory_order_release);
	sys_unmap(a->mapping, a->mapping_size);
	sys_unmap(a->side_mapping, a->side_size);
}

static uint32_t dumpable_with(const struct arena *a, uint32_t old, uint32_t slot)
{
	uint64_t new = old;

	while (new <= slot)
		new += new / 8 < ARENA_DUMP_MIN ? ARENA_DUMP_MIN
		                                : (new / 8 & ~(uint64_t)(ARENA_DUMP_MIN - 1));
	return new < a->slots ? (uint32_t) new : a->slots;
}

void arena_dump_up_to(struct arena *a, uint32_t slot)
{
	uint32_t old = atomic_load_explicit(&a->dumpable, memory_order_relaxed);
	uint32_t new;

	do {
		if (likely(slot < old))
			return;
		new = dumpable_with(a, old, slot);
		/* Relaxed: the winner advises the range alone, nobody waits for it. */
	} while (!atomic_compare_exchange_weak_explicit(&a->dumpable, &old, new,
	                                                memory_order_relaxed,
	                                                memory_order_relaxed));
	/* From the mapping's start on, so that no VMA is left below slot 0. */
	char *start = old ? arena_slot(a, old) : a->mapping;
	sys3(SYS_madvise, start, arena_slot(a, new) - start, MADV_DODUMP);
	sys3(SYS_madvise, a->side_mapping, (char *)&a->sleep[new] - (char *)a->side_mapping,
	     MADV_DODUMP);
}
