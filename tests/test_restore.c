/* SPDX-License-Identifier: MIT
 *
 * What is found where a stack comes back: a page that is there already, from
 * before the watch began or newer than what was put away, loses nothing.  And while a
 * page is aside: who looks from outside finds its bytes.
 */
#include "stacks_fixture.h"

#include "hibernate.h"
#include "pack.h"
#include "pages.h"
#include "slab.h"
#include "sleep.h"
#include "uffd.h"

#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/wait.h>

#define WORDS 16

static struct stack_cache *cache;
static stack_id stack;

static uint64_t *live(void)
{
	return (uint64_t *)stack_top(stack) - WORDS;
}

/* A stack that hibernates. */
static void begin(void)
{
	cache = new_cache();
	init((struct stacks_config){ .caches_max = 1 });
	if (hibernate_init() < 0) {
		stacks_fini();
		SKIP("no userfaultfd that protects");
	}
	stack = acquire(cache, 0);
	for (uint64_t i = 0; i < WORDS; i++)
		live()[i] = i + 1;
	struct stack_sleeper sleeper = { .stack = stack, .sp = live() };
	hibernate_lock();
	CHECK(stack_lull(stack));
	stacks_hibernate(&sleeper, 1);
	hibernate_unlock();
	REQUIRE(stack_is_hibernated(stack));
}

static void end(void)
{
	release(cache, stack);
	finish(cache);
}

static bool is_intact(void)
{
	for (uint64_t i = 1; i < WORDS; i++)
		if (live()[i] != i + 1)
			return false;
	return live()[0] == 1;
}

TEST(a_page_of_zeroes_is_overwritten)
{
	begin();
	char *page = (char *)((uintptr_t)live() & ~(uintptr_t)4095);
	CHECK_EQ(uffd_zero(page, 4096), 0);
	CHECK_EQ(stack_rouse(stack), 0);
	CHECK(is_intact());
	end();
}

static int status_of(pid_t child)
{
	int status = -1;

	CHECK_EQ(waitpid(child, &status, 0), child);
	return status;
}

TEST(a_child_may_touch_it_before_it_is_watched)
{
	begin();
	pid_t child = fork();
	if (child == 0) {
		if (*(volatile uint64_t *)live() != 0)
			_exit(1);
		stacks_forked(STACK_NONE);
		_exit(stack_rouse(stack) == 0 && is_intact() ? 0 : 2);
	}
	CHECK_EQ(status_of(child), 0);
	CHECK_EQ(stack_rouse(stack), 0);
	end();
}

static pid_t forked;

/* Between the page's coming back and its stack's being resident, somebody writes
 * to it and the process forks. */
static long forking_call(long nr, long a, long b, long c, long d, long e, long f)
{
	long r = sys_raw(nr, a, b, c, d, e, f);

	if (nr == SYS_ioctl && b == (long)UFFDIO_COPY && r == 0) {
		sys.call = sys_raw;
		live()[0] = 77;
		forked = fork();
		if (forked == 0) {
			stacks_forked(STACK_NONE);
			_exit(stack_rouse(stack) == 0 && live()[0] == 77 && live()[1] == 2 ? 0 : 1);
		}
	}
	return r;
}

TEST(a_child_keeps_what_is_newer)
{
	begin();
	sys.call = forking_call;
	CHECK_EQ(stack_rouse(stack), 0);
	CHECK_EQ(status_of(forked), 0);
	CHECK_EQ(live()[0], 77);
	end();
}

/* What a fork shares cannot be moved before it is written to. */
TEST(a_stack_shared_with_a_child_can_be_taken)
{
	begin();
	CHECK_EQ(stack_rouse(stack), 0);
	if (!stacks_can_move()) {
		end();
		SKIP("no UFFDIO_MOVE");
	}
	pid_t child = fork();
	if (child == 0) {
		pause();
		_exit(0);
	}
	struct stack_sleeper sleeper = {
		.stack = stack,
		.sp = (char *)stack_top(stack) - 1024,
		.users = 1024,
	};
	CHECK(stack_lull(stack));
	hibernate_lock();
	stacks_hibernate(&sleeper, 1);
	hibernate_unlock();
	CHECK(stack_is_hibernated(stack));
	CHECK(is_intact());
	kill(child, SIGKILL);
	CHECK_EQ(status_of(child), SIGKILL);
	end();
}

