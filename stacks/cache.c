/* SPDX-License-Identifier: MIT
 *
 * Caches of hot slots, and the way from a cache to the arena and back.
 */
#include "advise.h"
#include "arena.h"
#include "checker.h"
#include "guard.h"
#include "hibernate.h"
#include "pages.h"
#include "scrub.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

_Static_assert(ARENA_BATCH == STACK_BARE_MAX, "a batch fits into the cache");
_Static_assert(ARENA_BATCH <= ADVISE_MAX, "a batch is guarded by one call");

static struct { /* all caches that have been used */
	struct spin lock;
	unsigned count;
	struct stack_cache *first;
} list;

/* A cache's first visit to the arena puts it in the list.  One more cache than
 * was announced keeps nothing, so that no promise is broken. */
static void cache_list(struct stack_cache *cache)
{
	spin_lock(&list.lock);
	cache->listed = true;
	cache->keeps = list.count < arena_caches_max;
	cache->next = list.first;
	list.first = cache;
	list.count++;
	spin_unlock(&list.lock);
}

/* How many it may keep.  Those that are to be scrubbed all go the long way. */
static uint32_t cache_limit(struct stack_cache *cache, unsigned class)
{
	if (unlikely(!cache->listed))
		cache_list(cache);
	uint32_t limit = cache->keeps ? arenas[class].cache_limit : 0;
	cache->class[class].limit = scrub_is_on() ? 0 : limit;
	return limit;
}

static uint32_t hot_count(const struct stack_cache_class *hot)
{
	/* Relaxed: only the owner counts on it. */
	return atomic_load_explicit(&hot->count, memory_order_relaxed);
}

static void set_hot_count(struct stack_cache_class *hot, uint32_t count)
{
	atomic_store_explicit(&hot->count, count, memory_order_relaxed);
}

/* Slots with guards, the lowest first; how many, or -ENOMEM. */
static int fetch_slots(struct arena *a, uint32_t *slots, unsigned want)
{
	unsigned count = slotmap_take(&a->map, slots, want), good = 0;

	if (!count)
		return -ENOMEM;
	if (guard_install(a, slots, count) < 0) {
		for (unsigned i = 0; i < count; i++)
			if (arena_is_settled(a, slots[i]))
				slots[good++] = slots[i];
			else
				slotmap_give(&a->map, &slots[i], 1);
		if (!good)
			return -ENOMEM;
		count = good;
	}
	arena_dump_up_to(a, slots[count - 1]);
	return (int)count;
}

static void checker_slot_begins(struct arena *a, uint32_t slot)
{
	char *low = arena_slot(a, slot);

	if (a->checker_names)
		a->checker_names[slot] =
			checker_register(low + guard_size(), low + arena_stride(a));
}

static void checker_slot_ends(struct arena *a, uint32_t slot)
{
	if (a->checker_names)
		checker_deregister(a->checker_names[slot]);
}

static unsigned batch_size(struct stack_cache *cache, unsigned class)
{
	unsigned want = 1 + cache_limit(cache, class) / 2;

	return want < ARENA_BATCH ? want : ARENA_BATCH;
}

/* Into an empty cache: slots that are watched stay without pages, the lowest last; the
 * others are as good as hot. */
static int fetch_batch(struct stack_cache *cache, unsigned class)
{
	struct arena *a = &arenas[class];
	struct stack_cache_class *hot = &cache->class[class];
	uint32_t watched = atomic_load_explicit(&a->watched, memory_order_seq_cst);
	uint32_t slots[ARENA_BATCH], bare = 0, plain = 0;
	int count = fetch_slots(a, slots, batch_size(cache, class));

	for (int i = count - 1; i >= 0; i--) {
		if (!arena_is_watched(a, slots[i])) {
			hot->slots[plain++] = arena_id(class, slots[i]);
			continue;
		}
		/* The mark was raised meanwhile (watch.c), perhaps before it was guarded. */
		if (slots[i] >= watched)
			guard_forget(a, slots[i]);
		hot->bare[bare++] = arena_id(class, slots[i]);
	}
	atomic_store_explicit(&hot->bare_count, bare, memory_order_relaxed);
	set_hot_count(hot, plain);
	return count < 0 ? count : 0;
}

