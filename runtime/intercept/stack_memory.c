/* SPDX-License-Identifier: MIT
 *
 * Regions of stack_memory.h: making them.  What happens in them: fast_stack.c.
 */
#include "intercept/stack_memory.h"
#include "arch/sys.h"
#include "intercept/call.h"

#include <sys/mman.h>

#define SLOTS_MAX ((uint32_t)5 << 18)
#define SLOTS_MIN 64u
#define REGION_MAX ((size_t)10 << 40)
#define TABLE_SPAN ((size_t)2 << 20) /* addresses of one page of page tables */

struct stack_region stack_regions[STACK_REGIONS];
_Atomic bool stack_guards_are_vmas;

static struct spin lock;

/* What is known of its slots. */
static bool map_side(struct stack_region *r)
{
	size_t bytes = r->slots * (sizeof(*r->slot) + sizeof(*r->free));
	long error;
	char *side = sys_map(bytes, SYS_MAP_NORESERVE, &error);

	if (!side)
		return false;
	sys_name(side, bytes, "green thread stacks: slots");
	sys3(SYS_madvise, side, bytes, MADV_DONTDUMP);
	r->free = (uint32_t *)side;
	r->slot = (struct stack_slot *)(r->free + r->slots);
	return true;
}

/* The largest region that can be had. */
static bool make(struct stack_region *r, size_t size)
{
	long error;
	uint32_t slots = REGION_MAX / size < SLOTS_MAX ? (uint32_t)(REGION_MAX / size) : SLOTS_MAX;
	char *mapping = NULL;
	size_t bytes = 0;

	for (; slots >= SLOTS_MIN && !mapping; slots /= 2) {
		bytes = slots * size + 2 * TABLE_SPAN;
		mapping = sys_map(bytes, SYS_MAP_NORESERVE | SYS_MAP_STACK, &error);
		if (mapping)
			break;
	}
	if (!mapping)
		return false;
	r->size = size;
	r->slots = slots;
	if (!map_side(r)) {
		sys_unmap(mapping, bytes);
		return false;
	}
	sys_name(mapping, bytes, "green thread stacks");
	sys3(SYS_madvise, mapping, bytes, MADV_NOHUGEPAGE);
	sys3(SYS_madvise, mapping, bytes, MADV_DONTDUMP);
	uintptr_t base = ((uintptr_t)mapping + TABLE_SPAN - 1) & ~(TABLE_SPAN - 1);
	if (size >= TABLE_SPAN)
		base += TABLE_SPAN / 2;
	r->end = (char *)base + slots * size;
	/* Release pairs with the acquire in stack_region_at(). */
	atomic_store_explicit(&r->base, (char *)base, memory_order_release);
	return true;
}

struct stack_region *stack_region_for(size_t size)
{
	struct stack_region *found = NULL;

	spin_lock(&lock);
	for (unsigned i = 0; i < STACK_REGIONS && !found; i++) {
		struct stack_region *r = &stack_regions[i];
		if (!atomic_load_explicit(&r->base, memory_order_relaxed)) {
			if (make(r, size))
				found = r;
			break;
		}
		if (r->size == size)
			found = r;
	}
	spin_unlock(&lock);
	return found;
}

/* The stack comes with the first one of its size; the rest is done without leaving the
 * fast stage. */
long call_mmap(struct call *c)
{
	return stack_region_for((size_t)c->arg[1]) ? fast_mmap(c) : CALL_PASS;
}
