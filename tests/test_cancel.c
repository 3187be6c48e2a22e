/* SPDX-License-Identifier: MIT
 *
 * Cancellation: it ends a wait in every call that may switch, stays until the
 * thread ends, is kept off by shields, and races with everything else.
 */
#include "harness.h"

#include <fcntl.h>
#include <sys/socket.h>

/* ---- in every wait -------------------------------------------------------------- */

static struct {
	green_mutex_t mutex, cond_mutex;
	green_cond_t cond;
	green_sem_t sem;
	green_wg_t wg;
	green_chan_t *empty, *full;
	green_pool_t *pool;
	int pipe[2], listener, filled[2];
	green_t sleeper;
} objects;

static int wait_sleep(void)
{
	return green_sleep(GREEN_FOREVER);
}

static int wait_join(void)
{
	return green_join(objects.sleeper, NULL);
}

static int wait_mutex(void)
{
	return green_mutex_lock(&objects.mutex);
}

static int wait_cond(void)
{
	struct green_shield shield;

	green_shield_begin(&shield);
	CHECK_EQ(green_mutex_lock(&objects.cond_mutex), 0);
	green_shield_end(&shield);
	int r = green_cond_wait(&objects.cond, &objects.cond_mutex);
	CHECK_EQ(green_mutex_unlock(&objects.cond_mutex), 0); /* held all the same */
	return r;
}

static int wait_sem(void)
{
	return green_sem_wait(&objects.sem);
}

static int wait_wg(void)
{
	return green_wg_wait(&objects.wg);
}

static int wait_recv(void)
{
	int value;

	return green_chan_recv(objects.empty, &value);
}

static int wait_send(void)
{
	int value = 1;

	return green_chan_send(objects.full, &value);
}

static int wait_select(void)
{
	int in, out = 1;
	struct green_select cases[] = { { .chan = objects.empty, .value = &in },
		                        { .chan = objects.full, .send = true, .value = &out },
		                        { .chan = NULL } };

	return green_select(cases, 3, false);
}

static int wait_read(void)
{
	char byte;

	return (int)green_read(objects.pipe[0], &byte, 1);
}

static int wait_recv_socket(void)
{
	char byte;

	return (int)green_recv(objects.filled[1], &byte, 1, 0);
}

static int wait_write(void)
{
	static const char text[4096];

	/* A short count first, if there was room. */
	int r = (int)green_send(objects.filled[1], text, sizeof(text), 0);
	return r > 0 ? (int)green_send(objects.filled[1], text, sizeof(text), 0) : r;
}

static int wait_accept(void)
{
	return green_accept(objects.listener, NULL, NULL, SOCK_CLOEXEC);
}

static int wait_fd(void)
{
	return green_wait_fd(objects.pipe[0], POLLIN, GREEN_FOREVER);
}

static int wait_poll(void)
{
	struct pollfd fds[2] = { { .fd = objects.pipe[0], .events = POLLIN },
		                 { .fd = objects.listener, .events = POLLIN } };

	return green_poll(fds, 2, -1);
}

static const struct wait {
	const char *name;
	int (*wait)(void);
} waits[] = {
	{ "sleep", wait_sleep },
	{ "join", wait_join },
	{ "mutex", wait_mutex },
	{ "cond", wait_cond },
	{ "sem", wait_sem },
	{ "wait group", wait_wg },
	{ "channel recv", wait_recv },
	{ "channel send", wait_send },
	{ "select", wait_select },
	{ "read", wait_read },
	{ "socket recv", wait_recv_socket },
	{ "socket send", wait_write },
	{ "accept", wait_accept },
	{ "wait_fd", wait_fd },
	{ "poll", wait_poll },
};
#define WAITS (sizeof(waits) / sizeof(*waits))

static void *sleep_for_ever(void *arg)
{
	while (green_sleep(GREEN_FOREVER) == 0)
		;
	return arg;
}

