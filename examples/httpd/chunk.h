/* SPDX-License-Identifier: MIT
 *
 * The chunked coding of a request body: an incremental decoder that copies
 * nothing.
 *
 *   5;name=value CR LF hello CR LF 0 CR LF trailer: fields CR LF CR LF
 *
 * Extensions and trailers are checked for stray control characters and thrown
 * away.
 */
#ifndef HTTPD_CHUNK_H
#define HTTPD_CHUNK_H

#include "slice.h"

#include <stdint.h>
#include <sys/types.h>

/* All zero bytes: at the start of a body. */
struct chunked {
	uint64_t left;  /* data bytes of this chunk that are to come */
	uint32_t extra; /* bytes of extensions and trailers so far */
	uint8_t digits; /* of the size being read */
	uint8_t state;
	bool done; /* the body's last byte has been consumed */
};

/* Consumes bytes of the body from buf up to and with the next run of data, or
 * all of them, or those up to the end of the body.  *data is the run, inside
 * buf; its len is 0 when there was none.  Returns the bytes consumed, or -400
 * when they are no chunked body. */
ssize_t chunked_parse(struct chunked *chunked, const char *buf, size_t len, struct slice *data);

#endif
