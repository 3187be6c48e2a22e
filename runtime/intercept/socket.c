/* SPDX-License-Identifier: MIT
 *
 * recvfrom(2), sendto(2), recvmsg(2), sendmsg(2) and the many-message calls: the full
 * stage.  And setsockopt(2), for what bounds the others.
 */
#include "intercept/wait.h"
#include "io_socket.h"
#include "iov.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <string.h>

#define NO_WAIT_FLAGS (MSG_DONTWAIT | MSG_OOB | MSG_ERRQUEUE)
#define MESSAGES_MAX 1024 /* the kernel's UIO_MAXIOV */

/* What the fast stage has found, for the first time that it is asked. */
static long found(struct call *c)
{
	long r = c->result;

	c->result = 0;
	return r;
}

static void raise_pipe(struct gt *self, long r, int flags)
{
	if (unlikely(r == -EPIPE) && !(flags & MSG_NOSIGNAL))
		signal_raise(self, SIGPIPE, SI_USER);
}

static inline long with_done(long done, long r)
{
	return done > 0 ? done + (r > 0 ? r : 0) : r;
}

/* ---- receiving -------------------------------------------------------------------- */

long call_recvfrom(struct call *c)
{
	long done = found(c);
	struct io_call io;
	struct receive r = { .call = &io, .flags = (int)c->arg[3] };

	long n = wait_begin(&io, c, (int)c->arg[0]);
	if (n < 0)
		return n;
	if (r.flags & NO_WAIT_FLAGS) {
		io_learn_socket(io.fd);
		io_went_on(&io);
		return CALL_PASS;
	}
	if (done < 0)
		done = 0;
	r.buf = (char *)c->arg[1] + done;
	r.len = (size_t)(c->arg[2] - done);
	if (!done) {
		r.addr = (struct sockaddr *)c->arg[4];
		r.addrlen = (socklen_t *)c->arg[5];
	}
	return with_done(done, wait_end(&io, io_receive(&r)));
}

long call_recvmsg(struct call *c)
{
	struct io_call io;
	struct receive r = { .call = &io,
		             .flags = (int)c->arg[2],
		             .msg = (struct msghdr *)c->arg[1] };

	found(c);
	long n = wait_begin(&io, c, (int)c->arg[0]);
	if (n < 0)
		return n;
	if (r.flags & NO_WAIT_FLAGS) {
		io_learn_socket(io.fd);
		io_went_on(&io);
		return CALL_PASS;
	}
	n = io_receive_message(&r);
	if (n >= 0)
		wait_note_received(r.msg);
	return wait_end(&io, n);
}

/* ---- sending ---------------------------------------------------------------------- */

long call_sendto(struct call *c)
{
	long done = found(c);
	struct io_call io;
	struct send s = { .call = &io, .flags = (int)c->arg[3] };

	long n = wait_begin(&io, c, (int)c->arg[0]);
	if (n < 0)
		return n;
	if (done == -EPIPE) {
		raise_pipe(io.self, done, s.flags);
		return done;
	}
	if (done < 0)
		done = 0;
	s.buf = (const char *)c->arg[1] + done;
	s.len = (size_t)(c->arg[2] - done);
	s.addr = (const struct sockaddr *)c->arg[4];
	s.addrlen = (socklen_t)c->arg[5];
	n = io_send(&s);
	if (n >= 0)
		io_learn_socket(io.fd);
	if (!done)
		raise_pipe(io.self, n, s.flags);
	if (s.flags & MSG_DONTWAIT)
		io_went_on(&io);
	return with_done(done, wait_end(&io, n));
}

long call_sendmsg(struct call *c)
{
	long done = found(c);
	struct io_call io;
	struct send s = { .call = &io,
		          .flags = (int)c->arg[2],
		          .msg = (const struct msghdr *)c->arg[1] };

	long n = wait_begin(&io, c, (int)c->arg[0]);
	if (n < 0)
		return n;
	if (done == -EPIPE) {
		raise_pipe(io.self, done, s.flags);
		return done;
	}
	/* The rest's result counts what has been sent before. */
	n = io_send_message(&s, done > 0 ? (size_t)done : 0);
	if (n >= 0)
		io_learn_socket(io.fd);
	raise_pipe(io.self, n, s.flags);
	if (s.flags & MSG_DONTWAIT)
		io_went_on(&io);
	return wait_end(&io, n);
}

