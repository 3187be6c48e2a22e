/* SPDX-License-Identifier: MIT
 *
 * The two ways of printing what was found.
 */
#ifndef PRINT_H
#define PRINT_H

#include "symbols.h"
#include "waits.h"

struct view { /* what there is to print, and what of it was asked for */
	struct snapshot *s;
	struct waits *waits;
	struct symbols *symbols;
	bool stacks, graph, census;
	uint64_t only; /* one thread, by its id; 0: all */
};

void print_text(const struct view *view);
void print_json(const struct view *view);

/* How deep stacks have been used, by the place of the spawn (census.c).  The latter: an
 * array. */
void print_census(const struct view *view);
void print_census_json(const struct view *view);

/* Microseconds and less are of no interest, minutes may be. */
double seconds_since(const struct snapshot *s, int64_t ns);

/* Bytes of stack in use; -1: not known. */
long stack_used(const struct snapshot *s, const struct thread *thread, long *size);

/* What its state is called: of a thread that a worker runs just now, that. */
const char *state_of(const struct snapshot *s, const struct thread *thread);

#endif
