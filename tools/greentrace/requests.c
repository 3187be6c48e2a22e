/* SPDX-License-Identifier: MIT
 *
 * Bringing requests and records together.
 */
#include "requests.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define THREADS ROOM(65536) /* a power of two; a newer one takes the place of an older */
#define DEPTH 4             /* requests of a thread */
#define INDEX_MASK ((1u << 26) - 1)
#define QUEUE_MAX (1u << 20)
#define SLACK_NS 20000 /* the clocks of both differ by less */

struct request_pending {
	struct event_request all[DEPTH]; /* site 0: none */
	unsigned next;
};

bool requests_open(struct requests *r)
{
	memset(r, 0, sizeof(*r));
	r->pending = calloc(THREADS, sizeof(*r->pending));
	return r->pending != NULL;
}

void requests_close(struct requests *r)
{
	free(r->rows);
	free(r->pending);
	free(r->queue);
	memset(r, 0, sizeof(*r));
}

/* Records come some 50 ms later. */
void requests_event(struct requests *r, const struct event_request *e)
{
	if (r->last == r->room && r->first > r->room / 2) {
		memmove(r->queue, r->queue + r->first, (r->last - r->first) * sizeof(*e));
		r->last -= r->first;
		r->first = 0;
	}
	if (r->last == r->room) {
		size_t room = r->room ? 2 * r->room : 1024;
		struct event_request *more =
			room <= QUEUE_MAX ? realloc(r->queue, room * sizeof(*more)) : NULL;
		if (!more) {
			r->alone++;
			return;
		}
		r->queue = more;
		r->room = room;
	}
	r->queue[r->last++] = *e;
}

/* Its record is among those that come now. */
static void expect(struct requests *r, const struct event_request *e)
{
	struct request_pending *p = &r->pending[e->thread & INDEX_MASK & (THREADS - 1)];

	r->alone += p->all[p->next].site != 0;
	p->all[p->next] = *e;
	p->next = (p->next + 1) % DEPTH;
}

/* NULL: there are too many. */
static struct request_row *row_of(struct requests *r, const struct event_request *e)
{
	for (size_t i = 0; i < r->count; i++)
		if (r->rows[i].site == e->site && r->rows[i].why == e->why &&
		    r->rows[i].opcode == e->opcode)
			return &r->rows[i];
	if (r->count == REQUEST_ROWS_MAX)
		return NULL;
	if ((r->count & (r->count - 1)) == 0) {
		struct request_row *more =
			realloc(r->rows, (r->count ? 2 * r->count : 1) * sizeof(*more));
		if (!more)
			return NULL;
		r->rows = more;
	}
	struct request_row *row = &r->rows[r->count++];
	memset(row, 0, sizeof(*row));
	row->site = e->site;
	row->why = (unsigned)e->why;
	row->opcode = e->opcode;
	return row;
}

/* The clocks of both are not quite the same. */
static uint64_t difference(uint64_t from, uint64_t to)
{
	return to > from ? to - from : 0;
}

static void add(struct requests *r, const struct event_request *e, uint64_t parked, uint64_t woken,
                uint64_t running)
{
	struct request_row *row = row_of(r, e);

	if (!row) {
		r->alone++;
		return;
	}
	row->punted += e->punted_ns != 0;
	row->before_ns += difference(parked, e->submitted_ns);
	histogram_add(&row->kernel, difference(e->submitted_ns, e->completed_ns));
	row->after_ns += difference(e->completed_ns, woken);
	row->ready_ns += difference(woken, running);
}

void requests_record(struct requests *r, const struct trace_record *record,
                     const struct tick_clock *clock)
{
	uint32_t index = record->thread & INDEX_MASK;
	struct request_pending *p = &r->pending[index & (THREADS - 1)];
	int64_t now = clock_moment(clock, record->time);
	uint64_t running = now > 0 ? (uint64_t)now : 0;
	uint64_t parked =
		difference(clock_duration(clock, trace_ticks(record, record->away)), running);
	uint64_t woken =
		difference(clock_duration(clock, trace_ticks(record, record->ready)), running);

	while (r->first < r->last && r->queue[r->first].completed_ns <= running + SLACK_NS)
		expect(r, &r->queue[r->first++]);
	for (unsigned i = 0; i < DEPTH; i++) {
		struct event_request *e = &p->all[i];
		if (!e->site || (e->thread & INDEX_MASK) != index ||
		    e->site != trace_site(record) || e->completed_ns + SLACK_NS < parked ||
		    e->completed_ns > running + SLACK_NS)
			continue;
		add(r, e, parked, woken, running);
		e->site = 0;
	}
}

const char *opcode_text(unsigned opcode)
{
	/* As linux/io_uring.h numbers them. */
	static const char *const names[] = {
		"NOP",
		"READV",
		"WRITEV",
		"FSYNC",
		"READ_FIXED",
		"WRITE_FIXED",
		"POLL_ADD",
		"POLL_REMOVE",
		"SYNC_FILE_RANGE",
		"SENDMSG",
		"RECVMSG",
		"TIMEOUT",
		"TIMEOUT_REMOVE",
		"ACCEPT",
		"ASYNC_CANCEL",
		"LINK_TIMEOUT",
		"CONNECT",
		"FALLOCATE",
		"OPENAT",
		"CLOSE",
		"FILES_UPDATE",
		"STATX",
		"READ",
		"WRITE",
		"FADVISE",
		"MADVISE",
		"SEND",
		"RECV",
		"OPENAT2",
		"EPOLL_CTL",
		"SPLICE",
		"PROVIDE_BUFFERS",
		"REMOVE_BUFFERS",
		"TEE",
		"SHUTDOWN",
	};
	static char text[32];

	if (opcode < sizeof(names) / sizeof(names[0]))
		return names[opcode];
	snprintf(text, sizeof(text), "opcode %u", opcode);
	return text;
}
