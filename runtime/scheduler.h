/* SPDX-License-Identifier: MIT
 *
 * The scheduler's own seams between sched.c (switching), ready.c (queues), steal.c
 * (taking work from others), loop.c (a worker's life) and spawn.c.
 */
#ifndef SCHEDULER_H
#define SCHEDULER_H

#include "worker.h"

/* First code of a green thread, on its own stack (spawn.c). */
void spawn_boot(void *gt);
/* The same of one that has run out of its stack and shall end: the stack is empty
 * again. */
void spawn_overflowed(void *gt);

/* The running thread has had its time, and others wait: as a yield, but that it comes
 * behind all who have parked meanwhile.  Who sleeps and computes little does not wait for
 * those who only compute. */
void sched_preempted(struct worker *w);

/* A thread to run from this worker's own queues, or NULL.  fair: the caller
 * has just looked around, and the queues that usually come last come first. */
struct gt *sched_pick(struct worker *w, bool fair);

/* Gives a never-run thread its stack and first frame; -ENOMEM: none to be had,
 * the thread has been put back. */
int sched_prepare(struct worker *w, struct gt *gt);

/* Runs gt from the scheduler context until somebody comes back to it. */
void sched_run(struct worker *w, struct gt *gt);

/* Takes the FS base of what w runs now; thread-local storage says there that it is w. */
void worker_take_tls(struct worker *w);

/* The usual case of a yield of the running thread, where there is one worker: who goes on
 * now, a stack pointer as switch_stacks() leaves it and an FS base.  The caller, whose
 * context is whole at sp but for the control words, goes there.  NULL: nothing was done,
 * and it is for sched_yield_self().  Uses 64 bytes of stack at most. */
struct sched_next {
	void *sp, *fs_base;
};
struct sched_next sched_yield_near(struct worker *w, void *sp);

/* What the present context owes the one it came from. */
void sched_settle(struct worker *w);
static inline void sched_arrived(struct worker *w)
{
	if (w->post == POST_NONE)
		return;
	if (likely(w->post == POST_TLS))
		worker_take_tls(w);
	else
		sched_settle(w);
}

/* Puts a never-run thread on its way: to the target worker (pinned: nobody
 * else may start it), or anywhere (-1). */
void sched_start(struct gt *gt, int target, bool pinned);

/* Never-run or migratable: to be run by target, or by a thief if it does not. */
void sched_arrive(struct worker *target, struct gt *gt);
/* How many have arrived at w, and wait there.  Any OS thread. */
uint32_t sched_arrivals(struct worker *w);
/* Puts a migratable one where thieves find it: true, and somebody might have to be woken.
 * What does not fit stays with its owner, and what has nowhere else to go. */
bool sched_share(struct worker *w, struct gt *gt);

/* The running thread is about to end: its descriptor may be gone soon. */
void sched_dying(struct worker *w, const struct gt *gt);
/* It has ended; its stack goes back once nobody is on it.  Does not return. */
_Noreturn void sched_end(struct worker *w, stack_id stack);

/* The same of one on a lent stack: the next context calls sched_lent_ended(object),
 * when nobody is on that stack any more. */
_Noreturn void sched_end_lent(struct worker *w, void *object);
extern internal void (*sched_lent_ended)(void *object);

/* The running thread has ended: a never-run one that is next anyway and may
 * take over its stack, running from now on; or NULL. */
struct gt *sched_inherit(struct worker *w, stack_id stack);

void worker_set_self(struct worker *w);
/* The caller is plain code of its OS thread, on no worker, until it is unhidden. */
struct worker *worker_hide(void);
void worker_unhide(struct worker *w);

/* Takes everything out of the inbox and the attention list. */
void sched_collect(struct worker *w);

/* With that many threads, stacks and descriptors are no longer near the CPU: the
 * next one's stack is asked for early, and the descriptor behind it, so that its
 * stack can be asked for in the next round (1,000 threads: 23 -> 18 ns). */
#define FAR_COUNT 32

/* Does any worker sleep?  Relaxed: a hint, unless a fence came before. */
static inline bool sched_idle_hint(void)
{
	uint64_t idle = 0;

	for (unsigned word = 0; word < (rt.workers_count + 63) / 64; word++)
		idle |= atomic_load_explicit(&rt.idle[word], memory_order_relaxed);
	return idle != 0;
}

