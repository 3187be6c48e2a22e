/* SPDX-License-Identifier: MIT
 *
 * Link mode: libc's locks between green threads with thread-local storage of their own,
 * those without, OS threads and handlers of signals.  Every waiter is woken, whoever
 * wakes it; a wake-up that goes astray is a hang.
 */
#include "harness.h"

#include "green_intercept.h"

#include <limits.h>
#include <semaphore.h>
#include <signal.h>
#include <time.h>

#define ROUNDS 500

static sem_t ping, pong;

static void intercept_all(void)
{
	int r = green_intercept_all();

	if (r == -ENOTSUP)
		SKIP("%s", green_error());
	REQUIRE_EQ(r, 0);
	sem_init(&ping, 0, 0);
	sem_init(&pong, 0, 0);
}

/* On OS threads that share no worker: these must not stop each other. */
static void run_on_two(green_fn fn)
{
	const struct green_options options = { .workers = 2 };

	REQUIRE_EQ(run_green_with(&options, fn, NULL, NULL), 0);
}

static void wait_at(sem_t *sem)
{
	while (sem_wait(sem) < 0)
		CHECK_EQ(errno, EINTR);
}

static void *pinger(void *arg)
{
	for (unsigned i = 0; i < ROUNDS; i++) {
		sem_post(&ping);
		wait_at(&pong);
	}
	return arg;
}

static void *ponger(void *arg)
{
	for (unsigned i = 0; i < ROUNDS; i++) {
		wait_at(&ping);
		sem_post(&pong);
	}
	return arg;
}

static void join_both(green_t a, green_t b)
{
	join_green(a);
	join_green(b);
}

static void *with_own_and_shared(void *arg)
{
	const struct green_attr shared = { .shared_tls = true };

	join_both(start_green(pinger, NULL), start_with(&shared, ponger, NULL));
	return arg;
}

TEST(green_threads_without_storage_of_their_own)
{
	intercept_all();
	run_on_two(with_own_and_shared);
}

static void *with_os_thread(void *arg)
{
	join_green(start_green(pinger, NULL));
	return arg;
}

static bool sees_os_threads(void)
{
	struct green_intercept_info info;

	REQUIRE_EQ(green_intercept_info(&info), 0);
	return info.sites > 0;
}

TEST(os_threads)
{
	intercept_all();
	if (!sees_os_threads())
		SKIP("by dispatch alone the calls of OS threads are not seen");
	pthread_t other = start_os(ponger, NULL);
	run_on_two(with_os_thread);
	join_os(other);
}

static void *post(void *arg)
{
	usleep(1000);
	sem_post(arg);
	return arg;
}

static void *wait_for_pong(void *arg)
{
	for (unsigned i = 0; i < 20; i++)
		wait_at(&pong);
	return arg;
}

/* The pool's threads run code of the program, too. */
static void *offloads(void *arg)
{
	green_t waiter = start_green(wait_for_pong, NULL);
	void *result;

	for (unsigned i = 0; i < 20; i++) {
		REQUIRE_EQ(green_offload(post, &pong, &result), 0); /* who waits already */
		REQUIRE_EQ(green_offload(post, &ping, &result), 0); /* or does not yet */
		wait_at(&ping);
	}
	join_green(waiter);
	return arg;
}

TEST(the_offload_pool)
{
	intercept_all();
	run_on_two(offloads);
}

static void *posts_in_section(void *arg)
{
	for (unsigned i = 0; i < ROUNDS; i++) {
		green_blocking_begin();
		sem_post(&ping);
		wait_at(&pong);
		green_blocking_end();
	}
	return arg;
}

static void *with_section(void *arg)
{
	join_both(start_migratable(posts_in_section, NULL), start_migratable(ponger, NULL));
	return arg;
}

TEST(stretches_of_plain_code)
{
	intercept_all();
	run_on_two(with_section);
}

/* By the kernel, when it has ended. */
static void *makes_os_threads(void *arg)
{
	pthread_t threads[10];
	void *result;

	for (unsigned i = 0; i < 10; i++)
		REQUIRE_EQ(pthread_create(&threads[i], NULL, post, &ping), 0);
	for (unsigned i = 0; i < 10; i++) {
		CHECK_EQ(pthread_join(threads[i], &result), 0);
		CHECK(result == &ping);
	}
	return arg;
}

