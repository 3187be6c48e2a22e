/* SPDX-License-Identifier: MIT
 *
 * The command line of a bench: one table of all options, and a reader for it.
 */
#include "options.h"

#include "bench.h"

#include <errno.h>
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum kind {
	COUNT,   /* a whole number; k and M stand for thousands and millions */
	SECONDS, /* a number with a fraction */
	TEXT,
	FLAG,
};

struct option_spec {
	const char *name;
	enum kind kind;
	size_t offset;
	double min, max;
	const char *argument;
	const char *help;
};

#define OPTION(name_, kind_, field, min_, max_, argument_, help_)                            \
	{                                                                                    \
		.name = (name_), .kind = (kind_), .offset = offsetof(struct options, field), \
		.min = (min_), .max = (max_), .argument = (argument_), .help = (help_)       \
	}

static const struct option_spec specs[] = {
	OPTION("workers", COUNT, workers, 1, 1024, "N", "workers (default: one per CPU)"),
	OPTION("engine", TEXT, engine, 0, 0, "NAME", "io_uring, epoll or auto (default)"),
	OPTION("threads", COUNT, threads, 1, 16000000, "N", "green threads"),
	OPTION("active", COUNT, active, 0, 99, "PERCENT", "threads that do not stay parked"),
	OPTION("depth", COUNT, depth, 0, 1000000, "BYTES", "stack that each has once used"),
	OPTION("connections", COUNT, connections, 1, 4000000, "N", "connections open at once"),
	OPTION("count", COUNT, count, 1, 1e12, "N", "operations in one round"),
	OPTION("work", COUNT, work, 0, 1e9, "N", "steps of arithmetic before each switch"),
	OPTION("capacity", COUNT, capacity, 1, 1000000, "N", "elements the channel holds"),
	OPTION("size", COUNT, size, 8, 65536, "BYTES", "bytes of one message or body"),
	OPTION("duration", SECONDS, duration_s, 0.01, 3600, "S", "seconds of one round, at least"),
	OPTION("warmup", SECONDS, warmup_s, 0, 3600, "S", "seconds of load before round 1"),
	OPTION("rounds", COUNT, rounds, 1, ROUNDS_MAX, "N", "rounds (default 5)"),
	OPTION("how", TEXT, how, 0, 0, "WAY", "which way of doing it, see above"),
	OPTION("in-process", FLAG, in_process, 0, 0, NULL,
	       "clients are green threads of the same runtime"),
	OPTION("url", TEXT, url, 0, 0, "URL", "http://ADDRESS:PORT/PATH, or /PATH with a server"),
	OPTION("server", TEXT, server, 0, 0, "COMMAND",
	       "start this server; it says \"listening on ADDRESS:PORT\""),
	OPTION("pid", COUNT, pid, 1, 1 << 22, "PID", "process of a server that already runs"),
	OPTION("status-path", TEXT, status_path, 0, 0, "PATH",
	       "path of the server's status, a JSON object"),
	OPTION("clients", COUNT, clients, 1, 256, "N", "client processes (default: as needed)"),
	OPTION("rate", COUNT, rate, 1, 1e9, "N", "requests per second (default: unlimited)"),
	OPTION("timeout", SECONDS, timeout_s, 0.1, 3600, "S", "longest wait for one response"),
	OPTION("status", COUNT, status, 100, 599, "N", "status expected (default 200)"),
	OPTION("verify-body", FLAG, verify_body, 0, 0, NULL,
	       "all bodies equal the first, byte by byte"),
	OPTION("limit", SECONDS, limit_s, 0.1, 86400, "S", "give up a phase after this long"),
	OPTION("progress", TEXT, progress, 0, 0, "HOW", "auto (default), lines or none"),
	OPTION("json", FLAG, json, 0, 0, NULL, "one JSON object a line; the last is the summary"),
	OPTION("help", FLAG, help, 0, 0, NULL, "this text"),
};
#define SPECS (sizeof(specs) / sizeof(specs[0]))

/* Every bench has these. */
static const char common[] = " workers engine rounds duration limit progress json help ";

static bool in_list(const char *list, const char *name, size_t length)
{
	for (const char *at = list; (at = strstr(at, name)); at += length) {
		bool starts = at == list || at[-1] == ' ';
		if (starts && (at[length] == ' ' || !at[length]))
			return true;
	}
	return false;
}

static bool accepted(const struct bench *bench, const struct option_spec *spec)
{
	size_t length = strlen(spec->name);
	return in_list(common, spec->name, length) || in_list(bench->accepts, spec->name, length);
}

static const struct option_spec *find_spec(const char *name, size_t length)
{
	for (size_t i = 0; i < SPECS; i++)
		if (strlen(specs[i].name) == length && !memcmp(specs[i].name, name, length))
			return &specs[i];
	return NULL;
}

