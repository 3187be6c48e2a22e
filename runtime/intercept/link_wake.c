/* SPDX-License-Identifier: MIT
 *
 * Green threads that OS threads wake through a futex, and handlers of signals (link.h).
 */
#include "intercept/futex.h"
#include "intercept/link.h"
#include "scheduler.h"

#include <linux/futex.h>

#define NOTES 64

/* Addresses that handlers have woken; 0: free.  Only the monitor takes them out. */
static _Atomic uintptr_t notes[NOTES];
static _Atomic bool too_many; /* then everybody is woken, and looks again */

/* In a handler, which may have interrupted this very function. */
static void note(uintptr_t address)
{
	for (unsigned i = 0; i < NOTES; i++) {
		uintptr_t there = atomic_load_explicit(&notes[i], memory_order_relaxed);

		/* Release, where it is there already as well: the word has been changed.
		 * Pairs with the acquire in wake_noted(). */
		if ((there == 0 || there == address) &&
		    atomic_compare_exchange_strong_explicit(&notes[i], &there, address,
		                                            memory_order_release,
		                                            memory_order_relaxed))
			return;
	}
	atomic_store_explicit(&too_many, true, memory_order_release);
}

static void wake_noted(void)
{
	for (unsigned i = 0; i < NOTES; i++) {
		if (!atomic_load_explicit(&notes[i], memory_order_relaxed))
			continue;
		uintptr_t address = atomic_exchange_explicit(&notes[i], 0, memory_order_acquire);
		futex_wake_green((const void *)address, UINT32_MAX);
	}
	if (atomic_load_explicit(&too_many, memory_order_relaxed) &&
	    atomic_exchange_explicit(&too_many, false, memory_order_acquire))
		futex_wake_green(NULL, 0);
}

static void wake(long address, long count)
{
	if (link_in_handler())
		note((uintptr_t)address);
	else if ((int)count > 0)
		futex_wake_green((const void *)address, (uint32_t)count);
}

/* To wake one too many is always allowed: they look again.  So those that the kernel would
 * have moved to another address, or left alone because of their bits, are woken. */
long link_wake(struct call *c)
{
	long op = c->arg[1] & FUTEX_CMD_MASK, count = (int)c->arg[2] < 1 ? 1 : c->arg[2];
	long r = call_real(c);

	if (r < 0)
		return r;
	switch (op) {
	case FUTEX_WAKE:
		wake(c->arg[0], (int)count - r);
		break;
	case FUTEX_WAKE_OP:
		wake(c->arg[4], INT32_MAX);
		/* fall through */
	default:
		wake(c->arg[0], INT32_MAX);
		break;
	}
	if (link_in_handler())
		monitor_ask();
	return r;
}

void link_wake_start(void)
{
	futex_has_others();
	monitor_also = wake_noted;
}
