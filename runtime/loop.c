/* SPDX-License-Identifier: MIT
 *
 * A worker's life: look around, run green threads, take work from others,
 * sleep.
 *
 * Falling asleep without missing work: the worker sets its bit in rt.idle,
 * then looks at everything that others fill; whoever fills something looks at
 * the bit afterwards.  Both sides are sequentially consistent, so one of them
 * sees the other.  The bit means "asleep and not yet notified": whoever clears
 * it rings the doorbell, once.
 */
#include "fault.h"
#include "fatal.h"
#include "runtime.h"
#include "sanitizer.h"
#include "scheduler.h"
#include "waiter.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>

/* Spinning costs a core that somebody else may need; it pays only when the
 * next event is nearer than a sleep and a wake-up take (10-20 us). */
#define SPIN_NS 20000
#define SPIN_WORTH_NS 15000

static uint64_t idle_bit(const struct worker *w)
{
	return (uint64_t)1 << (w->id % 64);
}

static _Atomic uint64_t *idle_word(const struct worker *w)
{
	return &rt.idle[w->id / 64];
}

/* ---- waking others -------------------------------------------------------- */

/* True if this call was the one that notified it.  as_spinner: it shall look
 * for work of others, and has been counted in rt.spinning for that. */
static bool notify(struct worker *w, bool as_spinner)
{
	uint64_t bit = idle_bit(w);

	if (!(atomic_load_explicit(idle_word(w), memory_order_seq_cst) & bit))
		return false;
	/* Before the bit is taken: worker_leave() clears it for good, then waits
	 * for those who may have seen it and still use the engine. */
	atomic_fetch_add_explicit(&w->ringing, 1, memory_order_seq_cst);
	bool won = atomic_fetch_and_explicit(idle_word(w), ~bit, memory_order_seq_cst) & bit;
	if (won) {
		/* Release pairs with the acquire in sleep_until_called(). */
		atomic_store_explicit(&w->notified, as_spinner ? NOTIFIED_SPIN : NOTIFIED,
		                      memory_order_release);
		rt.engine->doorbell(w);
	}
	/* Release: our use of the engine; pairs with worker_leave(). */
	atomic_fetch_sub_explicit(&w->ringing, 1, memory_order_release);
	return won;
}

void sched_wake_worker(struct worker *w)
{
	/* What was handed to w (a store under a lock) before the look at its bit. */
	atomic_thread_fence(memory_order_seq_cst);
	notify(w, false);
}

static void wake_some_idle(void)
{
	for (unsigned word = 0; word < (rt.workers_count + 63) / 64; word++) {
		uint64_t bits = atomic_load_explicit(&rt.idle[word], memory_order_seq_cst);
		while (bits) {
			struct worker *w = worker_at(word * 64 + (unsigned)__builtin_ctzll(bits));
			if (notify(w, true))
				return;
			bits &= bits - 1;
		}
	}
	/* Nobody to wake: the place among the spinners is free again. */
	atomic_fetch_sub_explicit(&rt.spinning, 1, memory_order_seq_cst);
}

void sched_wake_any(void)
{
	uint32_t none = 0;

	atomic_thread_fence(memory_order_seq_cst);
	/* One that is looking already will find it, and wake the next. */
	if (likely(!sched_idle_hint()) || atomic_load_explicit(&rt.spinning, memory_order_relaxed))
		return;
	if (atomic_compare_exchange_strong_explicit(&rt.spinning, &none, 1, memory_order_seq_cst,
	                                            memory_order_relaxed))
		wake_some_idle();
}

/* This worker is no longer looking for work.  found: it has some, and there may
 * be more. */
static void stop_spinning(struct worker *w, bool found)
{
	if (!w->spinner)
		return;
	w->spinner = false;
	if (atomic_fetch_sub_explicit(&rt.spinning, 1, memory_order_seq_cst) == 1 && found &&
	    steal_possible(NULL))
		sched_wake_any();
}

