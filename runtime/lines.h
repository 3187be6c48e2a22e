/* SPDX-License-Identifier: MIT
 *
 * A small file read line by line (/proc), without libc: in reports of crashes, and where
 * nobody may allocate.
 */
#ifndef LINES_H
#define LINES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct lines {
	long fd;
	size_t have, at;
	char buf[512];
};

/* false: it cannot be opened. */
bool lines_open(struct lines *l, const char *path);
void lines_close(struct lines *l);

/* A line without its end, NUL-terminated, cut to size; false at the end of the file. */
bool lines_next(struct lines *l, char *line, size_t size);

/* The hexadecimal number at *at, which then is behind it; 0: there is none. */
uintptr_t lines_hex(const char **at);

#endif
