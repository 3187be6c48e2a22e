/* SPDX-License-Identifier: MIT
 *
 * Calls that nothing but a thread of its own can wait in: made as they are, on the
 * offload pool.
 *
 * When a signal comes for the caller the pool's thread is sent one, too, again and again
 * until it has left the call: it may be about to enter it.  That is number 32, which libc
 * keeps from programs, and which under interception no OS thread is sent by libc: its
 * pthread_cancel() means green threads.
 */
#ifndef INTERCEPT_BLOCKING_H
#define INTERCEPT_BLOCKING_H

#include "intercept/wait.h"

/* The call as it stands in nr and arg, on the pool, until a signal comes: its result,
 * IO_INTERRUPTED, -ENOMEM.  What it points to must stay. */
long blocking_call(const struct call *c);

/* The same, but that nothing ends it: for what the kernel would not let end either. */
long blocking_call_to_end(const struct call *c);

#endif
