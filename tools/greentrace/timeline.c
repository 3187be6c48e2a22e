/* SPDX-License-Identifier: MIT
 *
 * Sorting records once for all who need that.
 */
#include "timeline.h"
#include "greenps.h"
#include "runs.h"

#include <stdlib.h>

#define DELAY_NS 50e6 /* a worker hands records on each 10 ms */

struct timeline {
	struct trace *trace;
	struct order order;
	struct perfetto *perfetto;
	struct chains *chains;
	struct requests requests;
	struct runs *runs;
};

static void take_run(struct timeline *l, const struct trace_record *r)
{
	uint64_t ticks = runs_add(l->runs, r);
	struct site *site = ticks ? sites_get(&l->trace->sites, trace_site(r), trace_why(r)) : NULL;

	if (site)
		site->ran_ns += clock_duration(&l->trace->clock, ticks);
}

static void take(void *arg, const struct ordered *o)
{
	struct timeline *l = arg;
	const struct trace_record *r = &o->record;

	if (l->chains)
		chains_add(l->chains, r, clock_duration(&l->trace->clock, trace_ticks(r, r->away)));
	if (l->requests.pending && trace_why(r) == TRACE_IO)
		requests_record(&l->requests, r, &l->trace->clock);
	if (l->runs)
		take_run(l, r);
	if (l->perfetto)
		perfetto_record(l->perfetto, o);
}

int timeline_open(struct trace *t)
{
	const struct options *o = t->options;
	int status = EXIT_OK;

	if (!o->perfetto && !o->wakers && !o->requests && !o->running)
		return EXIT_OK;
	struct timeline *l = calloc(1, sizeof(*l));
	if (!l)
		return problem("no memory");
	l->trace = t;
	l->order.take = take;
	l->order.arg = l;
	t->timeline = l;
	if (o->wakers) {
		l->chains = chains_open();
		status = l->chains ? EXIT_OK : problem("no memory");
	}
	if (status == EXIT_OK && o->running && !(l->runs = runs_open()))
		status = problem("no memory");
	if (status == EXIT_OK && o->requests && !requests_open(&l->requests))
		status = problem("no memory");
	if (status == EXIT_OK && o->perfetto)
		status = perfetto_create(&l->perfetto, t, o->perfetto);
	return status;
}

void timeline_records(struct timeline *l, const struct event_records *e)
{
	const struct tick_clock *c = &l->trace->clock;
	double ns_per_tick = c->nanoseconds ? 1 : c->ns_per_tick;

	order_add(&l->order, e, l->trace->started_ticks, (uint64_t)(DELAY_NS / ns_per_tick));
}

void timeline_request(struct timeline *l, const struct event_request *e)
{
	if (l->requests.pending)
		requests_event(&l->requests, e);
}

void timeline_stack(struct timeline *l, const struct event_stack *e, const struct path *path)
{
	if (l->perfetto && (e->kind == EVENT_BLOCKED || e->kind == EVENT_HOG))
		perfetto_stop(l->perfetto, e, path);
}

void timeline_settle(struct timeline *l)
{
	order_end(&l->order);
}

int timeline_end(struct timeline *l)
{
	int status = EXIT_OK;

	if (l->perfetto)
		status = perfetto_finish(l->perfetto);
	l->perfetto = NULL;
	return status;
}

void timeline_free(struct timeline *l)
{
	if (!l)
		return;
	timeline_end(l);
	order_free(&l->order);
	chains_close(l->chains);
	requests_close(&l->requests);
	runs_close(l->runs);
	free(l);
}

const struct chains *timeline_chains(const struct timeline *l)
{
	return l ? l->chains : NULL;
}

const struct requests *timeline_requests(const struct timeline *l)
{
	return l && l->requests.pending ? &l->requests : NULL;
}

uint64_t timeline_refused(const struct timeline *l)
{
	return l ? l->order.refused : 0;
}
