/* SPDX-License-Identifier: MIT
 *
 * Writing Perfetto's format: a sequence of packets, each a message of protocol buffers
 * (perfetto's protos/perfetto/trace/trace_packet.proto and what it includes).
 *
 * When a thread's run began is known at once, when it ended only when it goes on again.
 * Readers sort packets by their times, and those of the same time by their order in the
 * file: so no slice of a worker ends later than a nanosecond before the next one begins.
 */
#include "perfetto.h"
#include "greenps.h"
#include "escape.h"
#include "protobuf.h"
#include "room.h"
#include "tally.h"
#include "view.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* ---- numbers of fields ------------------------------------------------------------ */

enum { TRACE_PACKET = 1 };
enum {
	PACKET_TIMESTAMP = 8,
	PACKET_SEQUENCE = 10,
	PACKET_EVENT = 11,
	PACKET_INTERNED = 12,
	PACKET_FLAGS = 13,
	PACKET_TRACK = 60,
};
enum { FLAG_FIRST = 1, FLAG_NAMED = 2 }; /* state is cleared; it is needed */
enum { TRACK_UUID = 1, TRACK_NAME = 2, TRACK_PROCESS = 3, TRACK_THREAD = 4, TRACK_PARENT = 5 };
enum { PROCESS_PID = 1, PROCESS_NAME = 6 };
enum { THREAD_PID = 1, THREAD_TID = 2, THREAD_NAME = 5 };
enum {
	EVENT_CATEGORY = 3,
	EVENT_TYPE = 9,
	EVENT_NAME = 10,
	EVENT_TRACK = 11,
	EVENT_FLOW = 47,
	EVENT_FLOW_END = 48,
};
enum { TYPE_BEGIN = 1, TYPE_END = 2, TYPE_INSTANT = 3 };
enum { INTERNED_CATEGORIES = 1, INTERNED_NAMES = 2 };
enum { INTERNED_ID = 1, INTERNED_TEXT = 2 };

#define SEQUENCE 1
enum { CATEGORY_RUN = 1, CATEGORY_AWAY, CATEGORY_STOP, CATEGORIES };

/* Kinds of tracks, in the upper half of their numbers. */
enum { OF_PROCESS = 1, OF_WORKER, OF_THREAD, OF_STOPS, OF_THREADS };

/* ---- state ------------------------------------------------------------------------- */

#define THREADS ROOM(65536) /* remembered; a power of two */
#define WORKERS ROOM(1024)
#define NAMES ROOM(16384) /* numbers that are remembered; a power of two */

struct green {           /* a green thread, as it was last seen */
	uint32_t thread; /* as records have it; 0: free */
	uint32_t tid;    /* of the worker that it went on on */
	int64_t ran_ns;  /* since then; */
	int64_t cap_ns;  /* no longer than until then; INT64_MAX: not known */
	uint64_t name;   /* of where */
	bool has_track;
};

struct name {
	uint64_t pc;
	uint32_t number; /* 0: free */
	uint16_t what;   /* why (LAYOUT_NAMES: unknown), or one of the two below */
};
enum { NAME_RUNS = LAYOUT_NAMES + 1, NAME_FIXED };
enum { FIXED_QUEUED = 1, FIXED_WAKES, FIXED_COUNT }; /* in the place of a pc */

struct perfetto {
	FILE *file;
	const char *path;
	struct trace *trace;
	int error;
	struct message packet, event, inner, outer;
	struct green threads[THREADS];
	struct {
		uint32_t tid;
		uint32_t thread; /* the last one that went on there */
		bool has_stops;
	} workers[WORKERS];
	struct name names[NAMES];
	uint32_t names_count, threads_count;
	uint64_t flows, unshown;
	bool has_head;
};

static uint64_t track(unsigned kind, uint32_t number)
{
	return (uint64_t)kind << 32 | number;
}

/* ---- packets ------------------------------------------------------------------------ */

static void write_packet(struct perfetto *p)
{
	message_begin(&p->outer);
	message_message(&p->outer, TRACE_PACKET, &p->packet);
	if (p->outer.failed)
		p->error = p->error ? p->error : ENOMEM;
	else if (!p->error && p->outer.size &&
	         fwrite(p->outer.data, p->outer.size, 1, p->file) != 1)
		p->error = errno ? errno : EIO;
}

static void begin_packet(struct perfetto *p, uint64_t flags)
{
	message_begin(&p->packet);
	message_number(&p->packet, PACKET_SEQUENCE, SEQUENCE);
	message_number(&p->packet, PACKET_FLAGS, flags);
}

