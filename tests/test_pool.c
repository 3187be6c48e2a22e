/* SPDX-License-Identifier: MIT
 *
 * green_pool: never more members than places, places are given up whatever
 * happens, those who wait for one get it in turn.
 */
#include "sync.h"

static struct {
	green_pool_t *pool;
	_Atomic int inside, most, done;
	green_sem_t gate; /* members wait here */
} work;

static void work_reset(size_t size)
{
	memset(&work, 0, sizeof(work));
	work.pool = green_pool_new(size);
	CHECK(work.pool);
}

static void *member(void *arg)
{
	int now = atomic_fetch_add(&work.inside, 1) + 1;
	int most = atomic_load(&work.most);
	while (now > most && !atomic_compare_exchange_weak(&work.most, &most, now))
		;
	for (int i = 0; i < (int)(intptr_t)arg; i++)
		green_yield();
	atomic_fetch_sub(&work.inside, 1);
	atomic_fetch_add(&work.done, 1);
	return NULL;
}

static void *gated(void *arg)
{
	green_sem_wait(&work.gate);
	atomic_fetch_add(&work.done, 1);
	return arg;
}

static void *arguments(void *arg)
{
	errno = 0;
	CHECK(!green_pool_new(0));
	CHECK_EQ(errno, EINVAL);
	work_reset(3);
	CHECK_EQ(green_pool_size(work.pool), 3);
	CHECK_EQ(green_pool_free(work.pool), 3);
	CHECK_EQ(green_pool_resize(work.pool, 0), -EINVAL);
	CHECK_EQ(green_pool_spawn(work.pool, NULL, NULL), -EINVAL);
	CHECK_EQ(green_pool_resize(work.pool, 5), 0);
	CHECK_EQ(green_pool_size(work.pool), 5);
	CHECK_EQ(green_pool_waitall(work.pool), 0);
	if (!green_self()) {
		CHECK(green_pool_spawn(work.pool, member, NULL) < 0); /* outside green_run() */
		CHECK_EQ(green_pool_running(work.pool), 0);
	}
	green_pool_delete(work.pool);
	green_pool_delete(NULL);
	return arg;
}
BOTH(arguments)

static void *bound(void *arg)
{
	work_reset(4);
	for (int i = 0; i < 500; i++) {
		CHECK_EQ(green_pool_spawn(work.pool, member, (void *)(intptr_t)(i % 4)), 0);
		CHECK(green_pool_running(work.pool) <= 4);
	}
	CHECK_EQ(green_pool_waitall(work.pool), 0);
	CHECK_EQ(work.done, 500);
	CHECK(work.most <= 4);
	CHECK_EQ(green_pool_running(work.pool), 0);
	CHECK_EQ(green_pool_free(work.pool), 4);
	green_pool_delete(work.pool);
	return arg;
}
GREEN(bound)

static void *spawn_more(void *arg)
{
	for (int i = 0; i < 50; i++)
		CHECK_EQ(green_pool_spawn(work.pool, member, (void *)(intptr_t)2), 0);
	return arg;
}

static void *many_spawners(void *arg)
{
	struct thread threads[8];
	work_reset(3);
	for (int i = 0; i < 8; i++)
		threads[i] = thread_start(i == 4, spawn_more, NULL); /* one OS thread */
	for (int i = 0; i < 8; i++)
		thread_join(&threads[i]);
	CHECK_EQ(green_pool_waitall(work.pool), 0);
	CHECK_EQ(work.done, 400);
	CHECK(work.most <= 3);
	CHECK_EQ(green_pool_waiting(work.pool), 0);
	green_pool_delete(work.pool);
	return arg;
}
GREEN(many_spawners)

static void *spawn_gated(void *arg)
{
	*(int *)arg = green_pool_spawn(work.pool, gated, NULL);
	return NULL;
}

static void *resize(void *arg)
{
	struct thread threads[6];
	int results[6];
	work_reset(2);
	for (int i = 0; i < 2; i++)
		CHECK_EQ(green_pool_spawn(work.pool, gated, NULL), 0);
	for (unsigned i = 0; i < 6; i++) {
		threads[i] = thread_start(false, spawn_gated, &results[i]);
		WAIT_FOR(green_pool_waiting(work.pool) == i + 1);
	}
	CHECK_EQ(green_pool_free(work.pool), 0);
	CHECK_EQ(green_pool_resize(work.pool, 5), 0); /* lets three in */
	WAIT_FOR(green_pool_running(work.pool) == 5);
	CHECK_EQ(green_pool_waiting(work.pool), 3);
	CHECK_EQ(green_pool_resize(work.pool, 1), 0);
	CHECK_EQ(green_pool_free(work.pool), -4);
	for (int i = 0; i < 4; i++)
		green_sem_post(&work.gate);
	WAIT_FOR(green_pool_running(work.pool) == 1);
	CHECK_EQ(green_pool_waiting(work.pool), 3);
	for (int i = 0; i < 4; i++)
		green_sem_post(&work.gate);
	for (int i = 0; i < 6; i++) {
		thread_join(&threads[i]);
		CHECK_EQ(results[i], 0);
	}
	CHECK_EQ(green_pool_waitall(work.pool), 0);
	CHECK_EQ(work.done, 8);
	green_pool_delete(work.pool);
	return arg;
}
GREEN(resize)

