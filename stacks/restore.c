/* SPDX-License-Identifier: MIT
 *
 * From hibernated to resident: by who resumes the stack, by a touch, in a child.
 */
#include "arch/cpu.h"
#include "arch/sys.h"
#include "guard.h"
#include "later.h"
#include "pack.h"
#include "pages.h"
#include "scrub.h"
#include "slab.h"
#include "sleep.h"
#include "uffd.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#define PAGE ((size_t)UFFD_PAGE_MAX)
#define RESTORE_TRIES 10000 /* with a yield each, when memory is short */
#define PAGES_KEPT 64u

/* Where top pages are put together; a bit for each that is taken. */
static _Alignas(PAGE) char pages[PAGES_KEPT + 1][PAGE];
static _Atomic uint64_t pages_taken;
#define HANDLERS_PAGE PAGES_KEPT /* which waits for nobody */

static unsigned take_page(bool handler)
{
	uint64_t taken = atomic_load_explicit(&pages_taken, memory_order_relaxed);
	uint64_t lowest;

	if (handler)
		return HANDLERS_PAGE;
	do
		while (!(lowest = ~taken & (taken + 1))) {
			sys0(SYS_sched_yield);
			taken = atomic_load_explicit(&pages_taken, memory_order_relaxed);
		}
	/* Acquire pairs with the release in give_page(). */
	while (!atomic_compare_exchange_weak_explicit(&pages_taken, &taken, taken | lowest,
	                                              memory_order_acquire, memory_order_relaxed));
	return (unsigned)__builtin_ctzll(lowest);
}

static void give_page(unsigned page)
{
	if (scrub_is_on())
		memset(pages[page], 0, PAGE);
	if (page != HANDLERS_PAGE)
		atomic_fetch_and_explicit(&pages_taken, ~((uint64_t)1 << page),
		                          memory_order_release);
}

/* Fills the slot; the caller has made it RESTORING. */
static int restore(stack_id stack, struct slot_sleep *s, uint32_t word, bool handler)
{
	char *low = slot_of(stack) + guard_size(), *page = top_page(stack);
	size_t length = length_in(word);
	size_t offset = (size_t)((char *)stack_top(stack) - length - page);
	unsigned at = take_page(handler);

	assert(offset < PAGE);
	memset(pages[at], 0, offset);
	unpack(pages[at] + offset, length, stack_top(stack), slab_at(s->slab), word >> MODEL_SHIFT);
	memset(pages[at] + offset + length, 0, PAGE - offset - length);
	int r = later_may(LATER_RESTORED) ? 0 : uffd_zero(low, (size_t)(page - low));
	if (r == 0)
		r = uffd_copy(page, pages[at], PAGE);
	/* In a forked child, somebody has touched it before it was watched, and got
	 * zeroes. */
	if (r == -EEXIST) {
		cpu_copy(page + offset, pages[at] + offset, length);
		r = 0;
	}
	give_page(at);
	return r;
}

/* *word: HIBERNATED, as last seen.  1: done; 0: somebody else was faster. */
static int try_restore(stack_id stack, struct slot_sleep *s, uint32_t *word, bool handler)
{
	uint32_t before = *word, entry;
	int r = -ENOMEM;

	if (!move_state(s, word, RESTORING))
		return 0;
	atomic_store_explicit(chunk_of(stack), 0, memory_order_relaxed);
	entry = s->slab;
	for (int i = 0; i < RESTORE_TRIES && r == -ENOMEM; i++)
		if ((r = restore(stack, s, before, handler)) == -ENOMEM)
			sys0(SYS_sched_yield);
	if (r < 0) {
		set_state(s, before);
		return r;
	}
	/* Nobody, also in a forked child, looks for its entry from here on. */
	set_state(s, RESTORING);
	slab_give(entry);
	pack_forget(before >> MODEL_SHIFT);
	atomic_fetch_sub_explicit(&hibernation.count, 1, memory_order_relaxed);
	s->slab = LATER_RESTORED;
	set_state(s, RESIDENT);
	return 1;
}

/* Lets whoever is at it finish; true when it takes its time. */
static bool wait_a_little(unsigned *tries)
{
	if (++*tries % 64) {
		cpu_pause();
		return false;
	}
	sys0(SYS_sched_yield);
	return true;
}

