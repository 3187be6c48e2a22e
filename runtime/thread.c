/* SPDX-License-Identifier: MIT
 *
 * Green threads as their users see them: spawn, join, yield, sleep, names.
 */
#include "scheduler.h"
#include "runtime.h"
#include "behalf.h"
#include "trace.h"

#include <errno.h>
#include <string.h>

int green_go(green_fn fn, void *arg)
{
	struct spawn s = { .fn = fn, .arg = arg, .pc = PARK_PC, .worker = -1, .detached = true };

	return fn ? sched_spawn(&s, NULL) : -EINVAL;
}

int green_spawn(green_t *thread, const struct green_attr *attr, green_fn fn, void *arg)
{
	struct spawn s = { .fn = fn, .arg = arg, .pc = PARK_PC, .attr = attr, .worker = -1 };

	return fn ? sched_spawn(&s, thread) : -EINVAL;
}

/* ---- join ----------------------------------------------------------------- */

static int reap(struct gt *gt, void **result)
{
	struct worker *w = worker_self();
	bool overflowed = gt_has(gt, GT_OVERFLOWED);

	if (result)
		*result = overflowed ? NULL : gt->arg;
	gt_free(w ? &w->gts : NULL, gt);
	return overflowed ? -EOVERFLOW : 0;
}

/* Moves the join word from NOBODY to COMING.  1: it has ended already, 0: done,
 * -errno. */
static int claim_join(struct gt *gt, struct gt *self, uint64_t gen)
{
	uint64_t word = atomic_load_explicit(&gt->join, memory_order_acquire);

	for (;;) {
		uint32_t who = (uint32_t)word & GT_INDEX_MASK;
		if (gt_gen(word) != gen)
			return -ESRCH;
		if (who == GT_JOIN_DONE) {
			/* Of two who come now only one may reap. */
			if (atomic_compare_exchange_weak_explicit(&gt->join, &word,
			                                          gen | GT_JOIN_DETACHED,
			                                          memory_order_acq_rel,
			                                          memory_order_acquire))
				return 1;
			continue;
		}
		if (who != GT_JOIN_NOBODY)
			return -EINVAL;
		int r = park_check(self);
		if (r < 0)
			return r;
		if (atomic_compare_exchange_weak_explicit(&gt->join, &word, gen | GT_JOIN_COMING,
		                                          memory_order_acq_rel,
		                                          memory_order_acquire))
			return 0;
	}
}

static int join_wait(struct gt *gt, struct gt *self, uint64_t gen, void *pc)
{
	struct park_ticket ticket = park_begin(self, PARK_JOIN, gt, pc);
	uint64_t expected = gen | GT_JOIN_COMING;

	gt->join_seq = ticket.seq;
	/* Release pairs with the acquire in announce_end(): the ticket. */
	if (!atomic_compare_exchange_strong_explicit(&gt->join, &expected, gen | gt_index(self),
	                                             memory_order_acq_rel, memory_order_acquire)) {
		park_abort(ticket); /* it ended meanwhile, and has no ticket of ours */
		return 0;
	}
	enum wake_reason reason = park_commit(ticket, 0, GREEN_FOREVER);
	if (reason == WAKE_PEER)
		return 0;
	expected = gen | gt_index(self);
	if (atomic_compare_exchange_strong_explicit(&gt->join, &expected, gen | GT_JOIN_NOBODY,
	                                            memory_order_acq_rel, memory_order_acquire))
		return park_error(reason);
	/* It ended at the same moment: joined after all.  Acquire pairs with the
	 * release of TAKEN in announce_end(), a few instructions away. */
	while (atomic_load_explicit(&gt->join, memory_order_acquire) == (gen | GT_JOIN_ENDING))
		cpu_pause();
	return 0;
}

