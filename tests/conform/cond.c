/* SPDX-License-Identifier: MIT
 *
 * Condition variables and semaphores.
 */
#include "conform.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { COUNT = 8 };

struct gate {
	pthread_mutex_t mutex;
	pthread_cond_t cond;
	int waiting, open, passed;
};

#define GATE                                                                 \
	{                                                                    \
		PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, 0, 0 \
	}

static void *passes(void *argument)
{
	struct gate *g = argument;

	pthread_mutex_lock(&g->mutex);
	add_one(&g->waiting);
	while (g->open == 0)
		pthread_cond_wait(&g->cond, &g->mutex);
	g->open--;
	add_one(&g->passed);
	pthread_mutex_unlock(&g->mutex);
	return NULL;
}

static void opens(struct gate *g, int for_so_many)
{
	pthread_mutex_lock(&g->mutex);
	g->open += for_so_many;
	pthread_mutex_unlock(&g->mutex);
}

CHECK(cond_signal_wakes_one)
{
	struct gate g = GATE;
	pthread_t t[COUNT];

	for (int i = 0; i < COUNT; i++)
		t[i] = started(passes, &g);
	EXPECT(reaches(&g.waiting, COUNT));
	for (int i = 1; i <= COUNT; i++) {
		opens(&g, 1);
		EXPECT(pthread_cond_signal(&g.cond) == 0);
		EXPECT(reaches(&g.passed, i));
		EXPECT(value_of(&g.passed) == i);
	}
	for (int i = 0; i < COUNT; i++)
		joined(t[i]);
	EXPECT(pthread_cond_destroy(&g.cond) == 0);
	return true;
}

CHECK(cond_broadcast_wakes_all)
{
	struct gate g = GATE;
	pthread_t t[COUNT];

	for (int i = 0; i < COUNT; i++)
		t[i] = started(passes, &g);
	EXPECT(reaches(&g.waiting, COUNT));
	opens(&g, COUNT);
	EXPECT(pthread_cond_broadcast(&g.cond) == 0);
	for (int i = 0; i < COUNT; i++)
		joined(t[i]);
	EXPECT(g.passed == COUNT && g.open == 0);
	return true;
}

CHECK(cond_signal_is_not_remembered)
{
	struct gate g = GATE;
	struct timespec soon = in_ms(CLOCK_REALTIME, 30);

	EXPECT(pthread_cond_signal(&g.cond) == 0);
	EXPECT(pthread_mutex_lock(&g.mutex) == 0);
	EXPECT(pthread_cond_timedwait(&g.cond, &g.mutex, &soon) == ETIMEDOUT);
	EXPECT(pthread_mutex_unlock(&g.mutex) == 0);
	return true;
}

static bool times_out(struct gate *g, clockid_t clock, bool explicit_clock)
{
	uint64_t before = now_ms();
	struct timespec soon = in_ms(clock, 50);
	int r;

	EXPECT(pthread_mutex_lock(&g->mutex) == 0);
	do
		r = explicit_clock ? pthread_cond_clockwait(&g->cond, &g->mutex, clock, &soon)
		                   : pthread_cond_timedwait(&g->cond, &g->mutex, &soon);
	while (r == 0);
	EXPECT(r == ETIMEDOUT);
	EXPECT(now_ms() - before >= 49);
	EXPECT(pthread_mutex_trylock(&g->mutex) == EBUSY); /* it is ours again */
	EXPECT(pthread_mutex_unlock(&g->mutex) == 0);
	return true;
}

CHECK(cond_timedwait_realtime)
{
	struct gate g = GATE;

	return times_out(&g, CLOCK_REALTIME, false);
}

CHECK(cond_timedwait_monotonic)
{
	struct gate g = GATE;
	pthread_condattr_t a;
	clockid_t clock;

	EXPECT(pthread_condattr_init(&a) == 0);
	EXPECT(pthread_condattr_setclock(&a, CLOCK_MONOTONIC) == 0);
	EXPECT(pthread_condattr_getclock(&a, &clock) == 0 && clock == CLOCK_MONOTONIC);
	EXPECT(pthread_cond_init(&g.cond, &a) == 0);
	return times_out(&g, CLOCK_MONOTONIC, false);
}

CHECK(cond_clockwait)
{
	struct gate g = GATE;

	return times_out(&g, CLOCK_MONOTONIC, true) && times_out(&g, CLOCK_REALTIME, true);
}

