/* SPDX-License-Identifier: MIT
 *
 * The parking protocol of park.h, for green threads and foreign OS threads.
 */
#include "park.h"
#include "trace.h"
#include "worker.h"

#include <errno.h>

#define SEQ_MASK (~(uint64_t)0 << PARK_SEQ_SHIFT)
#define WORD_SHIELDED ((uint64_t)PARK_SHIELDED << PARK_FLAGS_SHIFT)
#define WORD_OP ((uint64_t)PARK_OP << PARK_FLAGS_SHIFT)

/* Parked, and nobody has claimed it. */
static bool waiting(uint64_t word)
{
	return (word & (PARK_ARMED | PARK_SAVED | PARK_CLAIMED)) == (PARK_ARMED | PARK_SAVED);
}

const char *park_why_name(enum park_why why)
{
	static const char *const names[PARK_WHY_COUNT] = {
		[PARK_NONE] = "nothing",  [PARK_YIELD] = "yield",   [PARK_SLEEP] = "sleep",
		[PARK_JOIN] = "join",     [PARK_MUTEX] = "mutex",   [PARK_COND] = "cond",
		[PARK_SEM] = "semaphore", [PARK_WG] = "wait group", [PARK_SEND] = "send",
		[PARK_RECV] = "receive",  [PARK_SELECT] = "select", [PARK_POOL] = "pool",
		[PARK_IO] = "io",         [PARK_CLOSE] = "close",   [PARK_OFFLOAD] = "offload",
		[PARK_FUTEX] = "futex",
	};

	return (unsigned)why < PARK_WHY_COUNT && names[why] ? names[why] : "unknown";
}

int park_error(enum wake_reason reason)
{
	switch (reason) {
	case WAKE_TIMEOUT:
		return -ETIMEDOUT;
	case WAKE_CANCEL:
		return -ECANCELED;
	case WAKE_CLOSED:
		return -EPIPE;
	case WAKE_NOMEM:
		return -ENOMEM;
	case WAKE_SIGNAL:
		return -ERESTART;
	default:
		return 0;
	}
}

static bool shielded(const struct gt *self)
{
	return self->ext && self->ext->shield;
}

/* self has seen that it is cancelled: from now on every call must, even if
 * green_cancel() is still about to set `look`. */
static void remember_cancel(struct gt *self)
{
	atomic_fetch_or_explicit(&self->look, LOOK_CANCELLED, memory_order_relaxed);
}

int park_check_slow(struct gt *self)
{
	if (gt_has(self, GT_CANCELLED) && !shielded(self)) {
		remember_cancel(self);
		return -ECANCELED;
	}
	if (gt_has(self, GT_SIGNALLED) && !shielded(self))
		return -ERESTART;
	if (self->ext && self->ext->deadline_ns != GREEN_FOREVER &&
	    sys.now() >= self->ext->deadline_ns)
		return -ETIMEDOUT;
	return 0;
}

struct park_ticket park_begin(struct gt *self, enum park_why why, void *obj, void *pc)
{
	uint64_t word = atomic_load_explicit(&self->park, memory_order_relaxed);
	uint64_t seq = (word & SEQ_MASK) + ((uint64_t)1 << PARK_SEQ_SHIFT);

	atomic_store_explicit(&self->wait_obj, obj, memory_order_relaxed);
	atomic_store_explicit(&self->wait_pc, pc, memory_order_relaxed);
	atomic_store_explicit(&self->why, (uint8_t)why, memory_order_relaxed);
	/* Release: a waker gets the ticket through a lock anyway; this is for the
	 * readers of reports, who come without one. */
	atomic_store_explicit(&self->park, seq | PARK_ARMED, memory_order_release);
	return (struct park_ticket){ self, seq };
}

/* Moves the word from waiting to claimed with the extra bits; *was: the word
 * before. */
static bool claim(struct park_ticket ticket, enum wake_reason reason, uint64_t extra, uint64_t *was)
{
	uint64_t word = atomic_load_explicit(&ticket.gt->park, memory_order_seq_cst);
	uint64_t set = (uint64_t)reason << PARK_REASON_SHIFT | PARK_CLAIMED | extra;

	do
		if ((word & SEQ_MASK) != ticket.seq ||
		    (word & (PARK_ARMED | PARK_CLAIMED)) != PARK_ARMED)
			return false;
	/* Acquire pairs with the release that set SAVED, release with the
	 * acquire of the word by the thread that goes on. */
	while (!atomic_compare_exchange_weak_explicit(&ticket.gt->park, &word, word | set,
	                                              memory_order_acq_rel, memory_order_relaxed));
	*was = word;
	return true;
}

bool park_claim(struct park_ticket ticket, enum wake_reason reason)
{
	uint64_t was;

	return claim(ticket, reason, 0, &was);
}

bool park_abandon(struct gt *gt)
{
	uint64_t word = atomic_load_explicit(&gt->park, memory_order_acquire);

	return waiting(word) && park_claim((struct park_ticket){ gt, word & SEQ_MASK }, WAKE_NONE);
}

