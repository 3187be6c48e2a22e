/* SPDX-License-Identifier: MIT
 *
 * green-signals: the OS thread that takes the signals of the process.
 *
 * It lets them through only inside rt_sigsuspend(2), so the handler runs at a known
 * place and only says what came.  A debugger sees signals arrive there.
 *
 * What all green threads block it gives back to the kernel and blocks itself, from then
 * on: signals.held.  Whoever stops blocking, or awaits, one of those takes it out of
 * there and kicks green-signals.  In which order: it sets the bit, then looks for takers
 * once more; they become takers, then look at the bit.
 */
#include "arch/os_thread.h"
#include "intercept/dispatch.h"
#include "intercept/kick.h"
#include "intercept/posix_timer.h"
#include "intercept/signal.h"
#include "intercept/tally.h"
#include "options.h"

#include <errno.h>
#include <limits.h>
#include <linux/membarrier.h>
#include <pthread.h>
#include <string.h>
#include <sys/prctl.h>

#define STACK_SIZE ((size_t)128 << 10)
#define SIGNALS_STOP \
	(SIGNAL_BIT(SIGTSTP) | SIGNAL_BIT(SIGTTIN) | SIGNAL_BIT(SIGTTOU) | SIGNAL_BIT(SIGSTOP))
/* The si_code of what another OS thread got and sends on; the true one is si_errno. */
#define FORWARDED (INT_MIN + 1)

struct signals signals;

static siginfo_t came; /* by the handler, in green-signals; si_signo 0: nothing */

/* ---- what the kernel does ---------------------------------------------------------- */

/* Handlers of the program run by us alone; that it ignores a signal, or does not care for
 * its children, is for the kernel to know, and for programs that it executes. */
void signal_set_real(int sig)
{
	struct signal_action *action = &signals.actions[sig], plain;
	unsigned long flags = action->flags & (SA_NOCLDSTOP | SA_NOCLDWAIT);

	if ((SIGNALS_REAL | SIGNALS_UNBLOCKABLE | SIGNAL_BIT(SIGNAL_OFFLOAD)) & SIGNAL_BIT(sig))
		return;
	if (action->handler.plain != SIG_IGN ||
	    (atomic_load_explicit(&signals.awaited, memory_order_relaxed) & SIGNAL_BIT(sig))) {
		signal_install(sig, signal_real, sig == SIGCHLD ? flags : 0);
		return;
	}
	memset(&plain, 0, sizeof(plain));
	plain.handler.plain = SIG_IGN;
	sys4(SYS_rt_sigaction, sig, &plain, NULL, sizeof(plain.mask));
}

void signal_default(const siginfo_t *info)
{
	int sig = info->si_signo;
	uint64_t only = ~SIGNAL_BIT(sig), before;
	struct signal_action plain;

	if (sig == SIGCONT || signal_is_ignored(sig))
		return;
	if (!(SIGNALS_STOPPING & SIGNAL_BIT(sig)))
		tally_end();
	memset(&plain, 0, sizeof(plain));
	sys4(SYS_rt_sigaction, sig, &plain, NULL, sizeof(plain.mask));
	sys4(SYS_rt_tgsigqueueinfo, signals.pid, sys0(SYS_gettid), sig, info);
	/* Here the process ends, or stops until it is continued. */
	sys4(SYS_rt_sigprocmask, SIG_SETMASK, &only, &before, sizeof(only));
	sys4(SYS_rt_sigprocmask, SIG_SETMASK, &before, NULL, sizeof(only));
	signal_set_real(sig);
}

/* In a handler: green-signals looks at it; for any other OS thread it was a mistake
 * (it unblocks signals for a moment, about to execute a program). */
void signal_real(int sig, siginfo_t *info, void *context)
{
	int tid = atomic_load_explicit(&signals.tid, memory_order_relaxed);

	(void)context;
	if ((int)sys0(SYS_gettid) == tid) {
		came = *info;
		return;
	}
	siginfo_t sent = *info;
	/* The kernel takes no such code for another thread. */
	if (sent.si_code >= 0 || sent.si_code == SI_TKILL) {
		sent.si_errno = sent.si_code;
		sent.si_code = FORWARDED;
	}
	sys4(SYS_rt_tgsigqueueinfo, signals.pid, tid, sig, &sent);
}

/* ---- hold and unhold ------------------------------------------------------------------ */

/* The kernel takes the codes of kill(2) and its own from a thread for itself alone: by that
 * thread's tid, which names the whole process here. */
static long queue_real(const siginfo_t *info)
{
	return sys3(SYS_rt_sigqueueinfo, sys0(SYS_gettid), info->si_signo, info);
}

void signal_give_back(const siginfo_t *info)
{
	uint64_t bit = SIGNAL_BIT(info->si_signo);

	atomic_fetch_or_explicit(&signals.held, bit, memory_order_seq_cst);
	queue_real(info);
	/* Somebody may take it since, and have seen no bit. */
	if (signal_has_taker(info->si_signo))
		signals_unhold(bit);
}

void signal_hold(int sig)
{
	uint64_t bit = SIGNAL_BIT(sig);

	if (atomic_fetch_or_explicit(&signals.held, bit, memory_order_seq_cst) & bit)
		return;
	kick_tid(atomic_load_explicit(&signals.tid, memory_order_relaxed));
	while ((atomic_load_explicit(&signals.held, memory_order_seq_cst) & bit) &&
	       !(atomic_load_explicit(&signals.adopted, memory_order_seq_cst) & bit))
		sys0(SYS_sched_yield);
}

