/* SPDX-License-Identifier: MIT
 *
 * Descriptors: generations make stale handles harmless, also where they wrap;
 * every descriptor is handed out to one owner only.
 */
#include "harness.h"

#include "gt.h"

#define GEN_ONE ((uint64_t)1 << GT_INDEX_BITS)

/* As a spawn does: gives the descriptor a life. */
static green_t make_live(struct gt *gt)
{
	atomic_fetch_or(&gt->id, GT_LIVE);
	return gt_handle(gt);
}

TEST(no_table_no_thread)
{
	CHECK(gt_lookup(GREEN_NONE) == NULL);
	CHECK(gt_lookup(GEN_ONE | 1) == NULL);
	CHECK_EQ(gt_set_flag(GEN_ONE | 1, GT_CANCELLED), -ESRCH);
}

TEST(handle_names_one_life)
{
	struct gt_cache cache = { 0 };

	REQUIRE_EQ(gt_table_init(1000), 0);
	struct gt *gt = gt_alloc(&cache);
	REQUIRE(gt != NULL);
	CHECK(gt_lookup(gt_handle(gt)) == NULL); /* not alive yet */
	green_t first = make_live(gt);
	CHECK(gt_lookup(first) == gt);
	CHECK_EQ(gt_set_flag(first, GT_CANCELLED), 0);
	CHECK(gt_has(gt, GT_CANCELLED));
	gt_free(&cache, gt);
	CHECK(gt_lookup(first) == NULL);
	CHECK_EQ(gt_set_flag(first, GT_CANCELLED), -ESRCH);

	REQUIRE(gt_alloc(&cache) == gt); /* hot: the same again */
	green_t second = make_live(gt);
	CHECK_NE(second, first);
	CHECK(gt_lookup(first) == NULL);
	CHECK(gt_lookup(second) == gt);
	CHECK_EQ(gt_set_flag(first, GT_CANCELLED), -ESRCH);
	CHECK(!gt_has(gt, GT_CANCELLED));
}

TEST(handles_that_never_were)
{
	struct gt_cache cache = { 0 };

	REQUIRE_EQ(gt_table_init(1000), 0);
	green_t real = make_live(gt_alloc(&cache));
	const green_t handles[] = {
		0,
		1,
		GT_INDEX_MASK,
		UINT64_MAX,
		INT64_MAX,
		gt_gen(real),         /* index 0 */
		real & GT_INDEX_MASK, /* generation 0 */
		real + GEN_ONE,       /* a life to come */
		gt_gen(real) | 999,   /* never handed out */
		gt_gen(real) | GT_INDEX_MASK,
		gt_gen(real) | (GT_INDEX_MASK - 1),
	};
	for (size_t i = 0; i < sizeof(handles) / sizeof(*handles); i++) {
		CHECK(gt_lookup(handles[i]) == NULL);
		CHECK_EQ(gt_set_flag(handles[i], GT_CANCELLED), -ESRCH);
	}
}

TEST(generation_wraps)
{
	struct gt_cache cache = { 0 };

	REQUIRE_EQ(gt_table_init(1000), 0);
	struct gt *gt = gt_alloc(&cache);
	/* The last but one life, by hand. */
	uint64_t last = gt_gen(UINT64_MAX);
	atomic_store(&gt->id, last - GEN_ONE);
	gt_free(&cache, gt);
	CHECK(gt_alloc(&cache) == gt);
	green_t handle = make_live(gt);
	CHECK_EQ(gt_gen(handle), last);
	CHECK(gt_lookup(handle) == gt);
	gt_free(&cache, gt);
	/* Generation 0 would make handles of long ago valid: it is retired. */
	CHECK(gt_lookup(handle) == NULL);
	for (int i = 0; i < 999; i++) {
		struct gt *other = gt_alloc(&cache);
		CHECK(other != gt);
		CHECK(gt_gen(atomic_load(&other->id)) != 0);
	}
	CHECK(gt_alloc(&cache) == NULL);
}

TEST(table_is_bounded)
{
	struct gt_cache cache = { 0 };
	bool seen[201] = { false };
	struct gt *one = NULL;

	REQUIRE_EQ(gt_table_init(200), 0);
	for (int i = 0; i < 200; i++) {
		one = gt_alloc(i % 2 ? &cache : NULL);
		if (!one) /* what is left lies in the cache */
			one = gt_alloc(&cache);
		REQUIRE(one != NULL);
		uint32_t index = gt_index(one);
		REQUIRE(index >= 1 && index <= 200);
		CHECK(!seen[index]);
		seen[index] = true;
	}
	CHECK(gt_alloc(&cache) == NULL);
	CHECK(gt_alloc(NULL) == NULL);
	gt_free(NULL, one);
	CHECK(gt_alloc(&cache) == one);
}

