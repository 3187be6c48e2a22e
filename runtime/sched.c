/* SPDX-License-Identifier: MIT
 *
 * Switching between green threads, and who of a worker's queues is next.
 *
 * Order of picking: the run-next slot (a thread the running one has just
 * woken: its data is warm), started threads in FIFO order, migratable ones,
 * arrivals and preempted ones in FIFO order, never-run ones newest first.  Depth first keeps few
 * stacks alive; at every look around (each SCHED_TICK switches) one of the later
 * queues comes first, in turn, so that nothing starves.
 */
#include "scheduler.h"
#include "arch/switch.h"
#include "census.h"
#include "hibernate.h"
#include "runtime.h"
#include "sanitizer.h"
#include "sweep.h"
#include "trace.h"

#include <errno.h>

#define RUN_NEXT_MAX 16        /* uses of the run-next slot in a row */
#define HOG_ROUNDS 9           /* odd: each queue's turn comes */
#define OLDEST_FRESH_ROUNDS 16 /* looks around between two turns of the oldest fresh one */

#if defined(GREEN_TSAN) /* beside the descriptors, which have no room */
#define FIBERS_MAX (1u << 20)
static void *fibers[FIBERS_MAX];
#define fiber_of(gt) (&fibers[gt_index(gt) % FIBERS_MAX])
#endif

void (*sched_lent_ended)(void *object);

/* ---- picking -------------------------------------------------------------- */

static never_inline struct gt *pick_run_next(struct worker *w)
{
	struct gt *gt = gt_at(w->run_next);

	w->run_next = GT_NONE;
	if (unlikely(w->local.head && ++w->run_next_streak > RUN_NEXT_MAX)) {
		w->run_next_streak = 0;
		local_push(&w->local, gt);
		return NULL;
	}
	return gt;
}

/* Not inlined: their address-taken locals would cost the hot paths a canary. */
static never_inline struct gt *pick_fresh(struct worker *w, bool oldest)
{
	uint32_t index;
	bool raced = false;

	w->fresh_taken |= !oldest;
	if (oldest ? deque_steal(&w->fresh, &index, &raced) : deque_pop(&w->fresh, &index))
		return gt_at(index);
	return NULL;
}

static never_inline struct gt *take_shared(struct worker *w)
{
	uint32_t index;

	return ring_pop(&w->shared, &index) ? gt_at(index) : NULL;
}

static inline struct gt *pick_shared(struct worker *w)
{
	return ring_count(&w->shared) ? take_shared(w) : NULL;
}

/* What was sent here is started in order of arrival, one by one: the rest stays
 * where thieves can reach it. */
static never_inline struct gt *take_arrival(struct worker *w)
{
	spin_lock(&w->arrivals_lock);
	struct gt *gt = local_pop(&w->arrivals);
	w->before_demoted -= w->before_demoted > 0;
	/* The next one's time begins now: the owner is at it. */
	atomic_store_explicit(&w->arrivals_since,
	                      w->arrivals.head ? atomic_load_explicit(&w->now, memory_order_relaxed)
	                                       : 0,
	                      memory_order_relaxed);
	spin_unlock(&w->arrivals_lock);
	return gt;
}

static inline struct gt *pick_arrival(struct worker *w)
{
	return atomic_load_explicit(&w->arrivals_since, memory_order_relaxed) ? take_arrival(w)
	                                                                      : NULL;
}

/* Who is preempted and may not leave this worker waits as long as one that may, which comes
 * behind the arrivals.  (Under greenrun that is one thread, the program's first: of several
 * one has its turn in each round.) */
static void demote_here(struct worker *w, struct gt *gt)
{
	if (!w->demoted.head)
		w->before_demoted = sched_arrivals(w);
	local_push(&w->demoted, gt);
}

static never_inline struct gt *take_demoted(struct worker *w)
{
	struct gt *gt = local_pop(&w->demoted);

	w->before_demoted = w->demoted.head ? sched_arrivals(w) : 0;
	return gt;
}

