/* SPDX-License-Identifier: MIT
 *
 * The table of places, and who is looked at.
 */
#include "census.h"

#define TRIES 16 /* places in the table that one may be at */

struct census_site census_sites[CENSUS_SITES];

/* The entry of that place; NULL: the table is full around there. */
static struct census_site *site_of(void *pc)
{
	size_t at = (size_t)(((uintptr_t)pc * 0x9e3779b97f4a7c15u) >> 54);

	for (int i = 0; i < TRIES; i++) {
		struct census_site *site = &census_sites[(at + (size_t)i) % CENSUS_SITES];
		void *there = atomic_load_explicit(&site->pc, memory_order_relaxed);
		/* Relaxed: each number stands for itself. */
		if (there == pc ||
		    (!there && (atomic_compare_exchange_strong_explicit(&site->pc, &there, pc,
		                                                        memory_order_relaxed,
		                                                        memory_order_relaxed) ||
		                there == pc)))
			return site;
	}
	return NULL;
}

/* True: it is the deepest; *before: what was. */
static bool raise_to(_Atomic uint32_t *most, uint32_t value, uint32_t *before)
{
	*before = atomic_load_explicit(most, memory_order_relaxed);

	while (value > *before)
		if (atomic_compare_exchange_weak_explicit(most, before, value, memory_order_relaxed,
		                                          memory_order_relaxed))
			return true;
	return false;
}

static struct census_site *record(const struct gt *gt, stack_id stack, size_t depth)
{
	void *pc = gt_origin(gt), *fn = gt_function(gt);
	struct census_site *site = site_of(pc ? pc : fn);
	uint32_t before;

	if (!site)
		return NULL;
	if (raise_to(&site->deepest, (uint32_t)depth, &before)) {
		atomic_store_explicit(&site->fn, fn, memory_order_relaxed);
		atomic_store_explicit(&site->size,
		                      (uint32_t)stack_class_size(stack_class_of(stack)),
		                      memory_order_relaxed);
		atomic_store_explicit(&site->is_handler, !pc, memory_order_relaxed);
		if (trace_wants(stack_grow))
			probe_stack_grow(gt_handle(gt), before, depth, fn);
	}
	return site;
}

void census_record(const struct gt *gt, stack_id stack, size_t depth)
{
	record(gt, stack, depth);
}

void census_begin(struct worker *w, struct gt *gt)
{
	int64_t now = atomic_load_explicit(&w->now, memory_order_relaxed);
	int64_t earned = (now - w->census_fresh_at) / CENSUS_FRESH_NS;

	if (earned > 0) {
		w->census_credit += earned > CENSUS_BURST ? CENSUS_BURST : (unsigned)earned;
		w->census_credit =
			w->census_credit > CENSUS_BURST ? CENSUS_BURST : w->census_credit;
		w->census_fresh_at = now;
	}
	if (!w->census_credit)
		return;
	w->census_credit--;
	w->census_hot_at = now + CENSUS_HOT_NS;
	gt->stack_class |= GT_CLASS_LOOKED_AT;
}

void census_end(const struct gt *gt)
{
	struct census_site *site = record(gt, gt->stack, stack_depth(gt->stack));

	if (site)
		atomic_fetch_add_explicit(&site->looked, 1, memory_order_relaxed);
}
