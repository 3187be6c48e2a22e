/* SPDX-License-Identifier: MIT
 *
 * The descriptor: what greenps and the gdb script need to know to find green
 * threads in another process or in a core file, without debug information.
 *
 *	.note.libgreen (loaded, never written)     .data
 *	| "libgreen", type 1                |      | struct descriptor               |
 *	| version | distance ---------------|----->| magic, version, library, items: |
 *	                                           | name, value, size …             |
 *
 * An item is a named number: a global object's address and size ("rt"), a
 * struct's size ("gt"), a field's offset and size ("gt.sp"), a constant
 * ("GT_LIVE"), the name of an enum's value ("why:mutex"), or where a saved context
 * keeps a register, by its DWARF number ("frame.reg6").  Readers go by name: an
 * item may be added, moved or change its value, and they need no change.  What
 * an item means may not change; if it has to, it gets another name.  The version
 * is that of the two structs below.
 *
 * It lies in .data, not .rodata, because core files leave out what is the same
 * in the program's file.
 */
#ifndef DESCRIPTOR_H
#define DESCRIPTOR_H

#include <stdint.h>

#define DESCRIPTOR_NOTE "libgreen" /* owner of the note */
#define DESCRIPTOR_NOTE_TYPE 1
#define DESCRIPTOR_MAGIC "green\n\x1a" /* and a NUL */
#define DESCRIPTOR_VERSION 1

struct descriptor_note {
	uint32_t version;    /* DESCRIPTOR_VERSION */
	uint8_t distance[8]; /* an int64_t, not aligned: from its own address to the descriptor */
};

struct descriptor_item {
	char name[24];
	uint64_t value;
	uint64_t size;
};

#define DESCRIPTOR_ITEMS 256 /* at most; those with an empty name say nothing */

struct descriptor {
	char magic[8];
	uint32_t version, header_size, items_count, item_size; /* sizes in bytes */
	char library[16];                                      /* GREEN_VERSION */
	struct descriptor_item items[DESCRIPTOR_ITEMS];
};

extern __attribute__((visibility("hidden"))) struct descriptor green_descriptor;

#endif
