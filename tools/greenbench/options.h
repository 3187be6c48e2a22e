/* SPDX-License-Identifier: MIT
 *
 * struct options: what the command line asks of a bench.  Zero means the
 * bench's own default.
 */
#ifndef OPTIONS_H
#define OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

struct bench;

enum progress_mode {
	PROGRESS_AUTO, /* a live line when standard error is a terminal */
	PROGRESS_LINES,
	PROGRESS_NONE,
};

struct options {
	uint64_t workers;
	uint64_t threads;
	uint64_t connections;
	uint64_t rounds;
	uint64_t count;
	uint64_t capacity;
	uint64_t size;
	uint64_t clients;
	uint64_t rate;
	uint64_t status;
	uint64_t pid;
	uint64_t active;   /* percent */
	uint64_t depth;    /* bytes */
	uint64_t work;     /* steps */
	double duration_s; /* of one round */
	double warmup_s;
	double timeout_s;   /* of one request */
	double limit_s;     /* of one phase: then the watchdog ends the program */
	const char *engine; /* "io_uring", "epoll", "auto" */
	const char *how;
	const char *url;
	const char *server;
	const char *status_path;
	const char *progress;
	bool json;
	bool help;
	bool in_process;
	bool verify_body;
	/* scale: the bench that is swept, and its options as they were given. */
	const struct bench *inner;
	char **inner_argv;
	int inner_argc;
};

/* Reads the command line of bench (argv after its name).  0, or the exit
 * status after a message to standard error that names the thing at fault and
 * the remedy. */
int options_parse(struct options *options, const struct bench *bench, int argc, char **argv);

/* The help of one bench, to standard output. */
void options_help(const struct bench *bench);

/* A complaint about an option's value that only the bench can judge; returns
 * EXIT_USAGE. */
int options_bad(const char *option, const char *remedy);

#endif