static void *giving_up(void *arg)
{
	struct thread threads[4];
	int results[4];
	struct green_deadline scope;
	work_reset(1);
	CHECK_EQ(green_pool_spawn(work.pool, gated, NULL), 0);
	for (unsigned i = 0; i < 4; i++) {
		threads[i] = thread_start(false, spawn_gated, &results[i]);
		WAIT_FOR(green_pool_waiting(work.pool) == i + 1);
	}
	CHECK_EQ(green_cancel(threads[0].green), 0);
	CHECK_EQ(green_cancel(threads[2].green), 0);
	for (int i = 0; i < 3; i++)
		green_sem_post(&work.gate);
	for (int i = 0; i < 4; i++) {
		thread_join(&threads[i]);
		CHECK_EQ(results[i], i % 2 ? 0 : -ECANCELED);
	}
	CHECK_EQ(green_pool_waitall(work.pool), 0);
	CHECK_EQ(work.done, 3);
	CHECK_EQ(green_pool_waiting(work.pool), 0);

	CHECK_EQ(green_pool_spawn(work.pool, gated, NULL), 0);
	green_deadline_begin(&scope, GREEN_MS(5));
	CHECK_EQ(green_pool_spawn(work.pool, gated, NULL), -ETIMEDOUT);
	CHECK_EQ(green_pool_waitall(work.pool), -ETIMEDOUT);
	CHECK(green_deadline_end(&scope));
	CHECK_EQ(green_pool_waiting(work.pool), 0);
	green_sem_post(&work.gate);
	green_pool_delete(work.pool); /* waits */
	CHECK_EQ(work.done, 4);
	return arg;
}
GREEN(giving_up)

/* ---- members --------------------------------------------------------------- */

static green_t ran_in;

static void *note_thread(void *arg)
{
	ran_in = green_self();
	return arg;
}

static void *nested(void *arg)
{
	CHECK_EQ(green_pool_waitall(work.pool), -EDEADLK);
	CHECK_EQ(green_pool_spawn(work.pool, note_thread, NULL), 0);
	CHECK(ran_in == green_self()); /* in the caller: the pool is full */
	atomic_fetch_add(&work.done, 1);
	return arg;
}

static void *member_runs_it_itself(void *arg)
{
	work_reset(1);
	CHECK_EQ(green_pool_spawn(work.pool, nested, NULL), 0);
	CHECK_EQ(green_pool_waitall(work.pool), 0);
	CHECK_EQ(work.done, 1);
	/* With room there is a thread of its own. */
	CHECK_EQ(green_pool_resize(work.pool, 2), 0);
	CHECK_EQ(green_pool_spawn(work.pool, note_thread, NULL), 0);
	CHECK_EQ(green_pool_waitall(work.pool), 0);
	CHECK(ran_in != green_self());
	green_pool_delete(work.pool);
	return arg;
}
GREEN(member_runs_it_itself)

static void *tree(void *arg)
{
	intptr_t depth = (intptr_t)arg;
	atomic_fetch_add(&work.done, 1);
	for (int i = 0; depth && i < 3; i++)
		CHECK_EQ(green_pool_spawn(work.pool, tree, (void *)(depth - 1)), 0);
	return NULL;
}

static void *recursion(void *arg)
{
	work_reset(3);
	CHECK_EQ(green_pool_spawn(work.pool, tree, (void *)6), 0);
	CHECK_EQ(green_pool_waitall(work.pool), 0);
	CHECK_EQ(work.done, (3 * 3 * 3 * 3 * 3 * 3 * 3 - 1) / 2);
	green_pool_delete(work.pool);
	return arg;
}
GREEN(recursion)

static void *cancel_itself(void *arg)
{
	green_cancel(green_self());
	CHECK_EQ(green_sem_wait(&work.gate), -ECANCELED);
	return arg;
}

static void *cancelled_members_give_up_their_places(void *arg)
{
	work_reset(2);
	for (int i = 0; i < 20; i++)
		CHECK_EQ(green_pool_spawn(work.pool, cancel_itself, NULL), 0);
	CHECK_EQ(green_pool_waitall(work.pool), 0);
	CHECK_EQ(green_pool_free(work.pool), 2);
	green_pool_delete(work.pool);
	return arg;
}
GREEN(cancelled_members_give_up_their_places)

static void *delete_own(void *arg)
{
	green_pool_delete(work.pool);
	green_yield();
	atomic_fetch_add(&work.done, 1);
	return arg;
}

static void *deleted_by_a_member(void *arg)
{
	work_reset(2);
	CHECK_EQ(green_pool_spawn(work.pool, delete_own, NULL), 0);
	WAIT_FOR(atomic_load(&work.done) == 1);
	return arg;
}
GREEN(deleted_by_a_member)
