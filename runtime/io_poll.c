/* SPDX-License-Identifier: MIT
 *
 * green_poll() and green_wait_fd(): waiting for descriptors, and nothing else.
 *
 * A wait for several descriptors is one operation for each and one park.  The
 * first that completes has the others cancelled, in the scheduler context of
 * the worker they belong to; the last completion wakes the thread, so that
 * nothing is in flight any more when it goes on.
 *
 * The operations are linked by group_next behind a record that is never
 * submitted, the head.  It is what the thread waits for, and keeps the count.
 */
#include "io_wait.h"
#include "worker.h"

#include <errno.h>
#include <poll.h>

#define GROUP_SMALL 4

/* ---- a group of operations ------------------------------------------------------- */

/* In each operation: its head.  In the head: how many are in flight, and
 * whether they have been cancelled.  Only the worker that has them looks. */
#define GROUP_HEAD(op) ((op)->addr)
#define GROUP_PENDING(head) ((head)->len)
#define GROUP_ENDING(head) ((head)->offset)

static void group_cancel(struct io_op *head)
{
	GROUP_ENDING(head) = 1;
	for (struct io_op *op = head->group_next; op; op = op->group_next)
		if (atomic_load_explicit(&op->in_flight, memory_order_relaxed))
			rt.engine->cancel(op->worker, op);
}

/* Engines say so of a file that has no readiness, asked for anything but
 * reading and writing. */
static bool cannot_poll(const struct io_op *op)
{
	return op->res == -EINVAL || op->res == -EPERM;
}

static void group_completed(struct io_op *op)
{
	struct io_op *head = GROUP_HEAD(op);

	io_op_landed(op);
	if (!GROUP_ENDING(head) && !cannot_poll(op))
		group_cancel(head);
	if (--GROUP_PENDING(head) == 0)
		io_op_wake(head);
}

static void group_put(struct io_op *head)
{
	while (head) {
		struct io_op *next = head->group_next;
		if (GROUP_HEAD(head))
			io_poll_as_usual(head);
		if (unlikely(head->kept_fd >= 0))
			fd_private_close(head->kept_fd);
		io_op_put(head);
		head = next;
	}
}

/* A head with an operation for each descriptor; NULL: no memory. */
static struct io_op *group_new(struct io_call *call, const struct pollfd *fds, nfds_t nfds)
{
	struct io_op *head = io_op_for(call, IO_POLL), *last = head;

	for (nfds_t i = 0; head && i < nfds; i++) {
		if (fds[i].fd < 0)
			continue;
		struct io_op *op = io_op_for(call, IO_POLL);
		if (!op) {
			group_put(head);
			return NULL;
		}
		op->fd = fds[i].fd;
		fd_polled(op->fd);
		op->events = (uint16_t)fds[i].events;
		op->complete = group_completed;
		GROUP_HEAD(op) = head;
		if (last == head)
			head->fd = op->fd; /* for reports */
		last->group_next = op;
		last = op;
	}
	return head;
}

/* Starts them all.  0, or -errno of the one that could not be started: those
 * before it are in flight.  Those that are not have no worker. */
static int group_start(struct io_op *head, struct park_ticket ticket)
{
	int r = 0;

	head->waiter = ticket;
	GROUP_PENDING(head) = 0;
	GROUP_ENDING(head) = 0;
	for (struct io_op *op = head->group_next; op; op = op->group_next) {
		op->worker = NULL;
		if (r == 0) {
			r = io_op_start(op, ticket, fd_generation(op->fd));
			if (r == 0)
				GROUP_PENDING(head)++;
			else
				op->worker = NULL;
		}
	}
	return r;
}

/* Takes the operations out of their descriptors' lists; true when one of those
 * is being closed. */
static bool group_end(struct io_op *head)
{
	bool closing = false;

	for (struct io_op *op = head->group_next; op; op = op->group_next)
		if (op->worker && io_op_ended(op))
			closing = true;
	return closing;
}

/* Nothing but the time, or a cancel, can end this.  0 or -errno. */
static int wait_for_time(struct io_call *call, int64_t deadline_ns)
{
	struct park_ticket ticket = park_begin(call->self, PARK_SLEEP, NULL, call->pc);
	enum wake_reason reason = park_commit(ticket, 0, deadline_ns);

	return reason == WAKE_NOMEM ? -ENOMEM : park_check(call->self);
}

/* Did an operation say that something is ready?  *none: none of them could
 * even be polled. */
static bool group_ready(struct io_op *head, bool *none)
{
	bool ready = false;

	*none = true;
	for (struct io_op *op = head->group_next; op; op = op->group_next) {
		if (cannot_poll(op))
			continue;
		*none = false;
		if (op->res == -ECANCELED)
			continue;
		ready = true;
		if (unlikely(io_poll_in_vain(op)))
			io_poll_exactly(op);
	}
	return ready;
}

/* What the operations have said is ready, in fds, whose revents are all 0: how many.  0:
 * it has to be looked at. */
static int group_results(const struct io_op *head, struct pollfd *fds, nfds_t nfds)
{
	const struct io_op *op = head->group_next;
	int count = 0;

	/* Of many, more may be ready by now than the one that ended the wait. */
	if (nfds > GROUP_SMALL)
		return 0;
	for (nfds_t i = 0; i < nfds && op; i++) {
		if (fds[i].fd < 0)
			continue;
		if (op->fd != fds[i].fd || op->kept_fd >= 0)
			return 0;
		short ready = fds[i].events | POLLERR | POLLHUP;
		fds[i].revents = op->res > 0 ? (short)op->res & ready : 0;
		count += fds[i].revents != 0;
		op = op->group_next;
	}
	return count;
}

