/* SPDX-License-Identifier: MIT
 *
 * green_read(), green_write() and their vectored and positioned siblings.
 *
 * One transfer goes through these stages until one of them has a result:
 *   1 sockets: recvmsg, sendmsg with MSG_DONTWAIT (and MSG_NOSIGNAL)
 *   2 preadv2, pwritev2 with RWF_NOWAIT
 *   3 not ready, or not to be tried: wait for readiness if it can be polled,
 *     then 1 or 2 again
 *   4 files: the engine or the offload pool; what knows no RWF_NOWAIT: the pool
 *
 * An attempt at a pipe that knows no RWF_NOWAIT is a matter of its own (io_pipe.h).
 */
#include "arch/compat.h"
#include "feature.h"
#include "io_pipe.h"
#include "io_socket.h"
#include "io_transfer.h"
#include "iov.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

struct transfer {
	struct io_call *call;
	struct iov_cursor at;
	off_t offset; /* -1: the file's own position */
	int flags;    /* RWF_* */
	size_t total, done;
	bool write;
	bool vectored; /* readv(2): nothing to transfer means nothing is done */
	bool tried;    /* just now: -EAGAIN */
};

/* ---- what a descriptor is -------------------------------------------------------- */

enum file_kind { FILE_STORED, FILE_PIPE, FILE_POLLED, FILE_BAD };

/* /dev/null, zero and full (Documentation/admin-guide/devices.txt) never wait. */
static bool is_at_once(const struct stat *st)
{
	unsigned which = minor(st->st_rdev);

	return S_ISCHR(st->st_mode) && major(st->st_rdev) == 1 &&
	       (which == 3 || which == 5 || which == 7);
}

/* Regular files, disks and directories: readiness says nothing about them. */
static enum file_kind file_kind(int fd, off_t *size)
{
	struct stat st;

	if (sys2(SYS_fstat, fd, &st) < 0)
		return FILE_BAD;
	*size = S_ISREG(st.st_mode) ? st.st_size : INT64_MAX;
	if (S_ISSOCK(st.st_mode))
		io_learn_socket(fd);
	else if (S_ISREG(st.st_mode) || S_ISBLK(st.st_mode) || S_ISDIR(st.st_mode))
		fd_hint_change(fd, FD_SOCKET, FD_STORED | FD_NOT_SOCKET);
	else
		fd_hint_change(fd, FD_SOCKET | FD_STORED,
		               FD_NOT_SOCKET | (is_at_once(&st) ? FD_AT_ONCE : 0) |
		                       (st.st_mode & S_IFMT ? 0 : FD_ANONYMOUS));
	if (S_ISFIFO(st.st_mode))
		return FILE_PIPE;
	return S_ISREG(st.st_mode) || S_ISBLK(st.st_mode) || S_ISDIR(st.st_mode) ? FILE_STORED
	                                                                         : FILE_POLLED;
}

void io_learn_kind(int fd)
{
	off_t size;

	if (unlikely(!(fd_hint(fd) & (FD_SOCKET | FD_NOT_SOCKET))))
		file_kind(fd, &size);
}

/* ---- attempts ---------------------------------------------------------------------- */

static long try_socket(struct transfer *t, const struct iovec *iov, int count, bool block)
{
	int flags = (block ? 0 : MSG_DONTWAIT) | (t->write ? MSG_NOSIGNAL : 0);
	int fd = t->call->fd;

	if (count == 1)
		return sys6(t->write ? SYS_sendto : SYS_recvfrom, fd, iov->iov_base, iov->iov_len,
		            flags, NULL, 0);
	struct msghdr msg = { .msg_iov = (struct iovec *)(uintptr_t)iov,
		              .msg_iovlen = (size_t)count };
	return sys3(t->write ? SYS_sendmsg : SYS_recvmsg, fd, &msg, flags);
}

static long try_nowait(struct transfer *t, const struct iovec *iov, int count)
{
	uint16_t unsupported = t->write ? FD_NO_NOWAIT_WRITE : FD_NO_NOWAIT_READ;

	if ((fd_hint(t->call->fd) & unsupported) || !feature_on(FEATURE_RWF_NOWAIT))
		return IO_CANNOT_TRY;
	long r = sys6(t->write ? SYS_pwritev2 : SYS_preadv2, t->call->fd, iov, count, t->offset, 0,
	              RWF_NOWAIT | t->flags);
	/* Some kernels say EINVAL for a file that cannot do it. */
	if (r != -EOPNOTSUPP && r != -EINVAL && r != -ENOSYS)
		return r;
	fd_hint_change(t->call->fd, 0, unsupported);
	return IO_CANNOT_TRY;
}

