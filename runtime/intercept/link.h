/* SPDX-License-Identifier: MIT
 *
 * Link mode: a program that links libgreen asks for interception (green_intercept.h).
 *
 * Its green threads get TLS blocks of their own, for code that keeps state there.  Only
 * libc can make one that all of libc knows (destructors, dlopen, malloc's caches), and
 * does so in pthread_create(3).  So a green thread starts on a stack of the arena, where
 * it calls that; the clone3(2) in there makes no new thread, but keeps the context that
 * one would have started with; back from libc the green thread goes on as that
 * (spawn_move()).  It is one of libc's threads from then on, with tid and all, and ends as
 * they do.  Until then it uses its worker's TLS block, one at a time (worker.makes_tls).
 *
 * Handlers of signals are the OS threads', as without interception: one may interrupt the
 * runtime anywhere, so it runs without a worker, its calls pass through.
 *
 * Unlike under greenrun there are OS threads that run the program's code: its own, the
 * offload pool's, those of handlers and of green_blocking_begin().  They wait for a futex
 * in the kernel, and green threads that wake one ask there, too.  What they wake is looked
 * for in the table as well, where their calls are seen: with rewritten code all are, with
 * dispatch alone those of the thread that called green_intercept(), of workers, of the
 * offload pool and of handlers.  In a handler, which may have interrupted somebody who holds a lock
 * of the table, the address is only noted (link_wake()); the monitor, an OS thread, looks there.
 */
#ifndef INTERCEPT_LINK_H
#define INTERCEPT_LINK_H

#include "intercept/call.h"

struct gt;
struct worker;

/* Link mode is on.  Written once. */
extern internal bool link_on;

/* ---- fast_link.c: called in the fast stage, too --------------------------------- */

call_fn fast_link_sigprocmask, fast_link_clone, fast_link_clone3;
call_fn fast_link_tkill, fast_link_tgkill, fast_link_tgsigqueueinfo;
/* rt_sigaction(2), of any OS thread. */
call_fn fast_link_sigaction;
/* What is installed for a signal already. */
void link_wrap_handlers(void);
/* The calling OS thread runs a handler of the program's. */
bool link_in_handler(void);

/* No code has been rewritten. */
extern internal bool link_by_dispatch;
/* The calling OS thread's calls are to be seen, though it is no worker. */
int link_arm(void);

/* Masks are the OS threads', but a green thread finds its own again after each switch:
 * libc blocks all signals while it makes or ends a thread. */
void link_learn_mask(struct worker *w);
void link_switch_mask(struct worker *w, const struct gt *to);

/* pthread_create(3) makes green threads. */
extern internal bool link_threads;

#define LINK_RANGES 512
struct link_range {
	uintptr_t start, end;
	bool exempt, libc;
};
/* Text of all objects there were when a library was exempted, by address (link_exempt.c). */
extern internal struct link_range link_ranges[LINK_RANGES];
extern internal unsigned link_ranges_count; /* 0: nothing is exempt */
/* Was it made by a library that is exempt? */
bool link_is_exempt(const struct call *c);

/* ---- link_wake.c: the full stage --------------------------------------------------- */

/* futex(2) of an OS thread that may wake green threads; also without link mode. */
long link_wake(struct call *c);
void link_wake_start(void);

#endif