CHECK(cond_timedwait_in_the_past)
{
	struct gate g = GATE;
	struct timespec past = in_ms(CLOCK_REALTIME, -1000), bad = { 0, -1 };

	EXPECT(pthread_mutex_lock(&g.mutex) == 0);
	EXPECT(pthread_cond_timedwait(&g.cond, &g.mutex, &past) == ETIMEDOUT);
	EXPECT(pthread_cond_timedwait(&g.cond, &g.mutex, &bad) == EINVAL);
	EXPECT(pthread_mutex_unlock(&g.mutex) == 0);
	return true;
}

static void *opens_later(void *argument)
{
	sleep_ms(30);
	opens(argument, 1);
	pthread_cond_signal(&((struct gate *)argument)->cond);
	return NULL;
}

CHECK(cond_timedwait_is_signalled)
{
	struct gate g = GATE;
	struct timespec late = in_ms(CLOCK_REALTIME, 5000);
	pthread_t t = started(opens_later, &g);
	int r = 0;

	EXPECT(pthread_mutex_lock(&g.mutex) == 0);
	while (!g.open && r == 0)
		r = pthread_cond_timedwait(&g.cond, &g.mutex, &late);
	EXPECT(r == 0 && g.open == 1);
	EXPECT(pthread_mutex_unlock(&g.mutex) == 0);
	joined(t);
	return true;
}

/* ---- a queue of one --------------------------------------------------------- */

struct slot {
	pthread_mutex_t mutex;
	pthread_cond_t filled, emptied;
	long value;
};

static void *fills(void *argument)
{
	struct slot *s = argument;

	for (long i = 1; i <= 2000; i++) {
		pthread_mutex_lock(&s->mutex);
		while (s->value)
			pthread_cond_wait(&s->emptied, &s->mutex);
		s->value = i;
		pthread_cond_signal(&s->filled);
		pthread_mutex_unlock(&s->mutex);
	}
	return NULL;
}

static void *empties(void *argument)
{
	struct slot *s = argument;
	long sum = 0;

	for (int i = 0; i < 2000; i++) {
		pthread_mutex_lock(&s->mutex);
		while (!s->value)
			pthread_cond_wait(&s->filled, &s->mutex);
		sum += s->value;
		s->value = 0;
		pthread_cond_signal(&s->emptied);
		pthread_mutex_unlock(&s->mutex);
	}
	return (void *)sum;
}

CHECK(cond_hands_over)
{
	struct slot s = { PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER,
		          PTHREAD_COND_INITIALIZER, 0 };
	pthread_t fill[3], empty[3];
	long sum = 0;

	for (int i = 0; i < 3; i++) {
		fill[i] = started(fills, &s);
		empty[i] = started(empties, &s);
	}
	for (int i = 0; i < 3; i++) {
		joined(fill[i]);
		sum += (long)joined(empty[i]);
	}
	EXPECT(sum == 3 * 2000L * 2001 / 2);
	return true;
}