static inline struct gt *pick_arrival_or_demoted(struct worker *w)
{
	struct gt *gt = NULL;

	if (likely(!w->demoted.head) || w->before_demoted)
		gt = pick_arrival(w);
	return !gt && unlikely(w->demoted.head) ? take_demoted(w) : gt;
}

static struct gt *pick_usual(struct worker *w)
{
	struct gt *gt = NULL;

	if (w->run_next)
		gt = pick_run_next(w);
	if (!gt) {
		gt = local_pop(&w->local);
		if (gt)
			w->run_next_streak = 0;
	}
	if (!gt)
		gt = pick_shared(w);
	if (!gt && unlikely(w->starved.head))
		return w->demoted.head ? take_demoted(w) : NULL;
	if (!gt)
		gt = pick_arrival_or_demoted(w);
	if (!gt)
		gt = pick_fresh(w, false);
	return gt;
}

static int prepare(struct worker *w, struct gt *gt, bool fresh)
{
	unsigned class = gt->stack_class & GT_CLASS_MASK;
	int r = fresh ? stack_acquire_fresh(w->stacks, class, &gt->stack)
	              : stack_acquire(w->stacks, class, &gt->stack);

	if (unlikely(r < 0)) {
		gt->stack = STACK_NONE;
		local_push(&w->starved, gt); /* later, when one has been given back */
		return r;
	}
	if (unlikely(r > 0))
		census_begin(w, gt);
	stack_set_owner(gt->stack, gt_index(gt));
	gt->sp = switch_prepare(stack_top(gt->stack), spawn_boot, gt);
#if defined(GREEN_TSAN)
	*fiber_of(gt) = sanitizer_fiber_new();
#endif
	return 0;
}

int sched_prepare(struct worker *w, struct gt *gt)
{
	return prepare(w, gt, false);
}

/* Newest first keeps few stacks alive and leaves the largest parts of a tree of
 * work to thieves.  The oldest gets its turn when started threads leave fresh
 * ones none, and seldom otherwise: each one that the owner starts early is a part
 * that thieves then take in crumbs (skynet: 100 steals, against 4,300 when the
 * oldest was started at every second look around). */
static struct gt *pick_fresh_fairly(struct worker *w, uint64_t round)
{
	bool oldest = !w->fresh_taken || round % OLDEST_FRESH_ROUNDS == 2;

	w->fresh_taken = false;
	if (deque_count(&w->fresh) <= 0)
		return NULL;
	return pick_fresh(w, oldest);
}

/* Once per look around one of the queues that usually come last comes first. */
static struct gt *pick_in_turn(struct worker *w)
{
	uint64_t round = atomic_load_explicit(&w->rounds, memory_order_relaxed);

	if (unlikely(w->starved.head))
		return local_pop(&w->starved);
	switch (round % 4) {
	case 0:
		return pick_shared(w);
	case 1:
		return pick_arrival_or_demoted(w);
	default:
		return pick_fresh_fairly(w, round);
	}
}

/* Now and then somebody begins on a stack of zeroes (census.h). */
static struct gt *pick_after_look(struct worker *w)
{
	struct gt *gt = pick_in_turn(w);

	if (gt && gt->stack == STACK_NONE && unlikely(census_is_due(w)))
		return prepare(w, gt, true) < 0 ? NULL : gt;
	return gt;
}

/* With preemption each look around ends somebody's time: the turn of those who compute
 * comes seldom while others, who have waited, can go on. */
static inline bool waits_for_hogs(const struct worker *w)
{
	return monitor_preempt && w->local.head &&
	       atomic_load_explicit(&w->rounds, memory_order_relaxed) % HOG_ROUNDS != 0;
}

struct gt *sched_pick(struct worker *w, bool fair)
{
	struct gt *gt = fair && !waits_for_hogs(w) ? pick_after_look(w) : NULL;

