/* SPDX-License-Identifier: MIT
 *
 * green_offload(): what can only block runs elsewhere, on a pool that grows,
 * has a bound, and shrinks.
 */
#define _GNU_SOURCE
#include "harness.h"

#include "offload.h"
#include "worker.h"

#include <signal.h>
#include <sys/prctl.h>

static _Atomic int running, running_most, done;

static void begin(void)
{
	int now = atomic_fetch_add(&running, 1) + 1, most = atomic_load(&running_most);

	while (now > most && !atomic_compare_exchange_weak(&running_most, &most, now))
		;
}

static void end(void)
{
	atomic_fetch_sub(&running, 1);
	atomic_fetch_add(&done, 1);
}

static void *busy(void *arg)
{
	begin();
	usleep((useconds_t)(uintptr_t)arg);
	end();
	return (void *)((uintptr_t)arg + 1);
}

/* Runs until the test has seen it run. */
static _Atomic bool seen;

static void *until_seen(void *unused)
{
	(void)unused;
	begin();
	while (!atomic_load(&seen))
		usleep(200);
	end();
	return NULL;
}

static void *offload_until_seen(void *unused)
{
	(void)unused;
	CHECK_EQ(green_offload(until_seen, NULL, NULL), 0);
	return NULL;
}

static void *offload_busy(void *arg)
{
	void *result = NULL;

	CHECK_EQ(green_offload(busy, arg, &result), 0);
	CHECK_EQ((uintptr_t)result, (uintptr_t)arg + 1);
	return NULL;
}

GREEN_TEST(its_result_comes_back)
{
	void *result = NULL;

	CHECK_EQ(green_offload(busy, NULL, &result), 0);
	CHECK_EQ((uintptr_t)result, 1);
	CHECK_EQ(green_offload(busy, NULL, NULL), 0);
	CHECK_EQ(atomic_load(&done), 2);
	WAIT_FOR(atomic_load(&rt.offloads) == 0);
}

static void *who(void *arg)
{
	sigset_t blocked;
	char name[16];

	(void)arg;
	prctl(PR_GET_NAME, name);
	CHECK_STR(name, "green-offload");
	CHECK_EQ(green_self(), GREEN_NONE);
	CHECK_EQ(green_worker(), -1);
	pthread_sigmask(SIG_BLOCK, NULL, &blocked);
	CHECK(sigismember(&blocked, SIGTERM) && sigismember(&blocked, SIGPROF));
	return NULL;
}

GREEN_TEST(it_runs_in_an_os_thread_without_signals)
{
	sigset_t blocked;

	CHECK_EQ(green_offload(who, NULL, NULL), 0);
	pthread_sigmask(SIG_BLOCK, NULL, &blocked);
	CHECK(!sigismember(&blocked, SIGTERM));
}

/* All at once, and main goes on: it opens the gate they wait at. */
GREEN_TEST(others_go_on_meanwhile)
{
	green_t t[20];

	for (int i = 0; i < 20; i++)
		t[i] = start_green(offload_until_seen, NULL);
	WAIT_FOR(atomic_load(&running) == 20);
	CHECK_EQ(atomic_load(&done), 0);
	atomic_store(&seen, true);
	for (int i = 0; i < 20; i++)
		join_green(t[i]);
	CHECK_EQ(atomic_load(&done), 20);
}

static void *many(void *arg)
{
	enum { JOBS = 50 };
	green_t t[JOBS];

	(void)arg;
	for (int i = 0; i < JOBS; i++)
		t[i] = start_green(offload_until_seen, NULL);
	for (int i = 0; i < JOBS; i++)
		await_parked(t[i]);
	WAIT_FOR(atomic_load(&running) == 3);
	CHECK_EQ(offload_threads(), 3);
	atomic_store(&seen, true);
	for (int i = 0; i < JOBS; i++)
		join_green(t[i]);
	CHECK_EQ(atomic_load(&done), JOBS);
	return NULL;
}

