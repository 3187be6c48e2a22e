/* SPDX-License-Identifier: MIT
 *
 * close(2) and its like: they do not end what waits on a descriptor, and leave the
 * runtime's own alone.  What the program does not know of is not there: EBADF.
 */
#include "intercept/blocking.h"
#include "intercept/thread_name.h"
#include "intercept/wait.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <sys/resource.h>
#include <sys/socket.h>

#define PRIVATE_TOP 16384u /* none of the runtime's own is above (fdtab.c) */

/* May close(2) wait (SO_LINGER)? */
static bool lingers(int fd)
{
	struct linger linger;
	socklen_t size = sizeof(linger);

	return atomic_load_explicit(&wait_lingers_used, memory_order_relaxed) &&
	       sys5(SYS_getsockopt, fd, SOL_SOCKET, SO_LINGER, &linger, &size) == 0 &&
	       linger.l_onoff && linger.l_linger > 0;
}

long call_close(struct call *c)
{
	int fd = (int)c->arg[0];

	if (fd_is_private(fd))
		return -EBADF;
	thread_name_close(fd);
	fd_keep(fd);
	return lingers(fd) ? blocking_call_to_end(c) : CALL_PASS;
}

/* The descriptor that is replaced. */
static long replace(int from, int to)
{
	if (fd_is_private(from))
		return -EBADF;
	/* dup2(2) says so when it meets an open(2) in progress: nothing else can be said
	 * of a number that is taken for good. */
	if (fd_is_private(to))
		return -EBUSY;
	if (from != to)
		fd_keep(to);
	return CALL_PASS;
}

long call_dup2(struct call *c)
{
	return replace((int)c->arg[0], (int)c->arg[1]);
}

long call_dup3(struct call *c)
{
	return replace((int)c->arg[0], (int)c->arg[1]);
}

/* ---- ranges ------------------------------------------------------------------------- */

/* The end of the stretch from first on that has none of the runtime's own. */
static unsigned stretch_end(unsigned first, unsigned last)
{
	while (first < last && !fd_is_private((int)first + 1))
		first++;
	return first;
}

/* Descriptors above these are neither open nor the runtime's. */
static unsigned descriptors_known(void)
{
	struct rlimit limit;
	uint64_t most = PRIVATE_TOP;

	if (sys4(SYS_prlimit64, 0, RLIMIT_NOFILE, NULL, &limit) < 0 || limit.rlim_cur > fdtab_size)
		return fdtab_size;
	if (most < limit.rlim_cur)
		most = limit.rlim_cur;
	return most < fdtab_size ? (unsigned)most : fdtab_size;
}

/* What waits there goes on with duplicates, which are the runtime's own: so before it is
 * seen which those are. */
static void keep_waited(unsigned first, unsigned last)
{
	for (unsigned fd = first; fd <= last; fd++)
		if (!fd_is_private((int)fd) && (fd_hint((int)fd) || fd_is_waited((int)fd)))
			fd_keep((int)fd);
}

long call_close_range(struct call *c)
{
	unsigned first = (unsigned)c->arg[0], last = (unsigned)c->arg[1];
	unsigned flags = (unsigned)c->arg[2];

	if (first > last || (flags & ~(unsigned)(CLOSE_RANGE_UNSHARE | CLOSE_RANGE_CLOEXEC)))
		return CALL_PASS; /* EINVAL */
	/* A table of its own for this thread alone, which it shares with its worker: what
	 * the program wants of that, before exec, is that the rest is closed. */
	flags &= ~(unsigned)CLOSE_RANGE_UNSHARE;
	unsigned known = descriptors_known();
	if (!(flags & CLOSE_RANGE_CLOEXEC))
		keep_waited(first, last < known ? last : known - 1);
	for (unsigned fd = first; fd <= last && fd < known;) {
		if (fd_is_private((int)fd)) {
			fd++;
			continue;
		}
		unsigned end = stretch_end(fd, last < known ? last : known - 1);
		long r = sys3(SYS_close_range, fd, end, flags);
		if (r < 0)
			return r;
		fd = end + 1;
	}
	if (last < known)
		return 0;
	return sys3(SYS_close_range, first > known ? first : known, last, flags);
}
