/* SPDX-License-Identifier: MIT
 *
 * The handler of SIGSEGV and SIGBUS, and the stacks it runs on.
 */
#include "fault.h"
#include "flight.h"
#include "overflow.h"
#include "symbol.h"
#include "worker.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef AT_MINSIGSTKSZ
#define AT_MINSIGSTKSZ 51
#endif
#define SIGNAL_STACK_SIZE ((size_t)64 << 10)
#define SIGNAL_STACK_SPARE ((size_t)48 << 10) /* beside the kernel's frame */

static const int fault_signals[] = { SIGSEGV, SIGBUS };
#define FAULT_SIGNALS (sizeof(fault_signals) / sizeof(fault_signals[0]))

/* What was there before, by index of fault_signals.  Written before the
 * handler is installed; a SA_RESETHAND action resets itself. */
static struct sigaction before[FAULT_SIGNALS];

bool (*fault_hook)(int sig, siginfo_t *info, void *context);

static struct sigaction *action_before(int sig)
{
	return &before[sig == SIGBUS];
}

/* ---- passing on ------------------------------------------------------------- */

/* By the kernel's own call: libc's would pass interception. */
static void set_default(int sig)
{
	struct { /* the kernel's struct sigaction */
		void (*handler)(int);
		unsigned long flags;
		void (*restorer)(void);
		uint64_t mask;
	} action;

	memset(&action, 0, sizeof(action));
	sys4(SYS_rt_sigaction, sig, &action, NULL, sizeof(action.mask));
}

/* Once more, for the default action to see when the handler returns and the
 * signal is unblocked: it would not come again by itself. */
static void send_again(int sig, siginfo_t *info)
{
	sys4(SYS_rt_tgsigqueueinfo, sys0(SYS_getpid), sys0(SYS_gettid), sig, info);
}

/* The signals that the kernel would have blocked for that handler. */
static void set_mask(int sig, const struct sigaction *action, const void *context)
{
	uint64_t mask, more;

	memcpy(&mask, &((const ucontext_t *)context)->uc_sigmask, sizeof(mask));
	memcpy(&more, &action->sa_mask, sizeof(more));
	mask |= more;
	if (!(action->sa_flags & SA_NODEFER))
		mask |= (uint64_t)1 << (sig - 1);
	sys4(SYS_rt_sigprocmask, SIG_SETMASK, &mask, NULL, sizeof(mask));
}

/* The signal ends the process: what this worker did before, if it was asked for. */
static void report_crash(int sig)
{
	struct symbols symbols;
	struct report r;

	if (!debug_has("flight") || !worker_self())
		return;
	report_begin(&r, 2);
	symbols_begin(&symbols);
	report_str(&r, sig == SIGBUS ? "libgreen: killed by SIGBUS\n"
	                             : "libgreen: killed by SIGSEGV\n");
	flight_report(&r, &symbols, worker_self());
	symbols_end(&symbols);
	report_end(&r);
}

/* Does what the kernel would have done had the handler not been there.  One
 * difference remains: a handler without SA_ONSTACK runs on the alternate stack
 * too. */
static void pass_on(int sig, siginfo_t *info, void *context)
{
	struct sigaction action = *action_before(sig);
	bool is_sent = info->si_code <= 0;
	/* Instead of a signal that the full stack had no room for, or of a general fault. */
	bool comes_again = !is_sent && info->si_code != SI_KERNEL;

	if (action.sa_handler == SIG_IGN && is_sent)
		return;
	if (action.sa_handler == SIG_DFL || action.sa_handler == SIG_IGN) {
		/* A fault happens again when the handler returns, and a fault
		 * cannot be ignored. */
		report_crash(sig);
		set_default(sig);
		if (!comes_again)
			send_again(sig, info);
		return;
	}
	if (action.sa_flags & (int)SA_RESETHAND)
		action_before(sig)->sa_handler = SIG_DFL;
	set_mask(sig, &action, context);
	if (action.sa_flags & SA_SIGINFO)
		action.sa_sigaction(sig, info, context);
	else
		action.sa_handler(sig);
}

