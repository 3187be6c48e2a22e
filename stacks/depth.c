/* SPDX-License-Identifier: MIT
 *
 * How deep a stack has been used.
 */
#include "arch/cpu.h"
#include "arch/sys.h"
#include "arena.h"
#include "guard.h"
#include "scrub.h"

#include <sys/mman.h>

#define PAGE ((size_t)4096)

/* The lowest page that is there. */
static char *lowest_page(struct arena *a, uint32_t slot)
{
	unsigned char present[STACK_SIZE_MAX / PAGE];
	char *low = arena_slot(a, slot) + guard_size(),
	     *high = arena_slot(a, slot) + arena_stride(a);

	if (sys3(SYS_mincore, low, high - low, present) < 0)
		return low;
	for (size_t i = 0; low < high && !(present[i] & 1); i++)
		low += PAGE;
	return low;
}

/* Frames of others are read, whatever the checkers think of them. */
RACY NO_ASAN size_t stack_depth(stack_id stack)
{
	const volatile uint64_t *word =
		(const volatile uint64_t *)lowest_page(&arenas[stack_class_of(stack)],
	                                               arena_slot_of(stack));
	const uint64_t *top = stack_top(stack);

	while (word < top && !*word)
		word++;
	return word < top ? (size_t)((const char *)top - (const char *)word) : 0;
}

int stack_acquire_fresh(struct stack_cache *cache, unsigned class, stack_id *stack)
{
	int r = stack_acquire(cache, class, stack);

	if (r == 0)
		while (!scrub_all(&arenas[class], arena_slot_of(*stack)))
			sys0(SYS_sched_yield); /* others are being made to give memory back */
	return r < 0 ? r : 1;
}
