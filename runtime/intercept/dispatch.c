/* SPDX-License-Identifier: MIT
 *
 * Arming, and the handler of SIGSYS.
 */
#include "intercept/dispatch.h"
#include "intercept/entry.h"
#include "worker.h"
#include "arch/cpu.h"
#include "arch/sys.h"

#include <errno.h>
#include <linux/audit.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#ifndef PR_SET_SYSCALL_USER_DISPATCH
#define PR_SET_SYSCALL_USER_DISPATCH 59
#define PR_SYS_DISPATCH_OFF 0
#define PR_SYS_DISPATCH_ON 1
#endif
#ifndef SYS_USER_DISPATCH
#define SYS_USER_DISPATCH 2 /* si_code */
#endif
#define SA_RESTORER_FLAG 0x04000000

/* struct _fpx_sw_bytes: an XSAVE area, not only what FXSAVE knows. */
#define FX_MAGIC_AT 464
#define FX_MAGIC 0x46505853u

/* As the kernel wants it. */
struct kernel_action {
	void *handler;
	unsigned long flags;
	void (*restorer)(void);
	uint64_t mask;
};

/* Signals that tell of a fault: never blocked while the handler runs. */
#define FAULTS                                                        \
	((uint64_t)1 << (SIGSEGV - 1) | (uint64_t)1 << (SIGBUS - 1) | \
	 (uint64_t)1 << (SIGILL - 1) | (uint64_t)1 << (SIGFPE - 1) | (uint64_t)1 << (SIGTRAP - 1))

/* The library's code (Makefile): all system calls of the runtime lie there, but for those
 * that liburing makes when a ring is set up, which pass the entry like anybody's. */
extern internal const char __start_green_text[], __stop_green_text[];

bool dispatch_started;
void (*dispatch_other)(int sig, siginfo_t *info, void *context);

static struct kernel_action before;
const void *const dispatch_replaced = &before;
static _Atomic bool trying, tried;  /* the probe's call; it arrived */
static _Atomic uint64_t dispatched; /* calls */
static struct dispatch_site sites[DISPATCH_SITES];

/* ---- counting ---------------------------------------------------------------- */

/* A site, once entered, stays: readers need no lock. */
static void count_site(uintptr_t pc, uint32_t nr)
{
	size_t at = (pc * 0x9e3779b97f4a7c15u) >> 55;

	_Static_assert(DISPATCH_SITES == 1u << (64 - 55), "the hash has as many bits");
	atomic_fetch_add_explicit(&dispatched, 1, memory_order_relaxed);
	for (unsigned probe = 0; probe < 8; probe++, at = (at + 1) % DISPATCH_SITES) {
		struct dispatch_site *s = &sites[at];
		uintptr_t there = atomic_load_explicit(&s->pc, memory_order_relaxed);

		if (!there)
			atomic_compare_exchange_strong_explicit(&s->pc, &there, pc,
			                                        memory_order_relaxed,
			                                        memory_order_relaxed);
		if (there && there != pc)
			continue;
		atomic_store_explicit(&s->nr, nr, memory_order_relaxed);
		atomic_fetch_add_explicit(&s->count, 1, memory_order_relaxed);
		return;
	}
}

const struct dispatch_site *dispatch_sites(void)
{
	return sites;
}

uint64_t dispatch_count(void)
{
	return atomic_load_explicit(&dispatched, memory_order_relaxed);
}

/* ---- the handler ------------------------------------------------------------- */

/* A call of the 32-bit table (int $0x80): made right here, unseen by the emulation.  The
 * instruction lies in the runtime's text, and so is not dispatched. */
static void call_32(greg_t *regs)
{
	long result = regs[REG_RAX];
	long ebp = regs[REG_RBP];

	__asm__ volatile("xchg %%rbp, %1\n\tint $0x80\n\txchg %%rbp, %1"
	                 : "+a"(result), "+r"(ebp)
	                 : "b"(regs[REG_RBX]), "c"(regs[REG_RCX]), "d"(regs[REG_RDX]),
	                   "S"(regs[REG_RSI]), "D"(regs[REG_RDI])
	                 : "memory", "r8", "r9", "r10", "r11");
	regs[REG_RAX] = result;
}

/* No call that was dispatched: the program's, or as if we were not here.  All but faults
 * wait meanwhile, until the return by rt_sigreturn(2). */
static void pass_on(int sig, siginfo_t *info, void *context)
{
	struct kernel_action action = { .handler = SIG_DFL };
	uint64_t others = ~(FAULTS | DISPATCH_SIGNAL);

	sys4(SYS_rt_sigprocmask, SIG_BLOCK, &others, NULL, sizeof(others));
	if (dispatch_other) {
		dispatch_other(sig, info, context);
		return;
	}
	sys4(SYS_rt_sigaction, sig, &action, NULL, sizeof(action.mask));
	sys4(SYS_rt_tgsigqueueinfo, sys0(SYS_getpid), sys0(SYS_gettid), sig, info);
}

