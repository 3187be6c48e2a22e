/* SPDX-License-Identifier: MIT
 *
 * Deadlock: when nothing can ever wake anybody green_run() says so, names who
 * waits for what, and returns; as long as something may, it does not.
 */
#include "harness.h"

#include <fcntl.h>
#include <sys/eventfd.h>

/* ---- deadlocks ------------------------------------------------------------------- */

static green_mutex_t mutexes[2];
static _Atomic int locked, cancelled;
static green_sem_t sem;
static green_chan_t *chan;

/* Runs fn, which must end in a deadlock; the report. */
static const char *deadlock_of(green_fn fn, void *arg)
{
	capture_begin();
	int r = green_run(fn, arg, NULL);
	const char *report = capture_end();

	CHECK_EQ(r, -EDEADLK);
	CHECK_HAS(green_error(), "deadlock");
	CHECK_HAS(report, "deadlock");
	return report;
}

static void *wait_for_ever(void *arg)
{
	CHECK_EQ(green_sem_wait(&sem), -ECANCELED);
	return arg;
}

TEST(one_thread)
{
	const char *report = deadlock_of(wait_for_ever, NULL);

	CHECK_HAS(report, "main");
	CHECK_HAS(report, "semaphore");
	/* The next run is as good as new. */
	CHECK_HAS(deadlock_of(wait_for_ever, NULL), "semaphore");
	CHECK_EQ(green_fini(), 0);
	CHECK_HAS(deadlock_of(wait_for_ever, NULL), "semaphore");
}

static void *lock_both(void *arg)
{
	intptr_t me = (intptr_t)arg;

	CHECK_EQ(green_mutex_lock(&mutexes[me]), 0);
	atomic_fetch_add(&locked, 1);
	WAIT_FOR(atomic_load(&locked) == 2);
	/* Cancelled, unless the other one was first and has let go of it. */
	int r = green_mutex_lock(&mutexes[!me]);
	CHECK(r == 0 || r == -ECANCELED);
	if (r == 0)
		CHECK_EQ(green_mutex_unlock(&mutexes[!me]), 0);
	else
		atomic_fetch_add(&cancelled, 1);
	CHECK_EQ(green_mutex_unlock(&mutexes[me]), 0);
	return NULL;
}

static void *deadly_embrace(void *arg)
{
	struct green_attr adam = { .name = "adam" }, eve = { .name = "eve", .migratable = true };
	green_t threads[2] = { start_with(&adam, lock_both, (void *)0),
		               start_with(&eve, lock_both, (void *)1) };

	/* All are cancelled: adam may have ended before this join is ended. */
	int r = green_join(threads[0], NULL);
	CHECK(r == 0 || r == -ECANCELED);
	struct green_shield shield;
	green_shield_begin(&shield);
	if (r < 0)
		join_green(threads[0]);
	join_green(threads[1]);
	green_shield_end(&shield);
	return arg;
}

TEST(two_mutexes)
{
	const char *report = deadlock_of(deadly_embrace, NULL);

	CHECK_HAS(report, "adam");
	CHECK_HAS(report, "eve");
	CHECK(atomic_load(&cancelled) > 0);
	CHECK_HAS(report, "main");
	CHECK_HAS(report, "mutex");
	CHECK_HAS(report, "join");
	CHECK_HAS(report, "lock_both"); /* where */
}

static void *receive(void *arg)
{
	int value;

	CHECK_EQ(green_chan_recv(chan, &value), -ECANCELED);
	return arg;
}

static void *all_receive(void *arg)
{
	chan = green_chan_new(sizeof(int), 0);
	for (int i = 0; i < 300; i++)
		CHECK_EQ(green_go(receive, NULL), 0);
	receive(NULL);
	return arg;
}

TEST(many_threads)
{
	const char *report = deadlock_of(all_receive, NULL);

	CHECK_HAS(report, "receive");
	CHECK_HAS(report, "201 more");
	green_chan_free(chan);
}