long signal_leave_to_kernel(const siginfo_t *info)
{
	signal_hold(info->si_signo);
	return queue_real(info);
}

void signals_unhold(uint64_t which)
{
	uint64_t held = atomic_fetch_and_explicit(&signals.held, ~which, memory_order_seq_cst);

	if (held & which)
		kick_tid(atomic_load_explicit(&signals.tid, memory_order_relaxed));
}

/* ---- the thread ------------------------------------------------------------------------ */

static void route(const siginfo_t *info)
{
	siginfo_t sent = *info;

	if (sent.si_code == FORWARDED) {
		sent.si_code = sent.si_errno;
		sent.si_errno = 0;
	}
	struct thread *t = posix_timer_target(&sent);
	if (t)
		signal_send(t, &sent, false);
	else if (!signal_send_process(&sent, NULL))
		signal_give_back(&sent);
}

void signal_gather(int sig)
{
	const uint64_t bit = SIGNAL_BIT(sig);
	const struct timespec now = { 0, 0 };
	siginfo_t info;

	if (!atomic_load_explicit(&signals.tid, memory_order_acquire) ||
	    (atomic_load_explicit(&signals.held, memory_order_seq_cst) & bit))
		return;
	signal_hold(sig);
	while (sys4(SYS_rt_sigtimedwait, &bit, &info, &now, sizeof(bit)) == sig)
		route(&info);
	signals_unhold(bit);
}

static void *serve(void *unused)
{
	uint64_t all = ~SIGNALS_OF_FAULTS;

	(void)unused;
	prctl(PR_SET_NAME, "green-signals");
	cpus_unbind();
	sys4(SYS_rt_sigprocmask, SIG_SETMASK, &all, NULL, sizeof(all));
	atomic_store_explicit(&signals.tid, (int)sys0(SYS_gettid), memory_order_release);
	sys_futex_wake((const uint32_t *)&signals.tid, 1);
	for (;;) {
		uint64_t held = atomic_load_explicit(&signals.held, memory_order_seq_cst);
		atomic_store_explicit(&signals.adopted, held, memory_order_seq_cst);
		came.si_signo = 0;
		sys2(SYS_rt_sigsuspend, &held, sizeof(held));
		if (came.si_signo)
			route(&came);
	}
	return NULL;
}

int signals_serve(void)
{
	pthread_t thread;
	int r = os_thread_start(&thread, serve, NULL, STACK_SIZE, true);

	if (r)
		return r;
	pthread_detach(thread);
	while (!atomic_load_explicit(&signals.tid, memory_order_acquire))
		sys_futex_wait((const uint32_t *)&signals.tid, 0, INT64_MAX);
	/* Not earlier: libc installed its own for that signal with the first thread. */
	sys4(SYS_rt_sigaction, SIGNAL_KICK, NULL, &signals.actions[SIGNAL_KICK],
	     sizeof(signals.real_mask));
	kick_start();
	return 0;
}

/* ---- start ------------------------------------------------------------------------------- */

void signals_start(void)
{
	uint64_t before;

	signals.pid = (int)sys0(SYS_getpid);
	signals.real_mask = ~SIGNALS_REAL;
	sys3(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0);
	sys4(SYS_rt_sigprocmask, SIG_SETMASK, &signals.real_mask, &before, sizeof(before));
	sys2(SYS_sigaltstack, NULL, &signals.first_stack);
	signals.first_stack.ss_flags &= ~SS_ONSTACK;
	signals.first_mask = before & ~SIGNALS_UNBLOCKABLE;
	for (int sig = 1; sig <= SIGNAL_COUNT; sig++) {
		sys4(SYS_rt_sigaction, sig, NULL, &signals.actions[sig], sizeof(before));
		signal_set_real(sig);
	}
	if (dispatch_started)
		memcpy(&signals.actions[SIGSYS], dispatch_replaced,
		       sizeof(signals.actions[SIGSYS]));
}

void signals_undo(void)
{
	for (int sig = 1; sig <= SIGNAL_COUNT; sig++)
		if (!(dispatch_started && sig == SIGSYS))
			sys4(SYS_rt_sigaction, sig, &signals.actions[sig], NULL,
			     sizeof(signals.first_mask));
	sys4(SYS_rt_sigprocmask, SIG_SETMASK, &signals.first_mask, NULL,
	     sizeof(signals.first_mask));
}

void signal_thread_begin(struct thread *t, const struct thread *parent)
{
	t->sigmask_swapped = false;
	t->altstack = (stack_t){ .ss_flags = SS_DISABLE };
	if (!parent)
		t->altstack = signals.first_stack;
	atomic_store_explicit(&t->awaited, 0, memory_order_relaxed);
	atomic_store_explicit(&t->sigmask, parent ? signal_mask_of(parent) : signals.first_mask,
	                      memory_order_relaxed);
}

void signal_thread_end(struct thread *t)
{
	/* Nothing is taken any more, so what came for the process goes on to others. */
	signal_set_mask(t, ~(uint64_t)0);
	spin_lock(&signals.lock);
	for (struct signal_record *r; (r = signal_take(t, ~(uint64_t)0));)
		signal_record_put(r);
	spin_unlock(&signals.lock);
}
