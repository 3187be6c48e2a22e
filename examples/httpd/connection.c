/* SPDX-License-Identifier: MIT
 *
 * The life of a connection, and what its handlers send and receive by.
 */
#include "connection.h"
#include "body.h"
#include "idle.h"
#include "local.h"
#include "log.h"
#include "response.h"
#include "route.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>

ssize_t connection_receive(struct connection *c)
{
	struct exchange *x = c->x;
	ssize_t n;

	if (x->start > 0 && x->in_size - x->end < BODY_WINDOW / 2)
		exchange_compact(x);
	assert(x->end < x->in_size);
	/* Mostly there is something: idle_wait() has seen it, or it came with the head.
	 * A call that may wait could let others run before it looks, and meanwhile
	 * all of them would hold exchanges. */
	n = green_recv(c->fd, x->in + x->end, x->in_size - x->end, MSG_DONTWAIT);
	if (n == -EAGAIN)
		n = green_recv(c->fd, x->in + x->end, x->in_size - x->end, 0);
	if (n > 0)
		x->end += (size_t)n;
	return n != 0 ? n : -ECONNRESET;
}

static void iov_advance(struct iovec **iov, int *count, size_t n)
{
	while (*count > 0 && n >= (*iov)->iov_len) {
		n -= (*iov)->iov_len;
		++*iov;
		--*count;
	}
	if (*count > 0) {
		(*iov)->iov_base = (char *)(*iov)->iov_base + n;
		(*iov)->iov_len -= n;
	}
}

int connection_send(struct connection *c, struct iovec *iov, int count, bool more)
{
	int flags = more ? MSG_MORE : 0;

	iov_advance(&iov, &count, 0);
	while (count > 0) {
		struct msghdr message = { .msg_iov = iov, .msg_iovlen = (size_t)count };
		struct green_deadline scope;
		ssize_t n;

		green_deadline_begin(&scope, config.write_timeout_ns);
		n = count == 1 ? green_send(c->fd, iov->iov_base, iov->iov_len, flags)
		               : green_sendmsg(c->fd, &message, flags);
		green_deadline_end(&scope);
		if (n <= 0)
			return n < 0 ? (int)n : -EPIPE;
		/* A short count means that the time was up: progress buys more. */
		iov_advance(&iov, &count, (size_t)n);
	}
	return 0;
}

int connection_send_file(struct connection *c, int file, off_t offset, uint64_t count)
{
	while (count > 0) {
		size_t piece = count < SSIZE_MAX ? (size_t)count : SSIZE_MAX;
		struct green_deadline scope;
		ssize_t n;

		green_deadline_begin(&scope, config.write_timeout_ns);
		n = green_sendfile(c->fd, file, &offset, piece);
		green_deadline_end(&scope);
		if (n <= 0)
			return n < 0 ? (int)n : -EIO;
		count -= (uint64_t)n;
		c->x->sent += (uint64_t)n;
	}
	return 0;
}

/* Reads until the head is complete.  0, -status or -errno. */
static int read_head(struct connection *c)
{
	struct exchange *x = c->x;
	struct green_deadline scope;
	ssize_t received = 1;
	int n;

	green_deadline_begin(&scope, config.header_timeout_ns);
	do
		n = request_parse(&x->request, x->in + x->start, x->end - x->start);
	while (n == 0 && (received = connection_receive(c)) > 0);
	green_deadline_end(&scope);

	if (n > 0) {
		x->head = (size_t)n;
		x->at = x->start + x->head;
		return 0;
	}
	if (n < 0 || x->start == x->end)
		return n < 0 ? n : (int)received;
	if (received == -ETIMEDOUT)
		return -408;
	/* A client that sent half a head and no more may still listen. */
	return received == -ECONNRESET ? -400 : (int)received;
}

/* Closing a socket with unread bytes in it resets the connection, and the reset
 * may overtake the answer. */
static bool must_linger(const struct connection *c)
{
	const struct exchange *x = c->x;

	/* Bytes of this request, or of a next one that the client may have sent. */
	return c->closing && x->status != 0 && (!body_complete(x) || x->request.keep_alive);
}

/* Says that we are done, and swallows what still comes, for a while. */
static void linger(struct connection *c)
{
	struct exchange *x = c->x;
	struct green_deadline scope;
	size_t swallowed = 0;
	ssize_t n;

	if (shutdown(c->fd, SHUT_WR) != 0)
		return;
	green_deadline_begin(&scope, LINGER_NS);
	while ((n = green_recv(c->fd, x->in, x->in_size, 0)) > 0 && swallowed < LINGER_MAX)
		swallowed += (size_t)n;
	green_deadline_end(&scope);
}

/* Reads one request and answers it. */
static void serve_request(struct connection *c)
{
	struct exchange *x = c->x;
	int result;

	exchange_begin(x);
	result = read_head(c);
	if (result == 0)
		result = body_begin(c);
	if (result == 0)
		result = route(c);
	if (result == 0 && !c->closing)
		result = body_discard(c);
	if (result < 0)
		c->closing = true;
	if (result <= -400 && x->status == 0)
		(void)respond_error(c, -result);
	if (x->status != 0) {
		local_count_request();
		log_exchange(c);
	}
	if (must_linger(c))
		linger(c);
	c->served = true;
	x->start = x->at;
}

/* Serves the requests that are there and those that come while one is being
 * answered; returns when the next one has to be waited for. */
static void serve_requests(struct connection *c)
{
	static const char busy[] = "HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\n"
				   "Retry-After: 1\r\nContent-Length: 0\r\n\r\n";

	c->x = exchange_take();
	if (!c->x) {
		struct iovec iov = { (char *)busy, sizeof(busy) - 1 };

		connection_send(c, &iov, 1, false);
		c->closing = true;
		return;
	}
	do
		serve_request(c);
	while (!c->closing && c->x->start < c->x->end);
	exchange_give(c->x);
	c->x = NULL;
}

void connection_serve(int fd, void *unused)
{
	struct connection c = { .fd = fd };

	(void)unused;
	log_peer(&c);
	/* Ten thousand of these wait in idle_wait() at once: nothing but this
	 * frame and the runtime's may be on the stack there. */
	while (!c.closing &&
	       idle_wait(fd, c.served ? config.idle_timeout_ns : config.header_timeout_ns))
		serve_requests(&c);
}
