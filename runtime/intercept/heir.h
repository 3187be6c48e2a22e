/* SPDX-License-Identifier: MIT
 *
 * A process that outlives this one for a moment, for robust mutexes in shared memory.
 *
 * When a process ends, whatever ends it, or executes another program, the kernel looks
 * through the robust lists of its threads and tells those who wait for one of these mutexes
 * in other processes.  It knows the ids of OS threads alone, and the owners' are green ones.
 * So a process that shares this one's memory, and nothing else, does it: the heir.  It reads
 * from a pipe whose other end this process has, so that it goes on when the last OS thread has
 * ended, or all but the one that executes have.
 *
 * It is there only where the program, or a library that it is loaded with, names one of the
 * functions without which nobody uses such mutexes.
 */
#ifndef INTERCEPT_HEIR_H
#define INTERCEPT_HEIR_H

#include "intercept/call.h"

/* Before the first green thread, with one OS thread of the program's: starts it, if one is
 * needed. */
void heir_start(void);

/* In a child that c has made: it keeps nobody waiting. */
void heir_forked(const struct call *c);

/* heir_x86_64.S: a process with its own descriptors, signal handlers and stack, but this
 * memory, that runs run(): its pid, or -errno. */
long heir_clone(long flags, void *stack_top, void (*run)(void));

#endif
