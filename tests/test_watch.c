/* SPDX-License-Identifier: MIT
 *
 * Slots are plain memory until one of them shall hibernate; then those up to it are
 * watched, and who uses them meanwhile does not notice.
 */
#include "harness.h"
#include "arena.h"
#include "green_sync.h"
#include "guard.h"
#include "stacks_fixture.h"

#include <fcntl.h>
#include <sys/wait.h>

static const char *const modes[] = { "-userfaultfd_kernel", NULL };

#define SLOTS 80 /* of two and a half chunks */
#define FAR (40 * KIB)

static bool kills(char *address)
{
	pid_t child = fork();
	int status;

	if (child == 0) {
		signal(SIGSEGV, SIG_DFL);
		signal(SIGBUS, SIG_DFL);
		stacks_forked(STACK_NONE);
		*(volatile char *)address = 1;
		_exit(0);
	}
	CHECK_EQ(waitpid(child, &status, 0), child);
	return WIFSIGNALED(status);
}

/* Does the kernel write where nobody has been? */
static void check_call(stack_id stack, int zeros)
{
	CHECK_EQ(read(zeros, (char *)stack_top(stack) - FAR, 8), 8);
}

/* By slot. */
static void acquire_all(struct stack_cache *cache, stack_id *stacks)
{
	for (int i = 0; i < SLOTS; i++) {
		stack_id stack = acquire(cache, 0);
		REQUIRE(arena_slot_of(stack) < SLOTS);
		stacks[arena_slot_of(stack)] = stack;
	}
}

static uint32_t mark(void)
{
	return atomic_load(&arenas[0].watched);
}

static void check_rising(bool kernel)
{
	struct stack_cache *cache = new_cache();
	stack_id stacks[SLOTS];
	int zeros = open("/dev/zero", O_RDONLY);

	init((struct stacks_config){
		.caches_max = 1, .watch_later = true, .no_userfaultfd_kernel = !kernel });
	CHECK_EQ(hibernate_init(), 0);
	acquire_all(cache, stacks);
	CHECK_EQ(mark(), 0);
	CHECK_EQ(stacks_threads(), 0);
	CHECK(kills((char *)stack_bottom(stacks[3]) - 1));
	hibernate(stacks[33]);
	CHECK_EQ(mark(), 64);
	CHECK_EQ(stacks_threads(), kernel ? 2 : 1);
	CHECK_EQ(((char *)stack_top(stacks[33]))[-1], 7);
	CHECK(!stack_is_hibernated(stacks[33]));
	for (int i = 0; i < SLOTS; i++)
		check_call(stacks[i], zeros);
	CHECK(kills((char *)stack_bottom(stacks[70]) - 1));
	for (int i = 0; i < SLOTS; i++)
		release(cache, stacks[i]);
	stack_cache_flush(cache);
	/* Those that come again are watched, the others not. */
	acquire_all(cache, stacks);
	for (int i = 0; i < SLOTS; i++)
		check_call(stacks[i], zeros);
	hibernate(stacks[75]);
	CHECK_EQ(mark(), 96);
	CHECK_EQ(((char *)stack_top(stacks[75]))[-1], 7);
	for (int i = 0; i < SLOTS; i++) {
		check_call(stacks[i], zeros);
		release(cache, stacks[i]);
	}
	finish(cache);
	close(zeros);
}

static bool can(bool kernel)
{
	init((struct stacks_config){ .no_userfaultfd_kernel = !kernel });
	bool good = stacks_can_hibernate() && (stacks_rung() == STACK_RUNG_USERFAULTFD) != kernel;
	stacks_fini();
	return good && kernel_installs_guards();
}

TEST(the_mark_rises_in_user_mode)
{
	if (!can(false)) {
		SKIP("no userfaultfd, or no MADV_GUARD_INSTALL");
	}
	check_rising(false);
}

TEST(the_mark_rises_in_kernel_mode)
{
	if (!can(true)) {
		SKIP("no userfaultfd for kernel faults, or no MADV_GUARD_INSTALL");
	}
	check_rising(true);
}

