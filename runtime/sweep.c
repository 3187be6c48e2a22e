/* SPDX-License-Identifier: MIT
 *
 * Sweeping chunk by chunk, in slices, by the monitor; and rousing.
 */
#include "sweep.h"
#include "fatal.h"
#include "hibernate.h"
#include "park.h"
#include "worker.h"

#define SLICE_NS GREEN_MS(4)     /* of work without a pause */
#define PAUSE_NS GREEN_MS(6)     /* between slices of one pass */
#define PASS_NS_MIN GREEN_MS(10) /* between passes */
#define CHUNKS_A_LOOK 8          /* swept between two looks at the clock */

static struct { /* where the present pass is; the monitor's */
	unsigned class;
	uint32_t chunk;
	int64_t next_ns;
} sweep;

void sweep_reset(void)
{
	sweep.class = 0;
	sweep.chunk = 0;
	sweep.next_ns = 0;
}

void sweep_rouse(struct gt *gt)
{
	if (stack_rouse(gt->stack) < 0)
		fatal("no memory to bring back the stack of a green thread",
		      "give the process more memory, or do not hibernate (GREEN_HIBERNATE_MS=0)");
	/* Nobody else changes it now: the wait has been claimed. */
	atomic_fetch_and_explicit(&gt->park, ~(uint64_t)PARK_ASLEEP, memory_order_relaxed);
}

static bool may_sleep(uint64_t word)
{
	return (word & (PARK_ARMED | PARK_SAVED | PARK_CLAIMED)) == (PARK_ARMED | PARK_SAVED);
}

/* What threads that wait at the same place of the same function have in common. */
static uint64_t likeness(const struct gt *gt)
{
	uint64_t pc = (uintptr_t)atomic_load_explicit(&gt->wait_pc, memory_order_relaxed);

	return pc * 31 + (uintptr_t)gt->fn;
}

/* Steps 1 and 2 of sweep.h.  On success nobody runs on the stack, or will before
 * it has been roused. */
static bool put_to_sleep(struct stack_sleeper *s, stack_id stack, int64_t parked_before)
{
	struct gt *gt = gt_at(stack_owner(stack));
	uint64_t word = atomic_load_explicit(&gt->park, memory_order_acquire);

	if (!may_sleep(word) ||
	    atomic_load_explicit(&gt->since_ns, memory_order_relaxed) > parked_before)
		return false;
	if (!stack_lull(stack))
		return false;
	/* Release: SWEEPING; acquire: the saved registers. */
	if (atomic_compare_exchange_strong_explicit(&gt->park, &word, word | PARK_ASLEEP,
	                                            memory_order_acq_rel, memory_order_relaxed)) {
		s->stack = stack;
		s->sp = gt->sp;
		s->alike = likeness(gt);
		/* The owner is a hint; and only now it is known that nothing is live
		 * that the kernel may write to. */
		if (gt->stack == stack && stack_fits_slab(stack, s->sp))
			return true;
	}
	stack_unlull(stack);
	return false;
}

static void sweep_chunk(int64_t parked_before)
{
	struct stack_sleeper sleepers[STACK_CHUNK_MAX];
	unsigned n = 0;

	if (stack_chunk_sleeps(sweep.class, sweep.chunk))
		return;
	hibernate_lock();
	for (unsigned i = 0; i < stack_chunk_slots(sweep.class); i++) {
		stack_id stack = stack_in_chunk(sweep.class, sweep.chunk, i);
		if (stack_owner(stack))
			n += put_to_sleep(&sleepers[n], stack, parked_before);
	}
	if (n)
		stacks_hibernate(sleepers, n);
	hibernate_unlock();
}

/* True when the pass is complete. */
static bool sweep_next(int64_t parked_before)
{
	while (sweep.class < STACK_CLASSES && sweep.chunk >= stack_chunks(sweep.class)) {
		sweep.class ++;
		sweep.chunk = 0;
	}
	if (sweep.class == STACK_CLASSES) {
		sweep.class = 0;
		hibernate_lock();
		hibernate_tidy();
		hibernate_unlock();
		return true;
	}
	sweep_chunk(parked_before);
	sweep.chunk++;
	return false;
}

int64_t sweep_some(int64_t now)
{
	int64_t after = rt.options.hibernate_after_ns, start = now;

	if (after == GREEN_FOREVER || !hibernate_is_ready())
		return INT64_MAX;
	while (now >= sweep.next_ns) {
		for (int i = 0; i < CHUNKS_A_LOOK; i++)
			if (sweep_next(start - after)) {
				sweep.next_ns =
					now + (after / 4 > PASS_NS_MIN ? after / 4 : PASS_NS_MIN);
				return sweep.next_ns;
			}
		now = sys.now();
		if (now - start >= SLICE_NS)
			sweep.next_ns = now + PAUSE_NS;
	}
	return sweep.next_ns;
}
