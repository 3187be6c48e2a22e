/* SPDX-License-Identifier: MIT
 *
 * green_mutex: exclusion, order, errors, giving up, and that nobody starves.
 */
#include "sync.h"

#include <signal.h>

#define MEMBERS 32

/* ---- alone ----------------------------------------------------------------- */

static void *errors(void *arg)
{
	green_mutex_t m = GREEN_MUTEX_INIT;
	CHECK_EQ(green_mutex_unlock(&m), -EPERM);
	CHECK_EQ(green_mutex_lock(&m), 0);
	CHECK_EQ(green_mutex_lock(&m), -EDEADLK);
	CHECK_EQ(green_mutex_trylock(&m), -EBUSY);
	CHECK_EQ(green_mutex_unlock(&m), 0);
	CHECK_EQ(green_mutex_unlock(&m), -EPERM);
	CHECK_EQ(green_mutex_trylock(&m), 0);
	CHECK_EQ(green_mutex_unlock(&m), 0);
	return arg;
}
BOTH(errors)

static green_mutex_t held; /* zero bytes are a valid mutex */

static void *unlock_foreign(void *arg)
{
	CHECK_EQ(green_mutex_unlock(&held), -EPERM);
	CHECK_EQ(green_mutex_trylock(&held), -EBUSY);
	return arg;
}

static void *not_the_owner(void *arg)
{
	for (int os = !green_self(); os < 2; os++) {
		CHECK_EQ(green_mutex_lock(&held), 0);
		struct thread t = thread_start(os, unlock_foreign, NULL);
		thread_join(&t);
		CHECK_EQ(green_mutex_unlock(&held), 0);
	}
	return arg;
}
BOTH(not_the_owner)

/* ---- exclusion ------------------------------------------------------------- */

static struct {
	green_mutex_t m;
	long count;
	_Atomic int inside;
} counted;

static void *count_up(void *arg)
{
	for (int i = 0; i < 2000; i++) {
		CHECK_EQ(green_mutex_lock(&counted.m), 0);
		CHECK_EQ(atomic_fetch_add(&counted.inside, 1), 0);
		counted.count++;
		if (i % 16 == 0)
			green_yield();
		atomic_fetch_sub(&counted.inside, 1);
		CHECK_EQ(green_mutex_unlock(&counted.m), 0);
		if (i % 7 == 0)
			green_yield();
	}
	return arg;
}

static void *exclusion(void *arg)
{
	struct thread threads[MEMBERS];
	bool plain = !green_self();
	unsigned n = plain ? 4 : MEMBERS;
	memset(&counted, 0, sizeof(counted));
	for (unsigned i = 0; i < n; i++)
		threads[i] = thread_start(plain || i < 2, count_up, NULL);
	for (unsigned i = 0; i < n; i++)
		thread_join(&threads[i]);
	CHECK_EQ(counted.count, n * 2000);
	CHECK_EQ(counted.m.state, 0);
	CHECK(!counted.m.waiters.first);
	return arg;
}
BOTH(exclusion)

/* Much shorter, on all workers at once: locks are passed over, starve and are
 * handed over all the time. */
static void *hammer(void *arg)
{
	for (int i = 0; i < 20000; i++) {
		CHECK_EQ(green_mutex_lock(&counted.m), 0);
		counted.count++;
		CHECK_EQ(green_mutex_unlock(&counted.m), 0);
		if (i % 64 == 0)
			green_yield();
	}
	return arg;
}

static void *contention(void *arg)
{
	struct thread threads[16];
	bool plain = !green_self();
	unsigned n = plain ? 4 : 16;
	memset(&counted, 0, sizeof(counted));
	for (unsigned i = 0; i < n; i++)
		threads[i] = thread_start(plain || i == 7, hammer, NULL);
	for (unsigned i = 0; i < n; i++)
		thread_join(&threads[i]);
	CHECK_EQ(counted.count, n * 20000);
	CHECK_EQ(counted.m.state, 0);
	return arg;
}
BOTH(contention)

