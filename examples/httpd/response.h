/* SPDX-License-Identifier: MIT
 *
 * Responses: the head as text in the exchange's out buffer, and the small pages
 * for errors.
 *
 *	struct text head = head_begin(c, 200);
 *	head_field(&head, "Content-Type", type);
 *	head_number(&head, "Content-Length", size);
 *	head_end(&head, c);
 */
#ifndef HTTPD_RESPONSE_H
#define HTTPD_RESPONSE_H

#include "connection.h"
#include "text.h"

/* Status line, Server, Date. */
struct text head_begin(struct connection *c, int status);

/* name is a string literal. */
#define head_field(head, name, value) head_field_slice(head, SLICE(name ": "), value)
#define head_number(head, name, value) head_field_number(head, SLICE(name ": "), value)
void head_field_slice(struct text *head, struct slice name, struct slice value);
void head_field_number(struct text *head, struct slice name, uint64_t value);

/* Connection when needed, and the empty line.  Decides whether the connection
 * will be closed. */
void head_end(struct text *head, struct connection *c);

/* Sends head and body in one go; no body when the request was HEAD.  The head
 * must have been ended.  0 or -errno. */
int respond(struct connection *c, const struct text *head, struct slice body);

/* Ends a begun head with Content-Type and Content-Length, and sends it with the
 * body, which may lie in the out buffer behind RESPONSE_HEAD_MAX. */
int respond_page(struct connection *c, struct text *head, struct slice type, struct slice body);

/* A page that says what the status means.  0 or -errno. */
int respond_error(struct connection *c, int status);

/* The same with one more field; name is a string literal. */
#define respond_error_field(c, status, name, value) \
	respond_error_with(c, status, SLICE(name ": "), value)
int respond_error_with(struct connection *c, int status, struct slice name, struct slice value);

/* To a method that the resource does not have: 204 for OPTIONS, 501 for names
 * that nobody knows, else 405. */
int respond_other_method(struct connection *c, struct slice allowed);

#endif
