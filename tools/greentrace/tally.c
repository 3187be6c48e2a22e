/* SPDX-License-Identifier: MIT
 *
 * Adding up records and events.
 */
#include "tally.h"
#include "timeline.h"

#include <stdlib.h>
#include <string.h>

/* ---- records ------------------------------------------------------------------ */

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

static void add_record(struct trace *t, const struct trace_record *r)
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
		top_add(&site->wakers, t->function_of(t, r->waker));
}

void tally_records(struct trace *t, const struct event_records *e)
{
	for (uint32_t i = 0; i < e->count; i++)
		add_record(t, &e->records[i]);
	if (t->timeline)
		timeline_records(t->timeline, e);
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

static struct stop *stop_at(struct trace *t, const struct event_stack *e, struct path *path)
{
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
static void add_hog(struct trace *t, const struct event_stack *e, struct path *path)
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
		hog->stop = stop_at(t, e, path);
	}
	hog->ns = e->ns;
}

/* A place that is new in the kernel's table; its path may be known. */
static void add_syscall(struct trace *t, const struct event_stack *e, struct path *path)
{
	size_t n = t->places_count;

	if ((n & (n - 1)) == 0) {
		struct syscall_place *more = realloc(t->places, (n ? 2 * n : 1) * sizeof(*more));
		if (!more)
			return;
		t->places = more;
	}
	struct stop *stop = stop_at(t, e, path);
	if (!stop)
		return;
	t->places[t->places_count++] = (struct syscall_place){
		.key = { .ip = e->site, .caller = e->why, .number = (uint64_t)e->syscall },
		.stop = stop,
	};
}

void tally_syscall(struct trace *t, const struct syscall_key *key, uint64_t n)
{
	for (size_t i = 0; i < t->places_count; i++)
		if (memcmp(&t->places[i].key, key, sizeof(*key)) == 0) {
			t->places[i].stop->seen += n;
			return;
		}
}

void tally_uncount(struct trace *t)
{
	for (struct stop *stop = t->stops; stop; stop = stop->next)
		if (stop->kind == EVENT_SYSCALL)
			stop->seen = 0;
}

uint64_t tally_told(const struct event_stack *e)
{
	return e->kind == EVENT_BLOCKED && e->why < e->ns ? e->why : 0;
}

void tally_stack(struct trace *t, const struct event_stack *e, struct path *path)
{
	struct site *site;
	struct stop *stop;

	if (t->timeline)
		timeline_stack(t->timeline, e, path);
	switch (e->kind) {
	case EVENT_STACK:
	case EVENT_ENTERED:
		site = site_at(t, e->site, (unsigned)e->why);
		if (site && path) {
			path_note(path, e->site, e->why);
			site->path = path;
		}
		break;
	case EVENT_BLOCKED:
		stop = stop_at(t, e, path);
		if (stop && tally_told(e))
			histogram_grow(&stop->ns, tally_told(e), e->ns);
		else if (stop)
			histogram_add(&stop->ns, e->ns);
		break;
	case EVENT_HOG:
		add_hog(t, e, path);
		break;
	case EVENT_SYSCALL:
		add_syscall(t, e, path);
		break;
	case EVENT_FAULT:
	case EVENT_GROWN:
		stop = stop_at(t, e, path);
		if (!stop)
			break;
		stop->seen += e->ns;
		histogram_add(&stop->ns, e->why);
		break;
	default:
		break;
	}
}

/* ---- the rest ----------------------------------------------------------------- */

void tally_request(struct trace *t, const struct event_request *e)
{
	if (t->timeline)
		timeline_request(t->timeline, e);
}

void tally_small(struct trace *t, const struct event_small *e)
{
	if (e->kind == EVENT_QUEUED)
		histogram_add(&t->queued, e->ns);
}

bool tally_wants_descriptor(const struct trace *t, uint64_t site, uint64_t why)
{
	unsigned told = 0;

	for (size_t i = 0; i < t->descriptors_count; i++)
		told += t->descriptors[i].site == site && t->descriptors[i].why == why;
	return told < DESCRIPTORS_TOLD;
}

bool tally_descriptor(struct trace *t, uint64_t site, uint64_t why, const char *text)
{
	struct descriptor *more;

	if (!tally_wants_descriptor(t, site, why))
		return false;
	more = realloc(t->descriptors, (t->descriptors_count + 1) * sizeof(*more));
	if (!more)
		return false;
	t->descriptors = more;
	more += t->descriptors_count++;
	more->site = site;
	more->why = why;
	snprintf(more->text, sizeof(more->text), "%s", text);
	return true;
}

void tally_entry(struct trace *t, const struct entry_key *key, uint64_t n)
{
	struct site *site = site_at(t, key->site, (unsigned)key->why);

	if (site)
		site->entries = n;
}

void tally_end(struct trace *t)
{
	for (unsigned i = 0; i < t->hogs_count; i++)
		end_hog(&t->hogs[i]);
	if (t->timeline)
		timeline_settle(t->timeline);
}

void tally_free(struct trace *t)
{
	while (t->stops) {
		struct stop *next = t->stops->next;
		free(t->stops);
		t->stops = next;
	}
	free(t->descriptors);
	free(t->places);
	timeline_free(t->timeline);
	sites_free(&t->sites);
}
