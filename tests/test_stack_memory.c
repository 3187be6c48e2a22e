/* SPDX-License-Identifier: MIT
 *
 * Thread stacks from one mapping: what mmap, mprotect, munmap and madvise are answered,
 * guards that kill, memory that comes back empty, and what is passed on.
 */
#include "harness.h"

#include "intercept/call.h"
#include "intercept/stack_memory.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

#define PAGE 4096ul
#define SIZE ((size_t)256 << 10)
#define OPEN (PROT_READ | PROT_WRITE)
#define FLAGS (MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK)

static long do_call(call_fn *fn, long a, long b, long c, long d)
{
	struct call call = { .arg = { a, b, c, d, -1, 0 } };

	return fn(&call);
}

/* As the entry asks for it: the region may have to be made first. */
static char *map(size_t size, long protection)
{
	long r = do_call(fast_mmap, 0, (long)size, protection, FLAGS);

	if (r == CALL_MORE)
		r = do_call(call_mmap, 0, (long)size, protection, FLAGS);
	REQUIRE(r > 0);
	return (char *)r;
}

static long protect(char *at, size_t size, long protection)
{
	return do_call(fast_mprotect, (long)at, (long)size, protection, 0);
}

/* As pthread_create(3) does it. */
static char *stack_with_guard(size_t size, size_t guard)
{
	char *stack = map(size, PROT_NONE);

	REQUIRE_EQ(protect(stack + guard, size - guard, OPEN), 0);
	return stack;
}

static bool kills(char *at)
{
	int status = 0;
	pid_t child = fork();

	if (child == 0) {
		signal(SIGSEGV, SIG_DFL);
		*(volatile char *)at = 1;
		_exit(0);
	}
	REQUIRE(child > 0 && waitpid(child, &status, 0) == child);
	return WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV;
}

TEST(guard)
{
	char *stack = stack_with_guard(SIZE, 2 * PAGE);

	memset(stack + 2 * PAGE, 1, SIZE - 2 * PAGE);
	CHECK(kills(stack));
	CHECK(kills(stack + 2 * PAGE - 1));
	CHECK(!kills(stack + 2 * PAGE));
}

TEST(guard_grows_and_shrinks)
{
	char *stack = stack_with_guard(SIZE, PAGE);

	CHECK_EQ(protect(stack, 4 * PAGE, PROT_NONE), 0);
	CHECK(kills(stack + 3 * PAGE));
	CHECK_EQ(protect(stack + PAGE, 3 * PAGE, OPEN), 0);
	CHECK(kills(stack));
	stack[PAGE] = stack[3 * PAGE] = 1;
	CHECK_EQ(protect(stack + 8 * PAGE, PAGE, OPEN), 0);
	CHECK(kills(stack));
}

TEST(comes_back_empty_and_keeps_its_guard)
{
	char *stack = stack_with_guard(SIZE, PAGE);

	stack[SIZE - 1] = stack[PAGE] = 1;
	CHECK_EQ(do_call(fast_munmap, (long)stack, SIZE, 0, 0), 0);
	CHECK(stack_with_guard(SIZE, PAGE) == stack);
	CHECK_EQ(stack[SIZE - 1] | stack[PAGE], 0);
	CHECK(kills(stack));
	/* Mapped accessible it has none. */
	CHECK_EQ(do_call(fast_munmap, (long)stack, SIZE, 0, 0), 0);
	CHECK(map(SIZE, OPEN) == stack);
	stack[0] = 1;
}

static long map_over(char *at, size_t size, long protection)
{
	return do_call(fast_mmap, (long)at, (long)size, protection,
	               MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED);
}

/* As Java's virtual machine does it in each of its threads, whose stacks come without a guard. */
TEST(guard_mapped_anew)
{
	char *stack = map(SIZE, OPEN);

	for (int i = 0; i < 2; i++) {
		CHECK_EQ(map_over(stack, 4 * PAGE, OPEN), (long)stack);
		CHECK_EQ(protect(stack, 4 * PAGE, PROT_NONE), 0);
		CHECK(kills(stack + PAGE));
		CHECK_EQ(protect(stack + PAGE, 3 * PAGE, OPEN), 0);
		CHECK_EQ(stack[PAGE], 0);
		stack[PAGE] = 1;
		CHECK_EQ(map_over(stack, 4 * PAGE, PROT_NONE), (long)stack);
		CHECK(kills(stack + 3 * PAGE));
		CHECK(!kills(stack + 4 * PAGE));
	}
	CHECK_EQ(do_call(fast_munmap, (long)stack, SIZE, 0, 0), 0);
	CHECK(map(SIZE, OPEN) == stack);
	stack[PAGE] = 1;
}

/* A guard would empty them. */
TEST(closed_where_it_was_touched)
{
	char *stack = map(SIZE, OPEN), *other = map(SIZE, OPEN);

	stack[PAGE] = 1;
	CHECK_EQ(protect(stack, 4 * PAGE, PROT_NONE), CALL_PASS);
	CHECK_EQ(stack[PAGE], 1);
	CHECK_EQ(protect(stack, 4 * PAGE, OPEN), CALL_PASS);
	other[4 * PAGE] = 1;
	CHECK_EQ(protect(other, 4 * PAGE, PROT_NONE), 0);
	CHECK(kills(other + PAGE));
}