/* A text by its number, in p->event, which is to become the packet's interned data. */
static void define(struct perfetto *p, unsigned kind, uint64_t number, const char *text)
{
	message_begin(&p->inner);
	message_number(&p->inner, INTERNED_ID, number);
	message_text(&p->inner, INTERNED_TEXT, text);
	message_message(&p->event, kind, &p->inner);
}

static void put_track(struct perfetto *p, uint64_t uuid, uint64_t parent, const char *name)
{
	begin_packet(p, FLAG_NAMED);
	message_begin(&p->event);
	message_number(&p->event, TRACK_UUID, uuid);
	message_number(&p->event, TRACK_PARENT, parent);
	message_text(&p->event, TRACK_NAME, name);
	message_message(&p->packet, PACKET_TRACK, &p->event);
	write_packet(p);
}

struct flow { /* that begins or ends with an event; 0: none */
	uint64_t from, to;
};

static void put_event(struct perfetto *p, int64_t ns, unsigned type, uint64_t on, unsigned category,
                      uint64_t name, struct flow flow)
{
	begin_packet(p, FLAG_NAMED);
	message_number(&p->packet, PACKET_TIMESTAMP, (uint64_t)(ns > 0 ? ns : 0));
	message_begin(&p->event);
	message_number(&p->event, EVENT_TYPE, type);
	message_number(&p->event, EVENT_TRACK, on);
	if (category)
		message_number(&p->event, EVENT_CATEGORY, category);
	if (name)
		message_number(&p->event, EVENT_NAME, name);
	if (flow.from)
		message_fixed(&p->event, EVENT_FLOW, flow.from);
	if (flow.to)
		message_fixed(&p->event, EVENT_FLOW_END, flow.to);
	message_message(&p->packet, PACKET_EVENT, &p->event);
	write_packet(p);
}

static void put_slice(struct perfetto *p, int64_t from, int64_t to, uint64_t on, unsigned category,
                      uint64_t name)
{
	put_event(p, from, TYPE_BEGIN, on, category, name, (struct flow){ 0 });
	put_event(p, to, TYPE_END, on, 0, 0, (struct flow){ 0 });
}

/* ---- names -------------------------------------------------------------------------- */

/* The number of a new name; one that does not stay in the table is written again later. */
static uint32_t new_name(struct perfetto *p, const char *text)
{
	begin_packet(p, FLAG_NAMED);
	message_begin(&p->event);
	define(p, INTERNED_NAMES, ++p->names_count, text);
	message_message(&p->packet, PACKET_INTERNED, &p->event);
	write_packet(p);
	return p->names_count;
}

static void name_text(struct perfetto *p, char *to, size_t size, uint64_t pc, unsigned what)
{
	static const char *const fixed[FIXED_COUNT] = {
		[FIXED_QUEUED] = "woken, not yet running", [FIXED_WAKES] = "wakes"
	};
	const char *why = layout_why(&p->trace->session.layout, what);
	char place[512];

	if (what == NAME_FIXED) {
		snprintf(to, size, "%s", fixed[pc]);
		return;
	}
	const struct symbol *symbol = names_get(p->trace->names, pc, true);
	if (what == NAME_RUNS)
		function_text(to, size, symbol);
	else
		snprintf(to, size, "%s: %s", why, place_text(place, sizeof(place), symbol));
}

static uint32_t name_of(struct perfetto *p, uint64_t pc, unsigned what)
{
	uint64_t hash = (pc << 16 | what) * 0x9e3779b97f4a7c15u;
	struct name *n = &p->names[hash >> 32 & (NAMES - 1)];
	char text[600];

	if (n->number && n->pc == pc && n->what == what)
		return n->number;
	name_text(p, text, sizeof(text), pc, what);
	n->pc = pc;
	n->what = (uint16_t)what;
	n->number = new_name(p, text);
	return n->number;
}

/* Not before it is known what the process is called. */
static void put_head(struct perfetto *p)
{
	static const char *const categories[CATEGORIES] = {
		[CATEGORY_RUN] = "run", [CATEGORY_AWAY] = "away", [CATEGORY_STOP] = "no switch"
	};
	char program[300];

	if (p->has_head)
		return;
	p->has_head = true;
	begin_packet(p, FLAG_FIRST | FLAG_NAMED);
	message_begin(&p->event);
	for (unsigned i = 1; i < CATEGORIES; i++)
		define(p, INTERNED_CATEGORIES, i, categories[i]);
	message_message(&p->packet, PACKET_INTERNED, &p->event);
	write_packet(p);
	begin_packet(p, FLAG_NAMED);
	message_begin(&p->inner);
	message_number(&p->inner, PROCESS_PID, (uint64_t)p->trace->session.pid);
	message_text(&p->inner, PROCESS_NAME,
	             escape_text(program, sizeof(program), p->trace->session.target.program,
	                         false));
	message_begin(&p->event);
	message_number(&p->event, TRACK_UUID, track(OF_PROCESS, 0));
	message_message(&p->event, TRACK_PROCESS, &p->inner);
	message_message(&p->packet, PACKET_TRACK, &p->event);
	write_packet(p);
	put_track(p, track(OF_THREADS, 0), track(OF_PROCESS, 0), "green threads");
}

