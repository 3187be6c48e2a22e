/* SPDX-License-Identifier: MIT
 *
 * Delivery: a green thread looks at its signals, and runs the program's handlers.
 */
#include "intercept/entry.h"
#include "intercept/kick.h"
#include "intercept/landing.h"
#include "intercept/link.h"
#include "intercept/preempt.h"
#include "intercept/signal.h"
#include "scheduler.h"

#include <errno.h>
#include <string.h>

#define AUTODISARM (1u << 31) /* SS_AUTODISARM */

struct delivery {
	struct thread *thread;
	ucontext_t *context;
	siginfo_t info;
	struct signal_action action;
	uint64_t mask_after;
};

/* ---- masks -------------------------------------------------------------------- */

/* What came for the process and is blocked now is for somebody else. */
static void pass_on_blocked(struct thread *t)
{
	struct signal_record *record, *list = NULL;

	spin_lock(&signals.lock);
	for (struct signal_record **place = &t->queue; (record = *place);) {
		if (record->process && (signal_mask_of(t) & SIGNAL_BIT(record->info.si_signo))) {
			*place = record->next;
			record->next = list;
			list = record;
		} else {
			place = &record->next;
		}
	}
	signal_note_pending(t);
	spin_unlock(&signals.lock);
	while ((record = list)) {
		list = record->next;
		if (!signal_send_process(&record->info, NULL))
			signal_give_back(&record->info);
		spin_lock(&signals.lock);
		signal_record_put(record);
		spin_unlock(&signals.lock);
	}
}

/* What the kernel kept, now that t takes it: before t goes on. */
static void take_held(struct thread *t, uint64_t which)
{
	static const struct timespec at_once = { 0, 0 };
	siginfo_t info;

	while (sys4(SYS_rt_sigtimedwait, &which, &info, &at_once, sizeof(which)) > 0)
		signal_send(t, &info, true);
}

void signal_set_mask(struct thread *t, uint64_t mask)
{
	uint64_t before = signal_mask_of(t);

	mask &= ~SIGNALS_UNBLOCKABLE;
	atomic_store_explicit(&t->sigmask, mask, memory_order_seq_cst);
	uint64_t open = before & ~mask & atomic_load_explicit(&signals.held, memory_order_seq_cst);
	if (open) {
		take_held(t, open);
		signals_unhold(open);
	}
	signal_settle(t);
}

void signal_settle(struct thread *t)
{
	uint64_t pending = atomic_load_explicit(&t->pending, memory_order_seq_cst);

	if (pending & ~signal_mask_of(t))
		park_signal(gt_handle(thread_gt(t)));
	if (pending & signal_mask_of(t))
		pass_on_blocked(t);
}

long signal_mask_for_call(const void *mask, size_t size)
{
	struct thread *t = thread_self();
	uint64_t wanted;

	if (!mask)
		return 0;
	if (link_on) /* the OS thread has the mask */
		return CALL_PASS;
	if (size != sizeof(wanted))
		return -EINVAL;
	memcpy(&wanted, mask, sizeof(wanted));
	/* Made again after a look, it is there already. */
	if (!t->sigmask_swapped)
		t->sigmask_after = signal_mask_of(t);
	t->sigmask_swapped = true;
	signal_set_mask(t, wanted);
	/* It is put back on the way out, whether or not a signal comes. */
	atomic_fetch_or_explicit(&thread_gt(t)->look, LOOK_SIGNALLED, memory_order_relaxed);
	return 0;
}

static uint64_t deliverable(const struct thread *t)
{
	return atomic_load_explicit(&t->pending, memory_order_seq_cst) & ~signal_mask_of(t);
}

bool signal_pending(struct gt *self)
{
	/* Told for nothing, the next wait shall not end at once. */
	if (!deliverable(thread_of(self)))
		park_take_signal(self);
	if (!deliverable(thread_of(self)))
		return false;
	/* Who asks may have taken the flag away; the end of the call shall look. */
	atomic_fetch_or_explicit(&self->look, LOOK_SIGNALLED, memory_order_relaxed);
	return true;
}

/* ---- alternate stacks ------------------------------------------------------------ */

