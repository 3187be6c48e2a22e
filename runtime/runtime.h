/* SPDX-License-Identifier: MIT
 *
 * Small seams of spawn.c and runtime.c.
 */
#ifndef RUNTIME_H
#define RUNTIME_H

#include <stdbool.h>

struct green_options;

/* 0 inside green_run(); -ENXIO or -EOWNERDEAD (forked child) elsewhere. */
int runtime_usable(void);

/* The calling OS thread is worker 0 from now on, in scheduler context, all workers run;
 * nobody has called green_run().  usual: what holds where the environment says nothing, unless
 * green_init() has been called.  For interception. */
int runtime_start_here(const struct green_options *usual);

/* Has somebody called green_run(), which has not returned?  Any thread. */
bool runtime_is_claimed(void);

/* Is this a forked child, in which nobody runs green threads? */
bool runtime_forked(void);

/* Stops the workers if the run is ending and nobody is alive.  Any thread. */
void runtime_check_drained(void);

/* All green threads have ended: the workers shall leave.  Any thread. */
void runtime_stop_workers(void);

/* Cancels every green thread alive, and those to come in this run. */
void runtime_cancel_all(void);

/* The run has been given up with green threads alive that can never go on: they
 * are forgotten.  No worker runs. */
void runtime_abandon(void);

/* A green thread's function returned in a forked child: says so and _exits. */
_Noreturn void fork_child_returned(void);

#endif