static void on_fault(int sig, siginfo_t *info, void *context)
{
	/* A page that was brought back, or a guard: which from now on is one by
	 * SIGSEGV, as on all rungs. */
	if (sig == SIGBUS && info->si_code == BUS_ADRERR &&
	    (stack_touched(info->si_addr) || stack_guard_deadly(info->si_addr)))
		return;
	switch (info->si_code > 0 ? overflow_handle(info, context) : OVERFLOW_NONE) {
	case OVERFLOW_NONE:
		if (!fault_hook || !fault_hook(sig, info, context))
			pass_on(sig, info, context);
		return;
	case OVERFLOW_FATAL:
		/* Return into the fault: it kills, and the core dump shows it. */
		set_default(sig);
		return;
	case OVERFLOW_FATAL_SIGNAL:
		/* A signal that could not be delivered is not tried again. */
		set_default(sig);
		send_again(sig, info);
		return;
	case OVERFLOW_SETTLED:
		return;
	}
}

/* ---- installing ------------------------------------------------------------- */

static bool is_ours(const struct sigaction *action)
{
	return (action->sa_flags & SA_SIGINFO) && action->sa_sigaction == on_fault;
}

/* Back to what was there, for the first count signals. */
static void restore(size_t count)
{
	struct sigaction now;

	for (size_t i = 0; i < count; i++)
		if (sigaction(fault_signals[i], NULL, &now) == 0 && is_ours(&now))
			sigaction(fault_signals[i], &before[i], NULL);
}

int fault_init(void)
{
	struct sigaction action, old;

	overflow_init();
	memset(&action, 0, sizeof(action));
	action.sa_sigaction = on_fault;
	action.sa_flags = SA_SIGINFO | SA_ONSTACK;
	sigemptyset(&action.sa_mask);
	for (size_t i = 0; i < FAULT_SIGNALS; i++) {
		if (sigaction(fault_signals[i], NULL, &old) < 0) {
			int error = errno;
			restore(i);
			return -error;
		}
		/* A program that saved our handler may have put it back. */
		if (!is_ours(&old))
			before[i] = old;
		if (sigaction(fault_signals[i], &action, NULL) < 0) {
			int error = errno;
			restore(i);
			return -error;
		}
	}
	return 0;
}

void fault_fini(void)
{
	restore(FAULT_SIGNALS);
}

/* ---- alternate stacks ------------------------------------------------------- */

/*      low                                   high
 *      | no access | stack ............. | this |  */
struct signal_stack {
	stack_t before;
	void *mapping;
	size_t size;
};

static size_t signal_stack_size(void)
{
	size_t needed = getauxval(AT_MINSIGSTKSZ) + SIGNAL_STACK_SPARE;

	return needed > SIGNAL_STACK_SIZE ? needed : SIGNAL_STACK_SIZE;
}

static struct signal_stack *signal_stack_new(size_t guard, long *error)
{
	size_t page = guard - 1;
	size_t size = (guard + signal_stack_size() + sizeof(struct signal_stack) + page) & ~page;
	char *mapping = sys_map(size, SYS_MAP_STACK, error);

	if (!mapping)
		return NULL;
	sys_name(mapping, size, "green signal stack");
	if ((*error = sys3(SYS_mprotect, mapping, guard, PROT_NONE)) < 0) {
		sys_unmap(mapping, size);
		return NULL;
	}
	struct signal_stack *s = (void *)(mapping + size - sizeof(*s));
	s->mapping = mapping;
	s->size = size;
	return s;
}

int fault_worker_start(struct worker *w)
{
	size_t guard = (size_t)sysconf(_SC_PAGESIZE);
	long error;
	struct signal_stack *s = signal_stack_new(guard, &error);

	if (!s)
		return (int)error;
	stack_t stack = { .ss_sp = (char *)s->mapping + guard };
	stack.ss_size = (size_t)((char *)s - (char *)stack.ss_sp);
	error = sys2(SYS_sigaltstack, &stack, &s->before);
	if (error < 0) {
		sys_unmap(s->mapping, s->size);
		return (int)error;
	}
	w->signal_stack = s;
	return 0;
}

void fault_worker_stop(struct worker *w)
{
	struct signal_stack *s = w->signal_stack;

	/* Only bad arguments can make this fail, and these came from the kernel. */
	sys2(SYS_sigaltstack, &s->before, NULL);
	w->signal_stack = NULL;
	sys_unmap(s->mapping, s->size);
}
