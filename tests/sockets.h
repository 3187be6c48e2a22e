/* SPDX-License-Identifier: MIT
 *
 * Sockets for the tests: pairs, listeners, and threads that use them.
 */
#ifndef TESTS_SOCKETS_H
#define TESTS_SOCKETS_H

#include "harness.h"

#include <netinet/in.h>
#include <sys/socket.h>

#define MIB ((size_t)1 << 20)

struct pair {
	int a, b;
	size_t count;
	int flags;
	ssize_t result;
	char buf[64];
};

static inline struct pair new_pair(int type)
{
	int sv[2];

	REQUIRE_EQ(socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, sv), 0);
	return (struct pair){ .a = sv[0], .b = sv[1] };
}

static inline void close_pair(struct pair *p)
{
	CHECK_EQ(green_close(p->a), 0);
	CHECK_EQ(green_close(p->b), 0);
}

/* A listener on loopback with a port of its own. */
static inline int new_listener(int flags, int backlog, struct sockaddr_in *at)
{
	socklen_t size = sizeof(*at);
	int fd = green_socket(AF_INET, SOCK_STREAM | flags, 0);

	*at = (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
	REQUIRE_EQ(bind(fd, (struct sockaddr *)at, size), 0);
	REQUIRE_EQ(listen(fd, backlog), 0);
	REQUIRE_EQ(getsockname(fd, (struct sockaddr *)at, &size), 0);
	return fd;
}

/* Green threads of a pair: receive() at b, send_much() and send_slowly() at a. */

static inline void *receive(void *arg)
{
	struct pair *p = arg;

	p->result = green_recv(p->b, p->buf, p->count, p->flags);
	return NULL;
}

/* Until the end: result is the number of bytes. */
static inline void *drain(void *arg)
{
	struct pair *p = arg;
	char buf[8192];
	size_t got = 0;
	ssize_t n;

	while ((n = green_recv(p->b, buf, sizeof(buf), 0)) > 0)
		got += (size_t)n;
	p->result = n < 0 ? n : (ssize_t)got;
	return NULL;
}

static inline void *send_much(void *arg)
{
	struct pair *p = arg;
	char *data = calloc(1, 16 * MIB);

	p->result = green_send(p->a, data, 16 * MIB, 0);
	free(data);
	return NULL;
}

/* Eight bytes, two at a time. */
static inline void *send_slowly(void *arg)
{
	struct pair *p = arg;

	for (int i = 0; i < 4; i++) {
		green_sleep(GREEN_MS(5));
		CHECK_EQ(green_send(p->a, "xy", 2, 0), 2);
	}
	return NULL;
}

static inline void fill_up(int fd)
{
	static char data[65536];

	while (green_send(fd, data, sizeof(data), MSG_DONTWAIT) > 0)
		;
}

#endif
