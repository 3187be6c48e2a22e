/* SPDX-License-Identifier: MIT
 *
 * OS threads beside the runtime: every primitive works between them and green
 * threads and simply blocks, before init, during runs and after fini.
 */
#include "harness.h"

#include "gt.h"

#include <fcntl.h>

/* ---- hand over back and forth -------------------------------------------------------- */

#define ROUNDS scaled(2000)

static struct {
	green_mutex_t mutex;
	green_cond_t cond;
	green_sem_t there, back;
	green_wg_t wg;
	green_chan_t *in, *out;
	uint64_t counter;
	unsigned turn;
	int pipe[2];
} shared;

static void shared_make(void)
{
	memset(&shared, 0, sizeof(shared));
	shared.in = green_chan_new(sizeof(unsigned), 0);
	shared.out = green_chan_new(sizeof(unsigned), 3);
	REQUIRE(shared.in && shared.out);
	REQUIRE_EQ(pipe2(shared.pipe, O_CLOEXEC), 0);
}

static void shared_free(void)
{
	green_chan_free(shared.in);
	green_chan_free(shared.out);
	close(shared.pipe[0]);
	close(shared.pipe[1]);
}

/* One side of each exchange; me is 0 or 1. */
static void play(unsigned me)
{
	char byte = 0;
	unsigned value;

	for (unsigned i = 0; i < ROUNDS; i++) {
		CHECK_EQ(green_mutex_lock(&shared.mutex), 0);
		while (shared.turn % 2 != me)
			CHECK_EQ(green_cond_wait(&shared.cond, &shared.mutex), 0);
		shared.turn++;
		shared.counter++;
		CHECK_EQ(green_cond_signal(&shared.cond), 0);
		CHECK_EQ(green_mutex_unlock(&shared.mutex), 0);

		CHECK_EQ(green_sem_post(me ? &shared.there : &shared.back), 0);
		CHECK_EQ(green_sem_wait(me ? &shared.back : &shared.there), 0);

		if (me) {
			CHECK_EQ(green_chan_send(shared.in, &i), 0);
			CHECK_EQ(green_chan_recv(shared.out, &value), 0);
			CHECK_EQ(value, i * 2);
			CHECK_EQ(green_write(shared.pipe[1], "x", 1), 1);
		} else {
			CHECK_EQ(green_chan_recv(shared.in, &value), 0);
			CHECK_EQ(value, i);
			value *= 2;
			CHECK_EQ(green_chan_send(shared.out, &value), 0);
			CHECK_EQ(green_read(shared.pipe[0], &byte, 1), 1);
		}
	}
}

static void *play_first(void *arg)
{
	play(0);
	return arg;
}

static void *play_second(void *arg)
{
	play(1);
	return arg;
}

TEST(two_os_threads_without_a_runtime)
{
	shared_make();
	pthread_t os = start_os(play_first, NULL);
	play(1);
	join_os(os);
	CHECK_EQ(shared.counter, 2 * ROUNDS);
	shared_free();
}

TEST(two_os_threads_with_one)
{
	REQUIRE_EQ(green_init(NULL), 0);
	shared_make();
	pthread_t os = start_os(play_first, NULL);
	play(1);
	join_os(os);
	CHECK_EQ(shared.counter, 2 * ROUNDS);
	shared_free();
	REQUIRE_EQ(green_fini(), 0);
}

GREEN_TEST(os_thread_and_green_thread)
{
	shared_make();
	pthread_t os = start_os(play_first, NULL);
	play(1);
	join_os(os);
	CHECK_EQ(shared.counter, 2 * ROUNDS);
	shared_free();
}

GREEN_TEST(green_thread_and_os_thread)
{
	shared_make();
	pthread_t os = start_os(play_second, NULL);
	green_t t = start_migratable(play_first, NULL);
	join_green(t);
	join_os(os);
	CHECK_EQ(shared.counter, 2 * ROUNDS);
	shared_free();
}

