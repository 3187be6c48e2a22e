/* SPDX-License-Identifier: MIT
 *
 * Raising the mark.
 *
 * Threads run on slots meanwhile, are given some and give some back.  In a slot that is
 * watched, every page but the guard's must be there while somebody uses it, or a system
 * call into it could fail (where there is a handler it could not: later.h):
 *
 *  1 the mark is raised;
 *  2 slots in use get the pages that they lack;
 *  3 the range is registered;
 *  4 slots in use get what they lack, once more.
 *
 * Who takes a slot looks at the mark after the map of slots says "taken", and 2 and 4
 * look at the map after 1, under its lock: so either the taker sees the mark, and fills
 * the slot (waiting for 3), or it is filled here.  Who drops pages of a slot that stays in
 * use looks at the mark after that, and fills it then.  4 is for those who did either
 * between 2 and 3.  Where there is a handler, both may be left out.
 */
#include "watch.h"
#include "arch/compat.h"
#include "arch/sys.h"
#include "guard.h"
#include "keeper.h"
#include "later.h"
#include "pages.h"
#include "sleep.h"

#include <assert.h>
#include <errno.h>
#include <sys/mman.h>

#define CHUNKS_AT_ONCE 64u
#define MANY 10000u /* stacks that hibernate */

static bool is_swept(unsigned class, uint32_t slot)
{
	uint32_t word =
		atomic_load_explicit(&sleep_of(arena_id(class, slot))->word, memory_order_relaxed);

	return (word & STATE_MASK) == SWEEPING;
}

/* Before they are registered: a fault is the kernel's.  It does not matter what it
 * refuses, they are looked at again. */
static void fill_plain(const struct arena *a, uint32_t slot)
{
	char *low = arena_slot(a, slot) + guard_size();

	sys3(SYS_madvise, low, arena_slot(a, slot + 1) - low, MADV_POPULATE_READ);
}

/* Slots of the class that somebody has, but those that are about to be emptied. */
static void for_used(unsigned class, uint32_t from, uint32_t end,
                     void (*fill)(const struct arena *a, uint32_t slot))
{
	struct arena *a = &arenas[class];

	for (uint32_t slot = from; slot < end; slot++)
		if (slotmap_is_taken(&a->map, slot) && !is_swept(class, slot))
			fill(a, slot);
}

static int register_slots(struct arena *a, uint32_t from, uint32_t end)
{
	/* From the mapping's start on: no VMA is left below slot 0. */
	char *low = from ? arena_slot(a, from) : a->mapping;
	char *high = end < a->slots ? arena_slot(a, end) : (char *)a->mapping + a->mapping_size;

	return from < end ? uffd_register(low, (size_t)(high - low)) : 0;
}

/* fill: those in use; else the handler will, where they are touched. */
static bool raise_mark(unsigned class, uint32_t from, uint32_t end, bool fill)
{
	struct arena *a = &arenas[class];

	atomic_store_explicit(&a->watched, end, memory_order_seq_cst);
	if (fill)
		for_used(class, from, end, fill_plain);
	if (register_slots(a, from, end) < 0) {
		atomic_store_explicit(&a->watched, from, memory_order_seq_cst);
		return false;
	}
	/* One mark would keep the kernel from taking back a page table. */
	sys3(SYS_madvise, arena_slot(a, from), (size_t)(end - from) << a->shift, MADV_GUARD_REMOVE);
	if (fill)
		for_used(class, from, end, pages_complete);
	return true;
}

/* Where most hibernate, those that will be started shall be watched from then on, which is
 * cheaper than a guard first: the mark goes beyond all that have been in use, and by more the
 * more there are, so that it seldom has to. */
static uint32_t far_enough(unsigned class, uint32_t end)
{
	struct arena *a = &arenas[class];
	size_t asleep = atomic_load_explicit(&hibernation.count, memory_order_relaxed);
	uint32_t slots = stack_chunk_slots(class);
	uint32_t used = atomic_load_explicit(&a->dumpable, memory_order_relaxed);

	if (asleep < MANY || asleep < atomic_load_explicit(&a->map.taken, memory_order_relaxed) / 2)
		return end;
	used += used / 4;
	if (used > a->slots)
		used = a->slots;
	used -= used % slots;
	return used > end ? used : end;
}

bool watch_up_to(unsigned class, uint32_t end)
{
	struct arena *a = &arenas[class];
	uint32_t from = atomic_load_explicit(&a->watched, memory_order_relaxed);
	uint32_t most = from + CHUNKS_AT_ONCE * stack_chunk_slots(class);

	if (from >= end)
		return true;
	assert(end <= a->slots && end % stack_chunk_slots(class) == 0);
	if (keeper_threads() == 0 && pages_watch() < 0)
		return false;
	if (later_may(LATER_STARTED))
		return raise_mark(class, from, far_enough(class, end), false);
	return raise_mark(class, from, end < most ? end : most, true) && end <= most;
}

int watch_again(void)
{
	int r = 0;

	for (unsigned i = 0; i < STACK_CLASSES && r == 0; i++)
		if (arena_is_mapped(&arenas[i]))
			r = register_slots(&arenas[i], 0,
			                   atomic_load_explicit(&arenas[i].watched,
			                                        memory_order_relaxed));
	return r;
}
