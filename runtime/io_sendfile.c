/* SPDX-License-Identifier: MIT
 *
 * green_sendfile(): from a file to a descriptor.
 *
 * sendfile(2) blocks its OS thread for the disk and for the receiver, unless
 * the receiver is O_NONBLOCK, which is the program's to decide.  So a green
 * thread copies through a buffer of a pool: what the page cache has without
 * waiting, the rest by the engine, and to the receiver as green_write() does.
 * While it waits for a slow receiver it holds no buffer: the bytes are read
 * again.
 */
#include "arch/compat.h"
#include "feature.h"
#include "io_buffer.h"
#include "io_socket.h"
#include "io_wait.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <unistd.h>

#define OS_CHUNK 0x7ffff000u

/* ---- a green thread's ---------------------------------------------------------------- */

struct copy {
	struct io_call in, out;
	off_t offset; /* of the next byte to send */
	size_t left;
	size_t done;
	void *buffer;
};

/* Bytes of the file from the copy's offset into its buffer: a count, 0 at the
 * end, -errno. */
static long fill(struct copy *c)
{
	size_t want = c->left < IO_BUFFER_SIZE ? c->left : IO_BUFFER_SIZE;
	struct iovec iov = { c->buffer, want };

	if (!(fd_hint(c->in.fd) & FD_NO_NOWAIT_READ) && feature_on(FEATURE_RWF_NOWAIT)) {
		long n = sys6(SYS_preadv2, c->in.fd, &iov, 1, c->offset, 0, RWF_NOWAIT);
		if (n >= 0)
			return n;
		if (n == -EOPNOTSUPP || n == -EINVAL || n == -ENOSYS)
			fd_hint_change(c->in.fd, 0, FD_NO_NOWAIT_READ);
		else if (n != -EAGAIN && n != -EINTR)
			return n;
	}
	/* What has no offsets engines would read from where it is. */
	long at = sys3(SYS_lseek, c->in.fd, 0, SEEK_CUR);
	if (at < 0)
		return at;
	struct io_op *op = io_op_for(&c->in, IO_READ);
	if (!op)
		return -ENOMEM;
	op->addr = c->buffer;
	op->len = want;
	op->offset = (uint64_t)c->offset;
	return io_perform(&c->in, op);
}

/* Sends count bytes of the buffer; less when the receiver is full: then *full. */
static long drain(struct copy *c, size_t count, bool *full)
{
	size_t sent = 0;

	while (sent < count) {
		long n = sys6(SYS_sendto, c->out.fd, (char *)c->buffer + sent, count - sent,
		              MSG_DONTWAIT | MSG_NOSIGNAL, NULL, 0);
		if (n == -EINTR)
			continue;
		if (n == -EAGAIN)
			*full = true;
		if (n < 0)
			return sent || *full ? (long)sent : n;
		sent += (size_t)n;
	}
	return (long)sent;
}

/* One piece to a socket: bytes sent, 0 at the end of the file, -EINTR to try
 * again, another -errno. */
static long copy_piece(struct copy *c)
{
	bool full = false;

	if (!c->buffer)
		c->buffer = io_buffer_get();
	if (!c->buffer)
		return -ENOMEM;
	long n = fill(c);
	if (n > 0)
		n = drain(c, (size_t)n, &full);
	if (!full)
		return n;
	io_buffer_put(c->buffer);
	c->buffer = NULL;
	long ready = io_ready(&c->out, POLLOUT);
	if (ready < 0)
		return n > 0 ? n : ready;
	return n > 0 ? n : -EINTR;
}

/* The same to what is no socket, where a write may have to be performed. */
static long copy_piece_to_file(struct copy *c)
{
	if (!c->buffer)
		c->buffer = io_buffer_get();
	if (!c->buffer)
		return -ENOMEM;
	long n = fill(c);
	return n > 0 ? green_write(c->out.fd, c->buffer, (size_t)n) : n;
}

static void copy_all(struct copy *c, bool socket, long *error)
{
	while (c->left > 0) {
		long n = socket ? copy_piece(c) : copy_piece_to_file(c);
		if (n == -EINTR)
			continue;
		if (n <= 0) {
			*error = n;
			return;
		}
		c->offset += n;
		c->left -= (size_t)n;
		c->done += (size_t)n;
		c->out.vain = 0;
		io_went_on(&c->out);
	}
}

static ssize_t send_green(struct copy *c, off_t *offset, bool socket)
{
	long error = 0;

	if (offset) {
		c->offset = *offset;
		if (c->offset < 0)
			return -EINVAL;
	} else {
		c->offset = sys3(SYS_lseek, c->in.fd, 0, SEEK_CUR);
		if (c->offset < 0)
			return c->offset;
	}
	copy_all(c, socket, &error);
	io_buffer_put(c->buffer);
	if (offset)
		*offset = c->offset;
	else
		sys3(SYS_lseek, c->in.fd, c->offset, SEEK_SET);
	return c->done ? (ssize_t)c->done : error;
}

/* ---- an OS thread's -------------------------------------------------------------------- */

/* sendfile(2) has no MSG_NOSIGNAL: the signal is blocked meanwhile, and taken
 * if this call has raised it. */
static long sendfile_nosignal(int out_fd, int in_fd, off_t *offset, size_t count)
{
	uint64_t pipe_signal = (uint64_t)1 << (SIGPIPE - 1), before, pending = 0;
	struct timespec zero = { 0, 0 };

	sys2(SYS_rt_sigpending, &pending, sizeof(pending));
	sys4(SYS_rt_sigprocmask, SIG_BLOCK, &pipe_signal, &before, sizeof(before));
	long n = sys4(SYS_sendfile, out_fd, in_fd, offset, count);
	if (n == -EPIPE && !(pending & pipe_signal))
		sys4(SYS_rt_sigtimedwait, &pipe_signal, NULL, &zero, sizeof(pipe_signal));
	sys4(SYS_rt_sigprocmask, SIG_SETMASK, &before, NULL, sizeof(before));
	return n;
}

static ssize_t send_in_os_thread(struct copy *c, off_t *offset, bool socket)
{
	while (c->left > 0) {
		size_t piece = c->left < OS_CHUNK ? c->left : OS_CHUNK;
		long n = socket ? sendfile_nosignal(c->out.fd, c->in.fd, offset, piece)
		                : sys4(SYS_sendfile, c->out.fd, c->in.fd, offset, piece);
		if (n == -EAGAIN && io_is_nonblocking(c->out.fd)) {
			n = io_ready(&c->out, POLLOUT);
			if (n >= 0)
				continue;
		}
		if (n == -EINTR)
			continue;
		if (n <= 0)
			return c->done ? (ssize_t)c->done : n;
		c->done += (size_t)n;
		c->left -= (size_t)n;
	}
	return (ssize_t)c->done;
}

ssize_t green_sendfile(int out_fd, int in_fd, off_t *offset, size_t count)
{
	struct copy c = { .left = count };
	int type;

	long r = io_call_begin(&c.out, out_fd, PARK_PC);
	if (r == 0)
		r = io_call_begin(&c.in, in_fd, PARK_PC);
	if (r < 0)
		return r;
	if (count > (size_t)SSIZE_MAX)
		return -EINVAL;
	if ((r = io_lend(&c.out, offset)) < 0)
		return r;
	bool socket = io_socket_option(out_fd, SO_TYPE, &type) == 0;
	ssize_t n =
		c.out.self ? send_green(&c, offset, socket) : send_in_os_thread(&c, offset, socket);
	io_call_end(&c.out);
	return n;
}
