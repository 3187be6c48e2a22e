/* SPDX-License-Identifier: MIT
 *
 * struct server: the server under test, in a process of its own.
 *
 * It says "listening on ADDRESS:PORT" on its standard output when it is ready
 * (what follows on that line is kept as its note) and ends on SIGTERM.
 */
#ifndef SERVER_H
#define SERVER_H

#include "options.h"

#include <stdbool.h>
#include <sys/types.h>

struct server {
	pid_t pid; /* 0: not known */
	bool ours; /* started here, to be ended here */
	char host[256];
	char port[16];
	char note[256];
	int output; /* its standard output, -1 */
};

/* Starts a command (NULL-ended argv), with GREEN_WORKERS and GREEN_ENGINE as
 * the options say.  0, or an exit status after a message. */
int server_start(struct server *server, char *const *argv, const struct options *options);

/* Ends it.  0, or EXIT_WRONG after a message when it had already ended or did
 * not end cleanly.  Does nothing when it is not ours. */
int server_stop(struct server *server);

/* Still there?  A message when it has ended by itself. */
bool server_alive(struct server *server);

/* Takes "host:port" or "[v6]:port" apart: false when it is neither. */
bool server_split(const char *address, char *host, size_t host_size, char *port, size_t port_size);

#endif
