/* SPDX-License-Identifier: MIT
 *
 * What the kernel has seen of the workers besides switches: requests of io_uring, system
 * calls that were not intercepted, new pages of stacks.
 */
#include "escape.h"
#include "timeline.h"
#include "view.h"

#include <inttypes.h>
#include <stdlib.h>

/* ---- io_uring -------------------------------------------------------------------- */

static int longest_first(const void *a, const void *b)
{
	const struct request_row *x = a, *y = b;

	if (x->kernel.total_ns != y->kernel.total_ns)
		return x->kernel.total_ns < y->kernel.total_ns ? 1 : -1;
	return x->site < y->site ? -1 : x->site > y->site;
}

static void print_request(struct trace *t, const struct request_row *row)
{
	const struct histogram *h = &row->kernel;
	char a[16], b[16], c[16], d[16], e[16], where[512];

	printf("%9" PRIu64 " %8" PRIu64 " %8s %8s %8s %8s %8s  %-10s %s\n", h->count, row->punted,
	       time_text(a, row->before_ns / h->count), time_text(b, h->total_ns / h->count),
	       time_text(c, histogram_quantile(h, 0.99)), time_text(d, row->after_ns / h->count),
	       time_text(e, row->ready_ns / h->count), opcode_text(row->opcode),
	       place_text(where, sizeof(where), names_get(t->names, row->site, true)));
}

static void print_requests(struct trace *t)
{
	const struct requests *r = timeline_requests(t->timeline);

	if (!r)
		return;
	printf("\nio_uring: from parking to running again (means; P99 of the time in the kernel)\n"
	       "    COUNT   PUNTED   QUEUED   KERNEL      P99   REAPED    READY  REQUEST    "
	       "WHERE\n");
	if (r->count)
		qsort(r->rows, r->count, sizeof(r->rows[0]), longest_first);
	for (size_t i = 0; i < r->count && i < options_rows(t->options, false); i++)
		print_request(t, &r->rows[i]);
	if (r->count == 0)
		printf("  no wait for a request was seen: does it run with io_uring? "
		       "(GREEN_ENGINE)\n");
}

static void json_requests(struct trace *t)
{
	const struct requests *r = timeline_requests(t->timeline);

	if (r && r->count)
		qsort(r->rows, r->count, sizeof(r->rows[0]), longest_first);
	for (size_t i = 0; r && i < r->count && i < options_rows(t->options, true); i++) {
		const struct request_row *row = &r->rows[i];
		const struct histogram *h = &row->kernel;
		view_json_begin(t, "io_uring");
		printf(",\"request\":\"%s\",\"at\":", opcode_text(row->opcode));
		view_json_symbol(names_get(t->names, row->site, true));
		printf(",\"count\":%" PRIu64 ",\"punted\":%" PRIu64 ",\"queued_ns\":%" PRIu64
		       ",\"kernel_ns\":%" PRIu64 ",\"kernel_p99_ns\":%" PRIu64
		       ",\"reaped_ns\":%" PRIu64 ",\"ready_ns\":%" PRIu64 "}\n",
		       h->count, row->punted, row->before_ns, h->total_ns,
		       histogram_quantile(h, 0.99), row->after_ns, row->ready_ns);
	}
}

/* ---- counted places ----------------------------------------------------------------- */

static int most_first(const void *a, const void *b)
{
	const struct stop *x = *(struct stop *const *)a, *y = *(struct stop *const *)b;

	return x->seen < y->seen ? 1 : x->seen > y->seen ? -1 : 0;
}

/* Allocated, ended by NULL; NULL: there are none, or no memory. */
static struct stop **counted(struct trace *t, enum event_kind kind)
{
	size_t n = 0;

	for (struct stop *stop = t->stops; stop; stop = stop->next)
		n += stop->kind == kind && stop->seen > 0;
	struct stop **sorted = n ? calloc(n + 1, sizeof(struct stop *)) : NULL;
	if (!sorted)
		return NULL;
	n = 0;
	for (struct stop *stop = t->stops; stop; stop = stop->next)
		if (stop->kind == kind && stop->seen > 0)
			sorted[n++] = stop;
	qsort(sorted, n, sizeof(struct stop *), most_first);
	return sorted;
}

static void print_syscalls(struct trace *t)
{
	if (!t->session.wishes.syscalls)
		return;
	struct stop **sorted = counted(t, EVENT_SYSCALL);

	printf("\nSystem calls below green threads, made past the runtime\n    COUNT  WHAT\n");
	for (size_t i = 0; sorted && sorted[i] && i < options_rows(t->options, false); i++) {
		printf("%9" PRIu64 "  %s\n", sorted[i]->seen, syscall_text(sorted[i]->syscall));
		if (sorted[i]->path)
			path_print(stdout, sorted[i]->path);
	}
	free(sorted);
}

static void print_depths(struct trace *t, enum event_kind kind, const char *title)
{
	struct stop **sorted = counted(t, kind);

	printf("\n%s\n    COUNT  DEEPEST  WHERE\n", title);
	for (size_t i = 0; sorted && sorted[i] && i < options_rows(t->options, false); i++) {
		printf("%9" PRIu64 " %7.1fK\n", sorted[i]->seen,
		       (double)sorted[i]->ns.max_ns / 1024);
		if (sorted[i]->path)
			path_print(stdout, sorted[i]->path);
	}
	free(sorted);
}

static void print_faults(struct trace *t)
{
	if (!t->session.wishes.faults)
		return;
	print_depths(t, EVENT_FAULT,
	             "Pages of stacks that were touched for the first time (places are a sample)");
	print_depths(t, EVENT_GROWN,
	             "Threads that ended with a deeper stack than any of their kind before (a "
	             "sample)");
}

static void json_counted(struct trace *t, enum event_kind kind)
{
	struct stop **sorted = counted(t, kind);

	for (size_t i = 0; sorted && sorted[i] && i < options_rows(t->options, true); i++) {
		view_json_begin(t, kind == EVENT_SYSCALL ? "syscall"
		                   : kind == EVENT_FAULT ? "fault"
		                                         : "grown");
		if (kind == EVENT_SYSCALL)
			printf(",\"in\":\"%s\"", syscall_text(sorted[i]->syscall));
		printf(",\"count\":%" PRIu64, sorted[i]->seen);
		if (kind != EVENT_SYSCALL)
			printf(",\"deepest_bytes\":%" PRIu64, sorted[i]->ns.max_ns);
		if (sorted[i]->path)
			view_json_path(sorted[i]->path);
		printf("}\n");
	}
	free(sorted);
}

/* ---- all of it ------------------------------------------------------------------------ */

void view_kernel(struct trace *t)
{
	print_requests(t);
	print_syscalls(t);
	print_faults(t);
}

void view_json_kernel(struct trace *t)
{
	json_requests(t);
	json_counted(t, EVENT_SYSCALL);
	json_counted(t, EVENT_FAULT);
	json_counted(t, EVENT_GROWN);
}
