/* SPDX-License-Identifier: MIT
 *
 * Putting reports together, and writing them.
 */
#include "report.h"
#include "arch/sys.h"

#include <errno.h>
#include <poll.h>
#include <time.h>

#define REPORT_WAIT_S 1 /* for a reader of a full, non-blocking pipe */

void report_begin(struct report *r, int fd)
{
	r->fd = fd;
	r->error = 0;
	r->used = 0;
}

static long wait_writable(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLOUT };
	struct timespec limit = { .tv_sec = REPORT_WAIT_S };

	return sys5(SYS_ppoll, &p, 1, &limit, NULL, 0);
}

static void flush(struct report *r)
{
	size_t done = 0;

	while (done < r->used && !r->error) {
		long n = sys3(SYS_write, r->fd, r->text + done, r->used - done);
		if (n > 0)
			done += (size_t)n;
		else if (n == -EAGAIN && wait_writable(r->fd) > 0)
			continue;
		else if (n != -EINTR)
			r->error = n < 0 ? (int)n : -EIO;
	}
	r->used = 0;
}

int report_end(struct report *r)
{
	flush(r);
	return r->error;
}

static void put(struct report *r, char c)
{
	if (r->used == sizeof(r->text))
		flush(r);
	r->text[r->used++] = c;
}

void report_str(struct report *r, const char *s)
{
	while (*s)
		put(r, *s++);
}

void report_quoted(struct report *r, const char *s, size_t size)
{
	static const char digits[] = "0123456789abcdef";

	put(r, '"');
	for (size_t i = 0; i < size && s[i]; i++) {
		unsigned char c = (unsigned char)s[i];
		if (c < 0x20 || c == 0x7f) {
			report_str(r, "\\x");
			put(r, digits[c >> 4]);
			put(r, digits[c & 15]);
			continue;
		}
		if (c == '"' || c == '\\')
			put(r, '\\');
		put(r, (char)c);
	}
	put(r, '"');
}

static void put_digits(struct report *r, uint64_t n, unsigned base, int least)
{
	char digits[20];
	int count = 0;

	do {
		digits[count++] = "0123456789abcdef"[n % base];
		n /= base;
	} while (n || count < least);
	while (count > 0)
		put(r, digits[--count]);
}

void report_number(struct report *r, int64_t n)
{
	if (n < 0)
		put(r, '-');
	put_digits(r, n < 0 ? 0 - (uint64_t)n : (uint64_t)n, 10, 1);
}

void report_handle(struct report *r, uint64_t handle)
{
	put_digits(r, handle, 10, 1);
}

void report_hex(struct report *r, const void *address)
{
	report_str(r, "0x");
	put_digits(r, (uintptr_t)address, 16, 1);
}

void report_kib(struct report *r, size_t bytes)
{
	size_t unit = bytes >= (1u << 20) && bytes % (1u << 20) == 0 ? 1u << 20 : 1u << 10;

	put_digits(r, bytes / unit, 10, 1);
	if (bytes % unit) {
		put(r, '.');
		put_digits(r, bytes % unit * 10 / unit, 10, 1);
	}
	report_str(r, unit == 1u << 20 ? " MiB" : " KiB");
}

void report_since(struct report *r, int64_t ns)
{
	uint64_t ms = ns > 0 ? (uint64_t)ns / 1000000 : 0;

	put_digits(r, ms / 1000, 10, 1);
	put(r, '.');
	put_digits(r, ms % 1000, 10, 3);
	report_str(r, " s");
}

void report_us(struct report *r, int64_t ns)
{
	uint64_t us = ns > 0 ? ((uint64_t)ns + 500) / 1000 : 0;

	put_digits(r, us / 1000, 10, 1);
	put(r, '.');
	put_digits(r, us % 1000, 10, 3);
	report_str(r, " ms");
}