CHECK(cond_shared_with_a_child)
{
	struct slot *s =
		mmap(NULL, sizeof(*s), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pthread_mutexattr_t ma;
	pthread_condattr_t ca;
	int status;
	pid_t pid;

	EXPECT(s != MAP_FAILED);
	EXPECT(pthread_mutexattr_init(&ma) == 0 && pthread_condattr_init(&ca) == 0);
	EXPECT(pthread_mutexattr_setpshared(&ma, PTHREAD_PROCESS_SHARED) == 0);
	EXPECT(pthread_condattr_setpshared(&ca, PTHREAD_PROCESS_SHARED) == 0);
	EXPECT(pthread_mutex_init(&s->mutex, &ma) == 0);
	EXPECT(pthread_cond_init(&s->filled, &ca) == 0 && pthread_cond_init(&s->emptied, &ca) == 0);
	pid = fork();
	EXPECT(pid >= 0);
	if (pid == 0) {
		fills(s);
		_exit(0);
	}
	EXPECT(empties(s) == (void *)(2000L * 2001 / 2));
	EXPECT(waitpid(pid, &status, 0) == pid && status == 0);
	EXPECT(munmap(s, sizeof(*s)) == 0);
	return true;
}

/* ---- semaphores ------------------------------------------------------------- */

CHECK(sem_counts)
{
	sem_t s;
	int value;

	EXPECT(sem_init(&s, 0, 2) == 0);
	EXPECT(sem_wait(&s) == 0 && sem_trywait(&s) == 0);
	EXPECT(sem_trywait(&s) == -1 && errno == EAGAIN);
	EXPECT(sem_post(&s) == 0);
	EXPECT(sem_getvalue(&s, &value) == 0 && value == 1);
	EXPECT(sem_destroy(&s) == 0);
	return true;
}

CHECK(sem_overflows)
{
	sem_t s;

	EXPECT(sem_init(&s, 0, SEM_VALUE_MAX) == 0);
	EXPECT(sem_post(&s) == -1 && errno == EOVERFLOW);
	EXPECT(sem_destroy(&s) == 0);
	EXPECT(sem_init(&s, 0, (unsigned)SEM_VALUE_MAX + 1) == -1 && errno == EINVAL);
	return true;
}

static void *posts_later(void *argument)
{
	sleep_ms(30);
	sem_post(argument);
	return NULL;
}

CHECK(sem_post_wakes)
{
	sem_t s;
	pthread_t t;

	EXPECT(sem_init(&s, 0, 0) == 0);
	t = started(posts_later, &s);
	EXPECT(sem_wait(&s) == 0);
	joined(t);
	EXPECT(sem_destroy(&s) == 0);
	return true;
}

CHECK(sem_timedwait)
{
	struct timespec soon = in_ms(CLOCK_REALTIME, 50), late = in_ms(CLOCK_REALTIME, 5000);
	uint64_t before = now_ms();
	pthread_t t;
	sem_t s;

	EXPECT(sem_init(&s, 0, 0) == 0);
	EXPECT(sem_timedwait(&s, &soon) == -1 && errno == ETIMEDOUT);
	EXPECT(now_ms() - before >= 49);
	t = started(posts_later, &s);
	EXPECT(sem_timedwait(&s, &late) == 0);
	joined(t);
	return true;
}

CHECK(sem_clockwait)
{
	struct timespec soon = in_ms(CLOCK_MONOTONIC, 30);
	sem_t s;

	EXPECT(sem_init(&s, 0, 0) == 0);
	EXPECT(sem_clockwait(&s, CLOCK_MONOTONIC, &soon) == -1 && errno == ETIMEDOUT);
	return true;
}

static sem_t posted;

static void posts(int number)
{
	(void)number;
	sem_post(&posted);
}

static void *signals_later(void *argument)
{
	sleep_ms(30);
	pthread_kill(*(pthread_t *)argument, SIGUSR1);
	return NULL;
}

CHECK(sem_posted_by_a_handler)
{
	struct sigaction action = { .sa_handler = posts, .sa_flags = SA_RESTART }, old;
	pthread_t self = pthread_self(), t;

	EXPECT(sem_init(&posted, 0, 0) == 0);
	EXPECT(sigaction(SIGUSR1, &action, &old) == 0);
	t = started(signals_later, &self);
	while (sem_wait(&posted) < 0)
		EXPECT(errno == EINTR);
	joined(t);
	EXPECT(sigaction(SIGUSR1, &old, NULL) == 0);
	return true;
}

CHECK(sem_named)
{
	char name[64];
	sem_t *a, *b;

	snprintf(name, sizeof(name), "/green-conform-%d", (int)getpid());
	a = sem_open(name, O_CREAT | O_EXCL, 0600, 0);
	EXPECT(a != SEM_FAILED);
	b = sem_open(name, 0);
	EXPECT(b == a);
	EXPECT(sem_post(a) == 0 && sem_wait(b) == 0);
	EXPECT(sem_close(a) == 0 && sem_close(b) == 0);
	EXPECT(sem_unlink(name) == 0);
	return true;
}

CHECK(sem_shared_with_a_child)
{
	sem_t *s = mmap(NULL, 2 * sizeof(*s), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
	                -1, 0);
	int status;
	pid_t pid;

	EXPECT(s != MAP_FAILED);
	EXPECT(sem_init(&s[0], 1, 0) == 0 && sem_init(&s[1], 1, 0) == 0);
	pid = fork();
	EXPECT(pid >= 0);
	if (pid == 0) {
		for (int i = 0; i < 100; i++)
			if (sem_wait(&s[0]) || sem_post(&s[1]))
				_exit(1);
		_exit(0);
	}
	for (int i = 0; i < 100; i++)
		EXPECT(sem_post(&s[0]) == 0 && sem_wait(&s[1]) == 0);
	EXPECT(waitpid(pid, &status, 0) == pid && status == 0);
	EXPECT(munmap(s, 2 * sizeof(*s)) == 0);
	return true;
}
