/* SPDX-License-Identifier: MIT
 *
 * green_accept() and green_connect(), on listeners and sockets that block and
 * such that do not.
 */
#define _GNU_SOURCE
#include "sockets.h"

#include <fcntl.h>
#include <sys/un.h>

/* ---- accept and connect -------------------------------------------------------------- */

struct accepting {
	int listener, result;
	struct sockaddr_in from;
	socklen_t size;
};

static void *accept_one(void *arg)
{
	struct accepting *a = arg;

	a->size = sizeof(a->from);
	a->result = green_accept(a->listener, (struct sockaddr *)&a->from, &a->size, SOCK_CLOEXEC);
	return NULL;
}

static void accept_and_connect(int flags)
{
	struct sockaddr_in at, own;
	socklen_t size = sizeof(own);
	struct accepting a = { .listener = new_listener(flags, 16, &at) };
	char buf[4];

	green_t t = start_green(accept_one, &a);
	await_parked(t);
	int client = green_socket(AF_INET, SOCK_STREAM | flags, 0);
	CHECK_EQ(fcntl(client, F_GETFD), FD_CLOEXEC);
	CHECK_EQ(green_connect(client, (struct sockaddr *)&at, sizeof(at)), 0);
	CHECK_EQ(green_connect(client, (struct sockaddr *)&at, sizeof(at)), -EISCONN);
	join_green(t);
	CHECK_GE(a.result, 0);
	CHECK_EQ(fcntl(a.result, F_GETFD), FD_CLOEXEC);
	CHECK_EQ(fcntl(a.result, F_GETFL) & O_NONBLOCK, 0);
	CHECK_EQ(getsockname(client, (struct sockaddr *)&own, &size), 0);
	CHECK_EQ(a.from.sin_port, own.sin_port);
	CHECK_EQ(green_send(client, "hey", 3, 0), 3);
	CHECK_EQ(green_recv(a.result, buf, 4, 0), 3);
	CHECK_EQ(green_close(client), 0);
	CHECK_EQ(green_close(a.result), 0);
	/* Cancelled while waiting. */
	t = start_green(accept_one, &a);
	await_parked(t);
	green_cancel(t);
	join_green(t);
	CHECK_EQ(a.result, -ECANCELED);
	CHECK_EQ(green_close(a.listener), 0);
	/* Nobody listens there any more. */
	client = green_socket(AF_INET, SOCK_STREAM | flags, 0);
	CHECK_EQ(green_connect(client, (struct sockaddr *)&at, sizeof(at)), -ECONNREFUSED);
	CHECK_EQ(green_close(client), 0);
	CHECK_EQ(green_connect(client, (struct sockaddr *)&at, sizeof(at)), -EBADF);
	CHECK_EQ(green_accept(a.listener, NULL, NULL, 0), -EBADF);
}

GREEN_TEST(accept_and_connect_nonblocking)
{
	accept_and_connect(SOCK_NONBLOCK);
}

GREEN_TEST(accept_and_connect_blocking)
{
	accept_and_connect(0);
}

GREEN_TEST(accept_on_what_does_not_listen)
{
	struct pair p = new_pair(SOCK_STREAM);
	int fds[2];

	REQUIRE_EQ(pipe(fds), 0);
	CHECK_EQ(green_accept(p.a, NULL, NULL, 0), -EINVAL);
	CHECK_EQ(green_accept(fds[0], NULL, NULL, 0), -ENOTSOCK);
	CHECK_EQ(green_recv(fds[0], p.buf, 1, 0), -ENOTSOCK);
	CHECK_EQ(green_send(fds[1], p.buf, 1, 0), -ENOTSOCK);
	close(fds[0]);
	close(fds[1]);
	close_pair(&p);
}

/* A listen queue that is full makes connect wait: a blocking socket on the
 * engine or the pool, where a deadline still ends it. */
static void connect_to_a_full_queue(int flags)
{
	struct sockaddr_in at;
	struct green_deadline scope;
	int clients[8], listener = new_listener(0, 0, &at);
	bool waited = false;

	for (int i = 0; i < 8; i++) {
		clients[i] = green_socket(AF_INET, SOCK_STREAM | flags, 0);
		green_deadline_begin(&scope, GREEN_MS(50));
		int r = green_connect(clients[i], (struct sockaddr *)&at, sizeof(at));
		CHECK(r == 0 || r == -ETIMEDOUT);
		CHECK_EQ(green_deadline_end(&scope), r == -ETIMEDOUT);
		waited |= r == -ETIMEDOUT;
	}
	CHECK(waited);
	for (int i = 0; i < 8; i++)
		CHECK_EQ(green_close(clients[i]), 0);
	CHECK_EQ(green_close(listener), 0);
}

