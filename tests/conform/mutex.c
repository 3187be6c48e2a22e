/* SPDX-License-Identifier: MIT
 *
 * Mutexes of all kinds, and spin locks.
 */
#include "conform.h"

#include <errno.h>
#include <sched.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { COUNT = 8, ROUNDS = 5000 };

static bool mutex_of(pthread_mutex_t *m, int type)
{
	pthread_mutexattr_t a;
	bool good = pthread_mutexattr_init(&a) == 0 && pthread_mutexattr_settype(&a, type) == 0 &&
	            pthread_mutex_init(m, &a) == 0;

	pthread_mutexattr_destroy(&a);
	return good;
}

struct counted {
	pthread_mutex_t mutex;
	pthread_spinlock_t spin;
	long count;
	unsigned sleep_every;
};

static void *counts_locked(void *argument)
{
	struct counted *c = argument;

	for (unsigned i = 0; i < ROUNDS; i++) {
		pthread_mutex_lock(&c->mutex);
		long before = c->count;
		if (c->sleep_every && i % c->sleep_every == 0)
			sched_yield();
		c->count = before + 1;
		pthread_mutex_unlock(&c->mutex);
	}
	return NULL;
}

static bool counts_right(int type, unsigned sleep_every)
{
	struct counted c = { .sleep_every = sleep_every };
	pthread_t t[COUNT];

	EXPECT(mutex_of(&c.mutex, type));
	for (int i = 0; i < COUNT; i++)
		t[i] = started(counts_locked, &c);
	for (int i = 0; i < COUNT; i++)
		joined(t[i]);
	EXPECT(c.count == COUNT * ROUNDS);
	EXPECT(pthread_mutex_destroy(&c.mutex) == 0);
	return true;
}

CHECK(mutex_normal_excludes)
{
	return counts_right(PTHREAD_MUTEX_NORMAL, 0);
}

CHECK(mutex_normal_held_across_yields)
{
	return counts_right(PTHREAD_MUTEX_NORMAL, 10);
}

CHECK(mutex_recursive_excludes)
{
	return counts_right(PTHREAD_MUTEX_RECURSIVE, 10);
}

CHECK(mutex_errorcheck_excludes)
{
	return counts_right(PTHREAD_MUTEX_ERRORCHECK, 10);
}

CHECK(mutex_adaptive_excludes)
{
	return counts_right(PTHREAD_MUTEX_ADAPTIVE_NP, 10);
}

static void *tries_lock(void *argument)
{
	int r = pthread_mutex_trylock(argument);

	if (r == 0)
		pthread_mutex_unlock(argument);
	return (void *)(intptr_t)r;
}

CHECK(mutex_trylock)
{
	pthread_mutex_t m = PTHREAD_MUTEX_INITIALIZER;

	EXPECT(pthread_mutex_lock(&m) == 0);
	EXPECT(in_thread(tries_lock, &m) == (void *)(intptr_t)EBUSY);
	EXPECT(pthread_mutex_trylock(&m) == EBUSY);
	EXPECT(pthread_mutex_unlock(&m) == 0);
	EXPECT(in_thread(tries_lock, &m) == NULL);
	return true;
}

CHECK(mutex_recursive)
{
	pthread_mutex_t m;

	EXPECT(mutex_of(&m, PTHREAD_MUTEX_RECURSIVE));
	for (int i = 0; i < 5; i++)
		EXPECT(pthread_mutex_lock(&m) == 0);
	EXPECT(pthread_mutex_trylock(&m) == 0);
	for (int i = 0; i < 6; i++) {
		EXPECT(in_thread(tries_lock, &m) == (void *)(intptr_t)EBUSY);
		EXPECT(pthread_mutex_unlock(&m) == 0);
	}
	EXPECT(in_thread(tries_lock, &m) == NULL);
	EXPECT(pthread_mutex_unlock(&m) == EPERM);
	EXPECT(pthread_mutex_destroy(&m) == 0);
	return true;
}

static void *unlocks(void *argument)
{
	return (void *)(intptr_t)pthread_mutex_unlock(argument);
}

CHECK(mutex_errorcheck)
{
	pthread_mutex_t m;

	EXPECT(mutex_of(&m, PTHREAD_MUTEX_ERRORCHECK));
	EXPECT(pthread_mutex_unlock(&m) == EPERM);
	EXPECT(pthread_mutex_lock(&m) == 0);
	EXPECT(pthread_mutex_lock(&m) == EDEADLK);
	EXPECT(in_thread(unlocks, &m) == (void *)(intptr_t)EPERM);
	EXPECT(pthread_mutex_unlock(&m) == 0);
	return true;
}

struct held {
	pthread_mutex_t m;
	int locked, enough;
};

