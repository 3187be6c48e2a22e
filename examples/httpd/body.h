/* SPDX-License-Identifier: MIT
 *
 * The body of the request being served: read piece by piece, never whole.
 */
#ifndef HTTPD_BODY_H
#define HTTPD_BODY_H

#include "connection.h"

/* After the head is complete.  0, or -413 for a body that is too long. */
int body_begin(struct connection *c);

/* The next piece of the body, valid until the next call.  1 with *piece, 0 at
 * the end, -status (400, 408, 413) or -errno.  Sends "100 Continue" when the
 * client waits for it.  May switch. */
int body_read(struct connection *c, struct slice *piece);

/* Throws away what the handler has not read, so that the next request can be
 * found.  0, -status or -errno.  May switch. */
int body_discard(struct connection *c);

/* Its last byte has been read. */
bool body_complete(const struct exchange *x);

/* Whether the connection can go on after this request: the rest of the body
 * will be read by the handler or is small enough to be thrown away. */
bool body_allows_reuse(const struct exchange *x);

#endif
