/* SPDX-License-Identifier: MIT
 *
 * What the program has done, and was given, before its first thread: nobody saw the calls
 * by which it did, so the kernel is asked for what there is.
 */
#ifndef INTERCEPT_BEFORE_H
#define INTERCEPT_BEFORE_H

#include "intercept/thread.h"

/* The process has other threads than the caller. */
bool before_has_threads(void);

/* The calling OS thread is the process's first: 0, and in *others whether it has more.
 * Else -EPERM, with error_set(). */
int before_look_at_threads(bool *others);

/* Descriptors whose waits have limits, or read signals; memory that other processes may
 * share.  Before there are workers. */
void before_look_at_files(void);
void before_look_at_memory(void);

/* Signals that were sent to the first thread itself and that it blocks: t, which is that
 * thread, has them from now on. */
void before_take_signals(struct thread *t);

#endif
