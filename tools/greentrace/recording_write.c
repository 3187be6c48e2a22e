/* SPDX-License-Identifier: MIT
 *
 * Writing recordings.
 */
#include "recording.h"
#include "escape.h"
#include "greenps.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "numbers are written as they are");

struct recording {
	FILE *file;
	const char *name;
	struct trace *trace;
	int error; /* errno of the first */
	struct part_clock clock;
	struct batch_functions functions;
};

/* ---- parts -------------------------------------------------------------------- */

static void put(struct recording *r, const void *data, size_t size)
{
	if (!r->error && size > 0 && fwrite(data, size, 1, r->file) != 1)
		r->error = errno ? errno : EIO;
}

static void put_part(struct recording *r, enum recording_kind kind, const void *data, size_t size)
{
	const struct recording_part part = { (uint32_t)kind, (uint32_t)size };

	put(r, &part, sizeof(part));
	put(r, data, size);
}

static void put_process(struct recording *r)
{
	const struct trace *t = r->trace;
	const struct wishes *w = &t->session.wishes;
	struct part_process process = {
		.started_ns = t->started_ns,
		.blocked_ns = w->blocked_ns,
		.hog_ns = w->hog_ns,
		.pid = (uint32_t)t->session.pid,
		.flags = (w->entries ? RECORDED_ENTRIES : 0) | (w->queued ? RECORDED_QUEUED : 0) |
		         (t->session.no_kernel_views ? RECORDED_NO_KERNEL : 0) |
		         (w->syscalls ? RECORDED_SYSCALLS : 0) | (w->faults ? RECORDED_FAULTS : 0) |
		         (w->requests ? RECORDED_REQUESTS : 0),
	};

	snprintf(process.program, sizeof(process.program), "%s", t->session.target.program);
	memcpy(process.whys, t->session.layout.whys, sizeof(process.whys));
	put_part(r, PART_PROCESS, &process, sizeof(process));
}

/* Measured ever better: written when it has changed. */
static void put_clock(struct recording *r)
{
	const struct tick_clock *c = &r->trace->clock;
	struct part_clock now = {
		.started_ticks = r->trace->started_ticks,
		.ticks = c->ticks,
		.ns = c->ns,
		.ns_per_tick = c->ns_per_tick,
		.nanoseconds = c->nanoseconds,
	};

	if (now.started_ticks == r->clock.started_ticks && now.ticks == r->clock.ticks &&
	    now.ns == r->clock.ns && now.nanoseconds == r->clock.nanoseconds)
		return;
	r->clock = now;
	put_part(r, PART_CLOCK, &now, sizeof(now));
}

static void put_symbol(void *arg, uint64_t pc, bool is_return, const struct symbol *symbol)
{
	struct recording *r = arg;
	struct part_symbol part = { .pc = pc, .is_return = is_return, .symbol = *symbol };

	put_part(r, PART_SYMBOL, &part, sizeof(part));
}

static void put_path(void *arg, const struct path *path)
{
	struct recording *r = arg;
	uint32_t symbols[FRAMES_MAX];

	for (size_t i = 0; i < path->depth; i++)
		symbols[i] = names_number(path->frames[i]);
	put_part(r, PART_PATH, symbols, path->depth * sizeof(symbols[0]));
}

/* ---- what arrives --------------------------------------------------------------- */

/* Whoever woke one of them. */
static void find_functions(struct recording *r, const struct event_records *e)
{
	struct trace *t = r->trace;
	bool is_new;

	batch_clear(&r->functions);
	for (uint32_t i = 0; i < e->count; i++) {
		uint32_t waker = e->records[i].waker;
		uint64_t *fn = waker ? batch_put(&r->functions, waker, &is_new) : NULL;
		if (!fn || !is_new)
			continue;
		*fn = t->function_of(t, waker);
		names_get(t->names, *fn, false); /* it is written now */
	}
}

void recording_records(struct recording *r, const struct event_records *e)
{
	struct part_records head = {
		.time_ns = e->time_ns,
		.ticks = e->ticks,
		.tid = e->tid,
		.count = e->count,
	};

	put_clock(r);
	find_functions(r, e);
	head.functions = r->functions.count;
	const size_t records = e->count * sizeof(e->records[0]);
	const struct recording_part part = {
		PART_RECORDS,
		(uint32_t)(sizeof(head) + records + head.functions * sizeof(struct part_function))
	};
	put(r, &part, sizeof(part));
	put(r, &head, sizeof(head));
	put(r, e->records, records);
	for (size_t i = 0; i < BATCH_SLOTS; i++) {
		const struct part_function f = { .fn = r->functions.slots[i].fn,
			                         .index = r->functions.slots[i].index };
		if (f.index)
			put(r, &f, sizeof(f));
	}
}

void recording_stack(struct recording *r, const struct event_stack *e, const struct path *path)
{
	const struct part_stack part = {
		.kind = e->kind,
		.tid = e->tid,
		.syscall = e->syscall,
		.path = path ? path->number : RECORDING_NONE,
		.time_ns = e->time_ns,
		.thread = e->thread,
		.ns = e->ns,
		.site = e->site,
		.why = e->why,
	};

	put_part(r, PART_STACK, &part, sizeof(part));
}

void recording_small(struct recording *r, const struct event_small *e)
{
	put_part(r, PART_SMALL, e, sizeof(*e));
}

void recording_request(struct recording *r, const struct event_request *e)
{
	put_part(r, PART_REQUEST, e, sizeof(*e));
}

void recording_syscall(struct recording *r, const struct syscall_key *key, uint64_t n)
{
	const struct part_syscall part = { *key, n };

	put_part(r, PART_SYSCALL, &part, sizeof(part));
}

void recording_descriptor(struct recording *r, uint64_t site, uint64_t why, const char *text)
{
	struct part_descriptor part = { .site = site, .why = why };

	snprintf(part.text, sizeof(part.text), "%s", text);
	put_part(r, PART_DESCRIPTOR, &part, sizeof(part));
}

void recording_entry(struct recording *r, const struct entry_key *key, uint64_t n)
{
	const struct part_entry part = { *key, n };

	put_part(r, PART_ENTRY, &part, sizeof(part));
}

/* ---- the file --------------------------------------------------------------------- */

static int failed(const char *name, int error)
{
	char shown[300];

	return problem("%s: %s", escape_text(shown, sizeof(shown), name, true), strerror(error));
}

int recording_create(struct recording **recording, struct trace *t, const char *file)
{
	const struct recording_head head = { RECORDING_MAGIC, RECORDING_VERSION, sizeof(head) };
	struct recording *r = calloc(1, sizeof(*r));

	if (!r)
		return problem("no memory");
	r->trace = t;
	r->name = file;
	r->file = fopen(file, "we");
	if (!r->file) {
		int error = errno;
		free(r);
		return failed(file, error);
	}
	put(r, &head, sizeof(head));
	put_process(r);
	names_listen(t->names, &(struct names_listener){ put_symbol, put_path, r });
	*recording = r;
	return EXIT_OK;
}

int recording_finish(struct recording *r, uint64_t *size)
{
	const struct part_end end = { r->trace->stopped_ns, trace_lost(r->trace) };

	names_listen(r->trace->names, NULL);
	put_part(r, PART_END, &end, sizeof(end));
	long at = ftell(r->file);
	*size = at > 0 ? (uint64_t)at : 0;
	if (fclose(r->file) != 0 && !r->error)
		r->error = errno;
	int status = r->error ? failed(r->name, r->error) : EXIT_OK;
	free(r);
	return status;
}
