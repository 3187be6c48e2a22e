/* SPDX-License-Identifier: MIT
 *
 * Real signals on workers: faults, and the kick by which the runtime interrupts a
 * green thread that runs.
 *
 * A kick does nothing to a thread inside the runtime: that is on its way to a look at
 * its signals.  Only behind the last look (the tail of the entry and of the landing) it
 * would be missed, so it sends the thread back to where that look begins; all registers
 * but those that the tail itself has loaded still are in the frame.
 */
#include "intercept/kick.h"
#include "arch/base.h"
#include "fault.h"
#include "intercept/credentials.h"
#include "intercept/dispatch.h"
#include "intercept/entry.h"
#include "intercept/intercept.h"
#include "intercept/landing.h"
#include "intercept/signal.h"
#include "intercept/stack_memory.h"
#include "intercept/user.h"

#include <errno.h>
#include <string.h>
#include <sys/auxv.h>

#define RED_ZONE 128
#define CALL_VECTOR_LIVE 1
#define CALL_FRAMES_MAX 32
#define CALL_FRAMES_SPAN ((uintptr_t)64 << 10)
#define NEAR_STACK 4096 /* what -fstack-clash-protection lets a frame grow by at once */
#define FX_SIZE 512
#define FX_SOFTWARE 464 /* where the kernel says how large the state is */
#define FX_MAGIC 0x46505853u

extern internal const char __start_green_text[], __stop_green_text[];

_Static_assert(offsetof(struct worker, current) == WORKER_CURRENT, "as the entry has it");
_Static_assert(offsetof(struct gt, look) == GT_LOOK_AT, "as the entry has it");
_Static_assert(LOOK_SIGNALLED == GT_LOOK_SIGNALLED, "as the entry has it");

/* ---- where was it interrupted? --------------------------------------------------- */

static bool within(greg_t pc, const void *from, const void *to)
{
	return (uintptr_t)pc >= (uintptr_t)from && (uintptr_t)pc < (uintptr_t)to;
}

/* The kernel's code in our address space holds no lock of ours, but the runtime calls
 * it, too. */
static bool in_vdso(greg_t pc)
{
	uintptr_t vdso = getauxval(AT_SYSINFO_EHDR);

	return vdso && (uintptr_t)pc - vdso < 0x4000;
}

/* In a tail: back to the look, or past it.  True: it is in the program's code now. */
static bool settle_tail(greg_t *r)
{
	if (within(r[REG_RIP], intercept_leave_done, intercept_leave_end) ||
	    within(r[REG_RIP], intercept_yield_done, intercept_yield_end)) {
		r[REG_RSP] = r[REG_R11];
		r[REG_RIP] = r[REG_RCX];
		return true;
	}
	if (within(r[REG_RIP], intercept_leave, intercept_leave_done)) {
		r[REG_RIP] = (greg_t)(uintptr_t)intercept_leave;
	} else if (within(r[REG_RIP], intercept_yield_leave, intercept_yield_done)) {
		r[REG_RIP] = (greg_t)(uintptr_t)intercept_yield_leave;
	} else if (within(r[REG_RIP], signal_landing_tail, signal_landing_end)) {
		r[REG_RIP] = (greg_t)(uintptr_t)signal_landing;
	}
	return false;
}

/* ---- to the landing ---------------------------------------------------------------- */

static size_t fx_size(const void *fx)
{
	uint32_t software[2];

	memcpy(software, (const char *)fx + FX_SOFTWARE, sizeof(software));
	return software[0] == FX_MAGIC && software[1] > FX_SIZE ? software[1] : FX_SIZE;
}

static bool is_within_stack(const stack_t *stack, uintptr_t sp)
{
	return !(stack->ss_flags & SS_DISABLE) && sp - (uintptr_t)stack->ss_sp <= stack->ss_size;
}

/* Makes the interrupted thread go on at the landing.  on: put the frame there; NULL:
 * below what it has on its stack. */
static void land(ucontext_t *context, void *on)
{
	greg_t *r = context->uc_mcontext.gregs;
	uintptr_t sp = on ? (uintptr_t)on : (uintptr_t)r[REG_RSP] - RED_ZONE;
	struct landing *landing;
	void *fx = context->uc_mcontext.fpregs;

	if (fx) {
		size_t size = fx_size(fx);
		sp = (sp - size) & ~(uintptr_t)63;
		memcpy((void *)sp, fx, size);
	}
	landing = (void *)((sp - sizeof(*landing)) & ~(uintptr_t)15);
	/* Of a ucontext_t the kernel writes only the beginning. */
	memset(landing, 0, sizeof(*landing));
	memcpy(&landing->context, context, offsetof(ucontext_t, uc_sigmask) + sizeof(uint64_t));
	landing->context.uc_mcontext.fpregs = fx ? (void *)sp : NULL;
	r[REG_RBX] = (greg_t)(uintptr_t)landing;
	r[REG_RSP] = (greg_t)(uintptr_t)landing;
	r[REG_RIP] = (greg_t)(uintptr_t)signal_landing;
}

