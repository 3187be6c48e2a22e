/* SPDX-License-Identifier: MIT
 *
 * What the runtime tells tracers: records, probes, and where both are found.
 * Shared by the runtime, the BPF programs and the tools, so that it needs no
 * other header of the runtime's, nor the C library.
 *
 * Records
 *	Each worker has a ring of records, one for each time a green thread went on
 *	after it had given up its CPU.  It is filled always (the flight recorder, which
 *	leaves plain yields out) or, where that is switched off, while somebody is
 *	attached to `flush` or `resume`.  Descriptor items:
 *	  trace_info            address and size of struct trace_info
 *	  trace_hot             the semaphores of the hot probes, one 8-byte word
 *	  worker.trace.records  address of the ring, struct trace_record[trace_info.ring]
 *	  worker.trace.head     records written ever; the next goes to head % ring
 *	  worker.trace.flushed  of these handed to `flush` or passed over
 *	A reader from outside reads head, then records, then head again: those that the
 *	second head has come within one of overwriting (h2 - i >= ring) may be torn.  The
 *	first records that a tracer is handed may be older than its coming.
 *
 * Clock
 *	Times are ticks: the time stamp counter, or nanoseconds of CLOCK_MONOTONIC where
 *	trace_info.clock says so.  Ticks and nanoseconds go by the two pairs in
 *	trace_info: the pairs lie on one line.
 *
 * Probes
 *	USDT notes (.note.stapsdt) of provider "libgreen", which survive strip.  All
 *	arguments are unsigned 64-bit registers or immediates.  The sites are five-byte
 *	nops in functions without a red zone.  Of each probe there is one site.
 *	THREAD is a handle (green_t: generation << 26 | index), 0: an OS thread, or
 *	nobody.  SITE is the return address of the call of a public function: the
 *	application's line; of an intercepted system call, where the program itself called
 *	the libraries that made it.  WORKER is the address of a struct worker.
 *
 *	in the word trace_hot, each with its semaphore:
 *	flush         RECORDS (address), COUNT (1 … TRACE_BATCH), NOW (ticks), WORKER
 *	                a contiguous part of the ring, oldest first; when TRACE_BATCH are
 *	                there, each 10 ms, and before the worker sleeps for long
 *	resume        THREAD, SITE, WHY | flags << 8, AWAY (ticks), READY (ticks), WAKER (index)
 *	                each record at once, in the thread that goes on
 *	stack         THREAD, SITE, WHY, PC, SP, STACK_TOP
 *	                about to park or yield: the first time for this (SITE, WHY, STACK_TOP
 *	                - SP) since somebody attached, again after TRACE_STACK_AGAIN_NS, and
 *	                each TRACE_STACK_EVERY-th time on this worker.  SP is that of the
 *	                frame which PC lies in, and the word at SP - 16 its frame pointer:
 *	                the bytes from there to STACK_TOP are all there
 *	enter         THREAD, SITE, WHY, OBJECT
 *	                a call that may switch begins, whether it will or not.  OBJECT:
 *	                the descriptor for TRACE_IO, TRACE_CLOSE and from TRACE_CALL on
 *	                (-1: none, several), the
 *	                handle of the other thread for TRACE_JOIN, nanoseconds for
 *	                TRACE_SLEEP, else the address of what is waited for, or 0
 *
 *	each with a semaphore of its own:
 *	spawn         THREAD, PARENT, FUNCTION, NAME (address of a string, 0: none), SITE
 *	exit          THREAD, RESULT
 *	worker_start  ID, TID, WORKER        in the worker's OS thread, as the next
 *	worker_stop   ID, TID, WORKER
 *	block_enter   THREAD, SITE, FUNCTION, ARGUMENT     a call goes to the offload pool
 *	block_exit    THREAD, SITE, FUNCTION, NANOSECONDS  and its caller goes on
 *	lock_wait     THREAD, MUTEX, OWNER (thread), SITE  about to park for a mutex
 *	steal         THREAD, FROM (worker id), TO (worker id)
 *	hibernate     THREAD, SP, STACK_TOP  the stack's live bytes were put away
 *	restore       THREAD, SP, STACK_TOP  and are back, because it is about to go on
 *	noswitch      THREAD, SITE, WHY, BEGUN (address of the section's begin)
 *	                a call that may switch inside green_noswitch_begin()
 *	stuck         WORKER, THREAD, NANOSECONDS   by the monitor
 *	stack_grow    THREAD, OLD, NEW (bytes), FUNCTION
 *	                its stack was found used deeper than that of any thread spawned at
 *	                the same place before: of those that the census looks at (census.h),
 *	                when they end.  No rung of the ladder of guards (stack.h) sees a stack
 *	                grow page by page: its pages are plain memory, and where stacks
 *	                hibernate, the page of zeroes, so that each first touch is the
 *	                kernel's affair alone (exceptions:page_fault_user; greentrace
 *	                --faults).
 */
