/* SPDX-License-Identifier: MIT
 *
 * struct iov_cursor: how far a transfer has come in the caller's iovec, which
 * is never written to.
 *
 * The first attempt uses the caller's array as it is: a datagram, or a write
 * that the kernel makes in one piece, stays whole.  What a stream leaves over
 * goes on in windows of a few entries.
 */
#ifndef IOV_H
#define IOV_H

#include <limits.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#define IOV_WINDOW 16

struct iov_cursor {
	const struct iovec *iov; /* first entry not done */
	int count;               /* entries left */
	size_t skip;             /* bytes of the first that are done */
	struct iovec *window;    /* room for IOV_WINDOW of them */
};

/* Bytes in all; SIZE_MAX when that is more than a result can say. */
static inline size_t iov_total(const struct iovec *iov, int count)
{
	size_t total = 0;

	for (int i = 0; i < count; i++)
		if (iov[i].iov_len > (size_t)SSIZE_MAX - total)
			return SIZE_MAX;
		else
			total += iov[i].iov_len;
	return total;
}

static inline struct iov_cursor iov_begin(const struct iovec *iov, int count, struct iovec *window)
{
	return (struct iov_cursor){ .iov = iov, .count = count, .window = window };
}

static inline void iov_advance(struct iov_cursor *c, size_t bytes)
{
	bytes += c->skip;
	while (c->count > 0 && bytes >= c->iov->iov_len) {
		bytes -= c->iov->iov_len;
		c->iov++;
		c->count--;
	}
	c->skip = bytes;
}

/* What to transfer next: *count entries. */
static inline const struct iovec *iov_next(struct iov_cursor *c, int *count)
{
	if (c->skip == 0 || c->count == 0) {
		*count = c->count;
		return c->iov;
	}
	int n = c->count < IOV_WINDOW ? c->count : IOV_WINDOW;
	for (int i = 0; i < n; i++)
		c->window[i] = c->iov[i];
	c->window[0].iov_base = (char *)c->window[0].iov_base + c->skip;
	c->window[0].iov_len -= c->skip;
	*count = n;
	return c->window;
}

#endif
