/* SPDX-License-Identifier: MIT
 *
 * The census of stacks: what the runtime has noted of threads that have ended
 * (runtime/census.h), and how deep those that are parked are now.
 */
#include "escape.h"
#include "print.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct site {
	uint64_t pc, fn, deepest, size, looked, alive;
	bool is_handler;
};

struct census {
	struct site *sites;
	size_t count, room;
};

static struct site *site_of(struct census *c, uint64_t pc)
{
	for (size_t i = 0; i < c->count; i++)
		if (c->sites[i].pc == pc)
			return &c->sites[i];
	if (c->count == c->room)
		return NULL;
	struct site *site = &c->sites[c->count++];
	*site = (struct site){ .pc = pc };
	return site;
}

/* The runtime's table.  Its size is not trusted. */
static void read_table(struct census *c, const struct view *view)
{
	const struct layout *l = &view->s->layout;
	uint64_t size = l->census_site.size;
	size_t count = size ? l->census_sites.size / size : 0;
	char raw[STRUCT_SIZE_MAX];

	for (size_t i = 0; i < count && i < c->room; i++) {
		if (!target_read(view->s->t, l->census_sites.value + i * size, raw, size))
			return;
		uint64_t pc = layout_get(raw, l->census_pc);
		struct site *site = pc ? site_of(c, pc) : NULL;
		if (!site)
			continue;
		site->fn = layout_get(raw, l->census_fn);
		site->deepest = layout_get(raw, l->census_deepest);
		site->size = layout_get(raw, l->census_size);
		site->looked = layout_get(raw, l->census_looked);
		site->is_handler = layout_get(raw, l->census_is_handler);
	}
}

static void add_living(struct census *c, const struct view *view)
{
	const struct snapshot *s = view->s;

	for (size_t i = 0; i < s->threads_count; i++) {
		const struct thread *thread = &s->threads[i];
		long size, used = stack_used(s, thread, &size);
		uint64_t pc = thread->spawn_pc ? thread->spawn_pc : thread->fn;
		struct site *site = thread->foreign ? NULL : site_of(c, pc);
		if (!site)
			continue;
		site->alive++;
		if (!site->fn)
			site->fn = thread->fn;
		site->is_handler = site->is_handler || !thread->spawn_pc;
		if (used > 0 && (uint64_t)used > site->deepest) {
			site->deepest = (uint64_t)used;
			site->size = (uint64_t)size;
		}
	}
}

static int compare(const void *a, const void *b)
{
	const struct site *x = a, *y = b;

	return x->deepest < y->deepest ? 1 : x->deepest > y->deepest ? -1 : 0;
}

static bool census_take(struct census *c, const struct view *view)
{
	c->count = 0;
	c->room = 4096;
	c->sites = calloc(c->room, sizeof(*c->sites));
	if (!c->sites)
		return false;
	read_table(c, view);
	add_living(c, view);
	qsort(c->sites, c->count, sizeof(*c->sites), compare);
	return true;
}

static const char *name_at(const struct view *view, uint64_t address, bool is_return, char *to,
                           size_t size)
{
	const struct symbol *y = symbol_at(view->symbols, address, is_return);
	char text[300];

	if (y->function[0] && is_return)
		snprintf(text, sizeof(text), "%s+0x%" PRIx64 " (%s)", y->function, y->into,
		         y->source[0] ? y->source : y->file);
	else if (y->function[0])
		snprintf(text, sizeof(text), "%s", y->function);
	else
		snprintf(text, sizeof(text), "0x%" PRIx64, address);
	return escape_text(to, size, text, false);
}

void print_census(const struct view *view)
{
	struct census c;
	char fn[320], pc[320];

	if (!census_take(&c, view))
		return;
	printf("%10s %10s %9s %9s  %-24s %s\n", "DEEPEST", "STACK", "LOOKED AT", "ALIVE",
	       "FUNCTION", "SPAWNED AT");
	for (size_t i = 0; i < c.count; i++) {
		const struct site *site = &c.sites[i];
		printf("%10" PRIu64 " %10" PRIu64 " %9" PRIu64 " %9" PRIu64 "  %-24s %s\n",
		       site->deepest, site->size, site->looked, site->alive,
		       name_at(view, site->is_handler ? site->pc : site->fn, false, fn, sizeof(fn)),
		       site->is_handler ? "green_serve"
		                        : name_at(view, site->pc, true, pc, sizeof(pc)));
	}
	free(c.sites);
}

void print_census_json(const struct view *view)
{
	struct census c;

	printf("[");
	if (census_take(&c, view)) {
		for (size_t i = 0; i < c.count; i++) {
			const struct site *site = &c.sites[i];
			printf("%s{\"pc\":\"0x%" PRIx64 "\",\"function\":", i ? "," : "", site->pc);
			escape_json(symbol_at(view->symbols, site->is_handler ? site->pc : site->fn,
			                      false)
			                    ->function);
			printf(",\"deepest\":%" PRIu64 ",\"stack\":%" PRIu64
			       ",\"looked_at\":%" PRIu64 ",\"alive\":%" PRIu64 "}",
			       site->deepest, site->size, site->looked, site->alive);
		}
		free(c.sites);
	}
	printf("]");
}
