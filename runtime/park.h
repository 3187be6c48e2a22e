/* SPDX-License-Identifier: MIT
 *
 * Parking: how a thread waits, and how exactly one waker wakes it.
 *
 * A thread waits through its one park word:
 *
 *      63 ........ 16 | 15 ...... 8 | 7 ..... 0
 *      sequence       | wake reason | bits
 *
 *      ARMED    it has begun to wait; a waker may claim it
 *      CLAIMED  one waker has won; its reason stands in the word
 *      DONE     that waker has delivered everything: the thread may go on
 *      SAVED    the thread's registers are saved: it may be put on a queue
 *      ASLEEP   its stack is, or is being, hibernated
 *      flags    (with SAVED) whether and how a cancel or deadline may end it
 *
 * The parker                              A waker (peer, completion, timer, cancel)
 *  1 park_begin: sequence+1, ARMED         a gets the ticket (thread, sequence) from
 *  2 registers its ticket with whatever      the object's wait list
 *    can wake it                           b park_claim: CAS ARMED -> CLAIMED|reason;
 *  3 park_commit: looks at the cancel        fails if the sequence or state moved on
 *    flag, switches away                   c writes what it hands over
 *  4 the next context sets SAVED, and if   d park_finish: sets DONE, and if SAVED was
 *    DONE was there already, readies it      there already, readies it
 *
 * Why no wake-up is lost:
 *  - A wake before 1 has no ticket.  After 2 the ticket is published under the
 *    object's lock, and whoever changes the object's state afterwards finds it.
 *  - SAVED and DONE are set by read-modify-writes on the same word, so one of
 *    the two comes second, sees the other, and readies the thread: exactly
 *    once, and never before the registers are saved.
 *  - Cancel sets the flag (in gt.id), then looks for SAVED; the next context
 *    sets SAVED, then looks for the flag.  All four are sequentially
 *    consistent, so at least one of the two sees the other (Dekker).  Before
 *    SAVED nobody but the thread itself acts on the flag: only then does the
 *    word say whether the wait may be ended.  That stands in the word, and not
 *    beside it, so that whoever reads it knows of which wait it was true.
 *  - A signal for a thread under interception (GT_SIGNALLED, in gt.id too) is told
 *    by the same two steps and found by the same two looks.  Unlike a cancel it
 *    passes: the thread takes the flag away, then looks at what came for it, so
 *    that what comes during the look sets the flag anew.  Its caller begins a wait
 *    again that a signal has ended for nothing.
 *  - A timer that fires late or a stale ticket finds another sequence and does
 *    nothing.  48 bits do not wrap within the life of a process.
 *
 * No park is rescued by a timeout: a lost wake-up would be a hang, which the
 * stress tests look for.
 *
 * A foreign OS thread does the same, but sets SAVED itself and sleeps in a futex until DONE.
 */
#ifndef PARK_H
#define PARK_H

#include "gt.h"

enum park_why {
	PARK_NONE,
	PARK_YIELD,
	PARK_SLEEP,
	PARK_JOIN,
	PARK_MUTEX,
	PARK_COND,
	PARK_SEM,
	PARK_WG,
	PARK_SEND,
	PARK_RECV,
	PARK_SELECT,
	PARK_POOL,
	PARK_IO,
	PARK_CLOSE,
	PARK_OFFLOAD,
	PARK_FUTEX, /* under interception: mutexes, conditions … of libc */
	PARK_WHY_COUNT,
};
const char *park_why_name(enum park_why why);

enum wake_reason {
	WAKE_NONE,
	WAKE_PEER,    /* what was waited for happened */
	WAKE_TIMEOUT, /* the deadline passed */
	WAKE_CANCEL,  /* green_cancel() */
	WAKE_CLOSED,  /* the object was closed */
	WAKE_NOMEM,   /* no memory to arm the deadline */
	WAKE_SIGNAL,  /* a signal came, under interception */
};

enum {
	PARK_ARMED = 1u << 0,
	PARK_CLAIMED = 1u << 1,
	PARK_DONE = 1u << 2,
	PARK_SAVED = 1u << 3,
	/* The stack may not be all there: sched_rouse() before it is switched to
	 * (sweep.c sets it while the word is ARMED|SAVED, not CLAIMED). */
	PARK_ASLEEP = 1u << 6,
};
#define PARK_FLAGS_SHIFT 4 /* PARK_SHIELDED and PARK_OP, once SAVED */
#define PARK_SEQ_SHIFT 16
#define PARK_REASON_SHIFT 8

