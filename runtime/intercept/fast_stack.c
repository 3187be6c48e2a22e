/* SPDX-License-Identifier: MIT
 *
 * mmap(2), mprotect(2), munmap(2) and madvise(2), where they are about the stack of a
 * thread (stack_memory.h).
 */
#include "arch/compat.h"
#include "intercept/call.h"
#include "intercept/shared.h"
#include "intercept/stack_memory.h"

#include <errno.h>
#include <sys/mman.h>

#define PAGE 4096ul
#define SIZE_MIN ((size_t)16 << 10)
#define SIZE_MAX_HERE ((size_t)256 << 20)
#define DUMP_STEP 64u
#define LOOK_PAGES 64u
#define GUARD_PAGES_MAX 0xffffu
#define PROBES 16u
#define TRIM_EVERY 16u

#define STACK_FLAGS (MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK)

static _Atomic uint32_t guard_vmas;

static long advise(uintptr_t at, size_t size, int advice)
{
	return call_raw(SYS_madvise, (long)at, (long)size, advice, 0, 0, 0);
}

static long protect(uintptr_t at, size_t size, int protection)
{
	return call_raw(SYS_mprotect, (long)at, (long)size, protection, 0, 0, 0);
}

static uintptr_t slot_at(const struct stack_region *r, uint32_t slot)
{
	return (uintptr_t)atomic_load_explicit(&r->base, memory_order_relaxed) + slot * r->size;
}

static uint32_t slot_of(const struct stack_region *r, uintptr_t address)
{
	return (uint32_t)((address - slot_at(r, 0)) / r->size);
}

/* ---- guards ------------------------------------------------------------------- */

/* -errno of the call that the program made; a guard that cannot be had is none. */
static long guard_install(uintptr_t at, size_t size)
{
	/* Relaxed: a hint. */
	if (!atomic_load_explicit(&stack_guards_are_vmas, memory_order_relaxed)) {
		if (advise(at, size, MADV_GUARD_INSTALL) == 0)
			return 0;
		atomic_store_explicit(&stack_guards_are_vmas, true, memory_order_relaxed);
	}
	if (atomic_fetch_add_explicit(&guard_vmas, 1, memory_order_relaxed) >= GUARD_VMAS_MAX)
		return 0;
	return protect(at, size, PROT_NONE);
}

static long guard_remove(uintptr_t at, size_t size)
{
	if (!atomic_load_explicit(&stack_guards_are_vmas, memory_order_relaxed))
		return advise(at, size, MADV_GUARD_REMOVE);
	return protect(at, size, PROT_READ | PROT_WRITE);
}

/* The guard shall be the pages below end, which lies in the slot. */
static long guard_until(struct stack_region *r, uint32_t slot, uintptr_t end)
{
	struct stack_slot *s = &r->slot[slot];
	uintptr_t now = slot_at(r, slot) + s->guard_pages * PAGE;
	size_t pages = (end - slot_at(r, slot)) / PAGE;
	long error = 0;

	if (pages > GUARD_PAGES_MAX)
		return -ENOMEM;
	if (now < end)
		error = guard_install(now, end - now);
	else if (now > end)
		error = guard_remove(end, now - end);
	if (error == 0)
		s->guard_pages = (uint16_t)pages;
	return error;
}

/* What cannot be said by a guard: the kernel is told what the slot was like, and asked for
 * all that the program does there from now on. */
static long leave_to_kernel(struct stack_region *r, uint32_t slot)
{
	struct stack_slot *s = &r->slot[slot];
	size_t guard = s->guard_pages * PAGE;

	if (guard)
		guard_remove(slot_at(r, slot), guard);
	if (guard || s->closed)
		protect(slot_at(r, slot), s->closed ? r->size : guard, PROT_NONE);
	s->guard_pages = 0;
	s->left = true;
	return CALL_PASS;
}

/* Has any page been touched?  A guard would empty it, as mprotect(2) does not. */
static bool is_touched(uintptr_t from, uintptr_t to)
{
	unsigned char in[LOOK_PAGES] = { 0 };

	for (; from < to; from += sizeof(in) * PAGE) {
		size_t pages = (to - from) / PAGE;
		pages = pages < sizeof(in) ? pages : sizeof(in);
		if (call_raw(SYS_mincore, (long)from, (long)(pages * PAGE), (long)in, 0, 0, 0) < 0)
			return true;
		while (pages)
			if (in[--pages] & 1)
				return true;
	}
	return false;
}

