/* SPDX-License-Identifier: MIT
 *
 * Stacks: setting up, classes and promises, and where a stack lies.
 */
#include "stack.h"
#include "arena.h"
#include "checker.h"
#include "guard.h"
#include "hibernate.h"
#include "scrub.h"
#include "uffd.h"

#include <assert.h>
#include <errno.h>
#include <unistd.h>

#define STACK_CACHES_MAX 1024u
#define STACK_SPARE 64u /* for the runtime's own threads */

static const unsigned class_shift[STACK_CLASSES] = { 16, 18, 20 };

static struct {
	struct spin map_lock; /* mapping of the larger classes */
	struct stacks_config config;
	size_t slots; /* promised of the smallest class */
	bool valgrind;
	_Atomic uint32_t pinned_all;
} stacks;

/* ---- making and unmaking ---------------------------------------------------- */

/* What the class's arena should be: the larger classes get a quarter of the
 * smallest one's address space each. */
static struct arena_want want_of(unsigned class)
{
	struct arena_want want = {
		.shift = class_shift[class],
		.slots = class ? stacks.slots >> (class == 1 ? 4 : 6) : stacks.slots,
		.slots_min = class ? 1 : ARENA_SLOTS_MIN,
		.spare = STACK_SPARE,
		.valgrind = stacks.valgrind,
		.uffd = guard_by_uffd() && !guard_later(),
	};

	if (!want.slots)
		want.slots = 1;
	return want;
}

static size_t slots_wanted(const struct stacks_config *config, bool valgrind)
{
	size_t want = config->slots_max ? config->slots_max : ARENA_SLOTS_MAX;
	size_t max = valgrind ? CHECKER_VALGRIND_SLOTS_MAX : CHECKER_SLOTS_MAX;

	if (!max)
		max = ARENA_SLOTS_MAX;
	if (want > max)
		want = max;
	return want < ARENA_SLOTS_MIN ? ARENA_SLOTS_MIN : want;
}

int stacks_init(const struct stacks_config *config)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	size_t guard = config->guard_size ? config->guard_size : page;

	if (guard > STACK_GUARD_MAX)
		return -EINVAL;
	guard = (guard + page - 1) & ~(page - 1);
	assert(!arena_is_mapped(&arenas[0]));
	stacks.config = *config;
	scrub_init(config->scrub);
	arena_caches_max = config->caches_max ? config->caches_max : STACK_CACHES_MAX;
	stacks.valgrind = checker_is_valgrind();
	stacks.slots = slots_wanted(config, stacks.valgrind);
	guard_init(config, guard, stacks.valgrind);
	struct arena_want want = want_of(0);
	int r = arena_map(&arenas[0], &want);
	if (r == 0)
		stacks.slots = arenas[0].capacity;
	else
		guard_fini();
	return r;
}

void stacks_fini(void)
{
	stacks_stop();
	for (unsigned i = 0; i < STACK_CLASSES; i++)
		arena_unmap(&arenas[i]);
	hibernate_fini();
	guard_fini();
}

/* Maps a larger class the first time somebody wants it. */
static int map_class(unsigned class)
{
	int r = 0;

	if (!arena_is_mapped(&arenas[0]))
		return -ENOMEM;
	spin_lock(&stacks.map_lock);
	if (!arena_is_mapped(&arenas[class])) {
		struct arena_want want = want_of(class);
		r = arena_map(&arenas[class], &want);
	}
	spin_unlock(&stacks.map_lock);
	return r;
}

/* ---- classes and promises --------------------------------------------------- */

int stack_class(size_t size)
{
	for (int i = 0; i < STACK_CLASSES; i++)
		if (size <= (size_t)1 << class_shift[i])
			return i;
	return -EINVAL;
}

size_t stack_class_size(unsigned class)
{
	assert(class < STACK_CLASSES);
	return (size_t)1 << class_shift[class];
}

size_t stacks_capacity(unsigned class)
{
	assert(class < STACK_CLASSES);
	return arena_is_mapped(&arenas[class]) ? arenas[class].capacity : 0;
}

int stack_reserve(unsigned class)
{
	struct arena *a = &arenas[class];

	assert(class < STACK_CLASSES);
	if (unlikely(!arena_is_mapped(a)) && map_class(class) < 0)
		return -ENOMEM;
	/* Relaxed: a number, nothing is handed over with it. */
	uint32_t before = atomic_fetch_add_explicit(&a->reserved, 1, memory_order_relaxed);
	if (likely(before < a->capacity))
		return 0;
	atomic_fetch_sub_explicit(&a->reserved, 1, memory_order_relaxed);
	return -ENOMEM;
}

