/* SPDX-License-Identifier: MIT
 *
 * spawn: what it costs to make a green thread, run it, and be rid of it.
 *
 * On each worker one green thread spawns others in batches and waits for each
 * batch: detached ones by a counter whose last one posts a semaphore, joinable
 * ones by joining each.  They take the batches from one heap: with a share for
 * each, the figure would be that of the slowest CPU, disturbed by thieves that
 * have ended theirs.
 *
 * Cold: they stay until all are there, so that each gets a stack without pages.
 */
#include "page.h"
#include "place.h"
#include "proc.h"
#include "run.h"
#include "stats.h"

#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define BATCH 1000
#define SAMPLE_EVERY 50 /* how many threads one start latency is taken of */

#define THREADS 1000000
#define THREADS_COLD 100000
#define BYTES_COLD 6000.0         /* to judge whether memory suffices */
#define ASLEEP_NS_MAX GREEN_S(10) /* until those of the first round hibernate */

struct lane {
	/* Counts down to the end of a batch; by whoever runs the thread. */
	_Alignas(64) _Atomic uint64_t left;
	_Alignas(64) green_sem_t batch_done;
	bool join;
	int error;
	int64_t spawned_ns; /* of the sampled thread of the batch */
	green_t handles[BATCH];
	green_sem_t stay; /* cold: they wait for it, */
	uint64_t staying; /* so many of them */
	struct spawn *spawn;
};

struct spawn {
	struct place place;
	struct lane *lanes;
	struct hist_set *latency; /* from spawn to start, by worker */
	uint64_t threads;         /* to spawn in all */
	/* By all workers, once a batch. */
	_Alignas(64) _Atomic uint64_t taken;
	_Atomic uint64_t ran;
	green_wg_t done;
	green_wg_t ended; /* cold */
	bool hibernate;   /* cold: those of the next round shall */
};

static void *detached_thread(void *arg)
{
	struct lane *lane = arg;
	/* Release, and the last one acquires: all threads of the batch are done
	 * before the semaphore is posted. */
	if (atomic_fetch_sub_explicit(&lane->left, 1, memory_order_acq_rel) == 1)
		green_sem_post(&lane->batch_done);
	return NULL;
}

static void *joined_thread(void *arg)
{
	return arg;
}

/* Notes how long it took to be started, then is like the others. */
static void *sampled_thread(void *arg)
{
	struct lane *lane = arg;
	int64_t late = green_now() - lane->spawned_ns;
	hist_add(&lane->spawn->latency->each[green_worker()], late);
	return lane->join ? joined_thread(arg) : detached_thread(arg);
}

static green_fn pick(struct lane *lane, uint64_t i)
{
	if (i == SAMPLE_EVERY) {
		lane->spawned_ns = green_now();
		return sampled_thread;
	}
	return lane->join ? joined_thread : detached_thread;
}

static uint64_t detached_batch(struct lane *lane, uint64_t count)
{
	atomic_store_explicit(&lane->left, count, memory_order_relaxed);
	for (uint64_t i = 0; i < count; i++) {
		lane->error = green_go(pick(lane, i), lane);
		if (lane->error)
			return i;
	}
	lane->error = green_sem_wait(&lane->batch_done);
	return count;
}

static uint64_t joined_batch(struct lane *lane, uint64_t count)
{
	uint64_t ran = 0;
	for (uint64_t i = 0; i < count && !lane->error; i++)
		lane->error = green_spawn(&lane->handles[i], NULL, pick(lane, i), lane);
	for (uint64_t i = 0; i < count && !lane->error; i++) {
		void *result = NULL;
		lane->error = green_join(lane->handles[i], &result);
		ran += result == lane;
	}
	return ran;
}

/* How many threads the next batch has; 0: all have been taken. */
static uint64_t take_batch(struct spawn *s)
{
	/* Relaxed: a count only. */
	uint64_t first = atomic_fetch_add_explicit(&s->taken, BATCH, memory_order_relaxed);
	if (first >= s->threads)
		return 0;
	return s->threads - first < BATCH ? s->threads - first : BATCH;
}

