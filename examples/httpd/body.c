/* SPDX-License-Identifier: MIT
 *
 * Reading request bodies, by length or chunked.
 */
#include "body.h"

#include <errno.h>

int body_begin(struct connection *c)
{
	const struct request *request = &c->x->request;
	struct body *body = &c->x->body;

	body->is_chunked = request->chunked;
	body->left = request->content_length;
	body->done = !body->is_chunked && body->left == 0;
	body->continue_pending = request->expect_continue && !body->done;
	return body->left > config.body_max ? -413 : 0;
}

/* Takes what it can from the buffer. */
static int take_piece(struct exchange *x, struct slice *piece)
{
	struct body *body = &x->body;
	const char *at = x->in + x->at;
	size_t there = x->end - x->at;

	if (body->is_chunked) {
		ssize_t consumed = chunked_parse(&body->chunked, at, there, piece);

		if (consumed < 0)
			return (int)consumed;
		x->at += (size_t)consumed;
		body->done = body->chunked.done;
	} else {
		size_t len = there < body->left ? there : (size_t)body->left;

		*piece = (struct slice){ at, len };
		x->at += len;
		body->left -= len;
		body->done = body->left == 0;
	}
	body->seen += piece->len;
	return body->seen > config.body_max ? -413 : 0;
}

/* Receives more; what was there has been read and is overwritten. */
static int refill(struct connection *c)
{
	static const char interim[] = "HTTP/1.1 100 Continue\r\n\r\n";
	struct exchange *x = c->x;
	struct green_deadline scope;
	ssize_t received;

	if (x->body.continue_pending) {
		struct iovec iov = { (char *)interim, sizeof(interim) - 1 };
		int result = connection_send(c, &iov, 1, false);

		if (result < 0)
			return result;
		x->body.continue_pending = false;
	}
	x->at = x->end = x->start + x->head;
	green_deadline_begin(&scope, config.body_timeout_ns);
	received = connection_receive(c);
	green_deadline_end(&scope);
	if (received == -ETIMEDOUT)
		return -408;
	return received < 0 ? (int)received : 0;
}

int body_read(struct connection *c, struct slice *piece)
{
	struct exchange *x = c->x;
	int result = 0;

	*piece = (struct slice){ x->in, 0 };
	while (result == 0 && piece->len == 0 && !x->body.done)
		result = x->at < x->end ? take_piece(x, piece) : refill(c);
	if (result < 0)
		return result;
	/* A client that sends at once does not need to be told to. */
	x->body.continue_pending = false;
	return piece->len > 0;
}

int body_discard(struct connection *c)
{
	struct slice piece;
	uint64_t limit = c->x->body.seen + DISCARD_MAX;
	int result;

	do
		result = body_read(c, &piece);
	while (result > 0 && c->x->body.seen <= limit);
	return result > 0 ? -ECONNRESET : result;
}

bool body_complete(const struct exchange *x)
{
	return x->head != 0 && x->body.done;
}

bool body_allows_reuse(const struct exchange *x)
{
	const struct body *body = &x->body;

	if (body->done || body->wanted)
		return true;
	return !body->continue_pending && (body->is_chunked || body->left <= DISCARD_MAX);
}
