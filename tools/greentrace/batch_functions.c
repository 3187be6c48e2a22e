/* SPDX-License-Identifier: MIT
 *
 * What the threads of one batch of records began with.
 */
#include "functions.h"

#include <string.h>

_Static_assert(BATCH_SLOTS >= 2 * TRACE_BATCH, "a free one is always found");

/* Where it is, or would be. */
static size_t place_of(const struct batch_functions *b, uint32_t index)
{
	size_t at = (index * 0x9e3779b1u >> 16) % BATCH_SLOTS;

	while (b->slots[at].index && b->slots[at].index != index)
		at = (at + 1) % BATCH_SLOTS;
	return at;
}

void batch_clear(struct batch_functions *b)
{
	memset(b, 0, sizeof(*b));
}

uint64_t *batch_put(struct batch_functions *b, uint32_t index, bool *is_new)
{
	size_t at = place_of(b, index);

	*is_new = b->slots[at].index == 0;
	if (*is_new && (index == 0 || b->count == BATCH_SLOTS / 2))
		return NULL;
	b->count += *is_new;
	b->slots[at].index = index;
	return &b->slots[at].fn;
}

uint64_t batch_get(const struct batch_functions *b, uint32_t index)
{
	return index ? b->slots[place_of(b, index)].fn : 0;
}
