/* SPDX-License-Identifier: MIT
 *
 * A client process: one epoll loop over its share of the connections.
 *
 * Edge-triggered and with one registration for the life of a connection, so
 * that a request costs one send, one recv, and its part of an epoll_wait.
 * Connections are closed with a reset: that leaves no TIME_WAIT behind, which
 * would use up the ports of the next run.
 */
#include "green.h"
#include "load.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#define NOBODY UINT32_MAX
#define BUFFER_SIZE 65536
#define EVENTS 256
#define RAMP_WINDOW 128        /* connections opened and not yet answered */
#define IDLE_BURST 256         /* requests started between two looks at responses */
#define TICK_NS GREEN_MS(100)  /* timeouts and reconnections */
#define WAIT_NS GREEN_MS(20)   /* longest sleep: then the phase is looked at */
#define PORTS_PER_SOURCE 20000 /* connections from one loopback address */

#ifndef IP_BIND_ADDRESS_NO_PORT
#define IP_BIND_ADDRESS_NO_PORT 24
#endif

enum conn_state { CLOSED, CONNECTING, BUSY, IDLE };

struct client {
	struct load *load;
	struct load_client *out;
	struct hist *latency;
	struct load_conn *conns;
	uint32_t count, opened;
	uint32_t pending; /* opened, first response still to come */
	uint32_t idle_first, idle_last;
	uint32_t number_first; /* of all connections, that of our first */
	int epoll;
	int phase;
	int64_t now;
	int64_t next_tick_ns;
	double due_ns, interval_ns; /* of the next request, with a rate */
	char *buffer;
};

static void bump(_Atomic uint64_t *counter, uint64_t n)
{
	/* Single writer; the parent only reads. */
	atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + n,
	                      memory_order_relaxed);
}

static void count_open(struct client *c, struct load_conn *conn, bool open)
{
	if (conn->counted != open)
		bump(&c->out->open, open ? 1 : (uint64_t)-1);
	conn->counted = open;
}

static void idle_push(struct client *c, struct load_conn *conn)
{
	uint32_t index = (uint32_t)(conn - c->conns);
	conn->state = IDLE;
	if (conn->listed)
		return;
	conn->listed = true;
	conn->next = NOBODY;
	if (c->idle_first == NOBODY)
		c->idle_first = index;
	else
		c->conns[c->idle_last].next = index;
	c->idle_last = index;
}

/* The connection that has been idle longest; those that have been closed
 * meanwhile are dropped from the list. */
static struct load_conn *idle_pop(struct client *c)
{
	while (c->idle_first != NOBODY) {
		struct load_conn *conn = &c->conns[c->idle_first];
		c->idle_first = conn->next;
		conn->listed = false;
		if (conn->state == IDLE)
			return conn;
	}
	return NULL;
}

/* Gives the descriptor back; with a reset when the connection was in use. */
static void conn_drop(struct load_conn *conn, bool reset)
{
	const struct linger linger = { .l_onoff = 1 };
	if (conn->fd < 0)
		return;
	if (reset)
		setsockopt(conn->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
	close(conn->fd);
	conn->fd = -1;
}

static void conn_close(struct client *c, struct load_conn *conn)
{
	conn_drop(conn, true);
	if (!conn->counted && conn->state != CLOSED)
		c->pending--;
	count_open(c, conn, false);
	conn->state = CLOSED;
	http_reset(&conn->http);
}

static void conn_fail(struct client *c, struct load_conn *conn, enum load_error kind, int error)
{
	bump(&c->out->errors[kind], 1);
	if (error)
		atomic_store_explicit(&c->out->last_errno, error, memory_order_relaxed);
	conn_close(c, conn);
}

static enum load_error error_kind(int error, bool connecting)
{
	if (error == ECONNREFUSED)
		return ERROR_REFUSED;
	if (connecting)
		return ERROR_CONNECT;
	return error == ECONNRESET || error == EPIPE ? ERROR_RESET : ERROR_CONNECT;
}

static void conn_send(struct client *c, struct load_conn *conn)
{
	const char *bytes;
	size_t size = c->load->protocol->request(c->load, conn, &bytes);
	conn->blocked = false;
	while (conn->sent < size) {
		ssize_t n = send(conn->fd, bytes + conn->sent, size - conn->sent, MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			conn->blocked = errno == EAGAIN; /* then EPOLLOUT comes */
			if (!conn->blocked)
				conn_fail(c, conn, error_kind(errno, false), errno);
			return;
		}
		conn->sent += (uint32_t)n;
	}
}

static void conn_request(struct client *c, struct load_conn *conn, int64_t begin_ns)
{
	conn->state = BUSY;
	conn->sent = 0;
	conn->got = 0;
	conn->sequence++;
	conn->begin_ns = begin_ns;
	conn->since_ns = c->now;
	conn_send(c, conn);
}

/* Many connections to one loopback port need several source addresses. */
static int bind_source(const struct client *c, int fd, uint32_t index)
{
	const struct sockaddr_in *to = (const struct sockaddr_in *)&c->load->address;
	uint32_t source = (c->number_first + index) / PORTS_PER_SOURCE;
	if (!source || to->sin_family != AF_INET || ntohl(to->sin_addr.s_addr) >> 24 != 127)
		return 0;
	const int on = 1;
	struct sockaddr_in from = { .sin_family = AF_INET };
	from.sin_addr.s_addr = htonl(INADDR_LOOPBACK + source);
	setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof(on));
	return bind(fd, (struct sockaddr *)&from, sizeof(from));
}

