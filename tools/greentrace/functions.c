/* SPDX-License-Identifier: MIT
 *
 * Reading descriptors of green threads, and remembering what was read.
 */
#include "functions.h"

#include <string.h>

#define KEPT_NS 1000000000

uint64_t functions_read(struct functions *f, struct session *s, uint32_t index, int64_t now_ns)
{
	static char raw[STRUCT_SIZE_MAX];
	const struct layout *l = &s->layout;
	size_t at = index % FUNCTIONS_CACHE;
	uint64_t table = 0;

	if (f->cache[at].index == index && now_ns - f->cache[at].read_ns < KEPT_NS)
		return f->cache[at].fn;
	f->cache[at].index = index;
	f->cache[at].read_ns = now_ns;
	f->cache[at].fn = 0;
	if (layout_global(&s->target, l->gt_table, &table) &&
	    target_read(&s->target, table + (uint64_t)index * l->gt.size, raw, l->gt.size))
		f->cache[at].fn = layout_function(l, &s->target, raw);
	return f->cache[at].fn;
}