	if (!gt)
		gt = pick_usual(w);
	/* Those without a stack step aside; those that have one go on. */
	while (gt && unlikely(gt->stack == STACK_NONE) && sched_prepare(w, gt) < 0)
		gt = pick_usual(w);
	return gt;
}

/* ---- switching ------------------------------------------------------------ */

/* Switches until the next look around.  The owner counts by plain loads and stores; the
 * monitor may put a 1 there at any moment, and may lose it (hurry_slow()). */
static inline uint32_t ticks_left(const struct worker *w)
{
	return atomic_load_explicit(&w->tick, memory_order_relaxed);
}

static inline void set_ticks(struct worker *w, uint32_t ticks)
{
	atomic_store_explicit(&w->tick, ticks, memory_order_relaxed);
}

static inline uint32_t count_down(struct worker *w)
{
	uint32_t left = ticks_left(w) - 1;

	set_ticks(w, left);
	return left;
}

void sched_settle(struct worker *w)
{
	uint8_t post = w->post;

	/* First: whose FS base this is may go on on another worker, or be gone. */
	if (unlikely(post & POST_TLS))
		worker_take_tls(w);
	w->post = w->post_always;
	switch (post & ~POST_TLS) {
	default:
		break;
	case POST_PARK:
		park_saved(w->post_gt);
		break;
	case POST_SHARE:
		/* It comes round again without anybody's help, and asks again then. */
		if (sched_share(w, w->post_gt) && unlikely(sched_idle_hint()))
			sched_wake_any();
		break;
	case POST_DEMOTE:
		sched_arrive(w, w->post_gt);
		break;
	case POST_LENT:
		sched_lent_ended(w->post_lent);
		break;
	case POST_STACK:
		stack_release(w->stacks, w->post_stack);
#if defined(GREEN_TSAN)
		sanitizer_fiber_free(w->dead_fiber);
		w->dead_fiber = NULL;
#endif
		break;
	}
}

/* The one place where stacks are exchanged.  to == NULL: the scheduler. */
static inline __attribute__((always_inline)) void sched_jump(struct worker *w, void **save,
                                                             struct gt *to, bool gone)
{
	void *fake = NULL, *fiber = NULL, *load = to ? to->sp : w->sched_sp;
	const void *bottom = NULL;
	size_t size = 0;

#if defined(GREEN_ASAN)
	bottom = to ? stack_bottom(to->stack) : w->os_stack;
	size = to ? stack_usable(to->stack) : w->os_stack_size;
#endif
#if defined(GREEN_TSAN)
	fiber = to ? *fiber_of(to) : w->sanitizer_fiber;
#endif
	sanitizer_leave(&fake, bottom, size, fiber, gone);
	switch_stacks(save, load);
	sanitizer_arrive(fake);
}

static inline void count_switch(struct worker *w, struct gt *gt)
{
	atomic_store_explicit(&w->current, gt, memory_order_relaxed);
	atomic_store_explicit(&w->switches,
	                      atomic_load_explicit(&w->switches, memory_order_relaxed) + 1,
	                      memory_order_relaxed);
}

static inline void set_running(struct worker *w, struct gt *gt)
{
	count_switch(w, gt);
	if (gt) {
		/* Relaxed: set before the wait was claimed, and the claim has come
		 * here through a queue; the line is needed anyway. */
		if (unlikely(atomic_load_explicit(&gt->park, memory_order_relaxed) & PARK_ASLEEP))
			sweep_rouse(gt);
		atomic_store_explicit(&gt->state, GT_RUNNING, memory_order_relaxed);
		if (unlikely(atomic_load_explicit(&gt->worker, memory_order_relaxed) != w->id))
			atomic_store_explicit(&gt->worker, w->id, memory_order_relaxed);
	}
}