/* Waits once: 0 when something may be ready or the time is over, or -errno. */
static int group_wait(struct io_call *call, struct io_op *head, int64_t deadline_ns)
{
	struct park_ticket ticket = park_begin(call->self, PARK_IO, head, call->pc);
	bool none;

	int r = group_start(head, ticket);
	if (GROUP_PENDING(head) > 0) {
		if (r < 0)
			group_cancel(head);
		park_commit(ticket, PARK_OP, deadline_ns);
	} else if (!park_abort(ticket)) {
		park_commit(ticket, PARK_SHIELDED, GREEN_FOREVER);
	}
	if (group_end(head))
		return -ECANCELED;
	if (r < 0)
		return r;
	if (group_ready(head, &none))
		return 0;
	return none ? wait_for_time(call, deadline_ns) : io_cancel_reason(call, deadline_ns);
}

/* ---- poll ----------------------------------------------------------------------------- */

static int poll_now(struct pollfd *fds, nfds_t nfds)
{
	long r;

	do
		r = sys3(SYS_poll, fds, nfds, 0);
	while (r == -EINTR);
	if (r < 0)
		return (int)r;
	for (nfds_t i = 0; i < nfds; i++)
		if (unlikely(fd_is_private(fds[i].fd))) { /* the runtime's own: nobody's */
			r += fds[i].revents == 0;
			fds[i].revents = POLLNVAL;
		} else if (fds[i].revents & POLLIN) {
			fd_polled(fds[i].fd);
		}
	return (int)r;
}

static int64_t deadline_after(int64_t timeout_ns)
{
	if (timeout_ns == GREEN_FOREVER)
		return GREEN_FOREVER;
	int64_t now = sys.now();
	return timeout_ns < GREEN_FOREVER - now ? now + timeout_ns : GREEN_FOREVER;
}

/* The rounds of a wait: look, wait, look again. */
static int poll_rounds(struct io_call *call, struct io_op *head, struct pollfd *fds, nfds_t nfds,
                       int64_t deadline_ns)
{
	for (;;) {
		if (sys.now() >= deadline_ns)
			return 0;
		int r = park_check(call->self);
		if (r < 0)
			return r;
		r = group_wait(call, head, deadline_ns);
		/* The caller's own limit, or a deadline scope's? */
		if (r == -ETIMEDOUT)
			r = park_check(call->self);
		if (r < 0)
			return r;
		r = group_results(head, fds, nfds);
		if (r == 0)
			r = poll_now(fds, nfds);
		if (r != 0)
			return r;
	}
}

int io_poll_until(struct io_call *call, struct pollfd *fds, nfds_t nfds, int64_t deadline_ns)
{
	struct io_op *head = group_new(call, fds, nfds);

	if (!head)
		return -ENOMEM;
	int r = poll_rounds(call, head, fds, nfds, deadline_ns);
	group_put(head);
	return r;
}

static int poll_green(struct io_call *call, struct pollfd *fds, nfds_t nfds, int64_t deadline_ns)
{
	int r = poll_now(fds, nfds);

	return r != 0 ? r : io_poll_until(call, fds, nfds, deadline_ns);
}

static int poll_in_os_thread(struct pollfd *fds, nfds_t nfds, int64_t deadline_ns)
{
	int64_t scope = io_os_deadline();

	int r = poll_now(fds, nfds);
	if (r != 0)
		return r;
	r = (int)io_os_poll(fds, nfds, scope < deadline_ns ? scope : deadline_ns);
	return r == 0 && scope < deadline_ns ? -ETIMEDOUT : r;
}

int green_poll(struct pollfd *fds, nfds_t nfds, int timeout_ms)
{
	struct io_call call;

	io_call_begin(&call, -1, PARK_PC);
	int r = io_lend(&call, fds);
	if (r < 0)
		return r;
	int64_t deadline_ns = timeout_ms < 0 ? GREEN_FOREVER : deadline_after(GREEN_MS(timeout_ms));
	if (timeout_ms == 0)
		r = poll_now(fds, nfds);
	else if (call.self)
		r = poll_green(&call, fds, nfds, deadline_ns);
	else
		r = poll_in_os_thread(fds, nfds, deadline_ns);
	io_call_end(&call);
	return r;
}

/* Engines may tell more than was asked for. */
static int wait_in_engine(struct io_call *call, short events, int64_t deadline_ns)
{
	long ready;

	do {
		ready = io_ready_until(call, events, deadline_ns);
		if (ready > 0)
			ready &= events | POLLERR | POLLHUP;
	} while (ready == 0);
	return (int)ready;
}

static int found(const struct pollfd *fd)
{
	return fd->revents & POLLNVAL ? -EBADF : fd->revents;
}

int green_wait_fd(int fd, short events, int64_t timeout_ns)
{
	struct pollfd pfd = { .fd = fd, .events = events };
	struct io_call call;

	int r = io_call_begin(&call, fd, PARK_PC);
	if (r < 0)
		return r;
	if (fd < 0)
		return -EBADF;
	/* Who waits for readiness expects to wait: the engine looks at it anyway,
	 * without a system call of its own. */
	if (call.self && timeout_ns > 0) {
		if (events & POLLIN)
			fd_polled(fd);
		r = wait_in_engine(&call, events, deadline_after(timeout_ns));
		/* Where it was too late to wait, nobody has looked. */
		bool late = r == -ETIMEDOUT || (r == -ECANCELED && park_check(call.self) < 0);
		return late && poll_now(&pfd, 1) > 0 ? found(&pfd) : r;
	}
	r = poll_now(&pfd, 1);
	if (r < 0)
		return r;
	if (r > 0)
		return found(&pfd);
	if (timeout_ns <= 0)
		return -ETIMEDOUT;
	return (int)io_ready_until(&call, events, deadline_after(timeout_ns));
}
