/* SPDX-License-Identifier: MIT
 *
 * Preemption: a green thread that has run for PREEMPT_NS while others wait, for its worker or
 * for their turn on another one, is made to yield.
 *
 * The monitor kicks the worker; the handler sends what it interrupted to the landing
 * (landing.h), and the landing yields.  What was inside the runtime, or in a system call,
 * yields when it leaves that: the entry looks at gt.look last.  Threads have
 * their whole state to themselves there: registers in the frame, thread-local storage of
 * their own.  On by default under interception, off by GREEN_PREEMPT=0.
 */
#ifndef INTERCEPT_PREEMPT_H
#define INTERCEPT_PREEMPT_H

/* Reads GREEN_PREEMPT.  0, or -EINVAL with error_set(). */
int preempt_options(void);
/* Before the monitor starts. */
void preempt_start(void);
/* In the landing, and on the way out of a call: yields if the monitor wants that. */
void preempt_if_asked(void);

#endif
