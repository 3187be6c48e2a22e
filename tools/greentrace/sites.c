/* SPDX-License-Identifier: MIT
 *
 * The table of switch points.
 */
#include "sites.h"

#include <stdlib.h>
#include <string.h>

#define SIZE_FIRST 256

/* ---- the most frequent ------------------------------------------------------ */

void top_add(struct top *top, uint64_t value)
{
	unsigned rarest = 0;

	for (unsigned i = 0; i < top->used; i++) {
		if (top->seen[i].value == value) {
			top->seen[i].count++;
			return;
		}
		if (top->seen[i].count < top->seen[rarest].count)
			rarest = i;
	}
	if (top->used < TOP_COUNT)
		rarest = top->used++;
	else
		top->overflowed = true;
	top->seen[rarest].value = value;
	top->seen[rarest].count++;
}

int top_best(const struct top *top)
{
	int best = -1;

	for (unsigned i = 0; i < top->used; i++)
		if (best < 0 || top->seen[i].count > top->seen[best].count)
			best = (int)i;
	return best;
}

/* ---- the table -------------------------------------------------------------- */

static size_t place_of(const struct sites *sites, uint64_t pc, unsigned why)
{
	uint64_t hash = (pc * 0x9e3779b97f4a7c15u) ^ (why * 0xc2b2ae3d27d4eb4fu);
	size_t at = (size_t)(hash >> 32) & (sites->size - 1);

	while (sites->slots[at] && (sites->slots[at]->pc != pc || sites->slots[at]->why != why))
		at = (at + 1) & (sites->size - 1);
	return at;
}

static bool grow(struct sites *sites)
{
	struct sites old = *sites;

	sites->size = old.size ? 2 * old.size : SIZE_FIRST;
	sites->slots = calloc(sites->size, sizeof(struct site *));
	if (!sites->slots) {
		*sites = old;
		return false;
	}
	for (size_t i = 0; i < old.size; i++)
		if (old.slots[i])
			sites->slots[place_of(sites, old.slots[i]->pc, old.slots[i]->why)] =
				old.slots[i];
	free(old.slots);
	return true;
}

struct site *sites_get(struct sites *sites, uint64_t pc, unsigned why)
{
	if (2 * (sites->count + 1) > sites->size && !grow(sites)) {
		sites->refused++;
		return NULL;
	}
	size_t at = place_of(sites, pc, why);
	if (sites->slots[at])
		return sites->slots[at];
	struct site *site = calloc(1, sizeof(*site));
	if (!site) {
		sites->refused++;
		return NULL;
	}
	site->pc = pc;
	site->why = why;
	sites->slots[at] = site;
	sites->count++;
	return site;
}

void sites_free(struct sites *sites)
{
	for (size_t i = 0; i < sites->size; i++)
		free(sites->slots[i]);
	free(sites->slots);
	memset(sites, 0, sizeof(*sites));
}

void sites_mark(struct sites *sites)
{
	for (size_t i = 0; i < sites->size; i++) {
		struct site *site = sites->slots[i];
		if (!site)
			continue;
		site->parks_before = site->parked.count;
		site->total_before_ns = site->parked.total_ns;
	}
}

/* ---- sorting ---------------------------------------------------------------- */

struct order {
	enum sites_order by;
	bool interval;
};

static double weight(const struct site *site, const struct order *order)
{
	uint64_t count = order->interval ? site_parks(site) : site->parked.count;
	uint64_t total = order->interval ? site_total_ns(site) : site->parked.total_ns;

	switch (order->by) {
	case BY_COUNT:
		return (double)count;
	case BY_MAX:
		return (double)site->parked.max_ns;
	case BY_MEAN:
		return count ? (double)total / (double)count : 0;
	case BY_QUEUED:
		return (double)site->queued.total_ns;
	case BY_TOTAL:
		break;
	}
	return (double)total;
}

static int compare(const void *a, const void *b, void *arg)
{
	const struct site *x = *(struct site *const *)a, *y = *(struct site *const *)b;
	double wx = weight(x, arg), wy = weight(y, arg);

	if (wx != wy)
		return wx < wy ? 1 : -1;
	if (x->entries != y->entries)
		return x->entries < y->entries ? 1 : -1;
	/* So that equal ones do not change places on the screen. */
	return x->pc != y->pc ? (x->pc < y->pc ? -1 : 1) : (int)x->why - (int)y->why;
}

struct site **sites_sorted(const struct sites *sites, enum sites_order by, bool interval)
{
	struct site **sorted = calloc(sites->count + 1, sizeof(struct site *));
	struct order order = { by, interval };
	size_t n = 0;

	if (!sorted)
		return NULL;
	for (size_t i = 0; i < sites->size; i++)
		if (sites->slots[i])
			sorted[n++] = sites->slots[i];
	qsort_r(sorted, n, sizeof(struct site *), compare, &order);
	return sorted;
}
