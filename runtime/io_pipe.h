/* SPDX-License-Identifier: MIT
 *
 * Pipes that know no RWF_NOWAIT: FIFOs, and before Linux 6.4 all of them.
 */
#ifndef IO_PIPE_H
#define IO_PIPE_H

#include "io_wait.h"

#include <sys/uio.h>

/* One attempt at fd, a pipe whose flags (F_GETFL) have no O_NONBLOCK, that does
 * not wait: bytes or -errno as readv(2) or writev(2), IO_CANNOT_TRY where there
 * is no way. */
long io_pipe_try(int fd, long flags, bool write, const struct iovec *iov, int count);

/* Shortens a write to what a pipe that is ready takes at once, unless another
 * writer was faster: returns iov, or piece with *count changed. */
const struct iovec *io_pipe_piece(const struct iovec *iov, int *count, size_t left,
                                  struct iovec *piece);

#endif