/* ---- workers and green threads --------------------------------------------------------- */

/* Index of the worker; WORKERS: there are too many. */
static size_t worker_of(struct perfetto *p, uint32_t tid)
{
	size_t i = 0;

	while (i < WORKERS && p->workers[i].tid && p->workers[i].tid != tid)
		i++;
	if (i == WORKERS || p->workers[i].tid)
		return i;
	p->workers[i].tid = tid;
	begin_packet(p, FLAG_NAMED);
	message_begin(&p->inner);
	message_number(&p->inner, THREAD_PID, (uint64_t)p->trace->session.pid);
	message_number(&p->inner, THREAD_TID, tid);
	message_text(&p->inner, THREAD_NAME, "worker");
	message_begin(&p->event);
	message_number(&p->event, TRACK_UUID, track(OF_WORKER, tid));
	message_message(&p->event, TRACK_THREAD, &p->inner);
	message_message(&p->packet, PACKET_TRACK, &p->event);
	write_packet(p);
	return i;
}

static struct green *place_of(struct perfetto *p, uint32_t thread)
{
	return &p->threads[thread & (THREADS - 1)];
}

/* A newer one takes the place of an older one. */
static struct green *green_of(struct perfetto *p, uint32_t thread)
{
	struct green *g = place_of(p, thread);
	char name[48];

	if (g->thread == thread)
		return g;
	*g = (struct green){ .thread = thread, .ran_ns = -1, .cap_ns = INT64_MAX };
	g->has_track = p->threads_count < PERFETTO_THREADS_MAX;
	p->threads_count += g->has_track;
	if (!g->has_track)
		return g;
	snprintf(name, sizeof(name), "green thread %u", thread & ((1u << 26) - 1));
	put_track(p, track(OF_THREAD, thread), track(OF_THREADS, 0), name);
	return g;
}

/* ---- records ----------------------------------------------------------------------------- */

static int64_t time_of(const struct perfetto *p, uint64_t ticks)
{
	return clock_moment(&p->trace->clock, ticks);
}

/* The run before this wait. */
static void put_run(struct perfetto *p, const struct green *g, int64_t parked)
{
	int64_t end = g->cap_ns != INT64_MAX && g->cap_ns - 1 < parked ? g->cap_ns - 1 : parked;

	if (g->ran_ns < 0)
		return;
	put_slice(p, g->ran_ns, end > g->ran_ns ? end : g->ran_ns, track(OF_WORKER, g->tid),
	          CATEGORY_RUN, g->name);
}

/* Who woke it has a track: an arrow from there. */
static uint64_t put_waker(struct perfetto *p, const struct trace_record *r, int64_t woken)
{
	const struct green *waker = r->waker ? place_of(p, r->waker) : NULL;
	struct flow flow;

	if (!waker || (waker->thread & ((1u << 26) - 1)) != r->waker || !waker->has_track)
		return 0;
	flow = (struct flow){ .from = ++p->flows };
	put_event(p, woken, TYPE_INSTANT, track(OF_THREAD, waker->thread), CATEGORY_RUN,
	          name_of(p, FIXED_WAKES, NAME_FIXED), flow);
	return flow.from;
}

static void put_wait(struct perfetto *p, const struct green *g, const struct trace_record *r,
                     int64_t parked, int64_t now)
{
	int64_t woken = now - (int64_t)clock_duration(&p->trace->clock, trace_ticks(r, r->ready));
	uint64_t on = track(OF_THREAD, g->thread), flow = 0;

	if (woken < parked)
		woken = parked;
	if (!g->has_track) {
		p->unshown++;
		return;
	}
	/* A damaged recording may say anything. */
	unsigned why = trace_why(r) < LAYOUT_NAMES ? trace_why(r) : LAYOUT_NAMES;
	put_event(p, parked, TYPE_BEGIN, on, CATEGORY_AWAY, name_of(p, trace_site(r), why),
	          (struct flow){ 0 });
	if (trace_why(r) != TRACE_YIELD) {
		uint32_t name = name_of(p, FIXED_QUEUED, NAME_FIXED);
		flow = put_waker(p, r, woken);
		put_event(p, woken, TYPE_BEGIN, on, CATEGORY_AWAY, name,
		          (struct flow){ .to = flow });
		put_event(p, now, TYPE_END, on, 0, 0, (struct flow){ 0 });
	}
	put_event(p, now, TYPE_END, on, 0, 0, (struct flow){ 0 });
}

