/* SPDX-License-Identifier: MIT
 *
 * What happened before anybody attached: the rings of records that the runtime fills
 * always, read from outside.  Takes no more rights than greenps does.
 */
#include "flight_view.h"
#include "clock.h"
#include "escape.h"
#include "greenps.h"
#include "names.h"
#include "time_text.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define RING_MAX (1u << 22) /* records of one worker */

struct seen {
	struct trace_record record;
	uint32_t worker;
};

struct flight {
	struct snapshot snapshot;
	struct names *names;
	struct tick_clock clock;
	struct trace_info info;
	struct seen *all;
	size_t count;
};

/* ---- reading ------------------------------------------------------------------ */

static bool read_at(struct flight *f, uint64_t base, struct field at, uint64_t *value)
{
	at.value += base;
	return layout_global(f->snapshot.t, at, value);
}

/* Of the records behind head, how many are whole, when it was again later: the next one may be
 * being written.  Both are the target's word. */
static uint64_t whole_ones(uint64_t head, uint64_t again, uint64_t ring)
{
	uint64_t count = again >= head && again - head < ring - 1 ? ring - 1 - (again - head) : 0;

	return count < head ? count : head;
}

/* Those that may have been overwritten meanwhile are left out.  False: no memory. */
static bool read_ring(struct flight *f, uint64_t worker, uint32_t id)
{
	const struct layout *l = &f->snapshot.layout;
	uint64_t address, head, again, ring = f->info.ring;

	if (!read_at(f, worker, l->worker_trace_records, &address) || !address ||
	    !read_at(f, worker, l->worker_trace_head, &head))
		return true;
	struct trace_record *copy = calloc(ring, sizeof(*copy));
	struct seen *more = realloc(f->all, (f->count + ring) * sizeof(*more));
	if (more)
		f->all = more;
	if (!copy || !more) {
		free(copy);
		return false;
	}
	if (target_read(f->snapshot.t, address, copy, ring * sizeof(*copy)) &&
	    read_at(f, worker, l->worker_trace_head, &again)) {
		for (uint64_t n = whole_ones(head, again, ring); n > 0; n--)
			f->all[f->count++] = (struct seen){ copy[(head - n) & (ring - 1)], id };
	}
	free(copy);
	return true;
}

static int read_rings(struct flight *f)
{
	const struct layout *l = &f->snapshot.layout;
	uint64_t workers = 0, worker;

	read_at(f, l->rt.value, l->runtime_workers_count, &workers);
	for (uint64_t i = 0; i < workers && i < 4096; i++) {
		uint64_t at = l->rt.value + l->runtime_workers.value + i * sizeof(worker);
		if (!target_read(f->snapshot.t, at, &worker, sizeof(worker)) || !worker)
			continue;
		if (!read_ring(f, worker, (uint32_t)i))
			return problem("no memory for the records");
	}
	return EXIT_OK;
}

static int read_info(struct flight *f)
{
	const struct layout *l = &f->snapshot.layout;
	int pid = (int)f->snapshot.t->pid;

	if (l->trace_info.size == UINT64_MAX || l->worker_trace_head.size == UINT64_MAX ||
	    l->worker_trace_records.size == UINT64_MAX ||
	    !target_read(f->snapshot.t, l->trace_info.value, &f->info, sizeof(f->info)))
		return problem("process %d: its libgreen has no flight recorder", pid);
	if (f->info.version != TRACE_VERSION ||
	    f->info.record_size != sizeof(struct trace_record) || f->info.ring > RING_MAX ||
	    (f->info.ring & (f->info.ring - 1)))
		return problem(
			"process %d: its records are of version %u; this greentrace knows %u", pid,
			f->info.version, TRACE_VERSION);
	if (!f->info.ring) {
		complain("process %d has no records yet", pid);
		return EXIT_NOTHING;
	}
	return EXIT_OK;
}

/* ---- showing ------------------------------------------------------------------- */

static int by_time(const void *a, const void *b)
{
	uint64_t x = ((const struct seen *)a)->record.time,
		 y = ((const struct seen *)b)->record.time;

	return x < y ? -1 : x > y;
}