/* Is the vector state in the frame, so that an XRSTOR puts it back? */
static bool has_vector_state(const ucontext_t *context)
{
	const uint32_t *fx = (const uint32_t *)context->uc_mcontext.fpregs;

	return fx && fx[FX_MAGIC_AT / sizeof(*fx)] == FX_MAGIC;
}

/* Uses no other system call than the above, and nothing of libc's: the program may be
 * anywhere, with a lock of malloc's or the loader's. */
bool dispatch_signal(int sig, siginfo_t *info, void *context)
{
	greg_t *regs = ((ucontext_t *)context)->uc_mcontext.gregs;

	if (info->si_code != SYS_USER_DISPATCH) {
		pass_on(sig, info, context);
		return false;
	}
	if (atomic_load_explicit(&trying, memory_order_relaxed)) {
		atomic_store_explicit(&tried, true, memory_order_relaxed);
		regs[REG_RAX] = 0;
		return false;
	}
	count_site((uintptr_t)regs[REG_RIP], (uint32_t)regs[REG_RAX]);
	if (info->si_arch != AUDIT_ARCH_X86_64) {
		call_32(regs);
		return false;
	}
	/* Its stack pointer says where the frame lies: issued again as it was. */
	if (regs[REG_RAX] == SYS_rt_sigreturn) {
		regs[REG_RIP] = (greg_t)(uintptr_t)dispatch_restorer;
		return false;
	}
	if (likely(has_vector_state(context)))
		return true;
	regs[REG_RCX] = regs[REG_RIP];
	regs[REG_RIP] = (greg_t)(uintptr_t)intercept_entry;
	return false;
}

/* ---- arming ------------------------------------------------------------------ */

static long set_dispatch(unsigned long how)
{
	bool on = how == PR_SYS_DISPATCH_ON;

	struct worker *w = worker_self();

	if (w)
		w->gate = GATE_SHUT;
	/* Without a worker's byte all calls from elsewhere are dispatched, as with one but for
	 * the moment of a probe (probes.c). */
	return sys5(SYS_prctl, PR_SET_SYSCALL_USER_DISPATCH, how, on ? __start_green_text : NULL,
	            on ? (uintptr_t)__stop_green_text - (uintptr_t)__start_green_text : 0,
	            on && w ? &w->gate : NULL);
}

int dispatch_arm(void)
{
	return dispatch_started ? (int)set_dispatch(PR_SYS_DISPATCH_ON) : 0;
}

void dispatch_disarm(void)
{
	if (dispatch_started)
		set_dispatch(PR_SYS_DISPATCH_OFF);
}

/* No signal waits for the handler to end: it is in the runtime's text, where one leaves
 * everything as it is (kick.c), and has nothing that another call of it could spoil. */
static long install(void)
{
	struct kernel_action action = {
		.handler = (void *)(uintptr_t)dispatch_handler,
		.flags = SA_SIGINFO | SA_NODEFER | SA_RESTORER_FLAG,
		.restorer = dispatch_restorer,
	};
	uint64_t open = DISPATCH_SIGNAL;

	sys4(SYS_rt_sigprocmask, SIG_UNBLOCK, &open, NULL, sizeof(open));
	return sys4(SYS_rt_sigaction, SIGSYS, &action, &before, sizeof(action.mask));
}

/* Whether a call of libc's arrives: some sandboxes know the prctl and do nothing. */
static long try_dispatch(void)
{
	long r = set_dispatch(PR_SYS_DISPATCH_ON);

	if (r < 0)
		return r;
	atomic_store_explicit(&tried, false, memory_order_relaxed);
	atomic_store_explicit(&trying, true, memory_order_relaxed);
	syscall(SYS_getppid);
	atomic_store_explicit(&trying, false, memory_order_relaxed);
	set_dispatch(PR_SYS_DISPATCH_OFF);
	return atomic_load_explicit(&tried, memory_order_relaxed) ? 0 : -ENOSYS;
}

int dispatch_start(const char **why)
{
	long r = install();

	if (r < 0) {
		*why = "no handler of SIGSYS can be installed";
		return (int)r;
	}
	r = try_dispatch();
	if (r < 0) {
		sys4(SYS_rt_sigaction, SIGSYS, &before, NULL, sizeof(before.mask));
		*why = r == -EINVAL ? "the kernel has no syscall user dispatch (Linux 5.11 has)"
		       : r == -ENOSYS
		               ? "the kernel dispatches no calls though it says that it would"
		               : "syscall user dispatch is not permitted (seccomp)";
		return (int)r;
	}
	dispatch_started = true;
	return 0;
}

void dispatch_stop(void)
{
	if (!dispatch_started)
		return;
	set_dispatch(PR_SYS_DISPATCH_OFF);
	sys4(SYS_rt_sigaction, SIGSYS, &before, NULL, sizeof(before.mask));
	dispatch_started = false;
}
