/* SPDX-License-Identifier: MIT
 *
 * wait4(2) and waitid(2): for one child at a pidfd of it, which is a descriptor like any;
 * for any child, and for children that stop, on a thread of the offload pool.
 */
#include "intercept/blocking.h"
#include "intercept/signal.h"
#include "io_wait.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/wait.h>

/* The call without waiting; *some: it has found one, or failed. */
static long attempt(const struct call *c, bool *some)
{
	siginfo_t info;
	long r;

	if (c->nr == SYS_wait4) {
		r = sys4(SYS_wait4, c->arg[0], c->arg[1], c->arg[2] | WNOHANG, c->arg[3]);
		*some = r != 0;
		return r;
	}
	memset(&info, 0, sizeof(info));
	r = sys5(SYS_waitid, c->arg[0], c->arg[1], &info, c->arg[3] | WNOHANG, c->arg[4]);
	*some = r < 0 || info.si_pid != 0;
	if (*some && r == 0 && c->arg[2])
		memcpy((void *)c->arg[2], &info, sizeof(info));
	return r;
}

/* ---- one child ------------------------------------------------------------------- */

/* A descriptor that is readable when the one child that is waited for has ended; -1: it
 * is not for one, or not for its end. */
static long descriptor_of(const struct call *c, bool *is_ours)
{
	bool is_waitid = c->nr == SYS_waitid;
	long options = is_waitid ? c->arg[3] : c->arg[2] | WEXITED;
	long pid = is_waitid ? c->arg[1] : c->arg[0];

	*is_ours = false;
	if ((options & (WSTOPPED | WCONTINUED | WEXITED)) != WEXITED)
		return -1;
	if (is_waitid && c->arg[0] == P_PIDFD)
		return pid;
	if (is_waitid ? c->arg[0] != P_PID : (int)pid <= 0)
		return -1;
	long fd = sys2(SYS_pidfd_open, pid, 0);
	*is_ours = fd >= 0;
	return fd_private((int)fd);
}

/* Until the child has ended; -errno. */
static long await_end(const struct call *c, int fd, bool is_ours)
{
	struct io_call call;
	long r = io_call_begin(&call, is_ours ? -1 : fd, (void *)c->pc);

	if (is_ours) { /* which is none that a program may name */
		call.fd = fd;
		call.generation = fd_generation(fd);
	}
	if (r == 0)
		r = io_ready(&call, POLLIN);
	io_call_end(&call);
	return r < 0 ? r : 0;
}

/* ---- any ----------------------------------------------------------------------------- */

static long wait_for_child(struct call *c, long options)
{
	bool some, is_ours;

	if (options & WNOHANG)
		return CALL_PASS;
	for (;;) {
		long r = attempt(c, &some), fd = -1;
		if (some)
			return r;
		fd = descriptor_of(c, &is_ours);
		if (fd < 0)
			r = blocking_call(c);
		else
			r = await_end(c, (int)fd, is_ours);
		if (is_ours)
			fd_private_close((int)fd);
		if (r == IO_INTERRUPTED) {
			if (wait_was_signalled())
				return CALL_RESTARTSYS;
		} else if (r < 0 || fd < 0) {
			return r;
		}
	}
}

long call_wait4(struct call *c)
{
	return wait_for_child(c, c->arg[2]);
}

long call_waitid(struct call *c)
{
	return wait_for_child(c, c->arg[3]);
}
