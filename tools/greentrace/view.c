/* SPDX-License-Identifier: MIT
 *
 * Tables for people.
 */
#include "view.h"
#include "attach.h"
#include "escape.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define BAR 40        /* characters */
#define PATHS_SHOWN 4 /* of one switch point */

static void print_head(struct trace *t, bool interval)
{
	char program[300], clock[16];
	time_t now = time(NULL);
	struct tm broken;
	int64_t end = t->stopped_ns ? t->stopped_ns : clock_now();
	double seconds = (double)(end - (interval ? t->marked_ns : t->started_ns)) / 1e9;
	uint64_t lost = trace_lost(t);

	if (t->options->timestamps && localtime_r(&now, &broken) &&
	    strftime(clock, sizeof(clock), "%H:%M:%S", &broken))
		printf("%s  ", clock);
	printf("%s (%d), %.1f s",
	       escape_text(program, sizeof(program), t->session.target.program, false),
	       (int)t->session.pid, seconds);
	if (lost)
		printf("; LOST %" PRIu64 " records (--buffer makes room for more)", lost);
	printf("\n");
}

static void print_histogram(const struct histogram *h)
{
	unsigned low = 0, high = HISTOGRAM_LOG2_MAX - 1;
	uint64_t most = 1;
	char from[16], to[16];

	while (low < high && !histogram_log2(h, low))
		low++;
	while (high > low && !histogram_log2(h, high))
		high--;
	for (unsigned i = low; i <= high; i++)
		if (histogram_log2(h, i) > most)
			most = histogram_log2(h, i);
	for (unsigned i = low; i <= high; i++) {
		uint64_t n = histogram_log2(h, i);
		int length = (int)(n * BAR / most);
		printf("      %8s - %-8s %10" PRIu64 " |%.*s%*s|\n",
		       time_text(from, i ? (uint64_t)1 << i : 0), time_text(to, (uint64_t)2 << i),
		       n, length, "****************************************", BAR - length, "");
	}
}

/* ---- call paths ------------------------------------------------------------------ */

struct paths {
	const struct site *site;
	const struct path *most[PATHS_SHOWN]; /* those seen most often first */
	uint64_t all;
};

static void take_path(void *arg, const struct path *path)
{
	struct paths *p = arg;
	size_t at = PATHS_SHOWN;

	if (!path_is_of(path, p->site->pc, p->site->why) || path->count == 0)
		return;
	p->all++;
	while (at > 0 && (!p->most[at - 1] || p->most[at - 1]->count < path->count))
		at--;
	for (size_t i = PATHS_SHOWN - 1; i > at; i--)
		p->most[i] = p->most[i - 1];
	if (at < PATHS_SHOWN)
		p->most[at] = path;
}

/* A function that many call, which waits for them, is one switch point. */
static void print_paths(struct trace *t, const struct site *site)
{
	struct paths paths = { .site = site };

	names_each_path(t->names, take_path, &paths);
	for (size_t i = 0; i < PATHS_SHOWN && paths.most[i]; i++) {
		if (i > 0)
			printf("    or\n");
		path_print(stdout, paths.most[i]);
	}
	if (paths.all > PATHS_SHOWN)
		printf("    or %" PRIu64 " other paths\n", paths.all - PATHS_SHOWN);
}

bool view_wants(const struct trace *t, uint64_t why, const struct symbol *symbol)
{
	const char *filter = t->look->filter;
	char where[512];

	return !filter || strstr(layout_why(&t->session.layout, why), filter) ||
	       strstr(place_text(where, sizeof(where), symbol), filter);
}

static void print_row(struct trace *t, const struct site *site, bool interval)
{
	const struct histogram *h = &site->parked;
	uint64_t count = interval ? site_parks(site) : h->count;
	uint64_t total = interval ? site_total_ns(site) : h->total_ns;
	uint64_t queued = h->count ? site->queued.total_ns / h->count : 0;
	char a[16], b[16], c[16], d[16], e[16], f[16], where[512];

	printf("%9" PRIu64 " %8s %8s %8s %8s %8s %8s  %-10s %s\n", count, time_text(a, total),
	       time_text(b, count ? total / count : 0), time_text(c, histogram_quantile(h, 0.5)),
	       time_text(d, histogram_quantile(h, 0.99)), time_text(e, h->max_ns),
	       time_text(f, queued), layout_why(&t->session.layout, site->why),
	       place_text(where, sizeof(where), site->symbol));
	if (t->options->stacks)
		print_paths(t, site);
	view_chains(t, site);
	if (t->options->histograms && h->count)
		print_histogram(h);
}

/* ---- what did not yield -------------------------------------------------------- */

static int longest_first(const void *a, const void *b)
{
	const struct stop *x = *(struct stop *const *)a, *y = *(struct stop *const *)b;

	return x->ns.total_ns < y->ns.total_ns ? 1 : x->ns.total_ns > y->ns.total_ns ? -1 : 0;
}

static void print_stop(const struct stop *stop)
{
	char total[16], max[16];

	printf("%9" PRIu64 " %8s %8s  %s\n", stop->ns.count, time_text(total, stop->ns.total_ns),
	       time_text(max, stop->ns.max_ns),
	       stop->kind == EVENT_HOG ? "computed without a switch" : syscall_text(stop->syscall));
	if (stop->path)
		path_print(stdout, stop->path);
}

struct stop **view_stops(struct trace *t, enum event_kind kind)
{
	size_t n = 0;