static int64_t leaping_clock(void)
{
	static _Atomic int64_t now_ns = GREEN_S(1), calls;
	return atomic_fetch_add(&now_ns, atomic_fetch_add(&calls, 1) % 5 ? 1 : GREEN_MS(2));
}

static _Atomic bool hammer_stop;

static void *hammer_on(void *arg)
{
	while (!atomic_load(&hammer_stop)) {
		CHECK_EQ(green_mutex_lock(&counted.m), 0);
		CHECK_EQ(atomic_fetch_add(&counted.inside, 1), 0);
		atomic_fetch_sub(&counted.inside, 1);
		CHECK_EQ(green_mutex_unlock(&counted.m), 0);
	}
	return arg;
}

static void dawdle(int signal)
{
	(void)signal;
	for (volatile int i = 0; i < 3000; i++)
		;
}

/* Some of those who are passed over starve at once, and everybody is held up at
 * any instruction.  (Once, a thread that began to starve while the mutex was
 * being unlocked left it starved and free: nobody could lock it any more.) */
TEST(contention_starving)
{
	struct thread threads[4];
	memset(&counted, 0, sizeof(counted));
	signal(SIGUSR1, dawdle);
	sys.now = leaping_clock;
	for (int i = 0; i < 4; i++)
		threads[i] = thread_start(true, hammer_on, NULL);
	for (int i = 0; i < 4000; i++) {
		pthread_kill(threads[i % 4].os, SIGUSR1);
		usleep(20);
	}
	atomic_store(&hammer_stop, true);
	for (int i = 0; i < 4; i++)
		thread_join(&threads[i]);
	CHECK_EQ(counted.m.state, 0);
}

/* ---- order and giving up ---------------------------------------------------- */

static struct {
	green_mutex_t m;
	int order[MEMBERS];
	int got;
	int results[MEMBERS];
} queue;

static void *take_turn(void *arg)
{
	int i = (int)(intptr_t)arg;
	queue.results[i] = green_mutex_lock(&queue.m);
	if (queue.results[i])
		return NULL;
	queue.order[queue.got++] = i;
	CHECK_EQ(green_mutex_unlock(&queue.m), 0);
	return NULL;
}

static void queue_up(struct thread *threads, unsigned n)
{
	memset(&queue, 0, sizeof(queue));
	CHECK_EQ(green_mutex_lock(&queue.m), 0);
	for (unsigned i = 0; i < n; i++) {
		threads[i] =
			thread_start(!green_self() || i % 8 == 3, take_turn, (void *)(intptr_t)i);
		AWAIT_WAITERS(&queue.m, i + 1);
	}
}

static void *first_come_first_served(void *arg)
{
	struct thread threads[MEMBERS];
	queue_up(threads, MEMBERS);
	CHECK_EQ(green_mutex_unlock(&queue.m), 0);
	for (unsigned i = 0; i < MEMBERS; i++)
		thread_join(&threads[i]);
	CHECK_EQ(queue.got, MEMBERS);
	for (int i = 0; i < MEMBERS; i++)
		CHECK_EQ(queue.order[i], i);
	return arg;
}
BOTH(first_come_first_served)

static void *cancelled_are_passed_over(void *arg)
{
	struct thread threads[MEMBERS];
	queue_up(threads, MEMBERS);
	int expected = 0;
	for (int i = 0; i < MEMBERS; i++)
		if (i % 3 == 0 && !threads[i].is_os)
			CHECK_EQ(green_cancel(threads[i].green), 0);
		else
			expected++;
	CHECK_EQ(green_mutex_unlock(&queue.m), 0);
	for (unsigned i = 0; i < MEMBERS; i++)
		thread_join(&threads[i]);
	CHECK_EQ(queue.got, expected);
	for (int i = 0; i < MEMBERS; i++)
		CHECK_EQ(queue.results[i], i % 3 == 0 && !threads[i].is_os ? -ECANCELED : 0);
	CHECK_EQ(green_mutex_trylock(&queue.m), 0);
	CHECK_EQ(green_mutex_unlock(&queue.m), 0);
	return arg;
}
GREEN(cancelled_are_passed_over)

