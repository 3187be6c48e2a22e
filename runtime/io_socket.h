/* SPDX-License-Identifier: MIT
 *
 * What other calls need of the socket calls.
 */
#ifndef IO_SOCKET_H
#define IO_SOCKET_H

#include "io_wait.h"

/* One receiving call.  Begun with io_call_begin(), the memory lent. */
struct receive {
	struct io_call *call;
	int flags;
	void *buf;
	size_t len;
	struct sockaddr *addr;
	socklen_t *addrlen;
	struct msghdr *msg; /* instead of the above */
};
/* Bytes or -errno.  Which changes r, but for a caller's own memory. */
ssize_t io_receive(struct receive *r);
ssize_t io_receive_message(struct receive *r);

/* One sending call, likewise.  MSG_NOSIGNAL is implied. */
struct send {
	struct io_call *call;
	int flags;
	const void *buf;
	size_t len;
	const struct sockaddr *addr;
	socklen_t addrlen;
	const struct msghdr *msg; /* instead of the above */
};
ssize_t io_send(struct send *s);
/* done: bytes of it that have been sent already. */
ssize_t io_send_message(struct send *s, size_t done);

/* fd has proven to be a socket: finds out, once, which type. */
void io_learn_socket(int fd);

/* Connects an O_NONBLOCK socket, waiting: 0 or -errno. */
long io_connect_nonblocking(struct io_call *call, const struct sockaddr *addr, socklen_t addrlen);

/* One int of getsockopt(SOL_SOCKET), -errno. */
int io_socket_option(int fd, int option, int *value);

#endif
