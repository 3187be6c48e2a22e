/* SPDX-License-Identifier: MIT
 *
 * /echo: sends the body of the request back, byte for byte, while it comes in.
 *
 * One piece is in memory at a time: a body of any size passes through.
 */
#include "body.h"
#include "response.h"
#include "route.h"

/* Sends what is in *out and then a piece of the body. */
static int flush(struct connection *c, struct text *out, struct slice piece)
{
	struct iovec iov[2] = {
		{ out->buf, out->len },
		{ (char *)piece.ptr, piece.len },
	};

	out->len = 0;
	c->x->sent += piece.len;
	return connection_send(c, iov, 2, false);
}

/* Answers with chunks, each behind the end of the one before:
 * head, 5 CR LF hello;  CR LF 3 CR LF you;  CR LF 0 CR LF CR LF. */
static int echo_chunks(struct connection *c, struct text *out, struct slice piece)
{
	int result;

	if (piece.len == 0) {
		text_put(out, SLICE("0\r\n\r\n"));
		return flush(c, out, piece);
	}
	do {
		text_hex(out, piece.len);
		text_put(out, SLICE("\r\n"));
		result = flush(c, out, piece);
		text_put(out, SLICE("\r\n"));
		if (result == 0)
			result = body_read(c, &piece);
	} while (result > 0);
	if (result < 0)
		return result;
	text_put(out, SLICE("0\r\n\r\n"));
	return flush(c, out, piece);
}

static int echo_length(struct connection *c, struct text *out, struct slice piece)
{
	int result;

	do {
		result = flush(c, out, piece);
		if (result == 0)
			result = body_read(c, &piece);
	} while (result > 0);
	return result;
}

int echo_serve(struct connection *c)
{
	const struct request *request = &c->x->request;
	struct slice piece;

	if (request->method != METHOD_POST && request->method != METHOD_PUT)
		return respond_other_method(c, SLICE("POST, PUT, OPTIONS"));
	c->x->body.wanted = true;
	/* Read before answering: what is wrong with the first piece can still be
	 * told. */
	int result = body_read(c, &piece);
	if (result < 0)
		return result;

	struct text head = head_begin(c, 200);
	head_field(&head, "Content-Type", SLICE("application/octet-stream"));
	if (request->chunked)
		head_field(&head, "Transfer-Encoding", SLICE("chunked"));
	else
		head_number(&head, "Content-Length", request->content_length);
	head_end(&head, c);
	return request->chunked ? echo_chunks(c, &head, piece) : echo_length(c, &head, piece);
}
