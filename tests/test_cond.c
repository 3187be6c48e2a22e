/* SPDX-License-Identifier: MIT
 *
 * green_cond: every signal wakes exactly one, in order; none is lost to a
 * waiter that gives up; the mutex is held on return.
 */
#include "sync.h"

#define MEMBERS 24

static struct {
	green_mutex_t m;
	green_cond_t c;
	int results[MEMBERS];
	int order[MEMBERS];
	int woken;
} room;

static void *not_held(void *arg)
{
	green_mutex_t m = GREEN_MUTEX_INIT;
	green_cond_t c = GREEN_COND_INIT;
	CHECK_EQ(green_cond_wait(&c, &m), -EPERM);
	CHECK_EQ(green_cond_signal(&c), 0);
	CHECK_EQ(green_cond_broadcast(&c), 0);
	return arg;
}
BOTH(not_held)

static void *wait_once(void *arg)
{
	int i = (int)(intptr_t)arg;
	CHECK_EQ(green_mutex_lock(&room.m), 0);
	room.results[i] = green_cond_wait(&room.c, &room.m);
	if (!room.results[i])
		room.order[room.woken++] = i;
	CHECK_EQ(green_mutex_unlock(&room.m), 0); /* held, whatever happened */
	return NULL;
}

static void gather(struct thread *threads, unsigned n)
{
	memset(&room, 0, sizeof(room));
	for (unsigned i = 0; i < n; i++) {
		threads[i] =
			thread_start(!green_self() || i % 8 == 5, wait_once, (void *)(intptr_t)i);
		AWAIT_WAITERS(&room.c, i + 1);
	}
}

static int woken(void)
{
	CHECK_EQ(green_mutex_lock(&room.m), 0);
	int n = room.woken;
	CHECK_EQ(green_mutex_unlock(&room.m), 0);
	return n;
}

static void *signal_wakes_one(void *arg)
{
	struct thread threads[MEMBERS];
	gather(threads, MEMBERS);
	for (int i = 0; i < MEMBERS; i++) {
		CHECK_EQ(green_cond_signal(&room.c), 0);
		WAIT_FOR(woken() == i + 1);
		CHECK_EQ(room.order[i], i);
	}
	for (int i = 0; i < MEMBERS; i++)
		thread_join(&threads[i]);
	return arg;
}
BOTH(signal_wakes_one)

static void *broadcast_wakes_all(void *arg)
{
	struct thread threads[MEMBERS];
	for (int with_lock = 0; with_lock < 2; with_lock++) {
		gather(threads, MEMBERS);
		if (with_lock)
			CHECK_EQ(green_mutex_lock(&room.m), 0);
		CHECK_EQ(green_cond_broadcast(&room.c), 0);
		if (with_lock)
			CHECK_EQ(green_mutex_unlock(&room.m), 0);
		for (int i = 0; i < MEMBERS; i++)
			thread_join(&threads[i]);
		CHECK_EQ(room.woken, MEMBERS);
		CHECK(!room.c.waiters.first);
	}
	return arg;
}
BOTH(broadcast_wakes_all)

/* Cancels and signals in one breath: each signal still wakes one of the rest. */
static void *signals_skip_the_cancelled(void *arg)
{
	struct thread threads[MEMBERS];
	int cancels = 0, signals = 0;
	gather(threads, MEMBERS);
	for (int i = 0; i < MEMBERS; i++)
		if (i % 2 == 0) {
			CHECK_EQ(green_cancel(threads[i].green), 0);
			cancels++;
		}
	for (; signals < MEMBERS - cancels; signals++)
		CHECK_EQ(green_cond_signal(&room.c), 0);
	for (int i = 0; i < MEMBERS; i++)
		thread_join(&threads[i]);
	CHECK_EQ(room.woken, signals);
	for (int i = 0; i < MEMBERS; i++)
		CHECK_EQ(room.results[i], i % 2 == 0 ? -ECANCELED : 0);
	return arg;
}
GREEN(signals_skip_the_cancelled)

static void *wait_in_time(void *arg)
{
	struct green_deadline scope;
	green_deadline_begin(&scope, GREEN_MS(10));
	CHECK_EQ(green_mutex_lock(&room.m), 0);
	CHECK_EQ(green_cond_wait(&room.c, &room.m), -ETIMEDOUT);
	CHECK_EQ(green_cond_wait(&room.c, &room.m), -ETIMEDOUT);
	CHECK_EQ(green_mutex_unlock(&room.m), 0);
	CHECK(green_deadline_end(&scope));
	return arg;
}

static void *deadline(void *arg)
{
	memset(&room, 0, sizeof(room));
	for (int os = !green_self(); os < 2; os++) {
		struct thread t = thread_start(os, wait_in_time, NULL);
		thread_join(&t);
		CHECK(!room.c.waiters.first);
	}
	return arg;
}
BOTH(deadline)

/* The mutex is taken by somebody else when the deadline passes: the return has
 * to wait for it all the same. */
static void *return_waits_for_the_mutex(void *arg)
{
	memset(&room, 0, sizeof(room));
	struct thread t = thread_start(!green_self(), wait_in_time, NULL);
	AWAIT_WAITERS(&room.c, 1);
	CHECK_EQ(green_mutex_lock(&room.m), 0);
	AWAIT_WAITERS(&room.m, 1);
	CHECK_EQ(green_mutex_unlock(&room.m), 0);
	thread_join(&t);
	return arg;
}
BOTH(return_waits_for_the_mutex)

/* ---- a bounded queue ---------------------------------------------------------- */

#define ITEMS 4000
static struct {
	green_mutex_t m;
	green_cond_t not_empty, not_full;
	int held, produced;
	long sum;
} line;

static void *produce(void *arg)
{
	for (;;) {
		CHECK_EQ(green_mutex_lock(&line.m), 0);
		while (line.held == 4)
			CHECK_EQ(green_cond_wait(&line.not_full, &line.m), 0);
		bool more = line.produced < ITEMS;
		if (more) {
			line.produced++;
			line.held++;
			green_cond_signal(&line.not_empty);
		}
		CHECK_EQ(green_mutex_unlock(&line.m), 0);
		if (!more)
			return arg;
	}
}

static void *consume(void *arg)
{
	for (int i = 0; i < ITEMS / 4; i++) {
		CHECK_EQ(green_mutex_lock(&line.m), 0);
		while (!line.held)
			CHECK_EQ(green_cond_wait(&line.not_empty, &line.m), 0);
		line.held--;
		line.sum++;
		/* Producers that see the end do not take: wake them all then. */
		if (line.sum == ITEMS)
			green_cond_broadcast(&line.not_full);
		else
			green_cond_signal(&line.not_full);
		CHECK_EQ(green_mutex_unlock(&line.m), 0);
	}
	return arg;
}

static void *bounded_queue(void *arg)
{
	struct thread threads[8];
	bool plain = !green_self();
	memset(&line, 0, sizeof(line));
	for (int i = 0; i < 8; i++)
		threads[i] = thread_start(plain || i % 4 == 0, i < 4 ? produce : consume, NULL);
	for (int i = 0; i < 8; i++)
		thread_join(&threads[i]);
	CHECK_EQ(line.sum, ITEMS);
	CHECK_EQ(line.held, 0);
	return arg;
}
BOTH(bounded_queue)
