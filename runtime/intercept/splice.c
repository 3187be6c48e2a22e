/* SPDX-License-Identifier: MIT
 *
 * sendfile(2), splice(2), tee(2), vmsplice(2), copy_file_range(2).
 *
 * Pipes know SPLICE_F_NONBLOCK.  What stands at the other end does not: where that can
 * wait, readiness is waited for first, and the call is made on the offload pool, since
 * another thread may be faster.
 */
#include "intercept/blocking.h"
#include "intercept/wait.h"
#include "io_buffer.h"
#include "io_socket.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>

#define COUNT_MAX 0x7ffff000u /* MAX_RW_COUNT of the kernel */

static inline long restart(long r)
{
	return r == IO_INTERRUPTED ? CALL_RESTARTSYS : r;
}

static mode_t type_of(int fd)
{
	struct stat st;

	return sys2(SYS_fstat, fd, &st) < 0 ? 0 : st.st_mode & S_IFMT;
}

static bool is_nonblocking(int fd)
{
	long flags = sys2(SYS_fcntl, fd, F_GETFL);

	return flags < 0 || (flags & O_NONBLOCK); /* a bad one does not wait either */
}

/* Waits for fd, however it is opened: 0, IO_INTERRUPTED, -errno. */
static long wait_one(const struct call *c, int fd, short events)
{
	struct io_call io;

	long r = wait_begin(&io, c, fd);
	if (r < 0)
		return r;
	r = wait_until(&io, events, GREEN_FOREVER);
	io_call_end(&io);
	return r < 0 ? r : 0;
}

/* ---- between pipes -------------------------------------------------------------------- */

/* Which of both is not ready?  After an attempt has said -EAGAIN: 0 to try again. */
static long wait_pipes(const struct call *c, int in, int out)
{
	struct pollfd fds[2] = { { .fd = in, .events = POLLIN }, { .fd = out, .events = POLLOUT } };

	long r = sys3(SYS_poll, fds, 2, 0);
	if (r < 0)
		return r;
	if (in >= 0 && !fds[0].revents)
		return wait_one(c, in, POLLIN);
	if (out >= 0 && !fds[1].revents)
		return wait_one(c, out, POLLOUT);
	return 0;
}

/* A call whose ends (-1: memory) are pipes, with its flags in arg[index]. */
static long between_pipes(struct call *c, int in, int out, unsigned index)
{
	bool wait = !(c->arg[index] & SPLICE_F_NONBLOCK) && (in < 0 || !is_nonblocking(in)) &&
	            (out < 0 || !is_nonblocking(out));

	if (!wait)
		return CALL_PASS;
	c->arg[index] |= SPLICE_F_NONBLOCK;
	long r;
	do {
		r = call_real(c);
		if (r != -EAGAIN)
			break;
		r = wait_pipes(c, in, out);
	} while (r == 0);
	c->arg[index] &= ~(long)SPLICE_F_NONBLOCK;
	if (r == -EPIPE)
		signal_raise(gt_self(), SIGPIPE, SI_USER);
	return restart(r);
}

long call_tee(struct call *c)
{
	return between_pipes(c, (int)c->arg[0], (int)c->arg[1], 3);
}

long call_vmsplice(struct call *c)
{
	int fd = (int)c->arg[0];
	long flags = sys2(SYS_fcntl, fd, F_GETFL);

	if (flags < 0)
		return flags;
	return (flags & O_ACCMODE) == O_RDONLY ? between_pipes(c, fd, -1, 3)
	                                       : between_pipes(c, -1, fd, 3);
}

/* ---- to and from others ------------------------------------------------------------------ */

/* Can the end that is no pipe make its caller wait? */
static bool may_wait(int fd, mode_t type)
{
	return type != S_IFREG && type != S_IFBLK && type != S_IFIFO && !is_nonblocking(fd);
}

