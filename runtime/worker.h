/* SPDX-License-Identifier: MIT
 *
 * struct worker: an OS thread that runs green threads, with everything it
 * owns; and the one struct all of them hang off.
 *
 * Fields are grouped by who writes them.  "Owner" is the worker's own OS
 * thread, be it in the scheduler context (its own stack) or on the stack of
 * the green thread it runs.
 */
#ifndef WORKER_H
#define WORKER_H

#include "deque.h"
#include "engine.h"
#include "gt.h"
#include "park.h"
#include "ring.h"
#include "spin.h"
#include "timer.h"
#include "trace.h"

#include <pthread.h>
#include <stdatomic.h>

#define WORKERS_MAX 1024
#define SCHED_TICK 61 /* switches between two looks at completions, inbox and timers */

/* What the next context does for the one it was switched from. */
enum post {
	POST_NONE,
	POST_PARK,   /* set SAVED in its park word; ready it if it is DONE */
	POST_SHARE,  /* put it on the shared queue (a migratable thread yielded) */
	POST_DEMOTE, /* put it behind all that have waited (a migratable one was preempted) */
	POST_STACK,  /* give back its stack (it has ended) */
	POST_LENT,   /* tell the owner of its stack, likewise */

	POST_TLS = 0x80, /* a flag: take the FS base that belongs to the next context */
};

/* Why a sleeping worker was woken by another. */
enum notified { NOT_NOTIFIED, NOTIFIED, NOTIFIED_SPIN };

struct local_queue { /* FIFO linked through gt.next */
	uint32_t head, tail, count;
};

struct worker {
	/* Owner; current is read by others for reports. */
	cache_aligned struct gt *_Atomic current; /* NULL: scheduler context */
	void *sched_sp, *dead_sp;                 /* dead_sp: nobody comes back to it */
	struct gt *post_gt;
	stack_id post_stack;
	void *post_lent; /* for sched_lent_ended() */
	uint8_t post;
	uint8_t post_always; /* POST_TLS or nothing: where all contexts share one FS base the
	                        switch has nothing to do for it */
	bool in_scheduler;
	bool makes_tls; /* a green thread makes another's TLS block with this worker's (link.c) */
	uint16_t id;
	_Atomic uint32_t tick; /* switches until the next look around */
	uint32_t run_next;
	uint32_t run_next_streak;
	struct local_queue local;
	struct local_queue starved; /* never-run, and no stack was to be had */
	struct local_queue demoted; /* preempted, and not migratable */
	uint32_t before_demoted;    /* arrivals whose turn is before the first of those */

	cache_aligned _Atomic uint64_t switches;
	_Atomic int64_t now;     /* clock at the last look around */
	_Atomic uint64_t rounds; /* looks around */
	_Atomic uint64_t steals;
	_Atomic uint32_t ops_in_flight; /* engine operations of green threads */
	uint64_t random;
	int cpu;
	unsigned poll_debt;
	uint32_t io_went_on;  /* I/O calls in a row that did not have to wait, */
	uint32_t io_skipped;  /* attempts to receive, in vain by all that was known */
	uint64_t io_switches; /* since switches had this value (io_wait.c) */
	int64_t idle_ewma_ns;
	int64_t stole_at, rests_until, rest_ns; /* steal.c; 0: not, or no longer */
	uint64_t victim_progress;
	uint16_t stole_from;
	bool fresh_taken; /* the newest never-run one, since its last turn */
	void *engine;     /* the engine's instance */
	struct gt_cache gts;
	struct stack_cache *stacks;
	void *op_free, *waiter_free; /* free lists of the pools */
	uint32_t op_free_count, waiter_free_count;
	bool spinner;         /* counted in rt.spinning */
	const void *os_stack; /* of the scheduler context, for the sanitizers */
	size_t os_stack_size;
	void *sanitizer_fiber, *dead_fiber;
	void *signal_stack; /* fault.c */
	void *fs_base;      /* its own TLS block, with own_tls */
	uint64_t sigmask;   /* the OS thread's, in link mode (link.h) */
	uint16_t *victims;  /* all other workers, nearest first (steal.c) */
	uint16_t tier_end[4];
	_Atomic uint64_t spawned, ended; /* green threads, by this worker */

	volatile uint8_t gate; /* for system calls from outside the runtime: GATE_* */

	cache_aligned struct trace_worker trace;

	/* Owner and thieves. */
	cache_aligned struct deque fresh; /* never-run threads */
	struct ring shared;               /* migratable threads */
	struct timers timers;

