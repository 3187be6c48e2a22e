/* SPDX-License-Identifier: MIT
 *
 * Pipes that know no RWF_NOWAIT.
 *
 * Not to wait is then a property of the open file description, and that of the
 * program's descriptor is not ours to change: other processes share it.  So an
 * attempt is made with a description of its own, which /proc can open for the
 * same pipe.  Without /proc, or where its permissions have changed, a write
 * goes to the engine in pieces that a ready pipe takes without waiting, so that
 * a call in progress holds up neither a cancel nor a deadline.
 */
#include "io_pipe.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>

/* Not snprintf(), which may use thread-local data. */
static void path_of(int fd, char path[32])
{
	static const char directory[] = "/proc/self/fd/";
	char digits[12];
	unsigned n = sizeof(digits);

	digits[--n] = 0;
	do
		digits[--n] = (char)('0' + fd % 10);
	while ((fd /= 10) > 0);
	memcpy(path, directory, sizeof(directory) - 1);
	memcpy(path + sizeof(directory) - 1, digits + n, sizeof(digits) - n);
}

long io_pipe_try(int fd, long flags, bool write, const struct iovec *iov, int count)
{
	char path[32];

	/* Packets (O_DIRECT) are made by who writes. */
	long mode = (write ? O_WRONLY | (flags & O_DIRECT) : O_RDONLY) | O_NONBLOCK | O_CLOEXEC;
	path_of(fd, path);
	long own = sys4(SYS_openat, AT_FDCWD, path, mode, 0);
	if (own < 0)
		return IO_CANNOT_TRY;
	long r = sys3(write ? SYS_writev : SYS_readv, own, iov, count);
	sys1(SYS_close, own);
	return r;
}

const struct iovec *io_pipe_piece(const struct iovec *iov, int *count, size_t left,
                                  struct iovec *piece)
{
	if (left <= PIPE_BUF)
		return iov;
	while (iov->iov_len == 0)
		iov++;
	*piece = *iov;
	if (piece->iov_len > PIPE_BUF)
		piece->iov_len = PIPE_BUF;
	*count = 1;
	return piece;
}
