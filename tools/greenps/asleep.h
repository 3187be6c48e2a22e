/* SPDX-License-Identifier: MIT
 *
 * Reading what lies on green stacks, also on those that hibernate: their bytes are in
 * the target's slab, packed.
 */
#ifndef ASLEEP_H
#define ASLEEP_H

#include "snapshot.h"

/* From address, which lies on that stack, up to its top; false: it is not all there. */
bool asleep_read_stack(struct snapshot *s, const struct stack_view *v, uint64_t address, void *to);

/* As target_read(), of any memory. */
bool asleep_read(struct snapshot *s, uint64_t address, void *to, size_t size);

/* Says of each thread whether its stack hibernates. */
void asleep_mark(struct snapshot *s);

#endif
