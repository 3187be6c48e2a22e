/* SPDX-License-Identifier: MIT
 *
 * The terminal, where there is one: a table that stays in place, and keys.
 */
#ifndef TERMINAL_H
#define TERMINAL_H

#include "trace.h"

/* Keys are read one by one from now on, if both ends are terminals and a live table is
 * shown; else all this does nothing. */
void terminal_open(const struct options *o);
void terminal_close(void);

void terminal_clear(void);

/* Takes a key that was pressed: true for q.  s changes the order; f is followed by a text to
 * filter by and Enter. */
bool terminal_key(struct look *look);

/* Below the table: what is being typed. */
void terminal_line(const struct look *look);

#endif
