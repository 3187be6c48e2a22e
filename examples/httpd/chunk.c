/* SPDX-License-Identifier: MIT
 *
 * The chunked decoder: a state machine over single bytes, but for the data.
 */
#include "chunk.h"

#include <assert.h>

enum {
	STATE_SIZE,
	STATE_EXTENSION,
	STATE_SIZE_LF,
	STATE_DATA,
	STATE_DATA_CR,
	STATE_DATA_LF,
	STATE_TRAILER_START, /* of a line */
	STATE_TRAILER,
	STATE_TRAILER_LF,
	STATE_END_LF,
	STATE_END,
	STATE_FAILED,
};

/* 15 hexadecimal digits cannot overflow, and nobody sends more. */
#define DIGITS_MAX 15
/* Extensions and trailers of one body, bytes. */
#define EXTRA_MAX 4096

/* A byte of an extension or a trailer; the state that follows it. */
static int extra_byte(struct chunked *c, char byte, int same, int at_cr)
{
	if (byte == '\r')
		return at_cr;
	if (++c->extra > EXTRA_MAX || byte == 0x7f || ((unsigned char)byte < 0x20 && byte != '\t'))
		return STATE_FAILED;
	return same;
}

static int size_byte(struct chunked *c, char byte)
{
	int digit = hex_digit(byte);

	if (digit >= 0) {
		c->left = c->left << 4 | (unsigned)digit;
		return ++c->digits > DIGITS_MAX ? STATE_FAILED : STATE_SIZE;
	}
	if (c->digits == 0)
		return STATE_FAILED;
	if (byte == '\r')
		return STATE_SIZE_LF;
	return byte == ';' ? STATE_EXTENSION : STATE_FAILED;
}

/* The state after one byte outside the data. */
static int next_state(struct chunked *c, char byte)
{
	switch (c->state) {
	case STATE_SIZE:
		return size_byte(c, byte);
	case STATE_EXTENSION:
		return extra_byte(c, byte, STATE_EXTENSION, STATE_SIZE_LF);
	case STATE_SIZE_LF:
		c->digits = 0;
		if (byte != '\n')
			return STATE_FAILED;
		return c->left != 0 ? STATE_DATA : STATE_TRAILER_START;
	case STATE_DATA_CR:
		return byte == '\r' ? STATE_DATA_LF : STATE_FAILED;
	case STATE_DATA_LF:
		return byte == '\n' ? STATE_SIZE : STATE_FAILED;
	case STATE_TRAILER_START:
		/* A folded trailer line is refused as a folded header line is. */
		if (byte == ' ' || byte == '\t')
			return STATE_FAILED;
		return extra_byte(c, byte, STATE_TRAILER, STATE_END_LF);
	case STATE_TRAILER:
		return extra_byte(c, byte, STATE_TRAILER, STATE_TRAILER_LF);
	case STATE_TRAILER_LF:
		return byte == '\n' ? STATE_TRAILER_START : STATE_FAILED;
	case STATE_END_LF:
		return byte == '\n' ? STATE_END : STATE_FAILED;
	default:
		return STATE_FAILED;
	}
}

ssize_t chunked_parse(struct chunked *c, const char *buf, size_t len, struct slice *data)
{
	size_t at = 0;

	*data = (struct slice){ buf, 0 };
	while (at < len && !c->done) {
		if (c->state == STATE_DATA) {
			size_t run = len - at < c->left ? len - at : (size_t)c->left;

			*data = (struct slice){ buf + at, run };
			c->left -= run;
			if (c->left == 0)
				c->state = STATE_DATA_CR;
			return (ssize_t)(at + run);
		}
		c->state = (uint8_t)next_state(c, buf[at]);
		if (c->state == STATE_FAILED)
			return -400;
		c->done = c->state == STATE_END;
		at++;
	}
	assert(at <= len);
	return (ssize_t)at;
}
