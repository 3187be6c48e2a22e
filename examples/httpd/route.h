/* SPDX-License-Identifier: MIT
 *
 * Which handler answers which path.
 *
 * A handler answers the request whose head has been read.  It returns 0 when
 * it has (an error page is an answer, too), -status to have that sent and the
 * connection closed, or -errno when nothing more can be said.
 */
#ifndef HTTPD_ROUTE_H
#define HTTPD_ROUTE_H

#include "connection.h"

int route(struct connection *c);

/* The handlers, each in a file of its name. */
int echo_serve(struct connection *c);   /* /echo */
int status_serve(struct connection *c); /* /_status */
int spin_serve(struct connection *c);   /* /_spin?ms=N, in debug.c */
int sleep_serve(struct connection *c);  /* /_sleep?ms=N, in debug.c */
int files_serve(struct connection *c);  /* everything else */

#endif
