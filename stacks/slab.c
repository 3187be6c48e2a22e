/* SPDX-License-Identifier: MIT
 *
 * Taking and giving of slab entries.
 */
#include "slab.h"
#include "arch/sys.h"

#include <assert.h>
#include <errno.h>
#include <stdatomic.h>

#define CLASSES (SLAB_BYTES_MAX / SLAB_UNIT + 1) /* by number of units */

static struct {
	char *base;
	size_t size;
	uint32_t top, end;               /* units never taken */
	uint32_t ready[CLASSES];         /* the taker's own lists, linked in the entries */
	_Atomic uint32_t given[CLASSES]; /* everybody's */
} slab;

static size_t units_of(size_t bytes)
{
	assert(bytes <= SLAB_BYTES_MAX);
	return (bytes + SLAB_UNIT - 1) / SLAB_UNIT;
}

int slab_init(size_t count)
{
	long error = -ENOMEM;

	for (; count > 0 && !slab.base; count /= 2) {
		slab.size = count * SLAB_BYTES_MAX + 2 * SLAB_MARGIN;
		if (slab.size / SLAB_UNIT < UINT32_MAX)
			slab.base = sys_map(slab.size, SYS_MAP_NORESERVE, &error);
	}
	if (!slab.base)
		return (int)error;
	sys_name(slab.base, slab.size, "green hibernated stacks");
	slab.top = SLAB_MARGIN / SLAB_UNIT;
	slab.end = (uint32_t)((slab.size - SLAB_MARGIN) / SLAB_UNIT);
	return 0;
}

void slab_fini(void)
{
	sys_unmap(slab.base, slab.size);
	slab.base = NULL;
	for (size_t i = 0; i < CLASSES; i++) {
		slab.ready[i] = 0;
		atomic_store_explicit(&slab.given[i], 0, memory_order_relaxed);
	}
}

char *slab_at(uint32_t entry)
{
	return slab.base + (size_t)entry * SLAB_UNIT;
}

static uint32_t *link_of(uint32_t entry)
{
	return (uint32_t *)slab_at(entry);
}

uint32_t slab_take(size_t bytes)
{
	size_t units = units_of(bytes);
	uint32_t entry = slab.ready[units];

	if (!entry)
		/* Acquire pairs with the release in slab_give(): the links. */
		entry = atomic_exchange_explicit(&slab.given[units], 0, memory_order_acquire);
	if (entry) {
		slab.ready[units] = *link_of(entry);
		return entry;
	}
	if (slab.end - slab.top < units)
		return 0;
	entry = slab.top;
	slab.top += (uint32_t)units;
	return entry;
}

void slab_give(uint32_t entry, size_t bytes)
{
	_Atomic uint32_t *list = &slab.given[units_of(bytes)];
	uint32_t head = atomic_load_explicit(list, memory_order_relaxed);

	/* The taker takes all at once: a head that comes back is no danger. */
	do
		*link_of(entry) = head;
	while (!atomic_compare_exchange_weak_explicit(list, &head, entry, memory_order_release,
	                                              memory_order_relaxed));
}
