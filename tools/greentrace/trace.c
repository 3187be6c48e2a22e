/* SPDX-License-Identifier: MIT
 *
 * Taking in what is sent: finding out what it means while the process is there.
 */
#include "trace.h"
#include "attach.h"
#include "descriptor_text.h"
#include "escape.h"
#include "greenps.h"
#include "launch.h"
#include "recording.h"
#include "tally.h"
#include "timeline.h"

#include <stdlib.h>
#include <string.h>

#define RECORD_BLOCKED_NS 1000000
#define RECORD_HOG_NS 20000000
#define MANY 4 /* of the room for records, each has that part */

/* ---- records ------------------------------------------------------------------ */

static uint64_t function_of(struct trace *t, uint32_t index)
{
	return functions_read(t->functions, &t->session, index, t->polled_ns);
}

/* What is known only once the program runs: where its data are. */
static void settle(struct trace *t)
{
	if (t->settled)
		return;
	t->settled = true;
	session_refresh(&t->session);
	attachment_refresh(&t->session);
}

/* The kernel or the user chose it when the program started. */
static void know_clock(struct trace *t, const struct event_records *e)
{
	if (t->clock.nanoseconds || e->clock != TRACE_CLOCK_NS)
		return;
	t->clock.nanoseconds = true;
	t->started_ticks = (uint64_t)t->started_ns;
}

static void take_records(void *arg, const struct event_records *e)
{
	struct trace *t = arg;

	settle(t);
	know_clock(t, e);
	tally_records(t, e);
	if (t->recording)
		recording_records(t->recording, e);
}

/* ---- stacks ------------------------------------------------------------------- */

static void take_forbidden(struct trace *t, struct path *path)
{
	const struct wishes *w = &t->session.wishes;

	for (size_t i = 0; path && i < path->depth; i++)
		if (path->pcs[i] > w->forbidden_start && path->pcs[i] <= w->forbidden_end) {
			t->forbidden_seen++;
			if (!t->forbidden)
				t->forbidden = path;
			return;
		}
	/* It may be further up. */
	t->forbidden_cut += !path || path->cut;
}

static void take_fault(struct trace *t, const struct event_stack *e, struct path *path)
{
	static struct event_stack deep; /* its stack is not looked at */

	memcpy(&deep, e, offsetof(struct event_stack, registers));
	deep.why = attachment_depth(t->session.attachment, e->site);
	tally_stack(t, &deep, path);
	if (t->recording)
		recording_stack(t->recording, &deep, path);
}

/* The function of the thread is all the path there is. */
static void take_grown(struct trace *t, const struct event_small *small)
{
	static struct event_stack e; /* its stack is not looked at */
	const struct frame frame = { small->site, false };
	struct path *path = names_put_path(t->names, &frame, 1);

	e = (struct event_stack){ .kind = EVENT_GROWN, .syscall = -1, .ns = 1 };
	e.time_ns = small->time_ns;
	e.site = small->site;
	e.why = small->object;
	tally_stack(t, &e, path);
	if (t->recording)
		recording_stack(t->recording, &e, path);
}

static void take_stack(void *arg, const struct event_stack *e)
{
	struct trace *t = arg;
	bool at_site =
		e->kind == EVENT_STACK || e->kind == EVENT_ENTERED || e->kind == EVENT_FORBIDDEN;

	settle(t);
	struct path *path = names_path(t->names, e, at_site ? e->site : 0);

	if (e->kind == EVENT_FORBIDDEN) {
		take_forbidden(t, path);
		return;
	}
	if (e->kind == EVENT_FAULT) {
		take_fault(t, e, path);
		return;
	}
	/* What has no place is not counted. */
	if (e->kind == EVENT_SYSCALL && names_is_runtimes(t->names, path))
		return;
	tally_stack(t, e, path);
	if (t->recording)
		recording_stack(t->recording, e, path);
}

/* ---- the rest ----------------------------------------------------------------- */

/* At once, as it may be closed soon. */
static void take_descriptor(struct trace *t, const struct event_small *e)
{
	char text[DESCRIPTOR_TEXT];

	if (!tally_wants_descriptor(t, e->site, e->why))
		return;
	descriptor_text(text, sizeof(text), t->session.pid, t->session.pidfd, (int)e->object);
	if (tally_descriptor(t, e->site, e->why, text) && t->recording)
		recording_descriptor(t->recording, e->site, e->why, text);
}

static void take_small(void *arg, const struct event_small *e)
{
	struct trace *t = arg;
	pid_t tid;

	switch (e->kind) {
	case EVENT_WORKER:
		settle(t);
		tid = session_tid(&t->session, (pid_t)e->tid, e->object);
		if (tid)
			attach_worker(&t->session, tid, e->object);
		break;
	case EVENT_DESCRIPTOR:
		take_descriptor(t, e);
		break;
	case EVENT_GROWN:
		take_grown(t, e);
		break;
	default:
		tally_small(t, e);
		if (t->recording)
			recording_small(t->recording, e);
		break;
	}
}

static void take_request(void *arg, const struct event_request *e)
{
	struct trace *t = arg;

	names_get(t->names, e->site, true); /* a recording is to have it */
	tally_request(t, e);
	if (t->recording)
		recording_request(t->recording, e);
}

