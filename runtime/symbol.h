/* SPDX-License-Identifier: MIT
 *
 * struct symbols: names for code addresses, usable in a signal handler.
 *
 * dladdr(3) takes the dynamic linker's lock and knows exported functions only.
 * Here /proc/self/maps says which file an address belongs to, and the symbol
 * table of that file, mapped for the time, which function.  System calls only.
 */
#ifndef SYMBOL_H
#define SYMBOL_H

#include "report.h"

#include <stdbool.h>

struct symbols {
	const char *image; /* of the file looked at last; NULL: none */
	size_t size;
	char path[256];
};

void symbols_begin(struct symbols *s);
void symbols_end(struct symbols *s);

/* The function's name alone, cut to size; false: unknown (buf is ""). */
bool symbol_name(struct symbols *s, const void *address, char *buf, size_t size);

/* Writes "function+0x1f (file)", "file+0x1234" or "0x7f0012345678".  A return
 * address belongs to the call before it. */
void symbol_report(struct symbols *s, struct report *r, const void *address, bool is_return);

#endif
