/* SPDX-License-Identifier: MIT
 *
 * Calls on files that wait for a disk, or for the other side of a FIFO.
 */
#include "intercept/blocking.h"
#include "intercept/fs_identity.h"
#include "intercept/thread_name.h"
#include "intercept/wait.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/mman.h>
#include <sys/stat.h>

/* ---- open --------------------------------------------------------------------------- */

/* These never wait for another side. */
#define OPENS_AT_ONCE (O_NONBLOCK | O_PATH | O_DIRECTORY)

static bool is_fifo(int dirfd, const char *path, uint64_t flags)
{
	struct stat st;
	int how = flags & O_NOFOLLOW ? AT_SYMLINK_NOFOLLOW : 0;

	return sys4(SYS_newfstatat, dirfd, path, &st, how) == 0 && S_ISFIFO(st.st_mode);
}

/* Opens as the call says; on the pool when it may wait. */
static long open_file(struct call *c, int dirfd, const char *path, uint64_t flags)
{
	long fd = thread_name_open(path, flags);

	if (fd != CALL_PASS)
		return fd;
	if ((flags & OPENS_AT_ONCE) || fs_identity_is_own() || !is_fifo(dirfd, path, flags))
		return CALL_PASS;
	fd = blocking_call(c);
	return fd == IO_INTERRUPTED ? CALL_RESTARTSYS : fd;
}

long call_open(struct call *c)
{
	return open_file(c, AT_FDCWD, (const char *)c->arg[0], (uint64_t)c->arg[1]);
}

long call_creat(struct call *c)
{
	return open_file(c, AT_FDCWD, (const char *)c->arg[0], O_CREAT | O_WRONLY | O_TRUNC);
}

long call_openat(struct call *c)
{
	return open_file(c, (int)c->arg[0], (const char *)c->arg[1], (uint64_t)c->arg[2]);
}

/* Where the path may only lead to certain places nobody looks first. */
long call_openat2(struct call *c)
{
	const struct open_how *how = (const struct open_how *)c->arg[2];

	if ((uintptr_t)how < 4096 || c->arg[3] < (long)sizeof(*how) || how->resolve)
		return CALL_PASS;
	return open_file(c, (int)c->arg[0], (const char *)c->arg[1], how->flags);
}

/* ---- onto the disk -------------------------------------------------------------------- */

static long sync_file(struct call *c, bool data_only)
{
	struct io_call io;

	long r = wait_begin(&io, c, (int)c->arg[0]);
	if (r < 0)
		return r;
	io.shielded = true; /* the kernel does not let go of it either */
	struct io_op *op = io_op_for(&io, IO_FSYNC);
	if (!op)
		return -ENOMEM;
	op->events = data_only; /* IORING_FSYNC_DATASYNC */
	return wait_end(&io, io_perform(&io, op));
}

long call_fsync(struct call *c)
{
	return sync_file(c, false);
}

long call_fdatasync(struct call *c)
{
	return sync_file(c, true);
}

long call_sync(struct call *c)
{
	return blocking_call_to_end(c);
}

long call_syncfs(struct call *c)
{
	return blocking_call_to_end(c);
}

long call_sync_file_range(struct call *c)
{
	return blocking_call_to_end(c);
}

long call_msync(struct call *c)
{
	return c->arg[2] & MS_SYNC ? blocking_call_to_end(c) : CALL_PASS;
}

long call_truncate(struct call *c)
{
	(void)c;
	return CALL_PASS;
}

long call_ftruncate(struct call *c)
{
	return fd_is_private((int)c->arg[0]) ? -EBADF : CALL_PASS;
}

long call_fallocate(struct call *c)
{
	return blocking_call_to_end(c);
}
