/* SPDX-License-Identifier: MIT
 *
 * timer: many green threads that sleep for 1 to 100 ms over and over; what a
 * wake costs the CPU, and how late it comes.
 */
#include "run.h"
#include "stats.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define SLEEP_MIN_NS GREEN_MS(1)
#define SLEEP_MAX_NS GREEN_MS(100)

struct timer_bench {
	uint64_t threads;
	int64_t round_ns;
	bool started;
	struct hist_set *late; /* by worker */
	_Atomic bool stop;
	_Atomic uint64_t early; /* sleeps that were too short */
	_Atomic int error;
	green_wg_t left;
};

static struct timer_bench timers;

/* xorshift64*: each sleeper has its own. */
static uint64_t random_next(uint64_t *state)
{
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return *state * 0x2545f4914f6cdd1dull;
}

static void *sleeper(void *arg)
{
	uint64_t random = ((uint64_t)arg + 1) * 0x9e3779b97f4a7c15ull;
	while (!atomic_load_explicit(&timers.stop, memory_order_relaxed)) {
		int64_t duration =
			SLEEP_MIN_NS +
			(int64_t)(random_next(&random) % (uint64_t)(SLEEP_MAX_NS - SLEEP_MIN_NS));
		int64_t due = green_now() + duration;
		int error = green_sleep(duration);
		int64_t late = green_now() - due;
		if (error)
			atomic_store_explicit(&timers.error, error, memory_order_relaxed);
		if (late < 0)
			atomic_fetch_add_explicit(&timers.early, 1, memory_order_relaxed);
		hist_add(&timers.late->each[green_worker()], late);
	}
	green_wg_done(&timers.left);
	return NULL;
}

static int start(struct run *run)
{
	struct green_attr attr = { .detached = true };
	timers.started = true;
	for (uint64_t i = 0; i < timers.threads; i++) {
		green_wg_add(&timers.left, 1);
		if (run_spawn(run, NULL, &attr, sleeper, (void *)i)) {
			green_wg_done(&timers.left);
			return run->status;
		}
	}
	/* Until all have started and their sleeps are spread evenly. */
	green_sleep(2 * SLEEP_MAX_NS);
	return 0;
}

static int timer_round(struct run *run, void *arg)
{
	(void)arg;
	if (!timers.started && start(run))
		return run->status;
	hist_set_look(timers.late);
	run_mark(run);
	int64_t begin = green_now();
	double cpu = run_cpu_ns();
	green_sleep(timers.round_ns);
	cpu = run_cpu_ns() - cpu;
	double elapsed = (double)(green_now() - begin);
	hist_set_look(timers.late);
	double wakes = (double)timers.late->total;
	if (!timers.late->total)
		return run_wrong(run, "nobody woke");
	result_measure(&run->result, "cpu_ns_per_wake", "ns", cpu / wakes);
	result_measure(&run->result, "ops_per_s", "wakes/s", wakes * 1e9 / elapsed);
	result_measure(&run->result, "p50_us", "us late", hist_set_us(timers.late, 0.5));
	result_measure(&run->result, "p99_us", "us late", hist_set_us(timers.late, 0.99));
	result_measure(&run->result, "p999_us", "us late", hist_set_us(timers.late, 0.999));
	result_measure(&run->result, "cpus_used", "CPUs", cpu / elapsed);
	run_costs(run, wakes);
	uint64_t early = atomic_load_explicit(&timers.early, memory_order_relaxed);
	int error = atomic_load_explicit(&timers.error, memory_order_relaxed);
	if (early || error)
		return run_wrong(run, "%llu sleeps were too short, last error: %s",
		                 (unsigned long long)early, strerror(-error));
	return 0;
}

static int timer_body(struct run *run)
{
	timers.threads = run_default(run->options->threads, 100000);
	double seconds = run->options->duration_s > 0 ? run->options->duration_s : 1;
	timers.round_ns = (int64_t)(seconds * 1e9);
	timers.late = hist_set_new(run->workers);
	if (!timers.late)
		return run_cannot(run, "no memory for the histogram");
	result_number(&run->result, "threads", (double)timers.threads);
	result_number(&run->result, "duration_s", seconds);
	run->timed = true;
	run_rounds(run, timer_round, NULL);
	atomic_store_explicit(&timers.stop, true, memory_order_relaxed);
	green_wg_wait(&timers.left);
	hist_set_free(timers.late);
	return run->status;
}

static int timer_run(const struct options *options)
{
	return run_bench(options, "timer", timer_body);
}

const struct bench bench_timer = {
	.name = "timer",
	.about = "Green threads that sleep for 1 to 100 ms over and over: CPU time of one wake,\n"
		 "and how late it comes.\n"
		 "--threads: sleepers (default 100k).  --duration: of a round (default 1).",
	.accepts = "threads",
	.examples = "  greenbench timer --workers 1\n"
		    "  greenbench timer --threads 1000 --json\n",
	.run = timer_run,
};
