/* SPDX-License-Identifier: MIT
 *
 * Where an intercepted call comes from: the frame of the program below which libraries made
 * it, for tracers.
 *
 * The frames between the two have to be unwound by their tables, for libraries have no
 * frame pointers.  That takes microseconds, and is done once for each way: where its return
 * addresses lie above the stack pointer is kept, and a call whose stack has the same ones at
 * the same places came the same way.  Each of them being where its caller put it, the next
 * one is, too.
 */
#ifndef INTERCEPT_ROUTE_H
#define INTERCEPT_ROUTE_H

#include "intercept/call.h"
#include "trace.h"

/* In c->result: the fast stage has left it to the full one, which tells tracers. */
#define CALL_UNTRIED INT64_MIN

struct route_kind {    /* of a call */
	uint8_t why;   /* TRACE_CALL and above; 0: it does not switch */
	bool has_file; /* its first argument is a descriptor */
};
extern internal const struct route_kind route_kinds[CALL_NR_MAX];

/* In any stage: is this call to be told of before it is tried? */
static inline bool route_wanted(unsigned long nr)
{
	return unlikely(__atomic_load_n(&trace_hot.sem.enter, __ATOMIC_RELAXED) |
	                atomic_load_explicit(&trace_sections, memory_order_relaxed)) &&
	       route_kinds[nr].why;
}

/* In the full stage: tells of it if it may switch. */
void route_entered(const struct call *c);

/* Interception starts, before any call. */
void route_start(void);

#endif
