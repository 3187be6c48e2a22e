/* SPDX-License-Identifier: MIT
 *
 * The command line of greenrun.
 */
#ifndef OPTIONS_H
#define OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

struct options {
	const char *engine;    /* NULL: the library's choice */
	const char *intercept; /* the same */
	const char *report;    /* file, "-": standard error, NULL: none */
	uint64_t workers;      /* 0: the library's choice */
	uint64_t stack_size;   /* of a thread that asks for none; bytes, 0: libc's */
	uint64_t audit_ms;     /* 0: no audit */
	bool serial;
	bool no_preempt;
	bool lean;      /* fewer bytes a thread */
	char **program; /* what to run and its arguments; NULL: all is said already */
};

/* 0, or the exit status after a complaint. */
int options_parse(struct options *o, int argc, char **argv);

#endif
