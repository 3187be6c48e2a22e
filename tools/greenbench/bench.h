/* SPDX-License-Identifier: MIT
 *
 * struct bench: one benchmark, and the list of all of them.
 *
 * A bench is a name, the options it takes, and a function that runs it and
 * returns an exit status.  Most run inside the runtime of this process and use
 * run.h; echo and http drive a server in another process and use load.h.
 */
#ifndef BENCH_H
#define BENCH_H

#include "options.h"

#define ROUNDS_MAX 100

/* Exit statuses, documented in greenbench(1). */
enum exit_status {
	EXIT_OK = 0,
	EXIT_WRONG = 1,  /* a result was wrong, or errors occurred */
	EXIT_USAGE = 2,  /* bad option or argument */
	EXIT_CANNOT = 3, /* cannot run here: not enough of something, nothing to run */
};

struct bench {
	const char *name;
	const char *about;    /* one line */
	const char *accepts;  /* names of its options, separated by blanks */
	const char *examples; /* for --help */
	int (*prepare)(void); /* before there is another thread; NULL: nothing.  0 or a status */
	int (*run)(const struct options *options);
	bool hidden; /* for greenbench's own use */
};

extern const struct bench bench_yield, bench_spawn, bench_pingpong, bench_chan, bench_skynet,
	bench_park, bench_grow, bench_timer, bench_echo, bench_http, bench_intercept, bench_scale,
	bench_link, bench_all, bench_echo_server, bench_intercept_calls;

/* All of them, ended by NULL. */
extern const struct bench *const benches[];

const struct bench *bench_find(const char *name);

#endif
