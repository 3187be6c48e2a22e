/* SPDX-License-Identifier: MIT
 *
 * struct result: what a bench prints, as JSON lines or as a table.
 *
 * A bench states its parameters once (result_text, result_number) and its
 * measures every round (result_measure).  The first measure is the bench's
 * value.  result_round() ends a round and, with --json, prints its line;
 * result_summary() prints the medians over all rounds.
 */
#ifndef RESULT_H
#define RESULT_H

#include "bench.h"

#include <stdio.h>

#define MEASURES_MAX 32

struct measure {
	const char *key;
	const char *unit;
	double samples[ROUNDS_MAX]; /* one a round */
	unsigned count;
	double sum; /* of the round under way */
	unsigned passes;
};

struct result {
	const char *bench;
	bool json;
	bool muted; /* a warm-up: measures and rounds are dropped */
	unsigned rounds, round;
	char *params; /* JSON members, each followed by ", " */
	size_t params_size;
	FILE *params_file;
	char *title; /* the same for people */
	size_t title_size;
	FILE *title_file;
	struct measure measures[MEASURES_MAX];
	unsigned measures_count;
};

int result_open(struct result *result, const char *bench, bool json, unsigned rounds);
void result_close(struct result *result);

void result_text(struct result *result, const char *key, const char *value);
void result_number(struct result *result, const char *key, double value);
/* A number for JSON only. */
void result_detail(struct result *result, const char *key, double value);
/* A parameter that is JSON already; not shown in the table. */
void result_raw(struct result *result, const char *key, const char *json);

/* A measure of the round under way.  key and unit are constants.  NAN: could
 * not be measured here (null in JSON).  More than once a round: their mean. */
void result_measure(struct result *result, const char *key, const char *unit, double value);

void result_round(struct result *result);
void result_summary(struct result *result);

/* A number as JSON and people want it: no exponent, no needless digits. */
void result_print_number(FILE *file, double value);
void result_print_text(FILE *file, const char *text);

#endif
