/* SPDX-License-Identifier: MIT
 *
 * green_open(), green_fsync() and green_close().
 */
#include "arch/compat.h"
#include "io_buffer.h"
#include "io_wait.h"
#include "offload.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/stat.h>

#ifndef RESOLVE_CACHED
#define RESOLVE_CACHED 0x20 /* Linux 5.12 */
#endif

#define CACHED_NEVER (O_CREAT | O_TRUNC | O_TMPFILE) /* -EAGAIN with RESOLVE_CACHED */

/* ---- open -------------------------------------------------------------------------- */

static long open_cached(int dirfd, const char *path, uint64_t flags)
{
	struct open_how how = { .flags = flags, .resolve = RESOLVE_CACHED };

	return sys4(SYS_openat2, dirfd, path, &how, sizeof(how));
}

/* What openat2(2) says of the path itself; of the rest it is stricter than
 * openat(2), or unknown to the kernel or a seccomp filter. */
static bool is_final(long r)
{
	switch (-r) {
	case ENOENT:
	case EACCES:
	case ENOTDIR:
	case EISDIR:
	case ELOOP:
	case ENAMETOOLONG:
	case EBADF:
	case EFAULT:
	case EMFILE:
	case ENFILE:
		return true;
	default:
		return r >= 0;
	}
}

/* Opens what the kernel has in memory, on the spot; -EAGAIN: find another way.
 * A FIFO or a device may make open(2) wait, and opening one twice can be
 * noticed, so O_PATH is used to look before. */
static long open_quickly(int dirfd, const char *path, int flags)
{
	struct stat st;

	if (flags & (CACHED_NEVER & ~O_DIRECTORY))
		return -EAGAIN;
	if (!(flags & (O_PATH | O_NONBLOCK | O_DIRECTORY))) {
		long look = open_cached(dirfd, path,
		                        O_PATH | O_CLOEXEC | (uint64_t)(flags & O_NOFOLLOW));
		if (look < 0)
			return is_final(look) ? look : -EAGAIN;
		long r = sys2(SYS_fstat, look, &st);
		sys1(SYS_close, look);
		if (r < 0 || !(S_ISREG(st.st_mode) || S_ISDIR(st.st_mode)))
			return -EAGAIN;
	}
	long fd = open_cached(dirfd, path, (uint64_t)(uint32_t)flags);
	return is_final(fd) ? fd : -EAGAIN;
}

/* An open on the offload pool, in a buffer: the caller may give up while it
 * waits (for the other side of a FIFO, say). */
struct open_job {
	int dirfd, flags;
	mode_t mode;
	long fd;
	char path[PATH_MAX];
};
_Static_assert(sizeof(struct open_job) <= IO_BUFFER_SIZE, "a path fits");

static void *open_job_do(void *arg)
{
	struct open_job *job = arg;

	job->fd = sys4(SYS_openat, job->dirfd, job->path, job->flags, job->mode);
	return NULL;
}

static void open_job_release(void *arg)
{
	struct open_job *job = arg;

	if (job->fd >= 0)
		sys1(SYS_close, job->fd);
	io_buffer_put(job);
}

static long open_offloaded(struct io_call *call, int dirfd, const char *path, int flags,
                           mode_t mode)
{
	size_t size = strnlen(path, PATH_MAX) + 1;
	bool left;

	if (size > PATH_MAX)
		return -ENAMETOOLONG;
	struct open_job *job = io_buffer_get();
	if (!job)
		return -ENOMEM;
	job->dirfd = dirfd;
	job->flags = flags;
	job->mode = mode;
	memcpy(job->path, path, size);
	long r = offload_leave(open_job_do, job, open_job_release, &left, call->pc);
	if (left)
		return r;
	if (r == 0)
		r = job->fd;
	else if (r == -EAGAIN) /* no thread */
		r = -ENOMEM;
	io_buffer_put(job);
	return r;
}

static int open_at(int dirfd, const char *path, int flags, mode_t mode, void *pc)
{
	struct io_call call;
	long fd;

	io_call_begin(&call, -1, pc);
	if (fd_is_private(dirfd))
		return -EBADF;
	if ((fd = io_lend(&call, path)) < 0)
		return (int)fd;
	if (call.self) {
		fd = open_quickly(dirfd, path, flags);
		if (fd == -EAGAIN)
			fd = open_offloaded(&call, dirfd, path, flags, mode);
	} else {
		do
			fd = sys4(SYS_openat, dirfd, path, flags, mode);
		while (fd == -EINTR);
	}
	io_call_end(&call);
	if (fd >= 0)
		fd_made((int)fd, FD_NOT_SOCKET);
	return (int)fd;
}

int green_open(const char *path, int flags, mode_t mode)
{
	return open_at(AT_FDCWD, path, flags, mode, PARK_PC);
}

int green_openat(int dirfd, const char *path, int flags, mode_t mode)
{
	return open_at(dirfd, path, flags, mode, PARK_PC);
}

/* ---- fsync ------------------------------------------------------------------------- */

static int sync_file(int fd, bool data_only, void *pc)
{
	struct io_call call;
	long r;

	r = io_call_begin(&call, fd, pc);
	if (r < 0)
		return (int)r;
	if (call.self) {
		struct io_op *op = io_op_for(&call, IO_FSYNC);
		if (!op)
			return -ENOMEM;
		op->events = data_only; /* IORING_FSYNC_DATASYNC */
		return (int)io_perform(&call, op);
	}
	do
		r = sys1(data_only ? SYS_fdatasync : SYS_fsync, fd);
	while (r == -EINTR);
	return (int)r;
}

int green_fsync(int fd)
{
	return sync_file(fd, false, PARK_PC);
}

int green_fdatasync(int fd)
{
	return sync_file(fd, true, PARK_PC);
}

/* ---- close ------------------------------------------------------------------------- */

int green_close(int fd)
{
	return fd_close(fd, PARK_PC);
}