/* The green thread whose own code was interrupted on this worker; NULL: none. */
static struct gt *interrupted(const struct worker *w, greg_t *r)
{
	struct gt *gt = w ? atomic_load_explicit(&w->current, memory_order_relaxed) : NULL;

	if (!gt || !intercept_on)
		return NULL;
	if (within(r[REG_RIP], __start_green_text, __stop_green_text))
		return !thread_of(gt)->detained && settle_tail(r) ? gt : NULL;
	return thread_of(gt)->detained || in_vdso(r[REG_RIP]) ? NULL : gt;
}

/* ---- handlers ------------------------------------------------------------------------ */

static void on_kick(int sig, siginfo_t *info, void *opaque)
{
	ucontext_t *context = opaque;
	struct worker *w = base_gs();

	(void)sig;
	if (info->si_code == SI_QUEUE)
		credentials_asked(info);
	struct gt *gt = interrupted(w, context->uc_mcontext.gregs);
	if (gt && (signal_look(gt) || atomic_load_explicit(&w->preempt, memory_order_relaxed)))
		land(context, NULL);
}

/* The default action, when the handler has returned and the instruction is tried again;
 * behind a trap, or a call that a filter has trapped, it is not. */
static void die_of(int sig)
{
	struct signal_action action;

	memset(&action, 0, sizeof(action));
	sys4(SYS_rt_sigaction, sig, &action, NULL, sizeof(action.mask));
	if (sig == SIGTRAP || sig == SIGSYS)
		sys3(SYS_tgkill, signals.pid, sys0(SYS_gettid), sig);
}

/* The intercepted call that the interrupted code works for; NULL: none.  The runtime's
 * functions have frame pointers, and the entry's frame is a struct call. */
static struct call *call_of(const greg_t *r)
{
	const uintptr_t *frame = (const uintptr_t *)r[REG_RBP];
	uintptr_t sp = (uintptr_t)r[REG_RSP];

	for (int i = 0; i < CALL_FRAMES_MAX; i++) {
		/* From frame to frame upwards, on one stack. */
		if ((uintptr_t)frame < sp || (uintptr_t)frame - sp > CALL_FRAMES_SPAN ||
		    (uintptr_t)frame % sizeof(*frame))
			return NULL;
		if (within((greg_t)frame[1], intercept_yield_entry, intercept_entry_end))
			return (struct call *)frame[0];
		sp = (uintptr_t)(frame + 2);
		frame = (const uintptr_t *)frame[0];
	}
	return NULL;
}

/* A handler of a call has followed a pointer of the program's to nowhere: the call says so.
 * (Handlers look at the program's memory while they hold no lock.) */
static bool bad_address(greg_t *r, struct gt *gt)
{
	struct call *c = call_of(r);

	if (!c)
		return false;
	thread_of(gt)->detained = false;
	thread_of(gt)->call = NULL;
	/* In the fast stage vector registers are as they were. */
	if ((uintptr_t)c->vector == CALL_VECTOR_LIVE)
		c->vector = NULL;
	r[REG_RDI] = (greg_t)(uintptr_t)c;
	r[REG_RSI] = -EFAULT;
	r[REG_RSP] = (greg_t)(uintptr_t)c - CALL_RED_ZONE;
	r[REG_RIP] = (greg_t)(uintptr_t)intercept_resume;
	return true;
}

/* No pointer of the program's, but the runtime's own frames: the thread's stack is full.  To
 * end the call with an error would lie to the program, and lead here again where its end
 * needs as much. */
static bool is_overflow(const siginfo_t *info, const greg_t *r)
{
	return (uintptr_t)info->si_addr - ((uintptr_t)r[REG_RSP] - NEAR_STACK) < 2 * NEAR_STACK;
}

/* As of a page that mprotect(2) has closed, which guards of stacks would be. */
static void fault_at_guard(siginfo_t *info)
{
	if (info->si_signo == SIGSEGV && info->si_code == SEGV_MAPERR &&
	    stack_region_at((uintptr_t)info->si_addr))
		info->si_code = SEGV_ACCERR;
}

/* A filter of the program's (seccomp(2)) has trapped what the runtime called for it: the
 * handler runs at the end of the call, and makes its result. */
