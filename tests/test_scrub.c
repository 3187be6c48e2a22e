/* SPDX-License-Identifier: MIT
 *
 * Secrets on stacks: with `dirty` and `always` nothing of the runtime's memory has one
 * when its green thread has ended; with `none` the same search finds it.
 */
#include "stacks_fixture.h"

#include "green_sync.h"
#include "hibernate.h"
#include "worker.h"

#include <pthread.h>

/* The secret never lies in memory but where it is put: what looks for it compares a
 * word after a change to it. */
#define SECRET 0x5ec7e7c0ffee4a11u
#define CHANGE 0x3333cccc9999aaaau

static volatile uint64_t change = CHANGE, changed = SECRET ^ CHANGE;

/* In assembly, so that it is left in no register or frame of ours. */
static void put_secret(uint64_t *word)
{
	__asm__ volatile("mov %1, %%rax\n\txor %2, %%rax\n\tmov %%rax, (%0)\n\txor %%eax, %%eax"
	                 :
	                 : "r"(word), "m"(change), "m"(changed)
	                 : "rax", "memory");
}

/* Frames that hold it, down to that depth. */
__attribute__((noinline)) static uint64_t keep_secrets(size_t depth)
{
	volatile uint64_t frame[64];

	for (int i = 0; i < 64; i += 4)
		put_secret((uint64_t *)&frame[i]);
	return depth > sizeof(frame) ? keep_secrets(depth - sizeof(frame)) + frame[1] : frame[2];
}

__attribute__((no_sanitize("address", "thread"), noinline)) static size_t
count_secrets(const uint64_t *low, const uint64_t *high)
{
	size_t count = 0;

	for (; low < high; low++)
		count += (*(const volatile uint64_t *)low ^ change) == changed;
	return count;
}

/* What this thread finds below its own frames. */
static void *search_below(void *arg)
{
	size_t count;

	count = count_secrets(stack_bottom(gt_self()->stack),
	                      (uint64_t *)((uintptr_t)__builtin_frame_address(0) - 1024));
	*(size_t *)arg += count;
	return NULL;
}

static size_t depth;

static void *hold(void *arg)
{
	keep_secrets(depth);
	return arg;
}

/* With room for a block of a disk: the page is moved, and what was packed compared. */
static void *hold_and_park(void *arg)
{
	uint64_t frame[80];

	for (int i = 0; i < 8; i++)
		put_secret(&frame[i]);
	CHECK_EQ(green_sem_wait(arg), 0);
	__asm__ volatile("" : : "r"(frame) : "memory");
	return NULL;
}

/* One after the other, and in a row without a switch between, where a stack is handed
 * on directly. */
static void *reuse(void *found)
{
	size_t size = depth > 50 * KIB ? STACK_SIZE_MAX : 0;
	struct green_attr attr = { .stack_size = size };

	for (int i = 0; i < 50; i++) {
		green_t threads[8];
		for (int k = 0; k < 8; k++)
			threads[k] = start_with(&attr, k % 2 ? search_below : hold, found);
		for (int k = 0; k < 8; k++)
			join_green(threads[k]);
		join_green(start_with(&attr, hold, NULL));
		join_green(start_with(&attr, search_below, found));
	}
	return NULL;
}

static size_t found_with(enum green_scrub scrub, const char *features, int64_t hibernate)
{
	struct green_options options = {
		.scrub = scrub, .features = features, .workers = 1, .hibernate_after_ns = hibernate
	};
	size_t found = 0;

	CHECK_EQ(run_green_with(&options, reuse, &found, NULL), 0);
	return found;
}

static const struct {
	const char *features;
	int64_t hibernate;
} rungs[] = {
	{ NULL, GREEN_S(100) },  { "-userfaultfd_kernel", GREEN_S(100) }, { NULL, 0 },
	{ "-guard_install", 0 }, { "-guard_install,-mprotect_guard", 0 },
};

static void skip_under_sanitizers(void)
{
	if (SANITIZED)
		SKIP("frames lie in the sanitizer's memory, which is too large to be searched");
}

static void check_all_rungs(size_t how_deep)
{
	skip_under_sanitizers();
	depth = how_deep;
	for (size_t i = 0; i < sizeof(rungs) / sizeof(rungs[0]); i++) {
		const char *features = rungs[i].features;
		int64_t ns = rungs[i].hibernate;
		CHECK_GT(found_with(GREEN_SCRUB_NONE, features, ns), 0);
		CHECK_EQ(found_with(GREEN_SCRUB_DIRTY, features, ns), 0);
		CHECK_EQ(found_with(GREEN_SCRUB_ALWAYS, features, ns), 0);
	}
}

