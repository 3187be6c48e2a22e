/* SPDX-License-Identifier: MIT
 *
 * The progress line on standard error: live on a terminal, a line a second
 * with --progress lines, else nothing.
 */
#ifndef PROGRESS_H
#define PROGRESS_H

/* mode: NULL or "auto", "lines", "none". */
void progress_init(const char *mode);

/* Shows the text, at most ten times a second. */
void progress(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Removes the live line, so that something else can be printed. */
void progress_clear(void);

#endif
