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

#ifdef __cplusplus
extern "C" {
#endif

/* Makes the calling OS thread worker 0, starts the others and interception, and returns
 * as a green thread, on the same stack.  Ends with the process.  For libgreenrun.so,
 * which calls it before the program's own code.
 *
 * Options come from the environment (GREEN_*).  0; -EALREADY; -ENOTSUP where the CPU or
 * the build cannot, or what green_init() and green_run() return; green_error() says why. */
int green_intercept_start(void);

#ifdef __cplusplus
}
#endif

#endif
