/* SPDX-License-Identifier: MIT
 *
 * Printing text that somebody else wrote (names, paths, symbols) to terminals and
 * into JSON.
 */
#ifndef ESCAPE_H
#define ESCAPE_H

#include <stdbool.h>
#include <stddef.h>

/* Copies text so that a terminal shows it and does nothing else: control
 * characters, bytes that are not UTF-8, and characters that change the direction
 * of writing or are invisible become \xNN.  quote: in double quotes.  Cut to fit;
 * returns to. */
char *escape_text(char *to, size_t size, const char *text, bool quote);

/* To standard output, as a JSON string. */
void escape_json(const char *text);

#endif
