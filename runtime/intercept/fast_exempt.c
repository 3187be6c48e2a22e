/* SPDX-License-Identifier: MIT
 *
 * Whose call is it: one of a library's that is exempt (link_exempt.c)?
 */
#include "arch/base.h"
#include "arena.h"
#include "intercept/link.h"
#include "worker.h"

#define CALLER_DEPTH 64 /* words of the stack that are looked at */

struct link_range link_ranges[LINK_RANGES];
unsigned link_ranges_count;

static const struct link_range *range_of(uintptr_t address)
{
	unsigned low = 0, high = link_ranges_count;

	while (low < high) {
		unsigned middle = (low + high) / 2;

		if (address >= link_ranges[middle].end)
			low = middle + 1;
		else
			high = middle;
	}
	return low < link_ranges_count && address >= link_ranges[low].start ? &link_ranges[low]
	                                                                    : NULL;
}

/* On a stack of libc's there is its thread's block above, on ours the end. */
static unsigned words_above(stack_id stack, uintptr_t sp)
{
	const struct arena *a = stack == STACK_LENT ? NULL : &arenas[stack_class_of(stack)];
	uintptr_t top =
		a ? (uintptr_t)arena_slot(a, arena_slot_of(stack)) + arena_stride(a) : UINTPTR_MAX;
	uintptr_t words = sp < top ? (top - sp) / sizeof(uintptr_t) : 0;

	return words < CALLER_DEPTH ? (unsigned)words : CALLER_DEPTH;
}

/* Its own instruction, or libc's: then the first word on the stack decides that is an
 * address in anybody else's code. */
bool link_is_exempt(const struct call *c)
{
	const struct worker *w = base_gs();
	const struct gt *gt = atomic_load_explicit(&w->current, memory_order_relaxed);
	const struct link_range *range = range_of(c->pc);
	const uintptr_t *stack = (const uintptr_t *)c->sp;
	unsigned words = words_above(gt->stack, c->sp);

	if (range && !range->libc)
		return range->exempt;
	for (unsigned i = 0; i < words; i++) {
		range = range_of(stack[i]);
		if (range && !range->libc)
			return range->exempt;
	}
	return false;
}