TEST(nothing_is_left_of_a_shallow_thread)
{
	check_all_rungs(2 * KIB);
}

TEST(nothing_is_left_of_a_deep_thread)
{
	check_all_rungs(40 * KIB);
}

TEST(nothing_is_left_on_a_large_stack)
{
	check_all_rungs(700 * KIB);
}

/* Memory that cannot be given back to the kernel is filled with zeroes all the same. */
TEST(locked_memory_is_no_excuse)
{
	skip_under_sanitizers();
	depth = 40 * KIB;
	faults = (typeof(faults)){ SYS_madvise, MADV_DONTNEED, -EINVAL, 0, 0, 0 };
	sys.call = faulty_call;
	for (int how = GREEN_SCRUB_DIRTY; how <= GREEN_SCRUB_ALWAYS; how++)
		CHECK_EQ(found_with((enum green_scrub)how, "-guard_install", 0), 0);
}

TEST(the_environment_decides)
{
	skip_under_sanitizers();
	depth = 2 * KIB;
	setenv("GREEN_SCRUB", "dirty", 1);
	CHECK_EQ(found_with(GREEN_SCRUB_NONE, NULL, 0), 0);
	setenv("GREEN_SCRUB", "none", 1);
	CHECK_GT(found_with(GREEN_SCRUB_ALWAYS, NULL, 0), 0);
}

/* ---- what hibernation keeps ------------------------------------------------------- */

#define WINDOW ((size_t)2 << 20)

/* At any byte: packed ones lie anywhere. */
__attribute__((no_sanitize("address", "thread"), noinline)) static size_t
count_packed_secrets(const char *low, const char *high)
{
	size_t count = 0;
	uint64_t word;

	for (; low + sizeof(word) <= high; low++) {
		__builtin_memcpy(&word, low, sizeof(word));
		count += (word ^ change) == changed;
	}
	return count;
}

/* Of a mapping, which may be far larger than memory: what is there of it.  Not the
 * stacks, of which the last one may not have been given back yet. */
static size_t search_mapping(char *low, char *high)
{
	unsigned char present[WINDOW / 4096];
	size_t count = 0;
	stack_id stack;

	for (; low < high; low += WINDOW) {
		size_t size = (size_t)(high - low) < WINDOW ? (size_t)(high - low) : WINDOW;
		if (mincore(low, size, present) < 0)
			continue;
		for (char *page = low; page < low + size; page += 4096)
			if ((present[(page - low) / 4096] & 1) &&
			    stack_find(page, &stack) == STACK_PART_NONE)
				count += count_packed_secrets(page, page + 4096);
	}
	return count;
}

/* In all memory of this process but the stacks. */
static size_t search_everywhere(void)
{
	char line[512];
	char *low, *high;
	size_t count = 0;
	FILE *maps = fopen("/proc/self/maps", "re");

	while (fgets(line, sizeof(line), maps))
		if (sscanf(line, "%p-%p", (void **)&low, (void **)&high) == 2 &&
		    strstr(line, " rw"))
			count += search_mapping(low, high);
	fclose(maps);
	return count;
}

static size_t left;

static void *sleep_with_secret(void *unused)
{
	static green_sem_t sem;
	enum { COUNT = 64 };
	green_t threads[COUNT];

	for (int i = 0; i < COUNT; i++)
		threads[i] = start_green(hold_and_park, &sem);
	WAIT_FOR(stacks_hibernated() >= COUNT);
	for (int i = 0; i < COUNT; i++)
		green_sem_post(&sem);
	for (int i = 0; i < COUNT; i++)
		join_green(threads[i]);
	left = search_everywhere();
	return unused;
}

static size_t left_with(enum green_scrub scrub)
{
	struct green_options options = { .scrub = scrub, .hibernate_after_ns = GREEN_MS(20) };

	CHECK_EQ(run_green_with(&options, sleep_with_secret, NULL, NULL), 0);
	return left;
}

TEST(nothing_is_left_of_a_hibernated_thread)
{
	struct green_options options = { .hibernate_after_ns = GREEN_MS(20) };

	skip_under_sanitizers();
	CHECK_EQ(green_init(&options), 0);
	bool can = stacks_can_hibernate();
	CHECK_EQ(green_fini(), 0);
	if (!can)
		SKIP("stacks do not hibernate here");
	CHECK_EQ(left_with(GREEN_SCRUB_DIRTY), 0);
	CHECK_EQ(left_with(GREEN_SCRUB_ALWAYS), 0);
	/* Last: what it leaves in static memory outlives green_fini(). */
	CHECK_GT(left_with(GREEN_SCRUB_NONE), 0);
}
