/* SPDX-License-Identifier: MIT
 *
 * green_imap: a function applied to a stream of items, results in order.
 *
 * There is no thread of its own: whoever asks for the next result also fetches
 * items and starts them in the pool, one asker at a time (the turn).  Nothing
 * is lost when an asker is cancelled: an item that was fetched and could not
 * be started is kept as the pending one, a result that was not taken stays the
 * first of the queue.
 *
 * A result that is there already is not held up by a slow source: the asker
 * then fetches only the one item that takes its place.
 */
#include "behalf.h"
#include "mutex.h"
#include "overflow.h"
#include "pool.h"
#include "runtime.h"
#include "trace.h"
#include "waiter.h"

#include <errno.h>
#include <stdlib.h>

struct item {
	struct item *next;
	green_imap_t *imap;
	void *value; /* the item, then its result */
	bool done;   /* under the lock */
};

struct green_imap {
	green_pool_t *pool;
	green_fn fn;
	green_imap_source source;
	void *arg;

	/* Whose turn it is; all of the next group is the holder's. */
	green_mutex_t turn;
	struct item *first, *last; /* started and not taken, oldest first */
	size_t count;              /* of them */
	struct item *pending;      /* fetched, not started */
	struct item *spare;
	bool ended;
	int end; /* 0, or -errno of the source */

	struct spin lock;
	struct item *awaited; /* whose completion the waiter waits for */
	struct green_wait_list waiters;
};

green_imap_t *green_pool_imap(green_pool_t *pool, green_fn fn, green_imap_source next, void *arg)
{
	if (!pool || !fn || !next) {
		errno = EINVAL;
		return NULL;
	}
	green_imap_t *imap = calloc(1, sizeof(*imap));
	if (!imap)
		return NULL;
	imap->pool = pool;
	imap->fn = fn;
	imap->source = next;
	imap->arg = arg;
	return imap;
}

static void item_done(struct item *item, void *result)
{
	green_imap_t *imap = item->imap;
	struct green_waiter *w = NULL;
	item->value = result;
	spin_lock(&imap->lock);
	item->done = true;
	if (imap->awaited == item)
		w = wait_list_claim(&imap->waiters, WAKE_PEER);
	spin_unlock(&imap->lock);
	if (w)
		park_finish(w->ticket.gt);
}

/* One item, in a member of the pool. */
void *imap_item(void *arg)
{
	struct item *item = arg;
	void *result = item->imap->fn(item->value);
	if (likely(!runtime_forked()))
		item_done(item, result);
	return NULL;
}

void *imap_item_owes(void *arg)
{
	item_done(arg, NULL);
	return NULL;
}

/* Sees to it that an item is pending: 1, 0 at the end, -ENOMEM, or what keeps
 * the caller from waiting. */
static int item_fetch(green_imap_t *imap)
{
	if (imap->pending)
		return 1;
	if (imap->ended)
		return 0;
	struct item *item = imap->spare;
	if (item)
		imap->spare = item->next;
	else if (!(item = malloc(sizeof(*item))))
		return -ENOMEM;
	*item = (struct item){ .imap = imap };
	int result = imap->source(imap->arg, &item->value);
	if (result > 0) {
		imap->pending = item;
		return 1;
	}
	item->next = imap->spare;
	imap->spare = item;
	/* The caller was cancelled, or its time has passed, in a call that the
	 * source made: that is not the end of the source.  (Both may be so, and
	 * then the source need not have seen the same as park_check().) */
	struct gt *self = park_self();
	if ((result == -ECANCELED || result == -ETIMEDOUT) && self && park_check(self))
		return result;
	imap->ended = true;
	imap->end = result;
	return 0;
}

static int item_start(green_imap_t *imap, void *pc)
{
	struct item *item = imap->pending;
	/* Waits for a place only if there is nothing else to wait for. */
	int error = pool_start(imap->pool, imap_item, item, imap->fn, !imap->first, pc);
	if (error)
		return error;
	imap->pending = NULL;
	if (imap->last)
		imap->last->next = item;
	else
		imap->first = item;
	imap->last = item;
	imap->count++;
	return 0;
}

static bool first_done(green_imap_t *imap)
{
	spin_lock(&imap->lock);
	bool done = imap->first && imap->first->done;
	spin_unlock(&imap->lock);
	return done;
}

/* Starts items as far as the pool's size allows. */
static int imap_fill(green_imap_t *imap, void *pc)
{
	bool started = false;
	while (imap->count < green_pool_size(imap->pool) && !(started && first_done(imap))) {
		int result = item_fetch(imap);
		if (result > 0)
			result = item_start(imap, pc);
		else if (!result)
			return 0;
		if (result)
			return result;
		started = true;
	}
	return 0;
}

static int first_wait(green_imap_t *imap, void *pc)
{
	spin_lock(&imap->lock);
	if (!imap->first->done) {
		imap->awaited = imap->first;
		return wait_in(&imap->lock, &imap->waiters, park_self(), PARK_POOL, imap, pc);
	}
	spin_unlock(&imap->lock);
	return 0;
}

static void *first_take(green_imap_t *imap)
{
	struct item *item = imap->first;
	imap->first = item->next;
	if (!imap->first)
		imap->last = NULL;
	imap->count--;
	item->next = imap->spare;
	imap->spare = item;
	return item->value;
}

static int imap_next(green_imap_t *imap, void **result, void *pc)
{
	int error = imap_fill(imap, pc);
	if (!imap->first)
		return error ? error : imap->end;
	/* No place or memory for another one: go on with those there are. */
	if (error == -ECANCELED || error == -ETIMEDOUT)
		return error;
	error = first_wait(imap, pc);
	if (error)
		return error;
	void *value = first_take(imap);
	if (result)
		*result = value;
	return 1;
}

int green_imap_next(green_imap_t *imap, void **result)
{
	trace_enter(PARK_PC, PARK_POOL, (uintptr_t)imap);
	int status = mutex_lock(&imap->turn, PARK_PC);
	if (status)
		return status;
	status = imap_next(imap, result, PARK_PC);
	green_mutex_unlock(&imap->turn);
	return status;
}

static void items_free(struct item *item)
{
	while (item) {
		struct item *next = item->next;
		free(item);
		item = next;
	}
}

void green_imap_delete(green_imap_t *imap)
{
	struct green_shield shield;
	if (!imap)
		return;
	trace_enter(PARK_PC, PARK_POOL, (uintptr_t)imap);
	green_shield_begin(&shield);
	while (imap->first) {
		while (first_wait(imap, PARK_PC))
			thread_yield(PARK_PC); /* no memory to wait */
		first_take(imap);
	}
	green_shield_end(&shield);
	items_free(imap->spare);
	items_free(imap->pending);
	free(imap);
}
