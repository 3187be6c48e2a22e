/* SPDX-License-Identifier: MIT
 *
 * The states of hibernate.h, sweeping and restoring.
 */
#include "hibernate.h"
#include "arch/cpu.h"
#include "arch/sys.h"
#include "arena.h"
#include "guard.h"
#include "pack.h"
#include "scrub.h"
#include "slab.h"
#include "slot_word.h"
#include "uffd.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#define PAGE ((size_t)UFFD_PAGE_MAX)
#define CHUNK_SHIFT 21
#define RESTORE_TRIES 10000 /* with a yield each, when memory is short */

_Static_assert(PACK_BYTES_MAX <= LENGTH_MASK, "lengths fit");
_Static_assert(PACK_CODE_MAX <= SLAB_BYTES_MAX, "codes fit");

#define PAGES_KEPT 64u

static struct {
	struct spin lock;
	_Atomic size_t count; /* hibernated now */
	_Atomic uint64_t total;
	_Atomic bool ready;
	_Atomic uint64_t pages_taken;
	unsigned char code[PACK_CODE_MAX]; /* the sweeper's */
} hibernation;

struct hibernate_view hibernate_view;

/* Where top pages are put together. */
static _Alignas(PAGE) char pages[PAGES_KEPT][PAGE];

static struct arena *arena_of(stack_id stack)
{
	return &arenas[stack_class_of(stack)];
}

static struct slot_sleep *sleep_of(stack_id stack)
{
	return &arena_of(stack)->sleep[arena_slot_of(stack)];
}

static _Atomic uint8_t *chunk_of(stack_id stack)
{
	struct arena *a = arena_of(stack);

	return &a->chunk_sleeps[arena_slot_of(stack) >> (CHUNK_SHIFT - a->shift)];
}

/* Release pairs with the acquires of those who wait for the state. */
static void set_state(struct slot_sleep *s, uint32_t state)
{
	atomic_store_explicit(&s->word, state, memory_order_release);
}

static size_t length_in(uint32_t word)
{
	return word >> LENGTH_SHIFT & LENGTH_MASK;
}

static bool move_state(struct slot_sleep *s, uint32_t *word, uint32_t state)
{
	return atomic_compare_exchange_strong_explicit(&s->word, word,
	                                               (*word & ~STATE_MASK) | state,
	                                               memory_order_acq_rel, memory_order_acquire);
}

int hibernate_init(void)
{
	size_t slots = 0;

	if (!guard_is_missing_page() || !uffd_can_protect())
		return -ENOSYS;
	if (atomic_load_explicit(&hibernation.ready, memory_order_relaxed))
		return 0;
	for (unsigned i = 0; i < STACK_CLASSES; i++)
		slots += arenas[i].slots;
	int r = pack_init();
	if (r == 0 && (r = slab_init(slots * PACK_BYTES_MAX)) < 0)
		pack_fini();
	if (r == 0) {
		pack_where(&hibernate_view.models, &hibernate_view.words);
		hibernate_view.slab = slab_at(0);
	}
	atomic_store_explicit(&hibernation.ready, r == 0, memory_order_release);
	return r;
}

void hibernate_fini(void)
{
	if (atomic_load_explicit(&hibernation.ready, memory_order_relaxed)) {
		slab_fini();
		pack_fini();
		hibernate_view = (struct hibernate_view){ .slab = NULL };
	}
	atomic_store_explicit(&hibernation.ready, false, memory_order_relaxed);
	atomic_store_explicit(&hibernation.count, 0, memory_order_relaxed);
}

bool hibernate_is_ready(void)
{
	return atomic_load_explicit(&hibernation.ready, memory_order_acquire);
}

/* ---- what the sweeper asks -------------------------------------------------- */

unsigned stack_chunk_slots(unsigned class)
{
	return 1u << (CHUNK_SHIFT - arenas[class].shift);
}

uint32_t stack_chunks(unsigned class)
{
	if (!arena_is_mapped(&arenas[class]))
		return 0;
	/* A chunk that reaches beyond the last slot is left alone. */
	return atomic_load_explicit(&arenas[class].dumpable, memory_order_relaxed) /
	       stack_chunk_slots(class);
}

stack_id stack_in_chunk(unsigned class, uint32_t chunk, unsigned i)
{
	return arena_id(class, chunk * stack_chunk_slots(class) + i);
}

bool stack_chunk_sleeps(unsigned class, uint32_t chunk)
{
	return atomic_load_explicit(&arenas[class].chunk_sleeps[chunk], memory_order_relaxed);
}

