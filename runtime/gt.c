/* SPDX-License-Identifier: MIT
 *
 * The table of descriptors: reserving it, taking and giving back entries.
 */
#include "gt.h"
#include "arch/compat.h"
#include "arch/cpu.h"
#include "arch/sys.h"
#include "spin.h"
#include "symbol.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define DUMP_STEP 8192 /* descriptors: 1 MiB */
#define SPARES_MAX 32  /* magazines a worker keeps: warm, and its own (256 KiB) */
#define MAGAZINE 64    /* descriptors moved between a cache and the table at once */
/* Untouched descriptors that a worker gets at once, neighbours.  Where the next
 * magazine in memory is another worker's, the CPUs' prefetching takes lines away from
 * it at every edge: with plots of one magazine, two workers that spawned threads a
 * thousand at a time each took 14 % longer than one alone. */
#define PLOT 2048
#define PLOTS_SCARCE 64 /* with room for fewer, a worker gets one magazine */

/* What reports read may be changing: they get one value or the other. */

struct gt *gt_table;
_Atomic uint32_t gt_table_high;

/* Free descriptors are kept in magazines, lists of up to MAGAZINE, so that a
 * worker exchanges many at once without walking a list (Bonwick and Adams,
 * "Magazines and Vmem", 2001).  The first descriptor of a magazine in the table
 * keeps its length in join_seq and the next magazine in arg. */
static struct {
	struct spin lock;
	size_t count_max;
	uint32_t dumped; /* entries that a core shall contain */
	uint32_t magazines;
	uint32_t plots;   /* rests of workers that have ended, linked like magazines */
	uint32_t singles; /* given back by OS threads */
	bool orphaned;    /* a forked child: nobody runs the threads in it */
	struct spin ext_lock;
	struct gt_ext *ext_free;
} table;

int gt_table_init(size_t count_max)
{
	long error = 0;

	spin_lock(&table.lock);
	if (!gt_table) {
		/* Index 0 and the highest few mean something else. */
		if (count_max > GT_JOIN_ENDING - 1)
			count_max = GT_JOIN_ENDING - 1;
		struct gt *t = sys_map((count_max + 1) * sizeof(*t), SYS_MAP_NORESERVE, &error);
		if (t) {
			sys_name(t, (count_max + 1) * sizeof(*t), "green threads");
			sys3(SYS_madvise, t, (count_max + 1) * sizeof(*t), MADV_DONTDUMP);
			table.count_max = count_max;
			atomic_store_explicit(&gt_table_high, 1, memory_order_relaxed);
			gt_table = t;
		}
	}
	spin_unlock(&table.lock);
	return (int)error;
}

void gt_table_lock(void)
{
	spin_lock(&table.lock);
	spin_lock(&table.ext_lock);
}

void gt_table_unlock(void)
{
	spin_unlock(&table.ext_lock);
	spin_unlock(&table.lock);
}

void gt_table_orphan(void)
{
	table.orphaned = true;
}

uint32_t gt_high(void)
{
	/* Acquire pairs with the release in gt_grow(). */
	return atomic_load_explicit(&gt_table_high, memory_order_acquire);
}

/* The untouched part stays out of cores, which would span it all. */
static void dump_more(void)
{
	size_t step = (size_t)DUMP_STEP * sizeof(struct gt);

	sys3(SYS_madvise, &gt_table[table.dumped], step, MADV_DODUMP);
	table.dumped += DUMP_STEP;
}

/* New entries from the untouched part, the first of up to want; the lock is held. */
static uint32_t grow(uint32_t want, uint32_t *count)
{
	uint32_t first = atomic_load_explicit(&gt_table_high, memory_order_relaxed);

	if (first + want > table.count_max + 1)
		want = (uint32_t)(table.count_max + 1 - first);
	*count = want;
	if (!want)
		return GT_NONE;
	if (unlikely(first + want > table.dumped))
		dump_more();
	/* Release pairs with the acquire in gt_high(). */
	atomic_store_explicit(&gt_table_high, first + want, memory_order_release);
	return first;
}

