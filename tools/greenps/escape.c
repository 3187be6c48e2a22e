/* SPDX-License-Identifier: MIT
 *
 * Escaping.
 */
#include "escape.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

/* Bytes of the UTF-8 character at s, 0 if it is none; *point: what it stands for. */
static unsigned decode(const unsigned char *s, uint32_t *point)
{
	static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
	unsigned n = s[0] < 0x80           ? 1
	             : (s[0] >> 5) == 6    ? 2
	             : (s[0] >> 4) == 0xe  ? 3
	             : (s[0] >> 3) == 0x1e ? 4
	                                   : 0;

	if (n <= 1) {
		*point = s[0];
		return n;
	}
	uint32_t p = s[0] & (0xffu >> (n + 1));
	for (unsigned i = 1; i < n; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return 0;
		p = p << 6 | (s[i] & 0x3f);
	}
	*point = p;
	return p < least[n] || p > 0x10ffff || (p >= 0xd800 && p < 0xe000) ? 0 : n;
}

static bool harmless(uint32_t p)
{
	if (p < 0x20 || (p >= 0x7f && p < 0xa0))
		return false;
	if ((p >= 0x200b && p <= 0x200f) || (p >= 0x2028 && p <= 0x202e))
		return false;
	return !(p >= 0x2060 && p <= 0x206f) && p != 0xfeff && p != 0xad && p < 0xe0000;
}

char *escape_text(char *to, size_t size, const char *text, bool quote)
{
	static const char digits[] = "0123456789abcdef";
	size_t n = 0, room = size - 2 - quote; /* for a character, the quote, the NUL */

	if (quote)
		to[n++] = '"';
	while (*text && n + 4 < room) {
		const unsigned char *s = (const unsigned char *)text;
		uint32_t point = 0;
		unsigned length = decode(s, &point);
		if (length && harmless(point)) {
			if (quote && (*s == '"' || *s == '\\'))
				to[n++] = '\\';
			memcpy(to + n, s, length);
			n += length;
			text += length;
			continue;
		}
		to[n++] = '\\';
		to[n++] = 'x';
		to[n++] = digits[*s >> 4];
		to[n++] = digits[*s & 15];
		text++;
	}
	if (quote)
		to[n++] = '"';
	to[n] = 0;
	return to;
}

void escape_json(const char *text)
{
	putchar('"');
	while (*text) {
		const unsigned char *s = (const unsigned char *)text;
		uint32_t point = 0;
		unsigned length = decode(s, &point);
		if (!length) {
			fputs("\\ufffd", stdout);
			text++;
			continue;
		}
		if (*s == '"' || *s == '\\')
			printf("\\%c", *s);
		else if (harmless(point))
			fwrite(s, 1, length, stdout);
		else if (point < 0x10000)
			printf("\\u%04x", (unsigned)point);
		else
			printf("\\u%04x\\u%04x", 0xd7c0u + (unsigned)(point >> 10),
			       0xdc00u | (unsigned)(point & 0x3ff));
		text += length;
	}
	putchar('"');
}