GREEN_TEST(a_deadline_ends_a_connect)
{
	connect_to_a_full_queue(SOCK_NONBLOCK);
	connect_to_a_full_queue(0);
}

/* Of many that wait for a connection on a blocking listener one gets it, and all
 * the others can be cancelled still. */
GREEN_TEST(who_was_slower_can_be_cancelled)
{
	struct sockaddr_in at;

	for (unsigned round = 0; round < scaled(30); round++) {
		struct accepting a[8];
		green_t t[8];
		int listener = new_listener(0, 16, &at), got = 0;

		for (int i = 0; i < 8; i++) {
			a[i] = (struct accepting){ .listener = listener };
			t[i] = start_green(accept_one, &a[i]);
		}
		for (int i = 0; i < 8; i++)
			await_parked(t[i]);
		int client = green_socket(AF_INET, SOCK_STREAM, 0);
		CHECK_EQ(green_connect(client, (struct sockaddr *)&at, sizeof(at)), 0);
		green_sleep(round % 2 ? GREEN_MS(2) : GREEN_US(50));
		for (int i = 0; i < 8; i++)
			CHECK_EQ(green_cancel(t[i]), 0);
		for (int i = 0; i < 8; i++) {
			join_green(t[i]);
			CHECK(a[i].result >= 0 || a[i].result == -ECANCELED);
			got += a[i].result >= 0;
			if (a[i].result >= 0)
				green_close(a[i].result);
		}
		CHECK_LE(got, 1);
		green_close(client);
		green_close(listener);
	}
}

static void *connect_unix(void *arg)
{
	struct pair *p = arg;
	struct sockaddr_un at = { .sun_family = AF_UNIX };

	snprintf(at.sun_path + 1, sizeof(at.sun_path) - 1, "green-un-%d", getpid());
	p->a = green_socket(AF_UNIX, SOCK_STREAM | p->flags, 0);
	p->result = green_connect(p->a, (struct sockaddr *)&at, sizeof(at));
	return NULL;
}

/* No readiness tells when there is room in a local listener's queue. */
GREEN_TEST(local_connects_wait_for_room)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	struct pair p[6];
	green_t t[6];

	snprintf(at.sun_path + 1, sizeof(at.sun_path) - 1, "green-un-%d", getpid());
	int listener = green_socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
	REQUIRE_EQ(bind(listener, (struct sockaddr *)&at, sizeof(at)), 0);
	REQUIRE_EQ(listen(listener, 1), 0);
	for (int i = 0; i < 6; i++) {
		p[i] = (struct pair){ .flags = i % 2 ? SOCK_NONBLOCK : 0 };
		t[i] = start_green(connect_unix, &p[i]);
	}
	green_sleep(GREEN_MS(20));
	for (int i = 0; i < 6; i++) {
		int fd = green_accept(listener, NULL, NULL, 0);
		CHECK_GE(fd, 0);
		green_close(fd);
	}
	for (int i = 0; i < 6; i++) {
		join_green(t[i]);
		CHECK_EQ(p[i].result, 0);
		green_close(p[i].a);
	}
	green_close(listener);
}

/* ---- outside green threads ------------------------------------------------------------- */

TEST(in_an_os_thread_the_calls_block)
{
	struct green_deadline scope;
	struct sockaddr_in at;

	for (int i = 0; i < 2; i++) {
		int flags = i ? SOCK_NONBLOCK : 0;
		struct accepting a = { .listener = new_listener(flags, 16, &at) };
		pthread_t t = start_os(accept_one, &a);
		usleep(5000);
		int client = green_socket(AF_INET, SOCK_STREAM | flags, 0);
		CHECK_EQ(green_connect(client, (struct sockaddr *)&at, sizeof(at)), 0);
		join_os(t);
		CHECK_GE(a.result, 0);
		green_deadline_begin(&scope, GREEN_MS(10));
		CHECK_EQ(green_accept(a.listener, NULL, NULL, 0), -ETIMEDOUT);
		CHECK(green_deadline_end(&scope));
		green_close(a.result);
		green_close(client);
		green_close(a.listener);
	}
}
