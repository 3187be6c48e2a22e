/* SPDX-License-Identifier: MIT
 *
 * Taking in what is sent, and adding it up.
 */
#include "trace.h"
#include "attach.h"
#include "descriptor_text.h"
#include "escape.h"
#include "greenps.h"
#include "launch.h"

#include <stdlib.h>
#include <string.h>

/* ---- records ------------------------------------------------------------------ */

/* The function of the thread with that index, as far as its descriptor still is its own:
 * read at most once a second for each, and not for each record. */
static uint64_t function_of(struct trace *t, uint32_t index)
{
	static struct {
		uint32_t index;
		int64_t read_ns;
		uint64_t fn;
	} cache[4096];
	const struct layout *l = &t->session.layout;
	size_t at = index % (sizeof(cache) / sizeof(cache[0]));
	uint64_t table = 0;

	if (cache[at].index == index && t->marked_ns - cache[at].read_ns < 1000000000)
		return cache[at].fn;
	cache[at].index = index;
	cache[at].read_ns = t->marked_ns;
	cache[at].fn = 0;
	if (layout_global(&t->session.target, l->gt_table, &table))
		target_read(&t->session.target,
		            table + (uint64_t)index * l->gt.size + l->gt_fn.value, &cache[at].fn,
		            sizeof(cache[at].fn));
	return cache[at].fn;
}

static struct site *site_at(struct trace *t, uint64_t pc, unsigned why)
{
	struct site *site = sites_get(&t->sites, pc, why);

	if (site && !site->symbol)
		site->symbol = names_get(t->names, pc, true);
	return site;
}

/* Many in a row are often of the same place. */
static struct site *site_of(struct trace *t, const struct trace_record *r)
{
	struct site *last = t->last;

	if (last && last->pc == trace_site(r) && last->why == trace_why(r))
		return last;
	t->last = site_at(t, trace_site(r), trace_why(r));
	return t->last;
}

static void take_record(struct trace *t, const struct trace_record *r)
{
	/* Of before the attaching: it stood in the ring, for the flight recorder. */
	if (r->time < t->started_ticks)
		return;
	struct site *site = site_of(t, r);
	if (!site)
		return;
	t->records++;
	histogram_add(&site->parked, clock_duration(&t->clock, trace_ticks(r, r->away)));
	histogram_add(&site->queued, clock_duration(&t->clock, trace_ticks(r, r->ready)));
	if (r->waker)
		top_add(&site->wakers, function_of(t, r->waker));
}

/* What is known only once the program runs: where its data are, which clock it uses. */
static void settle(struct trace *t)
{
	if (t->settled)
		return;
	t->settled = true;
	session_refresh(&t->session);
	if (session_clock(&t->session) == TRACE_CLOCK_NS) {
		t->clock.nanoseconds = true;
		t->started_ticks = (uint64_t)t->started_ns;
	}
}

static void take_records(void *arg, const struct event_records *e)
{
	struct trace *t = arg;

	settle(t);
	for (uint32_t i = 0; i < e->count; i++)
		take_record(t, &e->records[i]);
}

/* ---- stacks ------------------------------------------------------------------- */

/* The same call path, but for where in the innermost function it was: a sample of a loop
 * finds each of its instructions. */
static bool same_place(const struct path *a, const struct path *b)
{
	if (a == b)
		return true;
	if (!a || !b || a->depth != b->depth || !a->frames[0]->function[0] ||
	    strcmp(a->frames[0]->function, b->frames[0]->function) != 0 ||
	    a->pcs[0] - a->frames[0]->into != b->pcs[0] - b->frames[0]->into)
		return false;
	for (size_t i = 1; i < a->depth; i++)
		if (a->pcs[i] != b->pcs[i])
			return false;
	return true;
}

static struct stop *stop_at(struct trace *t, const struct event_stack *e)
{
	struct path *path = names_path(t->names, e, 0);
	struct stop **at = &t->stops;

	for (; *at; at = &(*at)->next)
		if ((*at)->kind == e->kind && (*at)->syscall == e->syscall &&
		    same_place((*at)->path, path))
			return *at;
	*at = calloc(1, sizeof(**at));
	if (*at) {
		(*at)->kind = e->kind;
		(*at)->syscall = e->syscall;
		(*at)->path = path;
	}
	return *at;
}

static void end_hog(struct hog *hog)
{
	if (hog->stop)
		histogram_add(&hog->stop->ns, hog->ns);
	hog->stop = NULL;
}

/* Samples of one stretch of computing: it counts once, with its whole length, where it
 * was found first. */
static void take_hog(struct trace *t, const struct event_stack *e)
{
	struct hog *hog = t->hogs;

	while (hog < t->hogs + t->hogs_count && hog->tid != e->tid)
		hog++;
	if (hog == t->hogs + HOGS_MAX)
		return;
	if (hog == t->hogs + t->hogs_count)
		t->hogs_count++;
	if (!hog->stop || hog->switches != e->why) {
		end_hog(hog);
		hog->tid = e->tid;
		hog->switches = e->why;
		hog->stop = stop_at(t, e);
	}
	hog->ns = e->ns;
}

