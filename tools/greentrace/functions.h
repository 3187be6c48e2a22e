/* SPDX-License-Identifier: MIT
 *
 * struct functions: what green threads began with, by their index.
 */
#ifndef FUNCTIONS_H
#define FUNCTIONS_H

#include "session.h"

#define FUNCTIONS_CACHE 4096

struct functions {
	struct {
		uint64_t fn;
		int64_t read_ns;
		uint32_t index;
	} cache[FUNCTIONS_CACHE];
};

/* Of the thread with that index, as far as its descriptor still is its own: read at most
 * once a second for each, and not for each record.  0: not known. */
uint64_t functions_read(struct functions *f, struct session *s, uint32_t index, int64_t now_ns);

/* Those of a few hundred threads, and no others: a batch of records has no more. */
#define BATCH_SLOTS 1024 /* a power of two, twice TRACE_BATCH */

struct batch_functions {
	struct {
		uint64_t fn;
		uint32_t index; /* 0: free */
	} slots[BATCH_SLOTS];
	uint32_t count;
};

void batch_clear(struct batch_functions *b);
/* Its function is to be put there; NULL: there is no room.  *is_new: it was not known. */
uint64_t *batch_put(struct batch_functions *b, uint32_t index, bool *is_new);
/* 0: not known. */
uint64_t batch_get(const struct batch_functions *b, uint32_t index);

#endif
