/* SPDX-License-Identifier: MIT
 *
 * struct order: the records of all workers in the order of time.
 *
 * Each worker hands its own on in order, but some milliseconds later than another: they
 * are kept until all must have arrived.
 */
#ifndef ORDER_H
#define ORDER_H

#include "events.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ordered {
	struct trace_record record;
	uint32_t tid; /* of the worker */
	uint32_t serial;
};

struct order {
	void (*take)(void *arg, const struct ordered *o);
	void *arg;
	struct ordered *all;
	size_t count, room, settled; /* the first of them are in order */
	uint64_t now;                /* the latest that a worker has handed on */
	uint64_t refused;            /* no memory */
};

/* Those of a batch that are no older than since; takes those that are older than the
 * newest by delay ticks. */
void order_add(struct order *o, const struct event_records *e, uint64_t since, uint64_t delay);
/* Takes the rest. */
void order_end(struct order *o);
void order_free(struct order *o);

#endif