static int start_bare(struct arena *a, uint32_t slot)
{
	int r = pages_fill(a, slot);

	/* The mark has come down again. */
	return r < 0 || arena_is_watched(a, slot) ? r : guard_install(a, &slot, 1);
}

/* The cache is empty, or all but those without pages: fetches a batch, keeps all but the
 * lowest.  Not inlined, so that the hot path needs no frame. */
static __attribute__((noinline)) int acquire_cold(struct stack_cache *cache, unsigned class,
                                                  stack_id *stack)
{
	struct arena *a = &arenas[class];
	struct stack_cache_class *hot = &cache->class[class];
	uint32_t bare;
	int r = 0;

	if (!arena_is_mapped(a))
		return -ENOMEM;
	if (!atomic_load_explicit(&hot->bare_count, memory_order_relaxed))
		r = fetch_batch(cache, class);
	if (r < 0)
		return r;
	bare = atomic_load_explicit(&hot->bare_count, memory_order_relaxed);
	if (!bare) {
		set_hot_count(hot, hot_count(hot) - 1);
		*stack = hot->slots[hot_count(hot)];
		checker_slot_begins(a, arena_slot_of(*stack));
		return 1;
	}
	*stack = hot->bare[bare - 1];
	r = start_bare(a, arena_slot_of(*stack));
	atomic_store_explicit(&hot->bare_count, r < 0 ? bare : bare - 1, memory_order_relaxed);
	return r < 0 ? r : 1;
}

int stack_acquire(struct stack_cache *cache, unsigned class, stack_id *stack)
{
	struct stack_cache_class *hot = &cache->class[class];
	uint32_t count = hot_count(hot);

	assert(class < STACK_CLASSES);
	if (unlikely(!count))
		return acquire_cold(cache, class, stack);
	set_hot_count(hot, count - 1);
	*stack = hot->slots[count - 1];
	return 0;
}

static void sort_slots(uint32_t *slots, unsigned count)
{
	for (unsigned gap = count / 2; gap > 0; gap /= 2)
		for (unsigned i = gap; i < count; i++) {
			uint32_t slot = slots[i];
			unsigned k = i;
			for (; k >= gap && slots[k - gap] > slot; k -= gap)
				slots[k] = slots[k - gap];
			slots[k] = slot;
		}
}

/* Gives the pages of the slots back to the kernel, neighbours together. The
 * guards between them stay.  A kernel that refuses (locked memory) only keeps
 * the memory in use. */
static void drop_pages(struct arena *a, const uint32_t *slots, unsigned count)
{
	struct iovec runs[ADVISE_MAX];
	unsigned n = 0;

	for (unsigned i = 0; i < count;) {
		unsigned first = i++;
		while (i < count && slots[i] == slots[i - 1] + 1)
			i++;
		/* A guard that is missing anyway may go along: whole 2 MiB give back
		 * their page table too. */
		char *low = arena_slot(a, slots[first]);
		if (!arena_is_watched(a, slots[first]))
			low += guard_size();
		char *high = arena_slot(a, slots[i - 1]) + arena_stride(a);
		runs[n++] = (struct iovec){ low, (size_t)(high - low) };
		if (n == ADVISE_MAX || i == count) {
			advise(runs, n, MADV_DONTNEED);
			n = 0;
		}
	}
}

static void give_back(unsigned class, uint32_t *slots, unsigned count)
{
	struct arena *a = &arenas[class];

	/* Some may still be pinned: the thread that ended knew by other means that a
	 * call with a buffer of its stack was over, before who made it (lend.h). */
	for (unsigned i = 0; i < count; i++) {
		assert(slots[i] < a->slots);
		stack_set_owner(arena_id(class, slots[i]), 0);
	}
	sort_slots(slots, count);
	drop_pages(a, slots, count);
	slotmap_give(&a->map, slots, count);
}

