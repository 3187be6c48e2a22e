/* SPDX-License-Identifier: MIT
 *
 * The calls that receive and send: results as their POSIX namesakes', waiting
 * where those block, on streams and datagrams.
 */
#define _GNU_SOURCE
#include "sockets.h"

#include <fcntl.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/un.h>

/* ---- streams --------------------------------------------------------------------- */

GREEN_TEST(a_receive_waits)
{
	struct pair p = new_pair(SOCK_STREAM);

	p.count = sizeof(p.buf);
	for (int i = 0; i < 3; i++) { /* the second and third with a hint */
		green_t t = start_green(receive, &p);
		await_parked(t);
		CHECK_EQ(green_send(p.a, "hello", 5, 0), 5);
		join_green(t);
		CHECK_EQ(p.result, 5);
	}
	/* What is there already, after a short one. */
	CHECK_EQ(green_send(p.a, "abc", 3, 0), 3);
	CHECK_EQ(green_recv(p.b, p.buf, 2, 0), 2);
	CHECK_EQ(green_recv(p.b, p.buf, 2, 0), 1);
	close_pair(&p);
}

GREEN_TEST(dontwait_does_not_wait)
{
	struct pair p = new_pair(SOCK_STREAM);
	char byte;

	CHECK_EQ(green_recv(p.a, &byte, 1, MSG_DONTWAIT), -EAGAIN);
	ssize_t n;
	size_t sent = 0;
	static char data[65536];
	while ((n = green_send(p.a, data, sizeof(data), MSG_DONTWAIT)) > 0)
		sent += (size_t)n;
	CHECK_EQ(n, -EAGAIN);
	CHECK_GT(sent, 0);
	struct msghdr msg = { .msg_iov = &(struct iovec){ data, 1 }, .msg_iovlen = 1 };
	CHECK_EQ(green_sendmsg(p.a, &msg, MSG_DONTWAIT), -EAGAIN);
	CHECK_EQ(green_recvmsg(p.a, &msg, MSG_DONTWAIT), -EAGAIN);
	CHECK_EQ(green_recv(p.a, &byte, 1, MSG_ERRQUEUE), -EAGAIN); /* never waits */
	close_pair(&p);
}

GREEN_TEST(a_send_waits_until_all_is_taken)
{
	struct pair p = new_pair(SOCK_STREAM);
	char *data = calloc(1, 4 * MIB);
	struct iovec iov[3] = { { data, MIB }, { data, 0 }, { data, 3 * MIB } };
	struct msghdr msg = { .msg_iov = iov, .msg_iovlen = 3 };

	green_t t = start_green(drain, &p);
	CHECK_EQ(green_send(p.a, data, 4 * MIB, 0), (ssize_t)(4 * MIB));
	CHECK_EQ(green_sendmsg(p.a, &msg, 0), (ssize_t)(4 * MIB));
	CHECK_EQ(green_writev(p.a, iov, 3), (ssize_t)(4 * MIB));
	CHECK_EQ(green_write(p.a, data, MIB), (ssize_t)MIB);
	CHECK_EQ(shutdown(p.a, SHUT_WR), 0);
	join_green(t);
	CHECK_EQ(p.result, (ssize_t)(13 * MIB));
	close_pair(&p);
	free(data);
}

GREEN_TEST(waitall_waits_for_all)
{
	struct pair p = new_pair(SOCK_STREAM);

	p.flags = MSG_WAITALL;
	p.count = 6;
	green_t t = start_green(receive, &p);
	await_parked(t);
	CHECK_EQ(green_send(p.a, "abc", 3, 0), 3);
	await_parked(t);
	CHECK_EQ(green_send(p.a, "defgh", 5, 0), 5);
	join_green(t);
	CHECK_EQ(p.result, 6);
	CHECK_EQ(memcmp(p.buf, "abcdef", 6), 0);
	/* The end comes first. */
	CHECK_EQ(shutdown(p.a, SHUT_WR), 0);
	CHECK_EQ(green_recv(p.b, p.buf, 6, MSG_WAITALL), 2);
	CHECK_EQ(green_recv(p.b, p.buf, 6, MSG_WAITALL), 0);
	close_pair(&p);
}

static void *receive_message(void *arg)
{
	struct pair *p = arg;
	struct iovec iov[2] = { { p->buf, 2 }, { p->buf + 10, 5 } };
	struct msghdr msg = { .msg_iov = iov, .msg_iovlen = 2 };

	p->result = green_recvmsg(p->b, &msg, MSG_WAITALL);
	return NULL;
}

