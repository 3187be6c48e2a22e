/* SPDX-License-Identifier: MIT
 *
 * Processes that the program makes (process.c, fast_process.c).
 *
 * A child forked once there are threads goes on as the one thread that called fork(2), and
 * natively: no worker, no engine, every call the kernel's, the program's own actions and mask in
 * force.  So it may do what a child of a threaded program may – execute, exit, become a daemon –
 * and more: threads that it makes are OS threads.
 */
#ifndef INTERCEPT_PROCESS_H
#define INTERCEPT_PROCESS_H

#include "intercept/call.h"

/* Makes the process that c asks for: what fork(2) returns, in both. */
long process_fork(struct call *c);

struct thread;

/* fast_sched.c: the calling OS thread may run where t may, as a process that it makes or
 * becomes then may; and afterwards where its worker may again. */
void cpus_of_thread(const struct thread *t);
void cpus_of_worker(const struct thread *t);

#endif
