/* SPDX-License-Identifier: MIT
 *
 * The locks of futex_pi.h.
 */
#include "intercept/futex_pi.h"
#include "fatal.h"
#include "intercept/call.h"
#include "intercept/futex.h"
#include "intercept/thread.h"
#include "intercept/user.h"

#include <errno.h>
#include <linux/futex.h>

static uint32_t own_tid(void)
{
	return (uint32_t)atomic_load_explicit(&thread_self()->tid, memory_order_relaxed);
}

/* Sequentially consistent, as the kernel's. */
static bool change(void *at, uint32_t from, uint32_t to)
{
	return atomic_compare_exchange_strong((_Atomic uint32_t *)at, &from, to);
}

/* One attempt: 0, -EDEADLK, -EFAULT; -EAGAIN: *value, with the bit set, is somebody else's. */
static long take(void *at, uint32_t *value)
{
	const uint32_t self = own_tid();

	for (;;) {
		if (user_load(at, value) < 0)
			return -EFAULT;
		uint32_t owner = *value & FUTEX_TID_MASK;
		if (owner == self)
			return -EDEADLK;
		if (!owner) {
			uint32_t taken = self | (*value & FUTEX_OWNER_DIED) | FUTEX_WAITERS;
			if (change(at, *value, taken))
				return 0;
		} else if ((*value & FUTEX_WAITERS) || change(at, *value, *value | FUTEX_WAITERS)) {
			*value |= FUTEX_WAITERS;
			return -EAGAIN;
		}
	}
}

long futex_lock_pi(void *at, bool try, int64_t deadline_ns, void *pc)
{
	uint32_t value;
	long r;

	do {
		r = take(at, &value);
		if (r != -EAGAIN || try)
			return r;
		r = futex_wait(at, value, FUTEX_BITSET_MATCH_ANY, deadline_ns, pc);
	} while (r == 0 || r == -EAGAIN);
	return r == CALL_RESTARTSYS || r == CALL_RESTART_BLOCK ? CALL_RESTARTNOINTR : r;
}

long futex_unlock_pi(void *at)
{
	uint32_t value;

	do {
		if (user_load(at, &value) < 0)
			return -EFAULT;
		if ((value & FUTEX_TID_MASK) != own_tid())
			return -EPERM;
	} while (!change(at, value, 0));
	futex_wake(at, 1, FUTEX_BITSET_MATCH_ANY, false);
	return 0;
}

_Noreturn void futex_refuse_shared_pi(void)
{
	fatal("a mutex that inherits priority is refused, since processes share it: the kernel "
	      "would have to know its owners, which are green threads",
	      "leave out PTHREAD_PRIO_INHERIT or PTHREAD_PROCESS_SHARED");
}