void perfetto_record(struct perfetto *p, const struct ordered *o)
{
	const struct trace_record *r = &o->record;
	int64_t now = time_of(p, r->time);
	int64_t parked = now - (int64_t)clock_duration(&p->trace->clock, trace_ticks(r, r->away));

	put_head(p);
	size_t worker = worker_of(p, o->tid);
	if (r->thread == 0 || worker == WORKERS) {
		p->unshown++;
		return;
	}
	struct green *g = green_of(p, r->thread);
	/* Clocks of two CPUs, or readings that were shared. */
	if (g->ran_ns >= 0 && parked < g->ran_ns)
		parked = g->ran_ns;
	if (now < parked)
		now = parked;
	put_run(p, g, parked);
	put_wait(p, g, r, parked, now);
	/* Whoever ran here before does so no longer. */
	struct green *before = place_of(p, p->workers[worker].thread);
	if (before != g && before->thread && before->thread == p->workers[worker].thread &&
	    before->tid == o->tid && before->cap_ns == INT64_MAX)
		before->cap_ns = now;
	p->workers[worker].thread = r->thread;
	g->tid = o->tid;
	g->ran_ns = now;
	g->cap_ns = INT64_MAX;
	g->name = name_of(p, trace_site(r), NAME_RUNS);
}

/* "nanosleep: syscall < legacy_call < block" */
static void stop_text(char *to, size_t size, const struct event_stack *e, const struct path *path)
{
	char function[150];
	int n = snprintf(to, size, "%s",
	                 e->kind == EVENT_HOG ? "computes" : syscall_text(e->syscall));

	for (size_t i = 0; path && i < path->depth && i < 3; i++)
		n += snprintf(to + n, size - (size_t)n, "%s%s", i ? " < " : ": ",
		              function_text(function, sizeof(function), path->frames[i]));
}

void perfetto_stop(struct perfetto *p, const struct event_stack *e, const struct path *path)
{
	char text[600], name[64];

	put_head(p);
	size_t worker = worker_of(p, e->tid);
	if (worker == WORKERS || e->time_ns > INT64_MAX || e->ns > e->time_ns)
		return;
	uint64_t on = track(OF_STOPS, e->tid);
	if (!p->workers[worker].has_stops) {
		p->workers[worker].has_stops = true;
		snprintf(name, sizeof(name), "worker %u: no switch", e->tid);
		put_track(p, on, track(OF_PROCESS, 0), name);
	}
	stop_text(text, sizeof(text), e, path);
	uint32_t number = new_name(p, text);
	/* A call that goes on after it was told of has a second slice. */
	int64_t end = (int64_t)e->time_ns, begin = end - (int64_t)(e->ns - tally_told(e));
	/* Samples of one stretch of computing grow: each is a moment of it. */
	if (e->kind == EVENT_HOG)
		put_event(p, end, TYPE_INSTANT, on, CATEGORY_STOP, number, (struct flow){ 0 });
	else
		put_slice(p, begin, end, on, CATEGORY_STOP, number);
}

/* ---- the file ------------------------------------------------------------------------------ */

int perfetto_create(struct perfetto **perfetto, struct trace *t, const char *file)
{
	struct perfetto *p = calloc(1, sizeof(*p));
	char shown[300];

	if (!p)
		return problem("no memory");
	p->trace = t;
	p->path = file;
	p->file = fopen(file, "we");
	if (!p->file) {
		int error = errno;
		free(p);
		return problem("%s: %s", escape_text(shown, sizeof(shown), file, true),
		               strerror(error));
	}
	*perfetto = p;
	return EXIT_OK;
}

int perfetto_finish(struct perfetto *p)
{
	char shown[300];

	put_head(p);
	if (fclose(p->file) != 0 && !p->error)
		p->error = errno;
	int status = EXIT_OK;
	escape_text(shown, sizeof(shown), p->path, true);
	if (p->error)
		status = problem("%s: %s", shown, strerror(p->error));
	else if (p->unshown)
		complain("%s: waits of more than %d green threads: %" PRIu64 " are not shown",
		         shown, PERFETTO_THREADS_MAX, p->unshown);
	message_free(&p->packet);
	message_free(&p->event);
	message_free(&p->inner);
	message_free(&p->outer);
	free(p);
	return status;
}