static void objects_make(void)
{
	char text[4096] = { 0 };
	int value = 0;

	memset(&objects, 0, sizeof(objects));
	CHECK_EQ(green_mutex_lock(&objects.mutex), 0);
	green_wg_add(&objects.wg, 1);
	objects.empty = green_chan_new(sizeof(int), 0);
	objects.full = green_chan_new(sizeof(int), 1);
	REQUIRE(objects.empty && objects.full);
	CHECK_EQ(green_chan_send(objects.full, &value), 0);
	REQUIRE_EQ(pipe2(objects.pipe, O_CLOEXEC), 0);
	REQUIRE_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, objects.filled), 0);
	while (send(objects.filled[1], text, sizeof(text), MSG_DONTWAIT) > 0)
		;
	objects.listener = green_listen("127.0.0.1:0", 0);
	REQUIRE_GE(objects.listener, 0);
	objects.sleeper = start_green(sleep_for_ever, NULL);
}

static void objects_free(void)
{
	green_mutex_unlock(&objects.mutex);
	CHECK_EQ(green_cancel(objects.sleeper), 0);
	join_green(objects.sleeper);
	green_chan_free(objects.empty);
	green_chan_free(objects.full);
	for (int i = 0; i < 2; i++) {
		green_close(objects.pipe[i]);
		green_close(objects.filled[i]);
	}
	green_close(objects.listener);
}

static void check_ended(const struct wait *w, int r, int expected)
{
	if (r != expected)
		FAIL("%s returned %d, not %d", w->name, r, expected);
}

static void *cancelled_in(void *arg)
{
	const struct wait *w = arg;

	check_ended(w, w->wait(), -ECANCELED);
	CHECK(green_cancelled());
	/* For good: every later wait ends at once. */
	check_ended(w, w->wait(), -ECANCELED);
	for (size_t i = 0; i < WAITS; i++)
		check_ended(&waits[i], waits[i].wait(), -ECANCELED);
	CHECK_EQ(green_yield(), -ECANCELED);
	return arg;
}

GREEN_TEST(every_wait_can_be_cancelled)
{
	objects_make();
	for (size_t i = 0; i < WAITS; i++)
		for (int migratable = 0; migratable < 2; migratable++) {
			struct green_attr attr = { .migratable = migratable };
			green_t t = start_with(&attr, cancelled_in, (void *)(uintptr_t)&waits[i]);
			await_parked(t);
			CHECK_EQ(green_cancel(t), 0);
			CHECK_EQ(green_cancel(t), 0); /* once more: no harm */
			join_green(t);
		}
	objects_free();
}

/* Cancelled from an OS thread, at a random moment around the beginning of the wait. */
static void *cancel_outside(void *arg)
{
	green_t t = (green_t)(uintptr_t)arg;

	CHECK_EQ(green_cancel(t), 0);
	return NULL;
}

GREEN_TEST(cancelled_at_any_moment)
{
	struct rng rng = rng_seed(11);

	objects_make();
	for (unsigned round = 0; round < scaled(30); round++)
		for (size_t i = 0; i < WAITS; i++) {
			green_t t = start_green(cancelled_in, (void *)(uintptr_t)&waits[i]);
			for (uint64_t n = rng_below(&rng, 4); n > 0; n--)
				green_yield();
			if (rng_below(&rng, 4) == 0)
				join_os(start_os(cancel_outside, (void *)(uintptr_t)t));
			else
				CHECK_EQ(green_cancel(t), 0);
			join_green(t);
		}
	objects_free();
}

static void *expires_in(void *arg)
{
	const struct wait *w = arg;
	struct green_deadline scope;

	green_deadline_begin(&scope, GREEN_MS(2));
	check_ended(w, w->wait(), -ETIMEDOUT);
	check_ended(w, w->wait(), -ETIMEDOUT);
	CHECK(green_deadline_end(&scope));
	CHECK_EQ(green_yield(), 0);
	green_deadline_begin(&scope, 0);
	check_ended(w, w->wait(), -ETIMEDOUT);
	CHECK(green_deadline_end(&scope));
	return NULL;
}

GREEN_TEST(every_wait_obeys_deadlines)
{
	objects_make();
	for (size_t i = 0; i < WAITS; i++) {
		join_green(start_green(expires_in, (void *)(uintptr_t)&waits[i]));
		join_green(start_migratable(expires_in, (void *)(uintptr_t)&waits[i]));
	}
	objects_free();
}

