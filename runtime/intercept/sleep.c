/* SPDX-License-Identifier: MIT
 *
 * nanosleep(2) and clock_nanosleep(2).
 *
 * A worker's timers run on CLOCK_MONOTONIC.  A moment of a clock that can be set is
 * waited for by a timer descriptor of that clock, which follows it.
 *
 * c->result holds the end of a sleep that is made again after a signal that nobody has
 * handled; 0 the first time (fast_nanosleep()).
 */
#include "intercept/blocking.h"
#include "intercept/wait.h"

#include <errno.h>
#include <poll.h>
#include <sys/timerfd.h>

/* Natively a sleep of any time, 0 too, lets others run, and takes 50 us.  So who polls by it
 * shall not find it over before anybody else has had a turn. */
#define SLEEP_MIN_NS GREEN_US(1)

static long sleep_for(struct call *c, const struct timespec *request, struct timespec *rest)
{
	int64_t until = c->result;

	if (until == 0) {
		int64_t ns = wait_duration(request);
		if (ns < 0)
			return ns;
		until = wait_deadline(ns < SLEEP_MIN_NS ? SLEEP_MIN_NS : ns);
	}
	long r = wait_for_time(c, until);
	if (r != IO_INTERRUPTED)
		return r;
	c->result = until;
	if (rest)
		*rest = wait_left(until);
	return CALL_RESTART_BLOCK;
}

long call_nanosleep(struct call *c)
{
	return sleep_for(c, (const struct timespec *)c->arg[0], (struct timespec *)c->arg[1]);
}

/* ---- moments -------------------------------------------------------------------- */

static long wait_on_timer(const struct call *c, int fd, const struct timespec *moment)
{
	struct itimerspec when = { .it_value = *moment };
	struct io_call io;

	/* 0 would disarm it, and is over. */
	if (!moment->tv_sec && !moment->tv_nsec)
		return 0;
	long r = sys4(SYS_timerfd_settime, fd, TFD_TIMER_ABSTIME, &when, NULL);
	if (r < 0)
		return r;
	wait_begin(&io, c, -1);
	io.fd = fd;
	io.generation = fd_generation(fd);
	r = wait_until(&io, POLLIN, GREEN_FOREVER);
	io_call_end(&io);
	return r < 0 ? r : 0;
}

static long sleep_until_moment(struct call *c, int clock, const struct timespec *moment)
{
	int64_t ns = wait_duration(moment);

	if (ns < 0)
		return ns;
	long r;
	if (clock == CLOCK_MONOTONIC) {
		r = wait_for_time(c, ns);
	} else {
		int fd = fd_private(
			(int)sys2(SYS_timerfd_create, clock, TFD_CLOEXEC | TFD_NONBLOCK));
		if (fd < 0)
			return blocking_call(c);
		r = wait_on_timer(c, fd, moment);
		fd_private_close(fd);
	}
	return r == IO_INTERRUPTED ? CALL_RESTARTNOHAND : r;
}

long call_clock_nanosleep(struct call *c)
{
	int clock = (int)c->arg[0], flags = (int)c->arg[1];
	const struct timespec *request = (const struct timespec *)c->arg[2];
	bool known = clock == CLOCK_REALTIME || clock == CLOCK_MONOTONIC || clock == CLOCK_BOOTTIME;

	if (!known) {
		long r = blocking_call(c);
		return r == IO_INTERRUPTED ? -EINTR : r;
	}
	if (flags & TIMER_ABSTIME)
		return sleep_until_moment(c, clock, request);
	return sleep_for(c, request, (struct timespec *)c->arg[3]);
}
