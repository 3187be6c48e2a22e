/* SPDX-License-Identifier: MIT
 *
 * Sorting what arrives in sorted parts.
 */
#include "order.h"

#include <stdlib.h>
#include <string.h>

#define ROOM_FIRST 4096
#define OFTEN 4096 /* new records, before it is looked at who may go */

static int earlier(const void *a, const void *b)
{
	const struct ordered *x = a, *y = b;

	if (x->record.time != y->record.time)
		return x->record.time < y->record.time ? -1 : 1;
	/* As they arrived. */
	return x->serial < y->serial ? -1 : x->serial > y->serial;
}

/* Those of before the limit go. */
static void release(struct order *o, uint64_t limit)
{
	size_t gone = 0;

	if (o->count == 0)
		return;
	qsort(o->all, o->count, sizeof(o->all[0]), earlier);
	while (gone < o->count && o->all[gone].record.time < limit)
		o->take(o->arg, &o->all[gone++]);
	memmove(o->all, o->all + gone, (o->count - gone) * sizeof(o->all[0]));
	o->count -= gone;
	o->settled = o->count;
	for (size_t i = 0; i < o->count; i++)
		o->all[i].serial = (uint32_t)i;
}

static bool make_room(struct order *o, size_t more)
{
	size_t room = o->room ? o->room : ROOM_FIRST;

	while (room - o->count < more)
		room *= 2;
	if (room == o->room)
		return true;
	struct ordered *all = realloc(o->all, room * sizeof(*all));
	if (!all)
		return false;
	o->all = all;
	o->room = room;
	return true;
}

void order_add(struct order *o, const struct event_records *e, uint64_t since, uint64_t delay)
{
	if (!make_room(o, e->count)) {
		o->refused += e->count;
		return;
	}
	for (uint32_t i = 0; i < e->count; i++)
		if (e->records[i].time >= since) {
			o->all[o->count] =
				(struct ordered){ e->records[i], e->tid, (uint32_t)o->count };
			o->count++;
		}
	if (e->ticks > o->now)
		o->now = e->ticks;
	/* As many new ones as old ones: then sorting all takes a step or two each. */
	if (o->count - o->settled >= OFTEN && o->count >= 2 * o->settled && o->now > delay)
		release(o, o->now - delay);
}

void order_end(struct order *o)
{
	release(o, UINT64_MAX);
}

void order_free(struct order *o)
{
	free(o->all);
	memset(o, 0, sizeof(*o));
}
