/* SPDX-License-Identifier: MIT
 *
 * Recording: who gave up its CPU where and for how long, in a ring of each worker
 * (trace_record.h has its layout), for tracers and for the flight recorder.
 *
 * What it costs when nobody is attached: a yield and the entry of a call that may
 * switch load and test one word.  A wait is recorded always, unless the flight
 * recorder is switched off.
 *
 * One record is written for a wait, by the thread that goes on:
 *	trace_leave()    it is about to switch: the time, which it keeps in its frame
 *	trace_woken()    its waker, before it is put on a queue: who and when, in
 *	                 since_ns, which nobody needs any more (TRACE_STAMP)
 *	trace_arrive()   it goes on: the record
 *
 * The clock takes longer to read (17 ns under KVM) than a switch.  One reading holds
 * for the thread that parks and for the one that goes on in its place.  The flight
 * recorder reads it at every switch only where switches are rare, else at every
 * sixteenth, after each look around, and when the monitor says so.
 */
#ifndef TRACE_H
#define TRACE_H

#include "gt.h"
#include "park.h"
#include "probes.h"

#include <stdatomic.h>

struct worker;

/* One worker's part.  Its owner writes; records, head and flushed are read from
 * outside. */
struct trace_worker {
	struct trace_record *records; /* trace_info.ring of them; NULL: no memory */
	_Atomic uint64_t head;        /* written ever */
	_Atomic uint64_t flushed;
	uint64_t clock;         /* the last reading, */
	uint64_t clock_at;      /* made when worker.switches was this */
	_Atomic uint64_t every; /* switches until the next one; trace_hurry() */
	uint64_t *seen;         /* places whose stack was shown: sites, and how deep */
	int64_t seen_ns;        /* none of them is older than that */
	int64_t flushed_ns;
	uint32_t stacks; /* until the next stack of a known place */
	bool stacks_on;  /* seen is of those who are attached now */
};

#define TRACE_STAMP ((uint64_t)1 << 63)  /* in since_ns: not a time, but who woke it and when */
#define TRACE_STALE ((uint64_t)0 - 1000) /* clock_at: to be read again */

extern internal struct trace_info trace_info;
extern internal int64_t trace_stacks_ns;         /* until stacks are shown again */
extern internal uint64_t trace_keeping;          /* is the flight recorder on? */
extern internal _Atomic uint32_t trace_sections; /* has anybody begun a green_noswitch section? */

/* Under interception: the system call of the program that a green thread is in. */
struct trace_call {
	void *site;   /* where the program made it, by way of its libraries */
	unsigned why; /* TRACE_CALL and above; 0: not one that may switch */
	bool told;    /* to who is attached to `enter` */
};
/* NULL: nothing is intercepted.  Its result is NULL for a thread in none, and good until the
 * thread's next call. */
extern internal struct trace_call *(*trace_call_hook)(struct gt *self);

/* ---- hooks -------------------------------------------------------------------- */

static inline uint64_t trace_attached(void)
{
	return __atomic_load_n(&trace_hot.word, __ATOMIC_RELAXED);
}

/* Does anybody want to know of yields? */
static inline uint64_t trace_observed(void)
{
	return trace_attached() | atomic_load_explicit(&trace_sections, memory_order_relaxed);
}

/* A call that may switch begins; pc is the address it was called from. */
void trace_entered(void *pc, enum park_why why, uint64_t object);
static inline void trace_enter(void *pc, enum park_why why, uint64_t object)
{
	if (unlikely(__atomic_load_n(&trace_hot.sem.enter, __ATOMIC_RELAXED) |
	             atomic_load_explicit(&trace_sections, memory_order_relaxed)))
		trace_entered(pc, why, object);
}

/* self is about to park.  What trace_arrive() is to be given; 0: nothing. */
uint64_t trace_left(struct worker *w, struct gt *self);
static inline uint64_t trace_leave(struct worker *w, struct gt *self)
{
	return likely(trace_attached() | trace_keeping) ? trace_left(w, self) : 0;
}

/* It goes on; before: where it parked. */
void trace_arrived(const struct worker *before, struct gt *self, uint64_t left,
                   enum wake_reason reason);
static inline void trace_arrive(const struct worker *before, struct gt *self, uint64_t left,
                                enum wake_reason reason)
{
	if (likely(left))
		trace_arrived(before, self, left, reason);
}

/* The caller, on w or on no worker, has woken gt, and will put it on a queue. */
void trace_stamp(struct worker *w, struct gt *gt);
static inline void trace_woken(struct worker *w, struct gt *gt)
{
	if (likely(trace_attached() | trace_keeping))
		trace_stamp(w, gt);
}

/* The same, but that its waker came before it had parked: nobody knows who it was. */
static inline void trace_woken_early(struct gt *gt)
{
	atomic_store_explicit(&gt->since_ns, (int64_t)TRACE_STAMP, memory_order_relaxed);
}

/* gt is about to be put on a queue for the first time; pc: who has spawned it. */
void trace_spawn(const struct gt *gt, const void *pc);

/* A yield that somebody may want to know of. */
void trace_yield(struct worker *w, struct gt *self, void *pc);

/* ---- a worker's life ------------------------------------------------------------ */

/* Before it runs.  Without memory it records nothing. */
void trace_worker_start(struct worker *w);
void trace_worker_stop(struct worker *w);
void trace_worker_free(struct worker *w); /* its memory */

/* It looks around: hands on what has lain for 10 ms. */
void trace_tick(struct worker *w, int64_t now);

/* The process is about to end, with workers that run: what they have recorded is handed on,
 * unless that takes them longer than 10 ms. */
void trace_end(void);

/* The monitor, a hundred times a second: the clock shall be read at w's next switch,
 * so that a time is never older than that, however long green threads run. */
static inline void trace_hurry(struct trace_worker *t)
{
	/* Relaxed: the owner may overwrite it; then it has just read the clock. */
	atomic_store_explicit(&t->every, 1, memory_order_relaxed);
}

/* It will sleep: the same; no longer than the result if some of it is left. */
int64_t trace_sleep(struct worker *w, int64_t limit);

/* ---- the clock -------------------------------------------------------------------- */

void trace_init(void);          /* after options_resolve(), before there are workers */
void trace_moment(int64_t now); /* the monitor, now and then */
uint64_t trace_now(void);       /* ticks */

struct trace_line { /* ticks into nanoseconds */
	uint64_t ticks;
	int64_t ns;
	double ns_per_tick;
};
struct trace_line trace_line(void);
static inline int64_t trace_ns(const struct trace_line *line, uint64_t ticks)
{
	return (int64_t)((double)ticks * line->ns_per_tick);
}

#endif
