/* SPDX-License-Identifier: MIT
 *
 * green_socket(), green_accept() and green_connect().
 *
 * O_NONBLOCK is never set on a descriptor of the program: other processes may
 * share it.  A blocking listener or socket goes to the engine, or to the
 * offload pool.
 */
#include "io_socket.h"

#include <errno.h>

int green_socket(int domain, int type, int protocol)
{
	int fd = (int)sys3(SYS_socket, domain, type | SOCK_CLOEXEC, protocol);

	if (fd >= 0) {
		int plain = type & ~(SOCK_CLOEXEC | SOCK_NONBLOCK);
		fd_made(fd, FD_SOCKET | (plain == SOCK_STREAM ? FD_STREAM : 0));
	}
	return fd;
}

/* ---- accept ------------------------------------------------------------------------ */

struct accept {
	int fd, flags;
	struct sockaddr *addr;
	socklen_t *addrlen;
};

static long accept_attempt(void *args, bool block)
{
	struct accept *a = args;

	(void)block;
	return sys4(SYS_accept4, a->fd, a->addr, a->addrlen, a->flags);
}

static struct io_op *accept_op(const struct io_call *call, const struct accept *a)
{
	struct io_op *op = io_op_for(call, IO_ACCEPT);

	if (!op)
		return NULL;
	op->addr = a->addr;
	op->offset = (uintptr_t)a->addrlen;
	op->events = (uint32_t)a->flags;
	return op;
}

/* The pool is asked only once a connection is there; -EAGAIN: somebody else was
 * faster. */
static long accept_offloaded(struct io_call *call, struct accept *a)
{
	long r;

	do {
		r = io_ready(call, POLLIN);
		if (r < 0)
			return r;
		struct io_op *op = accept_op(call, a);
		if (!op)
			return -ENOMEM;
		r = io_perform_offloaded(call, op);
	} while (r == -EAGAIN);
	return r;
}

/* A blocking listener in a green thread. */
static long accept_blocking(struct io_call *call, struct accept *a)
{
	struct io_op *op = accept_op(call, a);

	if (!op)
		return -ENOMEM;
	stack_id stack = call->self->stack;
	if (a->addr)
		stack_pin(stack);
	long r = io_op_run(call, op, GREEN_FOREVER);
	if (r == 0)
		r = op->res;
	if (a->addr)
		stack_unpin(stack);
	if (r != -EOPNOTSUPP) {
		io_op_put(op);
		return r;
	}
	io_op_put(op);
	int listens = 0;
	r = io_socket_option(call->fd, SO_ACCEPTCONN, &listens);
	if (r == 0 && !listens)
		r = accept_attempt(a, true); /* the error that is due */
	return r < 0 ? r : accept_offloaded(call, a);
}

/* In an OS thread with a deadline: poll(2) stands before the blocking call. */
static long accept_in_os_thread(struct io_call *call, struct accept *a)
{
	long r = call->block ? 0 : io_ready(call, POLLIN);

	return r < 0 ? r : io_run(call, POLLIN, accept_attempt, a, false);
}

int green_accept(int fd, struct sockaddr *addr, socklen_t *addrlen, int flags)
{
	struct accept a = { fd, flags, addr, addrlen };
	struct io_call call;

	long r = io_call_begin(&call, fd, PARK_PC);
	if (r < 0)
		return (int)r;
	if (addr && ((r = io_lend(&call, addr)) < 0 || (r = io_lend(&call, addrlen)) < 0))
		return (int)r;
	if (!call.self)
		r = accept_in_os_thread(&call, &a);
	else if (io_is_nonblocking(fd))
		r = io_run(&call, POLLIN, accept_attempt, &a, false);
	else
		r = accept_blocking(&call, &a);
	io_call_end(&call);
	if (r >= 0)
		fd_made((int)r, FD_SOCKET | FD_STREAM);
	return (int)r;
}

/* ---- connect ------------------------------------------------------------------------ */

/* When a connect goes on by itself, connect(2) is asked again once it has
 * ended: that, unlike SO_ERROR, brings the socket into the state that a
 * blocking call leaves it in. */
long io_connect_nonblocking(struct io_call *call, const struct sockaddr *addr, socklen_t addrlen)
{
	bool begun = false;

	for (;;) {
		long r = sys3(SYS_connect, call->fd, addr, addrlen);
		if (r == -EINPROGRESS || r == -EALREADY) {
			r = io_ready(call, POLLOUT);
		} else if (r == -EAGAIN && addr->sa_family == AF_UNIX) {
			/* The listener's queue is full, and nothing tells when it is not. */
			call->vain++;
			r = io_backoff(call);
		} else if (r != -EINTR) {
			return begun && r == -EISCONN ? 0 : r;
		}
		if (r < 0 && r != -EINTR)
			return r;
		begun = true;
	}
}

static long connect_blocking(struct io_call *call, const struct sockaddr *addr, socklen_t addrlen)
{
	struct io_op *op = io_op_for(call, IO_CONNECT);

	if (!op)
		return -ENOMEM;
	op->addr = (void *)(uintptr_t)addr;
	op->len = addrlen;
	return io_perform(call, op);
}

int green_connect(int fd, const struct sockaddr *addr, socklen_t addrlen)
{
	struct io_call call;

	long r = io_call_begin(&call, fd, PARK_PC);
	if (r < 0 || (r = io_lend(&call, addr)) < 0)
		return (int)r;
	/* An OS thread in a deadline scope still makes the blocking call when the
	 * socket blocks: there is no way to bound it. */
	if (!call.self || io_is_nonblocking(fd))
		r = io_connect_nonblocking(&call, addr, addrlen);
	else
		r = connect_blocking(&call, addr, addrlen);
	io_call_end(&call);
	return (int)r;
}