static void conn_open(struct client *c, struct load_conn *conn, int64_t begin_ns)
{
	const int on = 1;
	uint32_t index = (uint32_t)(conn - c->conns);
	struct epoll_event event = { .events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
		                     .data.u32 = index };
	conn->state = CONNECTING;
	conn->begin_ns = begin_ns;
	conn->since_ns = c->now;
	c->pending += !conn->counted;
	conn->fd =
		socket(c->load->address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (conn->fd < 0 || bind_source(c, conn->fd, index) < 0) {
		conn_fail(c, conn, ERROR_CONNECT, errno);
		return;
	}
	setsockopt(conn->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	if (epoll_ctl(c->epoll, EPOLL_CTL_ADD, conn->fd, &event) < 0 ||
	    (connect(conn->fd, (struct sockaddr *)&c->load->address, c->load->address_size) < 0 &&
	     errno != EINPROGRESS))
		conn_fail(c, conn, error_kind(errno, true), errno);
}

/* The next request; on a new connection where the server closes each. */
static void conn_start(struct client *c, struct load_conn *conn, int64_t begin_ns)
{
	if (conn->fd < 0)
		conn_open(c, conn, begin_ns);
	else
		conn_request(c, conn, begin_ns);
}

static void conn_done(struct client *c, struct load_conn *conn, bool close_it)
{
	c->now = green_now();
	if (c->phase == LOAD_RUN)
		hist_add(c->latency, c->now - conn->begin_ns);
	if (!conn->counted) {
		c->pending--;
		count_open(c, conn, true);
	}
	http_reset(&conn->http);
	if (close_it) {
		bump(&c->out->reconnects, 1);
		conn_drop(conn, false);
	}
	if (c->phase == LOAD_RUN && !c->load->rate)
		conn_start(c, conn, c->now);
	else
		idle_push(c, conn);
}

/* The server has closed: between requests it may, else it is an error.  The
 * connection is opened again at the next tick. */
static void conn_ended(struct client *c, struct load_conn *conn)
{
	if (conn->state == IDLE) {
		bump(&c->out->reconnects, 1);
		conn_close(c, conn);
		return;
	}
	int verdict = c->load->protocol->receive(c->load, conn, c->buffer, 0);
	if (verdict == LOAD_DONE_CLOSE || verdict == LOAD_DONE)
		conn_done(c, conn, true);
	else if (verdict > LOAD_FAILED)
		conn_fail(c, conn, (enum load_error)(verdict - LOAD_FAILED), 0);
	else
		conn_fail(c, conn, ERROR_CLOSED, 0);
}

/* Judges what has arrived; false: the connection is not as it was. */
static bool conn_judge(struct client *c, struct load_conn *conn, size_t size)
{
	bump(&c->out->bytes, size);
	if (conn->state != BUSY) {
		conn_fail(c, conn, ERROR_PROTOCOL, 0); /* nobody asked */
		return false;
	}
	int verdict = c->load->protocol->receive(c->load, conn, c->buffer, size);
	if (verdict >= LOAD_FAILED) {
		conn_fail(c, conn, (enum load_error)(verdict - LOAD_FAILED), 0);
		return false;
	}
	if (verdict == LOAD_DONE || verdict == LOAD_DONE_CLOSE)
		conn_done(c, conn, verdict == LOAD_DONE_CLOSE);
	return verdict != LOAD_DONE_CLOSE && conn->fd >= 0;
}

static void conn_receive(struct client *c, struct load_conn *conn, bool to_the_end)
{
	for (;;) {
		ssize_t n = recv(conn->fd, c->buffer, BUFFER_SIZE, 0);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			if (errno == EAGAIN)
				return;
			if (conn->state == IDLE)
				conn_ended(c, conn);
			else
				conn_fail(c, conn, error_kind(errno, false), errno);
			return;
		}
		if (n == 0) {
			conn_ended(c, conn);
			return;
		}
		if (!conn_judge(c, conn, (size_t)n))
			return;
		/* A short read has emptied the socket: what comes next makes a new
		 * event, unless the end of the stream was announced with this one. */
		if (n < BUFFER_SIZE && !to_the_end)
			return;
	}
}

static void conn_connected(struct client *c, struct load_conn *conn)
{
	int error = 0;
	socklen_t size = sizeof(error);
	getsockopt(conn->fd, SOL_SOCKET, SO_ERROR, &error, &size);
	if (error)
		conn_fail(c, conn, error_kind(error, true), error);
	else
		conn_request(c, conn, conn->begin_ns);
}

static void conn_event(struct client *c, struct load_conn *conn, uint32_t events)
{
	if (conn->fd < 0)
		return;
	if (conn->state == CONNECTING) {
		if (events & (EPOLLOUT | EPOLLERR | EPOLLHUP))
			conn_connected(c, conn);
		return;
	}
	if ((events & EPOLLOUT) && conn->blocked && conn->state == BUSY)
		conn_send(c, conn);
	if (conn->fd >= 0 && (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)))
		conn_receive(c, conn, events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR));
}

