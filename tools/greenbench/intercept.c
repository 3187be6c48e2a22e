/* SPDX-License-Identifier: MIT
 *
 * intercept: what a system call costs that does not block, and what starting costs, under
 * greenrun in each of its modes, beside the same program without it.
 *
 * The program is greenbench itself ("greenbench intercept-calls", not listed in the help),
 * which makes the calls by libc's functions and says what one took.  Native runs and
 * modes take turns in each round.
 */
#include "child.h"
#include "json.h"
#include "progress.h"
#include "run.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define CALLS 200000
#define ARGUMENTS 16

/* ---- the calls, in a process of their own --------------------------------------- */

struct calls {
	uint64_t count;
	int null, sockets[2];
	bool wrong;
};

static void call_getppid(struct calls *c)
{
	c->wrong |= getppid() <= 0;
}

static void call_read(struct calls *c)
{
	char byte;
	c->wrong |= read(c->null, &byte, 1) != 0;
}

/* There is a byte to be had, and it stays. */
static void call_recv(struct calls *c)
{
	char byte;
	c->wrong |= recv(c->sockets[0], &byte, 1, MSG_PEEK) != 1;
}

static void call_yield(struct calls *c)
{
	c->wrong |= sched_yield() != 0;
}

static const struct {
	const char *name;
	void (*call)(struct calls *c); /* NULL: two threads yield in turn */
} kinds[] = {
	{ "getppid", call_getppid }, { "read", call_read }, { "recv", call_recv },
	{ "yield", call_yield },     { "switch", NULL },
};
#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

static double ns_of(struct calls *c, void (*call)(struct calls *c))
{
	for (uint64_t i = 0; i < c->count / 10; i++)
		call(c);
	double start = run_cpu_ns();
	for (uint64_t i = 0; i < c->count; i++)
		call(c);
	return (run_cpu_ns() - start) / (double)c->count;
}

static void *yields(void *calls)
{
	struct calls *c = calls;
	for (uint64_t i = 0; i < c->count; i++)
		if (sched_yield())
			return NULL;
	return c;
}

/* On one CPU, natively too. */
static double ns_of_switch(struct calls *c)
{
	pthread_t threads[2];
	cpu_set_t set;
	void *ended;
	CPU_ZERO(&set);
	CPU_SET((size_t)sched_getcpu(), &set);
	c->wrong |= sched_setaffinity(0, sizeof(set), &set) != 0;
	double start = run_cpu_ns();
	for (unsigned i = 0; i < 2; i++)
		if (pthread_create(&threads[i], NULL, yields, c))
			exit(EXIT_CANNOT);
	for (unsigned i = 0; i < 2; i++)
		c->wrong |= pthread_join(threads[i], &ended) || ended != c;
	return (run_cpu_ns() - start) / (2 * (double)c->count);
}

/* This program has a libgreen of its own: greenrun's is asked. */
static void print_interception(void)
{
	int (*ask)(struct green_intercept_info * info);
	struct green_intercept_info info;
	void *symbol = dlsym(RTLD_DEFAULT, "green_intercept_info");

	memcpy(&ask, &symbol, sizeof(ask));
	if (symbol && ask(&info) == 0)
		printf(", \"sites\": %u, \"sites_left\": %u", info.sites, info.sites_left);
}

static int calls_run(const struct options *options)
{
	struct calls c = { .count = options->count };
	if (!c.count) /* only start and end */
		return EXIT_OK;
	c.null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	if (c.null < 0 || socketpair(AF_UNIX, SOCK_STREAM, 0, c.sockets) < 0 ||
	    send(c.sockets[1], "x", 1, 0) != 1)
		return EXIT_CANNOT;
	for (size_t i = 0; i < KINDS; i++)
		printf("%s\"%s\": %.2f", i ? ", " : "{", kinds[i].name,
		       kinds[i].call ? ns_of(&c, kinds[i].call) : ns_of_switch(&c));
	print_interception();
	puts("}");
	return c.wrong ? EXIT_WRONG : EXIT_OK;
}

const struct bench bench_intercept_calls = {
	.name = "intercept-calls",
	.about = "The calls of the intercept bench.",
	.accepts = "count",
	.examples = "",
	.run = calls_run,
	.hidden = true,
};

/* ---- the runs side by side -------------------------------------------------------- */

static const char *const modes[] = { "native", "patch", "dispatch", "both" };
#define MODES (sizeof(modes) / sizeof(modes[0]))

struct costs {
	double ns[KINDS];
	double start_ms, start_cpu_ms; /* and end */
	double sites, sites_left;
};

struct intercept {
	struct result result;
	const struct options *options;
	char greenrun[4096];
	unsigned unusable; /* bit of each mode that this system does not let work */
};

/* The tool lies where this one does. */
static bool find_greenrun(struct intercept *t)
{
	const char *self = child_self(), *slash = strrchr(self, '/');
	snprintf(t->greenrun, sizeof(t->greenrun), "%.*sgreenrun",
	         slash ? (int)(slash - self) + 1 : 0, self);
	return access(t->greenrun, X_OK) == 0;
}

