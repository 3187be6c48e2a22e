/* SPDX-License-Identifier: MIT
 *
 * struct http_response: reads one HTTP/1.x response, in whatever pieces it
 * arrives.
 */
#ifndef HTTP_RESPONSE_H
#define HTTP_RESPONSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum http_state {
	HTTP_HEAD,
	HTTP_BODY,   /* left bytes of it */
	HTTP_TO_END, /* until the connection ends */
	HTTP_CHUNK_SIZE,
	HTTP_CHUNK,
	HTTP_CHUNK_END,
	HTTP_TRAILER,
	HTTP_DONE,
	HTTP_BAD,
};

struct http_response {
	uint8_t state; /* enum http_state; zero: ready for a response */
	bool close;    /* the connection ends with this response */
	uint16_t status;
	uint32_t head_size;
	char *head;      /* what has arrived of a head in pieces; else NULL */
	uint64_t left;   /* of the body or chunk; bytes of a line */
	uint64_t length; /* of the body so far */
};

/* Called with each piece of the body. */
typedef void (*http_body_fn)(void *arg, uint64_t offset, const char *data, size_t size);

/* Takes size bytes (0: the stream has ended) and returns the new state.
 * HTTP_DONE with *used < size: the rest belongs to no request of ours. */
enum http_state http_feed(struct http_response *response, const char *data, size_t size,
                          size_t *used, http_body_fn body, void *arg);

/* Makes it ready for the next response. */
void http_reset(struct http_response *response);

#endif