void stack_unreserve(unsigned class)
{
	atomic_fetch_sub_explicit(&arenas[class].reserved, 1, memory_order_relaxed);
}

/* ---- geometry --------------------------------------------------------------- */

void *stack_top(stack_id stack)
{
	struct arena *a = &arenas[stack_class_of(stack)];
	size_t colour = (size_t)(arena_slot_of(stack) * STACK_COLOUR_FACTOR & STACK_COLOUR_MASK)
	                << STACK_COLOUR_SHIFT;

	return arena_slot(a, arena_slot_of(stack)) + arena_stride(a) - colour;
}

void *stack_bottom(stack_id stack)
{
	return arena_slot(&arenas[stack_class_of(stack)], arena_slot_of(stack)) + guard_size();
}

size_t stack_usable(stack_id stack)
{
	return (size_t)((char *)stack_top(stack) - (char *)stack_bottom(stack));
}

static _Atomic uint32_t *pins_of(stack_id stack)
{
	return &arenas[stack_class_of(stack)].pins[arena_slot_of(stack)];
}

void stack_pin(stack_id stack)
{
	if (unlikely(!stack_is_slot(stack)))
		return;
	/* Acquire and release: either stack_is_pinned() comes later and sees it, or
	 * came before, and what was marked until then is seen from here on. */
	atomic_fetch_add_explicit(pins_of(stack), 1, memory_order_acq_rel);
}

void stack_unpin(stack_id stack)
{
	if (unlikely(!stack_is_slot(stack)))
		return;
	/* Release: all use of the memory came before. */
	uint32_t before = atomic_fetch_sub_explicit(pins_of(stack), 1, memory_order_release);

	assert(before > 0);
	(void)before;
}

void stack_pin_all(void)
{
	/* As in stack_pin(). */
	atomic_fetch_add_explicit(&stacks.pinned_all, 1, memory_order_acq_rel);
}

void stack_unpin_all(void)
{
	atomic_fetch_sub_explicit(&stacks.pinned_all, 1, memory_order_release);
}

bool stack_is_pinned(stack_id stack)
{
	/* Read-modify-writes, so that this and a pin come one after the other; see
	 * stack_pin().  Acquire also pairs with the releases of unpinning. */
	return atomic_fetch_or_explicit(pins_of(stack), 0, memory_order_acq_rel) ||
	       atomic_fetch_or_explicit(&stacks.pinned_all, 0, memory_order_acq_rel);
}

enum stack_part stack_find(const void *address, stack_id *stack)
{
	for (unsigned i = 0; i < STACK_CLASSES; i++) {
		struct arena *a = &arenas[i];
		/* Acquire pairs with the release in arena_map(). */
		char *base = atomic_load_explicit(&a->base, memory_order_acquire);
		if (!base || (uintptr_t)address < (uintptr_t)base)
			continue;
		size_t offset = (uintptr_t)address - (uintptr_t)base;
		if (offset >> a->shift >= a->slots)
			continue;
		*stack = arena_id(i, (uint32_t)(offset >> a->shift));
		return (offset & (arena_stride(a) - 1)) < guard_size() ? STACK_PART_GUARD
		                                                       : STACK_PART_FRAMES;
	}
	return STACK_PART_NONE;
}

/* ---- what is known ---------------------------------------------------------- */

enum stack_rung stacks_rung(void)
{
	return guard_rung();
}

const char *stacks_rung_name(void)
{
	static const char *const names[] = {
		[STACK_RUNG_USERFAULTFD_KERNEL] = "userfaultfd-kernel",
		[STACK_RUNG_USERFAULTFD] = "userfaultfd",
		[STACK_RUNG_GUARD_INSTALL] = "guard-install",
		[STACK_RUNG_MPROTECT] = "mprotect",
		[STACK_RUNG_NONE] = "none",
	};

	return names[guard_rung()];
}

const char *stacks_reason(void)
{
	return uffd_reason();
}

bool stacks_can_hibernate(void)
{
	return guard_by_uffd() && uffd_can_protect();
}

bool stacks_install_guards(void)
{
	return guard_later() || guard_rung() == STACK_RUNG_GUARD_INSTALL;
}

bool stacks_can_move(void)
{
	return guard_by_uffd() && uffd_can_move();
}

size_t stacks_unguarded(void)
{
	return guard_missing();
}

size_t stacks_guard_size(void)
{
	return guard_size();
}
