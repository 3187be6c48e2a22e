/* SPDX-License-Identifier: MIT
 *
 * struct op_list: a FIFO of operations that an engine keeps aside, linked both
 * ways through the engine's own fields of struct io_op, and the states an
 * engine keeps an operation in.  An operation is in at most one list, and only
 * the worker that owns the engine looks at it.
 */
#ifndef OP_LIST_H
#define OP_LIST_H

#include "io_op.h"

#include <stdbool.h>
#include <stddef.h>

/* op.in_flight.  Atomic only because reports may read it: every order is relaxed. */
enum op_state {
	OP_IDLE,    /* not the engine's */
	OP_WAITING, /* the kernel has it */
	OP_BACKLOG, /* io_uring: not yet handed over */
	OP_LANDED,  /* io_uring: over, but its cancel request has not been answered */
	OP_DONE,    /* op.res is there, complete() not yet called */
};

static inline enum op_state op_state(const struct io_op *op)
{
	return atomic_load_explicit(&op->in_flight, memory_order_relaxed);
}

static inline void op_set_state(struct io_op *op, enum op_state state)
{
	atomic_store_explicit(&op->in_flight, (uint8_t)state, memory_order_relaxed);
}

/* Calls complete(): from here on op belongs to its waiter. */
static inline void op_complete(struct io_op *op, int32_t res)
{
	op->res = res;
	op_set_state(op, OP_IDLE);
	op->complete(op);
}

struct op_list {
	struct io_op *head, *tail;
};

static inline struct io_op *op_list_prev_(const struct io_op *op)
{
	return (struct io_op *)(uintptr_t)op->engine_data;
}

static inline void op_list_add(struct op_list *list, struct io_op *op)
{
	op->engine_next = NULL;
	op->engine_data = (uintptr_t)list->tail;
	if (list->tail)
		list->tail->engine_next = op;
	else
		list->head = op;
	list->tail = op;
}

static inline void op_list_remove(struct op_list *list, struct io_op *op)
{
	struct io_op *prev = op_list_prev_(op);

	if (prev)
		prev->engine_next = op->engine_next;
	else
		list->head = op->engine_next;
	if (op->engine_next)
		op->engine_next->engine_data = op->engine_data;
	else
		list->tail = prev;
}

/* The oldest, taken out; NULL: empty. */
static inline struct io_op *op_list_take(struct op_list *list)
{
	struct io_op *op = list->head;

	if (op)
		op_list_remove(list, op);
	return op;
}

/* Ends op with res at the next op_list_deliver(): for results known where
 * complete() must not be called yet. */
static inline void op_list_done(struct op_list *done, struct io_op *op, int32_t res)
{
	op->res = res;
	op_set_state(op, OP_DONE);
	op_list_add(done, op);
}

/* Completes up to max operations of the list; their number. */
static inline int op_list_deliver(struct op_list *done, int max)
{
	int count = 0;

	while (count < max && done->head) {
		struct io_op *op = op_list_take(done);

		op_complete(op, op->res);
		count++;
	}
	return count;
}

#endif
