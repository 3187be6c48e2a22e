/* SPDX-License-Identifier: MIT
 *
 * link: what thread-local storage of its own costs a green thread in link mode
 * (green_intercept()), and what an intercepted call does.
 *
 * In the same process, with interception on: threads that share their worker's storage,
 * and threads that have their own.
 */
#include "proc.h"
#include "run.h"

#include <math.h>
#include <semaphore.h>
#include <stdlib.h>
#include <string.h>

#define BATCH 1000

struct parked {
	green_sem_t go;
	green_wg_t there;
};

static void *nothing(void *arg)
{
	return arg;
}

static void *park_once(void *arg)
{
	struct parked *parked = arg;

	green_wg_done(&parked->there);
	green_sem_wait(&parked->go);
	return NULL;
}

/* ns for one to be spawned, run and joined; NAN after a failure. */
static double spawn_and_join(struct run *run, const struct green_attr *attr, uint64_t threads)
{
	green_t batch[BATCH];
	int64_t begin = green_now();

	for (uint64_t done = 0; done < threads; done += BATCH) {
		for (unsigned i = 0; i < BATCH; i++)
			if (run_spawn(run, &batch[i], attr, nothing, NULL))
				return NAN;
		for (unsigned i = 0; i < BATCH; i++)
			green_join(batch[i], NULL);
	}
	return (double)(green_now() - begin) / (double)threads;
}

/* Bytes of one that is parked, page tables included. */
static double bytes_parked(struct run *run, const struct green_attr *attr, uint64_t threads)
{
	struct parked parked;
	struct proc_memory before = { 0 }, after = { 0 };
	uint64_t spawned = 0;
	green_t *handles = run_alloc(run, threads, sizeof(*handles));

	if (!handles)
		return NAN;
	memset(&parked, 0, sizeof(parked));
	memset(handles, 0, threads * sizeof(*handles)); /* their pages are nobody's */
	green_wg_add(&parked.there, (int)threads);
	proc_memory(0, &before);
	while (spawned < threads &&
	       run_spawn(run, &handles[spawned], attr, park_once, &parked) == 0)
		spawned++;
	green_wg_add(&parked.there, -(int)(threads - spawned));
	green_wg_wait(&parked.there);
	proc_memory(0, &after);
	for (uint64_t i = 0; i < spawned; i++)
		green_sem_post(&parked.go);
	for (uint64_t i = 0; i < spawned; i++)
		green_join(handles[i], NULL);
	free(handles);
	return spawned == threads ? (proc_bytes(&after) - proc_bytes(&before)) / (double)threads
	                          : NAN;
}

/* A pair that passes a turn to and fro by sem_wait(3), which libc makes a futex. */
static sem_t turns[2];

static void *take_turns(void *arg)
{
	const uint64_t *count = arg;

	for (uint64_t i = 0; i < *count; i++) {
		sem_wait(&turns[0]);
		sem_post(&turns[1]);
	}
	return NULL;
}

static double hand_off(struct run *run, uint64_t count)
{
	const struct green_attr own = { 0 };
	green_t other;

	sem_init(&turns[0], 0, 0);
	sem_init(&turns[1], 0, 0);
	if (run_spawn(run, &other, &own, take_turns, &count))
		return NAN;
	int64_t begin = green_now();
	for (uint64_t i = 0; i < count; i++) {
		sem_post(&turns[0]);
		sem_wait(&turns[1]);
	}
	int64_t took = green_now() - begin;
	green_join(other, NULL);
	return (double)took / (double)count;
}

/* Whole batches. */
static uint64_t threads_of(const struct run *run)
{
	uint64_t threads = run_default(run->options->threads, 20000);

	return threads < BATCH ? BATCH : threads - threads % BATCH;
}

static int link_round(struct run *run, void *unused)
{
	const struct green_attr own = { 0 }, shared = { .shared_tls = true };
	uint64_t threads = threads_of(run);

	(void)unused;
	run_mark(run);
	double ns_own = spawn_and_join(run, &own, threads);
	double ns_shared = spawn_and_join(run, &shared, threads);
	double bytes_own = bytes_parked(run, &own, threads);
	double bytes_shared = bytes_parked(run, &shared, threads);
	if (run->status)
		return run->status;
	result_measure(&run->result, "ns_per_thread_own", "ns", ns_own);
	result_measure(&run->result, "ns_per_thread_shared", "ns", ns_shared);
	result_measure(&run->result, "bytes_parked_own", "bytes", bytes_own);
	result_measure(&run->result, "bytes_parked_shared", "bytes", bytes_shared);
	result_measure(&run->result, "ns_per_hand_off", "ns, sem_wait(3)", hand_off(run, 100000));
	run_costs(run, (double)threads * 4);
	return run->status;
}

static int link_body(struct run *run)
{
	result_number(&run->result, "threads", (double)threads_of(run));
	run_rounds(run, link_round, NULL);
	return run->status;
}

/* While there is one thread libc can be rewritten. */
static int link_prepare(void)
{
	if (green_intercept_all() == 0)
		return EXIT_OK;
	fprintf(stderr, "greenbench: link: cannot run: %s\n", green_error());
	return EXIT_CANNOT;
}

static int link_run(const struct options *options)
{
	return run_bench(options, "link", link_body);
}

const struct bench bench_link = {
	.name = "link",
	.about = "Spawns green threads in link mode (green_intercept()), where libraries that\n"
		 "block may be called: nanoseconds for one with thread-local storage of its own\n"
		 "to be spawned, run and joined, and for one that shares its worker's; bytes of\n"
		 "each while it is parked; a hand-off by sem_wait(3) and back.\n"
		 "--threads: in a round, of each kind (default 20k).",
	.accepts = "threads",
	.examples = "  greenbench link --workers 1\n",
	.prepare = link_prepare,
	.run = link_run,
};
