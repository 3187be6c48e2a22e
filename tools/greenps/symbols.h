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

/* The call path of a thread, innermost first, into frames[FRAMES_MAX]; how many, 0
 * with *why set.  A parked one's registers are on its stack; one that runs has them
 * only in a core file. */
size_t stack_walk(struct symbols *symbols, const struct thread *thread, struct frame *frames,
                  const char **why);

#endif