int stack_rouse(stack_id stack)
{
	struct slot_sleep *s = sleep_of(stack);
	unsigned tries = 0;

	for (;;) {
		uint32_t word = atomic_load_explicit(&s->word, memory_order_acquire);
		int r = 0;
		if ((word & STATE_MASK) == RESIDENT)
			return 0;
		if ((word & STATE_MASK) == HIBERNATED)
			r = try_restore(stack, s, &word, false);
		else
			wait_a_little(&tries);
		if (r < 0)
			return r;
	}
}

/* All that is missing; where somebody waits, memory, who is about to write there as a
 * rule, and goes on when it is over. */
static int fill_rest(stack_id stack, const struct slot_sleep *s, void *page)
{
	int r = uffd_copy_quietly(page, uffd_zeros, PAGE);

	if (r < 0 && r != -EEXIST)
		return r;
	later_filled(s->slab);
	pages_complete(arena_of(stack), arena_slot_of(stack));
	return 0;
}

/* A stack that is resident lacks only what was left out (later.h).  Or it has ended:
 * whoever reads it gets zeroes, as from any memory given back.  Held meanwhile, or it
 * could be put to sleep with a page that is not its own. */
static int fill_stray(stack_id stack, struct slot_sleep *s, void *page)
{
	uint32_t word = RESIDENT;
	int r;

	if (!move_state(s, &word, RESTORING))
		return 0;
	while ((r = uffd_sees_calls() ? fill_rest(stack, s, page) : uffd_zero(page, PAGE)) ==
	       -ENOMEM)
		sys0(SYS_sched_yield); /* others are being made to give some back */
	set_state(s, RESIDENT);
	return r < 0 ? r : 1;
}

int hibernate_touched(stack_id stack, void *page, bool handler)
{
	struct slot_sleep *s = sleep_of(stack);
	unsigned tries = 0;
	int r = 0;

	while (r == 0) {
		uint32_t word = atomic_load_explicit(&s->word, memory_order_acquire);
		if ((word & STATE_MASK) == RESIDENT)
			r = fill_stray(stack, s, page);
		else if ((word & STATE_MASK) == HIBERNATED)
			r = try_restore(stack, s, &word, handler);
		else if (wait_a_little(&tries) && handler)
			return 1;
	}
	return r < 0 ? r : 0;
}

/* ---- in a forked child ------------------------------------------------------ */

/* Memory there is plain: a missing page reads as zeroes until it is written. */
static void restore_plain(stack_id stack, struct slot_sleep *s, uint32_t word)
{
	size_t length = length_in(word);
	unsigned at = take_page(false);

	unpack(pages[at], length, stack_top(stack), slab_at(s->slab), word >> MODEL_SHIFT);
	cpu_copy((char *)stack_top(stack) - length, pages[at], length);
	give_page(at);
	set_state(s, RESIDENT);
}

static void slot_forked(stack_id stack, bool watched)
{
	struct slot_sleep *s = sleep_of(stack);
	uint32_t word = atomic_load_explicit(&s->word, memory_order_relaxed);

	/* One that was being restored has its page, on which there may be newer bytes
	 * already, or still its entry. */
	if ((word & STATE_MASK) == RESTORING) {
		bool there = length_in(word) == 0 || page_is_present(top_page(stack));
		word = there ? RESIDENT : (word & ~STATE_MASK) | HIBERNATED;
		set_state(s, word);
	}
	if ((word & STATE_MASK) == HIBERNATED && !watched)
		restore_plain(stack, s, word);
}

void hibernate_forked(bool watched)
{
	if (!atomic_load_explicit(&hibernation.ready, memory_order_relaxed))
		return;
	/* Of threads that are not here. */
	for (unsigned i = 0; i < PAGES_KEPT; i++)
		if (atomic_load_explicit(&pages_taken, memory_order_relaxed) >> i & 1)
			give_page(i);
	for (unsigned class = 0; class < STACK_CLASSES; class ++) {
		uint32_t chunks = stack_chunks(class);
		for (uint32_t slot = 0; chunks && slot < chunks * stack_chunk_slots(class); slot++)
			slot_forked(arena_id(class, slot), watched);
	}
}