static void *spawner(void *arg)
{
	struct lane *lane = arg;
	uint64_t ran = 0, count;
	while (!lane->error && (count = take_batch(lane->spawn)))
		ran += lane->join ? joined_batch(lane, count) : detached_batch(lane, count);
	atomic_fetch_add_explicit(&lane->spawn->ran, ran, memory_order_relaxed);
	green_wg_done(&lane->spawn->done);
	return NULL;
}

/* A spawner on each worker, until all are done; false after a failure. */
static bool run_lanes(struct run *run, struct spawn *s, green_fn fn)
{
	green_wg_add(&s->done, (int)run->workers);
	for (unsigned i = 0; i < run->workers; i++) {
		struct green_attr attr = place_attr(&s->place, i, true);
		s->lanes[i].spawn = s;
		if (run_spawn(run, NULL, &attr, fn, &s->lanes[i]))
			return false;
	}
	green_wg_wait(&s->done);
	for (unsigned i = 0; i < run->workers; i++)
		if (s->lanes[i].error) {
			run_cannot(run, "spawning failed: %s", strerror(-s->lanes[i].error));
			return false;
		}
	return true;
}

/* threads: for each worker.  ns a thread and worker, NAN after a failure. */
static double measure(struct run *run, struct spawn *s, uint64_t threads, bool join)
{
	s->threads = threads * run->workers;
	atomic_store_explicit(&s->taken, 0, memory_order_relaxed);
	atomic_store_explicit(&s->ran, 0, memory_order_relaxed);
	for (unsigned i = 0; i < run->workers; i++)
		s->lanes[i].join = join;
	int64_t begin = green_now();
	if (!run_lanes(run, s, spawner))
		return NAN;
	double elapsed = (double)(green_now() - begin);
	uint64_t ran = atomic_load_explicit(&s->ran, memory_order_relaxed);
	if (ran != s->threads) {
		run_wrong(run, "%llu of %llu threads ran", (unsigned long long)ran,
		          (unsigned long long)s->threads);
		return NAN;
	}
	return elapsed / (double)threads;
}

/* ---- cold ------------------------------------------------------------------- */

static void *cold_thread(void *arg)
{
	struct lane *lane = arg;
	struct spawn *s = lane->spawn;

	detached_thread(lane);
	green_sem_wait(&lane->stay);
	green_wg_done(&s->ended);
	return NULL;
}

static void *cold_spawner(void *arg)
{
	struct lane *lane = arg;
	struct spawn *s = lane->spawn;
	struct green_attr attr = { .detached = true,
		                   .hibernate_after_ns = s->hibernate ? 0 : GREEN_FOREVER };

	while (!lane->error && lane->staying < s->threads) {
		uint64_t left = s->threads - lane->staying, count = left < BATCH ? left : BATCH;
		atomic_store_explicit(&lane->left, count, memory_order_relaxed);
		for (uint64_t i = 0; i < count && !lane->error; i++) {
			green_wg_add(&s->ended, 1);
			lane->error = green_spawn(NULL, &attr, cold_thread, lane);
			if (lane->error)
				green_wg_done(&s->ended);
			else
				lane->staying++;
		}
		if (!lane->error)
			lane->error = green_sem_wait(&lane->batch_done);
	}
	green_wg_done(&s->done);
	return NULL;
}

/* So that their stacks are watched, as those that begin while many hibernate. */
static void wait_asleep(uint64_t threads)
{
	int64_t end = green_now() + ASLEEP_NS_MAX;
	struct green_info info;

	while (green_info(&info) == 0 && info.stacks_hibernated < threads && green_now() < end)
		green_sleep(GREEN_MS(10));
}

