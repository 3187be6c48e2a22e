/* SPDX-License-Identifier: MIT
 *
 * The two ends of a green thread: spawning it, and what happens when its
 * function has returned.
 *
 * A spawn takes a descriptor and puts it on a queue; the stack comes when the
 * thread first runs, so that a thousand spawned and not started threads hold
 * none.  When a thread ends and a never-run one is next, that one takes over
 * the warm stack without a switch.
 */
#include "arch/switch.h"
#include "census.h"
#include "feature.h"
#include "overflow.h"
#include "sanitizer.h"
#include "scheduler.h"
#include "serial.h"
#include "runtime.h"
#include "sweep.h"
#include "trace.h"

#include <errno.h>
#include <string.h>

#define ALIVE_LOOKS 100 /* at most; one or two is usual */

static int check_attr(const struct green_attr *attr, bool detached, const green_t *thread)
{
	if (!detached && !thread)
		return -EINVAL;
	if (attr && (attr->stack_size > STACK_SIZE_MAX || (attr->migratable && attr->serial) ||
	             attr->hibernate_after_ns < 0 || (unsigned)attr->overflow > GREEN_OVERFLOW_END))
		return -EINVAL;
	return 0;
}

int runtime_usable(void)
{
	switch (atomic_load_explicit(&rt.state, memory_order_acquire)) {
	case RUNTIME_RUNNING:
		return 0;
	case RUNTIME_FORKED:
		return -EOWNERDEAD;
	default:
		return -ENXIO;
	}
}

bool runtime_forked(void)
{
	/* Relaxed: it changes in fork() only, before anything else in the child. */
	return atomic_load_explicit(&rt.state, memory_order_relaxed) == RUNTIME_FORKED;
}

/* Counts the thread as alive; -EAGAIN above threads_max, -ENOMEM above
 * stack_bytes_max, -ENXIO when the run is over. */
static int count_in(struct worker *w)
{
	if (unlikely(rt.count_exactly)) {
		uint64_t alive =
			atomic_fetch_add_explicit(&rt.alive_exact, 1, memory_order_relaxed) + 1;
		if (alive > rt.options.threads_max) {
			atomic_fetch_sub_explicit(&rt.alive_exact, 1, memory_order_relaxed);
			return -EAGAIN;
		}
		if (unlikely(!sweep_admits(alive))) {
			atomic_fetch_sub_explicit(&rt.alive_exact, 1, memory_order_relaxed);
			return -ENOMEM;
		}
	}
	if (likely(w != NULL)) {
		atomic_store_explicit(&w->spawned,
		                      atomic_load_explicit(&w->spawned, memory_order_relaxed) + 1,
		                      memory_order_release);
		return 0;
	}
	/* A run that is ending takes no more from outside, or an OS thread that
	 * spawns without pause could keep it from ending.  Who has not seen that yet
	 * is counted, or finds the count closed; sequentially consistent: see
	 * runtime_check_drained(). */
	if (likely(!atomic_load_explicit(&rt.draining, memory_order_relaxed))) {
		if (likely(!(atomic_fetch_add_explicit(&rt.spawned_outside, 1,
		                                       memory_order_seq_cst) &
		             SPAWNS_CLOSED)))
			return 0;
		atomic_fetch_sub_explicit(&rt.spawned_outside, 1, memory_order_seq_cst);
	}
	if (rt.count_exactly)
		atomic_fetch_sub_explicit(&rt.alive_exact, 1, memory_order_relaxed);
	return -ENXIO;
}

static void count_out(struct worker *w)
{
	if (unlikely(rt.count_exactly))
		atomic_fetch_sub_explicit(&rt.alive_exact, 1, memory_order_relaxed);
	atomic_store_explicit(&w->ended, atomic_load_explicit(&w->ended, memory_order_relaxed) + 1,
	                      memory_order_release);
}

static uint64_t count_ended(void)
{
	uint64_t ended = 0;

	for (unsigned i = 0; i < rt.workers_count; i++)
		ended += atomic_load_explicit(&worker_at(i)->ended, memory_order_acquire);
	return ended;
}

/* outside: rt.spawned_outside. */
static uint64_t count_spawned(uint64_t outside)
{
	uint64_t spawned = outside & ~SPAWNS_CLOSED;

	for (unsigned i = 0; i < rt.workers_count; i++)
		spawned += atomic_load_explicit(&worker_at(i)->spawned, memory_order_acquire);
	return spawned;
}

uint64_t sched_spawned(void)
{
	return count_spawned(atomic_load_explicit(&rt.spawned_outside, memory_order_relaxed));
}

