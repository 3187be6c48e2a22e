/* SPDX-License-Identifier: MIT
 *
 * Showing a trace in the ways that were asked for.
 */
#ifndef PRESENT_H
#define PRESENT_H

#include "trace.h"

/* To standard output.  interval: of what happened since the last time; else of all. */
void present(struct trace *t, bool interval);

/* Before all else: the files that were asked for can be written and read, as far as can be
 * told.  EXIT_OK, or a problem that has been reported. */
int present_check(const struct options *o);

/* To files.  EXIT_OK, or a problem that has been reported. */
int present_files(struct trace *t);

/* EXIT_OK, or a problem that has been reported: what was to be shown could not be. */
int present_end(void);

#endif
