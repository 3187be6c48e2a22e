/* SPDX-License-Identifier: MIT
 *
 * /_spin and /_sleep: handlers that misbehave on purpose, for tests; only with
 * --debug.
 */
#include "path.h"
#include "response.h"
#include "route.h"

#include <errno.h>
#include <sys/socket.h>

#define MILLISECONDS_MAX 60000
#define LOOK_EVERY_NS GREEN_MS(1)

/* The ms of "?ms=N". */
static int64_t duration_ns(const struct connection *c)
{
	uint64_t ms = 0;

	query_number(exchange_slice(c->x, c->x->request.query), SLICE("ms"), &ms);
	return GREEN_MS(ms < MILLISECONDS_MAX ? ms : MILLISECONDS_MAX);
}

static int respond_done(struct connection *c)
{
	struct text head = head_begin(c, 200);

	return respond_page(c, &head, SLICE("text/plain"), SLICE("done\n"));
}

/* Tells the client that the work has begun, in a way that cannot switch: from then
 * on the worker serves nobody else. */
static int say_processing(const struct connection *c)
{
	static const char interim[] = "HTTP/1.1 102 Processing\r\n\r\n";
	const ssize_t len = sizeof(interim) - 1;

	if (c->x->request.minor == 0)
		return 0; /* HTTP/1.0 has no interim responses */
	return send(c->fd, interim, (size_t)len, MSG_DONTWAIT | MSG_NOSIGNAL) == len ? 0
	                                                                             : -ECONNRESET;
}

/* Has the client sent more, or left?  Cannot switch. */
static bool client_stirs(const struct connection *c)
{
	char byte;

	return recv(c->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) >= 0 || errno != EAGAIN;
}

/* Burns the CPU without a call that may switch, so that its worker is stuck, until
 * the time is over or the client sends more. */
int spin_serve(struct connection *c)
{
	int64_t end_ns = green_now() + duration_ns(c);
	int result = say_processing(c);

	if (result < 0)
		return result;
	for (int64_t now = green_now(), look = now; now < end_ns; now = green_now()) {
		if (now < look)
			continue;
		if (client_stirs(c))
			break;
		look = now + LOOK_EVERY_NS;
	}
	return respond_done(c);
}

int sleep_serve(struct connection *c)
{
	int result = green_sleep(duration_ns(c));

	return result < 0 ? result : respond_done(c);
}