static void *holds_until_told(void *argument)
{
	struct held *h = argument;

	pthread_mutex_lock(&h->m);
	add_one(&h->locked);
	bool good = reaches(&h->enough, 1);
	sleep_ms(30);
	pthread_mutex_unlock(&h->m);
	return good ? argument : NULL;
}

static bool timed_lock(clockid_t clock, int (*lock)(pthread_mutex_t *, const struct timespec *))
{
	struct held h = { .m = PTHREAD_MUTEX_INITIALIZER };
	pthread_t t = started(holds_until_told, &h);
	struct timespec soon, late;

	EXPECT(reaches(&h.locked, 1));
	uint64_t before = now_ms();
	soon = in_ms(clock, 20);
	EXPECT(lock(&h.m, &soon) == ETIMEDOUT);
	EXPECT(now_ms() - before >= 19);
	late = in_ms(clock, 20000);
	add_one(&h.enough);
	EXPECT(lock(&h.m, &late) == 0);
	EXPECT(pthread_mutex_unlock(&h.m) == 0);
	EXPECT(joined(t) == &h);
	return true;
}

static int clock_lock(pthread_mutex_t *m, const struct timespec *deadline)
{
	return pthread_mutex_clocklock(m, CLOCK_MONOTONIC, deadline);
}

CHECK(mutex_timedlock)
{
	return timed_lock(CLOCK_REALTIME, pthread_mutex_timedlock);
}

CHECK(mutex_clocklock)
{
	return timed_lock(CLOCK_MONOTONIC, clock_lock);
}

CHECK(mutex_timedlock_in_the_past)
{
	pthread_mutex_t m = PTHREAD_MUTEX_INITIALIZER;
	struct timespec past = in_ms(CLOCK_REALTIME, -1000), bad = { 0, 2000000000 };

	EXPECT(pthread_mutex_timedlock(&m, &past) == 0); /* free: no need to wait */
	EXPECT(pthread_mutex_timedlock(&m, &past) == ETIMEDOUT);
	EXPECT(pthread_mutex_timedlock(&m, &bad) == EINVAL);
	EXPECT(pthread_mutex_unlock(&m) == 0);
	return true;
}

CHECK(mutex_destroy_while_locked)
{
	pthread_mutex_t m = PTHREAD_MUTEX_INITIALIZER;

	EXPECT(pthread_mutex_lock(&m) == 0);
	EXPECT(pthread_mutex_destroy(&m) == EBUSY);
	EXPECT(pthread_mutex_unlock(&m) == 0);
	EXPECT(pthread_mutex_destroy(&m) == 0);
	return true;
}

/* ---- robust and priority-inheriting ------------------------------------------- */

static void *locks_and_ends(void *argument)
{
	pthread_mutex_lock(argument);
	return NULL;
}

CHECK(mutex_robust)
{
	pthread_mutexattr_t a;
	pthread_mutex_t m;

	EXPECT(pthread_mutexattr_init(&a) == 0);
	EXPECT(pthread_mutexattr_setrobust(&a, PTHREAD_MUTEX_ROBUST) == 0);
	EXPECT(pthread_mutex_init(&m, &a) == 0);
	in_thread(locks_and_ends, &m);
	EXPECT(pthread_mutex_lock(&m) == EOWNERDEAD);
	EXPECT(pthread_mutex_consistent(&m) == 0);
	EXPECT(pthread_mutex_unlock(&m) == 0);
	EXPECT(in_thread(tries_lock, &m) == NULL);
	return true;
}

static void *waits_for_lock(void *argument)
{
	int r = pthread_mutex_lock(argument);

	if (r == EOWNERDEAD) {
		pthread_mutex_consistent(argument);
		pthread_mutex_unlock(argument);
	}
	return (void *)(intptr_t)r;
}

static void *locks_then_ends(void *argument)
{
	pthread_mutex_lock(argument);
	sleep_ms(40);
	return NULL;
}

CHECK(mutex_robust_wakes_who_waits)
{
	pthread_mutexattr_t a;
	pthread_mutex_t m;
	pthread_t owner, waiter;

	EXPECT(pthread_mutexattr_init(&a) == 0);
	EXPECT(pthread_mutexattr_setrobust(&a, PTHREAD_MUTEX_ROBUST) == 0);
	EXPECT(pthread_mutex_init(&m, &a) == 0);
	owner = started(locks_then_ends, &m);
	sleep_ms(10);
	waiter = started(waits_for_lock, &m);
	joined(owner);
	EXPECT(joined(waiter) == (void *)(intptr_t)EOWNERDEAD);
	return true;
}

