/* SPDX-License-Identifier: MIT
 *
 * green_wg: a count, and those who wait for it to be zero.
 *
 * The group may lie in a frame that its last waiter leaves at once: even a wait
 * that finds zero takes the lock, so that it comes after the unlock of the one
 * who made it zero.
 */
#include "behalf.h"
#include "trace.h"
#include "waiter.h"

#include <errno.h>

int green_wg_add(green_wg_t *wg, int n)
{
	struct green_waiter *chain = NULL;
	int result = 0;
	spin_lock(spin_of(&wg->lock));
	int64_t count = (int64_t)wg->count + n;
	if (count < 0 || count > UINT32_MAX) {
		result = -EINVAL;
	} else {
		wg->count = (uint32_t)count;
		if (!count)
			chain = wait_list_claim_all(&wg->waiters, WAKE_PEER, NULL);
	}
	spin_unlock(spin_of(&wg->lock));
	waiters_finish(chain);
	return result;
}

int green_wg_done(green_wg_t *wg)
{
	return green_wg_add(wg, -1);
}

int wg_wait(green_wg_t *wg, void *pc)
{
	struct gt *self = waiter_self_any();
	spin_lock(spin_of(&wg->lock));
	if (wg->count)
		return wait_in(spin_of(&wg->lock), &wg->waiters, self, PARK_WG, wg, pc);
	spin_unlock(spin_of(&wg->lock));
	return 0;
}

int green_wg_wait(green_wg_t *wg)
{
	trace_enter(PARK_PC, PARK_WG, (uintptr_t)wg);
	return wg_wait(wg, PARK_PC);
}
