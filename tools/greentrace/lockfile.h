/* SPDX-License-Identifier: MIT
 *
 * The switch lockfile: which functions of which files make calls that may switch, and
 * how many such calls were reached in each.
 *
 * A line is "kind<TAB>file<TAB>function<TAB>calls", sorted, with nothing in it that depends
 * on timing, on where things are loaded, or on line numbers.  Lines with # are comments.
 */
#ifndef LOCKFILE_H
#define LOCKFILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

struct lock_entry {
	char key[640]; /* "kind\tfile\tfunction", escaped */
	unsigned calls;
};

struct lock {
	struct lock_entry *all;
	size_t count;
};

/* One call more with these, which are escaped here.  False: no memory. */
bool lock_add(struct lock *lock, const char *kind, const char *file, const char *function);
void lock_free(struct lock *lock);

/* Sorts, and writes to the file.  EXIT_OK, or a problem that has been reported. */
int lock_write(struct lock *lock, const char *file);

/* EXIT_OK, or a problem that has been reported. */
int lock_read(struct lock *lock, const char *file);

/* The same of a stream; name: what it is called in messages. */
int lock_read_stream(struct lock *lock, FILE *stream, const char *name);

/* Says each call in now that before lacks, to standard output; how many there are. */
size_t lock_compare(const struct lock *before, struct lock *now);

#endif
