/* SPDX-License-Identifier: MIT
 *
 * struct io_op: one operation that an engine has in flight, and the pool they
 * come from.  Records never lie on a green stack: the engine, other workers
 * (green_close) and reports read them.
 *
 * Life: io_op_get -> filled -> fd_begin (fdtab.h) -> engine submit -> park ->
 * engine calls op->complete(op) exactly once, on the final completion, in the
 * scheduler context of the owning worker -> the waiter goes on -> fd_end ->
 * io_op_put.  A record is put back by the green thread that got it, on
 * whichever worker that thread is by then; memory is type-stable.
 */
#ifndef IO_OP_H
#define IO_OP_H

#include "park.h"

#include <poll.h>
#include <sys/socket.h>

struct worker;

enum io_kind {
	IO_POLL, /* readiness: no user pointer in the kernel; both engines */
	/* The rest needs an engine that can: -EOPNOTSUPP otherwise, and the
	 * caller makes the blocking call on the offload pool. */
	IO_READ,
	IO_WRITE,
	IO_READV,
	IO_WRITEV,
	IO_ACCEPT,
	IO_CONNECT,
	IO_OPENAT,
	IO_FSYNC,
};

struct io_op {
	uint8_t kind;
	_Atomic uint8_t in_flight;
	_Atomic uint8_t cancel_wanted; /* by green_close(), cancel or a deadline */
	uint8_t cancel_sent;           /* engine: a cancel has been submitted */
	int32_t fd;
	int32_t res;     /* >= 0 or -errno, valid once complete() was called */
	uint32_t events; /* IO_POLL: wanted; flags of other kinds */
	void (*complete)(struct io_op *op);
	struct park_ticket waiter;
	struct worker *worker; /* whose engine has it */
	void *addr;            /* buffer, iovec, sockaddr, path */
	uint64_t len;
	uint64_t offset; /* of files; socklen_t * for accept; mode for open */
	/* Waiters on one descriptor (fdtab.h), and the free list. */
	struct io_op *fd_next, **fd_prev;
	struct io_op *group_next; /* further operations of the same wait (green_poll) */
	/* Engine's own: epoll registration list and the like. */
	struct io_op *engine_next;
	uint64_t engine_data;
	/* The waiter's to go on with, since the program has closed fd (fd_keep()), under
	 * the lock of fd's entry; -1: none. */
	int32_t kept_fd;
};
_Static_assert(sizeof(struct io_op) <= 128, "an operation is two cache lines");

struct io_op *io_op_get(void); /* NULL: no memory */
void io_op_put(struct io_op *op);

/* In a forked child: the pool begins anew. */
void io_op_forked(void);

/* Gives a worker's free records to the others (a worker that ends). */
void io_op_flush(struct worker *w);

/* complete() for one green thread waiting for one operation: wakes it. */
void io_op_wake(struct io_op *op);

#endif
