/* SPDX-License-Identifier: MIT
 *
 * Which worker and which green thread is the caller?
 */
#include "arch/base.h"
#include "scheduler.h"

bool own_tls; /* arch/base.h */

static __thread struct worker *this_worker;

never_inline struct worker *worker_self(void)
{
	__asm__ volatile("" ::: "memory"); /* not a pure function to the compiler */
	return likely(!own_tls) ? this_worker : base_gs();
}

void worker_set_self(struct worker *w)
{
	this_worker = w;
	if (own_tls) {
		base_set_gs(w);
		if (w)
			w->fs_base = base_fs();
	}
}

struct gt *gt_self(void)
{
	struct worker *w = worker_self();

	return w ? atomic_load_explicit(&w->current, memory_order_relaxed) : NULL;
}
