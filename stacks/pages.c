/* SPDX-License-Identifier: MIT
 *
 * Filling and touching; the life of the threads that watch.
 */
#include "pages.h"
#include "arch/sys.h"
#include "guard.h"
#include "hibernate.h"
#include "keeper.h"
#include "uffd.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE ((size_t)UFFD_PAGE_MAX)

int pages_fill(struct arena *a, uint32_t slot)
{
	char *low = arena_slot(a, slot), *top = low + arena_stride(a) - PAGE;
	int r = uffd_copy(top, uffd_zeros, PAGE);

	/* Somebody has touched a stack that had ended, and got a page for it. */
	if (r < 0 && r != -EEXIST)
		return r;
	return uffd_zero(low + guard_size(), (size_t)(top - low) - guard_size());
}

static char *page_of(void *address)
{
	return (char *)((uintptr_t)address & ~(PAGE - 1));
}

bool stack_touched(void *address)
{
	stack_id stack;

	if (!guard_is_missing_page() || stack_find(address, &stack) != STACK_PART_FRAMES)
		return false;
	return hibernate_touched(stack, page_of(address)) == 0;
}

bool stack_guard_deadly(void *address)
{
	stack_id stack;

	return guard_is_missing_page() && stack_find(address, &stack) == STACK_PART_GUARD &&
	       sys3(SYS_mprotect, page_of(address), PAGE, PROT_NONE) == 0;
}

bool stack_guard_open(stack_id stack, void *address)
{
	char *low = (char *)stack_bottom(stack) - guard_size();
	char *page = page_of(address);

	return page > low && page < (char *)stack_bottom(stack) &&
	       guard_open(&arenas[stack_class_of(stack)], arena_slot_of(stack), page) == 0;
}

void stack_reclaim(stack_id stack, const void *sp)
{
	char *low = stack_bottom(stack), *high = page_of((void *)(uintptr_t)sp);

	guard_close(&arenas[stack_class_of(stack)], arena_slot_of(stack));
	if (high <= low || sys3(SYS_madvise, low, high - low, MADV_DONTNEED) < 0)
		return;
	while (guard_is_missing_page() && uffd_zero(low, (size_t)(high - low)) == -ENOMEM)
		sys0(SYS_sched_yield); /* others are being made to give some back */
}

/* On the handler's thread, for one that waits in the kernel. */
static void see_to(void *address)
{
	if (!stack_touched(address))
		stack_guard_deadly(address);
	uffd_wake(page_of(address), PAGE);
}

static int register_all(void)
{
	int r = 0;

	for (unsigned i = 0; i < STACK_CLASSES && r == 0; i++)
		if (arena_is_mapped(&arenas[i]))
			r = uffd_register(arenas[i].mapping, arenas[i].mapping_size);
	return r;
}

int stacks_start(void)
{
	if (!guard_is_missing_page())
		return 0;
	if (uffd_is_lost()) {
		int r = guard_renew();
		if (r == 0)
			r = register_all();
		if (r < 0)
			return r;
	}
	return uffd_start(see_to);
}

unsigned stacks_threads(void)
{
	return keeper_threads();
}

int stacks_watch(void)
{
	return keeper_watch();
}

void stacks_stop(void)
{
	if (guard_is_missing_page())
		uffd_stop();
}

void stacks_forked(stack_id running)
{
	if (!guard_is_missing_page())
		return;
	bool watched = uffd_reopen_in_child() && register_all() == 0;
	hibernate_forked(watched);
	if (!watched && running != STACK_NONE)
		sys3(SYS_mprotect, (char *)stack_bottom(running) - guard_size(), guard_size(),
		     PROT_NONE);
}