TEST(the_end_of_os_threads)
{
	int r = green_intercept(GREEN_INTERCEPT_ALL & ~(unsigned)GREEN_INTERCEPT_THREADS);

	if (r == -ENOTSUP)
		SKIP("%s", green_error());
	REQUIRE_EQ(r, 0);
	run_on_two(makes_os_threads);
}

static void on_alarm(int sig)
{
	(void)sig;
	sem_post(&ping);
}

static void *waits_for_handlers(void *arg)
{
	struct itimerspec every = { { 0, 200000 }, { 0, 200000 } };
	timer_t timer;

	signal(SIGALRM, on_alarm);
	REQUIRE_EQ(timer_create(CLOCK_MONOTONIC, NULL, &timer), 0);
	REQUIRE_EQ(timer_settime(timer, 0, &every, NULL), 0);
	for (unsigned i = 0; i < 200; i++)
		wait_at(&ping);
	timer_delete(timer);
	return arg;
}

TEST(handlers_of_signals)
{
	intercept_all();
	run_green(waits_for_handlers, NULL);
}

/* ---- mutexes of libc ------------------------------------------------------------------ */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static long counter;

static void *count(void *arg)
{
	for (unsigned i = 0; i < 2000; i++) {
		pthread_mutex_lock(&lock);
		long seen = counter;
		if (i % 64 == 0)
			sched_yield();
		counter = seen + 1;
		pthread_mutex_unlock(&lock);
	}
	return arg;
}

static void *count_together(void *arg)
{
	green_t threads[16];

	for (unsigned i = 0; i < 16; i++)
		threads[i] = start_migratable(count, NULL);
	for (unsigned i = 0; i < 16; i++)
		join_green(threads[i]);
	return arg;
}

TEST(a_mutex_of_all)
{
	bool others;

	intercept_all();
	others = sees_os_threads();
	pthread_t other[2];
	for (unsigned i = 0; others && i < 2; i++)
		other[i] = start_os(count, NULL);
	run_on_two(count_together);
	for (unsigned i = 0; others && i < 2; i++)
		join_os(other[i]);
	CHECK_EQ(counter, 2000 * (others ? 18 : 16));
}

/* What begins and ends threads holds locks inside libc, in those that have their storage
 * and in those that are about to get it. */
static void *file_user(void *arg)
{
	FILE *f = fopen("/dev/null", "w");

	REQUIRE(f);
	fprintf(f, "%p\n", malloc(1 << 10));
	fclose(f);
	return arg;
}

static void *storm(void *arg)
{
	green_t threads[200];

	for (unsigned round = 0; round < scaled(20); round++) {
		for (unsigned i = 0; i < 200; i++)
			threads[i] = start_green(file_user, NULL);
		for (unsigned i = 0; i < 200; i++)
			join_green(threads[i]);
	}
	return arg;
}

TEST(locks_inside_libc)
{
	const struct green_options options = { .workers = 8 };

	intercept_all();
	REQUIRE_EQ(run_green_with(&options, storm, NULL, NULL), 0);
}

/* ---- no other end ------------------------------------------------------------------------ */

static void *locks_once(void *arg)
{
	CHECK_EQ(pthread_mutex_lock(&lock), 0);
	counter++;
	pthread_mutex_unlock(&lock);
	/* The cancel is still there for what can say so. */
	CHECK_EQ(usleep(1000), -1);
	CHECK_EQ(errno, ECANCELED);
	CHECK_EQ(green_cancelled(), true);
	return arg;
}

static void *cancels(void *arg)
{
	pthread_mutex_lock(&lock);
	green_t waiter = start_green(locks_once, NULL);
	usleep(5000);
	CHECK_EQ(green_cancel(waiter), 0);
	usleep(5000);
	CHECK_EQ(counter, 0);
	pthread_mutex_unlock(&lock);
	join_green(waiter);
	CHECK_EQ(counter, 1);
	return arg;
}

TEST(a_cancel_does_not_end_a_lock)
{
	intercept_all();
	run_green(cancels, NULL);
}

static void *times_out(void *arg)
{
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_nsec += 20000000;
	if (until.tv_nsec >= 1000000000) {
		until.tv_nsec -= 1000000000;
		until.tv_sec++;
	}
	CHECK_EQ(sem_timedwait(&ping, &until), -1);
	CHECK_EQ(errno, ETIMEDOUT);
	return arg;
}

TEST(its_own_time_limit_does)
{
	intercept_all();
	run_green(times_out, NULL);
}