static inline void leave_for_next(struct worker *w, void **save, bool gone)
{
	struct gt *next = NULL;

	if (likely(count_down(w) > 0))
		next = sched_pick(w, false);
	set_running(w, next);
	w->in_scheduler = next == NULL;
	sched_jump(w, save, next, gone);
}

void sched_switch(struct gt *self, enum post post)
{
	struct worker *w = worker_self();

	w->post = (uint8_t)post | w->post_always;
	w->post_gt = self;
	leave_for_next(w, &self->sp, false);
	sched_arrived(worker_self());
}

void sched_dying(struct worker *w, const struct gt *gt)
{
	(void)w, (void)gt;
#if defined(GREEN_TSAN)
	w->dead_fiber = *fiber_of(gt);
#endif
}

_Noreturn void sched_end(struct worker *w, stack_id stack)
{
	w->post = POST_STACK | w->post_always;
	w->post_stack = stack;
	/* Not to a local variable: with ASan it may be gone before the stack is. */
	leave_for_next(w, &w->dead_sp, true);
	__builtin_unreachable();
}

/* On a queue that only this worker takes from: its stack has been left by then. */
_Noreturn void sched_move(struct worker *w, struct gt *self, stack_id stack)
{
	atomic_store_explicit(&self->state, GT_READY, memory_order_relaxed);
	if (w->run_next)
		local_push(&w->local, self);
	else
		w->run_next = gt_index(self);
	sched_end(w, stack);
}

_Noreturn void sched_end_lent(struct worker *w, void *object)
{
	w->post = POST_LENT | w->post_always;
	w->post_lent = object;
	leave_for_next(w, &w->dead_sp, true);
	__builtin_unreachable();
}

struct gt *sched_inherit(struct worker *w, stack_id stack)
{
#if defined(GREEN_TSAN)
	(void)w, (void)stack; /* each green thread shall have a fiber of its own */
	return NULL;
#endif
	if (ticks_left(w) <= 1 || w->run_next || w->local.head || ring_count(&w->shared) ||
	    atomic_load_explicit(&w->arrivals_since, memory_order_relaxed))
		return NULL;
	struct gt *next = pick_fresh(w, false);
	if (!next)
		return NULL;
	/* Never so where stacks are scrubbed between two threads: GT_CLASS_SCRUB. */
	if (unlikely(next->stack_class != stack_class_of(stack))) {
		/* Room is certain: it has just been taken from there. */
		deque_push(&w->fresh, gt_index(next));
		return NULL;
	}
	count_down(w);
	next->stack = stack;
	stack_set_owner(stack, gt_index(next));
	set_running(w, next);
	if (unlikely(w->post_always))
		worker_take_tls(w); /* nothing of that is switched here */
	return next;
}

void sched_run(struct worker *w, struct gt *gt)
{
	set_ticks(w, SCHED_TICK);
	set_running(w, gt);
	w->in_scheduler = false;
	sched_jump(w, &w->sched_sp, gt, false);
	sched_arrived(w);
}

/* Nobody started waits but the caller of a yield: others come first now. */
static never_inline struct gt *pick_instead(struct worker *w, struct gt *self)
{
	struct gt *next = pick_shared(w);

	if (!next)
		next = pick_arrival(w);
	if (!next && deque_count(&w->fresh) > 0 && likely(!w->starved.head))
		next = pick_fresh(w, false);
	if (!next)
		return self;
	local_push(&w->local, self);
	if (next->stack == STACK_NONE && sched_prepare(w, next) < 0)
		return sched_pick(w, false);
	return next;
}

void sched_preempted(struct worker *w)
{
	struct gt *self = atomic_load_explicit(&w->current, memory_order_relaxed);

	/* Relaxed: a wish.  The request to preempt comes after it. */
	if (atomic_exchange_explicit(&w->levels, false, memory_order_relaxed))
		steal_level(w);
	set_ticks(w, 1); /* time to look around */
	atomic_store_explicit(&self->state, GT_READY, memory_order_relaxed);
	if (gt_kind(self) & GT_KIND_MIGRATABLE) {
		sched_switch(self, POST_DEMOTE);
	} else {
		demote_here(w, self);
		sched_switch(self, POST_NONE);
	}
	w = worker_self();
	atomic_store_explicit(&w->hog_since,
	                      atomic_load_explicit(&w->switches, memory_order_relaxed),
	                      memory_order_relaxed);
}

