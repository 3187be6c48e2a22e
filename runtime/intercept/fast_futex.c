/* SPDX-License-Identifier: MIT
 *
 * Futex calls that neither wait nor wake anybody.
 */
#include "intercept/futex.h"
#include "intercept/thread.h"

#include <errno.h>
#include <linux/futex.h>

long fast_futex(struct call *c)
{
	/* One that only the runtime's own threads make here: they have none. */
	if (!atomic_load_explicit(&thread_self_fast()->tid, memory_order_relaxed))
		return CALL_PASS;
	switch (c->arg[1] & FUTEX_CMD_MASK) {
	case FUTEX_WAIT:
	case FUTEX_WAIT_BITSET:
		if (!(c->arg[0] & 3) &&
		    atomic_load_explicit((const _Atomic uint32_t *)c->arg[0],
		                         memory_order_seq_cst) != (uint32_t)c->arg[2])
			return -EAGAIN;
		return CALL_MORE;
	default:
		return CALL_MORE;
	}
}
