/* SPDX-License-Identifier: MIT
 *
 * Blocking signals: libc does it around every thread that it makes.
 */
#include "intercept/signal.h"

#include <errno.h>

long fast_rt_sigprocmask(struct call *c)
{
	struct thread *t = thread_self_fast();
	const uint64_t *set = (const void *)c->arg[1];
	uint64_t *old = (void *)c->arg[2];
	uint64_t before = signal_mask_of(t), mask = before;

	if (c->arg[3] != sizeof(mask))
		return -EINVAL;
	if (set)
		switch ((int)c->arg[0]) {
		case SIG_BLOCK:
			mask = before | *set;
			break;
		case SIG_UNBLOCK:
			mask = before & ~*set;
			break;
		case SIG_SETMASK:
			mask = *set;
			break;
		default:
			return -EINVAL;
		}
	/* No program's: sigfillset(3) leaves out those of libc. */
	if (set && *set == ~(uint64_t)0)
		t->sigmask_open = before;
	mask &= ~SIGNALS_UNBLOCKABLE;
	/* Something waits for this change. */
	if (mask != before && (atomic_load_explicit(&t->pending, memory_order_relaxed) ||
	                       atomic_load_explicit(&signals.held, memory_order_relaxed)))
		return CALL_MORE;
	atomic_store_explicit(&t->sigmask, mask, memory_order_relaxed);
	if (old)
		*old = before;
	/* A signal that came meanwhile was queued before a barrier that this thread has
	 * passed, or its sender has seen the new mask (signal.h). */
	if (mask != before && (atomic_load_explicit(&t->pending, memory_order_relaxed) & ~mask))
		atomic_fetch_or_explicit(&thread_gt(t)->look, LOOK_SIGNALLED, memory_order_relaxed);
	return 0;
}
