/* SPDX-License-Identifier: MIT
 *
 * Reading descriptors of green threads, and remembering what was read.
 */
#include "functions.h"

#include <string.h>

#define KEPT_NS 1000000000

uint64_t functions_read(struct functions *f, struct session *s, uint32_t index, int64_t now_ns)
{
	const struct layout *l = &s->layout;
	size_t at = index % FUNCTIONS_CACHE;
	uint64_t table = 0;

	if (f->cache[at].index == index && now_ns - f->cache[at].read_ns < KEPT_NS)
		return f->cache[at].fn;
	f->cache[at].index = index;
	f->cache[at].read_ns = now_ns;
	f->cache[at].fn = 0;
	if (layout_global(&s->target, l->gt_table, &table))
		target_read(&s->target, table + (uint64_t)index * l->gt.size + l->gt_fn.value,
		            &f->cache[at].fn, sizeof(f->cache[at].fn));
	return f->cache[at].fn;
}

/* ---- of a batch --------------------------------------------------------------- */

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
