/* SPDX-License-Identifier: MIT
 *
 * What green_read(), green_write() and their siblings do, for those who begin the call
 * in another way.
 */
#ifndef IO_TRANSFER_H
#define IO_TRANSFER_H

#include "io_wait.h"

#include <sys/uio.h>

struct io_transfer {
	const struct iovec *iov;
	int count;
	int flags;    /* RWF_*, of preadv2(2) and pwritev2(2) */
	off_t offset; /* -1: the file's own position */
	bool write;
	bool vectored; /* readv(2): nothing to transfer means nothing is done */
	bool tried;    /* just now: -EAGAIN */
};

/* Begun with io_call_begin(), the memory lent.  Bytes, -errno or IO_INTERRUPTED.  With
 * call->wait a file is treated as by Linux: its page cache is written to on the spot,
 * and what waits for a disk does not end by a signal. */
ssize_t io_transfer(struct io_call *call, const struct io_transfer *what);

/* Finds out, once, whether fd is a socket, a stored file or something else (fd_hint()). */
void io_learn_kind(int fd);

#endif