RACY static bool is_trapped(siginfo_t *info, struct gt *gt)
{
	struct thread *t = thread_of(gt);
	void (*handler)(int) = signals.actions[SIGSYS].handler.plain;

	return handler != SIG_DFL && handler != SIG_IGN &&
	       !(signal_mask_of(t) & SIGNAL_BIT(SIGSYS)) && signal_send(t, info, false) >= 0;
}

static bool on_behalf(int sig, siginfo_t *info, greg_t *r, const struct worker *w)
{
	struct gt *gt = atomic_load_explicit(&w->current, memory_order_relaxed);

	if (!gt)
		return false;
	if (sig == SIGSYS)
		return is_trapped(info, gt);
	return (sig == SIGSEGV || sig == SIGBUS) && !is_overflow(info, r) && bad_address(r, gt);
}

/* A fault of the program's own code, or of the runtime on behalf of it. */
static bool on_program_fault(int sig, siginfo_t *info, void *opaque)
{
	ucontext_t *context = opaque;
	struct worker *w = base_gs();
	struct gt *gt = interrupted(w, context->uc_mcontext.gregs);

	if (user_faulted(context))
		return true;
	if (!signal_code_is_fault(info))
		return false;
	if (!gt)
		return w && intercept_on && on_behalf(sig, info, context->uc_mcontext.gregs, w);
	fault_at_guard(info);
	struct thread *t = thread_of(gt);
	spin_lock(&signals.lock);
	struct signal_action action = signals.actions[sig];
	spin_unlock(&signals.lock);
	if (action.handler.plain == SIG_DFL || action.handler.plain == SIG_IGN ||
	    (signal_mask_of(t) & SIGNAL_BIT(sig)) || signal_send(t, info, false) < 0)
		return false;
	/* Its stack may be full: so not on that, if the program says so. */
	bool elsewhere =
		(action.flags & SA_ONSTACK) && t->altstack.ss_size &&
		!is_within_stack(&t->altstack, (uintptr_t)context->uc_mcontext.gregs[REG_RSP]);
	land(context, elsewhere ? (char *)t->altstack.ss_sp + t->altstack.ss_size : NULL);
	return true;
}

static void on_fault(int sig, siginfo_t *info, void *context)
{
	if (!on_program_fault(sig, info, context)) {
		if (info->si_code > 0)
			die_of(sig);
		else
			signal_real(sig, info, context);
	}
}

/* ---- kicking ---------------------------------------------------------------------------- */

void kick_tid(int tid)
{
	sys3(SYS_tgkill, signals.pid, tid, SIGNAL_KICK);
}

void kick_gt(const struct gt *gt)
{
	for (unsigned i = 0; i < rt.workers_count; i++) {
		struct worker *w = worker_at(i);
		if (atomic_load_explicit(&w->current, memory_order_seq_cst) == gt)
			kick_tid(w->tid);
	}
}

/* ---- installing ----------------------------------------------------------------------------- */

void signal_install(int sig, void (*handler)(int, siginfo_t *, void *), unsigned long flags)
{
	struct signal_action action = {
		.handler.info = handler,
		.flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART | SIGNAL_RESTORER | flags,
		.restorer = signal_restorer,
		.mask = ~(uint64_t)0 & ~SIGNALS_OF_FAULTS,
	};

	sys4(SYS_rt_sigaction, sig, &action, NULL, sizeof(action.mask));
}

/* SIGSEGV and SIGBUS are the runtime's own first (fault.c); its handler came through
 * libc, with libc's restorer. */
static void keep_fault_handler(int sig)
{
	struct signal_action action;

	if (sys4(SYS_rt_sigaction, sig, NULL, &action, sizeof(action.mask)) < 0)
		return;
	action.flags |= SIGNAL_RESTORER;
	action.restorer = signal_restorer;
	action.mask = ~(uint64_t)0 & ~SIGNALS_OF_FAULTS;
	sys4(SYS_rt_sigaction, sig, &action, NULL, sizeof(action.mask));
}

void kick_hear_faults(void)
{
	fault_hook = on_program_fault;
}

void kick_start(void)
{
	static const int faults[] = { SIGFPE, SIGILL, SIGTRAP };

	for (unsigned i = 0; i < sizeof(faults) / sizeof(faults[0]); i++)
		signal_install(faults[i], on_fault, 0);
	fault_hook = on_program_fault;
	dispatch_other = on_fault;
	if (!dispatch_started)
		signal_install(SIGSYS, on_fault, 0);
	keep_fault_handler(SIGSEGV);
	keep_fault_handler(SIGBUS);
	signal_install(SIGNAL_KICK, on_kick, 0);
}
