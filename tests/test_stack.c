/* SPDX-License-Identifier: MIT
 *
 * Stacks without a scheduler: slots are handed out lowest first and reused hot,
 * never twice at once; bad sizes and short memory give errors; any number of
 * stacks is two mappings.
 */
#include "harness.h"

#include "stacks_fixture.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

/* ---- sizes ------------------------------------------------------------------- */

TEST(sizes_are_rounded_up_to_a_class)
{
	CHECK_EQ(stack_class(0), 0);
	CHECK_EQ(stack_class(1), 0);
	CHECK_EQ(stack_class(64 * KIB), 0);
	CHECK_EQ(stack_class(64 * KIB + 1), 1);
	CHECK_EQ(stack_class(100001), 1);
	CHECK_EQ(stack_class(256 * KIB), 1);
	CHECK_EQ(stack_class(256 * KIB + 1), 2);
	CHECK_EQ(stack_class(STACK_SIZE_MAX), 2);
	CHECK_EQ(stack_class(STACK_SIZE_MAX + 1), -EINVAL);
	CHECK_EQ(stack_class(SIZE_MAX), -EINVAL);
	CHECK_EQ(stack_class_size(0), 64 * KIB);
	CHECK_EQ(stack_class_size(1), 256 * KIB);
	CHECK_EQ(stack_class_size(2), STACK_SIZE_MAX);
}

TEST(a_guard_leaves_room_or_is_refused)
{
	static const size_t bad[] = { 48 * KIB + 1, 64 * KIB, SIZE_MAX };
	static const size_t good[] = { 0, 1, 4096, 4097, 48 * KIB };

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct stacks_config config = { .guard_size = bad[i] };
		CHECK_EQ(stacks_init(&config), -EINVAL);
		CHECK_EQ(stack_reserve(0), -ENOMEM);
	}
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		init((struct stacks_config){ .guard_size = good[i], .slots_max = 100 });
		struct stack_cache *cache = new_cache();
		size_t guard = good[i] ? (good[i] + 4095) & ~(size_t)4095 : 4096;
		CHECK_EQ(stacks_guard_size(), guard);
		stack_id stack = acquire(cache, 0);
		CHECK_EQ((uintptr_t)stack_bottom(stack) % (64 * KIB), guard);
		CHECK(stack_usable(stack) >= 14 * KIB);
		memset(stack_bottom(stack), 1, stack_usable(stack));
		release(cache, stack);
		finish(cache);
	}
}

TEST(a_stack_is_where_its_name_says)
{
	struct stack_cache *cache = new_cache();
	bool colours[32] = { false };
	int different = 0;

	init((struct stacks_config){ .slots_max = 4096, .caches_max = 1 });
	for (int i = 0; i < 96; i++) {
		unsigned class = (unsigned)i % 3;
		stack_id stack = acquire(cache, class), found = STACK_NONE;
		char *top = stack_top(stack), *bottom = stack_bottom(stack);

		CHECK_EQ(stack_class_of(stack), class);
		CHECK_EQ((uintptr_t)top % 16, 0);
		CHECK_EQ(top - bottom, stack_usable(stack));
		CHECK(stack_usable(stack) >= stack_class_size(class) - 4096 - 2048);
		CHECK_EQ(stack_find(top - 1, &found), STACK_PART_FRAMES);
		CHECK_EQ(found, stack);
		CHECK_EQ(stack_find(bottom, &found), STACK_PART_FRAMES);
		CHECK_EQ(stack_find(bottom - 1, &found), STACK_PART_GUARD);
		CHECK_EQ(found, stack);
		size_t colour = -(uintptr_t)top % stack_class_size(class) / 64;
		CHECK(colour < 32);
		different += !colours[colour];
		colours[colour] = true;
	}
	CHECK(different > 16);
	stack_id found;
	CHECK_EQ(stack_find(&found, &found), STACK_PART_NONE);
	CHECK_EQ(stack_find(NULL, &found), STACK_PART_NONE);
	CHECK_EQ(stack_find((void *)-1, &found), STACK_PART_NONE);
	/* The rest stays acquired: fini does not care. */
	stack_cache_flush(cache);
	free(cache);
	stacks_fini();
	CHECK_EQ(stack_find((void *)0x100000000, &found), STACK_PART_NONE);
}