/* A stack that was mapped inaccessible is opened from a on: what lies below is its guard.
 * Later its guard may grow or shrink.  0, -errno, or CALL_PASS: left to the kernel. */
static long set_protection(struct stack_region *r, uint32_t slot, uintptr_t from, uintptr_t to,
                           long protection)
{
	struct stack_slot *s = &r->slot[slot];
	uintptr_t base = slot_at(r, slot), guard_end = base + s->guard_pages * PAGE;
	bool opens = protection == (PROT_READ | PROT_WRITE);

	if (opens && s->closed && to == base + r->size) {
		s->closed = false;
		return guard_until(r, slot, from);
	}
	if (s->closed || !(opens || protection == PROT_NONE))
		return leave_to_kernel(r, slot);
	/* The guard shrinks or grows at its end, if it does. */
	if (opens ? from >= guard_end : to <= guard_end)
		return 0;
	if (opens ? to < guard_end : from > guard_end || is_touched(guard_end, to))
		return leave_to_kernel(r, slot);
	return guard_until(r, slot, opens ? from : to);
}

/* ---- mmap, munmap ---------------------------------------------------------------- */

static bool is_stack(const struct call *c)
{
	size_t size = (size_t)c->arg[1];
	long protection = c->arg[2];

	/* On the stack's own terms: what else there is in the flags counts, too
	 * (MAP_GROWSDOWN, MAP_LOCKED …), but for MAP_NORESERVE. */
	return !c->arg[0] && (c->arg[3] & ~(long)MAP_NORESERVE) == STACK_FLAGS &&
	       (protection == PROT_NONE || protection == (PROT_READ | PROT_WRITE)) &&
	       size >= SIZE_MIN && size <= SIZE_MAX_HERE && size % PAGE == 0;
}

static struct stack_region *region_for(size_t size)
{
	for (unsigned i = 0; i < STACK_REGIONS; i++) {
		struct stack_region *r = &stack_regions[i];
		if (!atomic_load_explicit(&r->base, memory_order_acquire))
			return NULL;
		if (r->size == size)
			return r;
	}
	return NULL;
}

/* In steps: each one costs a system call, and the process one VMA more in all. */
static void dump_up_to(struct stack_region *r, uint32_t slot)
{
	if (slot < r->dumped)
		return;
	uint32_t from = r->dumped, step = from / 8 < DUMP_STEP ? DUMP_STEP : from / 8;
	r->dumped = from + step < r->slots ? from + step : r->slots;
	advise(slot_at(r, from), (r->dumped - from) * r->size, MADV_DODUMP);
}

static long take(struct stack_region *r, bool closed)
{
	uint32_t slot;

	spin_lock(&r->lock);
	if (r->free_count) {
		slot = r->free[--r->free_count];
	} else if (r->fresh < r->slots) {
		slot = r->fresh++;
		dump_up_to(r, slot);
	} else {
		spin_unlock(&r->lock);
		return CALL_PASS;
	}
	r->slot[slot].used = true;
	r->slot[slot].closed = closed;
	r->slot[slot].ends = 0;
	spin_unlock(&r->lock);
	/* Nobody else knows of it yet. */
	if (!closed && r->slot[slot].guard_pages)
		guard_until(r, slot, slot_at(r, slot));
	return (long)slot_at(r, slot);
}

static long map_shared(const struct call *c)
{
	long at = call_real(c);

	if (at > 0)
		shared_note((uintptr_t)at, (size_t)c->arg[1]);
	return at;
}

static bool is_in_slot(const struct stack_region *r, uintptr_t from, uintptr_t to)
{
	uint32_t slot = slot_of(r, from);

	return r->slot[slot].used && !r->slot[slot].left && from % PAGE == 0 && to % PAGE == 0 &&
	       to > from && to <= slot_at(r, slot) + r->size;
}

