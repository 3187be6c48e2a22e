/* SPDX-License-Identifier: MIT
 *
 * green_wg: all waiters go on at zero, not before; the group may be gone at
 * once.
 */
#include "sync.h"

#define MEMBERS 24

static void *counts(void *arg)
{
	green_wg_t wg = GREEN_WG_INIT;
	CHECK_EQ(green_wg_wait(&wg), 0);
	CHECK_EQ(green_wg_done(&wg), -EINVAL);
	CHECK_EQ(green_wg_add(&wg, 3), 0);
	CHECK_EQ(green_wg_add(&wg, -4), -EINVAL);
	CHECK_EQ(wg.count, 3);
	CHECK_EQ(green_wg_add(&wg, -2), 0);
	CHECK_EQ(green_wg_done(&wg), 0);
	CHECK_EQ(green_wg_wait(&wg), 0);
	CHECK_EQ(green_wg_add(&wg, INT32_MAX), 0);
	CHECK_EQ(green_wg_add(&wg, INT32_MAX), 0);
	CHECK_EQ(green_wg_add(&wg, INT32_MAX), -EINVAL);
	return arg;
}
BOTH(counts)

static struct {
	green_wg_t wg;
	_Atomic int passed;
	int results[MEMBERS];
} gate;

static void *pass(void *arg)
{
	int i = (int)(intptr_t)arg;
	gate.results[i] = green_wg_wait(&gate.wg);
	if (!gate.results[i])
		atomic_fetch_add(&gate.passed, 1);
	return NULL;
}

static void gather(struct thread *threads)
{
	memset(&gate, 0, sizeof(gate));
	CHECK_EQ(green_wg_add(&gate.wg, 2), 0);
	for (unsigned i = 0; i < MEMBERS; i++)
		threads[i] = thread_start(!green_self() || i % 8 == 5, pass, (void *)(intptr_t)i);
	AWAIT_WAITERS(&gate.wg, MEMBERS);
}

static void *all_go_on_at_zero(void *arg)
{
	struct thread threads[MEMBERS];
	gather(threads);
	CHECK_EQ(green_wg_done(&gate.wg), 0);
	green_sleep(GREEN_MS(2));
	CHECK_EQ(gate.passed, 0);
	CHECK_EQ(green_wg_done(&gate.wg), 0);
	for (int i = 0; i < MEMBERS; i++)
		thread_join(&threads[i]);
	CHECK_EQ(gate.passed, MEMBERS);
	return arg;
}
BOTH(all_go_on_at_zero)

static void *giving_up(void *arg)
{
	struct thread threads[MEMBERS];
	gather(threads);
	for (int i = 0; i < MEMBERS; i += 2)
		CHECK_EQ(green_cancel(threads[i].green), 0);
	CHECK_EQ(green_wg_add(&gate.wg, -2), 0);
	for (int i = 0; i < MEMBERS; i++)
		thread_join(&threads[i]);
	/* A cancel that came too late leaves the wait a success. */
	for (int i = 0; i < MEMBERS; i++)
		CHECK(gate.results[i] == 0 || (i % 2 == 0 && gate.results[i] == -ECANCELED));
	CHECK(!gate.wg.waiters.first);
	return arg;
}
GREEN(giving_up)

static void *wait_in_time(void *arg)
{
	struct green_deadline scope;
	green_deadline_begin(&scope, GREEN_MS(10));
	CHECK_EQ(green_wg_wait(arg), -ETIMEDOUT);
	CHECK(green_deadline_end(&scope));
	return NULL;
}

static void *deadline(void *arg)
{
	green_wg_t wg = GREEN_WG_INIT;
	CHECK_EQ(green_wg_add(&wg, 1), 0);
	for (int os = !green_self(); os < 2; os++) {
		struct thread t = thread_start(os, wait_in_time, &wg);
		thread_join(&t);
		CHECK(!wg.waiters.first);
	}
	return arg;
}
BOTH(deadline)

static void *finish(void *arg)
{
	CHECK_EQ(green_wg_done(arg), 0);
	return NULL;
}

/* The group lies in a frame that is left, and overwritten, at once. */
static __attribute__((noinline)) void fan_out(struct thread *threads, bool plain, int round)
{
	green_wg_t wg = GREEN_WG_INIT;
	CHECK_EQ(green_wg_add(&wg, 3), 0);
	for (int i = 0; i < 3; i++)
		threads[i] = thread_start(plain || (round % 64 == 0 && i == 1), finish, &wg);
	CHECK_EQ(green_wg_wait(&wg), 0);
	memset(&wg, 0xff, sizeof(wg));
	__asm__ volatile("" ::"r"(&wg) : "memory");
}

static void *in_a_frame(void *arg)
{
	bool plain = !green_self();
	for (int round = 0; round < (plain ? 200 : 2000); round++) {
		struct thread threads[3];
		fan_out(threads, plain, round);
		for (int i = 0; i < 3; i++)
			thread_join(&threads[i]);
	}
	return arg;
}
BOTH(in_a_frame)