void stack_set_owner(stack_id stack, uint32_t owner)
{
	if (atomic_load_explicit(&hibernation.ready, memory_order_relaxed))
		atomic_store_explicit(&sleep_of(stack)->owner, owner, memory_order_relaxed);
}

uint32_t stack_owner(stack_id stack)
{
	return atomic_load_explicit(&sleep_of(stack)->owner, memory_order_relaxed);
}

bool stack_is_hibernated(stack_id stack)
{
	uint32_t word = atomic_load_explicit(&sleep_of(stack)->word, memory_order_relaxed);

	return (word & STATE_MASK) == HIBERNATED;
}

bool stack_lull(stack_id stack)
{
	uint32_t word = RESIDENT;

	return move_state(sleep_of(stack), &word, SWEEPING);
}

void stack_unlull(stack_id stack)
{
	set_state(sleep_of(stack), RESIDENT);
}

bool stack_fits_slab(stack_id stack, const void *sp)
{
	size_t length = (size_t)((char *)stack_top(stack) - (const char *)sp);

	/* Pinned: by itself before it parked, or by others until it was lulled. */
	return length <= PACK_BYTES_MAX && length % 8 == 0 && !stack_is_pinned(stack);
}

/* While it is resident, its place in the slab is the tag of the last trim: only
 * the sweeper looks there then. */
bool stack_is_trimmed(stack_id stack, uint32_t tag)
{
	return !stack_is_hibernated(stack) && sleep_of(stack)->slab == tag;
}

void stack_trim(stack_id stack, const void *sp, uint32_t tag)
{
	char *low = stack_bottom(stack);
	/* The red zone below sp is not needed: who parks has called a function. */
	char *high = (char *)((uintptr_t)sp & ~(uintptr_t)(PAGE - 1));

	if (stack_is_pinned(stack))
		return;
	if (high > low && sys3(SYS_madvise, low, high - low, MADV_DONTNEED) == 0)
		while (uffd_zero(low, (size_t)(high - low)) == -ENOMEM)
			sys0(SYS_sched_yield);
	sleep_of(stack)->slab = tag;
}

/* ---- sweeping --------------------------------------------------------------- */

static size_t length_of(const struct stack_sleeper *s)
{
	return (size_t)((char *)stack_top(s->stack) - (char *)s->sp);
}

/* SWEEPING: it is put away, but its pages are there still; HIBERNATED: they are not. */
static void publish(struct stack_sleeper *s, uint32_t state)
{
	struct slot_sleep *sleep = sleep_of(s->stack);

	sleep->slab = s->slab;
	set_state(sleep, state | (uint32_t)length_of(s) << LENGTH_SHIFT | s->model << MODEL_SHIFT);
}

/* The live bytes into the slab; false: it is full. */
static bool put_away(struct stack_sleeper *s)
{
	size_t size = pack(s->sp, stack_top(s->stack), s->alike, hibernation.code, &s->model);

	s->slab = slab_take(size);
	if (s->slab) {
		memcpy(slab_at(s->slab), hibernation.code, size);
		publish(s, SWEEPING);
	} else {
		pack_forget(s->model);
	}
	if (scrub_is_on())
		memset(hibernation.code, 0, size);
	return s->slab != 0;
}

static void give_up(struct stack_sleeper *s)
{
	if (s->slab) {
		slab_give(s->slab);
		pack_forget(s->model);
	}
	stack_unlull(s->stack);
}

/* Everybody's writes end, the bytes are put away, the pages go.  False when the
 * kernel refused or there is no room, and nothing has happened. */
static bool sweep_range(char *start, size_t size, struct stack_sleeper *sleepers, unsigned count)
{
	bool good = true;

	for (unsigned i = 0; i < count; i++)
		sleepers[i].slab = 0;
	if (uffd_protect(start, size, true) == 0) {
		for (unsigned i = 0; good && i < count; i++)
			good = put_away(&sleepers[i]);
		/* Locked memory stays. */
		if (!good || sys3(SYS_madvise, start, size, MADV_DONTNEED) < 0) {
			uffd_protect(start, size, false);
			good = false;
		}
	} else {
		good = false;
	}
	/* Counted first: who restores one counts down. */
	if (good) {
		atomic_fetch_add_explicit(&hibernation.count, count, memory_order_relaxed);
		atomic_fetch_add_explicit(&hibernation.total, count, memory_order_relaxed);
	}
	for (unsigned i = 0; i < count; i++) {
		if (good)
			publish(&sleepers[i], HIBERNATED);
		else
			give_up(&sleepers[i]);
	}
	return good;
}

