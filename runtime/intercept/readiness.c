/* SPDX-License-Identifier: MIT
 *
 * poll(2), ppoll(2), and the waits for an epoll descriptor.
 *
 * An epoll descriptor is itself one that becomes readable: its waiters wait for that, and
 * take what is there by the real call, without a time.
 */
#include "intercept/wait.h"

#include <errno.h>
#include <poll.h>
#include <sys/epoll.h>

/* A look without a wait. */
static long look(struct pollfd *fds, unsigned long count)
{
	return sys3(SYS_poll, fds, count, 0);
}

/* Waits for one of them until deadline_ns: as poll(2), IO_INTERRUPTED. */
static long poll_until(const struct call *c, struct pollfd *fds, unsigned long count,
                       int64_t deadline_ns)
{
	struct io_call io;
	long r;

	wait_begin(&io, c, -1);
	do
		r = io_poll_until(&io, fds, count, deadline_ns);
	while (r == IO_INTERRUPTED && !wait_was_signalled());
	io_call_end(&io);
	return r;
}

/* Another thread's turn, for who only ever looks. */
static void let_others(const struct call *c)
{
	struct io_call io;

	wait_begin(&io, c, -1);
	io_went_on(&io);
}

long call_poll(struct call *c)
{
	struct pollfd *fds = (struct pollfd *)c->arg[0];
	unsigned long count = (unsigned long)c->arg[1];
	int timeout_ms = (int)c->arg[2];
	int64_t until = c->result > 0 ? c->result : 0; /* made again */
	bool looked = c->result == -EAGAIN;

	c->result = 0;
	if (!looked) {
		let_others(c);
		long r = look(fds, count);
		if (r != 0 || timeout_ms == 0)
			return r;
	}
	if (until == 0)
		until = timeout_ms < 0 ? GREEN_FOREVER : wait_deadline(GREEN_MS(timeout_ms));
	long r = poll_until(c, fds, count, until);
	if (r != IO_INTERRUPTED)
		return r;
	c->result = until;
	return CALL_RESTART_BLOCK;
}

/* A call that takes a timespec, which the kernel writes the rest of the time to. */
static int64_t until_of(const struct timespec *limit)
{
	if (!limit)
		return GREEN_FOREVER;
	int64_t ns = wait_duration(limit);
	return ns < 0 ? ns : wait_deadline(ns);
}

long call_ppoll(struct call *c)
{
	struct pollfd *fds = (struct pollfd *)c->arg[0];
	unsigned long count = (unsigned long)c->arg[1];
	struct timespec *limit = (struct timespec *)c->arg[2];
	int64_t until = until_of(limit);

	if (until < 0)
		return until;
	if (c->arg[3]) {
		long r = signal_mask_for_call((void *)c->arg[3], (size_t)c->arg[4]);
		if (r < 0)
			return r;
	}
	long r = look(fds, count);
	if (r == 0 && until > sys.now())
		r = poll_until(c, fds, count, until);
	else
		let_others(c);
	if (limit)
		*limit = wait_left(until);
	return r == IO_INTERRUPTED ? CALL_RESTARTNOHAND : r;
}

/* ---- epoll ---------------------------------------------------------------------- */

static long epoll_now(const struct call *c)
{
	return sys6(SYS_epoll_pwait, c->arg[0], c->arg[1], c->arg[2], 0, NULL, 0);
}

/* Waits for events of an epoll descriptor: their count or -errno. */
static long epoll_until(struct call *c, int64_t until, bool looked)
{
	struct io_call io;

	long r = wait_begin(&io, c, (int)c->arg[0]);
	if (r < 0)
		return r;
	r = looked ? 0 : epoll_now(c);
	if (r != 0 || until == 0)
		io_went_on(&io);
	while (r == 0 && until != 0) {
		r = wait_until(&io, POLLIN, until);
		if (r == -ETIMEDOUT && park_check(io.self) != -ETIMEDOUT) {
			r = epoll_now(c);
			break;
		}
		if (r < 0)
			break;
		/* Another waiter may have taken them. */
		r = sys6(SYS_epoll_pwait, io.fd, c->arg[1], c->arg[2], 0, NULL, 0);
	}
	io_call_end(&io);
	return r == IO_INTERRUPTED ? -EINTR : r;
}

static int64_t until_of_ms(long timeout)
{
	int ms = (int)timeout;

	if (ms < 0)
		return GREEN_FOREVER;
	return ms ? wait_deadline(GREEN_MS(ms)) : 0;
}

long call_epoll_wait(struct call *c)
{
	bool looked = c->result == -EAGAIN;

	c->result = 0;
	return epoll_until(c, until_of_ms(c->arg[3]), looked);
}

static long with_mask(struct call *c, int64_t until)
{
	if (c->arg[4]) {
		long r = signal_mask_for_call((void *)c->arg[4], (size_t)c->arg[5]);
		if (r < 0)
			return r;
	}
	return epoll_until(c, until, false);
}

long call_epoll_pwait(struct call *c)
{
	return with_mask(c, until_of_ms(c->arg[3]));
}

long call_epoll_pwait2(struct call *c)
{
	const struct timespec *limit = (const struct timespec *)c->arg[3];
	int64_t until = until_of(limit);

	if (until < 0)
		return until;
	if (limit && limit->tv_sec == 0 && limit->tv_nsec == 0)
		until = 0;
	return with_mask(c, until);
}