	for (struct stop *stop = t->stops; stop; stop = stop->next)
		n += stop->kind == kind && stop->ns.count > 0;
	struct stop **sorted = calloc(n + 1, sizeof(struct stop *));
	if (!sorted)
		return NULL;
	n = 0;
	for (struct stop *stop = t->stops; stop; stop = stop->next)
		if (stop->kind == kind && stop->ns.count > 0)
			sorted[n++] = stop;
	qsort(sorted, n, sizeof(struct stop *), longest_first);
	return sorted;
}

static void print_stops(struct trace *t, enum event_kind kind, const char *title)
{
	struct stop **sorted = view_stops(t, kind);
	uint64_t rows = options_rows(t->options, false);

	if (sorted && sorted[0])
		printf("\n%s\n    COUNT    TOTAL      MAX  WHAT\n", title);
	for (size_t i = 0; sorted && sorted[i] && i < rows; i++)
		print_stop(sorted[i]);
	free(sorted);
}

static void print_queued(const struct histogram *h)
{
	char p50[16], p99[16], max[16];

	printf("\nWorkers waited for a CPU %" PRIu64 " times: p50 %s, p99 %s, max %s\n", h->count,
	       time_text(p50, histogram_quantile(h, 0.5)),
	       time_text(p99, histogram_quantile(h, 0.99)), time_text(max, h->max_ns));
}

void view_table(struct trace *t, bool interval)
{
	struct site **sorted = sites_sorted(&t->sites, t->look->order, interval);
	uint64_t rows = 0, most = options_rows(t->options, false);

	print_head(t, interval);
	printf("    PARKS    TOTAL     MEAN      P50      P99      MAX   QUEUED  WHY        "
	       "WHERE\n");
	for (size_t i = 0; sorted && sorted[i] && rows < most; i++) {
		if (interval ? !site_parks(sorted[i]) : !sorted[i]->parked.count)
			continue;
		if (!view_wants(t, sorted[i]->why, sorted[i]->symbol))
			continue;
		print_row(t, sorted[i], interval);
		rows++;
	}
	free(sorted);
	print_stops(t, EVENT_BLOCKED, "Workers blocked below a green thread");
	print_stops(t, EVENT_HOG, "Green threads that did not switch");
	if (t->session.wishes.queued)
		print_queued(&t->queued);
	view_kernel(t);
}

/* ---- the map -------------------------------------------------------------------- */

static void print_descriptors(struct trace *t, const struct site *site)
{
	char text[320];
	const char *between = "      on ";
	bool any = false;

	for (size_t i = 0; i < t->descriptors_count; i++) {
		const struct descriptor *d = &t->descriptors[i];
		if (d->site != site->pc || d->why != site->why)
			continue;
		printf("%s%s", between, escape_text(text, sizeof(text), d->text, false));
		between = ", ";
		any = true;
	}
	if (any)
		printf("\n");
}

static void print_wakers(struct trace *t, const struct site *site)
{
	int best = top_best(&site->wakers);
	char text[400];

	if (best < 0 || !site->wakers.seen[best].value)
		return;
	printf("      woken by %s\n",
	       function_text(text, sizeof(text),
	                     names_get(t->names, site->wakers.seen[best].value, false)));
}

/* Callers of the site, which itself is in the row already; before them the libraries that
 * are between it and an intercepted call, the call last. */
static void print_path(const struct path *path)
{
	char where[512];

	for (size_t i = path ? path->at : 0; i > 0; i--)
		printf("      > %s\n", place_text(where, sizeof(where), path->frames[i - 1]));
	for (size_t i = path ? path->at + 1 : 0; path && i < path->depth; i++)
		printf("      < %s\n", place_text(where, sizeof(where), path->frames[i]));
}

static void print_site(struct trace *t, const struct site *site)
{
	const struct histogram *h = &site->parked;
	char entries[24] = "-", a[16], b[16], c[16], d[16], where[512];

	if (t->session.wishes.entries)
		snprintf(entries, sizeof(entries), "%" PRIu64, site->entries);
	printf("%9s %9" PRIu64 " %8s %8s %8s %8s  %-10s %s\n", entries, h->count,
	       time_text(a, h->total_ns), time_text(b, histogram_quantile(h, 0.5)),
	       time_text(c, histogram_quantile(h, 0.99)), time_text(d, h->max_ns),
	       layout_why(&t->session.layout, site->why),
	       place_text(where, sizeof(where), site->symbol));
	print_descriptors(t, site);
	print_wakers(t, site);
	print_path(site->path);
	view_chains(t, site);
}

void view_sites(struct trace *t)
{
	struct site **sorted = sites_sorted(&t->sites, t->look->order, false);
	uint64_t rows = 0, most = options_rows(t->options, true);

	print_head(t, false);
	printf("  ENTRIES     PARKS    TOTAL      P50      P99      MAX  WHY        WHERE\n");
	for (size_t i = 0; sorted && sorted[i] && rows < most; i++) {
		if (!view_wants(t, sorted[i]->why, sorted[i]->symbol))
			continue;
		print_site(t, sorted[i]);
		rows++;
	}
	free(sorted);
	print_stops(t, EVENT_BLOCKED, "Workers blocked below a green thread");
	print_stops(t, EVENT_HOG, "Green threads that did not switch");
	if (t->session.wishes.queued)
		print_queued(&t->queued);
	view_kernel(t);
}
