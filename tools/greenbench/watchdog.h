/* SPDX-License-Identifier: MIT
 *
 * The watchdog: ends the program when a phase takes too long, and says which.
 *
 * An OS thread that only looks at a deadline, so it works however stuck the
 * rest is.  It ends the children too and exits with status 1.
 */
#ifndef WATCHDOG_H
#define WATCHDOG_H

/* Starts it; limit_s is the time of a phase for which none is given. */
int watchdog_start(const char *bench, double limit_s);

/* A phase begins.  what must stay valid until the next call. */
void watchdog_phase(const char *what, double limit_s);

/* Nothing is watched until the next phase. */
void watchdog_rest(void);

/* The limit given to watchdog_start(). */
double watchdog_limit_s(void);

#endif
