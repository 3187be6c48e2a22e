/* SPDX-License-Identifier: MIT
 *
 * Locks of files, System V semaphores and message queues, POSIX message queues: tried
 * without waiting, else made on the offload pool.
 */
#include "intercept/blocking.h"
#include "intercept/wait.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/ipc.h>
#include <sys/sem.h>

static inline long restart(long r, long code)
{
	return r == IO_INTERRUPTED ? code : r;
}

/* ---- files ------------------------------------------------------------------------ */

long call_flock(struct call *c)
{
	int fd = (int)c->arg[0], operation = (int)c->arg[1];

	if (fd_is_private(fd))
		return -EBADF;
	long r = sys2(SYS_flock, fd, operation | LOCK_NB);
	if (r != -EAGAIN || (operation & LOCK_NB))
		return r;
	return restart(blocking_call(c), CALL_RESTARTSYS);
}

/* F_SETLKW and F_OFD_SETLKW, which fast_fcntl() leaves over. */
long call_fcntl(struct call *c)
{
	int try = c->arg[1] == F_SETLKW ? F_SETLK : F_OFD_SETLK;

	long r = sys3(SYS_fcntl, c->arg[0], try, c->arg[2]);
	if (r != -EAGAIN && r != -EACCES)
		return r;
	return restart(blocking_call(c), CALL_RESTARTSYS);
}

/* ---- System V --------------------------------------------------------------------- */

long call_msgsnd(struct call *c)
{
	long r = sys4(SYS_msgsnd, c->arg[0], c->arg[1], c->arg[2], c->arg[3] | IPC_NOWAIT);

	if (r != -EAGAIN || (c->arg[3] & IPC_NOWAIT))
		return r;
	return restart(blocking_call(c), CALL_RESTARTNOHAND);
}

long call_msgrcv(struct call *c)
{
	long r = sys5(SYS_msgrcv, c->arg[0], c->arg[1], c->arg[2], c->arg[3],
	              c->arg[4] | IPC_NOWAIT);

	if (r != -ENOMSG || (c->arg[4] & IPC_NOWAIT))
		return r;
	return restart(blocking_call(c), CALL_RESTARTNOHAND);
}

static long semaphore(struct call *c)
{
	static const struct timespec none;

	/* EAGAIN is also what IPC_NOWAIT says: then it says so again. */
	long r = sys4(SYS_semtimedop, c->arg[0], c->arg[1], c->arg[2], &none);
	if (r != -EAGAIN)
		return r;
	return restart(blocking_call(c), -EINTR);
}

long call_semop(struct call *c)
{
	return semaphore(c);
}

long call_semtimedop(struct call *c)
{
	return semaphore(c);
}

/* ---- POSIX message queues ------------------------------------------------------------ */

/* A queue's descriptor can be waited for, and a moment that has passed makes the call one
 * that does not wait.  c->arg[4]: the moment, of CLOCK_REALTIME. */
static long queue_call(struct call *c, short events)
{
	const struct timespec past = { 0, 0 }, *limit = (const struct timespec *)c->arg[4];
	struct io_call io;

	if (limit && wait_duration(limit) < 0)
		return -EINVAL;
	long r = wait_begin(&io, c, (int)c->arg[0]);
	if (r < 0)
		return r;
	for (;;) {
		r = sys5(c->nr, io.fd, c->arg[1], c->arg[2], c->arg[3], &past);
		if (r != -ETIMEDOUT)
			break;
		struct timespec now;
		clock_gettime(CLOCK_REALTIME, &now);
		int64_t left = limit ? wait_duration(limit) - wait_duration(&now) : GREEN_FOREVER;
		if (left <= 0)
			break;
		/* Looked at again at least once a second: that clock can be set. */
		if (limit && left > GREEN_S(1))
			left = GREEN_S(1);
		r = wait_until(&io, events, wait_deadline(left));
		if (r < 0 && r != -ETIMEDOUT)
			break;
		if (r == -ETIMEDOUT && park_check(io.self) == -ETIMEDOUT)
			break;
	}
	return wait_end(&io, r);
}

long call_mq_timedsend(struct call *c)
{
	return queue_call(c, POLLOUT);
}

long call_mq_timedreceive(struct call *c)
{
	return queue_call(c, POLLIN);
}
