/* SPDX-License-Identifier: MIT
 *
 * What a slot lacks is brought when it is touched, by code and by system calls, whatever
 * the handler is asked for meanwhile; and where most have to be filled, none lacks anything.
 */
#include "stacks_fixture.h"

#include "arena.h"
#include "later.h"
#include "sleep.h"
#include "uffd.h"

#include <fcntl.h>
#include <pthread.h>

#define FAR (40 * KIB)
#define PAGE ((size_t)4096)
#define ROUNDS 1000 /* more than any policy puts up with */

static struct stack_cache *cache;

static bool begin(bool kernel)
{
	cache = new_cache();
	init((struct stacks_config){ .caches_max = 1, .no_userfaultfd_kernel = !kernel });
	return hibernate_init() == 0 && uffd_sees_calls() == kernel;
}

static void end(void)
{
	finish(cache);
}

static bool is_there(const char *address)
{
	unsigned char present = 0;
	char *page = (char *)((uintptr_t)address & ~(PAGE - 1));

	CHECK_EQ(mincore(page, PAGE, &present), 0);
	return present & 1;
}

static char *far_down(stack_id stack)
{
	return (char *)stack_top(stack) - FAR;
}

static bool is_whole(stack_id stack)
{
	for (char *page = stack_bottom(stack); page < (char *)stack_top(stack); page += PAGE)
		if (!is_there(page))
			return false;
	return !is_there((char *)stack_bottom(stack) - 1);
}

/* By the kernel, if there is a descriptor to read zeroes from. */
static void touch(stack_id stack, int zeros)
{
	if (zeros >= 0)
		CHECK_EQ(read(zeros, far_down(stack), 8), 8);
	else
		*(volatile char *)far_down(stack) = 1;
}

static void check_brought(int zeros)
{
	stack_id stack = acquire(cache, 0);

	for (int i = 0; i < 2; i++) { /* started, restored */
		CHECK(is_there((char *)stack_top(stack) - 1));
		CHECK(!is_there(far_down(stack)));
		touch(stack, zeros);
		CHECK(is_whole(stack));
		hibernate(stack);
		CHECK_EQ(stack_rouse(stack), 0);
		CHECK_EQ(((char *)stack_top(stack))[-1], 7);
	}
	release(cache, stack);
}

TEST(what_is_left_out_is_brought)
{
	int zeros = open("/dev/zero", O_RDONLY);

	if (!begin(true)) {
		end();
		SKIP("no userfaultfd for kernel faults");
	}
	check_brought(-1);
	stack_cache_flush(cache);
	check_brought(zeros);
	end();
	close(zeros);
}

TEST(nothing_is_left_out_in_user_mode)
{
	if (!begin(false)) {
		end();
		SKIP("no userfaultfd");
	}
	stack_id stack = acquire(cache, 0);
	CHECK(is_whole(stack));
	hibernate(stack);
	CHECK_EQ(stack_rouse(stack), 0);
	CHECK(is_whole(stack));
	CHECK(!later_may(LATER_STARTED));
	CHECK(!later_may(LATER_RESTORED));
	release(cache, stack);
	end();
}

/* After some that had to be filled, all are; and those that need not be do not suffer for
 * good. */
TEST(what_is_touched_often_is_whole)
{
	unsigned lacking = 0, tries = 0;

	if (!begin(true)) {
		end();
		SKIP("no userfaultfd for kernel faults");
	}
	stack_id stack = acquire(cache, 0);
	for (int i = 0; i < ROUNDS; i++) {
		hibernate(stack);
		CHECK_EQ(stack_rouse(stack), 0);
		lacking += !is_there(far_down(stack));
		touch(stack, -1);
		CHECK(is_whole(stack));
	}
	CHECK_GT(lacking, 0);
	CHECK_LT(lacking, ROUNDS / 4);
	while (!later_may(LATER_RESTORED) && tries < 100 * ROUNDS)
		tries++;
	CHECK_GT(tries, ROUNDS);
	CHECK_LT(tries, 100 * ROUNDS);
	release(cache, stack);
	end();
}

/* ---- the handler waits for nobody ----------------------------------------------- */

static void *touch_top(void *stack)
{
	volatile char *top = stack_top(*(stack_id *)stack);

	return (void *)(intptr_t)top[-1];
}

TEST(somebody_else_is_served_while_a_stack_is_held)
{
	pthread_t thread;
	void *seen;

	if (!begin(true)) {
		end();
		SKIP("no userfaultfd for kernel faults");
	}
	stack_id held = acquire(cache, 0), other = acquire(cache, 0);
	hibernate(held);
	hibernate(other);
	CHECK_EQ(stack_rouse(other), 0);
	uint32_t word = atomic_load(&sleep_of(held)->word), before = word;
	REQUIRE(move_state(sleep_of(held), &word, RESTORING));
	CHECK_EQ(pthread_create(&thread, NULL, touch_top, &held), 0);
	usleep(20000); /* that it waits by then is likely, and all that this needs */
	CHECK(!is_there(far_down(other)));
	touch(other, -1);
	CHECK(is_whole(other));
	set_state(sleep_of(held), before);
	CHECK_EQ(pthread_join(thread, &seen), 0);
	CHECK_EQ((intptr_t)seen, 7);
	release(cache, held);
	release(cache, other);
	end();
}

/* ---- when most hibernate ---------------------------------------------------------- */

#define CROWD 12000u

static uint32_t mark(void)
{
	return atomic_load(&arenas[0].watched);
}

TEST(where_most_hibernate_the_next_ones_are_watched)
{
	static stack_id stacks[CROWD];
	int zeros = open("/dev/zero", O_RDONLY);

	cache = new_cache();
	init((struct stacks_config){ .caches_max = 1, .watch_later = true });
	if (hibernate_init() < 0 || !stacks_install_guards() ||
	    stacks_rung() != STACK_RUNG_USERFAULTFD_KERNEL) {
		end();
		SKIP("no userfaultfd for kernel faults, or no MADV_GUARD_INSTALL");
	}
	for (unsigned i = 0; i < CROWD; i++)
		stacks[i] = acquire(cache, 0);
	CHECK_EQ(mark(), 0);
	for (unsigned i = 0; i < CROWD; i++)
		if (arena_slot_of(stacks[i]) < CROWD - 64)
			hibernate(stacks[i]);
	/* Beyond those that are awake, and they have what they need. */
	CHECK_GT(mark(), CROWD + 64);
	stack_id next = acquire(cache, 0);
	for (unsigned i = 0; i < CROWD; i++) {
		CHECK_EQ(read(zeros, far_down(stacks[i]), 8), 8);
		release(cache, stacks[i]);
	}
	CHECK_EQ(read(zeros, far_down(next), 8), 8);
	release(cache, next);
	end();
	close(zeros);
}
