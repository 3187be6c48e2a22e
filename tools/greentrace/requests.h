/* SPDX-License-Identifier: MIT
 *
 * struct requests: where the time of waits for io_uring went.
 *
 * A wait is parked, its request handed to the kernel with others, perhaps given to a
 * kernel thread (io-wq) because it would have blocked, completed, seen by the worker, and
 * the green thread runs again.  The kernel tells of the request, a record of the wait:
 * they are of the same thread, and the one ends within the other.
 */
#ifndef REQUESTS_H
#define REQUESTS_H

#include "clock.h"
#include "histogram.h"
#include "order.h"
#include "room.h"

struct request_row { /* of a switch point and a kind of request */
	uint64_t site;
	unsigned why, opcode;
	uint64_t punted;                        /* to kernel threads */
	uint64_t before_ns, after_ns, ready_ns; /* sums: parked to submitted, completed to woken,
	                                         * woken to running */
	struct histogram kernel;                /* submitted to completed */
};

struct requests {
	struct request_row *rows;
	size_t count;
	uint64_t alone; /* requests without a record, or too many rows */
	struct request_pending *pending;
	/* Those that records have not come to yet, as they were completed. */
	struct event_request *queue;
	size_t first, last, room;
};

#define REQUEST_ROWS_MAX ROOM(4096)

/* False: no memory. */
bool requests_open(struct requests *r);
void requests_close(struct requests *r);

void requests_event(struct requests *r, const struct event_request *e);

/* A record, in the order of time, and after the requests of that time. */
void requests_record(struct requests *r, const struct trace_record *record,
                     const struct tick_clock *clock);

/* "READ", "opcode 99" */
const char *opcode_text(unsigned opcode);

#endif