static void take_syscall(void *arg, const struct syscall_key *key, uint64_t n)
{
	struct trace *t = arg;

	tally_syscall(t, key, n);
	if (t->recording)
		recording_syscall(t->recording, key, n);
}

static void take_entry(void *arg, const struct entry_key *key, uint64_t n)
{
	struct trace *t = arg;

	tally_entry(t, key, n);
	if (t->recording)
		recording_entry(t->recording, key, n);
}

/* ---- starting and stopping ---------------------------------------------------- */

static uint64_t lesser(uint64_t a, uint64_t b)
{
	return a && (!b || a < b) ? a : b;
}

static int make_wishes(struct trace *t, struct wishes *w)
{
	const struct options *o = t->options;
	char shown[256];

	*w = (struct wishes){
		.switches = true,
		.stacks = o->stacks || o->folded || o->flame,
		.entries = o->command == SITES || o->entries,
		.blocked_ns = lesser(o->blocked_ns, o->no_blocked_ns),
		.hog_ns = lesser(o->hog_ns, o->no_hog_ns),
		.queued = o->queued || o->max_queued_ns,
		.syscalls = o->syscalls,
		.faults = o->faults,
		.requests = o->requests,
		.buffer = o->many ? o->buffer / MANY : o->buffer,
	};
	if (o->command == RECORD) {
		w->stacks = w->queued = true;
		w->blocked_ns = w->blocked_ns ? w->blocked_ns : RECORD_BLOCKED_NS;
		w->hog_ns = w->hog_ns ? w->hog_ns : RECORD_HOG_NS;
	}
	if (!o->no_yield ||
	    names_find(t->names, o->no_yield, &w->forbidden_start, &w->forbidden_end))
		return EXIT_OK;
	return problem("the program has no function %s with a known size: without symbols it "
	               "cannot be watched",
	               escape_text(shown, sizeof(shown), o->no_yield, true));
}

static int open_process(struct trace *t, pid_t pid)
{
	const struct options *o = t->options;
	int status = EXIT_OK;

	if (o->argv)
		status = launch(&pid, o->argv);
	if (status == EXIT_OK)
		status = session_open(&t->session, pid, o->argv != NULL);
	return status;
}

int trace_start(struct trace *t, const struct options *o, const struct look *look, pid_t pid)
{
	const struct receiver receiver = { take_records, take_stack, take_small, take_request, t };
	struct wishes wishes;

	memset(t, 0, sizeof(*t));
	t->options = o;
	t->look = look;
	t->session.pidfd = -1;
	t->function_of = function_of;
	t->functions = calloc(1, sizeof(*t->functions));
	int status = t->functions ? open_process(t, pid) : problem("no memory");
	if (status != EXIT_OK)
		return status;
	t->names = names_open(&t->session.target, &t->session.layout);
	if (!t->names)
		return EXIT_PROBLEM;
	status = make_wishes(t, &wishes);
	if (status != EXIT_OK)
		return status;
	clock_start(&t->clock);
	status = session_attach(&t->session, &wishes, &receiver);
	if (status == EXIT_OK)
		attachment_begin(t->session.attachment);
	t->started_ns = t->marked_ns = clock_now();
	t->started_ticks = clock_ticks(&t->clock);
	/* Files that are there stay until it is certain that there is something for them. */
	if (status == EXIT_OK)
		status = timeline_open(t);
	if (status == EXIT_OK && o->command == RECORD)
		status = recording_create(&t->recording, t, o->file);
	if (status == EXIT_OK && o->argv)
		status = launch_go(t->session.pid);
	return status;
}

bool trace_poll(struct trace *t, int ms)
{
	clock_measure(&t->clock);
	t->polled_ns = clock_now();
	return session_poll(&t->session, ms);
}

void trace_end(struct trace *t)
{
	if (t->stopped_ns)
		return;
	t->stopped_ns = clock_now();
	attachment_end(t->session.attachment);
}

void trace_stop(struct trace *t)
{
	trace_end(t);
	session_detach(&t->session);
	if (t->session.wishes.entries)
		attachment_entries(t->session.attachment, take_entry, t);
	if (t->session.wishes.syscalls && t->recording)
		attachment_syscalls(t->session.attachment, take_syscall, t);
	else
		trace_count(t);
	tally_end(t);
}

void trace_count(struct trace *t)
{
	if (!t->session.wishes.syscalls || !t->session.attachment)
		return;
	tally_uncount(t);
	attachment_syscalls(t->session.attachment, take_syscall, t);
}

void trace_free(struct trace *t)
{
	tally_free(t);
	free(t->functions);
	names_close(t->names);
	session_close(&t->session);
}

double trace_seconds(const struct trace *t)
{
	return (double)((t->stopped_ns ? t->stopped_ns : clock_now()) - t->started_ns) / 1e9;
}

uint64_t trace_lost(const struct trace *t)
{
	uint64_t lost =
		t->sites.refused + t->read_lost + timeline_refused(t->timeline) + t->forbidden_cut;

	for (unsigned i = 0; i < COUNTS && t->session.attachment; i++)
		lost += attachment_count(t->session.attachment, i);
	return lost;
}
