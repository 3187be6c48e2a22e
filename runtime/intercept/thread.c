/* SPDX-License-Identifier: MIT
 *
 * Threads of the program that are green threads: their table, and how they come about.
 *
 * pthread_create(3) prepares a stack with the thread's own block of thread-local storage
 * at its top and calls clone3(2).  The answer is a green thread on that stack with that
 * FS base, whose first registers are the caller's, but for the stack pointer and the
 * result 0: to libc it looks as if the kernel had done it.
 */
#include "intercept/thread.h"
#include "arch/switch.h"
#include "intercept/before.h"
#include "intercept/entry.h"
#include "intercept/futex.h"
#include "intercept/process.h"
#include "intercept/signal.h"
#include "scheduler.h"

#include <errno.h>
#include <linux/sched.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>

#define GENERATIONS (1u << (30 - TID_INDEX_BITS))
#define FRAME_ALIGN 64u
#define TURN_INDEXES 256u

struct thread *threads, *thread_first;
_Atomic uint32_t threads_alive, threads_peak;
unsigned long threads_cpus[1024 / 64];
long threads_cpus_bytes;

/* What the kernel keeps up to date there for an OS thread (which CPU it runs on) would be
 * of the wrong thread.  libc registers its threads if it could register the first. */
static void leave_rseq(void)
{
	extern const ptrdiff_t __rseq_offset __attribute__((weak));
	const long size = 32, unregister = 1, signature = 0x53053053;

	if (&__rseq_offset)
		sys4(SYS_rseq, (char *)base_fs() + __rseq_offset, size, unregister, signature);
}

static unsigned turn; /* of indexes in tids: see thread.h */

static void turn_tids(void)
{
	turn = (unsigned)sys0(SYS_getpid) * TURN_INDEXES;
}

int threads_init(void)
{
	size_t size = THREADS_MAX * sizeof(struct thread);
	long error = 0;

	if (threads)
		return 0;
	turn_tids();
	leave_rseq();
	threads_cpus_bytes = sys3(SYS_sched_getaffinity, 0, sizeof(threads_cpus), threads_cpus);
	threads = sys_map(size, SYS_MAP_NORESERVE, &error);
	if (!threads)
		return (int)error;
	sys_name(threads, size, "green-tids");
	return futex_watch();
}

struct thread *thread_find(int tid)
{
	struct thread *t = &threads[((unsigned)tid - turn) % THREADS_MAX];

	if (!tid_is_green(tid))
		t = thread_first;
	/* Acquire pairs with the release that gave it the tid. */
	return tid && t && atomic_load_explicit(&t->tid, memory_order_acquire) == tid ? t : NULL;
}

/* ---- a new one ------------------------------------------------------------ */

struct birth { /* clone(2) and clone3(2) alike */
	uint64_t flags;
	uintptr_t sp;
	void *tls;
	int *parent_tid, *child_tid;
};

/* Of the kernel's own thread libraries nobody leaves one of these out, and they could not
 * be had with green threads, which share all of it. */
#define FLAGS_NEEDED \
	(CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SETTLS)
#define FLAGS_REFUSED (CLONE_PIDFD | CLONE_VFORK | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWUSER)

/* First code on the new stack. */
static void thread_boot(void *frame)
{
	struct call *c = frame;

	sched_arrived(worker_self());
	thread_self()->detained = false;
	intercept_resume(c, 0);
}

/* A context on the new thread's stack that goes on as the caller does. */
static void *first_context(const struct call *c, uintptr_t sp)
{
	struct call *frame = (struct call *)((sp - sizeof(*frame)) & ~(uintptr_t)(FRAME_ALIGN - 1));

	*frame = *c;
	frame->sp = sp;
	frame->vector = NULL;
	return switch_prepare(frame, thread_boot, frame);
}

static int tid_next(struct gt *gt)
{
	struct thread *t = thread_of(gt);
	unsigned generation = t->generation + 1u;

	if (generation >= GENERATIONS)
		generation = 1;
	t->generation = (uint8_t)generation;
	return (int)(generation << TID_INDEX_BITS | (gt_index(gt) + turn) % THREADS_MAX);
}

static void inherit(struct thread *t, const struct thread *parent)
{
	t->detained = true; /* until it has left thread_boot() */
	t->call = NULL;
	t->room_call = NULL; /* of one that ended in a call */
	t->clear_tid = NULL;
	t->robust_list = NULL;
	signal_thread_begin(t, parent);
	t->cpus = parent->cpus;
	t->fs_user = parent->fs_user;
	t->fs_group = parent->fs_group;
	for (unsigned i = 0; i < THREAD_NAME_SIZE; i++)
		t->name[i] = parent->name[i];
}

/* Of two at once the smaller may win: it is for reports. */
static void note_peak(uint32_t alive)
{
	if (alive > atomic_load_explicit(&threads_peak, memory_order_relaxed))
		atomic_store_explicit(&threads_peak, alive, memory_order_relaxed);
}

