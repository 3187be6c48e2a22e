/* SPDX-License-Identifier: MIT
 *
 * struct perf: user-mode instructions of this process, where the machine has a
 * counter for them.
 */
#ifndef PERF_H
#define PERF_H

#include <stdint.h>

/* Opens the counter.  Threads started afterwards are counted too.  Where there
 * is none, nothing happens and perf_read() returns NAN. */
void perf_open(void);

/* Instructions so far. */
double perf_read(void);

#endif