static bool is_on(const stack_t *stack, uintptr_t sp)
{
	return stack->ss_size && sp - (uintptr_t)stack->ss_sp <= stack->ss_size;
}

/* As sigaltstack(2) shows it, to somebody whose stack pointer is sp. */
stack_t signal_stack_of(const struct thread *t, uintptr_t sp)
{
	stack_t stack = t->altstack;

	if (!stack.ss_size)
		stack.ss_flags = SS_DISABLE;
	else if (!((unsigned)stack.ss_flags & AUTODISARM) && is_on(&stack, sp))
		stack.ss_flags |= SS_ONSTACK;
	return stack;
}

/* ---- one signal ------------------------------------------------------------------- */

/* The next one that has a handler; false: none is left. */
static bool next_handled(struct thread *t, struct delivery *d)
{
	struct signal_record *record;

	for (;;) {
		spin_lock(&signals.lock);
		record = signal_take(t, ~signal_mask_of(t));
		if (!record) {
			spin_unlock(&signals.lock);
			return false;
		}
		d->info = record->info;
		signal_record_put(record);
		struct signal_action *action = &signals.actions[d->info.si_signo];
		bool ignored = signal_is_ignored(d->info.si_signo);
		d->action = *action;
		if ((action->flags & SA_RESETHAND) && !ignored)
			action->handler.plain = SIG_DFL;
		spin_unlock(&signals.lock);
		if (ignored)
			continue;
		if (d->action.handler.plain != SIG_DFL)
			return true;
		signal_default(&d->info);
	}
}

/* Interrupted before its first instruction, as it were: what else is to be delivered now
 * runs first. */
static void call_handler(struct delivery *d)
{
	struct thread *t = d->thread;
	ucontext_t *context = d->context;
	uintptr_t sp = (uintptr_t)context->uc_mcontext.gregs[REG_RSP];
	void *stack = NULL;
	struct call *call = t->call;

	memset(&context->uc_sigmask, 0, sizeof(context->uc_sigmask));
	memcpy(&context->uc_sigmask, &d->mask_after, sizeof(d->mask_after));
	context->uc_stack = signal_stack_of(t, sp);
	uintptr_t here = (uintptr_t)__builtin_frame_address(0);
	if ((d->action.flags & SA_ONSTACK) && t->altstack.ss_size && !is_on(&t->altstack, here))
		stack = (char *)t->altstack.ss_sp + t->altstack.ss_size;
	if ((unsigned)t->altstack.ss_flags & AUTODISARM)
		t->altstack = (stack_t){ .ss_flags = SS_DISABLE };
	t->call = NULL;
	t->detained = false;
	signal_call(d->action.handler.info, d->info.si_signo, &d->info, context, stack);
	t->detained = true;
	t->call = call;
	if ((unsigned)context->uc_stack.ss_flags & AUTODISARM)
		t->altstack = context->uc_stack;
	uint64_t mask;
	memcpy(&mask, &context->uc_sigmask, sizeof(mask));
	signal_set_mask(t, mask);
}

static void deliver(struct delivery *d)
{
	struct thread *t = d->thread;
	uint64_t during = signal_mask_of(t) | d->action.mask;
	struct delivery next = { .thread = t };
	ucontext_t context;

	d->mask_after = t->sigmask_swapped ? t->sigmask_after : signal_mask_of(t);
	t->sigmask_swapped = false;
	if (!(d->action.flags & SA_NODEFER))
		during |= SIGNAL_BIT(d->info.si_signo);
	signal_set_mask(t, during);
	while (deliverable(t) && next_handled(t, &next)) {
		context = *d->context;
		next.context = &context;
		deliver(&next);
	}
	call_handler(d);
}

bool signal_deliver(ucontext_t *context, bool *restart)
{
	struct delivery d = { .thread = thread_self(), .context = context };
	bool ran = false;

	while (deliverable(d.thread) && next_handled(d.thread, &d)) {
		if (!ran)
			*restart = d.action.flags & SA_RESTART;
		ran = true;
		deliver(&d);
	}
	if (d.thread->sigmask_swapped) {
		d.thread->sigmask_swapped = false;
		signal_set_mask(d.thread, d.thread->sigmask_after);
	}
	return ran;
}