/* Takes those of the chunk that sleep already out of others' reach; all or
 * none.  Slots in use by the list are SWEEPING. */
static bool lock_rest(stack_id first, unsigned slots, uint64_t *locked)
{
	*locked = 0;
	for (unsigned i = 0; i < slots; i++) {
		struct slot_sleep *s = sleep_of(first + i);
		uint32_t word = atomic_load_explicit(&s->word, memory_order_relaxed);
		if ((word & STATE_MASK) == SWEEPING)
			continue;
		if ((word & STATE_MASK) != HIBERNATED || !move_state(s, &word, SWEEPING))
			return false;
		*locked |= (uint64_t)1 << i;
	}
	return true;
}

static void unlock_rest(stack_id first, uint64_t locked)
{
	for (; locked; locked &= locked - 1) {
		struct slot_sleep *s = sleep_of(first + (unsigned)__builtin_ctzll(locked));
		uint32_t word = atomic_load_explicit(&s->word, memory_order_relaxed);
		move_state(s, &word, HIBERNATED);
	}
}

static void sweep_runs(struct stack_sleeper *sleepers, unsigned count)
{
	for (unsigned i = 0; i < count;) {
		unsigned first = i++;
		while (i < count && sleepers[i].stack == sleepers[i - 1].stack + 1)
			i++;
		struct arena *a = arena_of(sleepers[first].stack);
		char *low = arena_slot(a, arena_slot_of(sleepers[first].stack));
		sweep_range(low, (size_t)(i - first) << a->shift, sleepers + first, i - first);
	}
}

void stacks_hibernate(struct stack_sleeper *sleepers, unsigned count)
{
	uint64_t locked;

	struct arena *a = arena_of(sleepers[0].stack);
	unsigned slots = stack_chunk_slots(stack_class_of(sleepers[0].stack));
	stack_id first = sleepers[0].stack & ~(stack_id)(slots - 1);
	if (lock_rest(first, slots, &locked)) {
		/* Set before any of them can be restored, which clears it. */
		atomic_store_explicit(chunk_of(first), 1, memory_order_relaxed);
		if (!sweep_range(arena_slot(a, arena_slot_of(first)), (size_t)1 << CHUNK_SHIFT,
		                 sleepers, count))
			atomic_store_explicit(chunk_of(first), 0, memory_order_relaxed);
	} else {
		sweep_runs(sleepers, count);
	}
	unlock_rest(first, locked);
}

void hibernate_lock(void)
{
	spin_lock(&hibernation.lock);
}

void hibernate_unlock(void)
{
	spin_unlock(&hibernation.lock);
}

void hibernate_tidy(void)
{
	slab_tidy();
}

size_t hibernate_bytes(void)
{
	return slab_bytes();
}

/* ---- restoring -------------------------------------------------------------- */

static unsigned take_page(void)
{
	uint64_t taken = atomic_load_explicit(&hibernation.pages_taken, memory_order_relaxed);
	uint64_t lowest;

	do
		while (!(lowest = ~taken & (taken + 1))) {
			sys0(SYS_sched_yield);
			taken = atomic_load_explicit(&hibernation.pages_taken,
			                             memory_order_relaxed);
		}
	/* Acquire pairs with the release in give_page(). */
	while (!atomic_compare_exchange_weak_explicit(&hibernation.pages_taken, &taken,
	                                              taken | lowest, memory_order_acquire,
	                                              memory_order_relaxed));
	return (unsigned)__builtin_ctzll(lowest);
}

static void give_page(unsigned page)
{
	if (scrub_is_on())
		memset(pages[page], 0, PAGE);
	atomic_fetch_and_explicit(&hibernation.pages_taken, ~((uint64_t)1 << page),
	                          memory_order_release);
}

/* Fills the slot; the caller has made it RESTORING. */
static int restore(stack_id stack, struct slot_sleep *s, uint32_t word)
{
	struct arena *a = arena_of(stack);
	char *low = arena_slot(a, arena_slot_of(stack)) + guard_size();
	char *page = arena_slot(a, arena_slot_of(stack)) + arena_stride(a) - PAGE;
	size_t length = length_in(word);
	size_t offset = (size_t)((char *)stack_top(stack) - length - page);
	unsigned at = take_page();

	assert(offset < PAGE);
	memset(pages[at], 0, offset);
	unpack(pages[at] + offset, length, stack_top(stack), slab_at(s->slab), word >> MODEL_SHIFT);
	memset(pages[at] + offset + length, 0, PAGE - offset - length);
	int r = uffd_zero(low, (size_t)(page - low));
	if (r == 0)
		r = uffd_copy(page, pages[at], PAGE);
	give_page(at);
	return r == -EEXIST ? 0 : r;
}

