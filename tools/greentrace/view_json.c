/* SPDX-License-Identifier: MIT
 *
 * Output for programs: one JSON object on each line, of a type named by its first member.
 */
#include "escape.h"
#include "view.h"

#include <inttypes.h>
#include <stdlib.h>

/* Where there may be lines of several processes, each says of which. */
void view_json_begin(const struct trace *t, const char *type)
{
	printf("{\"type\":\"%s\"", type);
	if (t->options->many)
		printf(",\"pid\":%d", (int)t->session.pid);
}

void view_json_symbol(const struct symbol *y)
{
	printf("{");
	if (y->function[0]) {
		printf("\"function\":");
		escape_json(y->function);
		printf(",");
	}
	if (y->source[0]) {
		printf("\"source\":");
		escape_json(y->source);
		printf(",");
	}
	printf("\"file\":");
	escape_json(y->file);
	printf(",\"offset\":%" PRIu64 "}", y->into);
}

void view_json_path(const struct path *path)
{
	printf(",\"frames\":[");
	for (size_t i = 0; i < path->depth; i++) {
		if (i)
			printf(",");
		view_json_symbol(path->frames[i]);
	}
	printf("]");
}

static void print_durations(const struct histogram *h)
{
	printf(",\"count\":%" PRIu64 ",\"total_ns\":%" PRIu64 ",\"p50_ns\":%" PRIu64
	       ",\"p99_ns\":%" PRIu64 ",\"max_ns\":%" PRIu64,
	       h->count, h->total_ns, histogram_quantile(h, 0.5), histogram_quantile(h, 0.99),
	       h->max_ns);
}

static void print_descriptors(struct trace *t, const struct site *site)
{
	const char *between = ",\"descriptors\":[";

	for (size_t i = 0; i < t->descriptors_count; i++) {
		const struct descriptor *d = &t->descriptors[i];
		if (d->site != site->pc || d->why != site->why)
			continue;
		printf("%s", between);
		escape_json(d->text);
		between = ",";
	}
	if (between[1] == 0)
		printf("]");
}

static void print_site(struct trace *t, const struct site *site, bool interval)
{
	int waker = top_best(&site->wakers);

	view_json_begin(t, "site");
	printf(",\"time_s\":%.6f,\"why\":", trace_seconds(t));
	escape_json(layout_why(&t->session.layout, site->why));
	printf(",\"at\":");
	view_json_symbol(site->symbol);
	if (interval)
		printf(",\"interval_count\":%" PRIu64 ",\"interval_total_ns\":%" PRIu64,
		       site_parks(site), site_total_ns(site));
	print_durations(&site->parked);
	printf(",\"queued_ns\":%" PRIu64, site->queued.total_ns);
	if (t->session.wishes.entries)
		printf(",\"entries\":%" PRIu64, site->entries);
	print_descriptors(t, site);
	if (waker >= 0 && site->wakers.seen[waker].value) {
		printf(",\"waker\":");
		view_json_symbol(names_get(t->names, site->wakers.seen[waker].value, false));
	}
	if (site->path)
		view_json_path(site->path);
	printf("}\n");
}

static void print_stop(struct trace *t, const struct stop *stop)
{
	view_json_begin(t, stop->kind == EVENT_HOG ? "hog" : "blocked");
	if (stop->kind == EVENT_BLOCKED)
		printf(",\"in\":\"%s\"", syscall_text(stop->syscall));
	print_durations(&stop->ns);
	if (stop->path)
		view_json_path(stop->path);
	printf("}\n");
}

static void print_sites(struct trace *t, bool interval)
{
	struct site **sorted = sites_sorted(&t->sites, t->look->order, interval);
	uint64_t rows = 0, most = options_rows(t->options, true);

	for (size_t i = 0; sorted && sorted[i] && rows < most; i++) {
		if ((interval && !site_parks(sorted[i])) ||
		    !view_wants(t, sorted[i]->why, sorted[i]->symbol))
			continue;
		print_site(t, sorted[i], interval);
		rows++;
	}
	free(sorted);
}

static void print_stops(struct trace *t, enum event_kind kind)
{
	struct stop **sorted = view_stops(t, kind);

	for (size_t i = 0; sorted && sorted[i] && i < options_rows(t->options, true); i++)
		print_stop(t, sorted[i]);
	free(sorted);
}

void view_json(struct trace *t, bool interval)
{
	print_sites(t, interval);
	if (interval)
		return;
	print_stops(t, EVENT_BLOCKED);
	print_stops(t, EVENT_HOG);
	view_json_chains(t);
	view_json_kernel(t);
	if (t->session.wishes.queued) {
		view_json_begin(t, "runq");
		print_durations(&t->queued);
		printf("}\n");
	}
	view_json_begin(t, "end");
	printf(",\"records\":%" PRIu64 ",\"lost\":%" PRIu64 "}\n", t->records, trace_lost(t));
}