/* Who it was, if it is alive still: its handle. */
static uint64_t handle_of(struct flight *f, uint32_t low)
{
	const struct layout *l = &f->snapshot.layout;
	uint64_t mask = ((uint64_t)1 << l->index_bits.value) - 1, table, id;

	if (!layout_global(f->snapshot.t, l->gt_table, &table) ||
	    !read_at(f, table + (low & mask) * l->gt.size, l->gt_id, &id) ||
	    !(id & l->live.value) || (uint32_t)(id & ~mask) != (uint32_t)(low & ~mask))
		return 0;
	return (id & ~mask) | (low & mask);
}

static void print_text(struct flight *f, const struct seen *s, uint64_t now)
{
	const struct trace_record *r = &s->record;
	uint64_t away = clock_duration(&f->clock, trace_ticks(r, r->away));
	uint64_t ready = clock_duration(&f->clock, trace_ticks(r, r->ready));
	uint64_t handle = handle_of(f, r->thread);
	char thread[24] = "(ended)", a[16], b[16], c[16], where[512];

	if (handle)
		snprintf(thread, sizeof(thread), "%" PRIu64, handle);
	printf("%8s %6u %16s %8s %8s  %-10s %s\n",
	       time_text(a, now > r->time ? clock_duration(&f->clock, now - r->time) : 0),
	       s->worker, thread, time_text(b, away), time_text(c, ready),
	       layout_why(&f->snapshot.layout, trace_why(r)),
	       place_text(where, sizeof(where), names_get(f->names, trace_site(r), true)));
}

static void print_json(struct flight *f, const struct seen *s, uint64_t now)
{
	const struct trace_record *r = &s->record;
	const struct symbol *y = names_get(f->names, trace_site(r), true);

	printf("{\"type\":\"record\",\"ago_ns\":%" PRIu64 ",\"worker\":%u,\"thread\":\"%" PRIu64
	       "\",\"away_ns\":%" PRIu64 ",\"queued_ns\":%" PRIu64 ",\"why\":",
	       now > r->time ? clock_duration(&f->clock, now - r->time) : 0, s->worker,
	       handle_of(f, r->thread), clock_duration(&f->clock, trace_ticks(r, r->away)),
	       clock_duration(&f->clock, trace_ticks(r, r->ready)));
	escape_json(layout_why(&f->snapshot.layout, trace_why(r)));
	printf(",\"function\":");
	escape_json(y->function);
	printf(",\"source\":");
	escape_json(y->source);
	printf("}\n");
}

static int show(struct flight *f, const struct options *o)
{
	int status = read_info(f);

	if (status == EXIT_OK)
		status = read_rings(f);
	if (status != EXIT_OK)
		return status;
	clock_start(&f->clock);
	f->clock.nanoseconds = f->info.clock == TRACE_CLOCK_NS;
	uint64_t now = clock_ticks(&f->clock);
	if (f->count)
		qsort(f->all, f->count, sizeof(f->all[0]), by_time);
	if (!o->json)
		printf("     AGO WORKER           THREAD     AWAY   QUEUED  WHY        WHERE\n");
	uint64_t rows = options_rows(o, false);
	for (size_t i = f->count > rows ? f->count - rows : 0; i < f->count; i++) {
		if (o->json)
			print_json(f, &f->all[i], now);
		else
			print_text(f, &f->all[i], now);
	}
	return EXIT_OK;
}

int flight_show(const struct options *o)
{
	struct flight f = { 0 };
	struct target target;
	int status = target_open_pid(&target, o->pid);

	f.snapshot.t = &target;
	if (status == EXIT_OK)
		status = layout_find(&f.snapshot.layout, &target);
	if (status == EXIT_OK) {
		f.names = names_open(&target, &f.snapshot.layout);
		status = f.names ? show(&f, o) : EXIT_PROBLEM;
	}
	free(f.all);
	names_close(f.names);
	target_close(&target);
	return status;
}