/* Whoever is awake and out of work counts as looking, unless enough do. */
static void start_spinning(struct worker *w)
{
	if (!w->spinner) {
		atomic_fetch_add_explicit(&rt.spinning, 1, memory_order_seq_cst);
		w->spinner = true;
	}
}

/* ---- looking around ------------------------------------------------------- */

static bool called(struct worker *w)
{
	return atomic_load_explicit(&w->inbox, memory_order_seq_cst) ||
	       atomic_load_explicit(&w->attn, memory_order_seq_cst) ||
	       atomic_load_explicit(&w->arrivals_since, memory_order_seq_cst) ||
	       atomic_load_explicit(&rt.stopping, memory_order_seq_cst);
}

static void fire_timers(struct worker *w, int64_t now)
{
	struct timer due;

	if (likely(atomic_load_explicit(&w->timers.first_ns, memory_order_relaxed) > now))
		return;
	while (timers_due(&w->timers, now, &due))
		park_expire(gt_at(due.gt), due.seq);
}

static void engine_poll(struct worker *w, int64_t wait_ns)
{
	/* What an engine cannot go on from is the loss of its descriptors. */
	if (unlikely(rt.engine->poll(w, wait_ns) < 0))
		fatal_lost_fd(w);
}

static void look_around(struct worker *w)
{
	int64_t now = sys.now();

	w->rounds++;
	atomic_store_explicit(&w->now, now, memory_order_relaxed);
	trace_tick(w, now);
	sched_collect(w);
	fire_timers(w, now);
	/* With work at hand the engine is asked every few rounds only for what it
	 * would take a system call to learn. */
	if (rt.engine->busy(w))
		engine_poll(w, 0);
}

static bool has_work(const struct worker *w)
{
	return w->run_next || w->local.head || w->demoted.head || ring_count(&w->shared) ||
	       (deque_count(&w->fresh) > 0 && likely(!w->starved.head));
}

/* A worker that has no stack for its own never-run threads takes no others'. */
static bool can_steal(const struct worker *w)
{
	return likely(!w->starved.head) && steal_possible(w);
}

/* Takes work from others, unless that has not paid lately (steal.c). */
static struct gt *steal(struct worker *w)
{
	steal_judge(w);
	if (unlikely(w->starved.head) ||
	    atomic_load_explicit(&w->now, memory_order_relaxed) < w->rests_until)
		return NULL;
	start_spinning(w);
	return steal_any(w);
}

/* ---- sleeping ------------------------------------------------------------- */

static int64_t sleep_limit(struct worker *w, int64_t rest)
{
	int64_t first = atomic_load_explicit(&w->timers.first_ns, memory_order_relaxed);
	int64_t limit = -1;

	if (first != INT64_MAX) {
		limit = first - sys.now();
		if (limit < 0)
			limit = 0;
	}
	if (w->starved.head && (limit < 0 || limit > 1000000))
		limit = 1000000; /* a stack may have come free on another worker */
	if (rest && (limit < 0 || limit > rest))
		limit = rest;
	return trace_sleep(w, limit);
}

/* Waits actively for a while when experience says that it pays.  True: there
 * is something to do.  Others' queues are looked at seldom: each look takes a
 * line away from the one who fills them. */
static bool spin(struct worker *w)
{
	if (w->idle_ewma_ns > SPIN_WORTH_NS)
		return false;
	int64_t now = sys.now(), end = now + SPIN_NS;
	do {
		if (now >= w->rests_until && can_steal(w))
			return true;
		for (int i = 0; i < 32; i++) {
			if (called(w) || rt.engine->busy(w))
				return true;
			cpu_pause();
		}
		now = sys.now();
	} while (now < end);
	return false;
}

/* rest: sleeps no longer, and not because there is nothing to steal; 0: it must
 * not miss what comes. */
