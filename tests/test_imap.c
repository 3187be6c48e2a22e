/* SPDX-License-Identifier: MIT
 *
 * green_imap: results in order, a bounded look-ahead, errors of the source in
 * their place, and nothing lost by giving up.
 */
#include "sync.h"

static struct {
	int next, count, fail_at, error;
	_Atomic int started, done, ahead_most, taken;
	green_sem_t gate;
	green_sem_t source_gate;
	_Atomic bool gated, source_gated;
} stream;

static int count_up(void *arg, void **item)
{
	CHECK(arg == &stream);
	if (stream.source_gated) {
		int error = green_sem_wait(&stream.source_gate);
		if (error)
			return error;
	}
	if (stream.fail_at && stream.next == stream.fail_at)
		return stream.error;
	if (stream.next == stream.count)
		return 0;
	*item = (void *)(intptr_t)++stream.next;
	int ahead = stream.next - stream.taken;
	if (ahead > stream.ahead_most)
		stream.ahead_most = ahead;
	return 1;
}

static void *square(void *arg)
{
	intptr_t n = (intptr_t)arg;
	atomic_fetch_add(&stream.started, 1);
	if (stream.gated)
		CHECK_EQ(green_sem_wait(&stream.gate), 0);
	for (int i = (int)(n * 7 % 5); i--;)
		green_yield(); /* they end in another order than they began */
	atomic_fetch_add(&stream.done, 1);
	return (void *)(n * n);
}

static green_pool_t *pool;

static green_imap_t *begin(size_t size, int count)
{
	memset(&stream, 0, sizeof(stream));
	stream.count = count;
	pool = green_pool_new(size);
	green_imap_t *imap = green_pool_imap(pool, square, count_up, &stream);
	CHECK(pool && imap);
	CHECK_EQ(stream.next, 0); /* nothing is fetched before it is asked for */
	return imap;
}

static void end(green_imap_t *imap)
{
	green_imap_delete(imap);
	CHECK_EQ(green_pool_waitall(pool), 0);
	CHECK_EQ(stream.started, stream.done);
	green_pool_delete(pool);
}

static void take(green_imap_t *imap, intptr_t n)
{
	void *result = NULL;
	CHECK_EQ(green_imap_next(imap, &result), 1);
	CHECK_EQ((intptr_t)result, n * n);
	stream.taken++;
}

static void *in_order(void *arg)
{
	static const size_t sizes[] = { 1, 2, 3, 10, 500 };
	for (int k = 0; k < 5; k++) {
		green_imap_t *imap = begin(sizes[k], 200);
		for (int i = 1; i <= 200; i++)
			take(imap, i);
		CHECK_EQ(green_imap_next(imap, NULL), 0);
		CHECK_EQ(green_imap_next(imap, NULL), 0);
		CHECK(stream.ahead_most <= (int)sizes[k]);
		end(imap);
	}
	errno = 0;
	CHECK(!green_pool_imap(NULL, square, count_up, NULL));
	CHECK_EQ(errno, EINVAL);
	green_imap_delete(NULL);
	return arg;
}
GREEN(in_order)

static void *errors(void *arg)
{
	green_imap_t *imap = begin(4, 100);
	stream.fail_at = 10;
	stream.error = -EIO;
	for (int i = 1; i <= 10; i++)
		take(imap, i); /* what came before the error is not lost */
	CHECK_EQ(green_imap_next(imap, NULL), -EIO);
	CHECK_EQ(green_imap_next(imap, NULL), -EIO);
	end(imap);

	/* A source that gives up by itself is at its end. */
	imap = begin(4, 100);
	stream.fail_at = 3;
	stream.error = -ETIMEDOUT;
	for (int i = 1; i <= 3; i++)
		take(imap, i);
	CHECK_EQ(green_imap_next(imap, NULL), -ETIMEDOUT);
	end(imap);
	return arg;
}
GREEN(errors)

/* ---- giving up --------------------------------------------------------------- */

static void *next_in_time(void *imap)
{
	struct green_deadline scope;
	void *result = &scope;
	green_deadline_begin(&scope, GREEN_MS(5));
	CHECK_EQ(green_imap_next(imap, &result), -ETIMEDOUT);
	CHECK(green_deadline_end(&scope));
	CHECK(result == (void *)&scope);
	return NULL;
}

