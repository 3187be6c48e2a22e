/* SPDX-License-Identifier: MIT
 *
 * The io_uring engine: submission, completion, cancellation and doorbell.
 *
 * No operation is ever lost for want of a submission entry, of memory or of
 * room in the completion ring: what the kernel does not take stays in the
 * submission ring or waits in a list (struct uring) that each poll() tries to
 * empty, in order.
 *
 * States of an operation (op_list.h) and what leads on:
 *
 *   WAITING --its completion----------------------------> complete()
 *      | cancel: a request is sent; the operation completes when both its own
 *      | completion and the request's answer are there, in either order, so
 *      | that no request is left that could hit the record's next life:
 *      |--answer "nothing found": between two arms of an internal poll; the
 *      |  request is made again after RETRY_NS
 *      '--its completion first--> LANDED --answer-------> complete()
 *   BACKLOG --cancel--> DONE --next poll()--------------> complete()
 *
 * The doorbell is a futex that the ring waits for (Linux 6.7), a count of how often
 * it was rung: nothing that a program could close.  Before that it is an eventfd whose
 * readiness the ring polls, multishot: every write is one completion, and nobody has to
 * read it.
 */
#include "engine_uring.h"

#include "arch/cpu.h"
#include "arch/sys.h"
#include "engine.h"
#include "fatal.h"
#include "worker.h"

#include <assert.h>
#include <errno.h>

#define POLL_BATCH 256           /* completions per poll() */
#define RETRY_NS 1000000         /* pause before the kernel is asked again */
#define RW_MAX 0x7ffff000u       /* what one read or write transfers at most */
#define POLL_EVENTS_MASK 0xffffu /* poll(2) knows no others */

/* What a completed poll says of these is true.  Of others it repeats what the
 * file's wake-up hinted at: sockets say POLLPRI whenever data comes. */
#define POLL_EVENTS_SURE \
	(POLLIN | POLLOUT | POLLRDNORM | POLLWRNORM | POLLRDHUP | POLLERR | POLLHUP)

/* op.cancel_sent */
enum {
	CANCEL_NONE,
	CANCEL_QUEUED,   /* in u->cancels */
	CANCEL_SENT,     /* its entry is in the submission ring, or with the kernel */
	CANCEL_MISSED,   /* in u->missed */
	CANCEL_ANSWERED, /* the kernel has marked the operation */
};

/* ---- entering the kernel ---------------------------------------------------- */

static inline unsigned kernel_flags(const struct uring *u)
{
	return IO_URING_READ_ONCE(*u->ring.sq.kflags);
}

/* Deferred or overflown completions, which only an enter brings into the ring. */
static inline bool work_is_deferred(const struct uring *u)
{
	return kernel_flags(u) & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW);
}

/* An entry to fill, or NULL: the ring is full and the kernel takes nothing now. */
static struct io_uring_sqe *get_entry(struct uring *u)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&u->ring);

	if (likely(sqe != NULL))
		return sqe;
	if (uring_enter(u, io_uring_sq_ready(&u->ring), 0, 0) <= 0)
		return NULL;
	return io_uring_get_sqe(&u->ring);
}

static bool is_passing(int r)
{
	return r == -EBUSY || r == -EAGAIN || r == -ENOMEM;
}

/* Submits and waits.  0, or -errno of what cannot be gone on from. */
static int enter_and_wait(struct uring *u, int64_t wait_ns)
{
	unsigned ready = io_uring_sq_ready(&u->ring);
	int r = uring_enter(u, ready, IORING_ENTER_GETEVENTS, wait_ns);

	/* The kernel takes nothing while completions have overflown (EBUSY) or
	 * memory is short, and does not look at the rest of the call then.  Let it
	 * bring in completions, and sleep, but not for long, since what it has not
	 * taken cannot complete; then offer the entries again. */
	if (unlikely(ready && is_passing(r))) {
		r = uring_enter(u, 0, IORING_ENTER_GETEVENTS,
		                wait_ns < 0 || wait_ns > RETRY_NS ? RETRY_NS : wait_ns);
		if (r >= 0 || r == -ETIME)
			r = uring_enter(u, ready, IORING_ENTER_GETEVENTS, 0);
	}
	if (r >= 0 || r == -ETIME || r == -EINTR || is_passing(r))
		return 0;
	/* The number has become another file's. */
	return r == -EOPNOTSUPP || r == -EINVAL ? -EBADF : r;
}

