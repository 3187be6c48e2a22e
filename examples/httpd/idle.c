/* SPDX-License-Identifier: MIT
 *
 * The table of idle connections.
 *
 * A connection and the drain meet like this:
 *
 *   connection: state = IDLE;    if (draining) leave;    wait
 *   drain:      draining = true; state IDLE -> SHUTTING; shutdown; -> BUSY
 *
 * Both sides write first and look afterwards, all sequentially consistent, so
 * at least one sees the other: no connection starts to wait unseen.  While the
 * state is SHUTTING the connection does not go on, for it might close the
 * descriptor and the number might be somebody else's when shutdown() comes.
 */
#include "idle.h"

#include <errno.h>
#include <green.h>
#include <stdatomic.h>
#include <stdlib.h>

enum { BUSY, IDLE, SHUTTING };

static _Atomic uint8_t *states; /* by descriptor */
static size_t states_count;
static atomic_bool draining;

int idle_init(size_t descriptors)
{
	states = calloc(descriptors, sizeof(*states));
	states_count = descriptors;
	return states ? 0 : -ENOMEM;
}

static void leave_idle(int fd)
{
	uint8_t idle = IDLE;

	if (atomic_compare_exchange_strong(&states[fd], &idle, BUSY))
		return;
	while (atomic_load(&states[fd]) == SHUTTING)
		green_yield();
}

bool idle_wait(int fd, int64_t timeout_ns)
{
	int events = -ECANCELED;

	if ((size_t)fd >= states_count)
		return false;
	atomic_store(&states[fd], IDLE);
	if (!atomic_load(&draining))
		events = green_wait_fd(fd, POLLIN, timeout_ns);
	leave_idle(fd);
	return events >= 0;
}

void idle_drain(void)
{
	atomic_store(&draining, true);
	for (size_t fd = 0; fd < states_count; fd++) {
		uint8_t idle = IDLE;

		/* Looked at first, so that the unused part of the table stays unused. */
		if (atomic_load(&states[fd]) != IDLE ||
		    !atomic_compare_exchange_strong(&states[fd], &idle, SHUTTING))
			continue;
		shutdown((int)fd, SHUT_RD);
		atomic_store(&states[fd], BUSY);
	}
}

bool idle_draining(void)
{
	return atomic_load_explicit(&draining, memory_order_relaxed);
}
