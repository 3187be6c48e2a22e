/* SPDX-License-Identifier: MIT
 *
 * The sweeper: finds green threads that have been parked for long, and has
 * their stacks hibernated (stacks/hibernate.h).
 *
 * A parked thread and its waker meet in the park word.  The sweeper
 *  1 makes the slot SWEEPING,
 *  2 sets ASLEEP in the park word by a compare-and-swap that fails when the
 *    wait has been claimed, and then undoes 1.
 * A waker that claims after 2 hands on, with the claim, that ASLEEP is set; so
 * the worker that is about to switch to the thread sees it by a plain load, and
 * calls sweep_rouse(), which waits for the sweep and restores.  A waker that
 * claims before 2 makes 2 fail.  Parking, waking and yielding cost nothing more
 * than that load.
 *
 * How long a thread must have been parked is an option, or its own attribute;
 * while memory is short, a 64th of that.  Where neither says, it is a second, from a
 * thousand stacks on, and longer while many come back soon.
 */
#ifndef SWEEP_H
#define SWEEP_H

#include "gt.h"

/* The monitor: sweeps for a few milliseconds if it is time; returns when to come
 * again at the latest (INT64_MAX: never). */
int64_t sweep_some(int64_t now);
void sweep_reset(void);

/* A time in six bits, for a thread's kind; 0 is "as the options say". */
uint8_t sweep_patience(int64_t after_ns);

/* May so many threads be alive, as far as memory for stacks goes?  Any thread. */
bool sweep_admits(uint64_t alive);

/* Makes the stack of a thread that is about to run resident. */
void sweep_rouse(struct gt *gt);

#endif
