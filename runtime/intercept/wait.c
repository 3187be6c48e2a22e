/* SPDX-License-Identifier: MIT
 *
 * Waiting as Linux does.
 */
#include "intercept/wait.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/time.h>

#define UNASKED INT64_MIN /* of io->deadline_ns */
#define VAIN_MAX 16       /* wake-ups in vain before the first rest */

_Atomic bool wait_limits_used, wait_lingers_used;

int wait_begin(struct io_call *io, const struct call *c, int fd)
{
	int r = io_call_begin(io, fd, call_pc(c));

	io->wait = wait_as_linux;
	io->deadline_ns = UNASKED;
	return r;
}

long wait_end(struct io_call *io, long r)
{
	/* As the kernel's sock_intr_errno(). */
	if (unlikely(r == IO_INTERRUPTED))
		r = io->deadline_ns == GREEN_FOREVER || io->deadline_ns == UNASKED ? CALL_RESTARTSYS
		                                                                   : -EINTR;
	io_call_end(io);
	return r;
}

bool wait_was_signalled(void)
{
	struct gt *self = gt_self();

	park_take_signal(self);
	return signal_pending(self);
}

long wait_until(struct io_call *io, short events, int64_t deadline_ns)
{
	for (;;) {
		int fd = io->fd;
		long r = io_ready_until(io, events, deadline_ns);

		/* Closed while it waited, and the number was used again. */
		if (unlikely(r == -EBADF && io->fd != fd))
			continue;
		if (unlikely(r == IO_INTERRUPTED && !wait_was_signalled()))
			continue;
		/* A wake-up for nothing that was asked for. */
		if (likely(r != 0))
			return r;
	}
}

/* Its SO_RCVTIMEO or SO_SNDTIMEO: nanoseconds, GREEN_FOREVER: none. */
static int64_t limit_of(int fd, int option)
{
	struct timeval limit;
	socklen_t size = sizeof(limit);

	if (sys5(SYS_getsockopt, fd, SOL_SOCKET, option, &limit, &size) < 0 ||
	    (limit.tv_sec == 0 && limit.tv_usec == 0))
		return GREEN_FOREVER;
	return wait_duration(&(struct timespec){ limit.tv_sec, limit.tv_usec * 1000 });
}

long wait_limit(struct io_call *io, short events)
{
	if (io->deadline_ns != UNASKED)
		return 0;
	long flags = sys2(SYS_fcntl, io->fd, F_GETFL);
	if (flags < 0)
		return flags;
	if (flags & O_NONBLOCK) {
		fd_hint_change(io->fd, 0, FD_NONBLOCK);
		return -EAGAIN;
	}
	fd_hint_change(io->fd, FD_NONBLOCK, 0);
	io->deadline_ns = GREEN_FOREVER;
	if (atomic_load_explicit(&wait_limits_used, memory_order_relaxed) &&
	    !(fd_hint(io->fd) & FD_NOT_SOCKET))
		io->deadline_ns = wait_deadline(
			limit_of(io->fd, events & POLLIN ? SO_RCVTIMEO : SO_SNDTIMEO));
	return 0;
}

long wait_as_linux(struct io_call *io, short events)
{
	bool first = io->deadline_ns == UNASKED;
	long r = wait_limit(io, events);

	/* Not tried yet, where a stream was thought to be empty (FD_DRAINED). */
	if (r == -EAGAIN && first && io->vain++ == 0 && (events & POLLIN) &&
	    (fd_hint(io->fd) & FD_DRAINED)) {
		fd_hint_change(io->fd, FD_DRAINED, 0);
		return events;
	}
	if (r < 0)
		return r;
	if (unlikely(++io->vain > VAIN_MAX) && (r = io_backoff(io)) < 0 && r != IO_INTERRUPTED)
		return r;
	r = wait_until(io, events, io->deadline_ns);
	if (unlikely(r == -ETIMEDOUT) && park_check(io->self) != -ETIMEDOUT)
		return -EAGAIN;
	return r;
}

long wait_for_time(const struct call *c, int64_t deadline_ns)
{
	struct gt *self = gt_self();

	for (;;) {
		int r = park_check(self);
		if (r == IO_INTERRUPTED && !wait_was_signalled())
			continue;
		if (r < 0)
			return r;
		if (sys.now() >= deadline_ns)
			return 0;
		struct park_ticket ticket = park_begin(self, PARK_SLEEP, NULL, call_pc(c));
		if (park_commit(ticket, 0, deadline_ns) == WAKE_NOMEM)
			return -ENOMEM;
	}
}

/* ---- time ------------------------------------------------------------------- */

int64_t wait_duration(const struct timespec *ts)
{
	if (ts->tv_sec < 0 || ts->tv_nsec < 0 || ts->tv_nsec >= GREEN_S(1))
		return -EINVAL;
	if (ts->tv_sec >= GREEN_FOREVER / GREEN_S(1) - 1)
		return GREEN_FOREVER;
	return ts->tv_sec * GREEN_S(1) + ts->tv_nsec;
}

int64_t wait_deadline(int64_t duration_ns)
{
	if (duration_ns == GREEN_FOREVER)
		return GREEN_FOREVER;
	int64_t now = sys.now();
	return duration_ns < GREEN_FOREVER - now ? now + duration_ns : GREEN_FOREVER;
}

struct timespec wait_left(int64_t deadline_ns)
{
	int64_t left = deadline_ns - sys.now();

	if (left < 0)
		left = 0;
	return (struct timespec){ left / GREEN_S(1), left % GREEN_S(1) };
}