/* How the wait may end, besides by a peer. */
enum {
	/* Ignore cancel, signals and deadline scopes (an explicit deadline still counts). */
	PARK_SHIELDED = 1u << 0,
	/* wait_obj is a struct io_op in flight (the first of a group linked by
	 * group_next): a cancel or deadline does not end the wait but asks the
	 * engine to cancel the operations, whose final completion ends it. */
	PARK_OP = 1u << 1,
};

struct park_ticket {
	struct gt *gt;
	uint64_t seq; /* the word's sequence part, shifted */
};

/* The calling thread's descriptor: green thread or foreign (made on first use;
 * NULL only if the table is full: callers return -ENOMEM). */
struct gt *park_self(void);

/* Begins to wait: arms the word and records why, obj and pc (the address in
 * the user's code that called the public function: PARK_PC in it). */
struct park_ticket park_begin(struct gt *self, enum park_why why, void *obj, void *pc);
#define PARK_PC __builtin_return_address(0)

/* Waits until claimed and finished.  deadline_ns: CLOCK_MONOTONIC or
 * GREEN_FOREVER, clipped by the deadline scopes unless shielded.  Returns the
 * reason.  On WAKE_TIMEOUT, WAKE_CANCEL and WAKE_SIGNAL the caller takes its ticket out of
 * wherever it put it (with PARK_OP those reasons are not returned). May switch:
 * afterwards the caller may be on another worker (migratable). */
enum wake_reason park_commit(struct park_ticket ticket, unsigned flags, int64_t deadline_ns);

/* Gives up before commit: true if nobody claimed it.  False: somebody did, the
 * caller must commit to take delivery. */
bool park_abort(struct park_ticket ticket);

/* Claims a waiting thread for the caller: true for exactly one.  Between claim
 * and finish the caller may write what the thread will read. */
bool park_claim(struct park_ticket ticket, enum wake_reason reason);
void park_finish(struct gt *gt);

/* Ends the wait of a parked thread for good: nobody can wake it any more.  False
 * when it is not parked, or somebody has claimed it. */
bool park_abandon(struct gt *gt);

/* Both at once: true if the caller was the one waker. */
bool park_wake(struct park_ticket ticket, enum wake_reason reason);

/* green_cancel() has set the flag: ends the wait of gt if it is parked and may
 * be ended. */
void park_cancel(struct gt *gt);

/* A signal has come for the green thread of that handle: sets GT_SIGNALLED and ends
 * its wait as a cancel would, once.  0, or -ESRCH.  Any OS thread. */
int park_signal(green_t thread);
/* self takes the flag away and will look at its signals: was it set? */
bool park_take_signal(struct gt *self);

/* The deadline of the wait with this sequence (its low 32 bits) has passed; on
 * the worker it was parked on.  Nothing if gt has gone on since. */
void park_expire(struct gt *gt, uint32_t seq);
/* Could any OS thread call park_expire() for it? */
bool park_expires_anywhere(const struct gt *gt);

/* Attention (sched_attention) to gt on the worker it is parked on: cancels the
 * operations of its wait that somebody wants cancelled. */
void park_attend(struct gt *gt);

/* The next context, for a thread that parked: its registers are saved now. */
void park_saved(struct gt *gt);

/* What would end a wait right now: 0, -ECANCELED, -ERESTART (a signal) or -ETIMEDOUT.  Fast calls
 * that did not have to wait do not ask; calls about to wait do. */
int park_check_slow(struct gt *self);
static inline int park_check(struct gt *self)
{
	/* `look` is stored after the flag in id; a cancel that is only just being
	 * asked for may as well be seen by the next call. */
	if (likely(!self->ext && !atomic_load_explicit(&self->look, memory_order_acquire)))
		return 0;
	return park_check_slow(self);
}

/* -errno of a reason: 0 for PEER, -ETIMEDOUT, -ECANCELED, -EPIPE for CLOSED, -ERESTART
 * for SIGNAL. */
int park_error(enum wake_reason reason);

#endif