static bool waits(const struct load_conn *conn)
{
	return conn->state == CONNECTING || conn->state == BUSY;
}

static bool finished(const struct client *c)
{
	if (c->phase != LOAD_FINISH)
		return c->phase == LOAD_STOP;
	for (uint32_t i = 0; i < c->opened; i++)
		if (waits(&c->conns[i]))
			return false;
	return true;
}

static void open_more(struct client *c)
{
	while (c->phase < LOAD_FINISH && c->opened < c->count && c->pending < RAMP_WINDOW)
		conn_open(c, &c->conns[c->opened++], c->now);
}

/* Starts requests: all that can, or those that are due.  With a rate, latency
 * counts from when a request was due, also when no connection was free then. */
static void start_idle(struct client *c)
{
	if (c->phase != LOAD_RUN)
		return;
	for (int i = 0; i < IDLE_BURST; i++) {
		if (c->load->rate && c->due_ns > (double)c->now)
			return;
		struct load_conn *conn = idle_pop(c);
		if (!conn)
			return;
		conn_start(c, conn, c->load->rate ? (int64_t)c->due_ns : c->now);
		c->due_ns += c->interval_ns;
	}
}

/* Timeouts, and another try for what was closed. */
static void tick(struct client *c)
{
	int64_t timeout_ns = (int64_t)(c->load->timeout_s * 1e9);
	c->next_tick_ns = c->now + TICK_NS;
	for (uint32_t i = 0; i < c->opened; i++) {
		struct load_conn *conn = &c->conns[i];
		if (waits(conn) && c->now - conn->since_ns > timeout_ns)
			conn_fail(c, conn, ERROR_TIMEOUT, 0);
		else if (conn->state == CLOSED && c->pending < RAMP_WINDOW &&
		         c->phase < LOAD_FINISH)
			conn_open(c, conn, c->now);
	}
}

static int64_t wait_ns(const struct client *c)
{
	if (c->phase != LOAD_RUN || c->idle_first == NOBODY)
		return WAIT_NS;
	if (!c->load->rate)
		return 0;
	int64_t due = (int64_t)c->due_ns - c->now;
	return due < 0 ? 0 : due < WAIT_NS ? due : WAIT_NS;
}

static void follow_phase(struct client *c)
{
	int phase = atomic_load_explicit(&c->load->shared->phase, memory_order_relaxed);
	if (phase == LOAD_RUN && c->phase != LOAD_RUN)
		c->due_ns = (double)c->now;
	c->phase = phase;
}

static void loop(struct client *c)
{
	struct epoll_event events[EVENTS];
	while (!finished(c)) {
		open_more(c);
		start_idle(c);
		int64_t ns = wait_ns(c);
		struct timespec timeout = { ns / GREEN_S(1), ns % GREEN_S(1) };
		int n = epoll_pwait2(c->epoll, events, EVENTS, &timeout, NULL);
		c->now = green_now();
		for (int i = 0; i < n; i++)
			conn_event(c, &c->conns[events[i].data.u32], events[i].events);
		c->now = green_now();
		if (c->now >= c->next_tick_ns)
			tick(c);
		follow_phase(c);
	}
}

int client_main(struct load *load, unsigned number, uint64_t connections)
{
	struct client c = {
		.load = load,
		.out = &load->shared->client[number],
		.latency = &load->latency->each[number],
		.count = (uint32_t)connections,
		.idle_first = NOBODY,
		.interval_ns = load->rate ? 1e9 * load->clients / (double)load->rate : 0,
		.now = green_now(),
	};
	for (unsigned i = 0; i < number; i++)
		c.number_first += (uint32_t)load_share(load, i);
	c.conns = calloc(connections, sizeof(*c.conns));
	c.buffer = malloc(BUFFER_SIZE);
	c.epoll = epoll_create1(EPOLL_CLOEXEC);
	int status = EXIT_CANNOT;
	if (c.conns && c.buffer && c.epoll >= 0) {
		for (uint32_t i = 0; i < c.count; i++)
			c.conns[i].fd = -1;
		loop(&c);
		for (uint32_t i = 0; i < c.count; i++)
			conn_close(&c, &c.conns[i]);
		status = EXIT_OK;
	}
	free(c.conns);
	free(c.buffer);
	if (c.epoll >= 0)
		close(c.epoll);
	return status;
}