TEST(the_pool_is_bounded)
{
	struct green_options options = { .offload_max = 3 };

	CHECK_EQ(run_green_with(&options, many, NULL, NULL), 0);
	CHECK_EQ(atomic_load(&running_most), 3);
	CHECK_EQ(offload_threads(), 0);
}

/* Started one after the other: an idle thread is taken again. */
GREEN_TEST(idle_threads_are_reused)
{
	for (int i = 0; i < 50; i++)
		CHECK_EQ(green_offload(busy, NULL, NULL), 0);
	CHECK_LE(offload_threads(), 2);
}

GREEN_TEST(idle_threads_end)
{
	CHECK_EQ(green_offload(busy, NULL, NULL), 0);
	CHECK_EQ(offload_threads(), 1);
	WAIT_FOR(offload_threads() == 0);
	CHECK_EQ(green_offload(busy, NULL, NULL), 0);
	CHECK_EQ(offload_threads(), 1);
}

/* ---- in which order --------------------------------------------------------------- */

static int order[10], order_count;
static _Atomic bool all_queued;

static void *note(void *arg)
{
	while (!atomic_load(&all_queued))
		usleep(200);
	order[order_count++] = (int)(intptr_t)arg;
	return NULL;
}

static void *offload_note(void *arg)
{
	CHECK_EQ(green_offload(note, arg, NULL), 0);
	return NULL;
}

static void *ten_in_order(void *unused)
{
	green_t t[10];

	(void)unused;
	for (intptr_t i = 0; i < 10; i++) {
		t[i] = start_green(offload_note, (void *)i);
		await_parked(t[i]);
	}
	atomic_store(&all_queued, true);
	for (int i = 0; i < 10; i++)
		join_green(t[i]);
	for (int i = 0; i < 10; i++)
		CHECK_EQ(order[i], i);
	return NULL;
}

TEST(jobs_start_in_the_order_they_came)
{
	struct green_options options = { .offload_max = 1 };

	CHECK_EQ(run_green_with(&options, ten_in_order, NULL, NULL), 0);
}

/* ---- cancel ------------------------------------------------------------------------ */

static _Atomic int outcome;

static void *offload_and_tell(void *arg)
{
	int r = green_offload(busy, arg, NULL);

	atomic_store(&outcome, r);
	return NULL;
}

static void *past_deadline(void *deadline_ns)
{
	while (green_now() < *(int64_t *)deadline_ns + GREEN_MS(1))
		usleep(200);
	return NULL;
}

GREEN_TEST(a_job_that_runs_is_awaited)
{
	green_t t = start_green(offload_until_seen, NULL);

	WAIT_FOR(atomic_load(&running) == 1);
	green_cancel(t);
	CHECK_EQ(atomic_load(&done), 0);
	atomic_store(&seen, true);
	join_green(t); /* its offload returned 0 */
	CHECK_EQ(atomic_load(&done), 1);
}

GREEN_TEST(a_deadline_does_not_end_a_job_that_runs)
{
	struct green_deadline scope;

	green_deadline_begin(&scope, GREEN_S(1));
	int64_t until = green_now() + GREEN_S(1);
	CHECK_EQ(green_offload(past_deadline, &until, NULL), 0);
	CHECK_EQ(green_yield(), -ETIMEDOUT);
	CHECK_EQ(green_offload(busy, NULL, NULL), -ETIMEDOUT);
	CHECK(green_deadline_end(&scope));
	CHECK_EQ(atomic_load(&done), 0);
}

static void *cancel_queued(void *unused)
{
	struct green_deadline scope;

	(void)unused;
	green_t first = start_green(offload_until_seen, NULL);
	WAIT_FOR(atomic_load(&running) == 1);
	green_t second = start_green(offload_and_tell, NULL);
	await_parked(second);
	green_cancel(second);
	join_green(second);
	CHECK_EQ(atomic_load(&outcome), -ECANCELED);
	green_deadline_begin(&scope, GREEN_MS(5));
	CHECK_EQ(green_offload(busy, NULL, NULL), -ETIMEDOUT);
	CHECK(green_deadline_end(&scope));
	atomic_store(&seen, true);
	join_green(first);
	CHECK_EQ(atomic_load(&done), 1); /* the others never began */
	WAIT_FOR(atomic_load(&rt.offloads) == 0);
	return NULL;
}

