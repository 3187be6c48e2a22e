/* SPDX-License-Identifier: MIT
 *
 * The flight recorder's reports: the last records of the workers, as text.
 */
#ifndef FLIGHT_H
#define FLIGHT_H

#include <stddef.h>

struct report;
struct symbols;
struct worker;

#define FLIGHT_LINES 16 /* in reports about something else */

/* Writes up to `most` of the last records of w (NULL: of no worker).  Usable in signal
 * handlers. */
void flight_report(struct report *r, struct symbols *s, const struct worker *w, size_t most);

/* The signal that the options ask for.  0, -EINVAL or another -errno. */
int flight_signal_start(void);
void flight_signal_stop(void);

#endif
