/* SPDX-License-Identifier: MIT
 *
 * greenrun --audit: which system calls blocked a worker, though nobody emulates them.
 *
 * A call of a green thread that is passed on holds its worker.  With GREEN_AUDIT_MS each
 * of them is timed.  If it took so long and meanwhile slept, or computed for so long, it
 * is noted, by number and place; what was first noted is said by the monitor, which has
 * a stack of its own to look for names on.  (Only having waited for a CPU does not count:
 * that is not the call's doing.)
 */
#ifndef INTERCEPT_AUDIT_H
#define INTERCEPT_AUDIT_H

#include "intercept/call.h"
#include "report.h"

extern internal int64_t audit_limit_ns; /* 0: no audit */

/* The real call, timed; in any stage. */
long audit_call(const struct call *c);

/* What was noted and not said yet, on standard error; for the monitor, and at the end. */
void audit_say(void);

/* All that was noted, for the report at the end. */
void audit_report(struct report *r);

#define AUDIT_PLACES 256
#define AUDIT_WORDS 48

struct audit_place {
	_Atomic uintptr_t pc; /* 0: free */
	_Atomic uint64_t count, total_ns, longest_ns;
	_Atomic bool ready; /* what follows is there: set by who took the place */
	bool said;          /* the monitor's */
	uint32_t nr;
	int tid;
	char name[16];
	uintptr_t words[AUDIT_WORDS]; /* of the stack, from the caller's stack pointer on */
};
extern internal struct audit_place audit_places[AUDIT_PLACES];

#endif
