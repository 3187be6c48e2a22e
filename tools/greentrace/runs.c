/* SPDX-License-Identifier: MIT
 *
 * When each thread went on last.
 */
#include "runs.h"
#include "room.h"

#include <stdbool.h>
#include <stdlib.h>

#define THREADS ROOM(65536)         /* remembered; a newer one takes the place of an older */
#define RUN_MAX ((uint64_t)1 << 44) /* more than an hour: no number of a clock */
#define INDEX_MASK ((1u << 26) - 1)

struct runs {
	struct {
		uint64_t time;   /* ticks, when it went on */
		uint32_t thread; /* as records have it; 0: free */
	} last[THREADS];
};

struct runs *runs_open(void)
{
	return calloc(1, sizeof(struct runs));
}

void runs_close(struct runs *runs)
{
	free(runs);
}

uint64_t runs_add(struct runs *runs, const struct trace_record *r)
{
	uint32_t at = (r->thread & INDEX_MASK) % THREADS;
	uint64_t left = r->time - trace_ticks(r, r->away), before = runs->last[at].time;
	bool known = runs->last[at].thread == r->thread && r->thread;

	runs->last[at].thread = r->thread;
	runs->last[at].time = r->time;
	/* Clocks of two CPUs, and what a damaged recording says. */
	return known && left > before && left <= r->time && left - before < RUN_MAX ? left - before
	                                                                            : 0;
}