GREEN_TEST(recvmsg_waitall_fills_the_vectors)
{
	struct pair p = new_pair(SOCK_STREAM);

	green_t t = start_green(receive_message, &p);
	for (const char *at = "abcdefg"; *at; at++) {
		await_parked(t);
		CHECK_EQ(green_send(p.a, at, 1, 0), 1);
	}
	join_green(t);
	CHECK_EQ(p.result, 7);
	CHECK_EQ(memcmp(p.buf, "ab", 2), 0);
	CHECK_EQ(memcmp(p.buf + 10, "cdefg", 5), 0);
	close_pair(&p);
}

GREEN_TEST(peek_leaves_the_bytes)
{
	struct pair p = new_pair(SOCK_STREAM);

	green_t t = start_green(send_slowly, &p);
	CHECK_GE(green_recv(p.b, p.buf, 64, MSG_PEEK), 2);
	CHECK_EQ(green_recv(p.b, p.buf, 8, MSG_PEEK | MSG_WAITALL), 8);
	CHECK_EQ(green_recv(p.b, p.buf, 64, 0), 8);
	join_green(t);
	CHECK_EQ(green_send(p.a, "xy", 2, 0), 2);
	shutdown(p.a, SHUT_WR);
	CHECK_EQ(green_recv(p.b, p.buf, 8, MSG_PEEK | MSG_WAITALL), 2);
	close_pair(&p);
}

GREEN_TEST(no_sigpipe_ever)
{
	struct pair p = new_pair(SOCK_STREAM);
	struct iovec iov[2] = { { p.buf, 1 }, { p.buf, 1 } };
	struct msghdr msg = { .msg_iov = iov, .msg_iovlen = 2 };

	signal(SIGPIPE, SIG_DFL);
	CHECK_EQ(green_close(p.b), 0);
	CHECK_EQ(green_send(p.a, "x", 1, 0), -EPIPE);
	CHECK_EQ(green_sendmsg(p.a, &msg, 0), -EPIPE);
	CHECK_EQ(green_write(p.a, "x", 1), -EPIPE);
	CHECK_EQ(green_writev(p.a, iov, 2), -EPIPE);
	CHECK_EQ(green_close(p.a), 0);
	/* A number that was something else before. */
	int fds[2];
	REQUIRE_EQ(pipe(fds), 0);
	fcntl(fds[1], F_SETFL, O_NONBLOCK);
	CHECK_EQ(green_write(fds[1], "x", 1), 1);
	CHECK_EQ(green_close(fds[1]), 0);
	p = new_pair(SOCK_STREAM);
	CHECK(p.a == fds[1] || p.b == fds[1]);
	int gone = p.a == fds[1] ? p.b : p.a;
	green_close(gone);
	CHECK_EQ(green_write(fds[1], "x", 1), -EPIPE);
	green_close(fds[1]);
	green_close(fds[0]);
}

GREEN_TEST(a_cancelled_send_returns_what_was_taken)
{
	struct pair p = new_pair(SOCK_STREAM);

	green_t t = start_green(send_much, &p);
	await_parked(t);
	green_cancel(t);
	join_green(t);
	CHECK_GT(p.result, 0);
	CHECK_LT(p.result, (ssize_t)(16 * MIB));
	ssize_t taken = p.result;
	shutdown(p.a, SHUT_WR);
	drain(&p);
	CHECK_EQ(p.result, taken);
	close_pair(&p);
}