TEST(a_job_that_waits_can_be_cancelled)
{
	struct green_options options = { .offload_max = 1 };

	CHECK_EQ(run_green_with(&options, cancel_queued, NULL, NULL), 0);
}

static void abandon(void *arg)
{
	atomic_store((_Atomic int *)arg, 1);
}

static void *until_abandoned(void *arg)
{
	while (!atomic_load((_Atomic int *)arg))
		usleep(100);
	return NULL;
}

static void *offload_abandonable(void *arg)
{
	atomic_store(&outcome, offload_run(until_abandoned, arg, NULL, abandon, NULL));
	return NULL;
}

GREEN_TEST(a_job_can_be_told_to_end)
{
	static _Atomic int told;

	green_t t = start_green(offload_abandonable, (void *)&told);
	await_parked(t);
	green_sleep(GREEN_MS(5));
	green_cancel(t);
	join_green(t);
	CHECK_EQ(atomic_load(&outcome), -ECANCELED);
}

struct leaving {
	_Atomic int go, released, began;
	int result;
	bool left;
};

static void *until_let_go(void *arg)
{
	struct leaving *l = arg;

	atomic_store(&l->began, 1);
	while (!atomic_load(&l->go))
		usleep(100);
	return NULL;
}

static void release(void *arg)
{
	atomic_fetch_add(&((struct leaving *)arg)->released, 1);
}

static void *offload_leaving(void *arg)
{
	struct leaving *l = arg;

	l->result = offload_leave(until_let_go, l, release, &l->left, NULL);
	return NULL;
}

GREEN_TEST(a_job_can_be_left_alone)
{
	static struct leaving l;

	green_t t = start_green(offload_leaving, &l);
	WAIT_FOR(atomic_load(&l.began));
	await_parked(t);
	green_cancel(t);
	join_green(t);
	CHECK_EQ(l.result, -ECANCELED);
	CHECK(l.left);
	CHECK_EQ(atomic_load(&l.released), 0);
	CHECK_EQ(atomic_load(&rt.offloads), 1);
	atomic_store(&l.go, 1);
	WAIT_FOR(atomic_load(&rt.offloads) == 0);
	CHECK_EQ(atomic_load(&l.released), 1);
	offload_leaving(&l);
	CHECK_EQ(l.result, 0);
	CHECK(!l.left);
	CHECK_EQ(atomic_load(&l.released), 1);
}

static void *leave_alone(void *arg)
{
	struct leaving *l = arg;

	green_t t = start_green(offload_leaving, l);
	WAIT_FOR(atomic_load(&l->began));
	await_parked(t);
	green_cancel(t);
	join_green(t);
	CHECK_EQ(l->result, -ECANCELED);
	CHECK(l->left);
	return NULL;
}

static void *let_go_meanwhile(void *arg)
{
	struct leaving *l = arg;

	CHECK_EQ(atomic_load(&l->released), 0);
	CHECK_EQ(green_offload(busy, NULL, NULL), 0);
	atomic_store(&l->go, 1);
	WAIT_FOR(atomic_load(&l->released) == 1);
	CHECK_EQ(green_offload(busy, NULL, NULL), 0);
	CHECK_EQ(offload_threads(), 1);
	WAIT_FOR(atomic_load(&rt.offloads) == 0);
	return NULL;
}

