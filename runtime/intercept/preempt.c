/* SPDX-License-Identifier: MIT
 *
 * Preemption (preempt.h).
 */
#include "intercept/preempt.h"
#include "intercept/signal.h"
#include "options.h"
#include "scheduler.h"

static bool wanted;

/* The monitor's: worker w has run one thread since the tick before, and others wait. */
static void preempt(struct worker *w)
{
	struct gt *gt = atomic_load_explicit(&w->current, memory_order_relaxed);

	if (!gt)
		return;
	/* Relaxed: the kick comes after it, and so does the look. */
	atomic_store_explicit(&w->preempt, 1, memory_order_relaxed);
	/* Most of the time of some threads passes in calls, where a kick does nothing: they
	 * look on their way out.  It may hit the thread that comes next: harmless. */
	atomic_fetch_or_explicit(&gt->look, LOOK_SIGNALLED, memory_order_release);
	/* In a system call that nobody can hurry, or about to switch. */
	if (!threads[gt_index(gt)].detained)
		kick_tid(w->tid);
}

int preempt_options(void)
{
	uint64_t on = 1;
	int r = options_number("GREEN_PREEMPT", false, 0, 1, &on);

	wanted = on;
	return r < 0 ? r : 0;
}

void preempt_start(void)
{
	if (wanted)
		monitor_preempt = preempt;
}

void preempt_if_asked(void)
{
	struct worker *w = worker_self();

	if (!atomic_exchange_explicit(&w->preempt, 0, memory_order_relaxed))
		return;
	sched_preempted(w);
}