static long plain_call(struct transfer *t, const struct iovec *iov, int count)
{
	int fd = t->call->fd;

	if (t->flags)
		return sys6(t->write ? SYS_pwritev2 : SYS_preadv2, fd, iov, count, t->offset, 0,
		            t->flags);
	if (t->offset >= 0)
		return sys5(t->write ? SYS_pwritev : SYS_preadv, fd, iov, count, t->offset, 0);
	if (t->vectored)
		return sys3(t->write ? SYS_writev : SYS_readv, fd, iov, count);
	return sys3(t->write ? SYS_write : SYS_read, fd, iov->iov_base, iov->iov_len);
}

/* read(2) of nothing and writev(2) of nothing never reach a socket's protocol;
 * write(2) of nothing sends an empty datagram. */
static bool may_be_socket(const struct transfer *t)
{
	uint16_t hint = fd_hint(t->call->fd);

	if (t->offset >= 0 || (hint & FD_NOT_SOCKET))
		return false;
	if (t->total == 0)
		return t->write && !t->vectored;
	return t->write || (hint & FD_SOCKET);
}

/* perform_as_linux() has made such a call on the spot before. */
static bool is_on_the_spot(const struct transfer *t)
{
	uint16_t known = FD_STORED | FD_BUFFERED | (t->write ? 0 : FD_NO_NOWAIT_READ);

	return t->call->wait && !t->flags && (fd_hint(t->call->fd) & known) == known;
}

static long attempt(struct transfer *t, bool block)
{
	int count, fd = t->call->fd;
	const struct iovec *iov = iov_next(&t->at, &count);
	long r;

	if (may_be_socket(t)) {
		r = try_socket(t, iov, count, block);
		if (likely(r != -ENOTSOCK)) {
			if (r >= 0)
				io_learn_socket(fd);
			return r;
		}
		fd_hint_change(fd, FD_SOCKET | FD_STREAM | FD_DRAINED, FD_NOT_SOCKET);
	}
	if (block || t->total == 0 || is_on_the_spot(t))
		return plain_call(t, iov, count);
	/* Looked at more closely by perform(). */
	if (t->call->wait && t->write && (fd_hint(fd) & FD_STORED))
		return IO_CANNOT_TRY;
	r = try_nowait(t, iov, count);
	if (r != IO_CANNOT_TRY || t->write || t->offset >= 0)
		return r;
	/* A socket on a kernel that has no RWF_NOWAIT for them (before 6.5)? */
	if (!(fd_hint(fd) & FD_NOT_SOCKET)) {
		r = try_socket(t, iov, count, false);
		if (r != -ENOTSOCK) {
			io_learn_socket(fd);
			return r;
		}
		fd_hint_change(fd, 0, FD_NOT_SOCKET);
	}
	return IO_CANNOT_TRY;
}

/* What else can be tried with a descriptor that knows no RWF_NOWAIT. */
static long try_otherwise(struct transfer *t, enum file_kind kind)
{
	int count, fd = t->call->fd;
	const struct iovec *iov = iov_next(&t->at, &count);
	long flags = sys2(SYS_fcntl, fd, F_GETFL);
	int wrong_mode = t->write ? O_RDONLY : O_WRONLY;

	/* What is not possible at all fails without waiting. */
	if (flags < 0 || (flags & O_NONBLOCK) || (flags & O_ACCMODE) == wrong_mode ||
	    (kind == FILE_PIPE && t->offset >= 0))
		return plain_call(t, iov, count);
	return kind == FILE_PIPE ? io_pipe_try(fd, flags, t->write, iov, count) : IO_CANNOT_TRY;
}

/* ---- waiting ------------------------------------------------------------------------- */

/* What to transfer in a call that may block: *count entries. */
static const struct iovec *blocking_piece(struct transfer *t, enum file_kind kind,
                                          struct iovec *piece, int *count)
{
	const struct iovec *iov = iov_next(&t->at, count);

	if (!t->write || kind != FILE_PIPE)
		return iov;
	return io_pipe_piece(iov, count, t->total - t->done, piece);
}

