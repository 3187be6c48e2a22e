/* SPDX-License-Identifier: MIT
 *
 * sched_yield(2).  In the usual case, called by libc's function of that name, the entry
 * itself changes stacks (intercept_yield_entry): it has saved already what a switch saves,
 * and needs neither of the two stages.
 */
#include "intercept/entry.h"
#include "intercept/tally.h"
#include "intercept/thread.h"
#include "runtime.h"
#include "scheduler.h"
#include "trace.h"

bool intercept_yields_near;

void intercept_yield_start(void)
{
	intercept_yields_near = rt.workers_count == 1 && !tally_counts;
}

struct sched_next intercept_yield(struct worker *w, void *sp)
{
	/* An OS thread that is no worker has no GS base.  The hook is for arrivals in all
	 * green threads, which the entry says nothing of. */
	if (unlikely(!intercept_yields_near || !w || trace_observed() || sched_switch_hook ||
	             !atomic_load_explicit(&w->current, memory_order_relaxed)))
		return (struct sched_next){ NULL, NULL };
	return sched_yield_near(w, sp);
}

/* By way of a switch that was none of the entry's.  What has come meanwhile may be anything:
 * nobody shall take this for the program's code. */
void intercept_yielded(struct worker *w)
{
	if (likely(w->post == POST_TLS)) {
		worker_take_tls(w);
		return;
	}
	bool *detained = &thread_self_fast()->detained;
	const bool inner = *detained;

	*detained = true;
	sched_settle(w);
	*detained = inner;
}

long call_sched_yield(struct call *c)
{
	if (unlikely(trace_observed()))
		trace_yield(worker_self(), gt_self(), (void *)c->pc);
	else
		sched_yield_self(worker_self());
	return 0;
}