static bool no_move_back, moved, copied;

/* Nothing can be dropped, until it has come back by copying; that is when only one page can
 * be moved. */
static long refusing_call(long nr, long a, long b, long c, long d, long e, long f)
{
	if (nr == SYS_madvise && c == MADV_DONTNEED && !copied)
		return -EINVAL;
	copied |= nr == SYS_ioctl && b == (long)UFFDIO_COPY;
	if (nr == SYS_ioctl && b == (long)_IOWR(UFFDIO, 0x05, char[40])) {
		if (moved && no_move_back)
			return -EBUSY;
		moved = true;
	}
	return sys_raw(nr, a, b, c, d, e, f);
}

static void refused(bool cannot_move_back)
{
	begin();
	CHECK_EQ(stack_rouse(stack), 0);
	if (!stacks_can_move()) {
		end();
		SKIP("no UFFDIO_MOVE");
	}
	no_move_back = cannot_move_back;
	moved = false;
	copied = false;
	struct stack_sleeper sleeper = { .stack = stack, .sp = live(), .users = 1024 };
	CHECK(stack_lull(stack));
	hibernate_lock();
	sys.call = refusing_call;
	stacks_hibernate(&sleeper, 1);
	sys.call = sys_raw;
	hibernate_unlock();
	CHECK(moved);
	CHECK(!stack_is_hibernated(stack));
	CHECK(is_intact());
	live()[0] = 1;
	end();
}

TEST(what_was_taken_aside_comes_back)
{
	refused(false);
}

TEST(what_was_taken_aside_comes_back_by_copying)
{
	refused(true);
}

/* ---- while a page is aside -------------------------------------------------------- */

static bool write_before; /* somebody who holds the page does, before it goes */
static unsigned looks;

static uint32_t word_now(void)
{
	return atomic_load(&sleep_of(stack)->word);
}

/* Whoever looks from outside, at the moment at which the page is not in its place. */
static long looking_call(long nr, long a, long b, long c, long d, long e, long f)
{
	uint64_t found[WORDS];

	if (nr != SYS_ioctl || b != (long)_IOWR(UFFDIO, 0x05, char[40]))
		return sys_raw(nr, a, b, c, d, e, f);
	sys.call = sys_raw;
	if (write_before) {
		uffd_protect(top_page(stack), UFFD_PAGE_MAX, false);
		live()[0] = 77;
	}
	long r = sys_raw(nr, a, b, c, d, e, f);
	CHECK_EQ(r, 0);
	CHECK_EQ(word_now() & STATE_MASK, SWEEPING);
	REQUIRE_EQ(length_in(word_now()), sizeof(found));
	unpack(found, sizeof(found), stack_top(stack), slab_at(sleep_of(stack)->slab),
	       word_now() >> MODEL_SHIFT);
	for (uint64_t i = 0; i < WORDS; i++)
		CHECK_EQ(found[i], i + 1);
	looks++;
	return r;
}

static void look(bool write)
{
	begin();
	CHECK_EQ(stack_rouse(stack), 0);
	if (!stacks_can_move()) {
		end();
		SKIP("no UFFDIO_MOVE");
	}
	write_before = write;
	looks = 0;
	struct stack_sleeper sleeper = { .stack = stack, .sp = live(), .users = 1024 };
	CHECK(stack_lull(stack));
	hibernate_lock();
	sys.call = looking_call;
	stacks_hibernate(&sleeper, 1);
	sys.call = sys_raw;
	hibernate_unlock();
	CHECK_EQ(looks, 1);
}

TEST(what_is_aside_is_found_in_the_slab)
{
	look(false);
	CHECK(stack_is_hibernated(stack));
	CHECK(is_intact());
	end();
}

TEST(what_changed_before_it_was_aside_stays)
{
	look(true);
	CHECK_EQ(word_now(), RESIDENT);
	CHECK_EQ(live()[0], 77);
	live()[0] = 1;
	CHECK(is_intact());
	end();
}
