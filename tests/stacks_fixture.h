/* SPDX-License-Identifier: MIT
 *
 * What the suites of stacks/ share: one cache, taking and giving back with the
 * promise that goes with it, and a kernel that refuses.
 */
#ifndef STACKS_FIXTURE_H
#define STACKS_FIXTURE_H

#include "harness.h"

#include "arch/compat.h"
#include "arch/sys.h"
#include "checker.h"
#include "hibernate.h"
#include "stack.h"

#include <signal.h>
#include <sys/mman.h>

#if defined(GREEN_ASAN) || defined(GREEN_TSAN)
#define SANITIZED 1
#else
#define SANITIZED 0
#endif

#define KIB ((size_t)1 << 10)

HARNESS_UNUSED static struct stack_cache *new_cache(void)
{
	return calloc(1, sizeof(struct stack_cache));
}

HARNESS_UNUSED static void on_touch(int sig, siginfo_t *info, void *context)
{
	(void)context;
	if (!stack_touched(info->si_addr))
		signal(sig, SIG_DFL);
}

/* Stacks that are watched, as the runtime watches them. */
HARNESS_UNUSED static void init(struct stacks_config config)
{
	struct sigaction action = { .sa_sigaction = on_touch, .sa_flags = SA_SIGINFO };

	CHECK_EQ(sigaction(SIGBUS, &action, NULL), 0);
	CHECK_EQ(stacks_init(&config), 0);
	CHECK_EQ(stacks_start(), 0);
}

HARNESS_UNUSED static stack_id acquire(struct stack_cache *cache, unsigned class)
{
	stack_id stack = STACK_NONE;

	CHECK_EQ(stack_reserve(class), 0);
	CHECK_GE(stack_acquire(cache, class, &stack), 0);
	CHECK_NE(stack, STACK_NONE);
	return stack;
}

HARNESS_UNUSED static void release(struct stack_cache *cache, stack_id stack)
{
	stack_release(cache, stack);
	stack_unreserve(stack_class_of(stack));
}

HARNESS_UNUSED static void finish(struct stack_cache *cache)
{
	stack_cache_flush(cache);
	CHECK_EQ(stacks_used(), 0);
	free(cache);
	stacks_fini();
}

/* A stack of which 64 bytes are live. */
HARNESS_UNUSED static void hibernate(stack_id stack)
{
	struct stack_sleeper s = { .stack = stack, .sp = (char *)stack_top(stack) - 64 };

	memset(s.sp, 7, 64);
	hibernate_lock();
	REQUIRE(stack_lull(stack));
	stacks_hibernate(&s, 1);
	hibernate_unlock();
	REQUIRE(stack_is_hibernated(stack));
}

HARNESS_UNUSED static bool kernel_installs_guards(void)
{
	void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	bool can = madvise(page, 4096, MADV_GUARD_INSTALL) == 0;

	munmap(page, 4096);
	return can && !checker_is_valgrind();
}

HARNESS_UNUSED static struct {
	long nr, advice, error;
	int after; /* calls that still work */
	size_t size_max;
	int seen;
} faults;

HARNESS_UNUSED static long faulty_call(long nr, long a, long b, long c, long d, long e, long f)
{
	bool mine = nr == faults.nr;

	if (mine && nr == SYS_madvise)
		mine = c == faults.advice;
	if (mine && nr == SYS_mmap)
		mine = (size_t)b > faults.size_max;
	if (mine && ++faults.seen > faults.after)
		return faults.error;
	/* Batches would go past the fault. */
	if (nr == SYS_process_madvise && faults.nr == SYS_madvise)
		return -ENOSYS;
	return sys_raw(nr, a, b, c, d, e, f);
}

#endif