/* The thread has a tid now, stored where its parent wants it.  All else of it is filled in. */
static long publish(struct thread *t, int tid, const struct birth *b)
{
	if (b->flags & CLONE_CHILD_CLEARTID)
		t->clear_tid = b->child_tid;
	if (b->flags & CLONE_PARENT_SETTID)
		*b->parent_tid = tid;
	if (b->flags & CLONE_CHILD_SETTID)
		*b->child_tid = tid;
	note_peak(atomic_fetch_add_explicit(&threads_alive, 1, memory_order_relaxed) + 1);
	/* Release: the record is filled; pairs with thread_find(). */
	atomic_store_explicit(&t->tid, tid, memory_order_release);
	return tid;
}

/* What the caller is to go on as, when it has come back from pthread_create(3). */
static long adopt(const struct call *c, const struct birth *b)
{
	struct gt *self = gt_self();
	struct thread *t = thread_of(self);

	t->adopts = false;
	t->adopted_sp = first_context(c, b->sp);
	t->adopted_fs = b->tls;
	return publish(t, tid_next(self), b);
}

static long bear(const struct call *c, const struct birth *b)
{
	struct worker *w = worker_self();

	if ((b->flags & FLAGS_NEEDED) != FLAGS_NEEDED || (b->flags & FLAGS_REFUSED) || !b->sp)
		return -EINVAL;
	if (unlikely(thread_self()->adopts))
		return adopt(c, b);
	struct gt *gt =
		spawn_lent(w, first_context(c, b->sp), b->tls, (void *)c->pc, THREADS_MAX - 1);
	if (!gt)
		return -EAGAIN;
	struct thread *t = thread_of(gt);
	inherit(t, thread_self());
	long tid = publish(t, tid_next(gt), b);
	sched_start(gt, -1, false);
	return tid;
}

long call_clone3(struct call *c)
{
	const struct clone_args *args = (const struct clone_args *)c->arg[0];

	if (!(args->flags & CLONE_THREAD))
		return process_fork(c);
	struct birth b = {
		.flags = args->flags,
		.sp = (uintptr_t)(args->stack + args->stack_size),
		.tls = (void *)(uintptr_t)args->tls,
		.parent_tid = (int *)(uintptr_t)args->parent_tid,
		.child_tid = (int *)(uintptr_t)args->child_tid,
	};

	if (args->exit_signal || (c->arg[1] >= CLONE_ARGS_SIZE_VER1 && args->set_tid_size))
		return -EINVAL;
	return bear(c, &b);
}

long call_clone(struct call *c)
{
	if (!(c->arg[0] & CLONE_THREAD))
		return process_fork(c);
	struct birth b = {
		.flags = (uint64_t)c->arg[0] & ~(uint64_t)CSIGNAL,
		.sp = (uintptr_t)c->arg[1],
		.parent_tid = (int *)c->arg[2],
		.child_tid = (int *)c->arg[3],
		.tls = (void *)c->arg[4],
	};

	return bear(c, &b);
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

/* The scheduler context of worker 0, whose OS stack is the first green thread's. */
static int scheduler_stack(struct worker *w)
{
	long error = 0;
	char *stack = sys_map(SCHEDULER_STACK, SYS_MAP_STACK, &error);

	if (!stack)
		return (int)error;
	sys_name(stack, SCHEDULER_STACK, "green scheduler");
	sys3(SYS_mprotect, stack, 4096, PROT_NONE);
	w->sched_sp = switch_prepare(stack + SCHEDULER_STACK, scheduler_boot, w);
	return 0;
}

int thread_adopt_main(void)
{
	struct worker *w = worker_self();
	int r = scheduler_stack(w);
	struct gt *gt = r < 0 ? NULL : spawn_lent(w, NULL, NULL, NULL, THREADS_MAX - 1);

	if (!gt)
		return -ENOMEM;
	struct thread *t = thread_of(gt);
	signal_thread_begin(t, NULL);
	thread_first = t;
	/* What libc told the kernel before; where that does not say, the end of the first
	 * thread before the others' cannot be waited for. */
	sys2(SYS_prctl, PR_GET_TID_ADDRESS, &t->clear_tid);
	sys2(SYS_prctl, PR_GET_NAME, t->name);
	sys3(SYS_get_robust_list, 0, &t->robust_list, &(size_t){ 0 });
	atomic_store_explicit(&threads_alive, 1, memory_order_relaxed);
	atomic_store_explicit(&t->tid, (int)sys0(SYS_gettid), memory_order_release);
	atomic_store_explicit(&gt->worker, w->id, memory_order_relaxed);
	atomic_store_explicit(&gt->state, GT_RUNNING, memory_order_relaxed);
	atomic_store_explicit(&w->tick, SCHED_TICK, memory_order_relaxed);
	w->in_scheduler = false;
	atomic_store_explicit(&w->current, gt, memory_order_relaxed);
	/* What came since green-signals began found nobody to take it. */
	signals_unhold(~signals.first_mask);
	before_take_signals(t);
	return 0;
}