/* ---- reuse ------------------------------------------------------------------- */

TEST(the_last_given_back_is_the_next_taken)
{
	struct stack_cache *cache = new_cache();

	init((struct stacks_config){ .caches_max = 2 });
	stack_id a = acquire(cache, 0), b = acquire(cache, 0);
	CHECK((char *)stack_top(a) < (char *)stack_top(b));
	*(uint64_t *)stack_bottom(a) = 42;
	release(cache, b);
	release(cache, a);
	if (!checker_is_valgrind()) {
		stack_id again = acquire(cache, 0);
		CHECK_EQ(again, a);
		CHECK_EQ(*(uint64_t *)stack_bottom(a), 42);
		release(cache, again);
	}
	finish(cache);
}

TEST(what_the_cache_cannot_hold_is_dropped)
{
	enum { COUNT = 2 * STACK_CACHE_MAX };
	struct stack_cache *cache = new_cache();
	stack_id stacks[COUNT];
	size_t dropped = 0, kept = 0;

	init((struct stacks_config){ .caches_max = 1 });
	for (int i = 0; i < COUNT; i++) {
		stacks[i] = acquire(cache, 0);
		*(uint64_t *)stack_bottom(stacks[i]) = 42;
	}
	CHECK_EQ(stacks_used(), COUNT);
	for (int i = 0; i < COUNT; i++)
		release(cache, stacks[i]);
	CHECK_EQ(stacks_used(), 0);
	for (int i = 0; i < COUNT; i++)
		*(*(uint64_t *)stack_bottom(stacks[i]) ? &kept : &dropped) += 1;
	CHECK(kept <= STACK_CACHE_MAX);
	CHECK(checker_is_valgrind() || kept >= STACK_CACHE_MAX / 2);
	CHECK_EQ(kept + dropped, COUNT);
	/* The lowest are handed out again, guards in place. */
	stack_cache_flush(cache);
	stack_id again = acquire(cache, 0);
	CHECK_EQ(again, stacks[0]);
	CHECK_EQ(*(uint64_t *)stack_bottom(again), 0);
	release(cache, again);
	finish(cache);
}

TEST(neighbours_survive_a_drop)
{
	enum { COUNT = 600 };
	struct stack_cache *cache = new_cache();
	stack_id stacks[COUNT];

	init((struct stacks_config){ .caches_max = 1 });
	for (int i = 0; i < COUNT; i++) {
		stacks[i] = acquire(cache, 0);
		memset(stack_bottom(stacks[i]), i, 64);
		memset((char *)stack_top(stacks[i]) - 64, i, 64);
	}
	for (int i = 0; i < COUNT; i += 3)
		release(cache, stacks[i]);
	stack_cache_flush(cache);
	for (int i = 0; i < COUNT; i++) {
		char expected = (char)(i % 3 ? i : 0);
		CHECK_EQ(*(char *)stack_bottom(stacks[i]), expected);
		CHECK_EQ(((char *)stack_top(stacks[i]))[-1], expected);
	}
	for (int i = 0; i < COUNT; i++)
		if (i % 3)
			release(cache, stacks[i]);
	finish(cache);
}

/* ---- promises ---------------------------------------------------------------- */

