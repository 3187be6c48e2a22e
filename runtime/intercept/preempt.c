/* SPDX-License-Identifier: MIT
 *
 * Preemption (preempt.h).
 */
#include "intercept/preempt.h"
#include "intercept/signal.h"
#include "scheduler.h"

#include <stdlib.h>

/* The monitor's: worker w has run one thread since the tick before, and others wait. */
static void preempt(struct worker *w)
{
	const struct gt *gt = atomic_load_explicit(&w->current, memory_order_relaxed);

	/* Inside the runtime it is about to switch, or in a system call that nobody can
	 * hurry. */
	if (!gt || threads[gt_index(gt)].detained)
		return;
	/* Relaxed: the kick comes after it. */
	atomic_store_explicit(&w->preempt, 1, memory_order_relaxed);
	kick_tid(w->tid);
}

void preempt_start(void)
{
	const char *text = getenv("GREEN_PREEMPT");
	const char *serial = getenv("GREEN_SERIAL");

	if ((text && text[0] == '0') || (serial && serial[0] && serial[0] != '0'))
		return;
	monitor_preempt = preempt;
}

void preempt_if_asked(void)
{
	struct worker *w = worker_self();

	if (!atomic_exchange_explicit(&w->preempt, 0, memory_order_relaxed))
		return;
	sched_preempted(w);
}
