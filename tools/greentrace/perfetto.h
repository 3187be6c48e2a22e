/* SPDX-License-Identifier: MIT
 *
 * struct perfetto: a timeline for ui.perfetto.dev, written as the trace goes on.
 *
 * A track for each worker shows which function of which green thread ran on it; one for
 * each green thread where it was away, the part of that after it had been woken, and
 * arrows from those who woke it.  Names are written once and then named by number.
 */
#ifndef PERFETTO_H
#define PERFETTO_H

#include "order.h"
#include "trace.h"

#define PERFETTO_THREADS_MAX 10000 /* green threads with a track */

struct perfetto;

/* Of t, which has been started or read.  EXIT_OK, or a problem that has been reported. */
int perfetto_create(struct perfetto **perfetto, struct trace *t, const char *file);

/* A record more, in the order of time. */
void perfetto_record(struct perfetto *p, const struct ordered *o);

/* A worker that did not switch. */
void perfetto_stop(struct perfetto *p, const struct event_stack *e, const struct path *path);

/* EXIT_OK, or a problem that has been reported. */
int perfetto_finish(struct perfetto *p);

#endif
