/* SPDX-License-Identifier: MIT
 *
 * scale: another bench with 1, 2, 4 … workers up to all CPUs, and how well the
 * work grows with them.
 *
 * Each number of workers is a run of this program of its own, so that nothing
 * is left over from the last.
 */
#include "bench.h"
#include "child.h"
#include "json.h"
#include "progress.h"
#include "result.h"
#include "watchdog.h"

#include <math.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ARGUMENTS_MAX 64
#define CPUS_MAX 1024

struct point {
	unsigned workers;
	double rate; /* operations per second */
	double value, p99_us;
	char unit[32];
};

static unsigned cpus(void)
{
	cpu_set_t *set = CPU_ALLOC(CPUS_MAX);
	size_t size = CPU_ALLOC_SIZE(CPUS_MAX);
	int count = 1;
	if (set && sched_getaffinity(0, size, set) == 0)
		count = CPU_COUNT_S(size, set);
	CPU_FREE(set);
	return count > 0 ? (unsigned)count : 1;
}

static int read_point(struct point *point, char *output)
{
	const char *line = json_last_line(output);
	if (!line)
		return EXIT_WRONG;
	point->value = json_number(line, "value");
	point->p99_us = json_number(line, "p99_us");
	point->rate = json_number(line, "ops_per_s");
	if (isnan(point->rate))
		point->rate = json_number(line, "requests_per_s");
	if (!json_text(line, "unit", point->unit, sizeof(point->unit)))
		point->unit[0] = '\0';
	return isnan(point->rate) ? EXIT_WRONG : 0;
}

static int run_point(const struct options *options, struct point *point)
{
	char workers[16], *output = NULL;
	char *argv[ARGUMENTS_MAX + 8];
	int n = 0;
	argv[n++] = (char *)child_self();
	argv[n++] = (char *)options->inner->name;
	for (int i = 0; i < options->inner_argc; i++)
		argv[n++] = options->inner_argv[i];
	if (options->inner == &bench_echo && !options->in_process)
		argv[n++] = (char *)"--in-process";
	snprintf(workers, sizeof(workers), "%u", point->workers);
	argv[n++] = (char *)"--workers";
	argv[n++] = workers;
	argv[n++] = (char *)"--json";
	argv[n] = NULL;
	int status = child_capture(argv, &output);
	if (!status)
		status = read_point(point, output);
	free(output);
	if (status)
		fprintf(stderr, "greenbench: scale: %s with %u workers failed (status %d)\n",
		        options->inner->name, point->workers, status);
	return status;
}

static void member(const char *key, double value, const char *end)
{
	printf("\"%s\": ", key);
	result_print_number(stdout, value);
	fputs(end, stdout);
}

static void print_json(const struct options *options, const struct point *point,
                       const struct point *first, bool summary)
{
	double speedup = point->rate / first->rate, efficiency = speedup / point->workers;
	printf("{\"bench\": \"scale\", \"of\": \"%s\", ", options->inner->name);
	if (summary) {
		printf("\"summary\": true, ");
		member("value", efficiency, ", \"unit\": \"efficiency\", ");
	} else {
		member("value", point->value, ", ");
		printf("\"unit\": \"%s\", ", point->unit);
	}
	member("workers", point->workers, ", ");
	member("ops_per_s", point->rate, ", ");
	member("speedup", speedup, ", ");
	member("efficiency", efficiency, ", ");
	member("p99_us", point->p99_us, ", ");
	member("p99_us_one_worker", first->p99_us, "}\n");
	fflush(stdout);
}

static void print_row(const struct point *point, const struct point *first)
{
	double speedup = point->rate / first->rate;
	printf("%8u %14.0f %9.2f %11.2f ", point->workers, point->rate, speedup,
	       speedup / point->workers);
	if (isnan(point->p99_us))
		printf("%10s", "-");
	else
		printf("%10.1f", point->p99_us);
	printf("   %.4g %s\n", point->value, point->unit);
	fflush(stdout);
}

static int sweep(const struct options *options, unsigned most)
{
	struct point first = { .workers = 1 }, point = first;
	for (unsigned workers = 1;;) {
		point.workers = workers;
		progress("scale: %s with %u of %u workers", options->inner->name, workers, most);
		int status = run_point(options, &point);
		if (status)
			return status;
		if (workers == 1)
			first = point;
		progress_clear();
		if (options->json)
			print_json(options, &point, &first, false);
		else
			print_row(&point, &first);
		if (workers == most)
			break;
		workers = workers * 2 < most ? workers * 2 : most;
	}
	if (options->json)
		print_json(options, &point, &first, true);
	return 0;
}

static int scale_run(const struct options *options)
{
	if (!options->inner) {
		fputs("greenbench: scale needs the bench to sweep: greenbench scale echo\n",
		      stderr);
		return EXIT_USAGE;
	}
	if (options->inner_argc > ARGUMENTS_MAX) {
		fputs("greenbench: scale: too many arguments\n", stderr);
		return EXIT_USAGE;
	}
	watchdog_rest(); /* each run has its own */
	if (!options->json) {
		printf("scale of %s\n", options->inner->name);
		printf("%8s %14s %9s %11s %10s   %s\n", "workers", "operations/s", "speedup",
		       "efficiency", "p99 us", "value");
	}
	return sweep(options, options->workers ? (unsigned)options->workers : cpus());
}

const struct bench bench_scale = {
	.name = "scale",
	.about = "Runs another bench with 1, 2, 4 ... workers, up to --workers or all CPUs, and\n"
		 "prints operations per second, speed-up, efficiency (speed-up by worker) and\n"
		 "p99.  echo runs --in-process.  All further options go to that bench:\n"
		 "greenbench scale BENCH [options]",
	.accepts = "",
	.examples = "  greenbench scale echo --connections 256\n"
		    "  greenbench scale skynet --workers 8 --json\n",
	.run = scale_run,
};