TEST(every_promised_stack_is_found)
{
	static const unsigned caches_max[] = { 1, 2, 100 };

	for (int k = 0; k < 3; k++) {
		struct stack_cache *a = new_cache(), *b = new_cache();
		stack_id *stacks = calloc(300, sizeof(*stacks));
		int n = 0;

		init((struct stacks_config){ .slots_max = 300, .caches_max = caches_max[k] });
		CHECK_EQ(stacks_capacity(0), 300);
		/* Fill one cache with what it may keep, then take all by the other. */
		for (n = 0; n < 100; n++)
			stacks[n] = acquire(a, 0);
		while (n > 0)
			release(a, stacks[--n]);
		for (n = 0; n < 300; n++)
			stacks[n] = acquire(b, 0);
		CHECK_EQ(stack_reserve(0), -ENOMEM);
		release(b, stacks[--n]);
		stacks[n++] = acquire(a, 0);
		while (n > 0)
			release(b, stacks[--n]);
		stack_cache_flush(a);
		free(a);
		free(stacks);
		finish(b);
	}
}

TEST(larger_classes_are_mapped_when_needed)
{
	struct stack_cache *cache = new_cache();

	init((struct stacks_config){ .slots_max = 64, .caches_max = 1 });
	CHECK_EQ(stacks_capacity(2), 0);
	stack_id stack;
	CHECK_EQ(stack_acquire(cache, 2, &stack), -ENOMEM);
	stack = acquire(cache, 2);
	CHECK_EQ(stacks_capacity(2), 1);
	CHECK_EQ(stack_reserve(2), -ENOMEM);
	memset(stack_bottom(stack), 1, stack_usable(stack));
	release(cache, stack);
	for (int i = 0; i < 4; i++)
		CHECK_EQ(stack_reserve(1), 0);
	CHECK_EQ(stack_reserve(1), -ENOMEM);
	finish(cache);
}

/* ---- the kernel says no ------------------------------------------------------ */

TEST(arenas_shrink_until_they_fit)
{
	if (SANITIZED) {
		SKIP("mapping by libc");
	}
	faults = (typeof(faults)){ SYS_mmap, 0, -ENOMEM, 0, (size_t)3 << 30, 0 };
	sys.call = faulty_call;
	init((struct stacks_config){ .caches_max = 1 });
	/* 2 GiB could be had: half of that is left to the program. */
	if (!checker_is_valgrind())
		CHECK_EQ(stacks_capacity(0), 16384);
	stacks_fini();

	faults.size_max = (size_t)3 << 20;
	struct stacks_config config = { 0 };
	CHECK_EQ(stacks_init(&config), -ENOMEM);
	faults.size_max = (size_t)12 << 20;
	CHECK_EQ(stacks_init(&config), 0);
	CHECK_EQ(stacks_capacity(0), 64);
	faults.size_max = 0;
	CHECK_EQ(stack_reserve(1), -ENOMEM);
	sys.call = sys_raw;
	CHECK_EQ(stack_reserve(1), 0);
	stacks_fini();
}

