/* SPDX-License-Identifier: MIT
 *
 * struct names: symbols and call paths of the traced process, looked up once and kept,
 * so that they are there when the process is not.
 */
#ifndef NAMES_H
#define NAMES_H

#include "events.h"
#include "symbols.h"

#include <stdio.h>

struct path { /* innermost first, without the runtime's own frames */
	uint64_t hash;
	uint64_t count;  /* how often it was seen */
	uint32_t number; /* how many were known before */
	size_t depth;
	bool cut;  /* it has more frames than are kept */
	size_t at; /* of the frame that is the switch point: behind libraries, or the first */
	uint64_t why;
	const struct symbol **frames;
	struct path *next;
	uint64_t pcs[]; /* depth */
};

struct names;

/* target and layout stay the caller's; without them only what names_put() is given is
 * known.  NULL: reported, or no memory. */
struct names *names_open(struct target *target, const struct layout *layout);
void names_close(struct names *names);

/* Never NULL; kept until names_close(). */
const struct symbol *names_get(struct names *names, uint64_t pc, bool is_return);

/* Where the function with that name lies; false: there is none, or its size is not known. */
bool names_find(struct names *names, const char *function, uint64_t *start, uint64_t *end);

/* The call path in the copy of a stack (0: from the innermost frame; else the runtime's own
 * are left out, down to the site).  NULL: it cannot be unwound. */
struct path *names_path(struct names *names, const struct event_stack *e, uint64_t site);

/* It was seen at that switch point, which is to be found among its frames. */
void path_note(struct path *path, uint64_t site, uint64_t why);
static inline bool path_is_of(const struct path *path, uint64_t site, uint64_t why)
{
	return path->pcs[path->at] == site && (why < TRACE_CALL || path->why == why);
}

/* Did the runtime make it, through libc? */
bool names_is_runtimes(const struct names *names, const struct path *path);

/* A path of only that frame, which a call comes back to.  NULL: no memory. */
struct path *names_alone(struct names *names, uint64_t pc);

/* ---- recordings ---------------------------------------------------------------- */

/* Is told of each symbol and each path when it is new, the symbols of a path first; they
 * are numbered in that order.  NULL: no longer. */
struct names_listener {
	void (*symbol)(void *arg, uint64_t pc, bool is_return, const struct symbol *symbol);
	void (*path)(void *arg, const struct path *path);
	void *arg;
};
void names_listen(struct names *names, const struct names_listener *listener);

/* The number of one that names_get() returned. */
uint32_t names_number(const struct symbol *symbol);

/* What another greentrace was told; false, NULL: no memory. */
bool names_put(struct names *names, uint64_t pc, bool is_return, const struct symbol *symbol);
struct path *names_put_path(struct names *names, const struct frame *frames, size_t depth);

/* ---- all of them ----------------------------------------------------------------- */

void names_each_path(struct names *names, void (*each)(void *arg, const struct path *path),
                     void *arg);

/* Escaped: "function+0x12 (file.c:34)", or "libx.so+0x12" for want of better. */
char *place_text(char *to, size_t size, const struct symbol *symbol);
/* Escaped: "function", or "libx.so+0x12". */
char *function_text(char *to, size_t size, const struct symbol *symbol);

/* The same from a path: indented lines. */
void path_print(FILE *file, const struct path *path);

#endif
