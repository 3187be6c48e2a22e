/* SPDX-License-Identifier: MIT
 *
 * struct target: what the http bench aims at, as --url, --server and --size say.
 */
#ifndef TARGET_H
#define TARGET_H

#include "options.h"
#include "server.h"

struct target {
	struct server server;
	char host[256];
	char port[16];
	char path[1024];
	const char *status_path; /* NULL: none */
	char root[512];          /* directory made for our own server; "": none */
};

/* Finds out where to, and starts the server if there is one to start.  0, or an
 * exit status after a message. */
int target_open(struct target *target, const struct options *options);

/* Ends the server and removes what was made for it.  0 or an exit status. */
int target_close(struct target *target);

#endif