/* An OS thread simply blocks, and obeys deadlines too. */
static void *expires_outside(void *arg)
{
	for (size_t i = 0; i < WAITS; i++)
		if (waits[i].wait == wait_sleep || waits[i].wait == wait_join ||
		    waits[i].wait == wait_mutex || waits[i].wait == wait_cond ||
		    waits[i].wait == wait_sem || waits[i].wait == wait_wg ||
		    waits[i].wait == wait_recv || waits[i].wait == wait_send ||
		    waits[i].wait == wait_select)
			expires_in((void *)(uintptr_t)&waits[i]);
	return arg;
}

GREEN_TEST(deadlines_in_os_threads)
{
	objects_make();
	pthread_t os = start_os(expires_outside, NULL);
	while (pthread_tryjoin_np(os, NULL) == EBUSY)
		green_sleep(GREEN_MS(1));
	objects_free();
}

/* ---- when it shows ------------------------------------------------------------------- */

static void *cancelled_before_it_runs(void *arg)
{
	CHECK(green_cancelled());
	CHECK_EQ(green_sleep(GREEN_FOREVER), -ECANCELED);
	/* What need not wait goes on. */
	green_sem_t sem = GREEN_SEM_INIT(1);
	CHECK_EQ(green_sem_trywait(&sem), 0);
	return arg;
}

static void *one_worker(void *arg)
{
	green_t t = start_green(cancelled_before_it_runs, NULL);

	CHECK_EQ(green_cancel(t), 0);
	join_green(t);
	return arg;
}

TEST(cancelled_before_the_start)
{
	struct green_options one = { .workers = 1 };

	CHECK_EQ(run_green_with(&one, one_worker, NULL, NULL), 0);
}

static void *cancel_myself(void *arg)
{
	CHECK(!green_cancelled());
	CHECK_EQ(green_cancel(green_self()), 0);
	CHECK(green_cancelled());
	CHECK_EQ(green_sleep(1), -ECANCELED);
	CHECK_EQ(green_yield(), -ECANCELED);
	return arg;
}

GREEN_TEST(cancels_itself)
{
	join_green(start_green(cancel_myself, NULL));
	join_green(start_migratable(cancel_myself, NULL));
}

/* Ended, and not yet joined: the handle is valid still. */
static void *end_at_once(void *arg)
{
	return arg;
}

GREEN_TEST(cancel_after_the_end)
{
	green_t t = start_green(end_at_once, (void *)5);
	void *result;

	green_sleep(GREEN_MS(5));
	CHECK_EQ(green_cancel(t), 0);
	CHECK_EQ(green_join(t, &result), 0);
	CHECK(result == (void *)5);
	CHECK_EQ(green_cancel(t), -ESRCH);
}

/* What was handed over before the cancel is kept. */
static void *take_one(void *arg)
{
	int value = 0;
	int r = green_chan_recv(arg, &value);

	CHECK(r == 0 ? value == 7 : r == -ECANCELED);
	WAIT_FOR(green_cancelled());
	CHECK_EQ(green_sleep(1), -ECANCELED);
	return (void *)(intptr_t)(r == 0);
}

GREEN_TEST(delivered_is_delivered)
{
	green_chan_t *chan = green_chan_new(sizeof(int), 0);

	for (unsigned i = 0; i < scaled(2000); i++) {
		green_t t = start_green(take_one, chan);
		int value = 7;
		if (i % 2)
			await_parked(t);
		int sent = green_chan_trysend(chan, &value);
		CHECK_EQ(green_cancel(t), 0);
		CHECK_EQ((intptr_t)join_green(t), sent == 0);
	}
	green_chan_free(chan);
}

/* ---- shields --------------------------------------------------------------------------- */

static struct {
	_Atomic bool shielded, go;
} shield_test;

static void *wait_shielded(void *arg)
{
	struct green_shield outer, inner;
	struct green_deadline scope;

	green_shield_begin(&outer);
	atomic_store(&shield_test.shielded, true);
	for (int i = 0; i < 20 || !atomic_load(&shield_test.go); i++)
		CHECK_EQ(green_sleep(GREEN_US(100)), 0);
	CHECK(!green_cancelled());
	green_shield_begin(&inner);
	CHECK_EQ(green_sleep(GREEN_US(100)), 0);
	green_shield_end(&inner);
	CHECK_EQ(green_yield(), 0);
	/* A scope inside the shield counts. */
	green_deadline_begin(&scope, GREEN_MS(1));
	CHECK_EQ(green_sleep(GREEN_FOREVER), -ETIMEDOUT);
	CHECK(green_deadline_end(&scope));
	CHECK_EQ(green_sleep(1), 0);
	green_shield_end(&outer);
	CHECK(green_cancelled());
	CHECK_EQ(green_sleep(GREEN_FOREVER), -ECANCELED);
	return arg;
}

