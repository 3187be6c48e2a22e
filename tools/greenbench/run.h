/* SPDX-License-Identifier: MIT
 *
 * struct run: a bench that runs inside the runtime of this process.
 *
 * run_bench() starts the runtime and calls the bench's body on the first green
 * thread; the body states its parameters and calls run_rounds(), which calls
 * the bench's round function once to warm up and then once a round.
 */
#ifndef RUN_H
#define RUN_H

#include "bench.h"
#include "green.h"
#include "result.h"

struct run {
	const struct options *options;
	const char *bench;
	struct result result;
	unsigned workers;
	unsigned rounds;
	bool timed;                  /* a pass lasts --duration by itself */
	int status;                  /* exit status so far */
	double instructions, cpu_ns; /* when run_mark() was called */
	int (*body)(struct run *run);
};

/* What a bench does once a round, or over and over until --duration has passed;
 * 0 or an exit status. */
typedef int (*run_round_fn)(struct run *run, void *arg);

/* Options of the command line, as the runtime wants them. */
struct green_options run_green_options(const struct options *options);

/* Starts the runtime and runs the body in it; returns the exit status. */
int run_bench(const struct options *options, const char *bench, int (*body)(struct run *run));

/* Warm-up and rounds, each watched and reported, then the summary.  A round that fails ends
 * the program. */
int run_rounds(struct run *run, run_round_fn round, void *arg);

/* What a count means when the command line does not give it. */
uint64_t run_default(uint64_t given, uint64_t otherwise);

/* What a program does between two switches: each step waits for the one before it, about
 * a nanosecond. */
static inline void run_work(uint64_t steps)
{
	uint64_t x = steps;

	for (uint64_t i = 0; i < steps; i++)
		x = x * 6364136223846793005u + 1442695040888963407u;
	__asm__ volatile("" ::"r"(x));
}

/* CPU time of this process so far, ns. */
double run_cpu_ns(void);

/* Begins and ends the stretch whose CPU time and instructions are reported.  Returns the CPU
 * time of an operation, ns. */
void run_mark(struct run *run);
double run_costs(struct run *run, double operations);

/* Says that a result is wrong: exit status 1. */
int run_wrong(struct run *run, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Says that the bench cannot run here, and why: exit status 3. */
int run_cannot(struct run *run, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* green_spawn() that must succeed: 0, or run_cannot(). */
int run_spawn(struct run *run, green_t *thread, const struct green_attr *attr, green_fn fn,
              void *arg);

/* calloc() of cache-line aligned elements: NULL after run_cannot(). */
void *run_alloc(struct run *run, size_t count, size_t size);

/* What is known of the runtime, into the report: workers, engine, stacks. */
void run_result_info(struct result *result, const struct green_info *info);

#endif