/* *word: HIBERNATED, as last seen.  1: done; 0: somebody else was faster. */
static int try_restore(stack_id stack, struct slot_sleep *s, uint32_t *word)
{
	uint32_t before = *word, entry;
	int r = -ENOMEM;

	if (!move_state(s, word, RESTORING))
		return 0;
	atomic_store_explicit(chunk_of(stack), 0, memory_order_relaxed);
	entry = s->slab;
	for (int i = 0; i < RESTORE_TRIES && r == -ENOMEM; i++)
		if ((r = restore(stack, s, before)) == -ENOMEM)
			sys0(SYS_sched_yield);
	if (r < 0) {
		set_state(s, before);
		return r;
	}
	slab_give(entry);
	pack_forget(before >> MODEL_SHIFT);
	atomic_fetch_sub_explicit(&hibernation.count, 1, memory_order_relaxed);
	set_state(s, RESIDENT);
	return 1;
}

/* Lets whoever is at it finish. */
static void wait_a_little(unsigned *tries)
{
	if (++*tries % 64)
		cpu_pause();
	else
		sys0(SYS_sched_yield);
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
			r = try_restore(stack, s, &word);
		else
			wait_a_little(&tries);
		if (r < 0)
			return r;
	}
}

/* A stack in use that is resident has all its pages: this one has ended.  Whoever
 * reads it gets zeroes, as from any memory given back.  Held meanwhile, or it
 * could be put to sleep with a page that is not its own. */
static int fill_stray(struct slot_sleep *s, void *page)
{
	uint32_t word = RESIDENT;
	int r;

	if (!move_state(s, &word, RESTORING))
		return 0;
	while ((r = uffd_zero(page, PAGE)) == -ENOMEM)
		sys0(SYS_sched_yield); /* others are being made to give some back */
	set_state(s, RESIDENT);
	return r < 0 ? r : 1;
}

int hibernate_touched(stack_id stack, void *page)
{
	struct slot_sleep *s = sleep_of(stack);
	unsigned tries = 0;
	int r = 0;

	while (r == 0) {
		uint32_t word = atomic_load_explicit(&s->word, memory_order_acquire);
		if ((word & STATE_MASK) == RESIDENT)
			r = fill_stray(s, page);
		else if ((word & STATE_MASK) == HIBERNATED)
			r = try_restore(stack, s, &word);
		else
			wait_a_little(&tries);
	}
	return r < 0 ? r : 0;
}

/* ---- in a forked child ------------------------------------------------------ */

/* Memory there is plain: a missing page reads as zeroes until it is written. */
static void restore_plain(stack_id stack, struct slot_sleep *s, uint32_t word)
{
	size_t length = length_in(word);

	unpack(pages[0], length, stack_top(stack), slab_at(s->slab), word >> MODEL_SHIFT);
	cpu_copy((char *)stack_top(stack) - length, pages[0], length);
	set_state(s, RESIDENT);
}

static void slot_forked(stack_id stack, bool watched)
{
	struct slot_sleep *s = sleep_of(stack);
	uint32_t word = atomic_load_explicit(&s->word, memory_order_relaxed);

	/* One that was being restored has its page, or still its entry. */
	if ((word & STATE_MASK) == RESTORING)
		set_state(s, length_in(word) ? (word & ~STATE_MASK) | HIBERNATED : RESIDENT);
	if (length_in(word) && !watched)
		restore_plain(stack, s, word);
}

void hibernate_forked(bool watched)
{
	if (!atomic_load_explicit(&hibernation.ready, memory_order_relaxed))
		return;
	atomic_store_explicit(&hibernation.pages_taken, 0, memory_order_relaxed);
	for (unsigned class = 0; class < STACK_CLASSES; class ++) {
		uint32_t chunks = stack_chunks(class);
		for (uint32_t slot = 0; chunks && slot < chunks * stack_chunk_slots(class); slot++)
			slot_forked(arena_id(class, slot), watched);
	}
}

size_t stacks_hibernated(void)
{
	return atomic_load_explicit(&hibernation.count, memory_order_relaxed);
}

uint64_t stacks_hibernations(void)
{
	return atomic_load_explicit(&hibernation.total, memory_order_relaxed);
}