#ifndef TRACE_RECORD_H
#define TRACE_RECORD_H

#include <linux/types.h>

#define TRACE_PROVIDER "libgreen"
#define TRACE_VERSION 1u
#define TRACE_BATCH 512u                /* records of one flush, at most */
#define TRACE_STACK_EVERY 1024u         /* parks between two stacks of known sites */
#define TRACE_STACK_AGAIN_NS 1000000000 /* then all sites are unknown again */

/* Why a thread gave up its CPU, or may: enum park_why has the same numbers.  New
 * ones come at the end. */
enum trace_why {
	TRACE_NONE,
	TRACE_YIELD,
	TRACE_SLEEP,
	TRACE_JOIN,
	TRACE_MUTEX,
	TRACE_COND,
	TRACE_SEM,
	TRACE_WG,
	TRACE_SEND,
	TRACE_RECV,
	TRACE_SELECT,
	TRACE_POOL,
	TRACE_IO,
	TRACE_CLOSE,
	TRACE_OFFLOAD,
	TRACE_FUTEX,
	TRACE_WHY_COUNT,
	TRACE_CALL = 64, /* from here on: intercepted system calls; descriptor items "call:NAME" */
};

/* How it came to go on: low bits of the flags; enum wake_reason has the same
 * numbers. */
enum trace_wake {
	TRACE_WAKE_NONE, /* a yield */
	TRACE_WAKE_PEER, /* what was waited for happened */
	TRACE_WAKE_TIMEOUT,
	TRACE_WAKE_CANCEL,
	TRACE_WAKE_CLOSED,
	TRACE_WAKE_NOMEM,
	TRACE_WAKE_SIGNAL, /* under interception */
};
#define TRACE_WAKE_MASK 7u

enum trace_flag {
	TRACE_LONG = 1u << 3,    /* away and ready count 65,536 ticks, not 16 */
	TRACE_COARSE = 1u << 4,  /* the clock was not read at this switch */
	TRACE_MOVED = 1u << 5,   /* it went on on another worker */
	TRACE_OUTSIDE = 1u << 6, /* woken by an OS thread that is no worker */
};

struct trace_record {
	__u64 time;   /* ticks, when it went on */
	__u64 where;  /* site << 16 | why << 8 | flags: trace_site() … */
	__u32 thread; /* the low half of its handle: generation << 26 | index */
	__u32 waker;  /* index of the thread that woke it; 0: a completion, a timer, nobody known */
	__u32 away;   /* from giving up the CPU until it went on, >> TRACE_SHIFT; it saturates */
	__u32 ready;  /* of these, since it was woken (a yield: all) */
};
#define TRACE_SHIFT 4
#define TRACE_SHIFT_LONG 16

static inline __u64 trace_site(const struct trace_record *r)
{
	return r->where >> 16;
}

static inline unsigned trace_why(const struct trace_record *r)
{
	return (unsigned)(r->where >> 8 & 0xff);
}

static inline unsigned trace_flags(const struct trace_record *r)
{
	return (unsigned)(r->where & 0xff);
}

/* Ticks of r->away or r->ready. */
static inline __u64 trace_ticks(const struct trace_record *r, __u32 n)
{
	return (__u64)n << (trace_flags(r) & TRACE_LONG ? TRACE_SHIFT_LONG : TRACE_SHIFT);
}

enum trace_clock {
	TRACE_CLOCK_TSC,
	TRACE_CLOCK_NS, /* ticks are nanoseconds of CLOCK_MONOTONIC */
};

struct trace_moment { /* the same one by both clocks */
	__u64 ticks;
	__s64 ns; /* CLOCK_MONOTONIC */
};

/* Order of the semaphores in the word trace_hot. */
struct trace_hot {
	__u16 flush, resume, stack, enter;
};

/* Fields are only added, at the end; size says which there are. */
struct trace_info {
	__u32 version, size;      /* TRACE_VERSION, sizeof */
	__u32 record_size, batch; /* sizeof(struct trace_record), TRACE_BATCH */
	__u32 ring;               /* records of a worker's ring: a power of two, above batch */
	__u32 flight;             /* is it filled when nobody is attached? */
	__u32 clock;              /* enum trace_clock */
	/* Switches between two readings of the clock while somebody is attached to
	 * flush or resume: 1, and a tracer may write another number. */
	__u32 clock_every;
	/* The first at green_init(); the last by the monitor, a few times a second.  It is
	 * complete when moment_seq is even, and the same before and after reading. */
	struct trace_moment first, last;
	__u32 moment_seq;
	__u32 reserved;
};

#endif
