/* SPDX-License-Identifier: MIT
 *
 * Reading HTTP/1.x responses.
 */
#include "http_response.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define HEAD_MAX 65536
#define LINE_MAX_BYTES 4096 /* of a chunk's size or a trailer */

void http_reset(struct http_response *response)
{
	free(response->head);
	*response = (struct http_response){ 0 };
}

/* The value of a header line if it has this name. */
static const char *header(const char *line, size_t size, const char *name)
{
	size_t length = strlen(name);
	if (size <= length || line[length] != ':' || strncasecmp(line, name, length) != 0)
		return NULL;
	const char *value = line + length + 1;
	while (*value == ' ' || *value == '\t')
		value++;
	return value;
}

static bool contains(const char *value, const char *end, const char *word)
{
	size_t length = strlen(word);
	for (; value + length <= end; value++)
		if (!strncasecmp(value, word, length))
			return true;
	return false;
}

struct framing {
	bool chunked, sized, bad;
	uint64_t length;
};

static void read_length(struct framing *framing, const char *value)
{
	uint64_t length = 0;
	unsigned digits = 0;
	for (; *value >= '0' && *value <= '9'; value++, digits++)
		length = length * 10 + (uint64_t)(*value - '0');
	framing->bad |= digits == 0 || digits > 18 || (framing->sized && framing->length != length);
	framing->sized = true;
	framing->length = length;
}

static void read_line(struct http_response *response, struct framing *framing, const char *line,
                      const char *end)
{
	size_t size = (size_t)(end - line);
	const char *value;
	/* Few names matter; their first letters tell most others apart. */
	switch (*line | 0x20) {
	case 'c':
		if ((value = header(line, size, "content-length")))
			read_length(framing, value);
		else if ((value = header(line, size, "connection")))
			response->close = contains(value, end, "close") ||
			                  (response->close && !contains(value, end, "keep-alive"));
		break;
	case 't':
		if ((value = header(line, size, "transfer-encoding")))
			framing->chunked = contains(value, end, "chunked");
		break;
	}
}

static enum http_state body_state(struct http_response *response, const struct framing *framing)
{
	if (framing->bad)
		return HTTP_BAD;
	if (response->status / 100 == 1)
		return response->status == 101 ? HTTP_BAD : HTTP_HEAD;
	if (response->status == 204 || response->status == 304)
		return HTTP_DONE;
	if (framing->chunked)
		return HTTP_CHUNK_SIZE;
	if (framing->sized) {
		response->left = framing->length;
		return framing->length ? HTTP_BODY : HTTP_DONE;
	}
	response->close = true;
	return HTTP_TO_END;
}

/* A complete head, ended by an empty line; text[size] may be read. */
static enum http_state parse_head(struct http_response *response, const char *text, size_t size)
{
	if (size < 16 || memcmp(text, "HTTP/1.", 7) != 0 || text[8] != ' ')
		return HTTP_BAD;
	response->close = text[7] == '0';
	response->status = 0;
	for (int i = 9; i < 12; i++) {
		if (text[i] < '0' || text[i] > '9')
			return HTTP_BAD;
		response->status = (uint16_t)(response->status * 10 + (text[i] - '0'));
	}
	struct framing framing = { 0 };
	const char *end = text + size, *line = memchr(text, '\n', size);
	for (line++; line < end;) {
		const char *stop = memchr(line, '\n', (size_t)(end - line));
		if (!stop)
			break;
		read_line(response, &framing, line, stop);
		line = stop + 1;
	}
	return body_state(response, &framing);
}

/* Keeps the head's beginning and goes on when the rest has come. */
static size_t gather_head(struct http_response *response, const char *data, size_t size)
{
	size_t have = response->head_size;
	char *head = have + size <= HEAD_MAX ? realloc(response->head, have + size) : NULL;
	if (!head) {
		response->state = HTTP_BAD;
		return size;
	}
	memcpy(head + have, data, size);
	response->head = head;
	response->head_size = (uint32_t)(have + size);
	const char *end = memmem(head, have + size, "\r\n\r\n", 4);
	if (!end)
		return size;
	size_t head_size = (size_t)(end - head) + 4;
	response->state = parse_head(response, head, head_size);
	free(response->head);
	response->head = NULL;
	response->head_size = 0;
	return head_size - have;
}

static size_t feed_head(struct http_response *response, const char *data, size_t size)
{
	if (!response->head) {
		const char *end = memmem(data, size, "\r\n\r\n", 4);
		if (end) {
			size_t head_size = (size_t)(end - data) + 4;
			response->state = parse_head(response, data, head_size);
			return head_size;
		}
	}
	return gather_head(response, data, size);
}

static int hex(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The size of a chunk, an extension after it is skipped.  head_size counts the
 * bytes of the line; its top bit says that the digits have ended. */
#define DIGITS_ENDED (1u << 31)
static void feed_chunk_size(struct http_response *response, char c)
{
	if (c == '\n') {
		bool empty = !(response->head_size & ~DIGITS_ENDED);
		response->head_size = 0;
		response->state = empty ? HTTP_BAD : response->left ? HTTP_CHUNK : HTTP_TRAILER;
		return;
	}
	int digit = hex(c);
	if (digit < 0)
		response->head_size |= DIGITS_ENDED;
	if (!(response->head_size & DIGITS_ENDED)) {
		if (response->left >> 56)
			response->state = HTTP_BAD;
		response->left = response->left << 4 | (uint64_t)digit;
		response->head_size++;
	}
}

/* Lines until an empty one; left counts the bytes of the line. */
static void feed_trailer(struct http_response *response, char c)
{
	if (c == '\n') {
		if (!response->left)
			response->state = HTTP_DONE;
		response->left = 0;
	} else if (c != '\r' && ++response->left > LINE_MAX_BYTES) {
		response->state = HTTP_BAD;
	}
}

static size_t feed_body(struct http_response *response, const char *data, size_t size,
                        http_body_fn body, void *arg)
{
	size_t take = size;
	if (response->state != HTTP_TO_END && take > response->left)
		take = (size_t)response->left;
	if (body)
		body(arg, response->length, data, take);
	response->length += take;
	if (response->state == HTTP_TO_END)
		return take;
	response->left -= take;
	if (!response->left)
		response->state = response->state == HTTP_BODY ? HTTP_DONE : HTTP_CHUNK_END;
	return take;
}

static size_t feed_some(struct http_response *response, const char *data, size_t size,
                        http_body_fn body, void *arg)
{
	switch (response->state) {
	case HTTP_HEAD:
		return feed_head(response, data, size);
	case HTTP_BODY:
	case HTTP_CHUNK:
	case HTTP_TO_END:
		return feed_body(response, data, size, body, arg);
	case HTTP_CHUNK_SIZE:
		feed_chunk_size(response, *data);
		return 1;
	case HTTP_CHUNK_END:
		if (*data == '\n')
			response->state = HTTP_CHUNK_SIZE;
		else if (*data != '\r')
			response->state = HTTP_BAD;
		return 1;
	default:
		feed_trailer(response, *data);
		return 1;
	}
}

enum http_state http_feed(struct http_response *response, const char *data, size_t size,
                          size_t *used, http_body_fn body, void *arg)
{
	size_t at = 0;
	if (!size)
		response->state = response->state == HTTP_TO_END ? HTTP_DONE : HTTP_BAD;
	while (at < size && response->state != HTTP_DONE && response->state != HTTP_BAD)
		at += feed_some(response, data + at, size - at, body, arg);
	*used = at;
	return response->state;
}
