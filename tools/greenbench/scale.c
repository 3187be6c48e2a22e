/* SPDX-License-Identifier: MIT
 *
 * scale: another bench with 1, 2, 4 … workers up to all CPUs, and how well the
 * work grows with them.
 *
 * Each number of workers is a run of this program of its own, so that nothing
 * is left over from the last.  What the machine would allow is measured too: the
 * same bench in as many processes of one worker at once, each on a CPU of its own,
 * which share nothing but the machine.  CPUs change speed while others use the
 * machine: so one worker, the processes and the workers take turns, several times,
 * and it is what happened in the same turn that is compared.
 */
#include "bench.h"
#include "child.h"
#include "json.h"
#include "progress.h"
#include "result.h"
#include "stats.h"
#include "watchdog.h"

#include <math.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ARGUMENTS_MAX 64
#define CPUS_MAX 1024
#define PROCESSES_MAX 256 /* children at once (child.c) */
#define TURNS 3           /* odd: one is the median */
#define ROUNDS "3"        /* of each run, unless told otherwise */

struct point {
	unsigned workers;
	double rate; /* operations per second */
	double value, p99_us;
	char unit[32];
};

/* All that is known of one number of workers. */
struct level {
	struct point point;
	double speedup;
	double limit; /* the speed-up of independent processes; NAN: not known */
	double of_limit;
};

static int cpu_list[CPUS_MAX];
static unsigned cpu_count;

static void find_cpus(void)
{
	cpu_set_t *set = CPU_ALLOC(CPUS_MAX);
	size_t size = CPU_ALLOC_SIZE(CPUS_MAX);
	if (set && sched_getaffinity(0, size, set) == 0)
		for (int cpu = 0; cpu < CPUS_MAX; cpu++)
			if (CPU_ISSET_S((size_t)cpu, size, set))
				cpu_list[cpu_count++] = cpu;
	CPU_FREE(set);
}

