/* SPDX-License-Identifier: MIT
 *
 * struct runs: how long green threads ran from one switch to the next, by the place of the
 * one that ended it.
 */
#ifndef RUNS_H
#define RUNS_H

#include "events.h"

#include <stdint.h>

struct runs;

struct runs *runs_open(void);       /* NULL: no memory */
void runs_close(struct runs *runs); /* or NULL */

/* The next record in the order of time: ticks that its thread had run before it switched
 * there; 0: not known, for it is the first one of that thread. */
uint64_t runs_add(struct runs *runs, const struct trace_record *r);

#endif