static uint32_t take_single(void)
{
	uint32_t head = table.singles;

	if (head)
		table.singles = gt_at(head)->next;
	return head;
}

/* A list of free descriptors and how many they are; the lock is held. */
static uint32_t pop_magazine(uint32_t *list, uint32_t *count)
{
	uint32_t head = *list;

	if (head) {
		*list = (uint32_t)(uintptr_t)gt_at(head)->arg;
		*count = (uint32_t)gt_at(head)->join_seq;
	}
	return head;
}

static void push_magazine(uint32_t *list, uint32_t head, uint32_t count)
{
	gt_at(head)->join_seq = count;
	gt_at(head)->arg = (void *)(uintptr_t)*list;
	*list = head;
}

/* A plot for the cache; the lock is held. */
static void take_plot(struct gt_cache *cache)
{
	uint32_t high = atomic_load_explicit(&gt_table_high, memory_order_relaxed);
	bool scarce = table.count_max + 1 - high < (size_t)PLOT * PLOTS_SCARCE;

	cache->plot = pop_magazine(&table.plots, &cache->plot_count);
	if (!cache->plot)
		cache->plot = grow(scarce ? MAGAZINE : PLOT, &cache->plot_count);
}

/* The next of the plot, linked: only now their memory is touched. */
static uint32_t take_of_plot(struct gt_cache *cache, uint32_t *count)
{
	uint32_t first = cache->plot, head = GT_NONE;

	*count = cache->plot_count < MAGAZINE ? cache->plot_count : MAGAZINE;
	for (uint32_t i = first + *count; i-- > first;) {
		gt_at(i)->next = head;
		head = i;
	}
	cache->plot += *count;
	cache->plot_count -= *count;
	return head;
}

/* For the cache; GT_NONE: the table is full. */
static uint32_t take_magazine(struct gt_cache *cache, uint32_t *count)
{
	uint32_t head = GT_NONE;

	spin_lock(&table.lock);
	head = pop_magazine(&table.magazines, count);
	if (!head && !cache->plot_count)
		take_plot(cache);
	if (!head && !cache->plot_count) {
		head = take_single();
		*count = head != GT_NONE;
	}
	spin_unlock(&table.lock);
	return head || !cache->plot_count ? head : take_of_plot(cache, count);
}

static void give_magazine(uint32_t head, uint32_t count)
{
	if (!head)
		return;
	spin_lock(&table.lock);
	push_magazine(&table.magazines, head, count);
	spin_unlock(&table.lock);
}

static void give_one(struct gt *gt)
{
	spin_lock(&table.lock);
	gt->next = table.singles;
	table.singles = gt_index(gt);
	spin_unlock(&table.lock);
}

static uint32_t take_spare(struct gt_cache *cache, uint32_t *count)
{
	uint32_t head = pop_magazine(&cache->spares, count);

	cache->spares_count -= head != GT_NONE;
	return head;
}

/* False: the table is full.  Not inlined, to keep the usual way short. */
static never_inline bool refill(struct gt_cache *cache)
{
	cache->head = take_spare(cache, &cache->count);
	if (!cache->head)
		cache->head = take_magazine(cache, &cache->count);
	return cache->head != GT_NONE;
}

static inline uint32_t take_cached(struct gt_cache *cache)
{
	if (unlikely(!cache->head) && !refill(cache))
		return GT_NONE;
	uint32_t index = cache->head;
	cache->head = gt_at(index)->next;
	cache->count--;
	return index;
}

static uint32_t take_one(void)
{
	struct gt_cache opened = { 0 };
	uint32_t count, head;

	spin_lock(&table.lock);
	head = take_single();
	if (!head)
		head = grow(1, &count);
	if (head)
		gt_at(head)->next = GT_NONE;
	spin_unlock(&table.lock);
	if (head)
		return head;
	/* What is left lies in magazines and rests of plots: open one. */
	head = take_cached(&opened);
	gt_cache_flush(&opened);
	return head;
}

