/* SPDX-License-Identifier: MIT
 *
 * The listening socket: our own, or one handed over by who started us.
 */
#ifndef HTTPD_LISTEN_H
#define HTTPD_LISTEN_H

#include <stddef.h>

/* Takes descriptor 3 when LISTEN_PID and LISTEN_FDS say so (the protocol of
 * systemd's socket units), else listens on config.listen.  Returns the
 * descriptor, or prints what is wrong and returns -1. */
int listen_open(void);

/* "127.0.0.1:8080", "[::1]:8080" or "unix:/path". */
void listen_describe(int fd, char *out, size_t size);

#endif
