/* SPDX-License-Identifier: MIT
 *
 * Chains share their ends: each is one place and the number of the rest.
 */
#include "chains.h"

#include <stdlib.h>
#include <string.h>

#define THREADS ROOM(65536) /* whose last wait is remembered; a newer one takes its place */
#define SLOTS (2 * CHAINS_MAX)
#define INDEX_MASK ((1u << 26) - 1) /* of a thread, as in trace_record.h */
#define NONE UINT32_MAX

struct last { /* of a thread */
	uint32_t index;
	uint32_t chain[2]; /* of its last wait, and of that before */
	uint64_t time[2];  /* when these ended */
};

struct chains {
	struct chain all[CHAINS_MAX];
	size_t count;
	uint32_t slots[SLOTS]; /* number + 1; 0: free */
	struct last threads[THREADS];
};

struct chains *chains_open(void)
{
	return calloc(1, sizeof(struct chains));
}

void chains_close(struct chains *c)
{
	free(c);
}

/* ---- interning ------------------------------------------------------------------ */

static bool same(const struct chain *a, const struct chain *b)
{
	return a->pc == b->pc && a->before == b->before && a->why == b->why && a->end == b->end;
}

/* NONE: there is no room. */
static uint32_t intern(struct chains *c, uint64_t pc, uint8_t why, enum chain_end end,
                       uint32_t before)
{
	struct chain new = { .pc = pc, .before = before, .why = why, .end = (uint8_t)end };
	uint64_t hash =
		(pc ^ (uint64_t)before << 20 ^ (uint64_t)why << 8 ^ end) * 0x9e3779b97f4a7c15u;
	size_t at = (size_t)(hash >> 40) % SLOTS;

	new.depth = (uint8_t)(end == CHAIN_GOES_ON ? c->all[before].depth + 1 : 1);
	for (; c->slots[at]; at = (at + 1) % SLOTS)
		if (same(&c->all[c->slots[at] - 1], &new))
			return c->slots[at] - 1;
	if (c->count == CHAINS_MAX)
		return NONE;
	c->all[c->count] = new;
	c->slots[at] = (uint32_t)++c->count;
	return (uint32_t)c->count - 1;
}

/* The first so many places of a chain. */
static uint32_t shorten(struct chains *c, uint32_t number, unsigned depth)
{
	const struct chain *chain = &c->all[number];

	if (chain->depth <= depth)
		return number;
	if (depth == 1)
		return intern(c, chain->pc, chain->why, CHAIN_CUT, 0);
	uint32_t before = shorten(c, chain->before, depth - 1);
	if (before == NONE)
		return NONE;
	return intern(c, c->all[number].pc, c->all[number].why, CHAIN_GOES_ON, before);
}

/* ---- waits ----------------------------------------------------------------------- */

static struct last *last_of(struct chains *c, uint32_t index)
{
	return &c->threads[index % THREADS];
}

/* What the thread with that index had waited for, the last time before then. */
static uint32_t chain_of_waker(struct chains *c, uint32_t index, uint64_t then)
{
	const struct last *l = last_of(c, index);

	if (l->index != index)
		return NONE;
	for (unsigned i = 0; i < 2; i++)
		if (l->chain[i] != NONE && l->time[i] <= then)
			return l->chain[i];
	return NONE;
}

static uint32_t chain_of(struct chains *c, const struct trace_record *r)
{
	uint64_t ready = trace_ticks(r, r->ready), woken = r->time > ready ? r->time - ready : 0;
	uint8_t why = (uint8_t)trace_why(r);
	enum chain_end end = CHAIN_EVENT;
	uint32_t before = NONE;

	if (trace_flags(r) & TRACE_OUTSIDE)
		end = CHAIN_OUTSIDE;
	else if (r->waker)
		before = chain_of_waker(c, r->waker, woken);
	if (before != NONE)
		before = shorten(c, before, CHAIN_HOPS - 1);
	else if (r->waker)
		end = CHAIN_NEW;
	return before != NONE ? intern(c, trace_site(r), why, CHAIN_GOES_ON, before)
	                      : intern(c, trace_site(r), why, end, 0);
}

void chains_add(struct chains *c, const struct trace_record *r, uint64_t away_ns)
{
	uint32_t index = r->thread & INDEX_MASK;
	struct last *l = last_of(c, index);

	if (trace_why(r) == TRACE_YIELD)
		return;
	uint32_t chain = chain_of(c, r);
	if (l->index != index)
		*l = (struct last){ .index = index, .chain = { NONE, NONE } };
	l->chain[1] = l->chain[0];
	l->time[1] = l->time[0];
	l->chain[0] = chain;
	l->time[0] = r->time;
	if (chain == NONE)
		return;
	c->all[chain].count++;
	c->all[chain].total_ns += away_ns;
}

/* ---- looking --------------------------------------------------------------------- */

size_t chains_count(const struct chains *c)
{
	return c->count;
}

const struct chain *chains_get(const struct chains *c, uint32_t number)
{
	return &c->all[number];
}

size_t chains_of(const struct chains *c, uint64_t pc, unsigned why, uint32_t *numbers, size_t max)
{
	size_t n = 0;

	for (uint32_t i = 0; i < c->count; i++) {
		const struct chain *chain = &c->all[i];
		if (chain->pc != pc || chain->why != why || chain->count == 0)
			continue;
		size_t at = n;
		while (at > 0 && c->all[numbers[at - 1]].total_ns < chain->total_ns)
			at--;
		if (at == max)
			continue;
		n += n < max;
		for (size_t k = n - 1; k > at; k--)
			numbers[k] = numbers[k - 1];
		numbers[at] = i;
	}
	return n;
}

const char *chain_end_text(enum chain_end end)
{
	static const char *const texts[] = {
		[CHAIN_GOES_ON] = "",
		[CHAIN_EVENT] = "an event or a timer",
		[CHAIN_OUTSIDE] = "an OS thread",
		[CHAIN_NEW] = "a thread that had not waited",
		[CHAIN_CUT] = "more",
	};

	return texts[end];
}
