/* SPDX-License-Identifier: MIT
 *
 * Switching interception on: intercept.c, and what its parts offer it.
 *
 * Start, on the process's first thread: threads_init(), workers, the first thread
 * becomes the green thread `main`, then the interceptors are armed.
 */
#ifndef INTERCEPT_INTERCEPT_H
#define INTERCEPT_INTERCEPT_H

#include "intercept/call.h"

#include <stdbool.h>

/* GREEN_INTERCEPT=auto|patch|dispatch|both|off */
enum intercept_mode {
	INTERCEPT_AUTO,
	INTERCEPT_PATCH,
	INTERCEPT_DISPATCH,
	INTERCEPT_BOTH,
	INTERCEPT_OFF,
};

/* 0, or -EINVAL with error_set(). */
int intercept_mode_from_environment(enum intercept_mode *mode);

/* Is it on? Read by handlers of the runtime's own; written once. */
extern internal bool intercept_on;
/* Sets it. */
void intercept_begin(void);

#endif