/* Its word has become SAVED and DONE by the caller's hand.  kind is what it was
 * before: an OS thread may have seen DONE without being called, and its
 * descriptor may be somebody else's by now. */
static void let_go(struct gt *gt, uint8_t kind)
{
	if (unlikely(kind & GT_KIND_FOREIGN))
		sys_futex_wake((const uint32_t *)&gt->park, 1);
	else
		sched_ready(gt);
}

void park_finish(struct gt *gt)
{
	uint8_t kind = gt_kind(gt);
	/* Release: what the waker handed over; acquire: the saved registers. */
	uint64_t was = atomic_fetch_or_explicit(&gt->park, PARK_DONE, memory_order_acq_rel);

	if (was & PARK_SAVED)
		let_go(gt, kind);
}

bool park_wake(struct park_ticket ticket, enum wake_reason reason)
{
	uint8_t kind = gt_kind(ticket.gt);
	uint64_t was;

	if (!claim(ticket, reason, PARK_DONE, &was))
		return false;
	if (was & PARK_SAVED)
		let_go(ticket.gt, kind);
	return true;
}

bool park_abort(struct park_ticket ticket)
{
	uint64_t expected = ticket.seq | PARK_ARMED;

	return atomic_compare_exchange_strong_explicit(&ticket.gt->park, &expected, ticket.seq,
	                                               memory_order_acquire, memory_order_acquire);
}

/* Cancels the operations that gt waits for, on the worker they belong to. */
static void interrupt_op(struct gt *gt)
{
	struct io_op *op = atomic_load_explicit(&gt->wait_obj, memory_order_relaxed);

	for (; op; op = op->group_next) {
		atomic_store_explicit(&op->cancel_wanted, 1, memory_order_relaxed);
		if (atomic_load_explicit(&op->in_flight, memory_order_relaxed))
			rt.engine->cancel(op->worker, op);
	}
}

/* What has ended, or would end, a wait: a cancel before a signal. */
static enum wake_reason flagged(const struct gt *gt)
{
	return gt_has(gt, GT_CANCELLED) ? WAKE_CANCEL : WAKE_SIGNAL;
}

static void end_wait(struct gt *gt, enum wake_reason reason)
{
	uint64_t word = atomic_load_explicit(&gt->park, memory_order_seq_cst);

	/* Not saved yet: park_saved() will look.  Claimed: it goes on anyway. */
	if (!waiting(word) || (word & WORD_SHIELDED))
		return;
	if (word & WORD_OP)
		sched_attention(gt); /* the worker whose operation it is has to look */
	else
		park_wake((struct park_ticket){ gt, word & SEQ_MASK }, reason);
}

void park_cancel(struct gt *gt)
{
	end_wait(gt, WAKE_CANCEL);
}

int park_signal(green_t thread)
{
	int r = gt_set_flag(thread, GT_SIGNALLED);

	if (r < 0)
		return r;
	/* As in green_cancel(). */
	struct gt *gt = gt_at((uint32_t)thread & GT_INDEX_MASK);
	if (gt_has(gt, GT_SIGNALLED))
		end_wait(gt, WAKE_SIGNAL);
	return 0;
}

bool park_take_signal(struct gt *self)
{
	/* The hint goes first: whoever sets the flag sets it after that. */
	atomic_fetch_and_explicit(&self->look, (uint8_t)~LOOK_SIGNALLED, memory_order_seq_cst);
	uint64_t id =
		atomic_fetch_and_explicit(&self->id, ~(uint64_t)GT_SIGNALLED, memory_order_seq_cst);
	return id & GT_SIGNALLED;
}

void park_expire(struct gt *gt, uint32_t seq)
{
	uint64_t word = atomic_load_explicit(&gt->park, memory_order_acquire);

	if (!waiting(word) || (uint32_t)(word >> PARK_SEQ_SHIFT) != seq)
		return;
	/* The operation is this worker's, which is here: it cannot complete. */
	if (word & WORD_OP)
		interrupt_op(gt);
	else
		park_wake((struct park_ticket){ gt, word & SEQ_MASK }, WAKE_TIMEOUT);
}

bool park_expires_anywhere(const struct gt *gt)
{
	uint64_t word = atomic_load_explicit(&gt->park, memory_order_acquire);

	return (gt_kind(gt) & GT_KIND_MIGRATABLE) && waiting(word) && !(word & WORD_OP);
}

void park_attend(struct gt *gt)
{
	uint64_t word = atomic_load_explicit(&gt->park, memory_order_acquire);

	if (!waiting(word))
		return;
	/* Looked at after the word: the operations of that wait are ours, or it
	 * has moved on (migratable) and waits on another worker. */
	if (atomic_load_explicit(&gt->worker, memory_order_relaxed) != worker_self()->id) {
		sched_attention(gt);
		return;
	}
	if (!(word & WORD_OP)) {
		if (gt_has(gt, GT_LOOK))
			end_wait(gt, flagged(gt));
		return;
	}
	if (gt_has(gt, GT_LOOK) && !(word & WORD_SHIELDED)) {
		interrupt_op(gt);
		return;
	}
	struct io_op *op = atomic_load_explicit(&gt->wait_obj, memory_order_relaxed);
	for (; op; op = op->group_next)
		if (atomic_load_explicit(&op->cancel_wanted, memory_order_acquire) &&
		    atomic_load_explicit(&op->in_flight, memory_order_relaxed))
			rt.engine->cancel(op->worker, op);
}

