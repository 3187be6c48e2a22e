/* SPDX-License-Identifier: MIT
 *
 * What other calls need of the socket calls.
 */
#ifndef IO_SOCKET_H
#define IO_SOCKET_H

#include "io_wait.h"

/* fd has proven to be a socket: finds out, once, which type. */
void io_learn_socket(int fd);

/* Connects an O_NONBLOCK socket, waiting: 0 or -errno. */
long io_connect_nonblocking(struct io_call *call, const struct sockaddr *addr, socklen_t addrlen);

/* One int of getsockopt(SOL_SOCKET), -errno. */
int io_socket_option(int fd, int option, int *value);

#endif
