/* SPDX-License-Identifier: MIT
 *
 * An exchange: all the memory that one request and its response need.
 *
 * A connection takes one when the first byte of a request is there and gives
 * it back when the response is out, so that ten thousand connections that wait
 * for their next request hold ten thousand small stacks and a few exchanges.
 *
 *   in   | done with | head | body window | free |
 *        0         start   start+head    end    in_size
 *                          at moves from the head's end to end
 *
 *   out  | head of the response, then the body if it is small |
 */
#ifndef HTTPD_EXCHANGE_H
#define HTTPD_EXCHANGE_H

#include "chunk.h"
#include "config.h"
#include "request.h"

#define EXCHANGE_OUT (RESPONSE_HEAD_MAX + TARGET_MAX + SMALL_FILE_MAX)

/* The body of the request being served. */
struct body {
	uint64_t left; /* bytes to come, unless chunked */
	uint64_t seen; /* bytes handed out */
	struct chunked chunked;
	bool is_chunked;
	bool continue_pending; /* the client waits for "100 Continue" */
	bool wanted;           /* the handler reads all of it */
	bool done;
};

struct exchange {
	struct exchange *next; /* in a worker's list of spare ones */
	size_t start, end, at; /* see above */
	size_t head;           /* size of the request's head; 0: not complete yet */
	size_t in_size;
	struct request request;
	struct body body;
	int status;    /* of the response; 0: none begun */
	uint64_t sent; /* bytes of the response's body */
	char *in;      /* in_size bytes behind out */
	char out[EXCHANGE_OUT];
};

/* An empty exchange, or NULL when memory is short.  Its buffers hold whatever
 * they held. */
struct exchange *exchange_take(void);

/* Gives it back; on the same worker or another. */
void exchange_give(struct exchange *x);

/* Makes it ready for the request that starts at x->start. */
void exchange_begin(struct exchange *x);

/* Moves what is in use to the front of the buffer. */
void exchange_compact(struct exchange *x);

/* A part of the request's head. */
static inline struct slice exchange_slice(const struct exchange *x, struct span span)
{
	return span_slice(x->in + x->start, span);
}

#endif
