/* SPDX-License-Identifier: MIT
 *
 * The memory of thread stacks: what mmap(MAP_STACK) is answered with.
 *
 * pthread_create(3) maps each stack by itself and protects its lowest pages: two VMAs a
 * thread, of which a process may have 65,530.  Here all stacks of one size lie in one
 * region, one VMA, and guards are markers in its page tables (MADV_GUARD_INSTALL, Linux
 * 6.13).  Before that they are VMAs, and threads above GUARD_VMAS_MAX have none.
 *
 *      region  | guard | stack        | guard | stack        | … | never used
 *              ^ slot 0               ^ slot 1
 *
 * A slot begins 1 MiB after a multiple of 2 MiB where it is that large: then the top of
 * one stack and the guard of the next share a page of page tables.
 *
 * A slot that is unmapped loses its pages and keeps its guard.  A part of one may be
 * protected, or mapped anew, where that makes its guard longer or shorter.  Nothing else of
 * what may be done to a mapping is answered here: it is done to the region, and the slot is
 * never used again.
 */
#ifndef INTERCEPT_STACK_MEMORY_H
#define INTERCEPT_STACK_MEMORY_H

#include "spin.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define STACK_REGIONS 16
#define GUARD_VMAS_MAX 16000

struct stack_slot {
	uint16_t guard_pages; /* that have a guard, from its beginning */
	bool used;
	bool closed;  /* mapped inaccessible, and not opened yet */
	bool left;    /* to the kernel: never used again */
	uint8_t ends; /* of threads that left its pages, since it was last trimmed */
};

struct stack_region {
	/* Written once; base last. */
	char *_Atomic base;
	char *end;
	size_t size; /* of a slot */
	uint32_t slots;

	struct spin lock;
	uint32_t fresh; /* slots from here on were never used */
	uint32_t free_count;
	uint32_t *free;
	struct stack_slot *slot;
	uint32_t dumped; /* slots up to here are part of core dumps */
};

extern internal struct stack_region stack_regions[STACK_REGIONS];
extern internal _Atomic bool stack_guards_are_vmas;

/* A region for stacks of that size; NULL: there is none and none can be had. Full stage. */
struct stack_region *stack_region_for(size_t size);

/* Which one the address lies in; NULL: none. */
static inline struct stack_region *stack_region_at(uintptr_t address)
{
	for (unsigned i = 0; i < STACK_REGIONS; i++) {
		struct stack_region *r = &stack_regions[i];
		/* Acquire pairs with the release in stack_region_for(). */
		uintptr_t base = (uintptr_t)atomic_load_explicit(&r->base, memory_order_acquire);
		if (!base)
			return NULL;
		if (address >= base && address < (uintptr_t)r->end)
			return r;
	}
	return NULL;
}

#endif
