/* SPDX-License-Identifier: MIT
 *
 * Faults: SIGSEGV and SIGBUS.  A green thread that runs out of its stack is
 * reported by name; every other fault goes to whoever handled it before.
 *
 * The handler runs on an alternate stack, which each worker has: the green
 * thread's own is full.  A handler that the program installs after green_init()
 * replaces this one; overflows then look like any fault, and kill the process
 * without a report unless that handler passes on what it does not know.
 */
#ifndef FAULT_H
#define FAULT_H

#include <signal.h>
#include <stdbool.h>

struct worker;

/* Installs the handlers, keeping what was there.  0 or -errno. */
int fault_init(void);
/* Puts back what was there, where the handler still is ours. */
void fault_fini(void);

/* Interception's: asked before a fault is passed on; true: it has seen to it. */
extern __attribute__((visibility("hidden"))) bool (*fault_hook)(int sig, siginfo_t *info,
                                                                void *context);

/* The alternate signal stack of the calling OS thread, which is w's.  0 or
 * -errno.  stop puts back the one it had before. */
int fault_worker_start(struct worker *w);
void fault_worker_stop(struct worker *w);

#endif
