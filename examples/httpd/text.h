/* SPDX-License-Identifier: MIT
 *
 * Text being put together in memory of a known size.
 *
 * Who calls knows an upper bound of what he writes and has made room for it;
 * running out of room is a bug, so it is asserted and not reported.
 */
#ifndef HTTPD_TEXT_H
#define HTTPD_TEXT_H

#include "slice.h"

#include <assert.h>
#include <stdint.h>

struct text {
	char *buf;
	size_t len, size;
};

static inline void text_put(struct text *t, struct slice s)
{
	assert(s.len <= t->size - t->len);
	if (s.len > 0)
		memcpy(t->buf + t->len, s.ptr, s.len);
	t->len += s.len;
}

static inline void text_number(struct text *t, uint64_t value)
{
	char digits[20];
	size_t at = sizeof(digits);

	do
		digits[--at] = (char)('0' + value % 10);
	while ((value /= 10) != 0);
	text_put(t, (struct slice){ digits + at, sizeof(digits) - at });
}

static inline void text_hex(struct text *t, uint64_t value)
{
	char digits[16];
	size_t at = sizeof(digits);

	do
		digits[--at] = "0123456789abcdef"[value % 16];
	while ((value /= 16) != 0);
	text_put(t, (struct slice){ digits + at, sizeof(digits) - at });
}

#endif