static void *sleep_for_ever(void *arg)
{
	CHECK_EQ(green_sleep(GREEN_FOREVER), -ECANCELED);
	return arg;
}

TEST(sleep_without_end)
{
	CHECK_HAS(deadlock_of(sleep_for_ever, NULL), "sleep");
}

/* They wait even though they have been cancelled: beyond help, but not for ever. */
static void *wait_in_a_shield(void *arg)
{
	struct green_shield shield;

	green_shield_begin(&shield);
	green_sem_wait(&sem);
	FAIL("nobody posts");
	return arg;
}

TEST(shielded_waits)
{
	CHECK_HAS(deadlock_of(wait_in_a_shield, NULL), "semaphore");
}

/* The next run knows nothing of those that were beyond help. */
static green_t lost[3];
static struct green_serial *group;

static void *wait_in_many_shields(void *arg)
{
	struct green_attr attr = { .name = "lost", .serial = group = green_serial_new() };

	for (int i = 0; i < 3; i++)
		lost[i] = start_with(i ? &attr : NULL, wait_in_a_shield, NULL);
	wait_in_a_shield(arg);
	return arg;
}

static void *take_one(void *arg)
{
	CHECK_EQ(green_sem_wait(&sem), 0);
	return arg;
}

static void *yield_once(void *arg)
{
	green_yield();
	return arg;
}

static void *go_on_as_usual(void *arg)
{
	struct green_info info;
	green_t taker = start_green(take_one, NULL);

	CHECK_EQ(green_info(&info), 0);
	CHECK_EQ(info.threads, 2);
	for (int i = 0; i < 3; i++) {
		CHECK_EQ(green_join(lost[i], NULL), -ESRCH);
		CHECK_EQ(green_cancel(lost[i]), -ESRCH);
	}
	/* The lost ones stand before the taker in the semaphore's queue. */
	green_yield();
	green_sem_post(&sem);
	join_green(taker);
	for (int i = 0; i < 1000; i++)
		join_green(start_green(yield_once, NULL));
	return arg;
}

TEST(the_run_after_shielded_waits)
{
	struct green_info info;

	for (int i = 0; i < 3; i++) {
		deadlock_of(wait_in_many_shields, NULL);
		CHECK_EQ(green_info(&info), 0);
		CHECK_EQ(info.threads, 0);
		CHECK_EQ(info.stacks_used, 4 * (size_t)(i + 1)); /* until green_fini() */
		green_serial_free(group);
		CHECK_EQ(green_run(go_on_as_usual, NULL, NULL), 0);
	}
	CHECK_EQ(green_fini(), 0);
	CHECK_EQ(green_run(go_on_as_usual, NULL, NULL), 0);
}

static void *join_one_another(void *arg)
{
	_Atomic green_t *threads = arg;

	WAIT_FOR(atomic_load(&threads[1]));
	int r = green_join(atomic_load(&threads[atomic_load(&threads[0]) == green_self()]), NULL);
	CHECK(r == -ECANCELED || r == 0); /* 0: the other one was cancelled first */
	return NULL;
}

static void *ring_of_joins(void *arg)
{
	_Atomic green_t *threads = calloc(2, sizeof(*threads));

	for (int i = 0; i < 2; i++)
		atomic_store(&threads[i], start_green(join_one_another, (void *)threads));
	struct green_shield shield;
	CHECK_EQ(green_sleep(GREEN_FOREVER), -ECANCELED);
	green_shield_begin(&shield);
	for (int i = 0; i < 2; i++) /* the second may be joining the first still */
		WAIT_FOR(green_join(atomic_load(&threads[i]), NULL) != -EINVAL);
	green_shield_end(&shield);
	free((void *)threads);
	return arg;
}

TEST(joined_in_a_ring)
{
	CHECK_HAS(deadlock_of(ring_of_joins, NULL), "join");
}

