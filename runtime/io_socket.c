/* SPDX-License-Identifier: MIT
 *
 * green_recv(), green_send() and their relatives.
 */
#include "io_socket.h"
#include "iov.h"

#include <errno.h>
#include <limits.h>
#include <netinet/in.h>
#include <string.h>

/* These never wait in the kernel either. */
#define NO_WAIT_FLAGS (MSG_DONTWAIT | MSG_OOB | MSG_ERRQUEUE)

int io_socket_option(int fd, int option, int *value)
{
	socklen_t size = sizeof(*value);

	return (int)sys5(SYS_getsockopt, fd, SOL_SOCKET, option, value, &size);
}

static bool is_stream(int fd)
{
	int type;

	return io_socket_option(fd, SO_TYPE, &type) == 0 && type == SOCK_STREAM;
}

void io_learn_socket(int fd)
{
	if (likely(fd_hint(fd) & FD_SOCKET))
		return;
	fd_hint_change(fd, FD_NOT_SOCKET | FD_STREAM, FD_SOCKET | (is_stream(fd) ? FD_STREAM : 0));
}

/* ---- receiving -------------------------------------------------------------------- */

static long receive_attempt(void *args, bool block)
{
	struct receive *r = args;
	int flags = r->flags | (block ? 0 : MSG_DONTWAIT);

	if (r->msg)
		return sys3(SYS_recvmsg, r->call->fd, r->msg, flags);
	return sys6(SYS_recvfrom, r->call->fd, r->buf, r->len, flags, r->addr, r->addrlen);
}

/* Without a wait: the flags say so, though not every protocol knows them all. */
static long receive_now(struct receive *r)
{
	long n;

	do
		n = receive_attempt(r, r->call->block);
	while (n == -EINTR);
	return n;
}

/* Receives once, waiting; and remembers whether that emptied a stream. */
static long receive_once(struct receive *r, size_t room)
{
	struct io_call *call = r->call;
	bool drained = fd_hint(call->fd) & FD_DRAINED;
	long n = io_run(call, POLLIN, receive_attempt, r, drained);

	if (unlikely(n < 0))
		return n;
	uint16_t hint = fd_hint(call->fd);
	if (unlikely(!(hint & FD_SOCKET))) {
		io_learn_socket(call->fd);
		hint = fd_hint(call->fd);
	}
	drained = (hint & (FD_STREAM | FD_POLLED | FD_REFILLED)) == FD_STREAM && n > 0 &&
	          (size_t)n < room && !(r->flags & MSG_PEEK);
	fd_hint_change(call->fd, drained ? 0 : FD_DRAINED, drained ? FD_DRAINED : 0);
	return n;
}

/* MSG_PEEK with MSG_WAITALL: readiness says nothing about the amount, so look
 * again and again, with growing rests. */
static long peek_all(struct receive *r, size_t room)
{
	struct io_call *call = r->call;
	int domain = AF_UNSPEC;

	/* Local ones look once: Linux's meaning. */
	if (call->wait)
		io_socket_option(call->fd, SO_DOMAIN, &domain);
	for (;;) {
		long n = receive_once(r, room);
		if (domain == AF_UNIX)
			return n;
		if (n <= 0 || (size_t)n >= room || call->block || !is_stream(call->fd))
			return n;
		long ready = io_ready(call, POLLIN | POLLRDHUP);
		if (ready < 0)
			return ready;
		if (ready & (POLLRDHUP | POLLHUP | POLLERR))
			return receive_once(r, room);
	}
}

/* MSG_WAITALL on a stream: until len bytes, the end or an error. */
static long receive_all(struct receive *r)
{
	struct io_call *call = r->call;
	size_t done = 0;

	for (;;) {
		long n = receive_once(r, r->len);
		if (n <= 0)
			return done ? (long)done : n;
		done += (size_t)n;
		if ((size_t)n >= r->len || !is_stream(call->fd))
			return (long)done;
		r->buf = (char *)r->buf + n;
		r->len -= (size_t)n;
		call->vain = 0;
	}
}