/* Takes the coldest count slots out of the cache. */
static void trim(struct stack_cache *cache, unsigned class, unsigned count)
{
	struct stack_cache_class *hot = &cache->class[class];
	uint32_t slots[STACK_CACHE_MAX];
	uint32_t rest = hot_count(hot) - count;

	for (unsigned i = 0; i < count; i++)
		slots[i] = arena_slot_of(hot->slots[i]);
	memmove(hot->slots, hot->slots + count, rest * sizeof(hot->slots[0]));
	set_hot_count(hot, rest);
	give_back(class, slots, count);
}

static __attribute__((noinline)) void release_cold(struct stack_cache *cache, stack_id stack)
{
	unsigned class = stack_class_of(stack);
	struct stack_cache_class *hot = &cache->class[class];
	uint32_t limit = cache_limit(cache, class), slot = arena_slot_of(stack);
	bool whole = !scrub_is_on() || scrub_stack(stack);

	if (!limit || !whole) {
		checker_slot_ends(&arenas[class], slot);
		give_back(class, &slot, 1);
		return;
	}
	if (hot_count(hot) >= limit)
		trim(cache, class, (limit + 1) / 2);
	hot->slots[hot_count(hot)] = stack;
	set_hot_count(hot, hot_count(hot) + 1);
}

void stack_release(struct stack_cache *cache, stack_id stack)
{
	struct stack_cache_class *hot = &cache->class[stack_class_of(stack)];
	uint32_t count = hot_count(hot);

	assert(stack != STACK_NONE);
#ifdef GREEN_ASAN
	checker_clean(stack_bottom(stack), stack_usable(stack));
#endif
	if (unlikely(count >= hot->limit)) {
		release_cold(cache, stack);
		return;
	}
	hot->slots[count] = stack;
	set_hot_count(hot, count + 1);
}

static void give_bare(struct stack_cache_class *hot, unsigned class)
{
	uint32_t slots[ARENA_BATCH];
	uint32_t count = atomic_load_explicit(&hot->bare_count, memory_order_relaxed);

	for (uint32_t i = 0; i < count; i++)
		slots[i] = arena_slot_of(hot->bare[i]);
	atomic_store_explicit(&hot->bare_count, 0, memory_order_relaxed);
	if (count)
		slotmap_give(&arenas[class].map, slots, count);
}

void stack_cache_flush(struct stack_cache *cache)
{
	for (unsigned i = 0; i < STACK_CLASSES; i++) {
		if (hot_count(&cache->class[i]))
			trim(cache, i, hot_count(&cache->class[i]));
		give_bare(&cache->class[i], i);
		cache->class[i].limit = 0;
	}
	if (!cache->listed)
		return;
	spin_lock(&list.lock);
	struct stack_cache **link = &list.first;
	while (*link != cache)
		link = &(*link)->next;
	*link = cache->next;
	list.count--;
	spin_unlock(&list.lock);
	cache->listed = false;
}

size_t stacks_used(void)
{
	int64_t used = 0;

	/* The lock keeps the caches from going away. */
	spin_lock(&list.lock);
	for (struct stack_cache *c = list.first; c; c = c->next)
		for (unsigned i = 0; i < STACK_CLASSES; i++)
			used -= hot_count(&c->class[i]) +
			        (int64_t)atomic_load_explicit(&c->class[i].bare_count,
			                                      memory_order_relaxed);
	for (unsigned i = 0; i < STACK_CLASSES; i++)
		if (arena_is_mapped(&arenas[i]))
			used += atomic_load_explicit(&arenas[i].map.taken, memory_order_relaxed);
	spin_unlock(&list.lock);
	return used > 0 ? (size_t)used : 0;
}
