/* SPDX-License-Identifier: MIT
 *
 * What memory.c (store buffers, clocks) and weave.c (schedules) ask of each other.
 */
#ifndef MEMORY_H
#define MEMORY_H

#include "weave.h"

/* Forgets everything: before each execution. */
void memory_reset(void);
/* Does this thread hold stores back?  Lets the oldest become visible. */
bool memory_pending(unsigned thread);
void memory_drain(unsigned thread);

/* False: no thread of the model runs, but setup or check. */
bool explore_running(void);
/* Before each operation: another thread may go on here. */
void explore_point(const char *what, const char *where, const volatile void *p);
/* Memory has changed. */
void explore_changed(void);
/* May one more store be held back, and shall it? */
bool explore_delays(void);

#endif
