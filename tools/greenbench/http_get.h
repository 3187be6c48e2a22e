/* SPDX-License-Identifier: MIT
 *
 * One blocking GET, for a server's status page.
 */
#ifndef HTTP_GET_H
#define HTTP_GET_H

#include <stddef.h>
#include <sys/socket.h>

/* Gets path on a connection of its own, within a few seconds.  The length of
 * the body, NUL-terminated in buf, or -errno (-EPROTO: not a good response). */
long http_get(const struct sockaddr *address, socklen_t address_size, const char *path, char *buf,
              size_t size);

#endif