static long perform(struct transfer *t, enum file_kind kind)
{
	struct iovec piece;
	int count;
	const struct iovec *iov = blocking_piece(t, kind, &piece, &count);
	struct io_op *op = io_op_for(t->call, t->write ? IO_WRITE : IO_READ);

	if (!op)
		return -ENOMEM;
	op->offset = (uint64_t)t->offset;
	op->events = (uint32_t)t->flags;
	if (count == 1 && !t->flags) {
		op->addr = iov->iov_base;
		op->len = iov->iov_len;
	} else {
		op->kind = t->write ? IO_WRITEV : IO_READV;
		op->addr = (void *)(uintptr_t)iov;
		op->len = (uint64_t)count;
	}
	/* The engine knows a file's position, but does not lock it.  And io_uring makes the call on
	 * this very OS thread where poll(2) says that the descriptor is ready: it blocks all of
	 * them when somebody else was faster, or a terminal takes no more. */
	if (kind != FILE_STORED || t->offset < 0)
		return io_perform_offloaded(t->call, op);
	return io_perform(t->call, op);
}

/* What waits for a disk is no matter of signals, and what does not wait is quicker done
 * on the spot: a write into the page cache, a file whose system has no way to say that it
 * would wait (those of the kernel itself, such as /proc). */
static long perform_as_linux(struct transfer *t)
{
	long flags = sys2(SYS_fcntl, t->call->fd, F_GETFL);
	bool direct = flags >= 0 && (flags & (O_DIRECT | (t->write ? O_DSYNC | O_SYNC : 0)));

	fd_hint_change(t->call->fd, direct ? FD_BUFFERED : 0, direct ? 0 : FD_BUFFERED);
	if (!direct && !(t->flags & (RWF_DSYNC | RWF_SYNC)) &&
	    (t->write || (fd_hint(t->call->fd) & FD_NO_NOWAIT_READ))) {
		int count;
		const struct iovec *iov = iov_next(&t->at, &count);
		return plain_call(t, iov, count);
	}
	t->call->shielded = true;
	long r = perform(t, FILE_STORED);
	t->call->shielded = false;
	return r;
}

static long wait_ready(struct transfer *t)
{
	return io_ready(t->call, t->write ? POLLOUT : POLLIN);
}

static enum file_kind kind_of(const struct transfer *t)
{
	off_t size;

	return fd_hint(t->call->fd) & FD_SOCKET ? FILE_POLLED : file_kind(t->call->fd, &size);
}

/* A green thread's next step after an attempt that said r: a result, or
 * -EINTR: attempt again. */
static long go_round(struct transfer *t, long r)
{
	enum file_kind kind = kind_of(t);

	if (kind == FILE_STORED)
		return t->call->wait ? perform_as_linux(t) : perform(t, kind);
	if (r == IO_CANNOT_TRY)
		r = try_otherwise(t, kind);
	if (r != -EAGAIN && r != IO_CANNOT_TRY)
		return r;
	long ready = wait_ready(t);
	if (ready < 0)
		return ready;
	if (r == -EAGAIN)
		return -EINTR;
	/* Ready, but another may be faster: so not on this OS thread. */
	r = perform(t, kind);
	return r == -EAGAIN ? -EINTR : r;
}

/* An OS thread's: readiness when the call must not block, or would not. */
static long go_round_os(struct transfer *t, long r)
{
	enum file_kind kind = kind_of(t);
	struct iovec piece;
	int count;

	if (t->call->block && !io_is_nonblocking(t->call->fd))
		return r;
	if (kind != FILE_STORED) {
		if (r == IO_CANNOT_TRY)
			r = try_otherwise(t, kind);
		if (r != -EAGAIN && r != IO_CANNOT_TRY)
			return r;
		long ready = wait_ready(t);
		if (ready < 0)
			return ready;
		if (r == -EAGAIN)
			return -EINTR;
	}
	const struct iovec *iov = blocking_piece(t, kind, &piece, &count);
	r = plain_call(t, iov, count);
	return r == -EAGAIN ? -EINTR : r;
}

/* One piece: bytes or -errno. */
static long step(struct transfer *t)
{
	long r;

	if (!t->write && t->total && t->call->self && (fd_hint(t->call->fd) & FD_DRAINED)) {
		r = wait_ready(t);
		if (r < 0)
			return r;
	}
	for (;;) {
		r = unlikely(t->tried) ? -EAGAIN : attempt(t, t->call->block);
		t->tried = false;
		if (r == -EAGAIN || r == IO_CANNOT_TRY)
			r = t->call->self ? go_round(t, r) : go_round_os(t, r);
		if (r != -EINTR)
			break;
	}
	io_went_on(t->call); /* or it has waited, as the count of switches says */
	return r;
}

/* After a short read: RWF_NOWAIT stops where the page cache does, read(2) of a
 * file does not. */