static void sleep_until_called(struct worker *w, int64_t rest)
{
	uint64_t bit = idle_bit(w);
	int64_t before = sys.now();

	atomic_fetch_or_explicit(idle_word(w), bit, memory_order_seq_cst);
	runtime_check_drained();
	if (!called(w) && (rest || !can_steal(w))) {
		engine_poll(w, sleep_limit(w, rest));
		int64_t slept = sys.now() - before;
		if (slept > 10 * SPIN_WORTH_NS)
			slept = 10 * SPIN_WORTH_NS;
		w->idle_ewma_ns += (slept - w->idle_ewma_ns) / 4;
	}
	if (atomic_fetch_and_explicit(idle_word(w), ~bit, memory_order_seq_cst) & bit)
		return;
	/* Somebody else has cleared it and is about to say what for. */
	uint8_t how;
	while (!(how = atomic_exchange_explicit(&w->notified, NOT_NOTIFIED, memory_order_acquire)))
		cpu_pause();
	if (how == NOTIFIED_SPIN && w->spinner) /* counted twice */
		atomic_fetch_sub_explicit(&rt.spinning, 1, memory_order_seq_cst);
	w->spinner |= how == NOTIFIED_SPIN;
}

/* One that only rests stays counted among those who look: it will in a moment,
 * and nobody needs to wake it for that. */
static void idle(struct worker *w)
{
	start_spinning(w);
	if (spin(w))
		return;
	int64_t rest = w->rests_until - sys.now();
	if (rest <= 0) {
		rest = 0;
		stop_spinning(w, false);
	}
	sleep_until_called(w, rest);
}

/* ---- the loop ------------------------------------------------------------- */

void worker_loop(struct worker *w)
{
	while (likely(!atomic_load_explicit(&rt.stopping, memory_order_relaxed))) {
		look_around(w);
		struct gt *gt = sched_pick(w, true);
		if (!gt && !has_work(w))
			gt = steal(w);
		if (gt) {
			stop_spinning(w, true);
			/* What became ready above, and is more than this worker's next. */
			if (ring_count(&w->shared))
				sched_wake_any();
			sched_run(w, gt);
		} else if (!has_work(w)) {
			idle(w);
		}
	}
	stop_spinning(w, false);
}

/* ---- start and end -------------------------------------------------------- */

static void pin(int cpu)
{
	cpu_set_t set;

	if (cpu < 0)
		return;
	CPU_ZERO(&set);
	CPU_SET((unsigned)cpu, &set);
	sys3(SYS_sched_setaffinity, 0, sizeof(set), &set); /* not being allowed is no harm */
}

static void learn_os_stack(struct worker *w)
{
#if defined(GREEN_ASAN)
	pthread_attr_t attr;
	void *bottom;

	if (pthread_getattr_np(pthread_self(), &attr) == 0) {
		pthread_attr_getstack(&attr, &bottom, &w->os_stack_size);
		w->os_stack = bottom;
		pthread_attr_destroy(&attr);
	}
#endif
	w->sanitizer_fiber = sanitizer_fiber_self();
}

int (*worker_start_hook)(struct worker *w);
void (*worker_stop_hook)(void);

int worker_enter(struct worker *w)
{
	int r;

	w->thread = pthread_self();
	w->tid = (int)sys0(SYS_gettid);
	w->in_scheduler = true;
	pin(w->cpu);
	learn_os_stack(w);
	worker_set_self(w);
	if ((r = fault_worker_start(w)) < 0)
		goto no_self;
	if ((r = rt.engine->start(w)) < 0)
		goto no_fault;
	if (worker_start_hook && (r = worker_start_hook(w)) < 0)
		goto no_engine;
	trace_worker_start(w);
	return 0;
no_engine:
	rt.engine->stop(w);
no_fault:
	fault_worker_stop(w);
no_self:
	worker_set_self(NULL);
	return r;
}

void worker_leave(struct worker *w)
{
	/* Our idle bit is clear and stays so: nobody new will ring. */
	while (atomic_load_explicit(&w->ringing, memory_order_seq_cst))
		sys0(SYS_sched_yield);
	rt.engine->stop(w);
	trace_worker_stop(w);
	fault_worker_stop(w);
	io_op_flush(w);
	waiter_flush(w);
	stack_cache_flush(w->stacks);
	gt_cache_flush(&w->gts);
	worker_set_self(NULL);
	if (worker_stop_hook)
		worker_stop_hook();
}
