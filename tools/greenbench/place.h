/* SPDX-License-Identifier: MIT
 *
 * struct place: one serial group on each worker, for benches that need their
 * green threads to stay where they were put.
 */
#ifndef PLACE_H
#define PLACE_H

#include "run.h"

struct place {
	unsigned workers;
	struct green_serial **groups; /* by worker */
};

/* 0, or an exit status after a message. */
int place_init(struct place *place, struct run *run);
void place_free(struct place *place);

/* Attributes of a green thread on that worker.  With one worker they are the
 * plain ones: everything is there anyway. */
struct green_attr place_attr(const struct place *place, unsigned worker, bool detached);

#endif