/* *outside: rt.spawned_outside at that moment. */
static uint64_t count_alive(uint64_t *outside)
{
	/* Ended first: both only grow, so equal sums mean that nobody was alive
	 * at the moment between the two passes. */
	uint64_t ended = count_ended();

	atomic_thread_fence(memory_order_seq_cst);
	*outside = atomic_load_explicit(&rt.spawned_outside, memory_order_seq_cst);
	return count_spawned(*outside) - ended;
}

/* A look says too much by those that came and went between its two passes, many
 * when the looker loses its CPU there.  One during which none ended does not:
 * its sum lies between the counts before and after it. */
uint64_t sched_alive(void)
{
	uint64_t least = UINT64_MAX, outside;

	for (int i = 0; i < ALIVE_LOOKS; i++) {
		uint64_t ended = count_ended();
		uint64_t alive = count_alive(&outside);
		least = alive < least ? alive : least;
		if (alive == 0 || count_ended() == ended)
			break;
	}
	return least;
}

static int set_name(struct gt *gt, const char *name)
{
	struct gt_ext *ext = gt_ext(gt);

	if (!ext)
		return -ENOMEM;
	size_t n = strnlen(name, sizeof(ext->name) - 1);
	memcpy(ext->name, name, n);
	ext->name[n] = 0;
	return 0;
}

/* What only some threads have: a name, a group, a pool. */
static int fill_ext(struct gt *gt, const struct spawn *s)
{
	const struct green_attr *attr = s->attr;

	if (attr && attr->name && set_name(gt, attr->name) < 0)
		return -ENOMEM;
	if (s->pool || s->user_fn || (attr && (attr->serial || attr->overflow))) {
		struct gt_ext *ext = gt_ext(gt);
		if (!ext)
			return -ENOMEM;
		ext->pool = s->pool;
		ext->user_fn = s->user_fn;
		ext->overflow = attr ? (uint8_t)attr->overflow : 0;
		if (attr && attr->serial) {
			serial_join(attr->serial);
			ext->serial = attr->serial;
		}
	}
	return 0;
}

/* Of the smallest class there are as many as threads. */
static int reserve(unsigned class)
{
	class &= GT_CLASS_MASK;
	return class != 0 ? stack_reserve(class) : 0;
}

static void unreserve(unsigned class)
{
	class &= GT_CLASS_MASK;
	if (class != 0)
		stack_unreserve(class);
}

static void undo(struct worker *w, struct gt *gt, unsigned class)
{
	if (gt->ext && gt->ext->serial)
		serial_leave(gt->ext->serial);
	unreserve(class);
	gt_free(w ? &w->gts : NULL, gt);
}

static uint8_t kind_of(const struct green_attr *attr)
{
	uint8_t patience = attr->hibernate_after_ns ? sweep_patience(attr->hibernate_after_ns) : 0;

	return (attr->migratable ? GT_KIND_MIGRATABLE : 0) |
	       (uint8_t)(patience << GT_KIND_PATIENCE_SHIFT);
}

green_fn (*spawn_hook)(struct gt *gt, const struct spawn *s);

int sched_spawn(const struct spawn *s, green_t *thread)
{
	const struct green_attr *attr = s->attr;
	bool detached = s->detached || (attr && attr->detached);
	int r = runtime_usable();

	if (unlikely(r < 0))
		return r;
	if (unlikely((r = check_attr(attr, detached, thread)) < 0))
		return r;
	int class = rt.default_class;
	if (attr && attr->stack_size)
		class = stack_class(attr->stack_size) | (rt.default_class & (int)GT_CLASS_SCRUB);
	struct worker *w = worker_self();
	if (class != 0 && (r = reserve((unsigned)class)) < 0)
		return r;
	struct gt *gt = gt_alloc(w ? &w->gts : NULL);
	if (unlikely(!gt)) {
		unreserve((unsigned)class);
		return -EAGAIN;
	}
	gt->stack_class = (uint8_t) class;
	gt->stack = STACK_NONE;
	gt->arg = s->arg;
	gt->spawn_pc = s->pc;
	gt_set_kind(gt, (attr ? kind_of(attr) : 0) | (s->handler ? GT_KIND_HANDLER : 0));
	gt->fn = likely(!spawn_hook) ? s->fn : spawn_hook(gt, s);
	if (unlikely(!gt->fn)) {
		undo(w, gt, (unsigned)class);
		return -EAGAIN;
	}
	atomic_store_explicit(&gt->state, GT_FRESH, memory_order_relaxed);
	if (unlikely((r = fill_ext(gt, s)) < 0 || (r = count_in(w)) < 0)) {
		undo(w, gt, (unsigned)class);
		return r;
	}

	uint64_t gen = gt_gen(atomic_load_explicit(&gt->id, memory_order_relaxed));
	uint64_t flags = GT_LIVE;
	if (gt_kind(gt) & GT_KIND_MIGRATABLE)
		flags |= GT_MIGRATABLE;
	atomic_store_explicit(&gt->look, (flags & GT_CANCELLED) != 0, memory_order_relaxed);
	atomic_store_explicit(&gt->join, gen | (detached ? GT_JOIN_DETACHED : GT_JOIN_NOBODY),
	                      memory_order_relaxed);
	if (thread)
		*thread = gen | gt_index(gt);
	/* Release: a holder of the handle sees the descriptor filled. */
	atomic_store_explicit(&gt->id, gen | flags, memory_order_release);
	if (trace_wants(spawn))
		trace_spawn(gt, s->pc);
	struct green_serial *serial = attr ? attr->serial : NULL;
	sched_start(gt, serial ? (int)serial_worker(serial) : s->worker, serial || s->pinned);
	return 0;
}