static int bad_number(const struct option_spec *spec, const char *value)
{
	fprintf(stderr, "greenbench: --%s: \"%s\" is not %s from %g to %.12g\n", spec->name, value,
	        spec->kind == COUNT ? "a whole number" : "a number of seconds", spec->min,
	        spec->max);
	return EXIT_USAGE;
}

static int store_number(struct options *options, const struct option_spec *spec, const char *value)
{
	char *end;
	errno = 0;
	double number = strtod(value, &end);
	if (end == value || errno || !isfinite(number))
		return bad_number(spec, value);
	if (spec->kind == COUNT && (*end == 'k' || *end == 'M'))
		number *= *end++ == 'k' ? 1e3 : 1e6;
	if (*end || number < spec->min || number > spec->max)
		return bad_number(spec, value);
	void *field = (char *)options + spec->offset;
	if (spec->kind == SECONDS) {
		*(double *)field = number;
		return 0;
	}
	if (number != floor(number))
		return bad_number(spec, value);
	*(uint64_t *)field = (uint64_t)number;
	return 0;
}

static int store(struct options *options, const struct option_spec *spec, const char *value)
{
	void *field = (char *)options + spec->offset;
	if (spec->kind == FLAG)
		*(bool *)field = true;
	else if (spec->kind == TEXT)
		*(const char **)field = value;
	else
		return store_number(options, spec, value);
	return 0;
}

/* A bench has no such option; which ones have? */
static int not_taken(const struct bench *bench, const struct option_spec *spec)
{
	const char *before = "";
	fprintf(stderr, "greenbench: %s does not take --%s, which is for ", bench->name,
	        spec->name);
	for (const struct bench *const *other = benches; *other; other++) {
		if ((*other)->hidden || !accepted(*other, spec))
			continue;
		fprintf(stderr, "%s%s", before, (*other)->name);
		before = ", ";
	}
	fprintf(stderr, "; \"greenbench %s --help\" lists its options\n", bench->name);
	return EXIT_USAGE;
}

static int unknown(const struct bench *bench, const char *argument)
{
	fprintf(stderr,
	        "greenbench: %s: \"%s\" is no option; \"greenbench %s --help\" lists them\n",
	        bench->name, argument, bench->name);
	return EXIT_USAGE;
}

/* One option at argv[0]; the number of arguments used, or -status. */
static int parse_one(struct options *options, const struct bench *bench, int argc, char **argv)
{
	const char *argument = argv[0];
	if (strncmp(argument, "--", 2) != 0)
		return -unknown(bench, argument);
	const char *name = argument + 2, *equals = strchr(name, '=');
	const struct option_spec *spec =
		find_spec(name, equals ? (size_t)(equals - name) : strlen(name));
	if (!spec)
		return -unknown(bench, argument);
	if (!accepted(bench, spec))
		return -not_taken(bench, spec);
	if (spec->kind == FLAG) {
		if (equals)
			return -options_bad(spec->name, "takes no value");
		return store(options, spec, NULL) ? -EXIT_USAGE : 1;
	}
	const char *value = equals ? equals + 1 : argc > 1 ? argv[1] : NULL;
	if (!value || !*value) {
		fprintf(stderr, "greenbench: --%s needs a value: --%s %s\n", spec->name, spec->name,
		        spec->argument);
		return -EXIT_USAGE;
	}
	int status = store(options, spec, value);
	return status ? -status : equals ? 1 : 2;
}

static bool one_of(const char *value, const char *a, const char *b, const char *c)
{
	return !value || !strcmp(value, a) || !strcmp(value, b) || !strcmp(value, c);
}

static int check_names(const struct options *options)
{
	if (!one_of(options->engine, "auto", "io_uring", "epoll"))
		return options_bad("engine", "give io_uring, epoll or auto");
	if (!one_of(options->progress, "auto", "lines", "none"))
		return options_bad("progress", "give auto, lines or none");
	return 0;
}

int options_parse(struct options *options, const struct bench *bench, int argc, char **argv)
{
	for (int i = 0; i < argc;) {
		int used = parse_one(options, bench, argc - i, argv + i);
		if (used < 0)
			return -used;
		i += used;
	}
	return check_names(options);
}

int options_bad(const char *option, const char *remedy)
{
	fprintf(stderr, "greenbench: --%s: %s\n", option, remedy);
	return EXIT_USAGE;
}

void options_help(const struct bench *bench)
{
	printf("Usage: greenbench %s [options]\n\n%s\n\nOptions:\n", bench->name, bench->about);
	for (size_t i = 0; i < SPECS; i++) {
		const struct option_spec *spec = &specs[i];
		if (!accepted(bench, spec))
			continue;
		char left[40];
		snprintf(left, sizeof(left), "--%s%s%s", spec->name, spec->argument ? " " : "",
		         spec->argument ? spec->argument : "");
		printf("  %-22s %s\n", left, spec->help);
	}
	printf("\nExamples:\n%s", bench->examples);
	puts("\nExit status: 0 ok, 1 a result was wrong or errors occurred, 2 bad usage,\n"
	     "3 cannot run here.  greenbench(1) describes the output.");
}
