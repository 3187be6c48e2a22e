/* SPDX-License-Identifier: MIT
 *
 * accept(2) and connect(2).
 *
 * Neither knows a flag that says "this once without waiting", so a blocking one is the
 * engine's, or the offload pool's where the engine cannot.
 */
#include "intercept/fs_identity.h"
#include "intercept/wait.h"
#include "io_buffer.h"
#include "io_socket.h"
#include "offload.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <string.h>

/* Runs op, which io_uring or nobody can, until the call's limit: its result, -EAGAIN at
 * the limit, -EOPNOTSUPP: nobody can. */
static long run_op(struct io_call *io, struct io_op *op)
{
	for (;;) {
		long r = io_op_run(io, op, io->deadline_ns);
		if (unlikely(r == IO_INTERRUPTED && !wait_was_signalled()))
			continue;
		if (unlikely(r == -ETIMEDOUT) && park_check(io->self) != -ETIMEDOUT)
			return -EAGAIN;
		/* The kernel's own interruption (SIGSTOP, a debugger), none of the caller's. */
		if (unlikely(r >= 0 && op->res == -EINTR))
			continue;
		return r < 0 ? r : op->res;
	}
}

/* ---- accept ------------------------------------------------------------------------ */

static long accept_by_engine(struct io_call *io, const struct call *c, int flags)
{
	struct io_op *op = io_op_for(io, IO_ACCEPT);

	if (!op)
		return -ENOMEM;
	op->addr = (void *)c->arg[1];
	op->offset = (uint64_t)c->arg[2];
	op->events = (uint32_t)flags;
	stack_pin(io->self->stack);
	long r = run_op(io, op);
	stack_unpin(io->self->stack);
	io_op_put(op);
	return r;
}

/* The pool is asked only once a connection is there; -EAGAIN: somebody was faster. */
static long accept_by_pool(struct io_call *io, const struct call *c, int flags)
{
	int listens = 0;
	long r = io_socket_option(io->fd, SO_ACCEPTCONN, &listens);

	if (r < 0 || !listens) /* the error that is due */
		return sys4(SYS_accept4, io->fd, c->arg[1], c->arg[2], flags);
	do {
		r = io->wait(io, POLLIN);
		if (r < 0)
			return r;
		struct io_op *op = io_op_for(io, IO_ACCEPT);
		if (!op)
			return -ENOMEM;
		op->addr = (void *)c->arg[1];
		op->offset = (uint64_t)c->arg[2];
		op->events = (uint32_t)flags;
		io->shielded = true; /* there is a connection: it does not wait */
		r = io_perform_offloaded(io, op);
		io->shielded = false;
	} while (r == -EAGAIN);
	return r;
}

static long accept_with(struct call *c, int flags)
{
	struct io_call io;

	long r = wait_begin(&io, c, (int)c->arg[0]);
	if (r < 0)
		return r;
	/* Wrong flags are the kernel's to refuse; so is O_NONBLOCK's EAGAIN. */
	r = wait_limit(&io, POLLIN);
	if (r < 0 || (flags & ~(SOCK_CLOEXEC | SOCK_NONBLOCK))) {
		io_went_on(&io);
		r = sys4(SYS_accept4, io.fd, c->arg[1], c->arg[2], flags);
	} else {
		r = accept_by_engine(&io, c, flags);
		if (r == -EOPNOTSUPP)
			r = accept_by_pool(&io, c, flags);
	}
	if (r >= 0)
		fd_made((int)r, 0);
	return wait_end(&io, r);
}

long call_accept(struct call *c)
{
	return accept_with(c, 0);
}

long call_accept4(struct call *c)
{
	return accept_with(c, (int)c->arg[3]);
}

/* ---- connect ------------------------------------------------------------------------ */

/* A connect on the pool, which goes on when the caller no longer waits for it: as it
 * does in the kernel after EINTR. */
struct connect_job {
	int fd; /* a duplicate */
	socklen_t size;
	long result;
	struct sockaddr_storage address;
};
_Static_assert(sizeof(struct connect_job) <= IO_BUFFER_SIZE, "it lies in a buffer");

static void *connect_do(void *arg)
{
	struct connect_job *job = arg;

	job->result = sys3(SYS_connect, job->fd, &job->address, job->size);
	return NULL;
}

static void connect_release(void *arg)
{
	struct connect_job *job = arg;

	fd_private_close(job->fd);
	io_buffer_put(job);
}

static long connect_by_pool(struct io_call *io, const void *address, socklen_t size)
{
	bool left;
	struct connect_job *job = io_buffer_get();

	if (!job)
		return -ENOMEM;
	job->size = size;
	memcpy(&job->address, address, size);
	job->fd = fd_private((int)sys3(SYS_fcntl, io->fd, F_DUPFD_CLOEXEC, 3));
	long r = job->fd;
	if (r >= 0) {
		r = offload_leave(connect_do, job, connect_release, &left, io->pc);
		if (left)
			return r;
		if (r == 0)
			r = job->result;
		else if (r == -EAGAIN)
			r = -ENOMEM; /* no thread */
	} else {
		job->fd = -1;
	}
	connect_release(job);
	return r;
}

static long connect_by_engine(struct io_call *io, const void *address, socklen_t size)
{
	struct io_op *op = io_op_for(io, IO_CONNECT);

	if (!op)
		return -ENOMEM;
	op->addr = (void *)(uintptr_t)address;
	op->len = size;
	stack_pin(io->self->stack);
	long r = run_op(io, op);
	stack_unpin(io->self->stack);
	io_op_put(op);
	return r == -EAGAIN && io->deadline_ns != GREEN_FOREVER ? -EINPROGRESS : r;
}

/* Does connect(2) answer at once whatever the state? */
static bool connects_at_once(int fd, const struct sockaddr *address, socklen_t size)
{
	int type;

	if (size < sizeof(sa_family_t) || size > sizeof(struct sockaddr_storage) || !address ||
	    io_socket_option(fd, SO_TYPE, &type) < 0)
		return true;
	/* AF_UNSPEC ends a connection. */
	return type == SOCK_DGRAM || type == SOCK_RAW || address->sa_family == AF_UNSPEC;
}

long call_connect(struct call *c)
{
	const struct sockaddr *address = (const struct sockaddr *)c->arg[1];
	socklen_t size = (socklen_t)c->arg[2];
	struct io_call io;

	long r = wait_begin(&io, c, (int)c->arg[0]);
	if (r < 0)
		return r;
	if (fs_identity_is_own() || connects_at_once(io.fd, address, size) ||
	    wait_limit(&io, POLLOUT) < 0) {
		r = sys3(SYS_connect, io.fd, address, size);
	} else {
		r = connect_by_engine(&io, address, size);
		if (r == -EOPNOTSUPP)
			r = connect_by_pool(&io, address, size);
	}
	return wait_end(&io, r);
}