static inline void local_push(struct local_queue *q, struct gt *gt)
{
	uint32_t index = gt_index(gt);

	gt->next = GT_NONE;
	if (q->tail)
		gt_at(q->tail)->next = index;
	else
		q->head = index;
	q->tail = index;
	q->count++;
}

static inline void local_push_first(struct local_queue *q, struct gt *gt)
{
	gt->next = q->head;
	q->head = gt_index(gt);
	if (!q->tail)
		q->tail = q->head;
	q->count++;
}

static inline void local_prefetch(const struct local_queue *q)
{
	const struct gt *next = gt_at(q->head);

	__builtin_prefetch(next->sp);
	__builtin_prefetch(gt_at(next->next));
}

static inline struct gt *local_pop(struct local_queue *q)
{
	if (!q->head)
		return NULL;
	struct gt *gt = gt_at(q->head);
	q->head = gt->next;
	q->count--;
	if (!q->head)
		q->tail = GT_NONE;
	if (q->count > FAR_COUNT)
		local_prefetch(q);
	return gt;
}

/* A thread from another worker, or NULL (steal.c). */
struct gt *steal_any(struct worker *w);
/* The running thread of w is about to give way: one that waits elsewhere, where more do, shall
 * wait here. */
void steal_level(struct worker *w);
/* Out of work again: was the last theft worth it?  Sets w->rests_until. */
void steal_judge(struct worker *w);
/* Could steal_any() find something? A look without taking. */
bool steal_possible(const struct worker *w);
/* Orders the victims of each worker by distance. */
void steal_init(void);

/* A green thread on a stack of somebody else's, with its registers saved at sp (NULL:
 * the caller runs on it), and an FS base of its own unless that is NULL.  It may move
 * if it has one.  It is nobody's to join, and on no queue yet: sched_start().  NULL: none
 * can be had with an index up to that. */
struct gt *spawn_lent(struct worker *w, void *sp, void *fs_base, void *pc, uint32_t index_max);
/* Puts the caller where it will run, from its new context, and leaves its stack. */
_Noreturn void sched_move(struct worker *w, struct gt *self, stack_id stack);
/* It ends.  See sched_end_lent(). */
_Noreturn void spawn_lent_ends(struct gt *self, void *object);

/* Interception's: the green thread's function becomes the result, which runs the one of s.
 * NULL: there are too many.  The hook itself NULL: nothing is changed. */
extern internal green_fn (*spawn_hook)(struct gt *gt, const struct spawn *s);
/* The caller goes on in the context at sp, on a stack of somebody else's with that FS base.
 * The one that it runs on is given back. */
_Noreturn void spawn_move(struct gt *self, void *sp, void *fs_base, bool migratable);

/* Interception's: on arrival in each green thread, with own_tls.  NULL: nothing. */
extern internal void (*sched_switch_hook)(struct worker *w, const struct gt *to);

/* What else a worker does when it starts, on its own OS thread: 0 or -errno. */
extern internal int (*worker_start_hook)(struct worker *w);
/* And when it has left. */
extern internal void (*worker_stop_hook)(void);

/* One worker's life, on the calling OS thread (loop.c). */
int worker_enter(struct worker *w);
void worker_loop(struct worker *w);
void worker_leave(struct worker *w);

/* Interception's: called by the monitor for a worker that has run one thread for
 * PREEMPT_NS while others wait.  NULL: none. */
extern internal void (*monitor_preempt)(struct worker *w);
/* And at each of its ticks. */
extern internal void (*monitor_also)(void);
/* Does it run one that was preempted before, and has not parked since?  Somebody who has
 * waited need not wait for that one's time to be over. */
static inline bool sched_runs_hog(const struct worker *w)
{
	return monitor_preempt && atomic_load_explicit(&w->hog_since, memory_order_relaxed) ==
	                                  atomic_load_explicit(&w->switches, memory_order_relaxed);
}

/* The watch (monitor.c). */
int monitor_start(void);
/* Has it look around at once.  Any thread. */
void monitor_ask(void);
void monitor_stop(void);

/* Spawned minus ended: a count that was true at some moment of the call, but for
 * a storm of ends, when it may be above it.  Exact when it says 0 while nobody
 * outside spawns. */
uint64_t sched_alive(void);

#endif
