/* SPDX-License-Identifier: MIT
 *
 * /_spin and /_sleep: handlers that misbehave on purpose, for tests; only with
 * --debug.
 */
#include "path.h"
#include "response.h"
#include "route.h"

#include <errno.h>

#define MILLISECONDS_MAX 60000

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

/* Burns the CPU without a call that may switch: its worker is stuck. */
int spin_serve(struct connection *c)
{
	int64_t end_ns = green_now() + duration_ns(c);

	while (green_now() < end_ns)
		;
	return respond_done(c);
}

int sleep_serve(struct connection *c)
{
	int result = green_sleep(duration_ns(c));

	return result < 0 ? result : respond_done(c);
}
