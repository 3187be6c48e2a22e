/* SPDX-License-Identifier: MIT
 *
 * struct report: text for a person, put together without the C library and
 * written by write(2).  Usable in signal handlers and on small stacks.
 */
#ifndef REPORT_H
#define REPORT_H

#include <stddef.h>
#include <stdint.h>

struct gt;

struct report {
	int fd;
	int error; /* of the first write that failed, -errno */
	size_t used;
	char text[1024];
};

void report_begin(struct report *r, int fd);
/* Writes what is left.  0, or -errno of the first write that failed. */
int report_end(struct report *r);

void report_str(struct report *r, const char *s);
/* At most size bytes of somebody else's text; control characters, quotes and
 * backslashes are escaped, so that it cannot forge lines. */
void report_quoted(struct report *r, const char *s, size_t size);
void report_number(struct report *r, int64_t n);
void report_handle(struct report *r, uint64_t handle);
void report_hex(struct report *r, const void *address);
void report_kib(struct report *r, size_t bytes); /* "64 KiB", "58.9 KiB", "1 MiB" */
void report_since(struct report *r, int64_t ns); /* "1.234 s" */
void report_us(struct report *r, int64_t ns);    /* "1.234 ms", "1234.567 ms" */

#endif
