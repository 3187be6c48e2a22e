/* SPDX-License-Identifier: MIT
 *
 * Counting who was filled later.
 */
#include "later.h"
#include "arch/cpu.h"
#include "scrub.h"
#include "uffd.h"

#include <stdatomic.h>

#define SHARE 16u     /* of those that lack something, 1 : SHARE may be filled, */
#define LEAST 64u     /* and so many before it is known; */
#define AGAIN 16384u  /* then none lacks anything, until it is tried again after so many */
#define FORGET 65536u /* from then on half of it is forgotten */

static struct count {
	cache_aligned _Atomic uint32_t left_out;
	_Atomic uint32_t filled, complete;
} counts[LATER_RESTORED];

/* Relaxed, and no read-modify-writes: counts that two change at once may be a little
 * wrong. */
static uint32_t get(_Atomic uint32_t *count)
{
	return atomic_load_explicit(count, memory_order_relaxed);
}

static void set(_Atomic uint32_t *count, uint32_t n)
{
	atomic_store_explicit(count, n, memory_order_relaxed);
}

bool later_may(enum later what)
{
	struct count *c = &counts[what - 1];
	uint32_t left_out = get(&c->left_out), filled = get(&c->filled);

	/* Scrubbing looks at all pages. */
	if (!uffd_sees_calls() || scrub_is_on())
		return false;
	if (filled <= LEAST + left_out / SHARE) {
		if (left_out >= FORGET) {
			left_out /= 2;
			set(&c->filled, filled / 2);
		}
		set(&c->left_out, left_out + 1);
		return true;
	}
	uint32_t complete = get(&c->complete) + 1;
	if (complete >= AGAIN) {
		complete = 0;
		set(&c->left_out, 0);
		set(&c->filled, 0);
	}
	set(&c->complete, complete);
	return false;
}

void later_filled(uint32_t what)
{
	if (what == LATER_STARTED || what == LATER_RESTORED)
		set(&counts[what - 1].filled, get(&counts[what - 1].filled) + 1);
}
