/* SPDX-License-Identifier: MIT
 *
 * The server as a whole: serving, and stopping in good order.
 */
#ifndef HTTPD_SERVER_H
#define HTTPD_SERVER_H

#include <stddef.h>

/* Exit statuses of the program; --help lists them. */
enum {
	EXIT_DRAINED = 0,
	EXIT_FAILED = 1,
	EXIT_USAGE = 2,
	EXIT_CUT_SHORT = 3,
};

/* What SIGTERM, SIGINT and SIGHUP do is decided by reading them, so they are
 * blocked here, before any thread is there to get them.  0 or -errno. */
int server_init(int listening_fd);

/* The first green thread: serves until a signal stops it.  The result is an
 * exit status, as a pointer. */
void *server_run(void *unused);

/* Connections now. */
size_t server_connections(void);

#endif
