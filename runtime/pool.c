/* SPDX-License-Identifier: MIT
 *
 * green_pool: at most so many green threads at once.
 *
 * A place is taken by the caller of spawn and given up by the member when its
 * function has returned, or has overflowed its stack: a member has no other end.  A
 * place given up goes straight to the first who waits for one, so while there
 * are free places nobody waits.
 */
#include "behalf.h"
#include "pool.h"
#include "overflow.h"
#include "runtime.h"

#include "trace.h"
#include "waiter.h"
#include "worker.h"

#include <errno.h>
#include <stdlib.h>

struct member {              /* a place in use */
	struct member *next; /* in the list of spare ones */
	green_pool_t *pool;
	green_fn fn;
	void *arg;
};

struct green_pool {
	struct spin lock;
	bool orphaned; /* deleted by a member: the last one frees it */
	/* Written with the lock held; relaxed, because those who read them without
	 * it get a number that may be out of date anyway. */
	_Atomic size_t size, running, waiting;
	struct green_wait_list spawners; /* wait for a place */
	struct green_wait_list watchers; /* wait for running == 0 */
	struct member *spare;
};

static inline size_t count_get(const _Atomic size_t *count)
{
	return atomic_load_explicit(count, memory_order_relaxed);
}

static inline void count_add(_Atomic size_t *count, size_t n)
{
	atomic_store_explicit(count, count_get(count) + n, memory_order_relaxed);
}

static bool is_member(const green_pool_t *pool, const struct gt *self)
{
	return self && self->ext && self->ext->pool == pool;
}

green_pool_t *green_pool_new(size_t size)
{
	if (!size || size > PTRDIFF_MAX) {
		errno = EINVAL;
		return NULL;
	}
	green_pool_t *pool = calloc(1, sizeof(*pool));
	if (pool)
		atomic_init(&pool->size, size);
	return pool;
}

static void pool_free(green_pool_t *pool)
{
	struct member *m;
	while ((m = pool->spare)) {
		pool->spare = m->next;
		free(m);
	}
	free(pool);
}

/* Gives a place that is in use to the first who waits for one, if there are
 * that many places.  The lock is held. */
static struct green_waiter *place_hand_over(green_pool_t *pool)
{
	struct green_waiter *w = NULL;
	if (count_get(&pool->running) <= count_get(&pool->size))
		w = wait_list_claim(&pool->spawners, WAKE_PEER);
	if (w)
		count_add(&pool->waiting, (size_t)-1);
	return w;
}

/* Gives up a place, and m with it unless NULL. */
static void place_end(green_pool_t *pool, struct member *m)
{
	struct green_waiter *chain = NULL;
	bool orphan = false;
	spin_lock(&pool->lock);
	if (m) {
		m->next = pool->spare;
		pool->spare = m;
	}
	struct green_waiter *heir = place_hand_over(pool);
	if (!heir) {
		count_add(&pool->running, (size_t)-1);
		if (!count_get(&pool->running)) {
			chain = wait_list_claim_all(&pool->watchers, WAKE_PEER, NULL);
			orphan = pool->orphaned;
		}
	}
	spin_unlock(&pool->lock);
	if (heir)
		park_finish(heir->ticket.gt);
	waiters_finish(chain);
	if (orphan)
		pool_free(pool);
}

void *pool_member(void *arg)
{
	struct member *m = arg;
	m->fn(m->arg);
	if (unlikely(runtime_forked())) /* the pool is the parent's */
		return NULL;
	place_end(m->pool, m);
	return NULL;
}

void *pool_member_owes(void *arg)
{
	struct member *m = arg;
	overflow_pay(m->fn, m->arg);
	place_end(m->pool, m);
	return NULL;
}

/* The caller has a place; m: a spare record or NULL. */
static int member_start(green_pool_t *pool, struct member *m, green_fn fn, void *arg,
                        green_fn user_fn, void *pc)
{
	if (!m)
		m = malloc(sizeof(*m));
	if (!m) {
		place_end(pool, NULL);
		return -ENOMEM;
	}
	*m = (struct member){ NULL, pool, fn, arg };
	struct spawn spawn = {
		.fn = pool_member,
		.arg = m,
		.pc = pc,
		.worker = -1,
		.detached = true,
		.pool = pool,
		.user_fn = user_fn,
	};
	int error = sched_spawn(&spawn, NULL);
	if (error)
		place_end(pool, m);
	return error;
}

