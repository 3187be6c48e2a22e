/* SPDX-License-Identifier: MIT
 *
 * The fast stage: whose call is it, and does its fast handler do?
 *
 * Compiled with -mgeneral-regs-only, as all files fast*.c here.
 */
#include "arch/base.h"
#include "intercept/audit.h"
#include "intercept/dispatch.h"
#include "intercept/entry.h"
#include "intercept/futex.h"
#include "intercept/link.h"
#include "intercept/route.h"
#include "intercept/tally.h"
#include "worker.h"

#include <signal.h>

/* SIGSYS stays open: a dispatched call while it is blocked would be the end of the
 * process.  Until the second call nothing is dispatched. */
static long pass_mask(const struct call *c)
{
	static const uint64_t open = DISPATCH_SIGNAL;
	long r = call_real(c);

	if (r == 0 && c->arg[1] && c->arg[0] != SIG_UNBLOCK && dispatch_started)
		call_raw(SYS_rt_sigprocmask, SIG_UNBLOCK, (long)&open, 0, sizeof(open), 0, 0);
	return r;
}

/* Not where the caller's stack and ours would be two, or the child would use up the
 * parent's frames before the parent does. */
static long pass(struct call *c)
{
	switch (c->nr) {
	case SYS_clone:
	case SYS_clone3:
	case SYS_fork:
	case SYS_vfork:
		return CALL_STACKLESS;
	case SYS_rt_sigprocmask:
		return pass_mask(c);
	case SYS_rt_sigaction:
		return link_on ? fast_link_sigaction(c) : call_real(c);
	case SYS_futex:
		return futex_may_wake(c) ? CALL_MORE : call_real(c);
	case CALL_NR_BORN:
		return c->arg[5];
	default:
		return CALL_REAL;
	}
}

/* The same for a green thread's call, which holds its worker meanwhile. */
static long pass_on(struct call *c)
{
	switch (c->nr) {
	case SYS_clone:
	case SYS_clone3:
	case SYS_fork:
	case SYS_vfork:
	case SYS_rt_sigprocmask:
		return pass(c);
	default:
		return unlikely(audit_limit_ns) ? audit_call(c) : pass(c);
	}
}

long intercept_pass(struct call *c)
{
	return pass_on(c);
}

/* Of calls that have no fast stage. */
long fast_more(struct call *c)
{
	(void)c;
	return CALL_MORE;
}

/* Passed on as they are: the calls of OS threads that are no workers (and of workers
 * while the runtime itself calls into libc, which takes their GS base away), of the
 * scheduler context, and those that the table does not have. */
long intercept_fast(struct call *c)
{
	const struct worker *w = base_gs();
	unsigned long nr = (unsigned long)c->nr;

	if (unlikely(!w || !atomic_load_explicit(&w->current, memory_order_relaxed)) ||
	    nr >= CALL_NR_MAX)
		return pass(c);
	tally_call(w, nr);
	call_fn *fast = calls[nr].fast;
	if (!fast)
		return pass_on(c);
	if (unlikely(link_ranges_count) && calls[nr].group != CALL_THREADS && link_is_exempt(c))
		return pass_on(c);
	c->result = 0;
	if (unlikely(route_wanted(nr))) {
		c->result = CALL_UNTRIED;
		return CALL_MORE;
	}
	return fast(c);
}
