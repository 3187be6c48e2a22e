/* SPDX-License-Identifier: MIT
 *
 * The head of an HTTP/1.x request: a strict, incremental parser that copies
 * nothing and allocates nothing.
 *
 * The caller collects bytes in a buffer and calls request_parse() whenever
 * there are more; every byte is looked at once.  What is found is kept as
 * offsets into the buffer, so the buffer may move between calls as long as the
 * request's first byte stays at its start.
 *
 * Strict means: what two servers in a row could read in two ways is refused.
 * Lines end with CR LF and nothing else; no CR, LF or NUL elsewhere; no space
 * before the colon; no folded lines; not both Content-Length and
 * Transfer-Encoding, nor two different lengths; "chunked" is the only coding.
 */
#ifndef HTTPD_REQUEST_H
#define HTTPD_REQUEST_H

#include "slice.h"

#include <stdint.h>

enum method {
	METHOD_OTHER, /* a well-formed name that we do not know */
	METHOD_GET,
	METHOD_HEAD,
	METHOD_POST,
	METHOD_PUT,
	METHOD_DELETE,
	METHOD_CONNECT,
	METHOD_OPTIONS,
	METHOD_TRACE,
	METHOD_PATCH,
};

/* A part of the buffer, counted from the request's first byte.  len is 0 when
 * the request has no such part. */
struct span {
	uint32_t start, len;
};

struct request_limits {
	uint32_t head_max;   /* bytes up to and with the empty line: 431 */
	uint32_t target_max; /* bytes of the request target: 414 */
	uint32_t fields_max; /* header fields: 431 */
};

struct request {
	/* How far the parser is. */
	const struct request_limits *limits;
	uint32_t line; /* where the line being read starts */
	uint32_t scan; /* no line feed between line and here */
	uint32_t fields;
	int16_t error; /* status of a failed parse, for calls after it */
	uint8_t state;

	/* What it found; valid once request_parse() has returned > 0. */
	uint8_t method; /* enum method */
	uint8_t minor;  /* the 1 of HTTP/1.1 */
	bool keep_alive;
	bool chunked;
	bool has_length;
	bool expect_continue;
	bool has_host;
	bool token_close, token_keep_alive; /* of the Connection field */
	uint64_t content_length;
	struct span start_line; /* without CR LF; valid from its end on */
	struct span path;       /* of the target, as sent; "*" is possible */
	struct span query;      /* without the question mark */
	struct span host, range, if_range, if_modified_since, if_none_match;
	struct span user_agent, referer;
};

/* Makes *request ready for the first byte of a request.  limits must outlive
 * it. */
void request_init(struct request *request, const struct request_limits *limits);

/* Goes on with the request that starts at buf, of which len bytes are there;
 * len never shrinks between calls.  Returns the size of the head when it is
 * complete; 0 when more bytes are needed; or -status (400, 414, 417, 431, 501,
 * 505), after which the connection cannot be used for another request. */
int request_parse(struct request *request, const char *buf, size_t len);

/* The bytes of a span in the buffer that was parsed. */
static inline struct slice span_slice(const char *buf, struct span span)
{
	return (struct slice){ buf + span.start, span.len };
}

#endif