/* ---- submission ------------------------------------------------------------- */

static bool kind_is_known(unsigned kind)
{
	return kind <= IO_FSYNC;
}

static unsigned rw_length(uint64_t len)
{
	return len > RW_MAX ? RW_MAX : (unsigned)len;
}

/* The events to ask the kernel for.  A wake-up that hints at POLLPRI does not
 * count there unless it hints at something else asked for, too: what comes with
 * it from sockets, and is never ready by itself, is POLLRDBAND. */
static unsigned poll_mask(const struct io_op *op)
{
	unsigned events = op->events & POLL_EVENTS_MASK;

	return events & POLLPRI ? events | POLLRDBAND : events;
}

static void fill_transfer(struct io_uring_sqe *sqe, const struct io_op *op, int opcode,
                          unsigned len)
{
	io_uring_prep_rw(opcode, sqe, op->fd, op->addr, len, op->offset);
	sqe->rw_flags = (int)op->events;
}

static void fill_entry(struct io_uring_sqe *sqe, const struct io_op *op)
{
	switch ((enum io_kind)op->kind) {
	case IO_POLL:
		io_uring_prep_poll_add(sqe, op->fd, poll_mask(op));
		break;
	case IO_READ:
		fill_transfer(sqe, op, IORING_OP_READ, rw_length(op->len));
		break;
	case IO_WRITE:
		fill_transfer(sqe, op, IORING_OP_WRITE, rw_length(op->len));
		break;
	case IO_READV:
		fill_transfer(sqe, op, IORING_OP_READV, (unsigned)op->len);
		break;
	case IO_WRITEV:
		fill_transfer(sqe, op, IORING_OP_WRITEV, (unsigned)op->len);
		break;
	case IO_ACCEPT:
		io_uring_prep_accept(sqe, op->fd, op->addr, (socklen_t *)(uintptr_t)op->offset,
		                     (int)op->events);
		break;
	case IO_CONNECT:
		io_uring_prep_connect(sqe, op->fd, op->addr, (socklen_t)op->len);
		break;
	case IO_OPENAT:
		io_uring_prep_openat(sqe, op->fd, op->addr, (int)op->events, (mode_t)op->offset);
		break;
	case IO_FSYNC:
		io_uring_prep_fsync(sqe, op->fd, op->events);
		break;
	}
	sqe->user_data = (uintptr_t)op | URING_TAG_OP;
}

static bool send_op(struct uring *u, struct io_op *op)
{
	struct io_uring_sqe *sqe = get_entry(u);

	if (unlikely(!sqe))
		return false;
	fill_entry(sqe, op);
	op_set_state(op, OP_WAITING);
	return true;
}

static bool send_cancel(struct uring *u, struct io_op *op)
{
	struct io_uring_sqe *sqe = get_entry(u);

	if (unlikely(!sqe))
		return false;
	io_uring_prep_rw(IORING_OP_ASYNC_CANCEL, sqe, -1, NULL, 0, 0);
	sqe->addr = (uintptr_t)op | URING_TAG_OP;
	sqe->user_data = (uintptr_t)op | URING_TAG_CANCEL;
	op->cancel_sent = CANCEL_SENT;
	return true;
}

static void arm_bell(struct uring *u)
{
	struct io_uring_sqe *sqe = get_entry(u);

	if (unlikely(!sqe))
		return;
	if (u->bell_futex)
		uring_prep_futex_wait(sqe, (const uint32_t *)&u->bell_rings, u->bell_seen);
	else if (u->bell_multishot)
		io_uring_prep_poll_multishot(sqe, u->bell, POLLIN);
	else
		io_uring_prep_poll_add(sqe, u->bell, POLLIN);
	sqe->user_data = URING_TAG_BELL;
	u->bell_armed = true;
}

static void retry_missed(struct uring *u)
{
	if (sys.now() < u->retry_at_ns)
		return;
	struct io_op *op;
	while ((op = op_list_take(&u->missed))) {
		op->cancel_sent = CANCEL_QUEUED;
		op_list_add(&u->cancels, op);
	}
}