static void *lock_in_time(void *arg)
{
	struct green_deadline scope;
	green_deadline_begin(&scope, GREEN_MS(20));
	CHECK_EQ(green_mutex_lock(arg), -ETIMEDOUT);
	CHECK(green_deadline_end(&scope));
	return NULL;
}

static void *deadline(void *arg)
{
	green_mutex_t m = GREEN_MUTEX_INIT;
	for (int os = !green_self(); os < 2; os++) {
		CHECK_EQ(green_mutex_lock(&m), 0);
		struct thread t = thread_start(os, lock_in_time, &m);
		thread_join(&t);
		CHECK(!m.waiters.first);
		CHECK_EQ(green_mutex_unlock(&m), 0);
	}
	return arg;
}
BOTH(deadline)

/* A cancelled thread may still lock what is free: it does not have to wait. */
static void *lock_cancelled(void *arg)
{
	green_mutex_t m = GREEN_MUTEX_INIT;
	CHECK_EQ(green_cancel(green_self()), 0);
	CHECK_EQ(green_mutex_lock(&m), 0);
	CHECK_EQ(green_mutex_unlock(&m), 0);
	CHECK_EQ(green_mutex_lock(&held), -ECANCELED);
	struct green_shield shield;
	green_shield_begin(&shield);
	CHECK_EQ(green_mutex_lock(&held), 0);
	green_shield_end(&shield);
	CHECK_EQ(green_mutex_unlock(&held), 0);
	return arg;
}

static void *cancelled(void *arg)
{
	CHECK_EQ(green_mutex_lock(&held), 0);
	struct thread t = thread_start(false, lock_cancelled, NULL);
	AWAIT_WAITERS(&held, 1); /* in its shield */
	CHECK_EQ(green_mutex_unlock(&held), 0);
	thread_join(&t);
	return arg;
}
GREEN(cancelled)

/* ---- fairness and lifetime --------------------------------------------------- */

static _Atomic bool served;

static void *starve(void *arg)
{
	CHECK_EQ(green_mutex_lock(arg), 0);
	atomic_store(&served, true);
	CHECK_EQ(green_mutex_unlock(arg), 0);
	return NULL;
}

#define STARVED 3 /* in mutex.c: its next unlock hands it over */

/* The first thread holds the mutex whenever it switches. */
static void *hog(void *arg)
{
	green_mutex_t m = GREEN_MUTEX_INIT;
	atomic_store(&served, false);
	CHECK_EQ(green_mutex_lock(&m), 0);
	struct thread t = thread_start(!green_self(), starve, &m);
	AWAIT_WAITERS(&m, 1);
	while (!atomic_load(&served)) {
		green_yield();
		bool starved = __atomic_load_n(&m.state, __ATOMIC_RELAXED) == STARVED;
		CHECK_EQ(green_mutex_unlock(&m), 0);
		CHECK_EQ(green_mutex_lock(&m), 0);
		CHECK(atomic_load(&served) || !starved);
	}
	CHECK_EQ(green_mutex_unlock(&m), 0);
	thread_join(&t);
	CHECK_EQ(m.state, 0);
	return arg;
}
BOTH(hog)

/* Whoever locks a mutex last frees it at once, while the unlock that let it go
 * may still be under way. */
struct shared {
	green_mutex_t m;
	int users; /* under m */
};

static void *use_and_free(void *arg)
{
	struct shared *s = arg;
	CHECK_EQ(green_mutex_lock(&s->m), 0);
	bool last = !--s->users;
	CHECK_EQ(green_mutex_unlock(&s->m), 0);
	if (last) {
		memset(s, 0xff, sizeof(*s));
		free(s);
	}
	return NULL;
}

static void *freed_at_once(void *arg)
{
	bool plain = !green_self();
	for (int round = 0; round < (plain ? 200 : 2000); round++) {
		struct shared *s = calloc(1, sizeof(*s));
		struct thread threads[3];
		s->users = 3;
		for (int i = 0; i < 3; i++)
			threads[i] =
				thread_start(plain || (round % 64 == 0 && i == 0), use_and_free, s);
		for (int i = 0; i < 3; i++)
			thread_join(&threads[i]);
	}
	return arg;
}
BOTH(freed_at_once)
