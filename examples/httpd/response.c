/* SPDX-License-Identifier: MIT
 *
 * Putting responses together.
 */
#include "response.h"
#include "body.h"
#include "idle.h"
#include "local.h"

#define LINE(code, text)                                                                \
	{                                                                               \
		code, SLICE_INIT("HTTP/1.1 " text "\r\nServer: green-httpd\r\nDate: "), \
			SLICE_INIT(text "\n")                                           \
	}
#define SLICE_INIT(literal)                    \
	{                                      \
		(literal), sizeof(literal) - 1 \
	}

static const struct status {
	int code;
	struct slice start; /* of the head, up to the date */
	struct slice page;
} statuses[] = {
	LINE(200, "200 OK"),
	LINE(204, "204 No Content"),
	LINE(206, "206 Partial Content"),
	LINE(301, "301 Moved Permanently"),
	LINE(304, "304 Not Modified"),
	LINE(400, "400 Bad Request"),
	LINE(403, "403 Forbidden"),
	LINE(404, "404 Not Found"),
	LINE(405, "405 Method Not Allowed"),
	LINE(408, "408 Request Timeout"),
	LINE(413, "413 Content Too Large"),
	LINE(414, "414 URI Too Long"),
	LINE(416, "416 Range Not Satisfiable"),
	LINE(417, "417 Expectation Failed"),
	LINE(431, "431 Request Header Fields Too Large"),
	LINE(500, "500 Internal Server Error"),
	LINE(501, "501 Not Implemented"),
	LINE(503, "503 Service Unavailable"),
	LINE(505, "505 HTTP Version Not Supported"),
};

static const struct status *find_status(int code)
{
	for (size_t i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++)
		if (statuses[i].code == code)
			return &statuses[i];
	assert(!"every status that is used is in the table");
	return find_status(500);
}

struct text head_begin(struct connection *c, int status)
{
	struct text head = { .buf = c->x->out, .size = EXCHANGE_OUT };

	c->x->status = status;
	text_put(&head, find_status(status)->start);
	text_put(&head, local_date());
	text_put(&head, SLICE("\r\n"));
	return head;
}

void head_field_slice(struct text *head, struct slice name, struct slice value)
{
	text_put(head, name);
	text_put(head, value);
	text_put(head, SLICE("\r\n"));
}

void head_field_number(struct text *head, struct slice name, uint64_t value)
{
	text_put(head, name);
	text_number(head, value);
	text_put(head, SLICE("\r\n"));
}

void head_end(struct text *head, struct connection *c)
{
	const struct exchange *x = c->x;

	if (!x->request.keep_alive || idle_draining() || !body_allows_reuse(x))
		c->closing = true;
	if (c->closing)
		text_put(head, SLICE("Connection: close\r\n\r\n"));
	else if (x->request.minor == 0)
		text_put(head, SLICE("Connection: keep-alive\r\n\r\n"));
	else
		text_put(head, SLICE("\r\n"));
}

int respond(struct connection *c, const struct text *head, struct slice body)
{
	struct iovec iov[2] = {
		{ head->buf, head->len },
		{ (char *)body.ptr, body.len },
	};

	if (c->x->request.method == METHOD_HEAD)
		iov[1].iov_len = 0;
	c->x->sent = iov[1].iov_len;
	return connection_send(c, iov, iov[1].iov_len > 0 ? 2 : 1, false);
}

int respond_page(struct connection *c, struct text *head, struct slice type, struct slice body)
{
	head_field(head, "Content-Type", type);
	head_number(head, "Content-Length", body.len);
	head_end(head, c);
	return respond(c, head, body);
}

int respond_error_with(struct connection *c, int status, struct slice name, struct slice value)
{
	struct text head = head_begin(c, status);

	if (name.len > 0)
		head_field_slice(&head, name, value);
	return respond_page(c, &head, SLICE("text/plain; charset=utf-8"),
	                    find_status(status)->page);
}

int respond_error(struct connection *c, int status)
{
	if (status == 503)
		return respond_error_field(c, 503, "Retry-After", SLICE("1"));
	return respond_error_with(c, status, SLICE(""), SLICE(""));
}

int respond_other_method(struct connection *c, struct slice allowed)
{
	if (c->x->request.method == METHOD_OTHER)
		return respond_error(c, 501);
	if (c->x->request.method != METHOD_OPTIONS)
		return respond_error_field(c, 405, "Allow", allowed);

	struct text head = head_begin(c, 204);
	head_field(&head, "Allow", allowed);
	head_end(&head, c);
	return respond(c, &head, SLICE(""));
}
