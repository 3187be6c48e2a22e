/* SPDX-License-Identifier: MIT
 *
 * struct slotmap: which slots of an arena are taken; hands out the lowest.
 *
 * A tree of bits, 64 ways: bit i of level 0 says that slot i is taken, bit i
 * of level n + 1 that word i of level n has no zero bit left.  All zero means
 * all free, so that untouched memory of a reserved mapping is a valid map of
 * any size.  Slots move in batches, which makes the lock a rare one.
 */
#ifndef STACKS_SLOTMAP_H
#define STACKS_SLOTMAP_H

#include "spin.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SLOTMAP_LEVELS 5 /* 64^5 = 2^30 slots */

struct slotmap {
	struct spin lock;
	uint32_t levels; /* in use */
	_Atomic uint32_t taken;
	uint64_t *words[SLOTMAP_LEVELS];
};

/* Bytes of zeroed memory that a map of count slots needs. */
size_t slotmap_size(uint32_t count);
void slotmap_init(struct slotmap *map, void *memory, uint32_t count);

/* The lowest free slots in ascending order, at most want; returns how many. */
unsigned slotmap_take(struct slotmap *map, uint32_t *slots, unsigned want);
void slotmap_give(struct slotmap *map, const uint32_t *slots, unsigned count);

bool slotmap_is_taken(struct slotmap *map, uint32_t slot);

#endif
