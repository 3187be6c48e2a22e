/* SPDX-License-Identifier: MIT
 *
 * The server's limits and the options of its command line.
 */
#ifndef HTTPD_CONFIG_H
#define HTTPD_CONFIG_H

#include "request.h"

#include <green.h>

/* Files of at most this size go out in one send together with their head. */
#define SMALL_FILE_MAX 16384

/* Room for the head of a response: ours are below 400 bytes, and a redirect
 * repeats the target. */
#define RESPONSE_HEAD_MAX 1024

/* Bytes of a body that are read at once. */
#define BODY_WINDOW 8192

/* Longest request target; longer ones get 414. */
#define TARGET_MAX 4096

/* Most header fields of a request; more get 431. */
#define FIELDS_MAX 100

/* An unread body up to this size is read and thrown away, so that the
 * connection can be kept; beyond it the connection is closed. */
#define DISCARD_MAX 65536

/* After an error the client gets this long to read the answer before the
 * connection is reset under it, and this many bytes of what it still sends
 * are swallowed. */
#define LINGER_NS GREEN_S(2)
#define LINGER_MAX (4 << 20)

struct config {
	const char *listen;
	const char *root;
	const char *log; /* NULL: no access log; "-": standard output */
	unsigned workers;
	enum green_engine engine;
	size_t concurrency;
	struct request_limits limits;
	uint64_t body_max;
	int64_t idle_timeout_ns;   /* between requests of one connection */
	int64_t header_timeout_ns; /* from the first byte of a head to its last */
	int64_t body_timeout_ns;   /* without a byte of the body coming in */
	int64_t write_timeout_ns;  /* without a byte of the response being taken */
	int64_t drain_timeout_ns;  /* for requests in flight after SIGTERM */
	bool status;               /* serve /_status */
	bool debug;                /* serve /_spin and /_sleep */
};

/* Written once, before the first connection; only read afterwards. */
extern struct config config;

/* Fills config from the command line.  Ends the program for --help and, with a
 * message that names the option and status 2, for a bad one. */
void config_parse(int argc, char **argv);

#endif
