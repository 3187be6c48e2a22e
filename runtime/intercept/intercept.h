/* SPDX-License-Identifier: MIT
 *
 * Switching interception on: intercept.c, and what its parts offer it.
 *
 * Start, on the program's first thread: threads_init(), workers, the first thread
 * becomes the green thread `main`, then the interceptors are armed.
 */
#ifndef INTERCEPT_INTERCEPT_H
#define INTERCEPT_INTERCEPT_H

#include "intercept/call.h"

#include <stdbool.h>

struct worker;

/* GREEN_INTERCEPT=auto|patch|dispatch|both|off */
enum intercept_mode {
	INTERCEPT_AUTO,
	INTERCEPT_PATCH,
	INTERCEPT_DISPATCH,
	INTERCEPT_BOTH,
	INTERCEPT_OFF,
};

/* dispatch.c and patch.c.  Once, with all workers running; 0 or -errno, with
 * error_set(). */
int interceptors_start(enum intercept_mode mode);
/* On each worker's own OS thread, before it runs green threads and again after a
 * fork: SUD belongs to an OS thread. */
int interceptors_arm(struct worker *w);

/* Is it on? Read by handlers of the runtime's own; written once. */
extern internal bool intercept_on;

#endif
