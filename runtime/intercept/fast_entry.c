/* SPDX-License-Identifier: MIT
 *
 * The fast stage: whose call is it, and does its fast handler do?
 *
 * Compiled with -mgeneral-regs-only, as all files fast*.c here.
 */
#include "arch/base.h"
#include "intercept/entry.h"
#include "worker.h"

/* Not where the caller's stack and ours would be two, or the child would use up the
 * parent's frames before the parent does. */
static long pass(const struct call *c)
{
	switch (c->nr) {
	case SYS_clone:
	case SYS_clone3:
	case SYS_vfork:
		return CALL_STACKLESS;
	default:
		return call_real(c);
	}
}

/* Passed on as they are: the calls of OS threads that are no workers (and of workers
 * while the runtime itself calls into libc, which takes their GS base away), of the
 * scheduler context, and those that the table does not have. */
long intercept_fast(struct call *c)
{
	const struct worker *w = base_gs();
	unsigned long nr = (unsigned long)c->nr;

	if (unlikely(!w || !atomic_load_explicit(&w->current, memory_order_relaxed)) ||
	    nr >= CALL_NR_MAX || !calls[nr].name)
		return pass(c);
	if (!calls[nr].fast)
		return CALL_MORE;
	long r = calls[nr].fast(c);
	if (r == CALL_PASS || (r == CALL_MORE && !calls[nr].full))
		return pass(c);
	return r;
}