/* Fresh memory in the place of a part of a stack, as Java's virtual machine makes its guards. */
static long map_over(const struct call *c)
{
	uintptr_t from = (uintptr_t)c->arg[0], to = from + (size_t)c->arg[1];
	struct stack_region *r = stack_region_at(from);
	long plain = c->arg[3] & ~(long)(MAP_NORESERVE | MAP_STACK);

	if (!r || !is_in_slot(r, from, to))
		return CALL_PASS;
	uint32_t slot = slot_of(r, from);
	if (plain != (MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED) ||
	    advise(from, to - from, MADV_DONTNEED) < 0)
		return leave_to_kernel(r, slot);
	long error = set_protection(r, slot, from, to, c->arg[2]);
	return error ? error : (long)from;
}

long fast_mmap(struct call *c)
{
	if (likely(!is_stack(c))) {
		long r = c->arg[3] & MAP_FIXED ? map_over(c) : CALL_PASS;
		return r == CALL_PASS && (c->arg[3] & MAP_TYPE) != MAP_PRIVATE ? map_shared(c) : r;
	}
	struct stack_region *r = region_for((size_t)c->arg[1]);
	return r ? take(r, c->arg[2] == PROT_NONE) : CALL_MORE;
}

/* Parts of slots, or several: what has a hole is nobody's stack again. */
static long leave_all(struct stack_region *r, uintptr_t from, uintptr_t to)
{
	uint32_t last = to > from ? slot_of(r, to - 1) : 0;

	for (uint32_t slot = slot_of(r, from); slot <= last && slot < r->slots; slot++)
		if (r->slot[slot].used && !r->slot[slot].left)
			leave_to_kernel(r, slot);
	return CALL_PASS;
}

long fast_munmap(struct call *c)
{
	uintptr_t at = (uintptr_t)c->arg[0];
	struct stack_region *r = stack_region_at(at);

	if (likely(!r)) {
		shared_forget(at, (size_t)c->arg[1]);
		return CALL_PASS;
	}
	uint32_t slot = slot_of(r, at);
	if (at != slot_at(r, slot) || (size_t)c->arg[1] != r->size)
		return leave_all(r, at, at + (size_t)c->arg[1]);
	if (!r->slot[slot].used || r->slot[slot].left)
		return CALL_PASS;
	/* Before anybody else may have it. */
	advise(at, r->size, MADV_DONTNEED);
	spin_lock(&r->lock);
	if (r->slot[slot].used) {
		r->slot[slot].used = false;
		r->free[r->free_count++] = slot;
	}
	spin_unlock(&r->lock);
	return 0;
}

/* ---- mprotect ---------------------------------------------------------------------- */

long fast_mprotect(struct call *c)
{
	uintptr_t from = (uintptr_t)c->arg[0], to = from + (size_t)c->arg[1];
	struct stack_region *r = stack_region_at(from);

	if (likely(!r) || !is_in_slot(r, from, to))
		return CALL_PASS;
	return set_protection(r, slot_of(r, from), from, to, c->arg[2]);
}

/* ---- madvise ------------------------------------------------------------------------ */

/* Is a page of it in use, by the look of some of its words? */
static bool looks_used(uintptr_t page)
{
	for (unsigned i = 0; i < PROBES; i++)
		if (*(const volatile uint64_t *)(page + i * (PAGE / PROBES)))
			return true;
	return false;
}

/* At the end of a thread libc lets the kernel have the stack's pages but the topmost.
 * There are none as a rule, and the call empties the TLBs of all CPUs that run the
 * process: it is made when the highest of those pages has been written to, and once in a
 * while (who has jumped over that page). */
long fast_madvise(struct call *c)
{
	uintptr_t from = (uintptr_t)c->arg[0], to = from + (size_t)c->arg[1];
	struct stack_region *r = c->arg[2] == MADV_DONTNEED ? stack_region_at(from) : NULL;

	if (likely(!r))
		return CALL_PASS;
	uint32_t slot = slot_of(r, from);
	struct stack_slot *s = &r->slot[slot];
	if (from != slot_at(r, slot) || !is_in_slot(r, from, to) ||
	    to - PAGE < from + s->guard_pages * PAGE)
		return CALL_PASS;
	if (!looks_used(to - PAGE) && ++s->ends % TRIM_EVERY)
		return 0;
	return CALL_PASS;
}
