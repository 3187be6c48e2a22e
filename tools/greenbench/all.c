/* SPDX-License-Identifier: MIT
 *
 * all: a quick pass over every bench, each in a process of its own.
 */
#include "bench.h"
#include "child.h"
#include "json.h"
#include "progress.h"
#include "watchdog.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ARGUMENTS_MAX 16

/* NULL-ended arguments after the program's name. */
static const char *const passes[][ARGUMENTS_MAX] = {
	{ "yield", "--workers", "1" },
	{ "spawn", "--workers", "1", "--threads", "500k" },
	{ "pingpong", "--workers", "1", "--count", "500k" },
	{ "pingpong", "--workers", "2", "--how", "across", "--count", "20k" },
	{ "chan", "--workers", "1", "--count", "500k" },
	{ "chan", "--count", "500k" },
	{ "skynet", "--workers", "1" },
	{ "skynet" },
	{ "park", "--threads", "100k" },
	{ "park", "--how", "read", "--threads", "10k" },
	{ "grow", "--workers", "1" },
	{ "timer", "--workers", "1", "--threads", "100k", "--duration", "0.5" },
	{ "echo", "--workers", "1", "--connections", "64", "--duration", "0.5" },
	{ "echo", "--workers", "1", "--connections", "1000", "--duration", "0.5" },
	{ "echo", "--in-process", "--connections", "64", "--duration", "0.5" },
	{ "http", "--connections", "1000", "--duration", "0.5" },
	{ "intercept", "--count", "100k" },
	{ "link", "--workers", "1", "--threads", "10k" },
};
#define PASSES (sizeof(passes) / sizeof(passes[0]))

struct tally {
	unsigned passed, failed, skipped;
};

/* Later options override earlier ones. */
static int run_pass(const struct options *options, const char *const *pass, char **output)
{
	char rounds[24], workers[24], duration[40], *argv[ARGUMENTS_MAX + 12];
	int n = 0;
	argv[n++] = (char *)child_self();
	for (int i = 0; i < ARGUMENTS_MAX && pass[i]; i++)
		argv[n++] = (char *)pass[i];
	snprintf(rounds, sizeof(rounds), "--rounds=%u",
	         options->rounds ? (unsigned)options->rounds : 5);
	argv[n++] = rounds;
	snprintf(workers, sizeof(workers), "--workers=%u", (unsigned)options->workers);
	if (options->workers)
		argv[n++] = workers;
	snprintf(duration, sizeof(duration), "--duration=%g", options->duration_s);
	if (options->duration_s > 0)
		argv[n++] = duration;
	if (options->engine) {
		argv[n++] = (char *)"--engine";
		argv[n++] = (char *)options->engine;
	}
	if (options->json)
		argv[n++] = (char *)"--json";
	argv[n] = NULL;
	return child_capture(argv, output);
}

static void one(const struct options *options, const char *const *pass, struct tally *tally)
{
	char *output = NULL;
	progress("all: %s", pass[0]);
	int status = run_pass(options, pass, &output);
	progress_clear();
	const char *shown = !output ? NULL : options->json ? json_last_line(output) : output;
	if (status == EXIT_CANNOT) {
		tally->skipped++;
		fprintf(stderr, "greenbench: all: %s cannot run here\n", pass[0]);
	} else if (status || !shown) {
		tally->failed++;
		fprintf(stderr, "greenbench: all: %s failed (status %d)\n", pass[0], status);
	} else {
		tally->passed++;
	}
	if (shown && *shown)
		printf("%s\n", shown);
	fflush(stdout);
	free(output);
}

static int all_run(const struct options *options)
{
	struct tally tally = { 0 };
	watchdog_rest(); /* each run has its own */
	for (size_t i = 0; i < PASSES; i++)
		one(options, passes[i], &tally);
	if (options->json)
		printf("{\"bench\": \"all\", \"summary\": true, \"value\": %u, "
		       "\"unit\": \"runs passed\", \"failed\": %u, \"skipped\": %u}\n",
		       tally.passed, tally.failed, tally.skipped);
	else
		printf("%u runs passed, %u failed, %u cannot run here\n", tally.passed,
		       tally.failed, tally.skipped);
	return tally.failed ? EXIT_WRONG : tally.passed ? EXIT_OK : EXIT_CANNOT;
}

const struct bench bench_all = {
	.name = "all",
	.about = "A quick pass over every bench, one after the other (about two minutes).",
	.accepts = "",
	.examples = "  greenbench all\n"
		    "  greenbench all --engine epoll --json > results.jsonl\n",
	.run = all_run,
};