/* A hole in one makes it nobody's stack again. */
TEST(partly_unmapped)
{
	char *stack = map(SIZE, OPEN), *beside = map(SIZE, OPEN);

	CHECK_EQ(do_call(fast_munmap, (long)stack, PAGE, 0, 0), CALL_PASS);
	CHECK_EQ(do_call(fast_munmap, (long)stack, SIZE, 0, 0), CALL_PASS);
	CHECK(map(SIZE, OPEN) != stack);
	CHECK_EQ(do_call(fast_munmap, (long)beside + PAGE, 2 * SIZE, 0, 0), CALL_PASS);
	CHECK_EQ(do_call(fast_munmap, (long)beside, SIZE, 0, 0), CALL_PASS);
	CHECK(map(SIZE, OPEN) != beside);
}

/* What a guard cannot say is the kernel's from then on, with the guard that there was. */
TEST(left_to_the_kernel)
{
	char *stack = stack_with_guard(SIZE, 2 * PAGE);

	CHECK_EQ(protect(stack + 8 * PAGE, PAGE, PROT_NONE), CALL_PASS);
	CHECK(kills(stack + PAGE));
	CHECK_EQ(mprotect(stack + PAGE, PAGE, OPEN), 0);
	stack[PAGE] = 1;
	CHECK_EQ(protect(stack, 2 * PAGE, PROT_NONE), CALL_PASS);
	CHECK_EQ(map_over(stack, PAGE, OPEN), CALL_PASS);
	CHECK_EQ(do_call(fast_munmap, (long)stack, SIZE, 0, 0), CALL_PASS);
	CHECK(map(SIZE, PROT_NONE) != stack);
}

TEST(one_mapping_for_many)
{
	unsigned before = count_mappings();

	for (int i = 0; i < 1000; i++) {
		char *stack = stack_with_guard(SIZE, PAGE);
		stack[SIZE - 1] = stack[PAGE] = 1;
	}
	if (atomic_load(&stack_guards_are_vmas))
		SKIP("no MADV_GUARD_INSTALL here");
	CHECK_LE(count_mappings(), before + 5);
}

TEST(sizes_do_not_mix)
{
	char *small = map((size_t)64 << 10, PROT_NONE), *large = map((size_t)8 << 20, PROT_NONE);

	CHECK(stack_region_at((uintptr_t)small) != stack_region_at((uintptr_t)large));
	CHECK_EQ(do_call(fast_munmap, (long)large, 64 << 10, 0, 0), CALL_PASS);
	CHECK_EQ(do_call(fast_munmap, (long)small, 64 << 10, 0, 0), 0);
	CHECK(map((size_t)64 << 10, PROT_NONE) == small);
}

TEST(what_is_passed_on)
{
	char *stack = stack_with_guard(SIZE, PAGE);

	CHECK_EQ(do_call(fast_mmap, 0, SIZE, OPEN, MAP_PRIVATE | MAP_ANONYMOUS), CALL_PASS);
	CHECK_EQ(do_call(fast_mmap, 0, SIZE, PROT_READ, FLAGS), CALL_PASS);
	CHECK_EQ(do_call(fast_mmap, (long)0x10000000, SIZE, OPEN, FLAGS), CALL_PASS);
	CHECK_EQ(do_call(fast_mmap, 0, SIZE, OPEN, FLAGS | MAP_LOCKED), CALL_PASS);
	CHECK_EQ(do_call(fast_mmap, 0, 100, OPEN, FLAGS), CALL_PASS);
	CHECK_EQ(protect(stack + PAGE, SIZE, OPEN), CALL_PASS);
	CHECK_EQ(protect((char *)&stack, PAGE, OPEN), CALL_PASS);
	CHECK_EQ(do_call(fast_munmap, (long)stack, PAGE, 0, 0), CALL_PASS);
	CHECK_EQ(do_call(fast_munmap, (long)(stack + PAGE), SIZE, 0, 0), CALL_PASS);
	CHECK_EQ(protect(stack, SIZE, OPEN | PROT_EXEC), CALL_PASS);
}

/* At the end of a thread: only a stack that was used deeper is emptied, or now and then. */
TEST(trims_what_was_used)
{
	char *stack = stack_with_guard(SIZE, PAGE);
	int passed = 0;

	stack[SIZE - 1] = 1;
	for (int i = 0; i < 16; i++)
		passed +=
			do_call(fast_madvise, (long)stack, SIZE / 2, MADV_DONTNEED, 0) == CALL_PASS;
	CHECK_EQ(passed, 1);
	memset(stack + SIZE / 4, 1, SIZE / 4);
	CHECK_EQ(do_call(fast_madvise, (long)stack, SIZE / 2, MADV_DONTNEED, 0), CALL_PASS);
	CHECK_EQ(do_call(fast_madvise, (long)stack, SIZE / 2, MADV_WILLNEED, 0), CALL_PASS);
	CHECK_EQ(do_call(fast_madvise, (long)&stack, PAGE, MADV_DONTNEED, 0), CALL_PASS);
}