GREEN_TEST(half_closed_and_reset)
{
	struct sockaddr_in at;
	struct linger now = { 1, 0 };
	char buf[8];
	int listener = new_listener(SOCK_NONBLOCK, 16, &at);
	int client = green_socket(AF_INET, SOCK_STREAM, 0);

	CHECK_EQ(green_connect(client, (struct sockaddr *)&at, sizeof(at)), 0);
	int server = green_accept(listener, NULL, NULL, SOCK_CLOEXEC);
	CHECK_GE(server, 0);
	CHECK_EQ(shutdown(client, SHUT_WR), 0);
	CHECK_EQ(green_recv(server, buf, 8, 0), 0);
	CHECK_EQ(green_send(server, "still", 5, 0), 5);
	CHECK_EQ(green_recv(client, buf, 8, 0), 5);
	setsockopt(server, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	CHECK_EQ(green_close(server), 0);
	CHECK_EQ(green_recv(client, buf, 8, 0), -ECONNRESET);
	CHECK_EQ(green_close(client), 0);
	CHECK_EQ(green_close(listener), 0);
}

/* ---- datagrams --------------------------------------------------------------------- */

GREEN_TEST(datagrams_stay_whole)
{
	struct pair p = new_pair(SOCK_DGRAM);
	char buf[16];

	CHECK_EQ(green_send(p.a, "one", 3, 0), 3);
	CHECK_EQ(green_write(p.a, "", 0), 0);
	CHECK_EQ(green_send(p.a, "three", 5, 0), 5);
	CHECK_EQ(green_send(p.a, "four", 4, 0), 4);
	CHECK_EQ(green_recv(p.b, buf, 16, MSG_WAITALL), 3);
	CHECK_EQ(green_recv(p.b, buf, 16, 0), 0); /* the empty one */
	CHECK_EQ(green_recv(p.b, buf, 2, MSG_TRUNC | MSG_PEEK), 5);
	CHECK_EQ(green_recv(p.b, buf, 2, MSG_TRUNC), 5);
	CHECK_EQ(green_read(p.b, buf, 2), 2);
	CHECK_EQ(green_recv(p.b, buf, 1, MSG_DONTWAIT), -EAGAIN);
	p.count = 10;
	green_t t = start_green(receive, &p);
	await_parked(t);
	struct iovec iov[2] = { { (char[]){ "ab" }, 2 }, { (char[]){ "cd" }, 2 } };
	CHECK_EQ(green_writev(p.a, iov, 2), 4);
	join_green(t);
	CHECK_EQ(p.result, 4);
	close_pair(&p);
}

static void *read_datagrams(void *arg)
{
	struct pair *p = arg;
	char buf[32];
	size_t n = 0;

	green_sleep(GREEN_MS(20));
	while (n < p->count && green_recv(p->b, buf, sizeof(buf), 0) == 4)
		n++;
	p->result = (ssize_t)n;
	return NULL;
}

/* POLLOUT says nothing about the receiver of an unconnected datagram socket. */
GREEN_TEST(a_datagram_waits_for_a_full_receiver)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	struct pair p = { .count = 2000 };

	snprintf(at.sun_path + 1, sizeof(at.sun_path) - 1, "green-dgram-%d", getpid());
	p.a = green_socket(AF_UNIX, SOCK_DGRAM, 0);
	p.b = green_socket(AF_UNIX, SOCK_DGRAM, 0);
	REQUIRE_EQ(bind(p.b, (struct sockaddr *)&at, sizeof(at)), 0);
	green_t t = start_green(read_datagrams, &p);
	for (size_t i = 0; i < p.count; i++)
		CHECK_EQ(green_sendto(p.a, "data", 4, 0, (struct sockaddr *)&at, sizeof(at)), 4);
	join_green(t);
	CHECK_EQ(p.result, (ssize_t)p.count);
	close_pair(&p);
}

GREEN_TEST(recvfrom_tells_the_sender)
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
	struct sockaddr_in from, other = at;
	socklen_t size = sizeof(at);
	char buf[8];

	int a = green_socket(AF_INET, SOCK_DGRAM, 0), b = green_socket(AF_INET, SOCK_DGRAM, 0);
	REQUIRE_EQ(bind(a, (struct sockaddr *)&at, size), 0);
	REQUIRE_EQ(bind(b, (struct sockaddr *)&other, size), 0);
	REQUIRE_EQ(getsockname(a, (struct sockaddr *)&at, &size), 0);
	REQUIRE_EQ(getsockname(b, (struct sockaddr *)&other, &size), 0);
	CHECK_EQ(green_sendto(a, "hi", 2, 0, (struct sockaddr *)&other, size), 2);
	memset(&from, 0, sizeof(from));
	CHECK_EQ(green_recvfrom(b, buf, 8, 0, (struct sockaddr *)&from, &size), 2);
	CHECK_EQ(size, sizeof(from));
	CHECK_EQ(from.sin_port, at.sin_port);
	CHECK_EQ(green_send(a, "hi", 2, 0), -EDESTADDRREQ);
	green_close(a);
	green_close(b);
}

/* ---- messages with descriptors ------------------------------------------------------ */

static void *receive_descriptor(void *arg)
{
	struct pair *p = arg;
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec iov = { p->buf, 8 };
	struct msghdr msg = { .msg_iov = &iov,
		              .msg_iovlen = 1,
		              .msg_control = &control,
		              .msg_controllen = sizeof(control) };

	p->result = green_recvmsg(p->b, &msg, MSG_CMSG_CLOEXEC | p->flags);
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
	if (CHECK(c && c->cmsg_type == SCM_RIGHTS))
		memcpy(&p->count, CMSG_DATA(c), sizeof(int));
	return NULL;
}

