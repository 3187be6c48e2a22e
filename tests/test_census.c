/* SPDX-License-Identifier: MIT
 *
 * The census says how deep threads went, by the place that spawned them: neither less
 * than they did, nor what others did on the same stack.
 */
#include "harness.h"

#include "census.h"
#include "stack.h"

static _Atomic int sink;

__attribute__((noinline)) static int go_down(size_t bytes)
{
	volatile char frame[512];

	for (size_t i = 0; i < sizeof(frame); i++)
		frame[i] = 1;
	return bytes > sizeof(frame) ? go_down(bytes - sizeof(frame)) + frame[0] : frame[1];
}

static void *deep_one(void *arg)
{
	sink = go_down((size_t)30 << 10);
	return arg;
}

static void *shallow_one(void *arg)
{
	sink = go_down((size_t)1 << 10);
	return arg;
}

static void *large_one(void *arg)
{
	sink = go_down((size_t)600 << 10);
	return arg;
}

static const struct census_site *site_with(green_fn fn)
{
	for (unsigned i = 0; i < CENSUS_SITES; i++)
		if (census_sites[i].fn == (void *)(uintptr_t)fn)
			return &census_sites[i];
	return NULL;
}

/* Until some of them have been looked at.  Inlined, so that each is a place of its own. */
static inline __attribute__((always_inline)) void
run_until_seen(green_fn fn, const struct green_attr *attr, unsigned looked)
{
	const struct census_site *site;
	green_t threads[40];

	do {
		for (int i = 0; i < 40; i++)
			CHECK_EQ(green_spawn(&threads[i], attr, fn, NULL), 0);
		for (int i = 0; i < 40; i++)
			join_green(threads[i]);
		site = site_with(fn);
	} while (!site || site->looked < looked);
}

static void check_site(green_fn fn, size_t least, size_t most, size_t size)
{
	const struct census_site *site = site_with(fn);

	REQUIRE(site != NULL);
	CHECK_GE(site->deepest, least);
	CHECK_LE(site->deepest, most);
	CHECK_EQ(site->size, size);
}

/* A sanitizer's frames are larger. */
#if defined(GREEN_ASAN) || defined(GREEN_TSAN)
#define MORE 4
#else
#define MORE 1
#endif

static void *all_kinds(void *unused)
{
	static const struct green_attr large = { .stack_size = STACK_SIZE_MAX };

	/* Shallow ones on stacks that were used deeply before. */
	run_until_seen(deep_one, NULL, 1);
	run_until_seen(shallow_one, NULL, 3);
	run_until_seen(large_one, &large, 1);
	check_site(deep_one, 30 << 10, MORE * (34 << 10), 65536);
	check_site(shallow_one, 1 << 10, MORE * (3 << 10), 65536);
	check_site(large_one, 600 << 10, MORE * (680 << 10), STACK_SIZE_MAX);
	return unused;
}

TEST(each_place_has_its_own_depth)
{
	run_green(all_kinds, NULL);
}

TEST(under_userfaultfd_too)
{
	struct green_options options = { .hibernate_after_ns = GREEN_S(100) };

	CHECK_EQ(run_green_with(&options, all_kinds, NULL, NULL), 0);
}

TEST(after_scrubbing_too)
{
	struct green_options options = { .scrub = GREEN_SCRUB_DIRTY };

	CHECK_EQ(run_green_with(&options, all_kinds, NULL, NULL), 0);
}

static void *park_deep(void *sem)
{
	char frame[20000];

	__asm__ volatile("" : : "r"(frame) : "memory"); /* all of it is needed */
	green_sem_wait(sem);
	__asm__ volatile("" : : "r"(frame) : "memory");
	return NULL;
}

static void *look_at_parked(void *unused)
{
	green_sem_t sem = GREEN_SEM_INIT(0);
	green_t thread = start_green(park_deep, &sem);
	static char text[65536];
	int ends[2];

	CHECK_EQ(pipe(ends), 0);
	green_sleep(GREEN_MS(5));
	do
		CHECK_EQ(green_dump(ends[1]), 0);
	while (!site_with(park_deep));
	check_site(park_deep, 20000, MORE * 21500, 65536);
	ssize_t n = read(ends[0], text, sizeof(text) - 1);
	text[n > 0 ? n : 0] = 0;
	CHECK_HAS(text, "stack use: at most 2");
	CHECK_HAS(text, "\"park_deep\" spawned at start_green+0x");
	green_sem_post(&sem);
	join_green(thread);
	close(ends[0]);
	close(ends[1]);
	return unused;
}

TEST(a_parked_one_is_counted_as_it_is)
{
#if defined(GREEN_ASAN)
	SKIP("its frame lies in the sanitizer's memory");
#endif
	run_green(look_at_parked, NULL);
}

/* More places than the table has room for are no harm. */
TEST(the_table_may_be_full)
{
	static struct gt gt;
	stack_id stack = (stack_id)1 << STACK_ID_SHIFT;
	unsigned used = 0;

	for (uintptr_t i = 1; i < 10 * CENSUS_SITES; i++) {
		gt.spawn_pc = (void *)(i * 16);
		census_record(&gt, stack, i);
	}
	for (unsigned i = 0; i < CENSUS_SITES; i++)
		used += census_sites[i].pc != NULL;
	CHECK_GT(used, CENSUS_SITES / 2);
}