static void take_forbidden(struct trace *t, const struct event_stack *e)
{
	struct path *path = names_path(t->names, e, e->site);
	const struct wishes *w = &t->session.wishes;

	for (size_t i = 0; path && i < path->depth; i++)
		if (path->pcs[i] > w->forbidden_start && path->pcs[i] <= w->forbidden_end) {
			t->forbidden_seen++;
			if (!t->forbidden)
				t->forbidden = path;
			return;
		}
}

static void take_stack(void *arg, const struct event_stack *e)
{
	struct trace *t = arg;
	struct site *site;
	struct stop *stop;

	switch (e->kind) {
	case EVENT_STACK:
	case EVENT_ENTERED:
		site = site_at(t, e->site, (unsigned)e->why);
		if (site) {
			struct path *path = names_path(t->names, e, e->site);
			if (path)
				site->path = path;
		}
		break;
	case EVENT_BLOCKED:
		stop = stop_at(t, e);
		if (stop)
			histogram_add(&stop->ns, e->ns);
		break;
	case EVENT_HOG:
		take_hog(t, e);
		break;
	case EVENT_FORBIDDEN:
		take_forbidden(t, e);
		break;
	default:
		break;
	}
}

/* ---- the rest ----------------------------------------------------------------- */

/* At once, as it may be closed soon. */
static void take_descriptor(struct trace *t, const struct event_small *e)
{
	struct descriptor *more;
	unsigned told = 0;

	for (size_t i = 0; i < t->descriptors_count; i++)
		told += t->descriptors[i].site == e->site && t->descriptors[i].why == e->why;
	if (told >= DESCRIPTORS_TOLD)
		return;
	more = realloc(t->descriptors, (t->descriptors_count + 1) * sizeof(*more));
	if (!more)
		return;
	t->descriptors = more;
	more += t->descriptors_count++;
	more->site = e->site;
	more->why = e->why;
	descriptor_text(more->text, sizeof(more->text), t->session.pid, t->session.pidfd,
	                (int)e->object);
}

static void take_small(void *arg, const struct event_small *e)
{
	struct trace *t = arg;
	pid_t tid;

	switch (e->kind) {
	case EVENT_QUEUED:
		histogram_add(&t->queued, e->ns);
		break;
	case EVENT_WORKER:
		settle(t);
		tid = session_tid(&t->session, (pid_t)e->tid, e->object);
		if (tid)
			attach_worker(&t->session, tid, e->object);
		break;
	case EVENT_DESCRIPTOR:
		take_descriptor(t, e);
		break;
	default:
		break;
	}
}

static void take_entry(void *arg, const struct entry_key *key, uint64_t n)
{
	struct site *site = site_at(arg, key->site, (unsigned)key->why);

	if (site)
		site->entries = n;
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
		.entries = o->command == SITES,
		.blocked_ns = lesser(o->blocked_ns, o->no_blocked_ns),
		.hog_ns = lesser(o->hog_ns, o->no_hog_ns),
		.queued = o->queued || o->max_queued_ns,
		.buffer = o->buffer,
	};
	if (!o->no_yield ||
	    names_find(t->names, o->no_yield, &w->forbidden_start, &w->forbidden_end))
		return EXIT_OK;
	return problem("the program has no function %s with a known size: without symbols it "
	               "cannot be watched",
	               escape_text(shown, sizeof(shown), o->no_yield, true));
}

static int open_process(struct trace *t)
{
	const struct options *o = t->options;
	pid_t pid = o->pid;
	int status = EXIT_OK;

	if (o->argv)
		status = launch(&pid, o->argv);
	if (status == EXIT_OK)
		status = session_open(&t->session, pid, o->argv != NULL);
	return status;
}

int trace_start(struct trace *t, const struct options *o)
{
	const struct receiver receiver = { take_records, take_stack, take_small, t };
	struct wishes wishes;

	memset(t, 0, sizeof(*t));
	t->options = o;
	t->order = o->order;
	t->session.pidfd = -1;
	int status = open_process(t);
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
	t->started_ns = t->marked_ns = clock_now();
	t->started_ticks = clock_ticks(&t->clock);
	if (status == EXIT_OK && o->argv)
		status = launch_go(t->session.pid);
	return status;
}

bool trace_poll(struct trace *t, int ms)
{
	clock_measure(&t->clock);
	return session_poll(&t->session, ms);
}

void trace_stop(struct trace *t)
{
	t->stopped_ns = clock_now();
	session_detach(&t->session);
	if (t->session.wishes.entries)
		attachment_entries(t->session.attachment, take_entry, t);
	for (unsigned i = 0; i < t->hogs_count; i++)
		end_hog(&t->hogs[i]);
}

void trace_free(struct trace *t)
{
	while (t->stops) {
		struct stop *next = t->stops->next;
		free(t->stops);
		t->stops = next;
	}
	free(t->descriptors);
	sites_free(&t->sites);
	names_close(t->names);
	session_close(&t->session);
}

uint64_t trace_lost(const struct trace *t)
{
	uint64_t lost = t->sites.refused;

	for (unsigned i = 0; i < COUNTS; i++)
		lost += attachment_count(t->session.attachment, i);
	return lost;
}
