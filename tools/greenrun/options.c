/* SPDX-License-Identifier: MIT
 *
 * The command line of greenrun: what it means, and what is wrong with it.
 */
#include "options.h"
#include "green.h"
#include "greenrun.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WORKERS_MOST 1024
#define AUDIT_MS_DEFAULT 10
#define AUDIT_MS_MOST 3600000
#define STACK_LEAST 16384 /* glibc refuses less for a thread */
#define STACK_MOST ((uint64_t)1 << 30)

static void usage(FILE *file)
{
	fputs("Usage: greenrun [options] [--] PROGRAM [ARGUMENT ...]\n\n"
	      "Runs an unmodified program that uses threads on green threads: its system calls "
	      "are\n"
	      "intercepted, and pthread_create makes a green thread.\n\n"
	      "  -w, --workers N      OS threads to run on (default: one for each CPU)\n"
	      "      --serial         one worker and no preemption, for code that must not run in\n"
	      "                       parallel\n"
	      "      --stack SIZE     stack of a thread that asks for none (K, M; default: "
	      "libc's)\n"
	      "      --lean           fewer bytes for each thread, and in each less room for "
	      "libraries\n"
	      "                       loaded later\n"
	      "      --engine E       auto, io_uring or epoll\n"
	      "      --intercept M    auto, patch, dispatch, both or off (off: run it as it is)\n"
	      "      --no-preempt     let a thread that computes keep its worker\n"
	      "      --audit[=MS]     say which unhandled calls blocked a worker longer than MS "
	      "(10)\n"
	      "      --report[=FILE]  at exit say what was run and how; on standard error, or to "
	      "FILE\n"
	      "      --help, --version\n\n"
	      "Examples:\n"
	      "  greenrun ./server --port 8080\n"
	      "  greenrun --workers 2 --report -- mariadbd --datadir=/srv/db\n"
	      "  greenrun --audit=5 ./client 2>blocked.txt\n\n"
	      "Exit status: the program's; 125 greenrun failed, 126 the program cannot be run "
	      "under\n"
	      "greenrun (said why), 127 there is no such program.\n",
	      file);
}

/* What greenrun refuses without having run anything. */
static int bad(const char *option, const char *value, const char *expected)
{
	return problem(EXIT_PROBLEM, "%s %.60s: expected %s", option, value, expected);
}

/* A whole number; with suffix K, M or G may follow. */
static bool parse_number(const char *text, bool suffix, uint64_t *number)
{
	static const char units[] = "KMG";
	const char *unit;
	char *end;

	if (*text < '0' || *text > '9')
		return false;
	errno = 0;
	*number = strtoull(text, &end, 10);
	if (errno)
		return false;
	if (suffix && *end && (unit = strchr(units, *end & ~0x20)) && *unit) {
		unsigned shift = 10 * (unsigned)(unit - units + 1);
		if (*number > UINT64_MAX >> shift)
			return false;
		*number <<= shift;
		end++;
	}
	return !*end;
}

static bool one_of(const char *text, const char *const *words)
{
	for (; *words; words++)
		if (strcmp(text, *words) == 0)
			return true;
	return false;
}

static int set_engine(struct options *o, const char *value)
{
	static const char *const engines[] = { "auto", "io_uring", "epoll", NULL };

	if (!one_of(value, engines))
		return bad("--engine", value, "auto, io_uring or epoll");
	o->engine = value;
	return 0;
}

static int set_intercept(struct options *o, const char *value)
{
	static const char *const modes[] = { "auto", "patch", "dispatch", "both", "off", NULL };

	if (!one_of(value, modes))
		return bad("--intercept", value, "auto, patch, dispatch, both or off");
	o->intercept = value;
	return 0;
}

static int set_workers(struct options *o, const char *value)
{
	if (!parse_number(value, false, &o->workers) || !o->workers || o->workers > WORKERS_MOST)
		return bad("--workers", value, "a number from 1 to 1024");
	return 0;
}

static int set_stack(struct options *o, const char *value)
{
	if (!parse_number(value, true, &o->stack_size) || o->stack_size < STACK_LEAST ||
	    o->stack_size > STACK_MOST)
		return bad("--stack", value, "a size from 16K to 1G");
	return 0;
}

static int set_audit(struct options *o, const char *value)
{
	o->audit_ms = AUDIT_MS_DEFAULT;
	if (value && (!parse_number(value, false, &o->audit_ms) || !o->audit_ms ||
	              o->audit_ms > AUDIT_MS_MOST))
		return bad("--audit", value, "milliseconds, at least 1");
	return 0;
}

enum {
	OPT_SERIAL = 256,
	OPT_STACK,
	OPT_LEAN,
	OPT_ENGINE,
	OPT_INTERCEPT,
	OPT_NO_PREEMPT,
	OPT_AUDIT,
	OPT_REPORT
};

static const struct option known[] = {
	{ "workers", required_argument, NULL, 'w' },
	{ "serial", no_argument, NULL, OPT_SERIAL },
	{ "stack", required_argument, NULL, OPT_STACK },
	{ "lean", no_argument, NULL, OPT_LEAN },
	{ "engine", required_argument, NULL, OPT_ENGINE },
	{ "intercept", required_argument, NULL, OPT_INTERCEPT },
	{ "no-preempt", no_argument, NULL, OPT_NO_PREEMPT },
	{ "audit", optional_argument, NULL, OPT_AUDIT },
	{ "report", optional_argument, NULL, OPT_REPORT },
	{ "help", no_argument, NULL, 'h' },
	{ "version", no_argument, NULL, 'V' },
	{ 0 },
};

/* -1: the command line is done with. */
static int take(struct options *o, int c)
{
	switch (c) {
	case 'w':
		return set_workers(o, optarg);
	case OPT_SERIAL:
		o->serial = true;
		return 0;
	case OPT_STACK:
		return set_stack(o, optarg);
	case OPT_LEAN:
		o->lean = true;
		return 0;
	case OPT_ENGINE:
		return set_engine(o, optarg);
	case OPT_INTERCEPT:
		return set_intercept(o, optarg);
	case OPT_NO_PREEMPT:
		o->no_preempt = true;
		return 0;
	case OPT_AUDIT:
		return set_audit(o, optarg);
	case OPT_REPORT:
		o->report = optarg && *optarg ? optarg : "-";
		return 0;
	case 'h':
		usage(stdout);
		return -1;
	case 'V':
		puts("greenrun " GREEN_VERSION);
		return -1;
	default:
		return problem(EXIT_PROBLEM, "\"greenrun --help\" lists the options");
	}
}

int options_parse(struct options *o, int argc, char **argv)
{
	int c, r;

	*o = (struct options){ 0 };
	/* A + stops at the first argument that is no option: the rest is the program's. */
	while ((c = getopt_long(argc, argv, "+w:h", known, NULL)) != -1)
		if ((r = take(o, c)))
			return r < 0 ? 0 : r;
	if (o->serial && o->workers > 1)
		return problem(EXIT_PROBLEM, "--serial means one worker: leave out --workers %llu",
		               (unsigned long long)o->workers);
	if (optind == argc) {
		usage(stderr);
		return EXIT_PROBLEM;
	}
	o->program = argv + optind;
	return 0;
}