static never_inline void put_aside(struct gt_cache *cache)
{
	if (cache->spares_count < SPARES_MAX) {
		push_magazine(&cache->spares, cache->head, cache->count);
		cache->spares_count++;
	} else {
		give_magazine(cache->head, cache->count);
	}
	cache->head = GT_NONE;
	cache->count = 0;
}

static inline void give_cached(struct gt_cache *cache, struct gt *gt)
{
	gt->next = cache->head;
	cache->head = gt_index(gt);
	if (unlikely(++cache->count >= MAGAZINE))
		put_aside(cache);
}

struct gt *gt_alloc(struct gt_cache *cache)
{
	uint32_t index = cache ? take_cached(cache) : take_one();

	if (unlikely(index == GT_NONE))
		return NULL;
	struct gt *gt = gt_at(index);
	/* Nobody else writes the id of a free descriptor: whoever still holds a
	 * handle of an earlier generation fails its CAS. */
	uint64_t gen = gt_gen(atomic_load_explicit(&gt->id, memory_order_relaxed));
	if (unlikely(gen == 0))
		gen = (uint64_t)1 << GT_INDEX_BITS;
	atomic_store_explicit(&gt->join, gen | GT_JOIN_NOBODY, memory_order_relaxed);
	/* Release pairs with the acquire in gt_lookup(). */
	atomic_store_explicit(&gt->id, gen, memory_order_release);
	atomic_store_explicit(&gt->look, 0, memory_order_relaxed);
	gt->next = GT_NONE;
	return gt;
}

static void gt_ext_free(struct gt_ext *ext)
{
	spin_lock(&table.ext_lock);
	ext->next_free = table.ext_free;
	table.ext_free = ext;
	spin_unlock(&table.ext_lock);
}

void gt_free(struct gt_cache *cache, struct gt *gt)
{
	uint64_t gen = gt_gen(atomic_load_explicit(&gt->id, memory_order_relaxed));
	uint64_t next_gen = gen + ((uint64_t)1 << GT_INDEX_BITS);

	struct gt_ext *ext = atomic_load_explicit(&gt->ext, memory_order_relaxed);
	if (ext) {
		atomic_store_explicit(&gt->ext, NULL, memory_order_relaxed);
		gt_ext_free(ext);
	}
	atomic_store_explicit(&gt->state, GT_FREE, memory_order_relaxed);
	/* Generation 0 is never used: a descriptor that has lived 2^38 - 1 lives
	 * is retired. */
	atomic_store_explicit(&gt->id, next_gen, memory_order_release);
	if (unlikely(next_gen == 0))
		return;
	if (cache)
		give_cached(cache, gt);
	else
		give_one(gt);
}

void gt_cache_flush(struct gt_cache *cache)
{
	uint32_t head, count;

	give_magazine(cache->head, cache->count);
	while ((head = take_spare(cache, &count)))
		give_magazine(head, count);
	if (cache->plot_count) {
		spin_lock(&table.lock);
		push_magazine(&table.plots, cache->plot, cache->plot_count);
		spin_unlock(&table.lock);
	}
	*cache = (struct gt_cache){ 0 };
}

struct gt *gt_find(green_t handle)
{
	uint32_t index = (uint32_t)handle & GT_INDEX_MASK;

	if (!gt_table || index == GT_NONE || index >= gt_high())
		return NULL;
	struct gt *gt = gt_at(index);
	uint64_t id = atomic_load_explicit(&gt->id, memory_order_acquire);
	return gt_gen(id) == gt_gen(handle) && gt_gen(id) && (id & GT_LIVE) ? gt : NULL;
}

struct gt *gt_lookup(green_t handle)
{
	struct gt *gt = table.orphaned ? NULL : gt_find(handle);

