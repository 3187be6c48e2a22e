/* SPDX-License-Identifier: MIT
 *
 * green_sem: what is posted is taken exactly once, first come first served,
 * also when waiters give up.
 */
#include "sync.h"

#define MEMBERS 24

static void *counts(void *arg)
{
	green_sem_t s = GREEN_SEM_INIT(2);
	CHECK_EQ(green_sem_wait(&s), 0);
	CHECK_EQ(green_sem_trywait(&s), 0);
	CHECK_EQ(green_sem_trywait(&s), -EAGAIN);
	CHECK_EQ(green_sem_post(&s), 0);
	CHECK_EQ(green_sem_trywait(&s), 0);
	green_sem_t full = GREEN_SEM_INIT(UINT32_MAX);
	CHECK_EQ(green_sem_post(&full), -EOVERFLOW);
	CHECK_EQ(green_sem_wait(&full), 0);
	CHECK_EQ(green_sem_post(&full), 0);
	return arg;
}
BOTH(counts)

static struct {
	green_sem_t s;
	_Atomic int places, got;
	int order[MEMBERS];
	int results[MEMBERS];
} line;

static void *wait_once(void *arg)
{
	int i = (int)(intptr_t)arg;
	line.results[i] = green_sem_wait(&line.s);
	if (!line.results[i]) {
		/* In order of arrival only when they are let in one at a time. */
		int place = atomic_fetch_add(&line.places, 1);
		line.order[place] = i;
		atomic_fetch_add(&line.got, 1);
	}
	return NULL;
}

static void queue_up(struct thread *threads)
{
	memset(&line, 0, sizeof(line));
	for (unsigned i = 0; i < MEMBERS; i++) {
		threads[i] =
			thread_start(!green_self() || i % 8 == 5, wait_once, (void *)(intptr_t)i);
		AWAIT_WAITERS(&line.s, i + 1);
	}
}

static void *first_come_first_served(void *arg)
{
	struct thread threads[MEMBERS];
	queue_up(threads);
	for (int i = 0; i < MEMBERS; i++) {
		CHECK_EQ(green_sem_post(&line.s), 0);
		WAIT_FOR(atomic_load(&line.got) == i + 1);
		CHECK_EQ(line.order[i], i);
	}
	for (int i = 0; i < MEMBERS; i++)
		thread_join(&threads[i]);
	CHECK_EQ(line.s.value, 0);
	return arg;
}
BOTH(first_come_first_served)

static void *posts_skip_the_cancelled(void *arg)
{
	struct thread threads[MEMBERS];
	int expected = 0;
	queue_up(threads);
	for (int i = 0; i < MEMBERS; i++)
		if (i % 2)
			expected++;
		else
			CHECK_EQ(green_cancel(threads[i].green), 0);
	for (int i = 0; i < MEMBERS; i++)
		CHECK_EQ(green_sem_post(&line.s), 0);
	for (int i = 0; i < MEMBERS; i++)
		thread_join(&threads[i]);
	CHECK_EQ(line.got, expected);
	CHECK_EQ(line.s.value, MEMBERS - expected);
	for (int i = 0; i < MEMBERS; i++)
		CHECK_EQ(line.results[i], i % 2 ? 0 : -ECANCELED);
	return arg;
}
GREEN(posts_skip_the_cancelled)

static void *wait_in_time(void *arg)
{
	struct green_deadline scope;
	green_deadline_begin(&scope, GREEN_MS(10));
	CHECK_EQ(green_sem_wait(arg), -ETIMEDOUT);
	CHECK(green_deadline_end(&scope));
	return NULL;
}

static void *deadline(void *arg)
{
	green_sem_t s = GREEN_SEM_INIT(0);
	for (int os = !green_self(); os < 2; os++) {
		struct thread t = thread_start(os, wait_in_time, &s);
		thread_join(&t);
		CHECK(!s.waiters.first);
	}
	CHECK_EQ(green_sem_post(&s), 0);
	CHECK_EQ(green_sem_trywait(&s), 0);
	return arg;
}
BOTH(deadline)

static void *post_one(void *arg)
{
	CHECK_EQ(green_sem_post(arg), 0);
	return NULL;
}

/* The semaphore lies in memory that the waiter frees as soon as it goes on. */
static void *freed_at_once(void *arg)
{
	bool plain = !green_self();
	for (int i = 0; i < (plain ? 200 : 2000); i++) {
		green_sem_t *s = calloc(1, sizeof(*s));
		struct thread t = thread_start(plain || i % 64 == 0, post_one, s);
		if (i % 3 == 0)
			green_yield();
		CHECK_EQ(green_sem_wait(s), 0);
		memset(s, 0xff, sizeof(*s));
		free(s);
		thread_join(&t);
	}
	return arg;
}
BOTH(freed_at_once)

/* As many inside as the semaphore allows, never more. */
static struct {
	green_sem_t s;
	_Atomic int inside, most;
} gate;

static void *pass(void *arg)
{
	for (int i = 0; i < 500; i++) {
		CHECK_EQ(green_sem_wait(&gate.s), 0);
		int now = atomic_fetch_add(&gate.inside, 1) + 1;
		CHECK(now <= 3);
		if (now > atomic_load(&gate.most))
			atomic_store(&gate.most, now);
		green_yield();
		atomic_fetch_sub(&gate.inside, 1);
		CHECK_EQ(green_sem_post(&gate.s), 0);
	}
	return arg;
}

static void *bound(void *arg)
{
	struct thread threads[12];
	bool plain = !green_self();
	memset(&gate, 0, sizeof(gate));
	gate.s.value = 3;
	for (int i = 0; i < 12; i++)
		threads[i] = thread_start(plain || i % 6 == 0, pass, NULL);
	for (int i = 0; i < 12; i++)
		thread_join(&threads[i]);
	CHECK_EQ(gate.s.value, 3);
	CHECK(gate.most >= 2);
	return arg;
}
BOTH(bound)
