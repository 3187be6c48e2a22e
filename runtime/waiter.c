/* SPDX-License-Identifier: MIT
 *
 * The pool of wait records, and what is done to whole lists of them.
 *
 * A worker keeps a short free list that only it touches.  It refills from, and
 * spills to, a global list in batches, so that the global lock is taken once in
 * BATCH calls even when records are taken on one worker and put back on another
 * (a migratable thread).  OS threads that are no workers use the global list.
 */
#include "waiter.h"

#include <errno.h>

#define BATCH 64
_Static_assert(WAITERS_KEPT >= 2 * BATCH, "a spill leaves some");
#define SLAB_SIZE ((size_t)256 << 10)

/* Free records in batches: the records of one are linked through next, and its
 * first one holds its size in index and the next batch in prev. */
static struct {
	struct spin lock; /* innermost: taken with objects' locks held */
	struct green_waiter *batches;
	char *slab, *slab_end; /* memory that has never been used */
} pool;

/* A batch of new records.  Under pool.lock. */
static struct green_waiter *batch_carve(void)
{
	const size_t size = BATCH * sizeof(struct green_waiter);
	long error;
	if ((size_t)(pool.slab_end - pool.slab) < size) {
		char *slab = sys_map(SLAB_SIZE, 0, &error);
		if (!slab)
			return NULL;
		sys_name(slab, SLAB_SIZE, "green-waiters");
		pool.slab = slab;
		pool.slab_end = slab + SLAB_SIZE;
	}
	struct green_waiter *batch = (struct green_waiter *)pool.slab;
	pool.slab += size;
	for (unsigned i = 0; i < BATCH; i++)
		batch[i].next = i + 1 < BATCH ? &batch[i + 1] : NULL;
	batch->index = BATCH;
	return batch;
}

static struct green_waiter *batch_get(void)
{
	spin_lock(&pool.lock);
	struct green_waiter *batch = pool.batches;
	if (batch)
		pool.batches = batch->prev;
	else
		batch = batch_carve();
	spin_unlock(&pool.lock);
	return batch;
}

static void batch_put(struct green_waiter *batch, uint32_t count)
{
	spin_lock(&pool.lock);
	batch->index = count;
	batch->prev = pool.batches;
	pool.batches = batch;
	spin_unlock(&pool.lock);
}

/* One record for an OS thread that is no worker: the first of a batch, whose
 * second then stands for the rest. */
static struct green_waiter *single_get(void)
{
	spin_lock(&pool.lock);
	struct green_waiter *w = pool.batches ? pool.batches : batch_carve();
	if (w) {
		struct green_waiter *rest = w->next;
		struct green_waiter *others = w == pool.batches ? w->prev : pool.batches;
		if (rest) {
			rest->index = w->index - 1;
			rest->prev = others;
		}
		pool.batches = rest ? rest : others;
	}
	spin_unlock(&pool.lock);
	return w;
}

static void single_put(struct green_waiter *w)
{
	spin_lock(&pool.lock);
	struct green_waiter *batch = pool.batches;
	if (batch && batch->index < BATCH) {
		w->next = batch;
		w->prev = batch->prev;
		w->index = batch->index + 1;
	} else {
		w->next = NULL;
		w->prev = batch;
		w->index = 1;
	}
	pool.batches = w;
	spin_unlock(&pool.lock);
}

static struct green_waiter *worker_refill(struct worker *worker)
{
	struct green_waiter *batch = batch_get();
	if (!batch)
		return NULL;
	worker->waiter_free = batch->next;
	worker->waiter_free_count = batch->index - 1;
	return batch;
}

struct green_waiter *waiter_get_slow(struct worker *worker)
{
	return worker ? worker_refill(worker) : single_get();
}

static void worker_spill(struct worker *worker)
{
	struct green_waiter *batch = worker->waiter_free, *last = batch;
	for (unsigned i = 1; i < BATCH; i++)
		last = last->next;
	worker->waiter_free = last->next;
	worker->waiter_free_count -= BATCH;
	last->next = NULL;
	batch_put(batch, BATCH);
}

void waiter_put_slow(struct worker *worker, struct green_waiter *w)
{
	if (!worker) {
		single_put(w);
		return;
	}
	worker_spill(worker);
	waiter_put_on(worker, w);
}

void waiter_flush(struct worker *worker)
{
	while (worker->waiter_free_count > BATCH)
		worker_spill(worker);
	if (worker->waiter_free)
		batch_put(worker->waiter_free, worker->waiter_free_count);
	worker->waiter_free = NULL;
	worker->waiter_free_count = 0;
}

void waiter_forked(void)
{
	pool.batches = NULL;
	pool.slab = pool.slab_end = NULL;
	spin_unlock(&pool.lock);
}

struct green_waiter *wait_list_claim_all(struct green_wait_list *list, enum wake_reason reason,
                                         struct green_waiter *chain)
{
	struct green_waiter *w, **link = &chain;
	while (*link)
		link = &(*link)->next;
	while ((w = wait_list_claim(list, reason))) {
		w->next = NULL;
		*link = w;
		link = &w->next;
	}
	return chain;
}

void waiters_finish(struct green_waiter *chain)
{
	while (chain) {
		/* Once finished, the record belongs to its thread again. */
		struct green_waiter *next = chain->next;
		park_finish(chain->ticket.gt);
		chain = next;
	}
}

void wait_withdraw(struct spin *lock, struct green_wait_list *list, struct green_waiter *w)
{
	spin_lock(lock);
	if (w->listed)
		wait_list_remove(list, w);
	spin_unlock(lock);
}

int wait_in(struct spin *lock, struct green_wait_list *list, struct gt *self, enum park_why why,
            void *object, void *pc)
{
	struct green_waiter *w = NULL;
	int error = self ? park_check(self) : -ENOMEM;
	if (!error && !(w = waiter_get()))
		error = -ENOMEM;
	if (error) {
		spin_unlock(lock);
		return error;
	}
	w->ticket = park_begin(self, why, object, pc);
	wait_list_append(list, w);
	spin_unlock(lock);
	enum wake_reason reason = park_commit(w->ticket, 0, GREEN_FOREVER);
	if (reason != WAKE_PEER)
		wait_withdraw(lock, list, w);
	waiter_put(w);
	return park_error(reason);
}