/* Gives the kernel what could not be given before; true when nothing is left. */
static bool hand_over(struct uring *u)
{
	if (unlikely(!u->bell_armed))
		arm_bell(u);
	if (unlikely(u->missed.head != NULL))
		retry_missed(u);
	while (unlikely(u->cancels.head != NULL) && send_cancel(u, u->cancels.head))
		op_list_take(&u->cancels);
	while (unlikely(u->backlog.head != NULL) && send_op(u, u->backlog.head))
		op_list_take(&u->backlog);
	return u->bell_armed && !u->missed.head && !u->cancels.head && !u->backlog.head;
}

/* Sends op, or puts it behind those that wait already: order is kept. */
static void send_or_queue(struct uring *u, struct io_op *op)
{
	if (unlikely(u->backlog.head != NULL) || unlikely(!send_op(u, op))) {
		op_set_state(op, OP_BACKLOG);
		op_list_add(&u->backlog, op);
	}
}

static int engine_submit(struct worker *w, struct io_op *op)
{
	if (!kind_is_known(op->kind))
		return -EOPNOTSUPP;
	assert(op_state(op) == OP_IDLE);
	op->cancel_sent = CANCEL_NONE;
	send_or_queue(w->engine, op);
	return 0;
}

static void engine_cancel(struct worker *w, struct io_op *op)
{
	struct uring *u = w->engine;

	switch (op_state(op)) {
	case OP_BACKLOG:
		op_list_remove(&u->backlog, op);
		op_list_done(&u->done, op, -ECANCELED);
		break;
	case OP_WAITING:
		if (op->cancel_sent == CANCEL_NONE && !send_cancel(u, op)) {
			op->cancel_sent = CANCEL_QUEUED;
			op_list_add(&u->cancels, op);
		}
		break;
	case OP_IDLE:
	case OP_LANDED:
	case OP_DONE:
		break;
	}
}

/* ---- completion ------------------------------------------------------------- */

/* What is ready by now: 0 when it was only a hint. */
static int32_t events_now(const struct io_op *op)
{
	struct pollfd pfd = { .fd = op->fd, .events = (short)op->events };
	const struct timespec at_once = { 0, 0 };
	long r = sys5(SYS_ppoll, &pfd, 1, &at_once, NULL, 0);

	if (r < 0)
		return r == -EINTR ? 0 : (int32_t)r;
	return pfd.revents & POLLNVAL ? -EBADF : (uint16_t)pfd.revents;
}

/* Its own completion has come.  Operations completed: 0 or 1. */
static int landed(struct uring *u, struct io_op *op, int32_t res)
{
	assert(op_state(op) == OP_WAITING);
	if (unlikely(op->kind == IO_POLL && res > 0 && op->events & ~POLL_EVENTS_SURE)) {
		res = events_now(op);
		if (!res && op->cancel_sent == CANCEL_NONE) {
			send_or_queue(u, op);
			return 0;
		}
		if (!res)
			res = -ECANCELED;
	}
	/* The kernel's own threads report an interrupted call so. */
	if (res == -EINTR && op->cancel_sent != CANCEL_NONE)
		res = -ECANCELED;
	switch (op->cancel_sent) {
	case CANCEL_SENT:
		op->res = res;
		op_set_state(op, OP_LANDED);
		return 0;
	case CANCEL_QUEUED:
		op_list_remove(&u->cancels, op);
		break;
	case CANCEL_MISSED:
		op_list_remove(&u->missed, op);
		break;
	default:
		break;
	}
	op_complete(op, res);
	return 1;
}

static int cancel_answered(struct uring *u, struct io_op *op, int32_t res)
{
	assert(op->cancel_sent == CANCEL_SENT);
	if (op_state(op) == OP_LANDED) {
		op_complete(op, op->res);
		return 1;
	}
	/* EALREADY: it is running, and marked so that it will not wait again. */
	if (res >= 0 || res == -EALREADY) {
		op->cancel_sent = CANCEL_ANSWERED;
		return 0;
	}
	op->cancel_sent = CANCEL_MISSED;
	if (!u->missed.head)
		u->retry_at_ns = sys.now() + RETRY_NS;
	op_list_add(&u->missed, op);
	return 0;
}

