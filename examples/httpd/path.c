/* SPDX-License-Identifier: MIT
 *
 * Decoding the path and query of a request target.
 */
#include "path.h"

/* Takes one byte, decoded, off the raw path.  Returns it or -status. */
static int take_byte(struct slice *raw, bool *escaped)
{
	char c = raw->ptr[0];
	size_t width = 1;
	int byte = (unsigned char)c;

	*escaped = c == '%';
	if (*escaped) {
		width = 3;
		if (raw->len < width)
			return -400;
		int high = hex_digit(raw->ptr[1]), low = hex_digit(raw->ptr[2]);
		if (high < 0 || low < 0)
			return -400;
		byte = high << 4 | low;
	}
	raw->ptr += width;
	raw->len -= width;
	return byte == 0 ? -400 : byte;
}

/* A part of the decoded path that begins with a dot. */
static bool hidden(const char *part, size_t len)
{
	return len > 0 && part[0] == '.' &&
	       !slice_equal((struct slice){ part, len }, SLICE(".well-known"));
}

int path_decode(struct slice raw, char *out, size_t size)
{
	size_t len = 0, part = 0;

	while (raw.len > 0) {
		bool escaped;
		int byte = take_byte(&raw, &escaped);

		if (byte < 0)
			return byte;
		if (len + 1 >= size)
			return -414;
		if (byte != '/') {
			out[len++] = (char)byte;
			continue;
		}
		if (escaped || hidden(out + part, len - part))
			return -404;
		if (len > 0 && out[len - 1] != '/')
			out[len++] = '/';
		part = len;
	}
	if (hidden(out + part, len - part))
		return -404;
	out[len] = '\0';
	return (int)len;
}

bool query_number(struct slice query, struct slice name, uint64_t *value)
{
	while (query.len > 0) {
		const char *ampersand = memchr(query.ptr, '&', query.len);
		size_t len = ampersand ? (size_t)(ampersand - query.ptr) : query.len;
		bool match = len > name.len + 1 && query.ptr[name.len] == '=' &&
		             memcmp(query.ptr, name.ptr, name.len) == 0;

		if (match && len - name.len <= 19) {
			*value = 0;
			for (size_t i = name.len + 1; i < len; i++) {
				if (query.ptr[i] < '0' || query.ptr[i] > '9')
					return false;
				*value = *value * 10 + (unsigned)(query.ptr[i] - '0');
			}
			return true;
		}
		len += ampersand != NULL;
		query.ptr += len;
		query.len -= len;
	}
	return false;
}