/* The calls so often in that mode; what they print is to be freed. */
static int run_calls(struct intercept *t, unsigned mode, uint64_t count, char **output)
{
	char number[24], workers[24], *argv[ARGUMENTS];
	int n = 0;
	if (mode) {
		argv[n++] = t->greenrun;
		argv[n++] = (char *)"--intercept";
		argv[n++] = (char *)modes[mode];
		snprintf(workers, sizeof(workers), "--workers=%u", (unsigned)t->options->workers);
		if (t->options->workers)
			argv[n++] = workers;
		argv[n++] = (char *)"--";
	}
	argv[n++] = (char *)child_self();
	argv[n++] = (char *)"intercept-calls";
	snprintf(number, sizeof(number), "%llu", (unsigned long long)count);
	if (count) {
		argv[n++] = (char *)"--count";
		argv[n++] = number;
	}
	argv[n] = NULL;
	return child_capture(argv, output);
}

/* CPU time of the children that have ended. */
static double children_ms(void)
{
	struct rusage usage;
	getrusage(RUSAGE_CHILDREN, &usage);
	return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1e3 +
	       (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e3;
}

static int measure(struct intercept *t, unsigned mode, struct costs *costs)
{
	char *output = NULL;
	double cpu_ms = children_ms();
	int64_t start = green_now();
	int status = run_calls(t, mode, 0, &output);
	costs->start_ms = (double)(green_now() - start) / 1e6;
	costs->start_cpu_ms = children_ms() - cpu_ms;
	free(output);
	if (status)
		return status;
	output = NULL;
	status = run_calls(t, mode, run_default(t->options->count, CALLS), &output);
	const char *line = output ? json_last_line(output) : NULL;
	if (!status && !line)
		status = EXIT_WRONG;
	for (size_t i = 0; i < KINDS && !status; i++)
		costs->ns[i] = json_number(line, kinds[i].name);
	if (!status) {
		costs->sites = json_number(line, "sites");
		costs->sites_left = json_number(line, "sites_left");
	}
	free(output);
	return status;
}

/* Results keep the keys they are given. */
static const char *key(unsigned mode, unsigned i, const char *what)
{
	static char keys[MODES][KINDS + 4][40];
	snprintf(keys[mode][i], sizeof(keys[mode][i]), "%s_%s", modes[mode], what);
	return keys[mode][i];
}

static void report(struct intercept *t, unsigned mode, const struct costs *costs,
                   const struct costs *native)
{
	static const struct costs nothing;
	const struct costs *base = mode ? native : &nothing;
	const char *ns = mode ? "ns over native" : "ns", *ms = mode ? "ms over native" : "ms";
	struct result *r = &t->result;
	unsigned i;
	for (i = 0; i < KINDS; i++)
		result_measure(r, key(mode, i, kinds[i].name), ns, costs->ns[i] - base->ns[i]);
	result_measure(r, key(mode, i, "start"), ms, costs->start_ms - base->start_ms);
	i++;
	result_measure(r, key(mode, i, "start_cpu"), mode ? "CPU ms over native" : "CPU ms",
	               costs->start_cpu_ms - base->start_cpu_ms);
	if (!mode)
		return;
	i++;
	result_measure(r, key(mode, i, "sites"), "rewritten", costs->sites);
	i++;
	result_measure(r, key(mode, i, "sites_left"), "left", costs->sites_left);
}

static int one_round(struct intercept *t)
{
	struct costs costs[MODES];
	for (unsigned mode = 0; mode < MODES; mode++) {
		if (t->unusable & 1u << mode)
			continue;
		int status = measure(t, mode, &costs[mode]);
		if (status == 125 && mode) { /* greenrun has said why */
			t->unusable |= 1u << mode;
			continue;
		}
		if (status) {
			fprintf(stderr, "greenbench: intercept: %s ended with status %d\n",
			        modes[mode], status);
			return EXIT_WRONG;
		}
		report(t, mode, &costs[mode], &costs[0]);
	}
	return EXIT_OK;
}

static int intercept_run(const struct options *options)
{
	struct intercept t = { .options = options };
	unsigned rounds = (unsigned)run_default(options->rounds, 5);
	if (!find_greenrun(&t)) {
		fprintf(stderr, "greenbench: intercept: cannot run: %s is not there\n", t.greenrun);
		return EXIT_CANNOT;
	}
	if (result_open(&t.result, "intercept", options->json, rounds) < 0)
		return EXIT_CANNOT;
	result_number(&t.result, "count", (double)run_default(options->count, CALLS));
	if (options->workers)
		result_number(&t.result, "workers", (double)options->workers);
	int status = EXIT_OK;
	for (unsigned i = 0; i <= rounds && !status; i++) {
		progress("intercept: round %u of %u", i, rounds);
		t.result.muted = i == 0;
		status = one_round(&t);
		if (!status)
			result_round(&t.result);
	}
	progress_clear();
	if (!status)
		result_summary(&t.result);
	result_close(&t.result);
	return status;
}

const struct bench bench_intercept = {
	.name = "intercept",
	.about = "System calls under greenrun that do not block, beside the same ones without it:\n"
		 "nanoseconds of CPU time by which getppid, read of /dev/null, recv with data "
		 "there\n"
		 "and sched_yield are dearer in each mode, the last by one thread and by two in "
		 "turn,\n"
		 "and milliseconds by which starting is.\n"
		 "--count: calls of each kind (default 200k).",
	.accepts = "count",
	.examples = "  greenbench intercept\n"
		    "  greenbench intercept --workers 1 --rounds 10 --json\n",
	.run = intercept_run,
};
