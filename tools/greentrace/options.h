/* SPDX-License-Identifier: MIT
 *
 * struct options: what was asked for on the command line.
 */
#ifndef OPTIONS_H
#define OPTIONS_H

#include "sites.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum command { TOP, SITES, RECORD, REPORT, DUMP, FLIGHT, PROBES, CHECK };

struct options {
	enum command command;
	pid_t pid; /* 0: command_line */
	bool many; /* all processes, or those of a name */
	const char *name;
	const char *filter;
	char **argv;                              /* of the program to start; NULL: pid */
	uint64_t interval_ns, count, duration_ns; /* 0: without end */
	const char *file;                         /* RECORD, REPORT */
	bool map;                                 /* the map of switch points, not the table */
	bool entries;                             /* calls that may switch, for it */
	bool summary, histograms, json, stacks, timestamps;
	enum sites_order order;
	uint64_t rows; /* 0: not said */
	uint64_t blocked_ns, hog_ns;
	bool queued;
	uint64_t buffer;
	const char *lock, *check;              /* files */
	const char *folded, *flame, *perfetto; /* files */
	bool running;                          /* the first two: not time away, but time run */
	bool wakers, syscalls, faults, requests;
	/* Contracts; 0 and NULL: not asked for. */
	uint64_t no_blocked_ns, no_hog_ns, max_queued_ns;
	const char *no_yield;
	bool done; /* nothing more to do: help, version */
};

/* Of each table; of the map and in lines of JSON all, where no number was said. */
static inline uint64_t options_rows(const struct options *o, bool all)
{
	return o->rows ? o->rows : all ? UINT64_MAX : 20;
}

/* EXIT_OK, or a problem that has been reported. */
int options_parse(struct options *o, int argc, char **argv);

/* A number with a unit's factor; false: it is none, or too large. */
bool parse_scaled(const char *text, double factor, uint64_t *value);

#endif
