/* SPDX-License-Identifier: MIT
 *
 * The engine seam: what completes I/O.  io_uring and epoll are peers behind
 * it, with the same tests.  Each worker has an instance of its own; all calls
 * but doorbell() are made by the worker itself.
 */
#ifndef ENGINE_H
#define ENGINE_H

#include "io_op.h"

#include <stdbool.h>
#include <stdint.h>

struct engine_ops {
	const char *name; /* as in green_info() */

	/* Can this machine do it?  0 or -errno, reason text in why.  Called once,
	 * before any worker exists, on the thread that calls green_init(). */
	int (*probe)(char *why, size_t size);

	/* Makes the instance of w (w->engine).  On w's own OS thread. 0, -errno. */
	int (*start)(struct worker *w);
	void (*stop)(struct worker *w); /* nothing is in flight */

	/* Starts an operation (green stack or scheduler context).  It may be
	 * batched until the next poll().  op->worker is set by the caller.
	 * 0: complete() will be called once, never from within submit.
	 * -EOPNOTSUPP: this engine cannot do that kind.  Other -errno: not
	 * started. */
	int (*submit)(struct worker *w, struct io_op *op);

	/* Asks for an early end of an operation in flight: it completes soon with
	 * -ECANCELED, or with its result if that came first.  May be called more
	 * than once, and after completion has been reaped but not yet seen. */
	void (*cancel)(struct worker *w, struct io_op *op);

	/* Hands batched operations to the kernel and calls complete() for what
	 * has finished.  wait_ns == 0: does not sleep; > 0: sleeps until a
	 * completion, a doorbell or that time; < 0: without end.  Scheduler
	 * context only.  Returns completions seen, or -errno of a failure that
	 * the caller cannot go on from. */
	int (*poll)(struct worker *w, int64_t wait_ns);

	/* Would poll(w, 0) have work?  With io_uring a few loads; epoll has to ask
	 * the kernel, which it does only while operations wait. */
	bool (*busy)(struct worker *w);

	/* Ends a sleep of w in poll(), or the next one.  Any OS thread; no lock. */
	void (*doorbell)(struct worker *w);
};

extern const struct engine_ops engine_uring, engine_epoll;

/* Sets rt.engine by rt.options, and rt.engine_reason; -errno with error_set(). */
int engine_choose(void);

/* The workers could not start, by error: true if they shall try again with epoll.
 * Rings are made when workers start, and count against a limit of the user
 * (uring_setup.c): the probe may have had what they have not. */
bool engine_fall_back(int error);

/* GREEN_DEBUG=engine: writes which one, and why not the other. */
void engine_report(void);

#endif