long call_splice(struct call *c)
{
	int in = (int)c->arg[0], out = (int)c->arg[2];
	mode_t in_type = type_of(in), out_type = type_of(out);

	if (fd_is_private(in) || fd_is_private(out) || !in_type || !out_type)
		return -EBADF;
	bool in_waits = may_wait(in, in_type), out_waits = may_wait(out, out_type);
	if (!in_waits && !out_waits) {
		/* A file: as the pipe at the other end. */
		return between_pipes(c, in_type == S_IFIFO ? in : -1,
		                     out_type == S_IFIFO ? out : -1, 5);
	}
	long r = 0;
	if (in_waits || (in_type == S_IFIFO && !is_nonblocking(in)))
		r = wait_one(c, in, POLLIN);
	if (r == 0 && (out_waits || (out_type == S_IFIFO && !is_nonblocking(out))))
		r = wait_one(c, out, POLLOUT);
	if (r == 0)
		r = blocking_call(c);
	if (r == -EPIPE)
		signal_raise(gt_self(), SIGPIPE, SI_USER);
	return restart(r);
}

long call_copy_file_range(struct call *c)
{
	return blocking_call_to_end(c);
}

/* ---- sendfile -------------------------------------------------------------------------- */

/* To a socket that may wait, of which no flag of the call can tell that it shall not: the
 * file's pages through a buffer, by sends that do not wait. */
struct sendfile {
	struct io_call out;
	int in;
	off_t offset;
	size_t left;
	char *buffer;
};

/* One piece: bytes sent, 0 at the end of the file, -EAGAIN: the socket is full. */
static long send_piece(struct sendfile *f)
{
	size_t want = f->left < IO_BUFFER_SIZE ? f->left : IO_BUFFER_SIZE;

	long n = sys4(SYS_pread64, f->in, f->buffer, want, f->offset);
	if (n <= 0)
		return n;
	/* Not in a segment of its own while there is more to come. */
	int flags = MSG_DONTWAIT | MSG_NOSIGNAL | ((size_t)n < f->left ? MSG_MORE : 0);
	n = sys6(SYS_sendto, f->out.fd, f->buffer, n, flags, NULL, 0);
	if (n > 0) {
		f->offset += n;
		f->left -= (size_t)n;
	}
	return n;
}

static long send_pieces(struct sendfile *f)
{
	size_t all = f->left;
	long n = 0;

	while (f->left > 0) {
		n = send_piece(f);
		if (n > 0) {
			f->out.vain = 0;
			io_went_on(&f->out);
			continue;
		}
		if (n != -EAGAIN)
			break;
		n = f->out.wait(&f->out, POLLOUT);
		if (n < 0)
			break;
	}
	return all > f->left ? (long)(all - f->left) : n;
}

static long send_to_socket(struct call *c, off_t *offset)
{
	struct sendfile f = { .in = (int)c->arg[1], .left = (size_t)c->arg[3] };

	long r = wait_begin(&f.out, c, (int)c->arg[0]);
	if (r < 0)
		return r;
	f.offset = offset ? *offset : sys3(SYS_lseek, f.in, 0, SEEK_CUR);
	if (f.offset < 0)
		return CALL_PASS; /* the error that is due */
	if (f.left > COUNT_MAX)
		f.left = COUNT_MAX;
	f.buffer = io_buffer_get();
	if (!f.buffer)
		return -ENOMEM;
	r = send_pieces(&f);
	io_buffer_put(f.buffer);
	if (offset)
		*offset = f.offset;
	else
		sys3(SYS_lseek, f.in, f.offset, SEEK_SET);
	if (r == -EPIPE)
		signal_raise(f.out.self, SIGPIPE, SI_USER);
	return wait_end(&f.out, r);
}

long call_sendfile(struct call *c)
{
	int out = (int)c->arg[0], in = (int)c->arg[1];
	mode_t out_type = type_of(out), in_type = type_of(in);

	if (fd_is_private(in) || fd_is_private(out))
		return -EBADF;
	/* From and to files it waits for disks alone, if at all. */
	if (!out_type || !in_type || out_type == S_IFREG || is_nonblocking(out))
		return CALL_PASS;
	if (out_type == S_IFSOCK && in_type == S_IFREG)
		return send_to_socket(c, (off_t *)c->arg[2]);
	long r = wait_one(c, out, POLLOUT);
	if (r == 0)
		r = blocking_call(c);
	if (r == -EPIPE)
		signal_raise(gt_self(), SIGPIPE, SI_USER);
	return restart(r);
}