	/* Written by others. */
	cache_aligned _Atomic uint32_t inbox; /* started or pinned threads, made ready elsewhere */
	_Atomic uint32_t attn;                /* threads to look at: cancel, close */
	_Atomic uint8_t notified;             /* enum notified */
	_Atomic uint32_t ringing;             /* threads that may be using its doorbell */
	struct spin arrivals_lock;
	struct local_queue arrivals; /* never-run threads sent here, and migratable ones that were
	                                preempted; thieves may take old ones */
	_Atomic int64_t arrivals_since;
	_Atomic int64_t stuck_since; /* by the monitor; 0: not stuck */
	_Atomic uint32_t load;       /* connections placed here (serve) */
	_Atomic uint8_t preempt;     /* the thread that runs shall yield (interception) */
	_Atomic bool levels;         /* who yields then shall look for others that wait (steal.c) */
	_Atomic uint64_t hog_since;  /* its switches when one that was preempted went on */

	pthread_t thread;
	int tid;
	_Atomic int started; /* 1, or -errno of the start */

	/* Owner, seldom. */
	int64_t census_hot_at, census_fresh_at; /* census.h */
	uint32_t census_credit;
};

/* What the kernel reads where it dispatches system calls (intercept/dispatch.h). */
#define GATE_OPEN 0
#define GATE_SHUT 1

/* Set in rt.spawned_outside when the last green thread has ended: no OS thread
 * can start another one in this run. */
#define SPAWNS_CLOSED ((uint64_t)1 << 63)

/* The runtime: one per process. */
enum runtime_state { RUNTIME_NONE, RUNTIME_READY, RUNTIME_RUNNING, RUNTIME_FORKED };

struct runtime {
	_Atomic int state;
	unsigned workers_count;
	struct worker *_Atomic workers[WORKERS_MAX];
	const struct engine_ops *engine;
	char engine_reason[128];
	struct green_options options; /* resolved: no zeroes left */
	int default_class;            /* of stacks, and GT_CLASS_SCRUB */
	int cpus[WORKERS_MAX];        /* where each worker belongs; -1: not pinned */
	cache_aligned _Atomic uint64_t idle[WORKERS_MAX / 64]; /* asleep and not yet notified */
	_Atomic uint32_t spinning;                      /* awake and looking for work of others */
	cache_aligned _Atomic uint64_t spawned_outside; /* by OS threads; SPAWNS_CLOSED */
	_Atomic uint32_t visitors;    /* OS threads that touch a worker just now */
	_Atomic uint64_t alive_exact; /* kept only when threads_max was asked for */
	_Atomic uint64_t alive_peak;
	_Atomic uint64_t spawned_before; /* threads spawned before this run */
	bool count_exactly;
	_Atomic int stopping; /* workers shall leave */
	_Atomic int draining; /* main has returned: all are cancelled */
	_Atomic int deadlock;
	_Atomic uint32_t offloads; /* jobs queued or running on the offload pool */
	_Atomic uint64_t stuck;
	_Atomic uint32_t place_next; /* where the next spawn from outside goes */
};
extern internal struct runtime rt;

/* The calling OS thread's worker, NULL in others.  Never inlined: the address
 * of a thread-local must not be kept across a switch, and compilers do keep it
 * (gcc and clang compute it once a function).  A pointer to the worker must
 * not be kept either, where the caller may be migratable. */
struct worker *worker_self(void);

static inline struct worker *worker_at(unsigned id)
{
	return atomic_load_explicit(&rt.workers[id], memory_order_acquire);
}

/* The green thread the caller is, NULL in OS threads and scheduler context. */
struct gt *gt_self(void);

/* ---- scheduler (sched.c, ready.c) ------------------------------------------ */

struct spawn {
	green_fn fn;
	void *arg;
	void *pc;                      /* of the public caller */
	const struct green_attr *attr; /* NULL: defaults */
	int worker;                    /* send it there to start; -1: anywhere */
	bool pinned;                   /* only that worker may start it */
	bool detached;
	bool system;      /* the runtime's own: not counted as alive */
	void *pool;       /* green_pool it is a member of */
	green_fn user_fn; /* to report instead of fn; NULL: that one */
	bool handler;     /* pc is the user's function, to report instead of fn */
};
/* Threads spawned since green_init(). */
uint64_t sched_spawned(void);

/* As green_spawn(). thread may be NULL when detached. */
int sched_spawn(const struct spawn *spawn, green_t *thread);

/* Switches to whoever is next, if anybody, with the caller at the tail.  What
 * park_check() says then. */
int sched_yield_self(struct worker *w);

/* Puts a thread whose registers are saved where it will run.  Any OS thread. */
void sched_ready(struct gt *gt);

/* Asks the worker where gt is parked to look at it (cancel, close).  Any OS
 * thread. */
void sched_attention(struct gt *gt);

/* Switches away from the running green thread; returns when it runs again. */
void sched_switch(struct gt *self, enum post post);

/* The worker with the fewest connections that is not stuck. */
unsigned sched_least_loaded(void);

/* Wakes a sleeping worker: that one, or any.  Any OS thread. */
void sched_wake_worker(struct worker *w);
void sched_wake_any(void);

int64_t sched_now(void);

/* Reports to standard error when GREEN_DEBUG has the topic. */
bool debug_has(const char *topic);

#endif
