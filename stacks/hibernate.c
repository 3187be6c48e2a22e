/* SPDX-License-Identifier: MIT
 *
 * From resident to hibernated.
 */
#include "hibernate.h"
#include "advise.h"
#include "arch/cpu.h"
#include "arch/sys.h"
#include "arena.h"
#include "guard.h"
#include "held.h"
#include "pack.h"
#include "scrub.h"
#include "slab.h"
#include "sleep.h"
#include "pages.h"
#include "uffd.h"
#include "watch.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#define PAGE ((size_t)UFFD_PAGE_MAX)
#define AHEAD 2u /* stacks: of those that are packed, the next but one is fetched */
_Static_assert(PACK_BYTES_MAX <= LENGTH_MASK, "lengths fit");
_Static_assert(PACK_CODE_MAX <= SLAB_BYTES_MAX, "codes fit");

struct hibernation hibernation;
struct hibernate_view hibernate_view;
static unsigned char packed[PACK_CODE_MAX]; /* the sweeper's */

int hibernate_init(void)
{
	size_t slots = 0;

	if (!guard_by_uffd() || !uffd_can_protect())
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
	return 1u << (SLEEP_CHUNK_SHIFT - arenas[class].shift);
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

unsigned stack_chunk_awake(unsigned class, uint32_t chunk, stack_id *stacks)
{
	unsigned slots = stack_chunk_slots(class), n = 0;
	const struct slot_sleep *s = &arenas[class].sleep[chunk * slots];

	for (unsigned i = 0; i < slots; i++) {
		uint32_t word = atomic_load_explicit(&s[i].word, memory_order_relaxed);
		if (atomic_load_explicit(&s[i].owner, memory_order_relaxed) &&
		    (word & STATE_MASK) != HIBERNATED)
			stacks[n++] = stack_in_chunk(class, chunk, i);
	}
	return n;
}

uint32_t *stack_chunk_note(unsigned class, uint32_t chunk)
{
	return &arenas[class].chunk_notes[chunk];
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

static size_t length_of(const struct stack_sleeper *s)
{
	return (size_t)((char *)stack_top(s->stack) - (char *)s->sp);
}

bool stack_fits_slab(const struct stack_sleeper *s)
{
	size_t length = length_of(s);

	/* Pinned: by itself before it parked, or by others until it was lulled. */
	return length <= PACK_BYTES_MAX && length % 8 == 0 && !stack_is_pinned(s->stack) &&
	       (s->users < HELD_BLOCK || uffd_can_move());
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
	if (high > low && sys3(SYS_madvise, low, high - low, MADV_DONTNEED) == 0 &&
	    arena_is_watched(arena_of(stack), arena_slot_of(stack)))
		while (uffd_zero(low, (size_t)(high - low)) == -ENOMEM)
			sys0(SYS_sched_yield);
	sleep_of(stack)->slab = tag;
}

/* ---- sweeping --------------------------------------------------------------- */

/* SWEEPING: it is put away, but its pages are there still, or aside; HIBERNATED: they
 * are not. */
static void publish(struct stack_sleeper *s, uint32_t state)
{
	struct slot_sleep *sleep = sleep_of(s->stack);

	sleep->slab = s->slab;
	set_state(sleep, state | (uint32_t)length_of(s) << LENGTH_SHIFT | s->model << MODEL_SHIFT);
}

/* Are the bytes at `from` those that were put away? */
static bool is_put_away(const struct stack_sleeper *s, const char *from)
{
	static uint64_t put[PACK_WORDS_MAX], now[PACK_WORDS_MAX];
	size_t length = length_of(s);

	unpack(put, length, stack_top(s->stack), slab_at(s->slab), s->model);
	cpu_copy(now, from, length);
	bool same = memcmp(put, now, length) == 0;
	if (scrub_is_on()) {
		memset(put, 0, length);
		memset(now, 0, length);
	}
	return same;
}

/* The page out of the kernel's hands too, into the place of the guard, which is
 * empty.  False: it holds it, or has written to it since it was put away: that comes
 * first, for those who look from outside meanwhile. */
static bool take_aside(struct stack_sleeper *s)
{
	char *page = top_page(s->stack), *place = slot_of(s->stack);

	s->aside = held_take(page, place) == 0;
	return s->aside && is_put_away(s, place + ((char *)s->sp - page));
}

/* The live bytes into the slab; false: it is full, or they cannot be had. */
static bool put_away(struct stack_sleeper *s, bool maybe_held)
{
	size_t size = pack(s->sp, stack_top(s->stack), s->alike, packed, &s->model);

	s->slab = slab_take(size);
	if (s->slab) {
		memcpy(slab_at(s->slab), packed, size);
		publish(s, SWEEPING);
	} else {
		pack_forget(s->model);
	}
	if (scrub_is_on())
		memset(packed, 0, size);
	return s->slab && ((!maybe_held && s->users < HELD_BLOCK) || take_aside(s));
}

/* Nothing else can be there: whoever touches it waits. */
static void put_back(struct stack_sleeper *s)
{
	char *page = top_page(s->stack), *place = slot_of(s->stack);

	if (uffd_move(page, place, PAGE) == 0)
		return;
	while (uffd_copy(page, place, PAGE) == -ENOMEM)
		sys0(SYS_sched_yield);
	sys3(SYS_madvise, place, PAGE, MADV_DONTNEED);
}

/* It stays as it was. */
static void give_up(struct stack_sleeper *s)
{
	struct arena *a = arena_of(s->stack);

	if (s->aside)
		put_back(s);
	uffd_protect(slot_of(s->stack), arena_stride(a), false);
	pages_complete(a, arena_slot_of(s->stack));
	/* Readers from outside go by the word: no length before the entry is another's. */
	set_state(sleep_of(s->stack), SWEEPING);
	if (s->slab) {
		slab_give(s->slab);
		pack_forget(s->model);
	}
	stack_unlull(s->stack);
	s->stack = STACK_NONE;
}

/* Everybody's writes end. */
static void protect_range(char *start, size_t size, struct stack_sleeper *sleepers, unsigned count)
{
	bool good = uffd_protect(start, size, true) == 0;

	for (unsigned i = 0; i < count; i++)
		sleepers[i].protected = good;
}

/* What will be packed soon: since it was looked at, protecting has emptied the TLB. */
static void fetch(const struct stack_sleeper *s)
{
	const char *top = stack_top(s->stack);

	for (const char *at = s->sp; at < top; at += CACHE_LINE)
		__builtin_prefetch(at);
}

/* The bytes are put away.  Those of which they cannot be stay as they were; returns how
 * many can. */
static unsigned put_away_all(struct stack_sleeper *sleepers, unsigned count, bool maybe_held)
{
	unsigned good = 0;

	for (unsigned i = 0; i < count; i++) {
		sleepers[i].slab = 0;
		sleepers[i].aside = false;
		if (i + AHEAD < count)
			fetch(&sleepers[i + AHEAD]);
		if (sleepers[i].protected && put_away(&sleepers[i], maybe_held))
			good++;
		else
			give_up(&sleepers[i]);
	}
	return good;
}

/* Their pages are gone. */
static void all_asleep(struct stack_sleeper *sleepers, unsigned count)
{
	/* Counted first: who restores one counts down. */
	atomic_fetch_add_explicit(&hibernation.count, count, memory_order_relaxed);
	atomic_fetch_add_explicit(&hibernation.total, count, memory_order_relaxed);
	for (unsigned i = 0; i < count; i++)
		publish(&sleepers[i], HIBERNATED);
}

/* Of a range that the kernel has refused: memory that is locked stays, but what lies before
 * it may have gone.  What is live lies in one page, which is locked or not. */
static void drop_alone(struct stack_sleeper *s)
{
	char *low = slot_of(s->stack), *page = top_page(s->stack), *live = s->aside ? low : page;

	/* It may have been locked when it had gone. */
	if (sys3(SYS_madvise, live, PAGE, MADV_DONTNEED) < 0 && page_is_present(live)) {
		give_up(s);
		return;
	}
	/* What stays below it is dead, and shall not be protected when somebody goes there. */
	sys3(SYS_madvise, low, page - low, MADV_DONTNEED);
	uffd_protect(low, arena_stride(arena_of(s->stack)), false);
	all_asleep(s, 1);
}

/* The pages go.  False when the kernel refused: those that can go one by one have. */
static bool drop_range(char *start, size_t size, struct stack_sleeper *sleepers, unsigned count)
{
	if (sys3(SYS_madvise, start, size, MADV_DONTNEED) == 0) {
		all_asleep(sleepers, count);
		return true;
	}
	for (unsigned i = 0; i < count; i++)
		drop_alone(&sleepers[i]);
	return false;
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

static void unlock_rest(stack_id first, uint64_t *locked)
{
	for (; *locked; *locked &= *locked - 1) {
		struct slot_sleep *s = sleep_of(first + (unsigned)__builtin_ctzll(*locked));
		uint32_t word = atomic_load_explicit(&s->word, memory_order_relaxed);
		move_state(s, &word, HIBERNATED);
	}
}

/* Those that are neighbours, from the first on; how many. */
static unsigned run_of(const struct stack_sleeper *sleepers, unsigned count)
{
	unsigned n = 1;

	while (n < count && sleepers[n].stack == sleepers[n - 1].stack + 1)
		n++;
	return n;
}

static struct iovec range_of(const struct stack_sleeper *sleepers, unsigned count)
{
	return (struct iovec){ slot_of(sleepers[0].stack),
		               count * arena_stride(arena_of(sleepers[0].stack)) };
}

/* Runs of neighbours among the sleepers of one chunk, by one call. */
static void drop_runs(struct stack_sleeper *sleepers, unsigned count)
{
	struct iovec ranges[STACK_CHUNK_MAX];
	struct stack_sleeper *first[STACK_CHUNK_MAX];
	unsigned length[STACK_CHUNK_MAX], runs = 0;

	for (unsigned i = 0, n; i < count; i += n) {
		n = 1;
		if (sleepers[i].stack == STACK_NONE)
			continue;
		n = run_of(sleepers + i, count - i);
		first[runs] = &sleepers[i];
		length[runs] = n;
		ranges[runs++] = range_of(sleepers + i, n);
	}
	int done = runs ? advise(ranges, runs, MADV_DONTNEED) : 0;
	for (int run = 0; run < (int)runs; run++) {
		if (run < done)
			all_asleep(first[run], length[run]);
		else
			drop_range(ranges[run].iov_base, ranges[run].iov_len, first[run],
			           length[run]);
	}
}

/* The sleepers of one chunk. */
struct group {
	struct stack_sleeper *sleepers;
	unsigned count;
	stack_id first;  /* of the chunk */
	bool whole;      /* nobody else has to do with the chunk now */
	uint64_t locked; /* others there, that hibernate */
};

/* Those of the first one's chunk. */
static struct group group_of(struct stack_sleeper *sleepers, unsigned count)
{
	unsigned slots = stack_chunk_slots(stack_class_of(sleepers[0].stack)), n = 1;

	while (n < count && sleepers[n].stack / slots == sleepers[0].stack / slots)
		n++;
	return (struct group){
		.sleepers = sleepers,
		.count = n,
		.first = sleepers[0].stack & ~(stack_id)(slots - 1),
	};
}

/* Chunks that are whole, neighbours, from the first on: one call does for all. */
struct wholes {
	unsigned groups, sleepers;
	char *start;
	size_t size;
};

static struct wholes wholes_of(const struct group *groups, unsigned count)
{
	struct wholes w = { .start = slot_of(groups[0].first) };
	unsigned slots = stack_chunk_slots(stack_class_of(groups[0].first));

	while (w.groups < count && groups[w.groups].whole &&
	       groups[w.groups].first == groups[0].first + w.groups * slots) {
		assert(groups[w.groups].sleepers == groups[0].sleepers + w.sleepers);
		w.sleepers += groups[w.groups++].count;
	}
	w.size = (size_t)w.groups << SLEEP_CHUNK_SHIFT;
	return w;
}

static void protect_runs(const struct group *g)
{
	for (unsigned i = 0, n; i < g->count; i += n) {
		n = run_of(g->sleepers + i, g->count - i);
		struct iovec range = range_of(g->sleepers + i, n);
		protect_range(range.iov_base, range.iov_len, g->sleepers + i, n);
	}
}

static void protect_groups(struct group *groups, unsigned count)
{
	for (unsigned i = 0; i < count;) {
		struct wholes w = wholes_of(groups + i, count - i);
		if (w.groups)
			protect_range(w.start, w.size, groups[i].sleepers, w.sleepers);
		else
			protect_runs(&groups[i]);
		i += w.groups ? w.groups : 1;
	}
}

static void mark_chunks(const struct group *groups, unsigned count, uint8_t sleeps)
{
	for (unsigned i = 0; i < count; i++)
		atomic_store_explicit(chunk_of(groups[i].first), sleeps, memory_order_relaxed);
}

static void drop_groups(const struct group *groups, unsigned count)
{
	for (unsigned i = 0; i < count;) {
		struct wholes w = wholes_of(groups + i, count - i);
		if (w.groups) {
			/* Set before any of them can be restored, which clears it. */
			mark_chunks(groups + i, w.groups, 1);
			if (!drop_range(w.start, w.size, groups[i].sleepers, w.sleepers))
				mark_chunks(groups + i, w.groups, 0);
		} else {
			drop_runs(groups[i].sleepers, groups[i].count);
		}
		i += w.groups ? w.groups : 1;
	}
}

/* The groups of the sleepers, with all that sleeps in their chunks locked. */
static unsigned make_groups(struct stack_sleeper *sleepers, unsigned count, struct group *groups)
{
	unsigned n = 0;

	for (unsigned i = 0; i < count;) {
		struct group g = group_of(sleepers + i, count - i);
		unsigned class = stack_class_of(g.first), slots = stack_chunk_slots(class);
		i += g.count;
		if (watch_up_to(class, arena_slot_of(g.first) + slots)) {
			assert(n < STACK_CHUNKS_MAX);
			g.whole = lock_rest(g.first, slots, &g.locked);
			if (!g.whole)
				unlock_rest(g.first, &g.locked);
			groups[n++] = g;
			continue;
		}
		for (unsigned k = 0; k < g.count; k++)
			stack_unlull(g.sleepers[k].stack);
	}
	return n;
}

void stacks_hibernate(struct stack_sleeper *sleepers, unsigned count)
{
	struct group groups[STACK_CHUNKS_MAX];
	unsigned n = make_groups(sleepers, count, groups);

	protect_groups(groups, n);
	bool maybe_held = n && held_any();
	for (unsigned i = 0; i < n; i++)
		if (put_away_all(groups[i].sleepers, groups[i].count, maybe_held) < groups[i].count)
			groups[i].whole = false;
	drop_groups(groups, n);
	for (unsigned i = 0; i < n; i++)
		unlock_rest(groups[i].first, &groups[i].locked);
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

size_t stacks_hibernated(void)
{
	return atomic_load_explicit(&hibernation.count, memory_order_relaxed);
}

uint64_t stacks_hibernations(void)
{
	return atomic_load_explicit(&hibernation.total, memory_order_relaxed);
}
