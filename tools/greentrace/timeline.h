/* SPDX-License-Identifier: MIT
 *
 * struct timeline: the views that need all records in the order of time.
 */
#ifndef TIMELINE_H
#define TIMELINE_H

#include "chains.h"
#include "perfetto.h"
#include "requests.h"

/* As far as t's options ask for it, once t has been started or before it is read.
 * EXIT_OK, or a problem that has been reported. */
int timeline_open(struct trace *t);

void timeline_records(struct timeline *l, const struct event_records *e);
void timeline_request(struct timeline *l, const struct event_request *e);
void timeline_stack(struct timeline *l, const struct event_stack *e, const struct path *path);

/* All has arrived: the rest of it in order. */
void timeline_settle(struct timeline *l);
/* Ends the file that was being written.  EXIT_OK, or a problem that has been reported. */
int timeline_end(struct timeline *l);
void timeline_free(struct timeline *l); /* or NULL */

/* NULL: nobody has asked for them. */
const struct chains *timeline_chains(const struct timeline *l);

/* NULL: nobody has asked for them. */
const struct requests *timeline_requests(const struct timeline *l);

uint64_t timeline_refused(const struct timeline *l);

#endif
