/* SPDX-License-Identifier: MIT
 *
 * Read-write locks and barriers.
 */
#include "conform.h"

#include <errno.h>
#include <sched.h>
#include <string.h>

enum { COUNT = 8 };

static void *tries_read(void *argument)
{
	int r = pthread_rwlock_tryrdlock(argument);

	if (r == 0)
		pthread_rwlock_unlock(argument);
	return (void *)(intptr_t)r;
}

static void *tries_write(void *argument)
{
	int r = pthread_rwlock_trywrlock(argument);

	if (r == 0)
		pthread_rwlock_unlock(argument);
	return (void *)(intptr_t)r;
}

#define BUSY ((void *)(intptr_t)EBUSY)

CHECK(rwlock_readers_share)
{
	pthread_rwlock_t l = PTHREAD_RWLOCK_INITIALIZER;

	EXPECT(pthread_rwlock_rdlock(&l) == 0);
	EXPECT(in_thread(tries_read, &l) == NULL);
	EXPECT(in_thread(tries_write, &l) == BUSY);
	EXPECT(pthread_rwlock_rdlock(&l) == 0);
	EXPECT(pthread_rwlock_unlock(&l) == 0);
	EXPECT(in_thread(tries_write, &l) == BUSY);
	EXPECT(pthread_rwlock_unlock(&l) == 0);
	EXPECT(in_thread(tries_write, &l) == NULL);
	EXPECT(pthread_rwlock_destroy(&l) == 0);
	return true;
}

CHECK(rwlock_writer_excludes)
{
	pthread_rwlock_t l = PTHREAD_RWLOCK_INITIALIZER;

	EXPECT(pthread_rwlock_wrlock(&l) == 0);
	EXPECT(in_thread(tries_read, &l) == BUSY);
	EXPECT(in_thread(tries_write, &l) == BUSY);
	EXPECT(pthread_rwlock_wrlock(&l) == EDEADLK);
	EXPECT(pthread_rwlock_rdlock(&l) == EDEADLK);
	EXPECT(pthread_rwlock_unlock(&l) == 0);
	return true;
}

struct shared {
	pthread_rwlock_t lock;
	volatile long a, b;
	int bad, readers;
};

static void *reads(void *argument)
{
	struct shared *s = argument;

	for (int i = 0; i < 1000; i++) {
		pthread_rwlock_rdlock(&s->lock);
		if (s->a != s->b)
			add_one(&s->bad);
		if (i % 100 == 0)
			sched_yield();
		pthread_rwlock_unlock(&s->lock);
	}
	return NULL;
}

static void *writes(void *argument)
{
	struct shared *s = argument;

	for (int i = 0; i < 1000; i++) {
		pthread_rwlock_wrlock(&s->lock);
		s->a = s->a + 1;
		if (i % 100 == 0)
			sched_yield();
		s->b = s->b + 1;
		pthread_rwlock_unlock(&s->lock);
	}
	return NULL;
}

static bool stays_consistent(int kind)
{
	struct shared s = { .a = 0 };
	pthread_rwlockattr_t a;
	pthread_t t[COUNT];

	EXPECT(pthread_rwlockattr_init(&a) == 0);
	EXPECT(pthread_rwlockattr_setkind_np(&a, kind) == 0);
	EXPECT(pthread_rwlock_init(&s.lock, &a) == 0);
	for (int i = 0; i < COUNT; i++)
		t[i] = started(i % 2 ? writes : reads, &s);
	for (int i = 0; i < COUNT; i++)
		joined(t[i]);
	EXPECT(s.bad == 0 && s.a == COUNT / 2 * 1000 && s.b == s.a);
	EXPECT(pthread_rwlock_destroy(&s.lock) == 0);
	return true;
}

CHECK(rwlock_is_consistent)
{
	return stays_consistent(PTHREAD_RWLOCK_DEFAULT_NP);
}