CHECK(mutex_priority_inheriting)
{
	struct counted c = { 0 };
	pthread_mutexattr_t a;
	pthread_t t[COUNT];
	int r;

	EXPECT(pthread_mutexattr_init(&a) == 0);
	EXPECT(pthread_mutexattr_setprotocol(&a, PTHREAD_PRIO_INHERIT) == 0);
	r = pthread_mutex_init(&c.mutex, &a);
	EXPECT(r == 0);
	for (int i = 0; i < COUNT; i++)
		t[i] = started(counts_locked, &c);
	for (int i = 0; i < COUNT; i++)
		joined(t[i]);
	EXPECT(c.count == COUNT * ROUNDS);
	return true;
}

CHECK(mutex_shared_with_a_child)
{
	struct counted *c =
		mmap(NULL, sizeof(*c), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pthread_mutexattr_t a;
	int status;
	pid_t pid;

	EXPECT(c != MAP_FAILED);
	c->sleep_every = 10;
	EXPECT(pthread_mutexattr_init(&a) == 0);
	EXPECT(pthread_mutexattr_setpshared(&a, PTHREAD_PROCESS_SHARED) == 0);
	EXPECT(pthread_mutex_init(&c->mutex, &a) == 0);
	pid = fork();
	EXPECT(pid >= 0);
	if (pid == 0) {
		counts_locked(c);
		_exit(0);
	}
	counts_locked(c);
	EXPECT(waitpid(pid, &status, 0) == pid && status == 0);
	EXPECT(c->count == 2 * ROUNDS);
	EXPECT(munmap(c, sizeof(*c)) == 0);
	return true;
}

/* ---- waking ----------------------------------------------------------------- */

struct chain {
	pthread_mutex_t first, second;
	int turns;
};

static void *passes_on(void *argument)
{
	struct chain *c = argument;

	for (int i = 0; i < 500; i++) {
		pthread_mutex_lock(&c->first);
		pthread_mutex_lock(&c->second);
		c->turns++;
		pthread_mutex_unlock(&c->first);
		if (i % 50 == 0)
			sleep_ms(1);
		pthread_mutex_unlock(&c->second);
	}
	return NULL;
}

CHECK(mutex_two_in_turn)
{
	struct chain c = { PTHREAD_MUTEX_INITIALIZER, PTHREAD_MUTEX_INITIALIZER, 0 };
	pthread_t t[4];

	for (int i = 0; i < 4; i++)
		t[i] = started(passes_on, &c);
	for (int i = 0; i < 4; i++)
		joined(t[i]);
	EXPECT(c.turns == 2000);
	return true;
}

/* ---- spin locks ------------------------------------------------------------- */

static void *counts_spinning(void *argument)
{
	struct counted *c = argument;

	for (int i = 0; i < ROUNDS; i++) {
		pthread_spin_lock(&c->spin);
		c->count++;
		pthread_spin_unlock(&c->spin);
	}
	return NULL;
}

CHECK(spin_excludes)
{
	struct counted c = { 0 };
	pthread_t t[COUNT];

	EXPECT(pthread_spin_init(&c.spin, PTHREAD_PROCESS_PRIVATE) == 0);
	for (int i = 0; i < COUNT; i++)
		t[i] = started(counts_spinning, &c);
	for (int i = 0; i < COUNT; i++)
		joined(t[i]);
	EXPECT(c.count == COUNT * ROUNDS);
	EXPECT(pthread_spin_destroy(&c.spin) == 0);
	return true;
}

static void *tries_spin(void *argument)
{
	return (void *)(intptr_t)pthread_spin_trylock(argument);
}

CHECK(spin_trylock)
{
	pthread_spinlock_t s;

	EXPECT(pthread_spin_init(&s, PTHREAD_PROCESS_PRIVATE) == 0);
	EXPECT(pthread_spin_lock(&s) == 0);
	EXPECT(in_thread(tries_spin, (void *)&s) == (void *)(intptr_t)EBUSY);
	EXPECT(pthread_spin_unlock(&s) == 0);
	EXPECT(in_thread(tries_spin, (void *)&s) == NULL);
	return true;
}

static void *holds_spin(void *argument)
{
	struct counted *c = argument;

	pthread_spin_lock(&c->spin);
	__atomic_store_n(&c->count, 1, __ATOMIC_SEQ_CST);
	sleep_ms(50);
	pthread_spin_unlock(&c->spin);
	return NULL;
}

/* Its holder sleeps while everybody spins: who spins has to give way. */
CHECK(spin_held_by_a_sleeper)
{
	struct counted c = { 0 };
	pthread_t t;

	EXPECT(pthread_spin_init(&c.spin, PTHREAD_PROCESS_PRIVATE) == 0);
	t = started(holds_spin, &c);
	while (!__atomic_load_n(&c.count, __ATOMIC_SEQ_CST))
		sleep_ms(1);
	EXPECT(pthread_spin_lock(&c.spin) == 0);
	EXPECT(pthread_spin_unlock(&c.spin) == 0);
	joined(t);
	return true;
}