/* What the join word becomes at the end of a thread (gt.h). */
static uint32_t join_ended(uint32_t who)
{
	switch (who) {
	case GT_JOIN_NOBODY:
		return GT_JOIN_DONE;
	case GT_JOIN_DETACHED:
	case GT_JOIN_COMING:
		return GT_JOIN_TAKEN;
	default:
		return GT_JOIN_ENDING;
	}
}

/* Tells the joiner, or lets the descriptor go.  Afterwards self is not ours. */
static void announce_end(struct worker *w, struct gt *self)
{
	uint64_t gen = gt_gen(atomic_load_explicit(&self->id, memory_order_relaxed));
	/* Acquire pairs with the release of the joiner that wrote join_seq. */
	uint64_t word = atomic_load_explicit(&self->join, memory_order_acquire);
	uint32_t who;

	atomic_store_explicit(&self->state, GT_DEAD, memory_order_relaxed);
	/* Release: the result. */
	do
		who = (uint32_t)word & GT_INDEX_MASK;
	while (!atomic_compare_exchange_weak_explicit(&self->join, &word, gen | join_ended(who),
	                                              memory_order_acq_rel, memory_order_acquire));
	if (who == GT_JOIN_DETACHED) {
		gt_free(&w->gts, self);
	} else if (join_ended(who) == GT_JOIN_ENDING) {
		struct park_ticket joiner = { gt_at(who), self->join_seq };
		/* Release: the result once more, and that join_seq has been read.
		 * From here on the joiner may let the descriptor go. */
		atomic_store_explicit(&self->join, gen | GT_JOIN_TAKEN, memory_order_release);
		park_wake(joiner, WAKE_PEER); /* fails harmlessly if it has given up */
	}
}

void runtime_check_drained(void)
{
	if (likely(!atomic_load_explicit(&rt.draining, memory_order_seq_cst)))
		return;
	/* Of two threads that end last, on two workers, at least one sees both
	 * counted.  One that ended before it could see `draining` is seen when its
	 * worker goes to sleep, after a full barrier (loop.c). */
	atomic_thread_fence(memory_order_seq_cst);
	uint64_t outside;
	if (count_alive(&outside) > 0)
		return;
	/* An OS thread that spawns at this moment either changes the count, and the
	 * exchange fails (the end of that thread looks again), or finds it closed. */
	if (atomic_compare_exchange_strong_explicit(&rt.spawned_outside, &outside,
	                                            outside | SPAWNS_CLOSED, memory_order_seq_cst,
	                                            memory_order_relaxed))
		runtime_stop_workers();
}

/* What waits for it may outlive it (a semaphore of the program): the tickets there
 * are void.  Its stack stays as it is, for there may be pointers into it, and in
 * use until green_fini(), also for threads_max. */
static void abandon(struct gt *gt)
{
	struct worker *w = worker_at(0);

	if (gt->ext && gt->ext->serial)
		serial_leave(gt->ext->serial);
	gt->stack = STACK_NONE;
	gt_free(NULL, gt);
	atomic_store_explicit(&w->ended, atomic_load_explicit(&w->ended, memory_order_relaxed) + 1,
	                      memory_order_release);
}

void runtime_abandon(void)
{
	for (uint32_t i = 1; i < gt_high(); i++) {
		struct gt *gt = gt_at(i);
		uint64_t id = atomic_load_explicit(&gt->id, memory_order_acquire);
		if ((id & GT_LIVE) && !(id & GT_FOREIGN) && park_abandon(gt))
			abandon(gt);
	}
}

/* Everything that a thread's end owes others; its stack, which is nobody's now. */
static inline __attribute__((always_inline)) stack_id settle_end(struct worker *w, struct gt *self,
                                                                 void *result)
{
	stack_id stack = self->stack;
	unsigned class = self->stack_class;

	self->arg = result;
	if (trace_wants(exit))
		probe_exit(gt_handle(self), result);
	if (self->ext && self->ext->serial) {
		serial_leave(self->ext->serial);
		self->ext->serial = NULL;
	}
	if (unlikely(class != 0)) {
		if (class & GT_CLASS_LOOKED_AT)
			census_end(self);
		unreserve(class);
	}
	self->stack = STACK_NONE;
	sched_dying(w, self);
	/* First: who has joined a thread finds room for another (threads_max). */
	count_out(w);
	announce_end(w, self);
	if (unlikely(atomic_load_explicit(&rt.draining, memory_order_relaxed)))
		runtime_check_drained();
	return stack;
}