CHECK(rwlock_is_consistent_preferring_writers)
{
	return stays_consistent(PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
}

static void *reads_together(void *argument)
{
	struct shared *s = argument;
	bool together;

	pthread_rwlock_rdlock(&s->lock);
	add_one(&s->readers);
	together = reaches(&s->readers, COUNT);
	pthread_rwlock_unlock(&s->lock);
	return together ? (void *)1L : NULL;
}

CHECK(rwlock_unlock_wakes_all_readers)
{
	struct shared s = { .lock = PTHREAD_RWLOCK_INITIALIZER };
	pthread_t t[COUNT];

	EXPECT(pthread_rwlock_wrlock(&s.lock) == 0);
	for (int i = 0; i < COUNT; i++)
		t[i] = started(reads_together, &s);
	sleep_ms(20);
	EXPECT(value_of(&s.readers) == 0);
	EXPECT(pthread_rwlock_unlock(&s.lock) == 0);
	for (int i = 0; i < COUNT; i++)
		EXPECT(joined(t[i]));
	return true;
}

struct held {
	pthread_rwlock_t lock;
	int taken, enough;
};

/* Until it is told to let go. */
static void *holds_write(void *argument)
{
	struct held *h = argument;

	pthread_rwlock_wrlock(&h->lock);
	add_one(&h->taken);
	while (!value_of(&h->enough))
		sleep_ms(1);
	pthread_rwlock_unlock(&h->lock);
	return NULL;
}

CHECK(rwlock_timed)
{
	struct held h = { .lock = PTHREAD_RWLOCK_INITIALIZER };
	pthread_t t = started(holds_write, &h);
	struct timespec soon, late;

	EXPECT(reaches(&h.taken, 1));
	soon = in_ms(CLOCK_REALTIME, 10);
	EXPECT(pthread_rwlock_timedrdlock(&h.lock, &soon) == ETIMEDOUT);
	EXPECT(pthread_rwlock_timedwrlock(&h.lock, &soon) == ETIMEDOUT);
	add_one(&h.enough);
	late = in_ms(CLOCK_REALTIME, 5000);
	EXPECT(pthread_rwlock_timedrdlock(&h.lock, &late) == 0);
	EXPECT(pthread_rwlock_unlock(&h.lock) == 0);
	joined(t);
	return true;
}

CHECK(rwlock_clock)
{
	struct held h = { .lock = PTHREAD_RWLOCK_INITIALIZER };
	pthread_t t = started(holds_write, &h);
	struct timespec soon, late;

	EXPECT(reaches(&h.taken, 1));
	soon = in_ms(CLOCK_MONOTONIC, 10);
	EXPECT(pthread_rwlock_clockrdlock(&h.lock, CLOCK_MONOTONIC, &soon) == ETIMEDOUT);
	EXPECT(pthread_rwlock_clockwrlock(&h.lock, CLOCK_MONOTONIC, &soon) == ETIMEDOUT);
	add_one(&h.enough);
	late = in_ms(CLOCK_MONOTONIC, 5000);
	EXPECT(pthread_rwlock_clockwrlock(&h.lock, CLOCK_MONOTONIC, &late) == 0);
	EXPECT(pthread_rwlock_unlock(&h.lock) == 0);
	joined(t);
	return true;
}

/* ---- barriers --------------------------------------------------------------- */

struct meeting {
	pthread_barrier_t barrier;
	int serial, came[50];
};

static void *meets(void *argument)
{
	struct meeting *m = argument;

	for (int i = 0; i < 50; i++) {
		int r;
		add_one(&m->came[i]);
		r = pthread_barrier_wait(&m->barrier);
		if (value_of(&m->came[i]) != COUNT)
			return NULL;
		if (r == PTHREAD_BARRIER_SERIAL_THREAD)
			add_one(&m->serial);
		else if (r)
			return NULL;
	}
	return (void *)1L;
}

CHECK(barrier_meets)
{
	struct meeting m = { .serial = 0 };
	pthread_t t[COUNT];

	EXPECT(pthread_barrier_init(&m.barrier, NULL, COUNT) == 0);
	for (int i = 0; i < COUNT; i++)
		t[i] = started(meets, &m);
	for (int i = 0; i < COUNT; i++)
		EXPECT(joined(t[i]));
	EXPECT(m.serial == 50);
	EXPECT(pthread_barrier_destroy(&m.barrier) == 0);
	return true;
}

CHECK(barrier_of_one)
{
	pthread_barrier_t b;

	EXPECT(pthread_barrier_init(&b, NULL, 0) == EINVAL);
	EXPECT(pthread_barrier_init(&b, NULL, 1) == 0);
	/* NOLINTNEXTLINE(bugprone-posix-return): that one is -1 */
	EXPECT(pthread_barrier_wait(&b) == PTHREAD_BARRIER_SERIAL_THREAD);
	EXPECT(pthread_barrier_destroy(&b) == 0);
	return true;
}