/* It may never end: the open of a FIFO without another side. */
TEST(green_fini_does_not_wait_for_what_was_left_alone)
{
	static struct leaving l;

	CHECK_EQ(run_green_with(NULL, leave_alone, &l, NULL), 0);
	CHECK_EQ(offload_threads(), 0);
	CHECK_EQ(atomic_load(&rt.offloads), 0);
	CHECK_EQ(run_green_with(NULL, let_go_meanwhile, &l, NULL), 0);
}

static void *leave_at_random(void *arg)
{
	struct leaving *l = arg;

	atomic_store(&l->go, 1);
	l->result = offload_leave(until_let_go, l, release, &l->left, NULL);
	CHECK(l->result == 0 || l->result == -ECANCELED);
	CHECK(!l->left || l->result == -ECANCELED);
	return NULL;
}

GREEN_TEST(left_alone_at_any_moment)
{
	static struct leaving l[200];
	struct rng rng = rng_seed(5);
	int left = 0, released = 0;

	for (int i = 0; i < 200; i++) {
		green_t t = start_green(leave_at_random, &l[i]);
		for (uint64_t n = rng_below(&rng, 12); n > 0; n--)
			green_yield();
		if (rng_below(&rng, 2))
			green_sleep((int64_t)rng_below(&rng, 100000));
		green_cancel(t);
		join_green(t);
		left += l[i].left;
	}
	WAIT_FOR(atomic_load(&rt.offloads) == 0);
	for (int i = 0; i < 200; i++)
		released += atomic_load(&l[i].released);
	CHECK_EQ(released, left);
}

/* Random cancels against starts and ends. */
GREEN_TEST(cancels_at_any_moment)
{
	struct rng rng = rng_seed(3);

	for (unsigned i = 0; i < scaled(500); i++) {
		green_t t = start_green(offload_and_tell, (void *)(uintptr_t)rng_below(&rng, 50));
		for (uint64_t n = rng_below(&rng, 20); n > 0; n--)
			green_yield();
		green_cancel(t);
		join_green(t);
		CHECK(atomic_load(&outcome) == 0 || atomic_load(&outcome) == -ECANCELED);
		CHECK_EQ(atomic_load(&running), 0);
	}
	WAIT_FOR(atomic_load(&rt.offloads) == 0);
}

/* ---- when threads cannot be had ------------------------------------------------------ */

static void *without_threads(void *unused)
{
	green_t t[5];

	(void)unused;
	CHECK_EQ(green_offload(busy, NULL, NULL), -EAGAIN);
	CHECK_EQ(atomic_load(&done), 0);
	CHECK_EQ(atomic_load(&rt.offloads), 0);
	CHECK_EQ(green_offload(busy, NULL, NULL), 0);
	/* One thread there, no second to be had: jobs wait for it. */
	for (int i = 0; i < 5; i++)
		t[i] = start_green(offload_busy, (void *)(uintptr_t)1000);
	for (int i = 0; i < 5; i++)
		join_green(t[i]);
	CHECK_EQ(offload_threads(), 1);
	return NULL;
}

TEST(no_thread_can_be_started)
{
	fault_inject(SYS_clone3, 0, 1, EAGAIN);
	fault_inject(SYS_clone3, 1, 0, EAGAIN); /* those after the second */
	CHECK_EQ(run_green_with(NULL, without_threads, NULL, NULL), 0);
	CHECK_GT(fault_hits(), 1);
	fault_clear();
}

TEST(in_an_os_thread_it_is_a_call)
{
	void *result = NULL;

	CHECK_EQ(green_offload(busy, NULL, &result), 0);
	CHECK_EQ((uintptr_t)result, 1);
	CHECK_EQ(offload_threads(), 0);
}

/* A pool thread may itself use the runtime. */
static void *send_from_pool(void *arg)
{
	green_sem_post(arg);
	return NULL;
}

GREEN_TEST(a_job_may_wake_green_threads)
{
	green_sem_t sem = GREEN_SEM_INIT(0);

	CHECK_EQ(green_offload(send_from_pool, &sem, NULL), 0);
	CHECK_EQ(green_sem_wait(&sem), 0);
}