static int cold_round(struct run *run, struct spawn *s)
{
	uint64_t all;

	s->threads = run_default(run->options->threads, THREADS_COLD);
	all = s->threads * run->workers;
	if (BYTES_COLD * (double)all > proc_available_bytes())
		return run_cannot(run, "there is no memory for %llu stacks: give less --threads",
		                  (unsigned long long)all);
	run_mark(run);
	int64_t begin = green_now();
	bool good = run_lanes(run, s, cold_spawner);
	double ns = (double)(green_now() - begin) / (double)s->threads;
	if (good) {
		result_measure(&run->result, "ns_per_thread", "ns", ns);
		double cpu_ns = run_costs(run, (double)all), page_ns = page_fault_ns();
		result_measure(&run->result, "plain_ns_page", "ns", page_ns);
		result_measure(&run->result, "ratio_page", "times plain", cpu_ns / page_ns);
	}
	if (good && s->hibernate)
		wait_asleep(all);
	s->hibernate = false;
	for (unsigned i = 0; i < run->workers; i++)
		for (; s->lanes[i].staying; s->lanes[i].staying--)
			green_sem_post(&s->lanes[i].stay);
	green_wg_wait(&s->ended);
	return run->status;
}

/* ---- rounds ----------------------------------------------------------------- */

static bool is_cold(const struct run *run)
{
	return run->options->how && !strcmp(run->options->how, "cold");
}

static int spawn_round(struct run *run, void *arg)
{
	struct spawn *s = arg;
	const char *how = run->options->how;
	uint64_t threads = run_default(run->options->threads, THREADS);
	bool both = !how || !strcmp(how, "both");
	bool join = how && !strcmp(how, "join");
	if (is_cold(run))
		return cold_round(run, s);
	run_mark(run);
	double ns = measure(run, s, threads, join);
	if (isnan(ns))
		return run->status;
	result_measure(&run->result, "ns_per_thread", "ns", ns);
	result_measure(&run->result, "ops_per_s", "threads/s", run->workers * 1e9 / ns);
	hist_set_look(s->latency);
	result_measure(&run->result, "p99_us", "us to start", hist_set_us(s->latency, 0.99));
	run_costs(run, (double)threads * run->workers);
	if (!both)
		return 0;
	ns = measure(run, s, threads, true);
	if (isnan(ns))
		return run->status;
	result_measure(&run->result, "ns_per_thread_join", "ns", ns);
	return 0;
}

static int spawn_body(struct run *run)
{
	struct spawn *s = run_alloc(run, 1, sizeof(*s));
	if (!s)
		return run->status;
	s->lanes = run_alloc(run, run->workers, sizeof(*s->lanes));
	s->latency = hist_set_new(run->workers);
	if (!s->latency)
		run_cannot(run, "no memory for the histogram");
	result_number(&run->result, "threads",
	              (double)run_default(run->options->threads,
	                                  is_cold(run) ? THREADS_COLD : THREADS));
	const char *after = getenv("GREEN_HIBERNATE_MS");
	s->hibernate = after && strtoll(after, NULL, 10) != 0;
	result_text(&run->result, "how", run->options->how ? run->options->how : "both");
	if (s->lanes && s->latency && place_init(&s->place, run) == 0) {
		run_rounds(run, spawn_round, s);
		place_free(&s->place);
	}
	free(s->lanes);
	hist_set_free(s->latency);
	free(s);
	return run->status;
}

static int spawn_run(const struct options *options)
{
	const char *how = options->how;
	if (how && strcmp(how, "detached") != 0 && strcmp(how, "join") != 0 &&
	    strcmp(how, "both") != 0 && strcmp(how, "cold") != 0)
		return options_bad("how", "give detached, join, both or cold");
	return run_bench(options, "spawn", spawn_body);
}

const struct bench bench_spawn = {
	.name = "spawn",
	.about = "Spawns green threads in batches of 1,000 and waits for each batch:\n"
		 "nanoseconds for one to be spawned, run and ended.\n"
		 "--how: detached, join, or both (default); or cold: to be spawned and run on a\n"
		 "stack without pages until it parks (where GREEN_HIBERNATE_MS is given, among\n"
		 "those that have hibernated).\n"
		 "--threads: spawned in a round, for each worker there is (default 1M; cold:\n"
		 "100k); a faster worker spawns more of them.",
	.accepts = "threads how",
	.examples = "  greenbench spawn --workers 1\n"
		    "  greenbench spawn --how join --threads 100k --json\n"
		    "  GREEN_HIBERNATE_MS=64 greenbench spawn --how cold --workers 1\n",
	.run = spawn_run,
};
