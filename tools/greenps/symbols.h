/* SPDX-License-Identifier: MIT
 *
 * struct symbols: names for the target's code addresses, and call paths, by
 * elfutils' libdwfl.
 */
#ifndef SYMBOLS_H
#define SYMBOLS_H

#include "snapshot.h"

#define FRAMES_MAX 128

struct frame {
	uint64_t pc;
	bool is_return; /* pc is where a call comes back to */
};

struct symbol {
	char function[128]; /* "" if none is known */
	uint64_t into;      /* the function, or the file */
	char file[128];     /* last part of its path; "": the address is in none */
	char source[128];   /* "file.c:12", "" if not known */
};

struct symbols;

/* NULL: reported. */
struct symbols *symbols_open(struct snapshot *s);
void symbols_close(struct symbols *symbols);

/* Remembered until the next call.  Nothing in it is escaped. */
const struct symbol *symbol_at(struct symbols *symbols, uint64_t address, bool is_return);

/* Where the function with that name lies; false: there is none, or its size is not known. */
bool symbol_find(struct symbols *symbols, const char *function, uint64_t *start, uint64_t *end);

/* The call path of a thread, innermost first, into frames[FRAMES_MAX]; how many, 0
 * with *why set.  A parked one's registers are on its stack; one that runs has them
 * only in a core file. */
size_t stack_walk(struct symbols *symbols, const struct thread *thread, struct frame *frames,
                  const char **why);

/* The same from a copy of size bytes of a stack, from its stack pointer up, and all
 * registers by their DWARF numbers. */
size_t stack_walk_copy(struct symbols *symbols, const uint64_t registers[LAYOUT_REGISTERS],
                       const char *stack, size_t size, struct frame *frames);

#endif