void park_saved(struct gt *gt)
{
	uint64_t flags = atomic_load_explicit(&gt->park_flags, memory_order_relaxed);
	/* Release: the registers; acquire: what a waker handed over; sequentially
	 * consistent against green_cancel(). */
	uint64_t was = atomic_fetch_or_explicit(&gt->park, PARK_SAVED | flags << PARK_FLAGS_SHIFT,
	                                        memory_order_seq_cst);

	if (was & PARK_DONE) {
		trace_woken_early(gt);
		sched_ready(gt);
	} else if (unlikely(atomic_load_explicit(&gt->id, memory_order_seq_cst) & GT_LOOK)) {
		end_wait(gt, flagged(gt));
	}
}

static enum wake_reason reason_of(uint64_t word)
{
	return (enum wake_reason)(word >> PARK_REASON_SHIFT & 0xff);
}

/* Sleeps until DONE, or claims itself when the time has passed. */
static enum wake_reason foreign_commit(struct park_ticket ticket, int64_t deadline_ns)
{
	struct gt *self = ticket.gt;
	uint64_t word = atomic_fetch_or_explicit(&self->park, PARK_SAVED, memory_order_seq_cst);
	bool timed_out = false;

	word |= PARK_SAVED;
	while (!(word & PARK_DONE)) {
		/* The low half of the word holds all bits that change (little-endian). */
		long r = timed_out ? 0
		                   : sys_futex_wait((const uint32_t *)&self->park, (uint32_t)word,
		                                    deadline_ns);
		if (r == -ETIMEDOUT) {
			timed_out = true;
			park_wake(ticket, WAKE_TIMEOUT); /* or somebody else just did */
		} else if (timed_out) {
			sys0(SYS_sched_yield); /* the waker is between claim and finish */
		}
		word = atomic_load_explicit(&self->park, memory_order_acquire);
	}
	return reason_of(word);
}

/* Ends the wait before it began: true if nobody else had claimed it. */
static bool end_at_once(struct park_ticket ticket, enum wake_reason reason)
{
	return park_wake(ticket, reason);
}

/* The innermost deadline that holds for a wait. */
static int64_t effective_deadline(const struct gt *self, unsigned flags, int64_t deadline_ns)
{
	if ((flags & PARK_SHIELDED) || !self->ext)
		return deadline_ns;
	return self->ext->deadline_ns < deadline_ns ? self->ext->deadline_ns : deadline_ns;
}

static enum wake_reason told(struct gt *self, enum wake_reason reason)
{
	if (unlikely(reason == WAKE_CANCEL))
		remember_cancel(self);
	return reason;
}

enum wake_reason park_commit(struct park_ticket ticket, unsigned flags, int64_t deadline_ns)
{
	struct gt *self = ticket.gt;

	if (shielded(self) && !(flags & PARK_SHIELDED)) {
		deadline_ns = effective_deadline(self, flags, deadline_ns);
		flags |= PARK_SHIELDED; /* from cancel; scopes inside the shield count */
	} else {
		deadline_ns = effective_deadline(self, flags, deadline_ns);
	}
	if (gt_kind(self) & GT_KIND_FOREIGN)
		return foreign_commit(ticket, deadline_ns);

	if (unlikely(gt_has(self, GT_LOOK)) && !(flags & PARK_SHIELDED)) {
		enum wake_reason reason = flagged(self);
		if (flags & PARK_OP)
			interrupt_op(self);
		else if (end_at_once(ticket, reason))
			return told(self, reason);
	}
	/* Acquire pairs with the release in claim(): delivered already? */
	uint64_t word = atomic_load_explicit(&self->park, memory_order_acquire);
	if (word & PARK_DONE)
		return told(self, reason_of(word));

	struct worker *w = worker_self();
	bool armed = deadline_ns != GREEN_FOREVER;
	if (armed && timers_add(&w->timers, deadline_ns, ticket) < 0) {
		if (flags & PARK_OP)
			interrupt_op(self);
		else if (end_at_once(ticket, WAKE_NOMEM))
			return WAKE_NOMEM;
		armed = false;
	}
	atomic_store_explicit(&self->park_flags, (uint8_t)flags, memory_order_relaxed);
	atomic_store_explicit(&self->since_ns, atomic_load_explicit(&w->now, memory_order_relaxed),
	                      memory_order_relaxed);
	atomic_store_explicit(&self->state, GT_PARKED, memory_order_relaxed);
	uint64_t left = trace_leave(w, self);
	sched_switch(self, POST_PARK);
	enum wake_reason reason =
		reason_of(atomic_load_explicit(&self->park, memory_order_acquire));
	trace_arrive(w, self, left, reason);
	if (armed && atomic_load_explicit(&self->timer_pos, memory_order_relaxed))
		timers_remove(&w->timers, self); /* w: where it parked */
	return told(self, reason);
}
