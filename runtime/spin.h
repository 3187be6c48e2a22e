/* SPDX-License-Identifier: MIT
 *
 * struct spin: a lock for a few instructions.  Its holder never switches,
 * never faults in a stack, and takes no second one except in the order given
 * at the place.  A waiter that has spun in vain lets the holder's OS thread run.
 */
#ifndef SPIN_H
#define SPIN_H

#include "arch/cpu.h"
#include "arch/sys.h"

#include <stdatomic.h>
#include <stdint.h>

struct spin {
	_Atomic uint32_t held;
};

static inline void spin_lock(struct spin *lock)
{
	unsigned tries = 0;
	/* Acquire pairs with the release in spin_unlock(). */
	while (unlikely(atomic_exchange_explicit(&lock->held, 1, memory_order_acquire)))
		do {
			cpu_pause();
			if (++tries % 128 == 0)
				sys0(SYS_sched_yield);
		} while (atomic_load_explicit(&lock->held, memory_order_relaxed));
}

static inline void spin_unlock(struct spin *lock)
{
	atomic_store_explicit(&lock->held, 0, memory_order_release);
}

#endif