static void bell_rang(struct uring *u, int32_t res, uint32_t flags)
{
	uint64_t count;

	if (flags & IORING_CQE_F_MORE)
		return;
	/* Armed again by the next poll(), which finds a ring in between. */
	u->bell_armed = false;
	if (u->bell_futex)
		/* Acquire pairs with the release of ring_futex(). */
		u->bell_seen = atomic_load_explicit(&u->bell_rings, memory_order_acquire);
	else if (res == -EBADF || sys3(SYS_read, u->bell, &count, sizeof(count)) == -EBADF)
		u->error = -EBADF;
}

static int reap(struct uring *u)
{
	struct io_uring_cq *cq = &u->ring.cq;
	unsigned head = *cq->khead;
	/* Acquire pairs with the kernel's release after it has written entries. */
	unsigned count = io_uring_smp_load_acquire(cq->ktail) - head;
	int seen = 0;

	if (count > POLL_BATCH)
		count = POLL_BATCH;
	for (unsigned i = 0; i < count; i++) {
		const struct io_uring_cqe *cqe = &cq->cqes[(head + i) & u->cq_mask];
		uint64_t data = cqe->user_data;
		struct io_op *op = (struct io_op *)(uintptr_t)(data & ~(uint64_t)URING_TAG_MASK);

		switch (data & URING_TAG_MASK) {
		case URING_TAG_OP:
			seen += landed(u, op, cqe->res);
			break;
		case URING_TAG_CANCEL:
			seen += cancel_answered(u, op, cqe->res);
			break;
		case URING_TAG_BELL:
			bell_rang(u, cqe->res, cqe->flags);
			break;
		}
	}
	io_uring_cq_advance(&u->ring, count);
	return seen;
}

static int engine_poll(struct worker *w, int64_t wait_ns)
{
	struct uring *u = w->engine;
	int seen = op_list_deliver(&u->done, POLL_BATCH);
	bool all = hand_over(u);

	if (seen || io_uring_cq_ready(&u->ring))
		wait_ns = 0;
	else if (unlikely(!all) && (wait_ns < 0 || wait_ns > RETRY_NS))
		wait_ns = RETRY_NS;
	if (wait_ns || io_uring_sq_ready(&u->ring) || work_is_deferred(u)) {
		int r = enter_and_wait(u, wait_ns);

		if (unlikely(r < 0))
			return r;
	}
	seen += reap(u);
	return likely(!u->error) ? seen : u->error;
}

static bool engine_busy(struct worker *w)
{
	const struct uring *u = w->engine;

	return io_uring_cq_ready(&u->ring) || io_uring_sq_ready(&u->ring) || work_is_deferred(u) ||
	       u->done.head || u->backlog.head || u->cancels.head || !u->bell_armed;
}

static void ring_futex(struct uring *u)
{
	atomic_fetch_add_explicit(&u->bell_rings, 1, memory_order_release);
	sys_futex_wake((const uint32_t *)&u->bell_rings, 1);
}

static void engine_doorbell(struct worker *w)
{
	struct uring *u = w->engine;
	const uint64_t one = 1;
	long r;

	if (likely(u->bell_futex)) {
		ring_futex(u);
		return;
	}
	do
		r = sys3(SYS_write, u->bell, &one, sizeof(one));
	while (r == -EINTR);
	/* EAGAIN: it has been rung so often that it need not be again. */
	if (unlikely(r == -EBADF || r == -EINVAL))
		fatal_lost_fd(w);
}

/* ---- life ------------------------------------------------------------------- */

static int engine_start(struct worker *w)
{
	long error = -ENOMEM;
	struct uring *u = sys_map(sizeof(*u), 0, &error);

	if (!u)
		return (int)error;
	int r = uring_open(u);
	if (r < 0) {
		sys_unmap(u, sizeof(*u));
		return r;
	}
	w->engine = u;
	return 0;
}

static void engine_stop(struct worker *w)
{
	struct uring *u = w->engine;

	w->engine = NULL;
	uring_close(u);
	sys_unmap(u, sizeof(*u));
}

const struct engine_ops engine_uring = {
	.name = "io_uring",
	.probe = uring_probe,
	.start = engine_start,
	.stop = engine_stop,
	.submit = engine_submit,
	.cancel = engine_cancel,
	.poll = engine_poll,
	.busy = engine_busy,
	.doorbell = engine_doorbell,
};
