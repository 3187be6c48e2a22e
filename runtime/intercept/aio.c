/* SPDX-License-Identifier: MIT
 *
 * The program's own io_uring and native AIO: waiting for completions.
 *
 * A ring is a descriptor that becomes readable.  Some things about one belong to the OS
 * thread that made it, which here is any worker: a ring that only one thread may enter
 * (IORING_SETUP_SINGLE_ISSUER, and DEFER_TASKRUN, which needs it) is made without, and
 * numbers for ring descriptors that hold in one thread are refused, as by older kernels.
 */
#include "intercept/blocking.h"
#include "intercept/wait.h"

#include <errno.h>
#include <linux/aio_abi.h>
#include <linux/io_uring.h>
#include <poll.h>

#ifndef IORING_SETUP_SINGLE_ISSUER
#define IORING_SETUP_SINGLE_ISSUER (1u << 12)
#endif
#ifndef IORING_SETUP_DEFER_TASKRUN
#define IORING_SETUP_DEFER_TASKRUN (1u << 13)
#endif

#define SETUP_PER_THREAD (IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN)

/* ---- io_uring ----------------------------------------------------------------------- */

long call_io_uring_setup(struct call *c)
{
	struct io_uring_params *p = (struct io_uring_params *)c->arg[1];

	if ((uintptr_t)p < 4096 || !(p->flags & SETUP_PER_THREAD))
		return CALL_PASS;
	unsigned given = p->flags;
	p->flags &= ~SETUP_PER_THREAD;
	/* TASKRUN_FLAG asks for one of two. */
	if (p->flags & IORING_SETUP_TASKRUN_FLAG)
		p->flags |= IORING_SETUP_COOP_TASKRUN;
	long r = call_real(c);
	p->flags = given;
	return r;
}

long call_io_uring_register(struct call *c)
{
	unsigned operation = (unsigned)c->arg[1];

	if (fd_is_private((int)c->arg[0]))
		return -EBADF;
	return operation == IORING_REGISTER_RING_FDS ? -EINVAL : CALL_PASS;
}

/* Is there a completion?  The call's own answer, or -ETIME. */
static long ring_now(const struct call *c, unsigned submitted)
{
	/* To be asked for no longer than no time, which kernels from 5.11 know. */
	struct __kernel_timespec none = { 0, 0 };
	struct io_uring_getevents_arg arg = { .ts = (uintptr_t)&none };
	unsigned flags = (unsigned)c->arg[3] | IORING_ENTER_EXT_ARG | IORING_ENTER_GETEVENTS;

	long r = sys6(SYS_io_uring_enter, c->arg[0], 0, c->arg[2], flags, &arg, sizeof(arg));
	return r < 0 ? r : (long)submitted;
}

/* When the wait of the call ends by itself, and the mask that it brings. */
static long ring_limit(const struct call *c, int64_t *until)
{
	const struct io_uring_getevents_arg *arg = (const void *)c->arg[4];
	const void *mask = (const void *)c->arg[4];
	size_t mask_size = (size_t)c->arg[5];

	*until = GREEN_FOREVER;
	if (c->arg[3] & IORING_ENTER_EXT_ARG) {
		if (c->arg[5] != (long)sizeof(*arg))
			return -EINVAL;
		mask = (const void *)(uintptr_t)arg->sigmask;
		mask_size = arg->sigmask_sz;
		const struct timespec *ts = (const void *)(uintptr_t)arg->ts;
		if (ts) {
			int64_t ns = wait_duration(ts);
			*until = wait_deadline(ns < 0 ? 0 : ns);
		}
	}
	return mask ? signal_mask_for_call(mask, mask_size) : 0;
}

static long ring_wait(struct call *c, long submitted, int64_t until)
{
	struct io_call io;
	long r;

	/* Readiness says of one only, and so does the kernel when the time is over. */
	if (c->arg[2] > 1) {
		long to_submit = c->arg[1];
		c->arg[1] = 0;
		r = blocking_call(c);
		c->arg[1] = to_submit;
		if (r == IO_INTERRUPTED)
			r = -EINTR;
		return submitted ? submitted : r;
	}
	for (;;) {
		r = ring_now(c, (unsigned)submitted);
		if (r != -ETIME)
			return r;
		if (until <= sys.now())
			return submitted ? submitted : -ETIME;
		wait_begin(&io, c, (int)c->arg[0]);
		r = wait_until(&io, POLLIN, until);
		io_call_end(&io);
		if (r == IO_INTERRUPTED)
			return submitted ? submitted : -EINTR;
		if (r < 0 && r != -ETIMEDOUT)
			return r;
	}
}

long call_io_uring_enter(struct call *c)
{
	unsigned flags = (unsigned)c->arg[3];
	int64_t until;
	long submitted = 0;

	if (fd_is_private((int)c->arg[0]))
		return -EBADF;
	if (!(flags & IORING_ENTER_GETEVENTS) || c->arg[2] == 0 ||
	    (flags & IORING_ENTER_REGISTERED_RING))
		return CALL_PASS;
	if (c->arg[1]) {
		submitted = sys6(SYS_io_uring_enter, c->arg[0], c->arg[1], 0,
		                 flags & ~(IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG), NULL, 0);
		if (submitted < 0 || submitted < c->arg[1])
			return submitted;
	}
	long r = ring_limit(c, &until);
	return r < 0 ? r : ring_wait(c, submitted, until);
}

/* ---- native AIO ------------------------------------------------------------------------ */

/* What is there now is taken at once; for the rest of a minimum a thread of the pool waits,
 * since no descriptor tells. */
static long events_of(struct call *c)
{
	static const struct timespec none;
	long least = c->arg[1], most = c->arg[2];
	struct io_event *events = (struct io_event *)c->arg[3];
	const struct timespec *limit = (const struct timespec *)c->arg[4];

	if (least <= 0 || (limit && !limit->tv_sec && !limit->tv_nsec))
		return CALL_PASS;
	long got = sys6(c->nr, c->arg[0], 0, most, events, &none, NULL);
	if (got < 0 || got >= least)
		return got;
	c->arg[1] = least - got;
	c->arg[2] = most - got;
	c->arg[3] = (long)(events + got);
	long r = blocking_call(c);
	c->arg[1] = least;
	c->arg[2] = most;
	c->arg[3] = (long)events;
	if (r == IO_INTERRUPTED)
		r = -EINTR;
	return got > 0 ? got + (r > 0 ? r : 0) : r;
}

long call_io_getevents(struct call *c)
{
	return events_of(c);
}

struct aio_mask { /* of io_pgetevents(2) */
	const void *mask;
	size_t size;
};

long call_io_pgetevents(struct call *c)
{
	const struct aio_mask *mask = (const struct aio_mask *)c->arg[5];

	if (mask && mask->mask) {
		long r = signal_mask_for_call(mask->mask, mask->size);
		if (r < 0)
			return r;
		c->arg[5] = 0;
	}
	return events_of(c);
}
