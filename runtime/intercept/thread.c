/* SPDX-License-Identifier: MIT
 *
 * Threads of the program that are green threads: their table.
 */
#include "intercept/thread.h"
#include "arch/switch.h"
#include "scheduler.h"

#include <errno.h>
#include <sys/mman.h>

#define THREADS_MAX ((size_t)1 << TID_INDEX_BITS)

struct thread *threads;

int threads_init(void)
{
	size_t size = THREADS_MAX * sizeof(struct thread);
	long error = 0;

	if (threads)
		return 0;
	threads = sys_map(size, SYS_MAP_NORESERVE, &error);
	if (!threads)
		return (int)error;
	sys_name(threads, size, "green-tids");
	return 0;
}

struct thread *thread_find(int tid)
{
	struct thread *t = &threads[(unsigned)tid % THREADS_MAX];

	/* Acquire pairs with the release that gave it the tid. */
	return tid_is_green(tid) && atomic_load_explicit(&t->tid, memory_order_acquire) == tid
	               ? t
	               : NULL;
}

long call_sched_yield(struct call *c)
{
	(void)c;
	sched_yield_self(worker_self());
	return 0;
}

/* ---- the first thread ----------------------------------------------------- */

#define SCHEDULER_STACK ((size_t)256 << 10)

static void scheduler_boot(void *worker)
{
	struct worker *w = worker;

	sched_arrived(w);
	worker_loop(w);
	/* Workers do not stop: the process ends by exit_group(2). */
	for (;;)
		sys0(SYS_pause);
}

int thread_adopt_main(void)
{
	struct worker *w = worker_self();
	long error = 0;
	char *stack = sys_map(SCHEDULER_STACK, SYS_MAP_STACK, &error);

	if (!stack)
		return (int)error;
	struct gt *gt = spawn_lent(w, NULL, NULL, NULL);
	if (!gt) {
		sys_unmap(stack, SCHEDULER_STACK);
		return -ENOMEM;
	}
	sys_name(stack, SCHEDULER_STACK, "green scheduler");
	/* The lowest page is a guard. */
	sys3(SYS_mprotect, stack, 4096, PROT_NONE);
	w->sched_sp = switch_prepare(stack + SCHEDULER_STACK, scheduler_boot, w);
	thread_of(gt)->generation = 1;
	atomic_store_explicit(&thread_of(gt)->tid, (int)sys0(SYS_gettid), memory_order_release);
	atomic_store_explicit(&gt->worker, w->id, memory_order_relaxed);
	atomic_store_explicit(&gt->state, GT_RUNNING, memory_order_relaxed);
	w->tick = SCHED_TICK;
	w->in_scheduler = false;
	atomic_store_explicit(&w->current, gt, memory_order_relaxed);
	return 0;
}