	return gt && !gt_has(gt, GT_FOREIGN) ? gt : NULL;
}

int gt_set_flag(green_t handle, uint64_t flag)
{
	struct gt *gt = gt_lookup(handle);

	if (!gt)
		return -ESRCH;
	uint64_t id = atomic_load_explicit(&gt->id, memory_order_relaxed);
	do
		if (gt_gen(id) != gt_gen(handle) || !(id & GT_LIVE))
			return -ESRCH;
	/* Sequentially consistent: see the Dekker argument in park.h. */
	while (!atomic_compare_exchange_weak_explicit(&gt->id, &id, id | flag, memory_order_seq_cst,
	                                              memory_order_relaxed));
	/* A hint in the hot line.  It may hit a later generation: harmless. */
	atomic_fetch_or_explicit(&gt->look, flag == GT_SIGNALLED ? LOOK_SIGNALLED : LOOK_CANCELLED,
	                         memory_order_release);
	return 0;
}

/* A page of extensions, linked, is added to the free list; the lock is held. */
static void gt_ext_refill(void)
{
	size_t size = 65536;
	long error;
	struct gt_ext *page = sys_map(size, 0, &error);

	if (!page)
		return;
	sys_name(page, size, "green extensions");
	for (size_t i = 0; i < size / sizeof(*page); i++) {
		page[i].next_free = table.ext_free;
		table.ext_free = &page[i];
	}
}

struct gt_ext *gt_ext(struct gt *gt)
{
	/* Acquire pairs with the release below: somebody else may name a thread
	 * that has none. */
	struct gt_ext *ext = atomic_load_explicit(&gt->ext, memory_order_acquire);

	if (ext)
		return ext;
	spin_lock(&table.ext_lock);
	ext = atomic_load_explicit(&gt->ext, memory_order_relaxed);
	if (!ext) {
		if (!table.ext_free)
			gt_ext_refill();
		ext = table.ext_free;
		if (ext) {
			table.ext_free = ext->next_free;
			memset(ext, 0, sizeof(*ext));
			ext->deadline_ns = GREEN_FOREVER;
			atomic_store_explicit(&gt->ext, ext, memory_order_release);
		}
	}
	spin_unlock(&table.ext_lock);
	return ext;
}

RACY void *gt_function(const struct gt *gt)
{
	const volatile struct gt_ext *ext = atomic_load_explicit(&gt->ext, memory_order_acquire);
	green_fn fn = ext ? ext->user_fn : NULL;

	if (gt_kind(gt) & GT_KIND_HANDLER)
		return gt->spawn_pc;
	return (void *)(uintptr_t)(fn ? fn : gt->fn);
}

RACY void *gt_origin(const struct gt *gt)
{
	return gt_kind(gt) & GT_KIND_HANDLER ? NULL : gt->spawn_pc;
}

/* Of a thread that may be ending meanwhile, or be another one by now: a name in
 * a report may be wrong then.  Memory is type-stable. */
RACY static void copy_name(const struct gt *gt, char *name)
{
	const volatile struct gt_ext *ext = atomic_load_explicit(&gt->ext, memory_order_acquire);

	for (size_t i = 0; ext && i < sizeof(ext->name) - 1; i++)
		name[i] = ext->name[i];
}

void gt_name(const struct gt *gt, char *buf, size_t size)
{
	char name[sizeof(((struct gt_ext *)0)->name)] = "";
	struct symbols symbols;

	copy_name(gt, name);
	if (name[0]) {
		snprintf(buf, size, "%s", name);
		return;
	}
	if (gt_has(gt, GT_FOREIGN)) {
		snprintf(buf, size, "OS thread");
		return;
	}
	void *fn = gt_function(gt);
	symbols_begin(&symbols);
	if (!symbol_name(&symbols, fn, buf, size))
		snprintf(buf, size, "fn %p", fn);
	symbols_end(&symbols);
}