static void *next_cancelled(void *imap)
{
	CHECK_EQ(green_imap_next(imap, NULL), -ECANCELED);
	return NULL;
}

static void *loses_nothing(void *arg)
{
	green_imap_t *imap = begin(3, 20);
	stream.gated = true;
	next_in_time(imap); /* while the function runs */
	struct thread t = thread_start(false, next_cancelled, imap);
	green_sleep(GREEN_MS(2));
	CHECK_EQ(green_cancel(t.green), 0);
	thread_join(&t);
	WAIT_FOR(stream.started == 3);
	stream.gated = false;
	for (int i = 0; i < 3; i++)
		green_sem_post(&stream.gate);
	for (int i = 1; i <= 5; i++)
		take(imap, i);

	WAIT_FOR(stream.done == stream.started);
	stream.source_gated = true;
	/* As many items may be fetched for one result as there are places. */
	for (int i = 0; i < 3; i++)
		green_sem_post(&stream.source_gate);
	for (int i = 6; stream.taken < stream.next; i++) {
		green_sem_post(&stream.source_gate);
		take(imap, i);
		if (i == 12)
			break;
	}
	while (!green_sem_trywait(&stream.source_gate))
		;
	int taken = stream.taken;
	/* Drain what is there; then the source itself gives up. */
	next_in_time(imap);
	for (int i = 0; i < 30; i++)
		green_sem_post(&stream.source_gate);
	for (int i = taken + 1; i <= 20; i++)
		take(imap, i);
	CHECK_EQ(green_imap_next(imap, NULL), 0);
	end(imap);
	return arg;
}
GREEN(loses_nothing)

/* Others keep the pool full: an item that finds no place is kept. */
static void *hold(void *arg)
{
	CHECK_EQ(green_sem_wait(&stream.gate), 0);
	return arg;
}

static void *full_pool(void *arg)
{
	green_imap_t *imap = begin(2, 10);
	CHECK_EQ(green_pool_spawn(pool, hold, NULL), 0);
	CHECK_EQ(green_pool_spawn(pool, hold, NULL), 0);
	next_in_time(imap);
	CHECK_EQ(stream.next, 1);
	green_sem_post(&stream.gate);
	for (int i = 1; i <= 10; i++)
		take(imap, i); /* on the one place there is */
	CHECK_EQ(green_imap_next(imap, NULL), 0);
	green_sem_post(&stream.gate);
	end(imap);
	return arg;
}
GREEN(full_pool)

/* The one who asks is the only member. */
static void *ask(void *imap)
{
	for (int i = 1; i <= 30; i++)
		take(imap, i);
	CHECK_EQ(green_imap_next(imap, NULL), 0);
	return NULL;
}

static void *asked_by_a_member(void *arg)
{
	for (size_t size = 1; size < 4; size++) {
		green_imap_t *imap = begin(size, 30);
		CHECK_EQ(green_pool_spawn(pool, ask, imap), 0);
		CHECK_EQ(green_pool_waitall(pool), 0);
		CHECK_EQ(stream.taken, 30);
		end(imap);
	}
	return arg;
}
GREEN(asked_by_a_member)

static _Atomic long sum;

static void *ask_many(void *imap)
{
	void *result;
	while (green_imap_next(imap, &result) == 1)
		atomic_fetch_add(&sum, (long)(intptr_t)result);
	return NULL;
}

static void *asked_by_many(void *arg)
{
	struct thread threads[6];
	green_imap_t *imap = begin(5, 400);
	atomic_store(&sum, 0);
	for (int i = 0; i < 6; i++)
		threads[i] = thread_start(i == 2, ask_many, imap);
	for (int i = 0; i < 6; i++)
		thread_join(&threads[i]);
	CHECK_EQ(sum, 400l * 401 * 801 / 6);
	end(imap);
	return arg;
}
GREEN(asked_by_many)

static void *deleted_early(void *arg)
{
	green_imap_t *imap = begin(5, 1000);
	for (int i = 1; i <= 7; i++)
		take(imap, i);
	end(imap); /* waits for those that run */
	CHECK(stream.next <= 7 + 5);
	return arg;
}
GREEN(deleted_early)