GREEN_TEST(two_green_threads)
{
	shared_make();
	green_t a = start_green(play_first, NULL), b = start_green(play_second, NULL);
	join_green(a);
	join_green(b);
	CHECK_EQ(shared.counter, 2 * ROUNDS);
	shared_free();
}

/* An OS thread that waits for something of one run while that run is over. */
static void *wait_for_sem(void *arg)
{
	CHECK_EQ(green_sem_wait(arg), 0);
	return NULL;
}

static void *nothing(void *arg)
{
	return arg;
}

TEST(waits_across_runs)
{
	static green_sem_t sem;
	pthread_t os = start_os(wait_for_sem, &sem);

	for (int i = 0; i < 3; i++) {
		CHECK_EQ(green_run(nothing, NULL, NULL), 0);
		CHECK_EQ(green_fini(), 0);
	}
	CHECK_EQ(green_sem_post(&sem), 0);
	join_os(os);
}

/* ---- descriptors of OS threads ------------------------------------------------------------ */

static void *park_once(void *arg)
{
	struct green_deadline scope;

	green_deadline_begin(&scope, 0);
	CHECK_EQ(green_sem_wait(arg), -ETIMEDOUT);
	green_deadline_end(&scope);
	return NULL;
}

/* They are given back when OS threads end. */
TEST(many_os_threads_one_after_another)
{
	green_sem_t sem = GREEN_SEM_INIT(0);

	join_os(start_os(park_once, &sem));
	uint32_t before = gt_high();
	for (int i = 0; i < 200; i++)
		join_os(start_os(park_once, &sem));
	CHECK_LE(gt_high(), before + 2);
}

TEST(many_os_threads_at_once)
{
	enum { N = 40 };
	static green_sem_t sem;
	pthread_t threads[N];

	for (int i = 0; i < N; i++)
		threads[i] = start_os(wait_for_sem, &sem);
	for (int i = 0; i < N; i++)
		CHECK_EQ(green_sem_post(&sem), 0);
	for (int i = 0; i < N; i++)
		join_os(threads[i]);
	CHECK_EQ(green_sem_trywait(&sem), -EAGAIN);
}

/* An OS thread is no green thread: nobody can join or cancel it by a handle. */
TEST(os_threads_have_no_handle)
{
	struct green_deadline scope;
	green_sem_t sem = GREEN_SEM_INIT(0);

	park_once(&sem); /* it has a descriptor now */
	CHECK_EQ(green_self(), GREEN_NONE);
	for (uint32_t i = 1; i < gt_high(); i++) {
		green_t handle = gt_handle(gt_at(i));
		green_deadline_begin(&scope, GREEN_MS(1));
		CHECK_EQ(green_cancel(handle), -ESRCH);
		CHECK_EQ(green_detach(handle), -ESRCH);
		CHECK_EQ(green_join(handle, NULL), -ESRCH);
		green_deadline_end(&scope);
	}
	green_deadline_begin(&scope, GREEN_MS(1));
	CHECK_EQ(green_sem_wait(&sem), -ETIMEDOUT);
	green_deadline_end(&scope);
}

/* Cancel and post from outside, at once, in a race: the post is never lost. */
static void *post(void *arg)
{
	CHECK_EQ(green_sem_post(arg), 0);
	return NULL;
}

static void *wait_or_not(void *arg)
{
	return (void *)(intptr_t)green_sem_wait(arg);
}

GREEN_TEST(post_against_cancel)
{
	green_sem_t *sem = calloc(1, sizeof(*sem));

	for (unsigned i = 0; i < scaled(300); i++) {
		green_t t = start_green(wait_or_not, sem);
		if (i % 3)
			await_parked(t);
		pthread_t os = start_os(post, sem);
		CHECK_EQ(green_cancel(t), 0);
		intptr_t r = (intptr_t)join_green(t);
		join_os(os);
		CHECK(r == 0 || r == -ECANCELED);
		CHECK_EQ(green_sem_trywait(sem), r == 0 ? -EAGAIN : 0);
	}
	free(sem);
}
