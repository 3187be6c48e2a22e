/* SPDX-License-Identifier: MIT
 *
 * The flight recorder's reports: the last records of the workers, as text.
 */
#ifndef FLIGHT_H
#define FLIGHT_H

struct report;
struct symbols;
struct worker;

/* Part of a report about something else: the last few records of w, which may be NULL.
 * Usable in signal handlers. */
void flight_report(struct report *r, struct symbols *s, const struct worker *w);

/* The signal that the options ask for.  0, -EINVAL or another -errno. */
int flight_signal_start(void);
void flight_signal_stop(void);

#endif