GREEN_TEST(shield)
{
	green_t t = start_green(wait_shielded, NULL);

	WAIT_FOR(atomic_load(&shield_test.shielded));
	CHECK_EQ(green_cancel(t), 0);
	atomic_store(&shield_test.go, true);
	join_green(t);
}

static void *wait_in_shield(void *arg)
{
	struct green_shield shield;

	green_shield_begin(&shield);
	CHECK_EQ(green_sem_wait(arg), 0);
	green_shield_end(&shield);
	CHECK_EQ(green_sem_wait(arg), -ECANCELED);
	return arg;
}

GREEN_TEST(parked_in_a_shield)
{
	green_sem_t *sem = calloc(1, sizeof(*sem));

	for (unsigned i = 0; i < scaled(500); i++) {
		green_t t = start_green(wait_in_shield, sem);
		if (i % 2)
			await_parked(t);
		CHECK_EQ(green_cancel(t), 0);
		green_yield();
		CHECK_EQ(green_sem_post(sem), 0);
		join_green(t);
	}
	free(sem);
}

GREEN_TEST(shield_hides_outer_deadlines)
{
	struct green_deadline outer, inner;
	struct green_shield shield;

	green_deadline_begin(&outer, GREEN_MS(1));
	green_shield_begin(&shield);
	CHECK_EQ(green_sleep(GREEN_MS(5)), 0);
	green_deadline_begin(&inner, GREEN_S(100));
	CHECK_EQ(green_sleep(GREEN_MS(1)), 0);
	CHECK(!green_deadline_end(&inner));
	CHECK_EQ(green_yield(), 0);
	green_shield_end(&shield);
	CHECK_EQ(green_yield(), -ETIMEDOUT);
	CHECK(green_deadline_end(&outer));
	CHECK_EQ(green_yield(), 0);
	green_shield_end(&shield); /* one too many: nothing */
	CHECK_EQ(green_yield(), 0);
}

/* ---- the end of the run ------------------------------------------------------------------- */

static _Atomic unsigned ended_cancelled;

static void *wait_to_be_cancelled(void *arg)
{
	int r = green_sleep(GREEN_FOREVER);

	CHECK_EQ(r, -ECANCELED);
	/* What a cancelled thread spawns is cancelled too. */
	if (arg)
		CHECK_EQ(green_go(wait_to_be_cancelled, NULL), 0);
	atomic_fetch_add(&ended_cancelled, 1);
	return NULL;
}

static void *leave_some_behind(void *arg)
{
	for (int i = 0; i < 100; i++)
		CHECK_EQ(green_go(wait_to_be_cancelled, (void *)(intptr_t)(i % 2)), 0);
	if (arg)
		green_sleep(GREEN_MS(10));
	return NULL;
}

TEST(run_cancels_what_is_left)
{
	CHECK_EQ(green_run(leave_some_behind, NULL, NULL), 0);
	CHECK_EQ(atomic_load(&ended_cancelled), 150);
	CHECK_EQ(green_run(leave_some_behind, (void *)1, NULL), 0);
	CHECK_EQ(atomic_load(&ended_cancelled), 300);
	CHECK_EQ(green_fini(), 0);
}

/* Spawned by others at the very moment when the first thread returns. */
static void *spawn_sleepers(void *arg)
{
	while (green_yield() == 0)
		if (green_go(wait_to_be_cancelled, NULL) < 0)
			break;
	return arg;
}

static void *return_in_the_middle(void *arg)
{
	for (int i = 0; i < 4; i++)
		CHECK_EQ(green_go(spawn_sleepers, NULL), 0);
	green_sleep((int64_t)(uintptr_t)arg * 1000);
	return NULL;
}

TEST(spawned_while_the_run_ends)
{
	struct green_options four = { .workers = 4 };

	unsetenv("GREEN_WORKERS");
	CHECK_EQ(green_init(&four), 0);
	for (uintptr_t i = 0; i < 100; i++)
		CHECK_EQ(green_run(return_in_the_middle, (void *)i, NULL), 0);
	CHECK_EQ(green_fini(), 0);
}
