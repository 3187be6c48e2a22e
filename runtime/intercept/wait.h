/* SPDX-License-Identifier: MIT
 *
 * How emulated calls wait: as Linux does, where the calls of green_io.h do not.
 *
 * An emulated call is tried without blocking, by a flag of that one call where there is
 * one (MSG_DONTWAIT, RWF_NOWAIT), since O_NONBLOCK belongs to whoever shares the open
 * file.  Only when it would block it is asked what the program wanted: an O_NONBLOCK
 * file answers EAGAIN, SO_RCVTIMEO and SO_SNDTIMEO bound the wait, a signal ends it.
 *
 * close(2) does not end a wait: the call has a duplicate then to go on with (fd_keep()).
 *
 * Where nothing can be tried, the blocking call itself is made on the offload pool, and
 * ended there by a signal when one comes for its thread (blocking.h).
 */
#ifndef INTERCEPT_WAIT_H
#define INTERCEPT_WAIT_H

#include "intercept/call.h"
#include "intercept/signal.h"
#include "io_wait.h"
#include "worker.h"

#include <sys/socket.h>
#include <time.h>

static inline void *call_pc(const struct call *c)
{
	return (void *)c->pc;
}

/* Begins an emulated call on fd: 0, or -EBADF for the runtime's own descriptors.  io->wait
 * is set. */
int wait_begin(struct io_call *io, const struct call *c, int fd);

/* Ends it: what the handler returns, r made into the kernel's words. */
long wait_end(struct io_call *io, long r);

/* Waits for one of events on io->fd, however the file is opened: > 0 those that are
 * there, -ETIMEDOUT when deadline_ns is over, IO_INTERRUPTED, -errno. */
long wait_until(struct io_call *io, short events, int64_t deadline_ns);

/* io->wait: the same when the file is to be waited for, until its own limit: -EAGAIN
 * when it is O_NONBLOCK, or the limit is over. */
long wait_as_linux(struct io_call *io, short events);

/* Asks for what bounds a wait for events of io->fd, once a call: -EAGAIN: O_NONBLOCK.
 * 0: io->deadline_ns is set. */
long wait_limit(struct io_call *io, short events);

/* Waits until deadline_ns passes: 0; IO_INTERRUPTED, or -errno of a scope. */
long wait_for_time(const struct call *c, int64_t deadline_ns);

/* Some socket of the process may have a limit (setsockopt(2), inherited, received). */
extern internal _Atomic bool wait_limits_used;
/* Some may linger (SO_LINGER). */
extern internal _Atomic bool wait_lingers_used;

/* Descriptors came along with a message: nobody knows what was set for them. */
static inline void wait_note_received(const struct msghdr *msg)
{
	const struct cmsghdr *head = (const struct cmsghdr *)msg->msg_control;

	if (unlikely(msg->msg_controllen >= sizeof(*head) && head->cmsg_level == SOL_SOCKET &&
	             head->cmsg_type == SCM_RIGHTS)) {
		atomic_store_explicit(&wait_limits_used, true, memory_order_relaxed);
		atomic_store_explicit(&wait_lingers_used, true, memory_order_relaxed);
	}
}

/* A wait has come back with IO_INTERRUPTED: is there a signal that the thread will act
 * on?  If not it goes on waiting. */
bool wait_was_signalled(void);

/* A timespec as a duration, in nanoseconds, at most GREEN_FOREVER; -EINVAL. */
int64_t wait_duration(const struct timespec *ts);
/* The end of a duration that begins now. */
int64_t wait_deadline(int64_t duration_ns);
/* What is left until deadline_ns, not below 0. */
struct timespec wait_left(int64_t deadline_ns);

#endif
