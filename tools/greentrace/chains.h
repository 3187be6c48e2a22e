/* SPDX-License-Identifier: MIT
 *
 * struct chains: who woke whom, over several hops.
 *
 * A thread that woke another had been woken itself before, where it had waited then.  So
 * a wait has a chain of places: its own, that where its waker had last waited, that where
 * the waker's waker had.  Yields do not count.
 */
#ifndef CHAINS_H
#define CHAINS_H

#include "order.h"
#include "room.h"

#define CHAIN_HOPS 6 /* places of a chain, the first one included */
#define CHAINS_MAX ROOM(65536)

enum chain_end { /* what came before the last place */
	         CHAIN_GOES_ON,
	         CHAIN_EVENT,   /* no thread: a completion, or time was up */
	         CHAIN_OUTSIDE, /* an OS thread that is no worker */
	         CHAIN_NEW,     /* a thread that had not waited since the trace began */
	         CHAIN_CUT,     /* more hops than are kept */
};

struct chain {
	uint64_t pc;
	uint32_t before; /* number of the chain of the waker; if it goes on */
	uint8_t why, depth, end;
	uint64_t count, total_ns; /* of waits that had just this one */
};

struct chains;

struct chains *chains_open(void); /* NULL: no memory */
void chains_close(struct chains *chains);

/* A record more, in the order of time; away_ns: of its wait. */
void chains_add(struct chains *chains, const struct trace_record *r, uint64_t away_ns);

size_t chains_count(const struct chains *chains);
const struct chain *chains_get(const struct chains *chains, uint32_t number);

/* Those of a switch point that took the longest, first; how many, up to max. */
size_t chains_of(const struct chains *chains, uint64_t pc, unsigned why, uint32_t *numbers,
                 size_t max);

const char *chain_end_text(enum chain_end end);

#endif