ssize_t io_receive(struct receive *r)
{
	if (unlikely(r->flags & NO_WAIT_FLAGS))
		return receive_now(r);
	if (unlikely(r->flags & MSG_WAITALL)) {
		if (r->flags & MSG_PEEK)
			return peek_all(r, r->len);
		return receive_all(r);
	}
	return receive_once(r, r->len);
}

static ssize_t receive(int fd, struct receive *r, void *pc)
{
	struct io_call call;

	int e = io_call_begin(&call, fd, pc);
	if (unlikely(e < 0) || unlikely((e = io_lend(&call, r->buf)) < 0))
		return e;
	if (r->addr && ((e = io_lend(&call, r->addr)) < 0 || (e = io_lend(&call, r->addrlen)) < 0))
		return e;
	r->call = &call;
	ssize_t n = io_receive(r);
	r->call = NULL;
	io_call_end(&call);
	return n;
}

ssize_t green_recv(int fd, void *buf, size_t len, int flags)
{
	struct receive r = { .flags = flags, .buf = buf, .len = len };

	return receive(fd, &r, PARK_PC);
}

ssize_t green_recvfrom(int fd, void *buf, size_t len, int flags, struct sockaddr *addr,
                       socklen_t *addrlen)
{
	struct receive r = {
		.flags = flags, .buf = buf, .len = len, .addr = addr, .addrlen = addrlen
	};

	return receive(fd, &r, PARK_PC);
}

/* ---- recvmsg ------------------------------------------------------------------------ */

/* Descriptors came along: the kernel ends a MSG_WAITALL there, too. */
static bool has_rights(struct msghdr *msg)
{
	if (msg->msg_controllen < sizeof(struct cmsghdr))
		return false;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c))
		if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS)
			return true;
	return false;
}

/* The rest of a MSG_WAITALL, after done bytes; msg holds the first part's
 * results, control_room what the caller gave for control messages. */
static long receive_rest(struct receive *r, size_t done, size_t total, size_t control_room)
{
	struct msghdr *user = r->msg, part;
	struct iovec window[IOV_WINDOW];
	struct iov_cursor at = iov_begin(user->msg_iov, (int)user->msg_iovlen, window);
	int count;

	iov_advance(&at, done);
	while (done < total && !has_rights(user)) {
		memset(&part, 0, sizeof(part));
		part.msg_iov = (struct iovec *)(uintptr_t)iov_next(&at, &count);
		part.msg_iovlen = (size_t)count;
		part.msg_control = user->msg_control;
		part.msg_controllen = control_room;
		r->msg = &part;
		long n = receive_once(r, total - done);
		r->msg = user;
		if (n <= 0)
			break;
		user->msg_controllen = part.msg_controllen;
		user->msg_flags |= part.msg_flags;
		done += (size_t)n;
		r->call->vain = 0;
		iov_advance(&at, (size_t)n);
	}
	return (long)done;
}

ssize_t io_receive_message(struct receive *r)
{
	struct msghdr *msg = r->msg;

	if ((r->flags & NO_WAIT_FLAGS) || msg->msg_iovlen > IOV_MAX)
		return receive_now(r);
	size_t total = iov_total(msg->msg_iov, (int)msg->msg_iovlen);
	size_t control_room = msg->msg_controllen;
	if (!(r->flags & MSG_WAITALL))
		return receive_once(r, total);
	if (r->flags & MSG_PEEK)
		return peek_all(r, total);
	long n = receive_once(r, total);
	if (n <= 0 || (size_t)n >= total || !is_stream(r->call->fd))
		return n;
	return receive_rest(r, (size_t)n, total, control_room);
}

ssize_t green_recvmsg(int fd, struct msghdr *msg, int flags)
{
	struct io_call call;
	struct receive r = { .call = &call, .flags = flags, .msg = msg };

	int e = io_call_begin(&call, fd, PARK_PC);
	if (unlikely(e < 0) || unlikely((e = io_lend_msg(&call, msg)) < 0))
		return e;
	ssize_t n = io_receive_message(&r);
	io_call_end(&call);
	return n;
}

/* ---- sending -------------------------------------------------------------------------- */

