/* SPDX-License-Identifier: MIT
 *
 * Stack overflow: telling it from other faults, and reporting it.
 */
#ifndef OVERFLOW_H
#define OVERFLOW_H

#include <signal.h>

enum overflow_kind {
	OVERFLOW_NONE,      /* it is some other fault */
	OVERFLOW_FRAME,     /* call after call */
	OVERFLOW_BIG_FRAME, /* one frame larger than what was left */
	OVERFLOW_SIGNAL,    /* the frame of a signal handler did not fit */
};

/* In a handler of SIGSEGV or SIGBUS: has the green thread that the calling
 * worker runs run out of its stack?  Then says so on standard error.
 * Async-signal-safe. */
enum overflow_kind overflow_report(const siginfo_t *info, const void *context);

#endif