TEST(arenas_fit_a_real_limit)
{
	if (SANITIZED || checker_is_valgrind()) {
		SKIP("the checker needs the addresses");
	}
	pid_t child = fork();
	if (child == 0) {
		struct rlimit limit = { (rlim_t)1 << 30, (rlim_t)1 << 30 };
		struct stacks_config config = { .caches_max = 2 };
		struct stack_cache *cache = new_cache();
		stack_id stack;

		setrlimit(RLIMIT_AS, &limit);
		bool good = stacks_init(&config) == 0 && stacks_capacity(0) >= 1024 &&
		            stack_reserve(0) == 0 && stack_acquire(cache, 0, &stack) >= 0;
		/* Enough is left for the program. */
		good = good && malloc((size_t)300 << 20);
		_exit(!good);
	}
	int status;
	CHECK_EQ(waitpid(child, &status, 0), child);
	CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/* ---- many, and at once ------------------------------------------------------- */

TEST(any_number_of_stacks_is_two_mappings)
{
	enum { COUNT = 50000 };
	if (!kernel_installs_guards()) {
		SKIP("no MADV_GUARD_INSTALL");
	}
	struct stack_cache *cache = new_cache();
	stack_id *stacks = calloc(COUNT, sizeof(*stacks));

	init((struct stacks_config){ .caches_max = 1 });
	unsigned before = count_mappings();
	for (int i = 0; i < COUNT; i++) {
		stacks[i] = acquire(cache, 0);
		*(char *)stack_bottom(stacks[i]) = 1;
	}
	/* What is used is dumped, what never was is not: one more. */
	CHECK_LE(count_mappings(), before + 8); /* the sanitizers map as well */
	CHECK_EQ(stacks_used(), COUNT);
	for (int i = 0; i < COUNT; i++)
		release(cache, stacks[i]);
	free(stacks);
	finish(cache);
}

#define THREADS 4
static _Atomic uint8_t owners[STACK_CLASSES][1 << 16];
static _Atomic int clashes;
static pthread_barrier_t all_done;

static _Atomic uint8_t *owner_of(stack_id stack)
{
	return &owners[stack_class_of(stack)][stack & 0xffff];
}

static void give_up(struct stack_cache *cache, stack_id *place)
{
	atomic_fetch_sub(owner_of(*place), 1);
	release(cache, *place);
	*place = STACK_NONE;
}

/* Takes and gives back at random; a slot held by two shows in owners[]. */
static void *churn(void *arg)
{
	enum { HELD = 700 };
	unsigned seed = (unsigned)(uintptr_t)arg;
	struct stack_cache *cache = new_cache();
	stack_id *held = calloc(HELD, sizeof(*held));

	for (int i = 0; i < 60000; i++) {
		stack_id *place = &held[(unsigned)rand_r(&seed) % HELD];
		if (*place) {
			give_up(cache, place);
			continue;
		}
		unsigned class = rand_r(&seed) % 16 ? 0 : 1;
		if (stack_reserve(class) < 0)
			continue;
		if (stack_acquire(cache, class, place) < 0 ||
		    atomic_fetch_add(owner_of(*place), 1) != 0)
			atomic_fetch_add(&clashes, 1);
		*(volatile char *)stack_bottom(*place) = 1;
	}
	for (int i = 0; i < HELD; i++)
		if (held[i])
			give_up(cache, &held[i]);
	pthread_barrier_wait(&all_done);
	stack_cache_flush(cache);
	free(cache);
	free(held);
	return NULL;
}

TEST(threads_never_share_a_slot)
{
	pthread_t threads[THREADS];

	init((struct stacks_config){ .slots_max = 2000, .caches_max = THREADS });
	pthread_barrier_init(&all_done, NULL, THREADS + 1);
	for (uintptr_t i = 0; i < THREADS; i++)
		CHECK_EQ(pthread_create(&threads[i], NULL, churn, (void *)(i + 1)), 0);
	for (int i = 0; i < 100; i++) {
		CHECK(stacks_used() <= 2600);
		usleep(500);
	}
	pthread_barrier_wait(&all_done);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	CHECK_EQ(clashes, 0);
	CHECK_EQ(stacks_used(), 0);
	stacks_fini();
}

TEST(one_cache_more_than_announced_works)
{
	struct stack_cache *first = new_cache(), *second = new_cache();

	init((struct stacks_config){ .slots_max = 64, .caches_max = 1 });
	stack_id a = acquire(first, 0), b = acquire(second, 0);
	CHECK_NE(a, b);
	release(first, a);
	release(second, b);
	CHECK_EQ(second->class[0].count, 0);
	CHECK_EQ(stacks_used(), 0);
	stack_cache_flush(second);
	free(second);
	finish(first);
}

TEST(pins_nest)
{
	struct stack_cache *cache = new_cache();

	init((struct stacks_config){ .slots_max = 64 });
	stack_id stack = acquire(cache, 0);
	stack_pin(stack);
	stack_pin(stack);
	stack_unpin(stack);
	stack_unpin(stack);
	release(cache, stack);
	finish(cache);
}
