/* SPDX-License-Identifier: MIT
 *
 * The report about a stuck worker: what it runs, where, and who waits for it.
 */
#ifndef STALL_H
#define STALL_H

#include <stdint.h>

struct worker;

/* Writes it to standard error, unless one was written within the last second: then
 * the next says how many were left out.  The monitor only.  A worker that computes is
 * asked for its stack by SIGURG, unless the program handles that: then the report is
 * written by stall_tick(), once it has answered or a second has passed. */
void stall_report(struct worker *w, int64_t for_ns);
void stall_tick(int64_t now);
void stall_stop(void); /* the monitor ends */

#endif