/* The usual case: another started thread waits, and nothing is special. */
static inline struct gt *change_places(struct worker *w, struct gt *self)
{
	/* Behind the head, so the queue is not empty at any moment. */
	gt_at(w->local.tail)->next = gt_index(self);
	w->local.tail = gt_index(self);
	w->local.count++;
	self->next = GT_NONE;
	return local_pop(&w->local);
}

static inline int yield_here(struct worker *w, struct gt *self)
{
	struct gt *next;

	if (likely(w->local.head && !w->run_next)) {
		next = change_places(w, self);
		if (unlikely(next->stack == STACK_NONE) && sched_prepare(w, next) < 0)
			next = sched_pick(w, false);
	} else if (w->run_next) {
		local_push(&w->local, self);
		next = sched_pick(w, false);
	} else {
		next = pick_instead(w, self);
	}
	if (unlikely(next == self))
		return park_check(self);
	atomic_store_explicit(&self->state, GT_READY, memory_order_relaxed);
	set_running(w, next);
	sched_jump(w, &self->sp, next, false);
	sched_arrived(w); /* self does not migrate: it is on the same worker */
	return park_check(self);
}

/* A yield that has to do more than change places, or may have to. */
static never_inline int yield_slowly(struct worker *w, struct gt *self)
{
	if ((gt_kind(self) & GT_KIND_MIGRATABLE) && rt.workers_count > 1) {
		set_ticks(w, ticks_left(w) + 1);
		sched_switch(self, POST_SHARE);
	} else if (ticks_left(w) > 0) {
		return yield_here(w, self);
	} else {
		set_ticks(w, 1); /* time to look around */
		local_push(&w->local, self);
		sched_switch(self, POST_NONE);
	}
	return park_check(self);
}

int sched_yield_self(struct worker *w)
{
	struct gt *self = atomic_load_explicit(&w->current, memory_order_relaxed);

	if (unlikely(count_down(w) == 0 || (gt_kind(self) & GT_KIND_MIGRATABLE)))
		return yield_slowly(w, self);
	return yield_here(w, self);
}

/* As yield_here(), but that the caller changes stacks.  There is one worker, so nobody has
 * run elsewhere. */
struct sched_next sched_yield_near(struct worker *w, void *sp)
{
	const struct sched_next none = { NULL, NULL };
	struct gt *self = atomic_load_explicit(&w->current, memory_order_relaxed);
	struct gt *next = gt_at(w->local.head);
	uint32_t ticks = ticks_left(w);

#if defined(GREEN_ASAN) || defined(GREEN_TSAN)
	return none; /* who have to be told of it */
#endif
	if (unlikely(!w->local.head || w->run_next || ticks <= 1 || next->stack == STACK_NONE ||
	             (atomic_load_explicit(&next->park, memory_order_relaxed) & PARK_ASLEEP)))
		return none;
	set_ticks(w, ticks - 1);
	self->sp = sp;
	self->next = GT_NONE;
	gt_at(w->local.tail)->next = gt_index(self);
	w->local.tail = gt_index(self);
	w->local.head = next->next;
	if (w->local.count > FAR_COUNT)
		local_prefetch(&w->local);
	atomic_store_explicit(&self->state, GT_READY, memory_order_relaxed);
	atomic_store_explicit(&next->state, GT_RUNNING, memory_order_relaxed);
	atomic_store_explicit(&next->worker, w->id, memory_order_relaxed);
	count_switch(w, next);
	return (struct sched_next){ next->sp, next->fs_base ? next->fs_base : w->fs_base };
}
