/* SPDX-License-Identifier: MIT
 *
 * struct sites: what happened at each switch point, a switch point being a call of the
 * program into the runtime together with what it waits for.
 */
#ifndef SITES_H
#define SITES_H

#include "histogram.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TOP_COUNT 8

/* The values seen most often of any number of values: once the room is used up, the rarest
 * gives way to a newcomer, which inherits its count (Metwally's "space saving": no count
 * is too low, and a value that makes more than 1/8 of all is never missing). */
struct top {
	struct {
		uint64_t value, count;
	} seen[TOP_COUNT];
	unsigned used;
	bool overflowed; /* there were more than these */
};

void top_add(struct top *top, uint64_t value);
/* Index of the most frequent; -1: none. */
int top_best(const struct top *top);

struct symbol;
struct path;

struct site {
	const struct symbol *symbol; /* of pc */
	uint64_t pc;                 /* where the call comes back to */
	unsigned why;
	uint64_t entries;        /* calls, whether they parked or not; 0: not counted */
	struct histogram parked; /* from the park to running again */
	struct histogram queued; /* the part of it after the waking */
	uint64_t ran_ns;         /* before switching there; runs.h */
	uint64_t parks_before, total_before_ns; /* at the last sites_mark() */
	struct top descriptors, wakers;
	struct path *path; /* that led to it; NULL: not known */
};

struct sites {
	struct site **slots; /* open addressing; size is a power of two */
	size_t size, count;
	uint64_t refused; /* no memory */
};

/* The one with this key, made if it is new; NULL: no memory, which is counted. */
struct site *sites_get(struct sites *sites, uint64_t pc, unsigned why);
void sites_free(struct sites *sites);

/* The interval begins anew. */
void sites_mark(struct sites *sites);
static inline uint64_t site_parks(const struct site *site)
{
	return site->parked.count - site->parks_before;
}
static inline uint64_t site_total_ns(const struct site *site)
{
	return site->parked.total_ns - site->total_before_ns;
}

enum sites_order { BY_TOTAL, BY_COUNT, BY_MAX, BY_MEAN, BY_QUEUED };

/* All of them, the first of the order first: allocated, ended by NULL; NULL: no memory.
 * interval: by what happened since sites_mark(), as far as that is known. */
struct site **sites_sorted(const struct sites *sites, enum sites_order order, bool interval);

#endif