/* ---- on the way out of a call ------------------------------------------------------- */

static void context_of(const struct call *c, long result, ucontext_t *context)
{
	greg_t *r = context->uc_mcontext.gregs;

	memset(context, 0, sizeof(*context));
	r[REG_R8] = (greg_t)c->r8;
	r[REG_R9] = (greg_t)c->r9;
	r[REG_R10] = (greg_t)c->r10;
	r[REG_R12] = (greg_t)c->r12;
	r[REG_R13] = (greg_t)c->r13;
	r[REG_R14] = (greg_t)c->r14;
	r[REG_R15] = (greg_t)c->r15;
	r[REG_RDI] = (greg_t)c->rdi;
	r[REG_RSI] = (greg_t)c->rsi;
	r[REG_RBP] = (greg_t)c->rbp;
	r[REG_RBX] = (greg_t)c->rbx;
	r[REG_RDX] = (greg_t)c->rdx;
	r[REG_RAX] = result;
	r[REG_RCX] = (greg_t)c->pc;
	r[REG_RSP] = (greg_t)c->sp;
	r[REG_RIP] = (greg_t)c->pc;
	r[REG_EFL] = 0x202;
}

/* What a handler has changed holds. */
static long context_back(struct call *c, const ucontext_t *context)
{
	const greg_t *r = context->uc_mcontext.gregs;

	c->r8 = (uintptr_t)r[REG_R8];
	c->r9 = (uintptr_t)r[REG_R9];
	c->r10 = (uintptr_t)r[REG_R10];
	c->r12 = (uintptr_t)r[REG_R12];
	c->r13 = (uintptr_t)r[REG_R13];
	c->r14 = (uintptr_t)r[REG_R14];
	c->r15 = (uintptr_t)r[REG_R15];
	c->rdi = (uintptr_t)r[REG_RDI];
	c->rsi = (uintptr_t)r[REG_RSI];
	c->rbp = (uintptr_t)r[REG_RBP];
	c->rbx = (uintptr_t)r[REG_RBX];
	c->rdx = (uintptr_t)r[REG_RDX];
	c->sp = (uintptr_t)r[REG_RSP];
	c->pc = (uintptr_t)r[REG_RIP];
	return r[REG_RAX];
}

static bool is_restart(long result)
{
	return result == CALL_RESTARTSYS || result == CALL_RESTARTNOINTR ||
	       result == CALL_RESTARTNOHAND || result == CALL_RESTART_BLOCK;
}

long intercept_look(struct call *c)
{
	return intercept_end(c, c->result);
}

long intercept_end(struct call *c, long result)
{
	struct gt *self = gt_self();
	struct thread *t = thread_of(self);
	ucontext_t context;

	t->detained = true;
	preempt_if_asked();
	for (;;) {
		bool restart = false;
		park_take_signal(self);
		long seen = is_restart(result) ? -EINTR : result;
		context_of(c, seen, &context);
		bool ran = signal_deliver(&context, &restart);
		if (ran)
			seen = context_back(c, &context);
		bool again = result == CALL_RESTARTNOINTR || (restart && result == CALL_RESTARTSYS);
		if (!is_restart(result) || (ran && !again)) {
			result = seen;
			break;
		}
		result = intercept_again(c);
		if (!is_restart(result) && !signal_look(self))
			break;
	}
	t->detained = false;
	return result;
}

/* ---- in the middle of the program's code -------------------------------------------------- */

/* rt_sigreturn(2) makes these the worker's. */
static void context_real(ucontext_t *context)
{
	stack_t stack = { .ss_flags = SS_DISABLE };

	memcpy(&context->uc_sigmask, &signals.real_mask, sizeof(signals.real_mask));
	sys2(SYS_sigaltstack, NULL, &stack);
	context->uc_stack = stack;
}

struct landing_look signal_landed(struct landing *landing)
{
	struct gt *self = gt_self();
	struct thread *t = thread_of(self);
	bool restart;

	t->detained = true;
	preempt_if_asked();
	if (signal_look(self)) {
		park_take_signal(self);
		signal_deliver(&landing->context, &restart);
	}
	context_real(&landing->context);
	return (struct landing_look){ &t->detained, &self->look };
}
