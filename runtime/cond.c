/* SPDX-License-Identifier: MIT
 *
 * green_cond: waiters queue in the order in which they began to wait; a signal
 * goes to the first one that has not given up.
 *
 * The wait begins (park_begin, queue) before the mutex is unlocked, so a signal
 * given by whoever locks it next finds the waiter.
 */
#include "mutex.h"
#include "trace.h"

#include <errno.h>

int green_cond_wait(green_cond_t *cond, green_mutex_t *mutex)
{
	struct spin *lock = spin_of(&cond->lock);
	struct gt *self = waiter_self_any();
	trace_enter(PARK_PC, PARK_COND, (uintptr_t)cond);
	if (!self || !mutex_owned(mutex, self))
		return -EPERM;
	int error = park_check(self);
	if (error)
		return error;
	struct green_waiter *w = waiter_get();
	if (!w)
		return -ENOMEM;

	spin_lock(lock);
	w->ticket = park_begin(self, PARK_COND, cond, PARK_PC);
	wait_list_append(&cond->waiters, w);
	spin_unlock(lock);
	mutex_release(mutex);
	enum wake_reason reason = park_commit(w->ticket, 0, GREEN_FOREVER);
	if (reason != WAKE_PEER)
		wait_withdraw(lock, &cond->waiters, w);

	/* Shielded, with the record at hand: cannot fail. */
	mutex_acquire(mutex, self, w, PARK_SHIELDED, PARK_PC);
	waiter_put(w);
	return park_error(reason);
}

int green_cond_signal(green_cond_t *cond)
{
	struct spin *lock = spin_of(&cond->lock);
	spin_lock(lock);
	if (!wait_list_wake(lock, &cond->waiters))
		spin_unlock(lock);
	return 0;
}

int green_cond_broadcast(green_cond_t *cond)
{
	struct spin *lock = spin_of(&cond->lock);
	spin_lock(lock);
	struct green_waiter *chain = wait_list_claim_all(&cond->waiters, WAKE_PEER, NULL);
	spin_unlock(lock);
	waiters_finish(chain);
	return 0;
}
