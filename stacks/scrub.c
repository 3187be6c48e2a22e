/* SPDX-License-Identifier: MIT
 *
 * Finding what is dirty, and filling it with zeroes.
 */
#include "scrub.h"
#include "arch/sys.h"
#include "guard.h"
#include "pages.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define KEPT_BYTES ((size_t)16 << 10) /* of a stack that stays: most use less */

static enum stack_scrub policy;
static size_t page_size;

void scrub_init(enum stack_scrub how)
{
	policy = how;
	page_size = (size_t)sysconf(_SC_PAGESIZE);
}

bool scrub_is_on(void)
{
	return policy != STACK_SCRUB_NONE;
}

/* A page of zeroes that is only read stays the kernel's one. */
static bool is_zero(const char *page)
{
	const uint64_t *words = (const uint64_t *)page;
	uint64_t any = 0;

	for (size_t i = 0; i < page_size / 8 && !any; i += 8)
		any = words[i] | words[i + 1] | words[i + 2] | words[i + 3] | words[i + 4] |
		      words[i + 5] | words[i + 6] | words[i + 7];
	return !any;
}

static void clear(char *low, const char *high)
{
	for (; low < high; low += page_size)
		if (!is_zero(low))
			memset(low, 0, page_size);
}

/* Where an absent page means something else, all is looked at: reading costs no fault
 * there.  Elsewhere the top is, and the rest given back, which is for nothing when
 * nothing is there: asking first (mincore(2)) takes twice as long. */
static void scrub_dirty(struct arena *a, uint32_t slot)
{
	char *low = arena_slot(a, slot), *high = low + arena_stride(a);
	char *kept = high - KEPT_BYTES;

	low += guard_size();
	if (arena_is_watched(a, slot))
		kept = low;
	else if (sys3(SYS_madvise, low, kept - low, MADV_DONTNEED) < 0)
		kept = low;                 /* locked memory */
	else if (arena_is_watched(a, slot)) /* by now: watch.c */
		pages_complete(a, slot);
	clear(kept, high);
}

bool scrub_all(struct arena *a, uint32_t slot)
{
	char *low = arena_slot(a, slot);
	size_t offset = arena_is_watched(a, slot) ? 0 : guard_size();

	if (sys3(SYS_madvise, low + offset, arena_stride(a) - offset, MADV_DONTNEED) < 0) {
		clear(low + guard_size(), low + arena_stride(a)); /* locked memory */
		return true;
	}
	return pages_fill(a, slot) == 0;
}

bool scrub_stack(stack_id stack)
{
	struct arena *a = &arenas[stack_class_of(stack)];

	/* A page of the guard that was opened lies outside of what is cleared. */
	if (!arena_is_watched(a, arena_slot_of(stack)) &&
	    !arena_is_settled(a, arena_slot_of(stack)))
		guard_close(a, arena_slot_of(stack));
	if (policy == STACK_SCRUB_ALWAYS)
		return scrub_all(a, arena_slot_of(stack));
	scrub_dirty(a, arena_slot_of(stack));
	return true;
}