static bool read_is_over(struct transfer *t)
{
	uint16_t hint = fd_hint(t->call->fd);
	off_t size;

	if (t->call->block || (hint & FD_SOCKET))
		return true;
	if (t->call->wait && (hint & FD_NO_NOWAIT_READ))
		return true; /* nobody has stopped early */
	if (file_kind(t->call->fd, &size) != FILE_STORED)
		return true;
	return t->offset >= 0 && t->offset >= size;
}

static void learn_drained(const struct transfer *t, long n)
{
	uint16_t hint = fd_hint(t->call->fd);

	if ((hint & (FD_SOCKET | FD_STREAM)) == (FD_SOCKET | FD_STREAM)) {
		bool drained = n > 0 && (size_t)n < t->total && !(hint & (FD_POLLED | FD_REFILLED));
		fd_hint_change(t->call->fd, drained ? 0 : FD_DRAINED, drained ? FD_DRAINED : 0);
	}
}

static ssize_t run(struct transfer *t)
{
	for (;;) {
		long r = step(t);
		if (r <= 0)
			return t->done ? (ssize_t)t->done : r;
		t->done += (size_t)r;
		t->call->vain = 0;
		if (t->offset >= 0)
			t->offset += r;
		if (!t->write)
			learn_drained(t, r);
		if (t->done >= t->total || (!t->write && read_is_over(t)))
			return (ssize_t)t->done;
		iov_advance(&t->at, (size_t)r);
	}
}

ssize_t io_transfer(struct io_call *call, const struct io_transfer *what)
{
	struct iovec window[IOV_WINDOW];
	struct transfer t = { .call = call,
		              .at = iov_begin(what->iov, what->count, window),
		              .offset = what->offset,
		              .flags = what->flags,
		              .write = what->write,
		              .vectored = what->vectored,
		              .tried = what->tried };

	/* The kernel has the right words for these, and does not block. */
	if (unlikely(what->count <= 0 || what->count > IOV_MAX))
		return plain_call(&t, what->iov, what->count);
	t.total = iov_total(what->iov, what->count);
	return likely(t.total != SIZE_MAX) ? run(&t) : -EINVAL;
}

static ssize_t transfer(int fd, const struct iovec *iov, int count, off_t offset, bool write,
                        bool vectored, void *pc)
{
	struct io_transfer what = {
		.iov = iov, .count = count, .offset = offset, .write = write, .vectored = vectored
	};
	struct io_call call;

	int r = io_call_begin(&call, fd, pc);
	if (r < 0)
		return r;
	if (count > 0 && count <= IOV_MAX && (r = io_lend_iov(&call, iov, (size_t)count)) < 0)
		return r;
	ssize_t n = io_transfer(&call, &what);
	io_call_end(&call);
	return n;
}

/* ---- the public calls ------------------------------------------------------------------ */

ssize_t green_read(int fd, void *buf, size_t count)
{
	struct iovec iov = { buf, count };

	return transfer(fd, &iov, 1, -1, false, false, PARK_PC);
}

ssize_t green_write(int fd, const void *buf, size_t count)
{
	struct iovec iov = { (void *)(uintptr_t)buf, count };

	return transfer(fd, &iov, 1, -1, true, false, PARK_PC);
}

ssize_t green_readv(int fd, const struct iovec *iov, int iovcnt)
{
	return transfer(fd, iov, iovcnt, -1, false, true, PARK_PC);
}

ssize_t green_writev(int fd, const struct iovec *iov, int iovcnt)
{
	return transfer(fd, iov, iovcnt, -1, true, true, PARK_PC);
}

/* preadv2(2) takes -1 for the file's position, pread(2) refuses it. */
ssize_t green_pread(int fd, void *buf, size_t count, off_t offset)
{
	struct iovec iov = { buf, count };

	return offset < 0 ? -EINVAL : transfer(fd, &iov, 1, offset, false, false, PARK_PC);
}

ssize_t green_pwrite(int fd, const void *buf, size_t count, off_t offset)
{
	struct iovec iov = { (void *)(uintptr_t)buf, count };

	return offset < 0 ? -EINVAL : transfer(fd, &iov, 1, offset, true, false, PARK_PC);
}

ssize_t green_preadv(int fd, const struct iovec *iov, int iovcnt, off_t offset)
{
	return offset < 0 ? -EINVAL : transfer(fd, iov, iovcnt, offset, false, true, PARK_PC);
}

ssize_t green_pwritev(int fd, const struct iovec *iov, int iovcnt, off_t offset)
{
	return offset < 0 ? -EINVAL : transfer(fd, iov, iovcnt, offset, true, true, PARK_PC);
}