TEST(cache_gives_back)
{
	struct gt_cache cache = { 0 };
	struct gt *all[1000];

	REQUIRE_EQ(gt_table_init(1000), 0);
	for (int i = 0; i < 1000; i++)
		REQUIRE((all[i] = gt_alloc(&cache)) != NULL);
	for (int i = 0; i < 1000; i++)
		gt_free(&cache, all[i]);
	CHECK_LT(cache.count, 1000); /* the rest is there for others */
	gt_cache_flush(&cache);
	CHECK_EQ(cache.count, 0);
	for (int i = 0; i < 1000; i++)
		REQUIRE((all[i] = gt_alloc(NULL)) != NULL);
	CHECK(gt_alloc(NULL) == NULL);
}

/* What two workers take in turn does not lie mixed (gt.c, PLOT), and what a worker
 * has not used of its own is there for the next. */
TEST(workers_take_neighbours)
{
	struct gt_cache caches[2] = { { 0 }, { 0 } }, next = { 0 };
	uint32_t low[2] = { UINT32_MAX, UINT32_MAX }, high[2] = { 0 };

	REQUIRE_EQ(gt_table_init(1000000), 0);
	for (int i = 0; i < 1000; i++) {
		struct gt *gt = gt_alloc(&caches[i % 2]);
		REQUIRE(gt != NULL);
		uint32_t index = gt_index(gt);
		low[i % 2] = index < low[i % 2] ? index : low[i % 2];
		high[i % 2] = index > high[i % 2] ? index : high[i % 2];
	}
	CHECK(high[0] < low[1] || high[1] < low[0]);
	gt_cache_flush(&caches[0]);
	gt_cache_flush(&caches[1]);
	uint32_t before = gt_high();
	for (int i = 0; i < 2000; i++)
		REQUIRE(gt_alloc(&next) != NULL);
	CHECK_EQ(gt_high(), before);
}

TEST(extension_is_fresh)
{
	struct gt_cache cache = { 0 };

	REQUIRE_EQ(gt_table_init(1000), 0);
	struct gt *gt = gt_alloc(&cache);
	CHECK(gt->ext == NULL);
	struct gt_ext *ext = gt_ext(gt);
	REQUIRE(ext != NULL);
	CHECK(gt_ext(gt) == ext);
	CHECK_EQ(ext->deadline_ns, GREEN_FOREVER);
	memset(ext, 0xff, sizeof(*ext));
	gt_free(&cache, gt);
	CHECK(gt->ext == NULL);
	gt = gt_alloc(&cache);
	ext = gt_ext(gt);
	REQUIRE(ext != NULL);
	CHECK_EQ(ext->deadline_ns, GREEN_FOREVER);
	CHECK_EQ(ext->shield, 0);
	CHECK_EQ(ext->name[0], 0);
}

TEST(extension_without_memory)
{
	struct gt_cache cache = { 0 };

	REQUIRE_EQ(gt_table_init(1000), 0);
	struct gt *gt = gt_alloc(&cache);
	fault_inject(SYS_mmap, 0, 0, ENOMEM);
	CHECK(gt_ext(gt) == NULL);
	CHECK(gt->ext == NULL);
	fault_clear();
	CHECK(gt_ext(gt) != NULL);
}

/* Several OS threads take and give back: nobody gets what another one has. */
#define TAKERS 4
static _Atomic uint32_t owner[2001];

static void *take_and_give(void *arg)
{
	uint32_t me = (uint32_t)(uintptr_t)arg;
	struct gt_cache cache = { 0 };
	struct gt_cache *own = me % 2 ? &cache : NULL;
	struct rng rng = rng_seed(me);
	struct gt *held[100];
	unsigned n = 0;

	for (unsigned i = 0; i < scaled(200000); i++) {
		if (n < 100 && rng_below(&rng, 2)) {
			struct gt *gt = gt_alloc(own);
			if (!gt)
				continue;
			uint32_t nobody = 0;
			CHECK(atomic_compare_exchange_strong(&owner[gt_index(gt)], &nobody, me));
			held[n++] = gt;
		} else if (n > 0) {
			struct gt *gt = held[--n];
			atomic_store(&owner[gt_index(gt)], 0);
			gt_free(own, gt);
		}
	}
	while (n > 0) {
		atomic_store(&owner[gt_index(held[--n])], 0);
		gt_free(own, held[n]);
	}
	gt_cache_flush(&cache);
	return NULL;
}

TEST(many_takers)
{
	pthread_t threads[TAKERS];

	REQUIRE_EQ(gt_table_init(2000), 0);
	for (uintptr_t i = 0; i < TAKERS; i++)
		threads[i] = start_os(take_and_give, (void *)(i + 1));
	for (int i = 0; i < TAKERS; i++)
		join_os(threads[i]);
	unsigned left = 0;
	while (gt_alloc(NULL))
		left++;
	CHECK_EQ(left, 2000);
}