static int read_point(struct point *point, char *output)
{
	const char *line = output ? json_last_line(output) : NULL;
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

struct arguments {
	char *argv[ARGUMENTS_MAX + 10];
	char workers[16];
};

static void fill_arguments(struct arguments *a, const struct options *options, unsigned workers)
{
	int n = 0;
	a->argv[n++] = (char *)child_self();
	a->argv[n++] = (char *)options->inner->name;
	a->argv[n++] = (char *)"--rounds"; /* before the user's, which override it */
	a->argv[n++] = (char *)ROUNDS;
	for (int i = 0; i < options->inner_argc; i++)
		a->argv[n++] = options->inner_argv[i];
	if (options->inner == &bench_echo && !options->in_process)
		a->argv[n++] = (char *)"--in-process";
	snprintf(a->workers, sizeof(a->workers), "%u", workers);
	a->argv[n++] = (char *)"--workers";
	a->argv[n++] = a->workers;
	a->argv[n++] = (char *)"--json";
	a->argv[n] = NULL;
}

static int failed(const struct options *options, unsigned workers, int status)
{
	if (status)
		fprintf(stderr, "greenbench: scale: %s with %u workers failed (status %d)\n",
		        options->inner->name, workers, status);
	return status;
}

static int run_point(const struct options *options, unsigned workers, struct point *point)
{
	struct arguments arguments;
	char *output = NULL;
	fill_arguments(&arguments, options, workers);
	*point = (struct point){ .workers = workers };
	int status = child_capture(arguments.argv, &output);
	if (!status)
		status = read_point(point, output);
	free(output);
	return failed(options, workers, status);
}

/* *rate: of all of them together; NAN when that many cannot run here. */
static int run_processes(const struct options *options, unsigned count, double *rate)
{
	static struct child children[PROCESSES_MAX];
	struct arguments arguments;
	unsigned started = 0;
	int status = count > PROCESSES_MAX ? EXIT_CANNOT : 0;
	fill_arguments(&arguments, options, 1);
	*rate = 0;
	while (!status && started < count)
		if (child_start(&children[started], arguments.argv, cpu_list[started]) < 0)
			status = EXIT_CANNOT;
		else
			started++;
	for (unsigned i = 0; i < started; i++) {
		struct point point;
		char *output = NULL;
		int bad = child_finish(&children[i], &output);
		if (!bad && !(bad = read_point(&point, output)))
			*rate += point.rate;
		free(output);
		status = status ? status : bad;
	}
	if (status)
		*rate = NAN;
	return status == EXIT_CANNOT ? 0 : failed(options, 1, status);
}

static int compare_points(const void *a, const void *b)
{
	double x = ((const struct point *)a)->rate, y = ((const struct point *)b)->rate;
	return (x > y) - (x < y);
}

static int run_level(const struct options *options, unsigned workers, struct level *level)
{
	unsigned processes = workers < cpu_count ? workers : cpu_count;
	double speedup[TURNS], limit[TURNS], of_limit[TURNS], rate = NAN;
	struct point points[TURNS], one;
	for (int turn = 0; turn < TURNS; turn++) {
		int status = run_point(options, workers, &points[turn]);
		one = points[turn];
		if (!status && workers > 1)
			status = run_processes(options, processes, &rate);
		if (!status && workers > 1)
			status = run_point(options, 1, &one);
		if (status)
			return status;
		speedup[turn] = points[turn].rate / one.rate;
		limit[turn] = rate / one.rate;
		of_limit[turn] = points[turn].rate / rate;
	}
	qsort(points, TURNS, sizeof(points[0]), compare_points);
	*level = (struct level){ .point = points[TURNS / 2],
		                 .speedup = stats_median(speedup, TURNS),
		                 .limit = stats_median(limit, TURNS),
		                 .of_limit = stats_median(of_limit, TURNS) };
	return 0;
}

static void member(const char *key, double value, const char *end)
{
	printf("\"%s\": ", key);
	result_print_number(stdout, value);
	fputs(end, stdout);
}

static void print_json(const struct options *options, const struct level *level,
                       const struct level *first, bool summary)
{
	const struct point *point = &level->point;
	double efficiency = level->speedup / point->workers;
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
	member("speedup", level->speedup, ", ");
	member("efficiency", efficiency, ", ");
	member("limit_speedup", level->limit, ", ");
	member("of_limit", level->of_limit, ", ");
	member("p99_us", point->p99_us, ", ");
	member("p99_us_one_worker", first->point.p99_us, "}\n");
	fflush(stdout);
}

static void print_cell(const char *format, double value)
{
	if (isnan(value))
		printf("%10s", "-");
	else
		printf(format, value);
}

static void print_row(const struct level *level)
{
	const struct point *point = &level->point;
	printf("%8u %14.0f %9.2f %11.2f", point->workers, point->rate, level->speedup,
	       level->speedup / point->workers);
	print_cell("%10.2f", level->limit);
	print_cell("%10.2f", level->of_limit);
	print_cell("%10.1f", point->p99_us);
	printf("   %.4g %s\n", point->value, point->unit);
	fflush(stdout);
}

static int sweep(const struct options *options, unsigned most)
{
	struct level first = { 0 }, level;
	for (unsigned workers = 1;;) {
		progress("scale: %s with %u of %u workers", options->inner->name, workers, most);
		int status = run_level(options, workers, &level);
		if (status)
			return status;
		if (workers == 1)
			first = level;
		progress_clear();
		if (options->json)
			print_json(options, &level, &first, false);
		else
			print_row(&level);
		if (workers == most)
			break;
		workers = workers * 2 < most ? workers * 2 : most;
	}
	if (options->json)
		print_json(options, &level, &first, true);
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
	find_cpus();
	if (!options->json) {
		printf("scale of %s\n", options->inner->name);
		printf("%8s %14s %9s %11s%10s%10s%10s   %s\n", "workers", "operations/s", "speedup",
		       "efficiency", "limit", "of limit", "p99 us", "value");
	}
	unsigned most = options->workers ? (unsigned)options->workers : cpu_count;
	return sweep(options, most ? most : 1);
}

const struct bench bench_scale = {
	.name = "scale",
	.about = "Runs another bench with 1, 2, 4 ... workers, up to --workers or all CPUs, and\n"
		 "prints operations per second, speed-up, efficiency (speed-up by worker), the\n"
		 "limit of the machine (the speed-up of as many processes of one worker, each on\n"
		 "its own CPU), how much of that limit was reached, and p99.  Medians of three\n"
		 "turns of 3 rounds.  echo runs --in-process.  All further options go to that\n"
		 "bench: greenbench scale BENCH [options]",
	.accepts = "",
	.examples = "  greenbench scale echo --connections 256\n"
		    "  greenbench scale skynet --workers 8 --json\n",
	.run = scale_run,
};