GREEN_TEST(descriptors_are_passed)
{
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(sizeof(int))];
	} control = { .head = { .cmsg_len = CMSG_LEN(sizeof(int)),
		                .cmsg_level = SOL_SOCKET,
		                .cmsg_type = SCM_RIGHTS } };
	struct pair p = new_pair(SOCK_STREAM);
	struct iovec iov = { p.buf, 1 };
	struct msghdr msg = { .msg_iov = &iov,
		              .msg_iovlen = 1,
		              .msg_control = &control,
		              .msg_controllen = sizeof(control) };

	memcpy(CMSG_DATA(&control.head), &p.a, sizeof(int));
	for (int i = 0; i < 2; i++) {
		p.flags = i ? MSG_WAITALL : 0;
		p.count = 0;
		green_t t = start_green(receive_descriptor, &p);
		await_parked(t);
		if (i) /* a byte without a descriptor first */
			CHECK_EQ(green_send(p.a, "x", 1, 0), 1);
		CHECK_EQ(green_sendmsg(p.a, &msg, 0), 1);
		join_green(t); /* descriptors end a MSG_WAITALL */
		CHECK_EQ(p.result, 1 + i);
		CHECK_GT((int)p.count, 2);
		CHECK_EQ(green_close((int)p.count), 0);
	}
	close_pair(&p);
}

/* ---- outside green threads ------------------------------------------------------------- */

static void *echo_once(void *arg)
{
	struct pair *p = arg;
	char buf[16];

	usleep(10000);
	ssize_t n = green_recv(p->b, buf, sizeof(buf), 0);
	CHECK_EQ(green_send(p->b, buf, (size_t)n, 0), n);
	return NULL;
}

TEST(in_an_os_thread_the_calls_block)
{
	struct pair p = new_pair(SOCK_STREAM);
	struct green_deadline scope;
	char buf[16];

	for (int i = 0; i < 2; i++) {
		fcntl(p.a, F_SETFL, i ? O_NONBLOCK : 0);
		pthread_t t = start_os(echo_once, &p);
		CHECK_EQ(green_send(p.a, "abc", 3, 0), 3);
		CHECK_EQ(green_recv(p.a, buf, 3, MSG_WAITALL), 3);
		join_os(t);
		green_deadline_begin(&scope, GREEN_MS(10));
		CHECK_EQ(green_recv(p.a, buf, 1, 0), -ETIMEDOUT);
		CHECK(green_deadline_end(&scope));
	}
	/* The socket's own limit is an OS thread's, as outside of any runtime. */
	struct timeval limit = { 0, 20000 };
	setsockopt(p.b, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	CHECK_EQ(green_recv(p.b, buf, 1, 0), -EAGAIN);
	close_pair(&p);
}

/* ---- a hostile peer ---------------------------------------------------------------------- */

static void *chop(void *arg)
{
	struct pair *p = arg;
	struct rng rng = rng_seed(p->count);

	for (size_t i = 0; i < p->count;) {
		char piece[8];
		size_t n = 1 + rng_below(&rng, 7);
		if (n > p->count - i)
			n = p->count - i;
		for (size_t j = 0; j < n; j++)
			piece[j] = (char)(i + j);
		CHECK_EQ(green_send(p->a, piece, n, 0), (ssize_t)n);
		i += n;
		if (rng_below(&rng, 4) == 0)
			green_yield();
	}
	return NULL;
}

/* Small pieces over TCP, received in every way there is. */
GREEN_TEST(small_pieces_arrive_in_order)
{
	struct sockaddr_in at;
	int listener = new_listener(SOCK_NONBLOCK, 16, &at), on = 1;
	struct pair p = { .a = green_socket(AF_INET, SOCK_STREAM, 0), .count = scaled(20000) };

	CHECK_EQ(green_connect(p.a, (struct sockaddr *)&at, sizeof(at)), 0);
	setsockopt(p.a, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	p.b = green_accept(listener, NULL, NULL, 0);
	green_t t = start_green(chop, &p);
	struct rng rng = rng_seed(1);
	for (size_t i = 0; i < p.count;) {
		char buf[32];
		size_t want = 1 + rng_below(&rng, 31);
		struct iovec iov[2] = { { buf, want / 2 }, { buf + want / 2, want - want / 2 } };
		ssize_t n;
		switch (rng_below(&rng, 4)) {
		case 0:
			n = green_recv(p.b, buf, want, 0);
			break;
		case 1:
			n = green_read(p.b, buf, want);
			break;
		case 2:
			n = green_readv(p.b, iov, 2);
			break;
		default:
			n = green_recv(p.b, buf, want, i + want <= p.count ? MSG_WAITALL : 0);
		}
		REQUIRE(n > 0);
		for (ssize_t j = 0; j < n; j++)
			CHECK_EQ(buf[j], (char)(i + (size_t)j));
		i += (size_t)n;
	}
	join_green(t);
	close_pair(&p);
	green_close(listener);
}
