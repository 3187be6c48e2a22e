/* SPDX-License-Identifier: MIT
 *
 * A connection: one green thread that reads requests and answers them, one
 * after the other, until one side has had enough.
 *
 * Errors inside the server are negative: -status for what the client did wrong
 * and shall be told (statuses begin at 400), -errno for a connection on which
 * nothing more can be said (error numbers end long before 400).
 */
#ifndef HTTPD_CONNECTION_H
#define HTTPD_CONNECTION_H

#include "exchange.h"

#include <netinet/in.h>
#include <sys/uio.h>

struct connection {
	int fd;
	bool served;              /* a request has been answered */
	bool closing;             /* no request after the present one */
	struct exchange *x;       /* NULL while waiting for a request */
	struct sockaddr_in6 peer; /* for the log; family 0: not known */
};

/* A green_serve() handler. */
void connection_serve(int fd, void *unused);

/* Receives more of the request behind what is there.  Returns the bytes
 * received; -ECONNRESET at the end of the stream; -errno. */
ssize_t connection_receive(struct connection *c);

/* Sends all of it; with more set, the kernel waits for what follows.  iov is
 * changed.  0 or -errno; -ETIMEDOUT when the client has taken nothing for the
 * write timeout. */
int connection_send(struct connection *c, struct iovec *iov, int count, bool more);

/* Sends count bytes of a file from offset on.  As above; -EIO when the file
 * has become shorter. */
int connection_send_file(struct connection *c, int file, off_t offset, uint64_t count);

#endif