struct gt *spawn_lent(struct worker *w, void *sp, void *fs_base, void *pc, uint32_t index_max)
{
	struct gt *gt = runtime_usable() < 0 ? NULL : gt_alloc(&w->gts);

	if (!gt)
		return NULL;
	if (gt_index(gt) > index_max) {
		gt_free(&w->gts, gt);
		return NULL;
	}
	gt->stack_class = GT_CLASS_LENT;
	gt->stack = STACK_LENT;
	gt->sp = sp;
	gt->fs_base = fs_base;
	gt->fn = NULL;
	gt->arg = NULL;
	gt->spawn_pc = pc;
	gt_set_kind(gt, fs_base ? GT_KIND_MIGRATABLE : 0);
	atomic_store_explicit(&gt->state, GT_FRESH, memory_order_relaxed);
	if (count_in(w) < 0) {
		gt_free(&w->gts, gt);
		return NULL;
	}
	uint64_t gen = gt_gen(atomic_load_explicit(&gt->id, memory_order_relaxed));
	atomic_store_explicit(&gt->join, gen | GT_JOIN_DETACHED, memory_order_relaxed);
	/* Release: as in sched_spawn(). */
	atomic_store_explicit(&gt->id, gen | GT_LIVE | (fs_base ? GT_MIGRATABLE : 0),
	                      memory_order_release);
	if (trace_wants(spawn))
		trace_spawn(gt, pc);
	return gt;
}

_Noreturn void spawn_lent_ends(struct gt *self, void *object)
{
	struct worker *w = worker_self();

	self->fs_base = NULL;
	settle_end(w, self, self->arg);
	sched_end_lent(w, object);
}

_Noreturn void spawn_move(struct gt *self, void *sp, void *fs_base, bool migratable)
{
	stack_id stack = self->stack;
	unsigned class = self->stack_class;

	if (class & GT_CLASS_LOOKED_AT)
		census_end(self);
	unreserve(class);
	self->stack_class = GT_CLASS_LENT;
	self->stack = STACK_LENT;
	self->sp = sp;
	self->fs_base = fs_base;
	if (migratable) {
		gt_set_kind(self, gt_kind(self) | GT_KIND_MIGRATABLE);
		atomic_fetch_or_explicit(&self->id, GT_MIGRATABLE, memory_order_relaxed);
	}
	sched_move(worker_self(), self, stack);
}

/* Returns a thread that goes on on this stack, or does not return. */
static struct gt *spawn_ended(struct gt *self, void *result)
{
	struct worker *w = worker_self();
	stack_id stack = settle_end(w, self, result);
	struct gt *next = sched_inherit(w, stack);

	if (next)
		return next;
	sched_end(w, stack);
}

void spawn_boot(void *gt)
{
	struct gt *self = gt;

	sanitizer_arrive(NULL);
	sched_arrived(worker_self());
	for (;;) {
		/* The run is ending: all are cancelled.  Relaxed: between the store of
		 * GT_LIVE by the spawner and this load lies a full barrier (a queue was
		 * passed), so that runtime_cancel_all() has seen the one or we see the
		 * other. */
		if (unlikely(atomic_load_explicit(&rt.draining, memory_order_relaxed))) {
			atomic_fetch_or_explicit(&self->id, GT_CANCELLED, memory_order_relaxed);
			atomic_fetch_or_explicit(&self->look, LOOK_CANCELLED, memory_order_relaxed);
		}
		void *result = self->fn(self->arg);
		if (unlikely(runtime_forked()))
			fork_child_returned();
		self = spawn_ended(self, result);
	}
}

void spawn_overflowed(void *gt)
{
	struct gt *self = gt;
	struct gt_ext *ext = atomic_load_explicit(&self->ext, memory_order_relaxed);

	census_record(self, self->stack, stack_usable(self->stack));
	stack_reclaim(self->stack, __builtin_frame_address(0));
	/* Scopes that were not ended do not count for what is still to do. */
	if (ext) {
		ext->deadline_ns = GREEN_FOREVER;
		ext->shield = 0;
	}
	/* Relaxed: the joiner reads it after the end has been announced. */
	atomic_fetch_or_explicit(&self->id, GT_OVERFLOWED, memory_order_relaxed);
	overflow_pay(self->fn, self->arg);
	struct worker *w = worker_self();
	sched_end(w, settle_end(w, self, NULL));
}