int green_join(green_t thread, void **result)
{
	void *pc = PARK_PC;
	struct gt *gt = gt_lookup(thread);

	trace_enter(pc, PARK_JOIN, thread);
	if (!gt)
		return -ESRCH;
	struct gt *self = park_self();
	if (!self)
		return -ENOMEM;
	if (self == gt)
		return -EDEADLK;
	int r = claim_join(gt, self, gt_gen(thread));
	if (r == 0)
		r = join_wait(gt, self, gt_gen(thread), pc);
	return r < 0 ? r : reap(gt, result);
}

int green_detach(green_t thread)
{
	struct gt *gt = gt_lookup(thread);
	uint64_t gen = gt_gen(thread);

	if (!gt)
		return -ESRCH;
	uint64_t word = atomic_load_explicit(&gt->join, memory_order_acquire);
	for (;;) {
		uint32_t who = (uint32_t)word & GT_INDEX_MASK;
		if (gt_gen(word) != gen)
			return -ESRCH;
		if (who != GT_JOIN_NOBODY && who != GT_JOIN_DONE)
			return -EINVAL;
		if (!atomic_compare_exchange_weak_explicit(&gt->join, &word, gen | GT_JOIN_DETACHED,
		                                           memory_order_acq_rel,
		                                           memory_order_acquire))
			continue;
		if (who == GT_JOIN_DONE)
			reap(gt, NULL);
		return 0;
	}
}

/* ---- yield and sleep ------------------------------------------------------ */

static never_inline int yield_traced(struct worker *w, void *pc)
{
	struct gt *self = atomic_load_explicit(&w->current, memory_order_relaxed);

	trace_yield(w, self, pc);
	return park_check(self);
}

static int yield_os_thread(void)
{
	sys0(SYS_sched_yield);
	return 0;
}

int thread_yield(void *pc)
{
	struct worker *w = worker_self();

	return w ? yield_traced(w, pc) : yield_os_thread();
}

int green_yield(void)
{
	struct worker *w = worker_self();

	if (unlikely(!w))
		return yield_os_thread();
	if (unlikely(trace_observed()))
		return yield_traced(w, PARK_PC);
	return sched_yield_self(w);
}

int thread_sleep(int64_t duration_ns, void *pc)
{
	if (duration_ns <= 0)
		return thread_yield(pc);
	struct gt *self = park_self();
	if (!self)
		return -ENOMEM;
	int r = park_check(self);
	if (r < 0)
		return r;
	int64_t now = sys.now();
	int64_t until = duration_ns > GREEN_FOREVER - now ? GREEN_FOREVER : now + duration_ns;
	bool scope_first = self->ext && self->ext->deadline_ns < until;

	struct park_ticket ticket = park_begin(self, PARK_SLEEP, NULL, pc);
	enum wake_reason reason = park_commit(ticket, 0, until);
	return reason == WAKE_TIMEOUT && !scope_first ? 0 : park_error(reason);
}

int green_sleep(int64_t duration_ns)
{
	if (duration_ns > 0)
		trace_enter(PARK_PC, PARK_SLEEP, (uint64_t)duration_ns);
	return thread_sleep(duration_ns, PARK_PC);
}

/* ---- identity ------------------------------------------------------------- */

green_t green_self(void)
{
	struct gt *self = gt_self();

	return self ? gt_handle(self) : GREEN_NONE;
}

int green_worker(void)
{
	struct worker *w = worker_self();

	return w ? w->id : -1;
}

int64_t green_now(void)
{
	return sys.now();
}

int green_set_name(green_t thread, const char *name)
{
	struct gt *gt = thread == GREEN_NONE ? gt_self() : gt_lookup(thread);

	if (!gt)
		return -ESRCH;
	if (!name)
		return -EINVAL;
	struct gt_ext *ext = gt_ext(gt);
	if (!ext)
		return -ENOMEM;
	size_t n = strnlen(name, sizeof(ext->name) - 1);
	memcpy(ext->name, name, n);
	ext->name[n] = 0;
	return 0;
}

int green_get_name(green_t thread, char *buf, size_t size)
{
	struct gt *gt = thread == GREEN_NONE ? gt_self() : gt_lookup(thread);

	if (!gt)
		return -ESRCH;
	gt_name(gt, buf, size);
	return 0;
}
