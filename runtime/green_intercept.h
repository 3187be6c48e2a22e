/* SPDX-License-Identifier: MIT
 *
 * libgreen: code that never heard of green threads, on green threads.
 *
 * With interception on, the process's system calls pass the runtime first: threads that
 * pthread_create(3) makes are green threads, and calls that would block park one instead.
 * x86-64 only.  Included by green.h.
 */
#ifndef GREEN_INTERCEPT_H
#define GREEN_INTERCEPT_H

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Makes the calling OS thread worker 0, starts the others and interception, and returns
 * as a green thread, on the same stack.  Ends with the process.  For libgreenrun.so,
 * which calls it before the program's first thread is made.
 *
 * Options come from the environment (GREEN_*).  0; -EALREADY; -EPERM on any thread but the
 * process's first; -ENOTSUP where the CPU or the build cannot, or what green_init() and
 * green_run() return; green_error() says why. */
int green_intercept_start(void);

/* What interception rests on, for reports. */
struct green_intercept_info {
	bool on;             /* system calls are intercepted */
	bool dispatch;       /* by Syscall User Dispatch, too: those of all code */
	unsigned sites;      /* system calls that were rewritten, in libc and beside it */
	unsigned sites_left; /* for which there was no room */
	uint64_t dispatched; /* calls that only dispatch saw, so far */
	char text[256];      /* the same in words, with the reason where something is off */
};
/* 0, or -ENOTSUP in a build that cannot intercept.  Does not switch; anywhere but in a
 * signal handler. */
int green_intercept_info(struct green_intercept_info *info);

#ifdef __cplusplus
}
#endif

#endif