int pool_start(green_pool_t *pool, green_fn fn, void *arg, green_fn user_fn, bool wait, void *pc)
{
	struct gt *self = park_self();
	spin_lock(&pool->lock);
	if (count_get(&pool->running) < count_get(&pool->size)) {
		count_add(&pool->running, 1);
		struct member *m = pool->spare;
		if (m)
			pool->spare = m->next;
		spin_unlock(&pool->lock);
		return member_start(pool, m, fn, arg, user_fn, pc);
	}
	if (is_member(pool, self)) {
		spin_unlock(&pool->lock);
		fn(arg);
		return 0;
	}
	if (!wait) {
		spin_unlock(&pool->lock);
		return -EAGAIN;
	}
	count_add(&pool->waiting, 1); /* until place_hand_over() */
	int error = wait_in(&pool->lock, &pool->spawners, self, PARK_POOL, pool, pc);
	if (!error)
		return member_start(pool, NULL, fn, arg, user_fn, pc);
	spin_lock(&pool->lock);
	count_add(&pool->waiting, (size_t)-1);
	spin_unlock(&pool->lock);
	return error;
}

int green_pool_spawn(green_pool_t *pool, green_fn fn, void *arg)
{
	trace_enter(PARK_PC, PARK_POOL, (uintptr_t)pool);
	return fn ? pool_start(pool, fn, arg, fn, true, PARK_PC) : -EINVAL;
}

static int pool_wait(green_pool_t *pool, void *pc)
{
	struct gt *self = park_self();
	if (is_member(pool, self))
		return -EDEADLK;
	spin_lock(&pool->lock);
	if (count_get(&pool->running))
		return wait_in(&pool->lock, &pool->watchers, self, PARK_POOL, pool, pc);
	spin_unlock(&pool->lock);
	return 0;
}

int green_pool_waitall(green_pool_t *pool)
{
	trace_enter(PARK_PC, PARK_POOL, (uintptr_t)pool);
	return pool_wait(pool, PARK_PC);
}

void green_pool_delete(green_pool_t *pool)
{
	struct green_shield shield;
	if (!pool)
		return;
	trace_enter(PARK_PC, PARK_POOL, (uintptr_t)pool);
	if (is_member(pool, park_self())) {
		spin_lock(&pool->lock);
		pool->orphaned = true; /* the caller still runs in it */
		spin_unlock(&pool->lock);
		return;
	}
	green_shield_begin(&shield);
	while (pool_wait(pool, PARK_PC) == -ENOMEM)
		thread_yield(PARK_PC);
	green_shield_end(&shield);
	pool_free(pool);
}

int green_pool_resize(green_pool_t *pool, size_t size)
{
	struct green_waiter *w, *chain = NULL, **link = &chain;
	if (!size || size > PTRDIFF_MAX)
		return -EINVAL;
	spin_lock(&pool->lock);
	atomic_store_explicit(&pool->size, size, memory_order_relaxed);
	while (count_get(&pool->running) < size) {
		w = place_hand_over(pool);
		if (!w)
			break;
		count_add(&pool->running, 1);
		w->next = NULL;
		*link = w;
		link = &w->next;
	}
	spin_unlock(&pool->lock);
	waiters_finish(chain);
	return 0;
}

size_t green_pool_size(const green_pool_t *pool)
{
	return count_get(&pool->size);
}

size_t green_pool_running(const green_pool_t *pool)
{
	return count_get(&pool->running);
}

ptrdiff_t green_pool_free(const green_pool_t *pool)
{
	return (ptrdiff_t)(count_get(&pool->size) - count_get(&pool->running));
}

size_t green_pool_waiting(const green_pool_t *pool)
{
	return count_get(&pool->waiting);
}