/* ---- many messages ----------------------------------------------------------------- */

/* Receives what is there, waiting for the first: a count of messages or -errno. */
static long receive_some(struct io_call *io, struct mmsghdr *at, unsigned count, int flags)
{
	for (;;) {
		long n = sys5(SYS_recvmmsg, io->fd, at, count, flags | MSG_DONTWAIT, NULL);
		if (n != -EAGAIN || (flags & MSG_DONTWAIT))
			return n;
		n = io->wait(io, POLLIN);
		if (n < 0)
			return n;
	}
}

static long receive_many(struct io_call *io, struct mmsghdr *messages, unsigned count, int flags,
                         int64_t until)
{
	unsigned done = 0;

	while (done < count) {
		long n = receive_some(io, messages + done, count - done, flags & ~MSG_WAITFORONE);
		if (n < 0)
			return done ? (long)done : n;
		done += (unsigned)n;
		io->vain = 0;
		/* As in the kernel, the limit is looked at after each, and only then. */
		if ((flags & (MSG_WAITFORONE | NO_WAIT_FLAGS)) || n == 0 || sys.now() >= until)
			break;
	}
	return (long)done;
}

long call_recvmmsg(struct call *c)
{
	struct mmsghdr *messages = (struct mmsghdr *)c->arg[1];
	struct timespec *limit = (struct timespec *)c->arg[4];
	unsigned count = (unsigned)c->arg[2];
	int64_t until = GREEN_FOREVER;
	struct io_call io;

	long r = wait_begin(&io, c, (int)c->arg[0]);
	if (r < 0)
		return r;
	if (limit) {
		int64_t ns = wait_duration(limit);
		if (ns < 0)
			return -EINVAL;
		until = wait_deadline(ns);
	}
	if (count > MESSAGES_MAX)
		count = MESSAGES_MAX;
	if (count == 0 || (c->arg[3] & NO_WAIT_FLAGS))
		return CALL_PASS;
	r = receive_many(&io, messages, count, (int)c->arg[3], until);
	for (long i = 0; i < r; i++)
		wait_note_received(&messages[i].msg_hdr);
	if (r > 0) {
		io_learn_socket(io.fd);
		if (limit)
			*limit = wait_left(until);
	}
	return wait_end(&io, r);
}

/* The one message that a stream has taken in part only. */
static long send_rest(struct io_call *io, struct mmsghdr *m, int flags)
{
	struct send s = { .call = io, .flags = flags, .msg = &m->msg_hdr };
	long n = io_send_message(&s, m->msg_len);

	if (n > 0)
		m->msg_len = (unsigned)n;
	return n;
}

static long send_many(struct io_call *io, struct mmsghdr *messages, unsigned count, int flags)
{
	unsigned done = 0;

	while (done < count) {
		long n = sys4(SYS_sendmmsg, io->fd, messages + done, count - done,
		              flags | MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n == -EAGAIN && !(flags & MSG_DONTWAIT)) {
			n = io->wait(io, POLLOUT);
			if (n >= 0)
				continue;
		}
		if (n <= 0)
			return done ? (long)done : n;
		done += (unsigned)n;
		io->vain = 0;
		if (flags & MSG_DONTWAIT)
			break;
		struct mmsghdr *last = &messages[done - 1];
		if (last->msg_len < iov_total(last->msg_hdr.msg_iov, (int)last->msg_hdr.msg_iovlen))
			send_rest(io, last, flags);
	}
	return (long)done;
}

long call_sendmmsg(struct call *c)
{
	unsigned count = (unsigned)c->arg[2];
	int flags = (int)c->arg[3];
	struct io_call io;

	long r = wait_begin(&io, c, (int)c->arg[0]);
	if (r < 0)
		return r;
	if (count > MESSAGES_MAX)
		count = MESSAGES_MAX;
	if (count == 0)
		return CALL_PASS;
	r = send_many(&io, (struct mmsghdr *)c->arg[1], count, flags);
	raise_pipe(io.self, r, flags);
	return wait_end(&io, r);
}