/* The kernel refuses to register: nothing hibernates, and nothing else changes. */
static bool refuses;

static long refusing(long nr, long a, long b, long c, long d, long e, long f)
{
	if (refuses && nr == SYS_ioctl && (b & 0xffff) == 0xaa00)
		return -ENOMEM;
	return sys_raw(nr, a, b, c, d, e, f);
}

TEST(without_registering_all_stays_plain)
{
	if (!can(false)) {
		SKIP("no userfaultfd, or no MADV_GUARD_INSTALL");
	}
	struct stack_cache *cache = new_cache();
	sys.call = refusing;
	init((struct stacks_config){ .caches_max = 1, .watch_later = true });
	CHECK_EQ(hibernate_init(), 0);
	stack_id stack = acquire(cache, 0);
	struct stack_sleeper s = { .stack = stack, .sp = (char *)stack_top(stack) - 64 };
	refuses = true;
	hibernate_lock();
	CHECK(stack_lull(stack));
	stacks_hibernate(&s, 1);
	hibernate_unlock();
	refuses = false;
	CHECK(!stack_is_hibernated(stack));
	CHECK_EQ(mark(), 0);
	CHECK(kills((char *)stack_bottom(stack) - 1));
	hibernate(stack);
	CHECK_EQ(mark(), 32);
	CHECK_EQ(((char *)stack_top(stack))[-1], 7);
	release(cache, stack);
	finish(cache);
}

/* ---- while threads run -------------------------------------------------------- */

#define SLEEPERS 400
#define CALLERS 2000
#define RUNS 10

static int zeros = -1;
static _Atomic unsigned refused, called;
static _Atomic bool risen; /* the mark */

/* Far below where it, or whoever had the stack before, has been; a frame of that size
 * would be touched by the code that makes it. */
static void call_far(void)
{
	if (read(zeros, (char *)__builtin_frame_address(0) - FAR, 8) != 8)
		atomic_fetch_add(&refused, 1);
}

static void *caller(void *unused)
{
	call_far();
	green_yield();
	call_far();
	atomic_fetch_add(&called, 1);
	return unused;
}

static void *sleeper(void *unused)
{
	while (!atomic_load(&risen))
		green_sleep(GREEN_MS(50));
	return unused;
}

/* Runs until others hibernate; has not been far down before. */
static void *waiter(void *unused)
{
	while (!atomic_load(&risen))
		green_yield();
	call_far();
	return unused;
}

static void *many(void *unused)
{
	struct green_info info;
	unsigned started = 0;

	atomic_store(&risen, false);
	atomic_store(&called, 0);
	for (int i = 0; i < SLEEPERS; i++)
		CHECK_EQ(green_go(i % 10 ? sleeper : waiter, NULL), 0);
	do {
		for (int i = 0; i < CALLERS / 10; i++, started++)
			CHECK_EQ(green_go(caller, NULL), 0);
		do /* however long it takes until one hibernates, they do not pile up */
			green_yield();
		while (started - atomic_load(&called) > CALLERS);
		REQUIRE_EQ(green_info(&info), 0);
	} while (info.stacks_hibernated == 0);
	atomic_store(&risen, true);
	for (int i = 0; i < CALLERS; i++)
		CHECK_EQ(green_go(caller, NULL), 0);
	return unused;
}

TEST(calls_far_down_never_fail)
{
	zeros = open("/dev/zero", O_RDONLY);
	for (int i = 0; i < 2 * RUNS; i++) {
		struct green_options options = { .features = modes[i % 2],
			                         .hibernate_after_ns = GREEN_MS(1) };
		struct green_info info;
		REQUIRE_EQ(green_init(&options), 0);
		REQUIRE_EQ(green_info(&info), 0);
		REQUIRE_EQ(green_fini(), 0);
		if (strstr(info.features, "+uffd_wp"))
			CHECK_EQ(run_green_with(&options, many, NULL, NULL), 0);
	}
	CHECK_EQ(atomic_load(&refused), 0);
	close(zeros);
}
