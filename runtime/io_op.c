/* SPDX-License-Identifier: MIT
 *
 * The pool of struct io_op: a free list per worker, and one for everybody.
 *
 * A worker takes from and gives to its own list without a lock; it trades
 * POOL_BATCH records at a time with the common list.  OS threads that are no
 * workers use the common list.  Slabs are never given back (type-stable), so
 * memory in use is the highest number of operations there ever were at once.
 */
#include "io_op.h"

#include "arch/sys.h"
#include "spin.h"
#include "worker.h"

#include <stddef.h>
#include <string.h>

#define POOL_BATCH 64u
#define POOL_SLAB ((size_t)64 << 10)

/* Two lines, so that neighbours in use on two workers do not share one. */
union pool_slot {
	cache_aligned struct io_op op;
	char room[128];
};
_Static_assert(sizeof(union pool_slot) == 128, "a slot is two cache lines");

static struct {
	struct spin lock;
	struct io_op *free;
} common;

/* Moves up to count records; what is linked through is fd_next. */
static unsigned move(struct io_op **to, struct io_op **from, unsigned count)
{
	unsigned moved = 0;

	for (; moved < count && *from; moved++) {
		struct io_op *op = *from;

		*from = op->fd_next;
		op->fd_next = *to;
		*to = op;
	}
	return moved;
}

/* Adds a slab to *list: the number of records, 0 when memory is short. */
static unsigned add_slab(struct io_op **list)
{
	unsigned count = POOL_SLAB / sizeof(union pool_slot);
	long error;
	union pool_slot *slab = sys_map(POOL_SLAB, 0, &error);

	if (!slab)
		return 0;
	sys_name(slab, POOL_SLAB, "green: operations");
	for (unsigned i = count; i-- > 0;) {
		slab[i].op.fd_next = *list;
		*list = &slab[i].op;
	}
	return count;
}

static unsigned take_common(struct io_op **list, unsigned count)
{
	spin_lock(&common.lock);
	unsigned moved = move(list, &common.free, count);
	spin_unlock(&common.lock);
	return moved;
}

static void give_common(struct io_op **list, unsigned count)
{
	spin_lock(&common.lock);
	move(&common.free, list, count);
	spin_unlock(&common.lock);
}

void io_op_forked(void)
{
	common.free = NULL;
	spin_unlock(&common.lock);
}

static struct io_op *get_foreign(void)
{
	struct io_op *list = NULL;

	if (!take_common(&list, 1)) {
		if (!add_slab(&list))
			return NULL;
		struct io_op *op = list;
		list = op->fd_next;
		give_common(&list, UINT32_MAX);
		return op;
	}
	return list;
}

/* Keeps the POOL_BATCH records put last, whose lines are warm; the others go to
 * everybody. */
static void trim(struct worker *w)
{
	struct io_op *last = w->op_free;

	for (unsigned i = 1; i < POOL_BATCH; i++)
		last = last->fd_next;
	struct io_op *surplus = last->fd_next;
	last->fd_next = NULL;
	w->op_free_count = POOL_BATCH;
	give_common(&surplus, UINT32_MAX);
}

static struct io_op *get_own(struct worker *w)
{
	struct io_op *list = w->op_free;

	if (!list) {
		w->op_free_count = take_common(&list, POOL_BATCH);
		if (!list) {
			w->op_free_count = add_slab(&list);
			if (!list)
				return NULL;
			w->op_free = list;
			trim(w);
		}
	}
	w->op_free = list->fd_next;
	w->op_free_count--;
	return list;
}

struct io_op *io_op_get(void)
{
	struct worker *w = worker_self();
	struct io_op *op = w ? get_own(w) : get_foreign();

	if (!op)
		return NULL;
	/* Not memset(): reports may look at the atomic fields meanwhile. */
	atomic_store_explicit(&op->in_flight, 0, memory_order_relaxed);
	atomic_store_explicit(&op->cancel_wanted, 0, memory_order_relaxed);
	op->kind = IO_POLL;
	op->cancel_sent = 0;
	op->fd = -1;
	op->res = 0;
	op->events = 0;
	op->complete = io_op_wake;
	op->waiter = (struct park_ticket){ 0 };
	op->worker = NULL;
	op->addr = NULL;
	op->len = 0;
	op->offset = 0;
	op->fd_next = NULL;
	op->fd_prev = NULL;
	op->group_next = NULL;
	op->engine_next = NULL;
	op->engine_data = 0;
	op->kept_fd = -1;
	return op;
}

void io_op_put(struct io_op *op)
{
	struct worker *w = worker_self();

	if (!w) {
		op->fd_next = NULL;
		give_common(&op, 1);
		return;
	}
	op->fd_next = w->op_free;
	w->op_free = op;
	if (++w->op_free_count > 2 * POOL_BATCH)
		trim(w);
}

void io_op_flush(struct worker *w)
{
	struct io_op *list = w->op_free;

	give_common(&list, UINT32_MAX);
	w->op_free = NULL;
	w->op_free_count = 0;
}

void io_op_wake(struct io_op *op)
{
	/* Once the waiter is finished with, op may be somebody else's. */
	struct park_ticket waiter = op->waiter;

	park_wake(waiter, WAKE_PEER);
}
