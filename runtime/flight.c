/* SPDX-License-Identifier: MIT
 *
 * Writing down what the workers' rings of records hold, while they are being written.
 */
#include "flight.h"
#include "symbol.h"
#include "trace.h"
#include "worker.h"

#include <errno.h>
#include <signal.h>
#include <string.h>

#define BLOCK 64 /* records copied at once */
#define LINES 16 /* in reports about something else */

struct writer {
	struct report *out;
	struct symbols *symbols;
	struct trace_line line;
};

/* ---- looking ---------------------------------------------------------------- */

/* Copies records first … first + count; the number of those that, at the end of it,
 * may have been overwritten meanwhile: they are the first. */
RACY static uint64_t copy_records(const struct trace_worker *t, uint64_t first, unsigned count,
                                  struct trace_record *to)
{
	for (unsigned i = 0; i < count; i++) {
		const volatile uint64_t *from =
			(const void *)&t->records[(first + i) & (trace_info.ring - 1)];
		uint64_t *words = (void *)&to[i];
		for (unsigned k = 0; k < sizeof(*to) / sizeof(*words); k++)
			words[k] = from[k];
	}
	atomic_thread_fence(memory_order_acquire);
	/* One more than the ring's: the next is being written before head says so. */
	uint64_t head = atomic_load_explicit(&t->head, memory_order_relaxed);
	return head + 1 > first + trace_info.ring ? head + 1 - trace_info.ring - first : 0;
}

/* The thread of a record, if it is alive still. */
static struct gt *thread_of(uint32_t low)
{
	struct gt *gt = gt_at(low & GT_INDEX_MASK);

	if ((low & GT_INDEX_MASK) >= gt_high())
		return NULL;
	uint64_t id = atomic_load_explicit(&gt->id, memory_order_acquire);
	return (id & GT_LIVE) && (uint32_t)gt_gen(id) == (low & ~GT_INDEX_MASK) ? gt : NULL;
}

/* ---- lines -------------------------------------------------------------------- */

static void put(const struct writer *w, const char *text)
{
	report_str(w->out, text);
}

static void put_ticks(const struct writer *w, uint64_t ticks)
{
	report_us(w->out, trace_ns(&w->line, ticks));
}

static void put_thread(const struct writer *w, uint32_t low)
{
	const struct gt *gt = thread_of(low);
	const struct gt_ext *ext;
	char name[64];

	put(w, "green thread ");
	if (!gt) {
		report_number(w->out, low & GT_INDEX_MASK);
		put(w, " (ended)");
		return;
	}
	report_handle(w->out, gt_handle(gt));
	put(w, " ");
	ext = atomic_load_explicit(&gt->ext, memory_order_acquire);
	if (ext && ext->name[0])
		report_quoted(w->out, ext->name, sizeof(ext->name));
	else if (symbol_name(w->symbols, gt_function(gt), name, sizeof(name)))
		report_quoted(w->out, name, sizeof(name));
	else
		report_hex(w->out, gt_function(gt));
}

static void put_waker(const struct writer *w, const struct trace_record *r)
{
	if (trace_flags(r) & TRACE_OUTSIDE) {
		put(w, ", woken by an OS thread");
	} else if (r->waker) {
		put(w, ", woken by ");
		report_number(w->out, r->waker);
	}
	if ((trace_flags(r) & TRACE_WAKE_MASK) == TRACE_WAKE_TIMEOUT && trace_why(r) != TRACE_SLEEP)
		put(w, ", timed out");
	if ((trace_flags(r) & TRACE_WAKE_MASK) == TRACE_WAKE_CANCEL)
		put(w, ", cancelled");
	if (trace_flags(r) & TRACE_MOVED)
		put(w, ", from another worker");
}

static void put_record(const struct writer *w, const struct trace_record *r)
{
	uint64_t age = w->line.ticks > r->time ? w->line.ticks - r->time : 0;

	put(w, "  ");
	put_ticks(w, age);
	put(w, " ago ");
	put_thread(w, r->thread);
	put(w, " went on after ");
	put_ticks(w, trace_ticks(r, r->away));
	put(w, trace_why(r) == TRACE_YIELD ? " (" : " of ");
	put(w, park_why_name((enum park_why)trace_why(r)));
	if (trace_why(r) != TRACE_YIELD) {
		put(w, " (ready for ");
		put_ticks(w, trace_ticks(r, r->ready));
	}
	put(w, ") at ");
	symbol_report(w->symbols, w->out, (const void *)(uintptr_t)trace_site(r), true);
	put_waker(w, r);
	put(w, "\n");
}

static void put_worker(const struct writer *writer, const struct worker *w, size_t most,
                       const char *prefix)
{
	const struct trace_worker *t = &w->trace;
	uint64_t head = atomic_load_explicit(&t->head, memory_order_acquire);
	uint64_t kept = head < trace_info.ring ? head : trace_info.ring;
	struct trace_record records[BLOCK];

	if (kept > most)
		kept = most;
	put(writer, prefix);
	put(writer, "flight recorder of worker ");
	report_number(writer->out, w->id);
	put(writer, " (OS thread ");
	report_number(writer->out, w->tid);
	put(writer, "), the last ");
	report_handle(writer->out, kept);
	put(writer, " of ");
	report_handle(writer->out, head);
	put(writer, " records:\n");
	for (uint64_t at = head - kept; at < head; at += BLOCK) {
		unsigned n = head - at < BLOCK ? (unsigned)(head - at) : BLOCK;
		for (uint64_t i = copy_records(t, at, n, records); i < n; i++)
			put_record(writer, &records[i]);
	}
}

/* ---- whole reports -------------------------------------------------------------- */

static void report_some(struct report *r, struct symbols *s, const struct worker *w, size_t most,
                        const char *prefix)
{
	struct writer writer = { .out = r, .symbols = s };

	if (!w || !trace_keeping || !w->trace.records)
		return;
	writer.line = trace_line();
	put_worker(&writer, w, most, prefix);
}

void flight_report(struct report *r, struct symbols *s, const struct worker *w)
{
	report_some(r, s, w, LINES, "  ");
}

int green_flight_dump(int fd)
{
	int state = atomic_load_explicit(&rt.state, memory_order_acquire);
	struct symbols symbols;
	struct report r;

	if (state != RUNTIME_RUNNING || !trace_keeping)
		return -ENODATA;
	report_begin(&r, fd);
	symbols_begin(&symbols);
	for (unsigned i = 0; i < rt.workers_count; i++)
		report_some(&r, &symbols, worker_at(i), SIZE_MAX, "libgreen: ");
	symbols_end(&symbols);
	return report_end(&r);
}

/* ---- the signal ------------------------------------------------------------------- */

static struct sigaction before;
static int installed; /* which one; 0: none */

static void on_signal(int sig)
{
	int saved = errno;

	(void)sig;
	green_flight_dump(2);
	errno = saved;
}

int flight_signal_start(void)
{
	struct sigaction action;
	int sig = rt.options.flight_signal;

	if (!sig)
		return 0;
	memset(&action, 0, sizeof(action));
	action.sa_handler = on_signal;
	action.sa_flags = SA_RESTART | SA_ONSTACK;
	sigfillset(&action.sa_mask);
	if (sigaction(sig, &action, &before) < 0)
		return -errno;
	installed = sig;
	return 0;
}

void flight_signal_stop(void)
{
	struct sigaction now;

	if (installed && sigaction(installed, NULL, &now) == 0 && now.sa_handler == on_signal)
		sigaction(installed, &before, NULL);
	installed = 0;
}