/* ---- none of these is one --------------------------------------------------------------- */

#define LONG GREEN_MS(700) /* several looks of the monitor */

/* Runs fn, which takes LONG; nothing may be reported. */
static void no_deadlock(green_fn fn, void *arg)
{
	capture_begin();
	int r = green_run(fn, arg, NULL);
	const char *text = capture_end();

	CHECK_EQ(r, 0);
	CHECK_STR(green_error(), "");
	CHECK(!strstr(text, "deadlock"));
}

static void *sleep_long(void *arg)
{
	CHECK_EQ(green_sleep(LONG), 0);
	return arg;
}

TEST(a_timer_is_left)
{
	no_deadlock(sleep_long, NULL);
}

static void *join_the_sleeper(void *arg)
{
	join_green(start_green(sleep_long, NULL));
	return arg;
}

TEST(somebody_sleeps)
{
	no_deadlock(join_the_sleeper, NULL);
}

static void *read_byte(void *arg)
{
	uint64_t count;

	CHECK_EQ(green_read((int)(intptr_t)arg, &count, sizeof(count)), sizeof(count));
	return NULL;
}

static void *child_writes(void *arg)
{
	int fd = eventfd(0, EFD_CLOEXEC);
	pid_t pid = fork();

	if (pid == 0) { /* another process: nothing of it is seen here */
		uint64_t one = 1;
		usleep(LONG / 1000);
		_exit(write(fd, &one, sizeof(one)) != sizeof(one));
	}
	read_byte((void *)(intptr_t)fd);
	close(fd);
	return arg;
}

TEST(a_descriptor_is_waited_for)
{
#if defined(GREEN_TSAN)
	SKIP("the thread sanitizer stops the child of a program with threads");
#endif
	no_deadlock(child_writes, NULL);
}

static void *block(void *arg)
{
	usleep(LONG / 1000);
	return arg;
}

static void *offload_it(void *arg)
{
	CHECK_EQ(green_offload(block, NULL, NULL), 0);
	return arg;
}

TEST(an_offload_runs)
{
	no_deadlock(offload_it, NULL);
}

static void *post_late(void *arg)
{
	usleep(LONG / 1000);
	green_sem_post(&sem);
	return arg;
}

static void *helped_from_outside(void *arg)
{
	pthread_t os = start_os(post_late, NULL);

	if (arg)
		REQUIRE_EQ(pthread_setname_np(os, "green-helper"), 0); /* a name is a name */
	CHECK_EQ(green_sem_wait(&sem), 0);
	join_os(os);
	return NULL;
}

TEST(an_os_thread_is_left)
{
	no_deadlock(helped_from_outside, NULL);
	no_deadlock(helped_from_outside, (void *)1);
}

static void *spin_long(void *arg)
{
	spin_for(LONG);
	green_sem_post(&sem);
	return arg;
}

static void *wait_for_the_spinner(void *arg)
{
	green_t t = start_green(spin_long, NULL);

	CHECK_EQ(green_sem_wait(&sem), 0);
	join_green(t);
	return arg;
}

TEST(somebody_computes)
{
	no_deadlock(wait_for_the_spinner, NULL);
}

/* Work that comes and goes in the rhythm of the monitor. */
static void *post_soon(void *arg)
{
	green_yield();
	green_sem_post(&sem);
	return arg;
}

static void *wait_soon(void *arg)
{
	CHECK_EQ(green_sem_wait(&sem), 0);
	return arg;
}

static void *in_rhythm(void *arg)
{
	for (int i = 0; i < 10; i++) {
		CHECK_EQ(green_sleep(GREEN_MS(100)), 0);
		green_t waiter = start_green(wait_soon, NULL);
		green_t poster = start_green(post_soon, NULL);
		join_green(waiter);
		join_green(poster);
	}
	return arg;
}

TEST(work_in_the_monitors_rhythm)
{
	no_deadlock(in_rhythm, NULL);
}
