/* SPDX-License-Identifier: MIT
 *
 * yield: what it costs to give the CPU to another green thread.
 *
 * On each worker N green threads yield in turn.  Measured from when the last
 * of them has started to when the last has finished.  The switches are checked
 * against the runtime's own count: a yield that does nothing is fast, too.
 */
#include "place.h"
#include "run.h"

#include <stdatomic.h>
#include <stdlib.h>

#define FEW_THREADS 2
#define MANY_THREADS 1000

/* What happens on one worker; touched only by green threads of that worker. */
struct lane {
	_Alignas(64) unsigned threads, started, ended;
	uint64_t yields; /* of each thread */
	int64_t begin_ns, end_ns;
	struct yield *yield;
};

struct yield {
	struct place place;
	uint64_t count; /* switches on each worker */
	uint64_t work;  /* steps before each of them */
	struct lane *lanes;
	_Atomic unsigned lanes_ready; /* all of whose threads have started */
	green_wg_t done;
};

/* Nobody begins before everybody is there, on all workers. */
static void line_up(struct lane *lane, unsigned lanes)
{
	_Atomic unsigned *ready = &lane->yield->lanes_ready;
	if (++lane->started == lane->threads)
		atomic_fetch_add_explicit(ready, 1, memory_order_relaxed);
	while (atomic_load_explicit(ready, memory_order_relaxed) < lanes)
		green_yield();
	if (!lane->begin_ns)
		lane->begin_ns = green_now();
}

static void *yielder(void *arg)
{
	struct lane *lane = arg;
	uint64_t work = lane->yield->work;
	line_up(lane, lane->yield->place.workers);
	for (uint64_t i = 0; i < lane->yields; i++) {
		run_work(work);
		green_yield();
	}
	if (++lane->ended == lane->threads)
		lane->end_ns = green_now();
	green_wg_done(&lane->yield->done);
	return NULL;
}

static int start_lane(struct run *run, struct yield *y, unsigned worker, unsigned threads)
{
	struct lane *lane = &y->lanes[worker];
	*lane = (struct lane){
		.threads = threads,
		.yields = y->count / threads ? y->count / threads : 1,
		.yield = y,
	};
	struct green_attr attr = place_attr(&y->place, worker, true);
	for (unsigned i = 0; i < threads; i++)
		if (run_spawn(run, NULL, &attr, yielder, lane))
			return run->status;
	return 0;
}

static uint64_t switches(void)
{
	struct green_info info;
	return green_info(&info) == 0 ? info.switches : 0;
}

struct cost {
	double ns;   /* a switch, the mean over the workers */
	double rate; /* switches per second of all workers */
};

/* From the lanes' clocks, and the number of switches. */
static uint64_t add_up(const struct run *run, const struct yield *y, struct cost *cost)
{
	uint64_t switches_made = 0;
	int64_t begin = INT64_MAX, end = 0;
	cost->ns = 0;
	for (unsigned i = 0; i < run->workers; i++) {
		const struct lane *lane = &y->lanes[i];
		uint64_t yields = lane->yields * lane->threads;
		cost->ns += (double)(lane->end_ns - lane->begin_ns) / (double)yields / run->workers;
		switches_made += yields;
		begin = lane->begin_ns < begin ? lane->begin_ns : begin;
		end = lane->end_ns > end ? lane->end_ns : end;
	}
	cost->rate = (double)switches_made * 1e9 / (double)(end - begin);
	return switches_made;
}

static int measure(struct run *run, struct yield *y, unsigned threads, struct cost *cost)
{
	uint64_t before = switches();
	atomic_store_explicit(&y->lanes_ready, 0, memory_order_relaxed);
	green_wg_add(&y->done, (int)(threads * run->workers));
	for (unsigned i = 0; i < run->workers; i++)
		if (start_lane(run, y, i, threads))
			return run->status;
	green_wg_wait(&y->done);
	uint64_t expected = add_up(run, y, cost), seen = switches() - before;
	/* The last thread of a lane is alone for a moment. */
	if (threads > 1 && seen < expected - expected / 20)
		return run_wrong(run, "%llu yields made only %llu switches",
		                 (unsigned long long)expected, (unsigned long long)seen);
	return 0;
}

static int yield_round(struct run *run, void *arg)
{
	struct yield *y = arg;
	unsigned few = (unsigned)run_default(run->options->threads, FEW_THREADS);
	run_mark(run);
	struct cost cost = { 0 };
	if (measure(run, y, few, &cost))
		return run->status;
	result_measure(&run->result, "ns_per_switch", "ns", cost.ns);
	result_measure(&run->result, "ops_per_s", "switches/s", cost.rate);
	run_costs(run, (double)y->count * run->workers);
	if (run->options->threads)
		return 0;
	if (measure(run, y, MANY_THREADS, &cost))
		return run->status;
	result_measure(&run->result, "ns_per_switch_1000_threads", "ns", cost.ns);
	return 0;
}

static int yield_body(struct run *run)
{
	struct yield *y = run_alloc(run, 1, sizeof(*y));
	if (!y)
		return run->status;
	y->count = run_default(run->options->count, 5000000);
	y->work = run->options->work;
	y->lanes = run_alloc(run, run->workers, sizeof(*y->lanes));
	result_number(&run->result, "threads",
	              (double)run_default(run->options->threads, FEW_THREADS));
	result_number(&run->result, "count", (double)y->count);
	if (y->lanes && place_init(&y->place, run) == 0) {
		run_rounds(run, yield_round, y);
		place_free(&y->place);
	}
	free(y->lanes);
	free(y);
	return run->status;
}

static int yield_run(const struct options *options)
{
	return run_bench(options, "yield", yield_body);
}

const struct bench bench_yield = {
	.name = "yield",
	.about = "Green threads on each worker yield in turn: nanoseconds a switch.\n"
		 "--threads: on each worker; without it 2 and then 1,000 are measured.\n"
		 "--count: switches on each worker (default 5M).",
	.accepts = "threads count work",
	.examples = "  greenbench yield --workers 1\n"
		    "  greenbench yield --threads 100 --count 1M --json\n",
	.run = yield_run,
};
