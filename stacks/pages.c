/* SPDX-License-Identifier: MIT
 *
 * Filling and touching; the life of the threads that watch.
 */
#include "pages.h"
#include "arch/sys.h"
#include "guard.h"
#include "hibernate.h"
#include "keeper.h"
#include "later.h"
#include "uffd.h"
#include "watch.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE ((size_t)UFFD_PAGE_MAX)

static int fill(const struct arena *a, uint32_t slot)
{
	char *low = arena_slot(a, slot), *top = low + arena_stride(a) - PAGE;
	int r = uffd_copy(top, uffd_zeros, PAGE);

	/* Somebody has touched a stack that had ended, and got a page for it. */
	if (r < 0 && r != -EEXIST)
		return r;
	a->sleep[slot].slab = LATER_STARTED;
	if (later_may(LATER_STARTED))
		return 0;
	return uffd_zero(low + guard_size(), (size_t)(top - low) - guard_size());
}

int pages_fill(const struct arena *a, uint32_t slot)
{
	int r = 0;

	/* Not registered yet, or not at all: then it is not watched any more (watch.c). */
	while (arena_is_watched(a, slot) && (r = fill(a, slot)) == -ENOENT)
		sys0(SYS_sched_yield);
	return r == -ENOENT ? 0 : r;
}

void pages_complete(const struct arena *a, uint32_t slot)
{
	unsigned char present[STACK_SIZE_MAX / PAGE];
	char *low = arena_slot(a, slot) + guard_size(), *high = arena_slot(a, slot + 1);
	size_t pages = (size_t)(high - low) / PAGE, end;

	if (sys3(SYS_mincore, low, high - low, present) < 0)
		memset(present, 0, pages); /* what is there stays */
	for (size_t i = 0; i < pages; i = end) {
		end = i + 1;
		if (present[i] & 1)
			continue;
		while (end < pages && !(present[end] & 1))
			end++;
		while (uffd_zero(low + i * PAGE, (end - i) * PAGE) == -ENOMEM)
			sys0(SYS_sched_yield); /* others are being made to give some back */
	}
}

bool page_is_present(char *page)
{
	unsigned char present = 0;

	return sys3(SYS_mincore, page, PAGE, &present) == 0 && (present & 1);
}

static char *page_of(void *address)
{
	return (char *)((uintptr_t)address & ~(PAGE - 1));
}

static bool is_seen_to(void *address, bool handler)
{
	stack_id stack;

	if (!guard_by_uffd() || stack_find(address, &stack) != STACK_PART_FRAMES)
		return false;
	return hibernate_touched(stack, page_of(address), handler) >= 0;
}

bool stack_touched(void *address)
{
	return is_seen_to(address, false);
}

bool stack_guard_deadly(void *address)
{
	stack_id stack;

	return guard_by_uffd() && stack_find(address, &stack) == STACK_PART_GUARD &&
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
	/* Asked now: see watch.c. */
	if (arena_is_watched(&arenas[stack_class_of(stack)], arena_slot_of(stack)))
		pages_complete(&arenas[stack_class_of(stack)], arena_slot_of(stack));
}

/* On the handler's thread, for one that waits in the kernel. */
static void see_to(void *address)
{
	if (!is_seen_to(address, true))
		stack_guard_deadly(address);
	uffd_wake(page_of(address), PAGE);
}

int pages_watch(void)
{
	if (uffd_is_lost()) {
		int r = guard_renew();
		if (r == 0)
			r = watch_again();
		if (r < 0)
			return r;
	}
	return uffd_start(see_to);
}

static bool is_any_watched(void)
{
	for (unsigned i = 0; i < STACK_CLASSES; i++)
		if (arena_is_mapped(&arenas[i]) && arena_is_watched(&arenas[i], 0))
			return true;
	return false;
}

int stacks_start(void)
{
	if (!guard_by_uffd() || (guard_later() && !is_any_watched()))
		return 0;
	return pages_watch();
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
	if (guard_by_uffd())
		uffd_stop();
}

void stacks_forked(stack_id running)
{
	if (!guard_by_uffd())
		return;
	bool watched = uffd_reopen_in_child() && watch_again() == 0;
	hibernate_forked(watched);
	if (running == STACK_NONE)
		return;
	struct arena *a = &arenas[stack_class_of(running)];
	if (!arena_is_watched(a, arena_slot_of(running)))
		return;
	/* In user mode, and nobody else runs there: now it has to have all pages. */
	if (watched)
		pages_complete(a, arena_slot_of(running));
	else
		sys3(SYS_mprotect, (char *)stack_bottom(running) - guard_size(), guard_size(),
		     PROT_NONE);
}
