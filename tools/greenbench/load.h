/* SPDX-License-Identifier: MIT
 *
 * struct load: many connections to one server, from client processes of our
 * own; and what they count.
 *
 * The clients are plain epoll loops (client.c) and share nothing with the
 * runtime under test.  They are forked from this process and follow the phase
 * in shared memory:
 *
 *      LOAD_RAMP   open connections, each proven by one response, and rest
 *      LOAD_RUN    send requests, count responses and latencies
 *      LOAD_FINISH wait for the responses to what was sent, then as LOAD_STOP
 *      LOAD_STOP   close everything and exit
 *
 * A protocol (echo, http) says what a request is and judges the responses.
 */
#ifndef LOAD_H
#define LOAD_H

#include "http_response.h"
#include "result.h"
#include "server.h"
#include "stats.h"

#include <sys/socket.h>

#define CLIENTS_MAX 256

enum load_phase { LOAD_RAMP, LOAD_RUN, LOAD_FINISH, LOAD_STOP };

enum load_error {
	ERROR_CONNECT,  /* connect failed, other than refused */
	ERROR_REFUSED,  /* nobody listens */
	ERROR_RESET,    /* reset by the server */
	ERROR_CLOSED,   /* closed before the response was complete */
	ERROR_TIMEOUT,  /* no complete response in time */
	ERROR_STATUS,   /* another HTTP status */
	ERROR_LENGTH,   /* another length of the body */
	ERROR_BODY,     /* other bytes */
	ERROR_PROTOCOL, /* not a response */
	LOAD_ERRORS,
};
extern const char *const load_error_names[LOAD_ERRORS];

enum load_verdict {
	LOAD_MORE,       /* the response is not complete */
	LOAD_DONE,       /* complete; the connection can take another request */
	LOAD_DONE_CLOSE, /* complete; the connection ends with it */
	LOAD_FAILED,     /* + enum load_error */
};

struct load_conn {
	int fd;
	uint8_t state;
	bool counted;      /* has had a response: counts as open */
	bool listed;       /* in the list of idle connections */
	bool blocked;      /* the request's rest waits for room */
	uint32_t next;     /* in that list */
	uint32_t sent;     /* bytes of the request already sent */
	uint32_t got;      /* echo: bytes of the response */
	uint64_t sequence; /* echo: number of the request */
	int64_t begin_ns;  /* latency counts from here */
	int64_t since_ns;  /* the timeout from here */
	struct http_response http;
};

struct load;

struct load_protocol {
	/* The connection's request: stores its address, returns its size. */
	size_t (*request)(struct load *load, struct load_conn *conn, const char **bytes);
	/* Bytes of the response, size 0: the stream has ended.  A verdict. */
	int (*receive)(struct load *load, struct load_conn *conn, const char *data, size_t size);
};

struct load_client {
	_Alignas(64) _Atomic uint64_t open; /* connections proven */
	_Atomic uint64_t bytes;             /* received */
	_Atomic uint64_t reconnects;        /* closed by the server between requests */
	_Atomic uint64_t errors[LOAD_ERRORS];
	_Atomic int last_errno;
};

struct load_shared {
	_Atomic int phase;
	_Atomic int64_t body_length; /* of the first response; -1: none yet */
	struct load_client client[CLIENTS_MAX];
};

struct load {
	const struct load_protocol *protocol;
	struct sockaddr_storage address;
	socklen_t address_size;
	uint64_t connections;
	unsigned clients; /* 0: as few as descriptors and CPUs suggest */
	uint64_t rate;    /* requests per second of all clients; 0: unlimited */
	double timeout_s;
	/* Called before the first and after the last round, if set. */
	void (*probe)(struct load *load, bool begin);
	/* http */
	char *request;
	size_t request_size;
	int status;
	bool verify_body;
	char *body; /* of the first response, in each client */
	size_t body_size;
	/* echo */
	uint32_t size;
	char *scratch; /* size bytes */

	struct load_shared *shared;
	struct hist_set *latency;
	pid_t pids[CLIENTS_MAX];
	const char *bench; /* for messages */
};

/* Numeric or named address, port and all: 0 or an exit status after a message.
 * An address that means "all interfaces" becomes the loopback one. */
int load_resolve(struct load *load, const char *host, const char *port);

/* Runs the whole measurement: clients, ramp, warm-up, rounds, result, end.
 * An exit status. */
int load_measure(struct load *load, struct server *server, struct result *result,
                 const struct options *options);

/* The client process (client.c); returns its exit status. */
int client_main(struct load *load, unsigned number, uint64_t connections);

/* Connections of one client. */
uint64_t load_share(const struct load *load, unsigned number);

#endif
