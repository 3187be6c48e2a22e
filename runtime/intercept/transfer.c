/* SPDX-License-Identifier: MIT
 *
 * read(2), write(2) and their vectored and positioned siblings: the full stage.
 */
#include "intercept/link.h"
#include "intercept/wait.h"
#include "io_transfer.h"

#include <errno.h>
#include <limits.h>
#include <linux/fs.h>
#include <signal.h>
#include <sys/resource.h>

/* The signals that a write may earn its thread.  The kernel has sent them to the worker,
 * which blocks them, or to nobody (MSG_NOSIGNAL, offload pool). */
static void raise_for(struct gt *self, int fd, long r)
{
	struct rlimit limit;

	if (likely(r != -EPIPE && r != -EFBIG))
		return;
	/* The worker does not block them there, so it has had its signal. */
	if (link_on && (fd_hint(fd) & FD_NOT_SOCKET))
		return;
	if (r == -EPIPE)
		signal_raise(self, SIGPIPE, SI_USER);
	else if (sys4(SYS_prlimit64, 0, RLIMIT_FSIZE, NULL, &limit) == 0 &&
	         limit.rlim_cur != RLIM_INFINITY)
		signal_raise(self, SIGXFSZ, SI_USER);
}

/* done: bytes that the fast stage has moved. */
static long transfer(struct call *c, const struct io_transfer *what, long done)
{
	struct io_call io;

	long r = wait_begin(&io, c, (int)c->arg[0]);
	if (r < 0)
		return r;
	if (what->flags & RWF_NOWAIT)
		return CALL_PASS;
	io_learn_kind(io.fd);
	r = io_transfer(&io, what);
	if (what->write)
		raise_for(io.self, io.fd, done ? 0 : r);
	r = wait_end(&io, r);
	return done > 0 ? done + (r > 0 ? r : 0) : r;
}

static long bytes(struct call *c, off_t offset, bool write)
{
	struct iovec iov = { (void *)c->arg[1], (size_t)c->arg[2] };
	struct io_transfer what = { .iov = &iov, .count = 1, .offset = offset, .write = write };
	long done = c->result;

	c->result = 0;
	if (done == -EPIPE || done == -EFBIG) {
		raise_for(gt_self(), (int)c->arg[0], done);
		return done;
	}
	if (done < 0) {
		what.tried = true;
		done = 0;
	}
	iov.iov_base = (char *)iov.iov_base + done;
	iov.iov_len -= (size_t)done;
	if (offset >= 0)
		what.offset += done;
	return transfer(c, &what, done);
}

long call_read(struct call *c)
{
	return bytes(c, -1, false);
}

long call_write(struct call *c)
{
	return bytes(c, -1, true);
}

long call_pread64(struct call *c)
{
	return bytes(c, c->arg[3], false);
}

long call_pwrite64(struct call *c)
{
	return bytes(c, c->arg[3], true);
}

static long vector(struct call *c, off_t offset, int flags, bool write)
{
	struct io_transfer what = { .iov = (const struct iovec *)c->arg[1],
		                    .count = (int)c->arg[2],
		                    .flags = flags,
		                    .offset = offset,
		                    .write = write,
		                    .vectored = true };

	/* A bad pointer, or nothing to do: the kernel's to say. */
	if ((unsigned long)c->arg[2] - 1 >= IOV_MAX || (uintptr_t)what.iov < 4096)
		return CALL_PASS;
	return transfer(c, &what, 0);
}

long call_readv(struct call *c)
{
	return vector(c, -1, 0, false);
}

long call_writev(struct call *c)
{
	return vector(c, -1, 0, true);
}

/* The upper half of the offset is of no use where a register holds all of it. */
static long positioned(struct call *c, int flags, bool write)
{
	long offset = c->arg[3];

	if (offset < 0)
		return CALL_PASS; /* EINVAL */
	return vector(c, offset, flags, write);
}

long call_preadv(struct call *c)
{
	return positioned(c, 0, false);
}

long call_pwritev(struct call *c)
{
	return positioned(c, 0, true);
}

long call_preadv2(struct call *c)
{
	return c->arg[3] == -1 ? vector(c, -1, (int)c->arg[5], false)
	                       : positioned(c, (int)c->arg[5], false);
}

long call_pwritev2(struct call *c)
{
	return c->arg[3] == -1 ? vector(c, -1, (int)c->arg[5], true)
	                       : positioned(c, (int)c->arg[5], true);
}
