/* SPDX-License-Identifier: MIT
 *
 * Ready to run: how a green thread gets on a queue, its own worker's or another's,
 * and what workers take in from outside.
 */
#include "runtime.h"
#include "scheduler.h"
#include "trace.h"

void (*monitor_preempt)(struct worker *w);

/* An OS thread touches a worker for the sake of a green thread: as soon as that
 * one can run, everything may end, green_fini() included, which waits for such
 * visitors.  (What workers do ends before they do.) */
static bool visit(const struct worker *self)
{
	if (likely(self))
		return true;
	/* The child of a fork has the parent's threads in its memory, and nobody to
	 * run them; who held a worker's lock is not there either. */
	if (unlikely(runtime_forked()))
		return false;
	atomic_fetch_add_explicit(&rt.visitors, 1, memory_order_seq_cst);
	return true;
}

static void depart(const struct worker *self)
{
	/* Release pairs with the acquire in green_fini(). */
	if (unlikely(!self))
		atomic_fetch_sub_explicit(&rt.visitors, 1, memory_order_release);
}

void sched_arrive(struct worker *target, struct gt *gt)
{
	spin_lock(&target->arrivals_lock);
	if (!target->arrivals.head)
		atomic_store_explicit(&target->arrivals_since, sys.now(), memory_order_relaxed);
	local_push(&target->arrivals, gt);
	spin_unlock(&target->arrivals_lock);
	sched_wake_worker(target);
}

uint32_t sched_arrivals(struct worker *w)
{
	spin_lock(&w->arrivals_lock);
	uint32_t count = w->arrivals.count;
	spin_unlock(&w->arrivals_lock);
	return count;
}

static void inbox_push(struct worker *target, struct gt *gt)
{
	uint32_t head = atomic_load_explicit(&target->inbox, memory_order_relaxed);

	/* Only the owner takes, and it takes all: a head that comes back is no
	 * danger.  Release pairs with the acquire in sched_collect(); sequentially
	 * consistent against the owner's way to sleep (loop.c). */
	do
		gt->next = head;
	while (!atomic_compare_exchange_weak_explicit(&target->inbox, &head, gt_index(gt),
	                                              memory_order_seq_cst, memory_order_relaxed));
	sched_wake_worker(target);
	if (unlikely(sched_runs_hog(target)))
		monitor_preempt(target);
}

bool sched_share(struct worker *w, struct gt *gt)
{
	if (likely(rt.workers_count > 1) && ring_push(&w->shared, gt_index(gt)))
		return true;
	local_push(&w->local, gt);
	return false;
}

void sched_ready(struct gt *gt)
{
	struct worker *w = worker_self();

	if (unlikely(!visit(w)))
		return;
	struct worker *target = worker_at(atomic_load_explicit(&gt->worker, memory_order_relaxed));

	trace_woken(w, gt);
	atomic_store_explicit(&gt->state, GT_READY, memory_order_relaxed);
	if (gt_kind(gt) & GT_KIND_MIGRATABLE) {
		if (!w)
			sched_arrive(target, gt);
		else if (sched_share(w, gt) && !w->in_scheduler)
			sched_wake_any();
		/* In the scheduler context: when this worker has picked (worker_loop()). */
	} else if (target != w) {
		inbox_push(target, gt);
	} else if (!w->in_scheduler && !w->run_next) {
		w->run_next = gt_index(gt);
	} else {
		local_push(&w->local, gt);
	}
	depart(w);
}

void sched_start(struct gt *gt, int target, bool pinned)
{
	struct worker *w = worker_self();
	struct worker *to = target >= 0 ? worker_at((unsigned)target) : w;

	if (unlikely(!visit(w)))
		return;
	if (!to) /* an OS thread, and it does not care */
		to = worker_at(sched_least_loaded());
	atomic_store_explicit(&gt->worker, to->id, memory_order_relaxed);
	if (pinned) {
		if (to == w) {
			atomic_thread_fence(memory_order_seq_cst); /* spawn_boot() */
			local_push(&w->local, gt);
		} else {
			inbox_push(to, gt);
		}
	} else if (to != w) {
		sched_arrive(to, gt);
	} else if (likely(deque_push(&w->fresh, gt_index(gt)) == 0)) {
		sched_wake_any();
	} else {
		atomic_thread_fence(memory_order_seq_cst); /* spawn_boot() */
		local_push(&w->local, gt);
	}
	depart(w);
}

static void list_for_attention(struct worker *target, struct gt *gt)
{
	uint32_t none = 0;

	/* attn is 0 outside a list; inside: the next one's index + 1, or ~0 at
	 * the end.  Already listed: its worker will look once more anyway. */
	if (!atomic_compare_exchange_strong_explicit(&gt->attn, &none, ~0u, memory_order_acq_rel,
	                                             memory_order_relaxed))
		return;
	uint32_t head = atomic_load_explicit(&target->attn, memory_order_relaxed);
	do
		atomic_store_explicit(&gt->attn, head ? head : ~0u, memory_order_relaxed);
	while (!atomic_compare_exchange_weak_explicit(&target->attn, &head, gt_index(gt) + 1,
	                                              memory_order_seq_cst, memory_order_relaxed));
	sched_wake_worker(target);
}

void sched_attention(struct gt *gt)
{
	struct worker *w = worker_self();

	if (unlikely(!visit(w)))
		return;
	struct worker *target = worker_at(atomic_load_explicit(&gt->worker, memory_order_relaxed));
	if (target) /* NULL: the run is over, and gt with it */
		list_for_attention(target, gt);
	depart(w);
}

static void collect_attention(struct worker *w)
{
	uint32_t at = atomic_exchange_explicit(&w->attn, 0, memory_order_acquire);

	while (at && at != ~0u) {
		struct gt *gt = gt_at(at - 1);
		/* Out of the list before the look: a request that comes during it
		 * is a new one. */
		at = atomic_exchange_explicit(&gt->attn, 0, memory_order_acq_rel);
		if (atomic_load_explicit(&gt->worker, memory_order_relaxed) != w->id)
			sched_attention(gt);
		else
			park_attend(gt);
	}
}

void sched_collect(struct worker *w)
{
	/* The inbox is a stack: turned round, it is in order of arrival. */
	if (atomic_load_explicit(&w->inbox, memory_order_relaxed)) {
		uint32_t at = atomic_exchange_explicit(&w->inbox, GT_NONE, memory_order_acquire);
		uint32_t in_order = GT_NONE;
		while (at) {
			uint32_t next = gt_at(at)->next;
			gt_at(at)->next = in_order;
			in_order = at;
			at = next;
		}
		while (in_order) {
			uint32_t next = gt_at(in_order)->next;
			local_push(&w->local, gt_at(in_order));
			in_order = next;
		}
	}
	if (atomic_load_explicit(&w->attn, memory_order_relaxed))
		collect_attention(w);
}
