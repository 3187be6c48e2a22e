/* SPDX-License-Identifier: MIT
 *
 * The probes that an ELF file has, by its .note.stapsdt (systemtap's format, which all
 * tracers read).
 */
#ifndef NOTES_H
#define NOTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct note {
	char *provider, *name, *arguments;
	uint64_t location, semaphore; /* addresses as in the file; semaphore 0: none */
};

struct notes {
	struct note *all;
	size_t count;
};

/* By descriptor; 0 or -errno (-ENOEXEC: not a 64-bit ELF file of this byte order).  What
 * of the notes is damaged is left out. */
int notes_read(struct notes *notes, int fd);
/* The same of a file in memory, which is written to where it is of other byte order. */
int notes_read_memory(struct notes *notes, char *file, size_t size);
void notes_free(struct notes *notes);

/* One note's description into *note, whose texts are allocated; false: damaged.  base is
 * where the file's section .stapsdt.base lies (a file may have been moved since the note
 * was made); 0: it has none. */
bool note_parse(struct note *note, const char *desc, size_t size, uint64_t base);
void note_clear(struct note *note);

#endif
