/* SPDX-License-Identifier: MIT
 *
 * Futex calls that neither wait nor wake anybody, and those of OS threads.
 */
#include "intercept/futex.h"
#include "intercept/link.h"
#include "intercept/thread.h"
#include "intercept/user.h"

#include <errno.h>
#include <linux/futex.h>

static const bool unwatched;
const bool *futex_watched = &unwatched;

bool futex_may_wake(const struct call *c)
{
	if (!*futex_watched)
		return false;
	switch (c->arg[1] & FUTEX_CMD_MASK) {
	case FUTEX_WAKE:
	case FUTEX_WAKE_BITSET:
	case FUTEX_WAKE_OP:
	case FUTEX_REQUEUE:
	case FUTEX_CMP_REQUEUE:
		return true;
	default:
		return false;
	}
}

long fast_futex(struct call *c)
{
	uint32_t word;

	/* One that only the runtime's own threads make here: they have none.  In link mode
	 * they may be of the program, and share libc's locks with those that have. */
	if (!link_on && !atomic_load_explicit(&thread_self_fast()->tid, memory_order_relaxed))
		return CALL_PASS;
	switch (c->arg[1] & FUTEX_CMD_MASK) {
	case FUTEX_WAIT_BITSET:
		if (!(uint32_t)c->arg[5])
			return -EINVAL;
		/* fall through */
	case FUTEX_WAIT:
		/* Whatever else may be wrong with it is found out there. */
		return !(c->arg[0] & 3) && !c->arg[3] &&
		                       user_load((const void *)c->arg[0], &word) == 0 &&
		                       word != (uint32_t)c->arg[2]
		               ? -EAGAIN
		               : CALL_MORE;
	default:
		return CALL_MORE;
	}
}
