/* SPDX-License-Identifier: MIT
 *
 * The one way in which the runtime ends the process: it cannot go on, says
 * what happened to whom and what to do about it, and aborts.  Usable in signal
 * handlers.
 */
#ifndef FATAL_H
#define FATAL_H

#include "report.h"

struct gt;
struct symbols;
struct worker;

_Noreturn void fatal(const char *what, const char *remedy);

/* abort(3) as the program's own: a handler of its for SIGABRT runs. */
_Noreturn void fatal_abort(void);
/* Makes it so where calls are intercepted; NULL: nothing is needed for that. */
extern void (*fatal_hook)(void);

/* A system call on one of w's own descriptors says that it is not open, or not
 * what it was. */
_Noreturn void fatal_lost_fd(struct worker *w);

/* Writes 'green thread 67108866 "name"': the name, or its function's symbol. */
void fatal_report_thread(struct report *r, struct symbols *s, const struct gt *gt);
/* "spawned at" and the place. */
void fatal_report_origin(struct report *r, struct symbols *s, const struct gt *gt);

#endif
