/* SPDX-License-Identifier: MIT
 *
 * Which worker and which green thread is the caller?
 */
#include "arch/base.h"
#include "scheduler.h"

bool own_tls; /* arch/base.h */

void (*sched_switch_hook)(struct worker *w, const struct gt *to);

static __thread struct worker *this_worker;

never_inline struct worker *worker_self(void)
{
	__asm__ volatile("" ::: "memory"); /* not a pure function to the compiler */
	return this_worker;
}

void worker_set_self(struct worker *w)
{
	this_worker = w;
	if (!own_tls)
		return;
	base_set_gs(w);
	if (w) {
		w->fs_base = base_fs();
		w->post = w->post_always = POST_TLS;
	}
}

void worker_take_tls(struct worker *w)
{
	const struct gt *gt = atomic_load_explicit(&w->current, memory_order_relaxed);
	void *base = gt && gt->fs_base ? gt->fs_base : w->fs_base;

	if (base_fs() != base) /* writing it takes 11 ns, reading 1 */
		base_set_fs(base);
	this_worker = w;
	if (unlikely(sched_switch_hook != NULL) && gt)
		sched_switch_hook(w, gt);
}

struct worker *worker_hide(void)
{
	struct worker *w = worker_self();

	this_worker = NULL;
	return w;
}

void worker_unhide(struct worker *w)
{
	this_worker = w;
}

struct gt *gt_self(void)
{
	struct worker *w = worker_self();

	return w ? atomic_load_explicit(&w->current, memory_order_relaxed) : NULL;
}

int64_t sched_now(void)
{
	return sys.now();
}
