/* SPDX-License-Identifier: MIT
 *
 * Contracts: what must not have happened, and whether it has.
 */
#ifndef CONTRACT_H
#define CONTRACT_H

#include "trace.h"

static inline bool has_contract(const struct options *o)
{
	return o->lock || o->check || o->no_blocked_ns || o->no_hog_ns || o->max_queued_ns ||
	       o->no_yield;
}

/* Says what was broken, and where.  The exit status. */
int contract_judge(struct trace *t);

/* Writes the lockfile, once it is known that nothing is missing in it.  EXIT_OK, or a problem
 * that has been reported. */
int contract_lock(struct trace *t);

#endif