static long send_attempt(void *args, bool block)
{
	struct send *s = args;
	int flags = s->flags | MSG_NOSIGNAL | (block ? 0 : MSG_DONTWAIT);
	long n;

	if (s->msg)
		n = sys3(SYS_sendmsg, s->call->fd, s->msg, flags);
	else
		n = sys6(SYS_sendto, s->call->fd, s->buf, s->len, flags, s->addr, s->addrlen);
	/* The connection that MSG_FASTOPEN asked for is under way. */
	if (n == -EINPROGRESS && (s->flags & MSG_FASTOPEN)) {
		s->flags &= ~MSG_FASTOPEN;
		return -EAGAIN;
	}
	return n;
}

static long send_now(struct send *s)
{
	long n;

	do
		n = send_attempt(s, true);
	while (n == -EINTR);
	return n;
}

ssize_t io_send(struct send *s)
{
	struct io_call *call = s->call;
	size_t done = 0;

	if (unlikely(s->flags & MSG_DONTWAIT))
		return send_now(s);
	for (;;) {
		long n = io_run(call, POLLOUT, send_attempt, s, false);
		if (unlikely(n < 0))
			return done ? (ssize_t)done : n;
		done += (size_t)n;
		if (likely((size_t)n >= s->len))
			return (ssize_t)done;
		s->buf = (const char *)s->buf + n;
		s->len -= (size_t)n;
		call->vain = 0;
	}
}

static ssize_t send_bytes(int fd, struct send *s, void *pc)
{
	struct io_call call;

	int e = io_call_begin(&call, fd, pc);
	if (unlikely(e < 0) || unlikely((e = io_lend(&call, s->buf)) < 0))
		return e;
	if (s->addr && (e = io_lend(&call, s->addr)) < 0)
		return e;
	s->call = &call;
	ssize_t n = io_send(s);
	s->call = NULL;
	io_call_end(&call);
	return n;
}

ssize_t green_send(int fd, const void *buf, size_t len, int flags)
{
	struct send s = { .flags = flags, .buf = buf, .len = len };

	return send_bytes(fd, &s, PARK_PC);
}

ssize_t green_sendto(int fd, const void *buf, size_t len, int flags, const struct sockaddr *addr,
                     socklen_t addrlen)
{
	struct send s = {
		.flags = flags, .buf = buf, .len = len, .addr = addr, .addrlen = addrlen
	};

	return send_bytes(fd, &s, PARK_PC);
}

/* What a stream did not take at first; control messages went with that. */
static long send_rest(const struct send *s, size_t done, size_t total)
{
	struct msghdr part = { .msg_name = s->msg->msg_name, .msg_namelen = s->msg->msg_namelen };
	struct send rest = { .call = s->call, .flags = s->flags, .msg = &part };
	struct iovec window[IOV_WINDOW];
	struct iov_cursor at = iov_begin(s->msg->msg_iov, (int)s->msg->msg_iovlen, window);
	int count;

	iov_advance(&at, done);
	while (done < total) {
		part.msg_iov = (struct iovec *)(uintptr_t)iov_next(&at, &count);
		part.msg_iovlen = (size_t)count;
		s->call->vain = 0;
		long n = io_run(s->call, POLLOUT, send_attempt, &rest, false);
		if (n < 0)
			break;
		done += (size_t)n;
		iov_advance(&at, (size_t)n);
	}
	return (long)done;
}

ssize_t io_send_message(struct send *s, size_t done)
{
	const struct msghdr *msg = s->msg;

	if ((s->flags & MSG_DONTWAIT) || msg->msg_iovlen > IOV_MAX)
		return send_now(s);
	size_t total = iov_total(msg->msg_iov, (int)msg->msg_iovlen);
	if (done == 0) {
		long n = io_run(s->call, POLLOUT, send_attempt, s, false);
		if (n < 0 || (size_t)n >= total)
			return n;
		done = (size_t)n;
	}
	return send_rest(s, done, total);
}

ssize_t green_sendmsg(int fd, const struct msghdr *msg, int flags)
{
	struct io_call call;
	struct send s = { .call = &call, .flags = flags, .msg = msg };

	int e = io_call_begin(&call, fd, PARK_PC);
	if (unlikely(e < 0) || unlikely((e = io_lend_msg(&call, msg)) < 0))
		return e;
	ssize_t n = io_send_message(&s, 0);
	io_call_end(&call);
	return n;
}
