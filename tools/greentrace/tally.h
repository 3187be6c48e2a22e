/* SPDX-License-Identifier: MIT
 *
 * Adding up what has been seen: as it arrives, or again from a recording.
 */
#ifndef TALLY_H
#define TALLY_H

#include "trace.h"

/* Records of before t->started_ticks do not count: they stood in the ring, for the flight
 * recorder. */
void tally_records(struct trace *t, const struct event_records *e);

/* path: where it was, NULL if unknown; of *e the registers and the stack are not looked
 * at.  EVENT_FAULT: e->why is how deep it was. */
void tally_stack(struct trace *t, const struct event_stack *e, struct path *path);

/* How much of e->ns was told of by an event before, of a call that goes on. */
uint64_t tally_told(const struct event_stack *e);

void tally_request(struct trace *t, const struct event_request *e);

/* How often the call was made, in all; tally_stack() has told of it.  Begins anew when
 * tally_uncount() was called. */
void tally_syscall(struct trace *t, const struct syscall_key *key, uint64_t n);
void tally_uncount(struct trace *t);

/* EVENT_QUEUED; others are passed over. */
void tally_small(struct trace *t, const struct event_small *e);

/* The text is copied.  False: enough are known of this switch point, or no memory. */
bool tally_descriptor(struct trace *t, uint64_t site, uint64_t why, const char *text);
/* Would one more be kept? */
bool tally_wants_descriptor(const struct trace *t, uint64_t site, uint64_t why);

/* How often calls at the switch point began. */
void tally_entry(struct trace *t, const struct entry_key *key, uint64_t n);

/* Stretches of computing that were still going on. */
void tally_end(struct trace *t);
void tally_free(struct trace *t);

#endif
