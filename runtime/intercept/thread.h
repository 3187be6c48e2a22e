/* SPDX-License-Identifier: MIT
 *
 * struct thread: what the kernel would know of a thread of the program, for those
 * that are green threads.  One for each descriptor (struct gt), at the same index,
 * type-stable as that one is.
 */
#ifndef INTERCEPT_THREAD_H
#define INTERCEPT_THREAD_H

#include "arch/base.h"
#include "gt.h"
#include "intercept/call.h"
#include "park.h"
#include "trace.h"
#include "worker.h"

#include <signal.h>

/* Thread ids: generation (6 bits, never 0) << 24 | index of the descriptor, turned by a
 * number of the process's.  All lie above the largest that a kernel hands out (2^22), and
 * below FUTEX_TID_MASK.  The first thread's is the real one, the process's.
 *
 * Turned, for an id is the owner of a mutex in memory that processes share: those that are
 * recursive, check errors or are robust take who has the same id for the same thread.  The
 * first 256 threads of any 65,536 processes in a row have ids that differ. */
#define TID_INDEX_BITS 24
#define TID_FIRST (1 << TID_INDEX_BITS)

static inline bool tid_is_green(long tid)
{
	return tid >= TID_FIRST;
}

#define THREADS_MAX ((size_t)1 << TID_INDEX_BITS)

struct signal_record;

/* A wait in the futex table (futex.c). */
struct futex_wait {
	struct futex_wait *next, *prev;
	_Atomic uintptr_t address; /* under the lock of its bucket */
	uint32_t bits;
	bool listed;
	bool woke; /* it was this one of a group */
	struct park_ticket ticket;
};

#define THREAD_NAME_SIZE 16

struct thread {
	/* Owner: the green thread itself, unless said otherwise. */
	_Atomic int tid;              /* 0: no thread of the program's; others look it up */
	uint8_t generation;           /* the next one's */
	bool detained;                /* in a handler of the full stage: not to be preempted */
	bool sigmask_swapped;         /* sigmask_after is to be put back */
	const struct call *room_call; /* whose vector state is in its room; the entry's (entry.h) */
	struct call *call;            /* the innermost intercepted call it is in; NULL: none */
	int *clear_tid;               /* set_tid_address(2), CLONE_CHILD_CLEARTID */
	void *robust_list;            /* set_robust_list(2) */
	size_t robust_size;
	_Atomic uint64_t sigmask;    /* signal n is bit n - 1; others read it (signal.h) */
	uint64_t sigmask_after;      /* the mask after sigsuspend & co */
	uint64_t sigmask_open;       /* before libc blocked all, which it does last of all, too */
	_Atomic uint64_t pending;    /* what is in the queue */
	_Atomic uint64_t awaited;    /* by sigtimedwait(2), just now */
	struct signal_record *queue; /* under the lock of signal.h */
	stack_t altstack;            /* sigaltstack(2) */
	struct futex_wait futex;
	const struct call *placed;   /* the call that place is of; NULL: of none now */
	struct trace_call place;     /* for tracers (route.h) */
	uint64_t cpus;               /* sched_setaffinity(2): the first 64; 0: nothing was set */
	uint32_t fs_user, fs_group;  /* setfsuid(2), setfsgid(2), plus 1; 0: the process's */
	char name[THREAD_NAME_SIZE]; /* prctl(PR_SET_NAME) */
	/* Of one that green_spawn() made, to get a TLS block of its own (link.c). */
	green_fn fn;
	bool adopts, migratable; /* the next clone3(2) is to make it a thread of libc's */
	void *adopted_sp, *adopted_fs;
};

_Static_assert(sizeof(struct thread) == THREAD_SIZE, "as the entry has it");
_Static_assert(offsetof(struct thread, detained) == THREAD_DETAINED, "as the entry has it");
_Static_assert(offsetof(struct thread, room_call) == THREAD_ROOM_CALL, "as the entry has it");
_Static_assert(sizeof(struct gt) == GT_SIZE && THREAD_SIZE == 2 * GT_SIZE, "as the entry has it");

extern internal struct thread *threads;      /* by gt_index() */
extern internal struct thread *thread_first; /* the process's */

static inline struct thread *thread_of(const struct gt *gt)
{
	return &threads[gt_index(gt)];
}

static inline struct gt *thread_gt(const struct thread *t)
{
	return gt_at((uint32_t)(t - threads));
}

/* The calling green thread's; only inside a handler of the full stage, and of the fast
 * one. */
static inline struct thread *thread_self(void)
{
	return thread_of(gt_self());
}

static inline struct thread *thread_self_fast(void)
{
	const struct worker *w = base_gs();

	return thread_of(atomic_load_explicit(&w->current, memory_order_relaxed));
}

/* Who has this tid now: NULL if nobody.  Stale at once, unless the caller keeps that
 * thread from ending. */
struct thread *thread_find(int tid);

/* In the fast stage: is it the id of a green thread, the first one's and 0 included? */
bool fast_is_ours(long tid);

/* Threads of the program that have not ended, the first one included. */
extern internal _Atomic uint32_t threads_alive;
extern internal _Atomic uint32_t threads_peak; /* the most there were at once */

/* What the process was allowed when it began: the workers bind themselves. */
extern internal unsigned long threads_cpus[1024 / 64];
extern internal long threads_cpus_bytes;

/* The table; 0 or -ENOMEM.  Once a process. */
int threads_init(void);

/* The calling OS thread runs as worker 0 already: what runs on this very stack becomes
 * its green thread `main`, with the real tid. */
int thread_adopt_main(void);

#endif
