/* SPDX-License-Identifier: MIT
 *
 * The offload pool: OS threads for what can only block.
 *
 * Elastic: a job that finds no idle thread starts one, up to
 * options.offload_max; a thread without work for OFFLOAD_IDLE_NS ends.  Jobs
 * start in the order they came.  The threads block all signals.
 */
#ifndef OFFLOAD_H
#define OFFLOAD_H

#include "arch/cpu.h"
#include "green.h"

#include <stdatomic.h>

#define OFFLOAD_IDLE_NS GREEN_S(5)

/* green_offload() for a green thread.  abandon, unless NULL, is called once
 * with arg when the caller is cancelled or its deadline passes while fn runs:
 * it makes fn end soon; the result is then -ECANCELED or -ETIMEDOUT.  fn and
 * abandon may run at the same time. */
int offload_run(green_fn fn, void *arg, void **result, void (*abandon)(void *arg), void *pc);

/* The same, but that nothing ends the wait, not even before it begins. */
int offload_to_end(green_fn fn, void *arg, void *pc);

/* As green_offload(), but does not wait for fn when the caller is cancelled or
 * its deadline passes: -ECANCELED or -ETIMEDOUT at once, and release(arg) is
 * called after fn, on the pool's thread.  With every other result, -errno of a
 * job that never began included, arg is the caller's again: *left says which.
 * Nothing of arg may lie on a stack. */
int offload_leave(green_fn fn, void *arg, void (*release)(void *arg), bool *left, void *pc);

/* For what ends soon by itself, as a disk's answer: done right here where no thread is idle
 * to take it and the caller may hold what starting one needs (starter.h).  Else as
 * offload_to_end(), or where it is not shielded as offload_run(). */
int offload_brief(green_fn fn, void *arg, bool shielded, void *pc);

/* It has had threads in this process. */
extern internal _Atomic bool offload_used;

/* What each of its threads, and the starter, does first.  NULL: nothing. */
extern internal void (*offload_start_hook)(void);

/* On the starter: makes the threads that only an OS thread can make.  False: one is left
 * that could not be made. */
bool offload_grow(void);

/* Ends the pool's threads, but for those with a job that was left alone: these end
 * after it.  No other job may be there.  OS thread, no green thread runs. */
void offload_stop(void);

/* Threads there are now, for tests and reports. */
unsigned offload_threads(void);

#endif
