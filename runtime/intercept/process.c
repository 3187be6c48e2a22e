/* SPDX-License-Identifier: MIT
 *
 * fork(2) and execve(2).
 */
#include "intercept/process.h"
#include "arch/base.h"
#include "intercept/heir.h"
#include "intercept/kick.h"
#include "intercept/signal.h"

#include <signal.h>

/* ---- the child ---------------------------------------------------------------- */

/* What was kept for the program is the kernel's again. */
static void hand_back_signals(const struct thread *t)
{
	stack_t stack = signal_stack_of(t, (uintptr_t)__builtin_frame_address(0));
	uint64_t mask = signal_mask_of(t);

	for (int sig = 1; sig <= SIGNAL_COUNT; sig++)
		sys4(SYS_rt_sigaction, sig, &signals.actions[sig], NULL, sizeof(mask));
	stack.ss_flags &= ~SS_ONSTACK;
	sys2(SYS_sigaltstack, &stack, NULL);
	sys4(SYS_rt_sigprocmask, SIG_SETMASK, &mask, NULL, sizeof(mask));
}

/* From here on this OS thread is the program's: the runtime's, and its workers', are the
 * parent's. */
static void become_native(struct thread *t)
{
	base_set_gs(NULL);
	cpus_of_thread(t);
	hand_back_signals(t);
}

long process_fork(struct call *c)
{
	struct thread *t = thread_self();
	long r = call_real(c);

	if (r == 0) {
		heir_forked(c);
		become_native(t);
	}
	return r;
}

long call_fork(struct call *c)
{
	return process_fork(c);
}

/* ---- another program ------------------------------------------------------------- */

/* The mask, the CPUs and what is ignored pass to the program executed; handlers do not. */
static long execute(const struct call *c)
{
	const struct thread *t = thread_self();
	uint64_t mask = signal_mask_of(t);

	/* Only if nobody executes are those that somebody awaited ours again. */
	uint64_t awaited = atomic_exchange_explicit(&signals.awaited, 0, memory_order_relaxed);
	spin_lock(&signals.lock);
	for (int sig = 1; sig <= SIGNAL_COUNT; sig++)
		if (awaited & SIGNAL_BIT(sig))
			signal_set_real(sig);
	spin_unlock(&signals.lock);
	sys4(SYS_rt_sigprocmask, SIG_SETMASK, &mask, NULL, sizeof(mask));
	cpus_of_thread(t);
	long r = call_real(c);
	cpus_of_worker(t);
	sys4(SYS_rt_sigprocmask, SIG_SETMASK, &signals.real_mask, NULL, sizeof(mask));
	atomic_fetch_or_explicit(&signals.awaited, awaited, memory_order_relaxed);
	return r;
}

long call_execve(struct call *c)
{
	return execute(c);
}

long call_execveat(struct call *c)
{
	return execute(c);
}
