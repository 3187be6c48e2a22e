/* SPDX-License-Identifier: MIT
 *
 * Showing what a trace has seen.
 */
#ifndef VIEW_H
#define VIEW_H

#include "time_text.h"
#include "trace.h"

/* The table of switch points, and what else was asked for.  interval: of what happened
 * since the last one; else of all. */
void view_table(struct trace *t, bool interval);

/* The map of switch points: each with its call path, descriptors and wakers. */
void view_sites(struct trace *t);

/* Below a switch point: who woke, as far as that was asked for. */
void view_chains(struct trace *t, const struct site *site);
void view_json_chains(struct trace *t);
void view_json_begin(const struct trace *t, const char *type);
void view_json_path(const struct path *path);
void view_json_symbol(const struct symbol *symbol);

/* Does the user want to see this place, or the reason? */
bool view_wants(const struct trace *t, uint64_t why, const struct symbol *symbol);
/* Of a kind with a duration, the longest first: allocated, ended by NULL; NULL: no memory. */
struct stop **view_stops(struct trace *t, enum event_kind kind);

/* What else the kernel has seen, as far as that was asked for. */
void view_kernel(struct trace *t);
void view_json_kernel(struct trace *t);

/* The same as lines of JSON. */
void view_json(struct trace *t, bool interval);

/* Time away by call path: "outer;inner;why nanoseconds" lines, and as a page of HTML.
 * EXIT_OK, or a problem that has been reported. */
int folded_write(struct trace *t, const char *file);
int flame_write(struct trace *t, const char *file);

/* "read", "futex", "page fault", "syscall 999". */
const char *syscall_text(int number);

#endif
