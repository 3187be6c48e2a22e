/* SPDX-License-Identifier: MIT
 *
 * How a call of green_io.h waits, the same way for all of them.
 *
 * In a green thread a call is first tried without blocking.  When it cannot go
 * on it waits for readiness (IO_POLL: the kernel holds no pointer of the user
 * while the thread is idle) and is tried again.  What cannot be tried without
 * blocking is handed to the engine or, where that cannot do it either, to the
 * offload pool (io_perform).
 *
 * In an OS thread the plain blocking call is made, and repeated after EINTR.
 * Inside a deadline scope, and for O_NONBLOCK descriptors, the OS thread waits
 * in poll(2) instead, so that results are the same everywhere.
 */
#ifndef IO_WAIT_H
#define IO_WAIT_H

#include "fdtab.h"
#include "gt.h"
#include "io_op.h"
#include "lend.h"

#include <errno.h>
#include <stdbool.h>

/* One public call. */
struct io_call {
	struct gt *self; /* NULL: an OS thread */
	void *pc;        /* address in the user's code that made the call */
	int fd;
	uint32_t generation; /* of the descriptor when the call began */
	bool block;          /* attempts may block: an OS thread without a deadline */
	uint16_t vain;       /* waits that ended without progress after them */
	uint16_t no_reason;  /* operations cancelled for nothing visible */
	bool kept;           /* fd is the call's own duplicate (fd_keep()) */
	bool shielded;       /* its operations end by themselves alone */
	/* In the place of io_ready(), for who emulates a system call: that one waits as
	 * Linux does.  NULL: a public call. */
	long (*wait)(struct io_call *call, short events);
	int64_t deadline_ns; /* of its waits; wait's own */
	struct stack_loan loan;
};

/* What an attempt returns when the call cannot be made without blocking. */
#define IO_CANNOT_TRY (-5000L)
/* What a wait returns that a signal has ended (park.h). */
#define IO_INTERRUPTED (-ERESTART)

/* Begins a call on fd; pc is PARK_PC of the public function.  -EBADF for the
 * runtime's own descriptors, else 0. */
int io_call_begin(struct io_call *call, int fd, void *pc);

/* The memory that the kernel will be shown, before it is: it may lie on a stack
 * that sleeps (lend.h).  0; or -ENOMEM, and nothing of the call is lent.  Else
 * io_call_end() has to follow, when the kernel has seen the last of it. */
int io_lend(struct io_call *call, const void *memory);
int io_lend_iov(struct io_call *call, const struct iovec *iov, size_t count);
int io_lend_msg(struct io_call *call, const struct msghdr *msg);

static inline void io_call_end(struct io_call *call)
{
	stack_loan_end(&call->loan);
	if (unlikely(call->kept))
		fd_private_close(call->fd);
	call->kept = false;
}

/* Waits until one of events is ready.  The ready events, or -EBADF,
 * -ECANCELED, -ETIMEDOUT, -ENOMEM; what call->wait says, if that is set.  May
 * switch. */
long io_ready(struct io_call *call, short events);

/* As io_ready(), but no longer than deadline_ns: -ETIMEDOUT then too. */
long io_ready_until(struct io_call *call, short events, int64_t deadline_ns);

/* Makes one attempt of a call, without blocking unless block is set. */
typedef long io_attempt(void *args, bool block);

/* Attempts until the result is not -EAGAIN or -EINTR, waiting for events in
 * between.  expect_wait: probably in vain at first, so wait first. */
long io_run(struct io_call *call, short events, io_attempt *attempt, void *args, bool expect_wait);

/* An operation record for call, kind and descriptor filled in; NULL: no memory. */
struct io_op *io_op_for(const struct io_call *call, enum io_kind kind);

/* Hands op to the engine or the offload pool, waits for its end, puts it back.
 * Its result or -ECANCELED, -ETIMEDOUT ….  The caller's stack is pinned
 * meanwhile.  Green threads only. */
long io_perform(struct io_call *call, struct io_op *op);

/* The same without asking the engine, in a way that a cancel or deadline does
 * not end (but for IO_CONNECT). */
long io_perform_offloaded(struct io_call *call, struct io_op *op);

/* Submits op and waits: what io_ready() and io_perform() stand on.  0 and
 * op->res; -errno or IO_INTERRUPTED when it was not started or ended without a
 * result.  Afterwards call->fd may be another number (fd_keep()). */
long io_op_run(struct io_call *call, struct io_op *op, int64_t deadline_ns);

/* Why an operation was cancelled: the -errno for the caller or IO_INTERRUPTED, 0: no
 * reason is left, try again. */
int io_cancel_reason(struct io_call *call, int64_t deadline_ns);

/* Starts op for self, who has begun to park with waiter, and lists it with its
 * descriptor.  0 or -errno: not started and not listed. */
int io_op_start(struct io_op *op, struct park_ticket waiter, uint32_t generation);

/* First thing in every complete(): keeps the worker's count. */
void io_op_landed(struct io_op *op);

/* After the end of op: takes it out of the list.  True when the descriptor is
 * being closed: the call must not touch it again. */
bool io_op_ended(struct io_op *op);

/* io_uring also reports a peer that has shut down (POLLRDHUP) to a wait that
 * did not ask for it, at once and again at once.  A wait for POLLOUT then has
 * to go through a small epoll instance, which knows no such habit. */
bool io_poll_in_vain(const struct io_op *op);

/* Makes the next waits of op, an IO_POLL, go that way.  0 or -errno. */
int io_poll_exactly(struct io_op *op);

/* Undoes it, if it was done. */
void io_poll_as_usual(struct io_op *op);

/* After many vain wake-ups in a row: readiness says nothing here (a datagram
 * socket whose peer is full, say), so give it a growing rest.  0 or -errno. */
int io_backoff(struct io_call *call);

/* A call has gone on without waiting: lets others run when that has been so
 * for long. */
void io_went_on(const struct io_call *call);

bool io_is_nonblocking(int fd);

/* green_poll() of a green thread until deadline_ns, without a first look being
 * made.  As poll(2), -errno or IO_INTERRUPTED. */
struct pollfd;
int io_poll_until(struct io_call *call, struct pollfd *fds, unsigned long count,
                  int64_t deadline_ns);

/* poll(2) of an OS thread until deadline_ns, EINTR apart. */
long io_os_poll(struct pollfd *fds, unsigned long count, int64_t deadline_ns);

/* The innermost deadline of an OS thread. */
int64_t io_os_deadline(void);

#endif
