/* SPDX-License-Identifier: MIT
 *
 * Blocking calls on the offload pool.
 */
#include "intercept/blocking.h"
#include "intercept/dispatch.h"
#include "intercept/signal.h"
#include "offload.h"

#include <errno.h>
#include <signal.h>

#define INTERRUPT_SIGNAL 32
#define INTERRUPT_MASK ((uint64_t)1 << (INTERRUPT_SIGNAL - 1))
#define INTERRUPT_FIRST_NS GREEN_US(20)
#define INTERRUPT_LAST_NS GREEN_MS(5)

#ifndef SA_RESTORER
#define SA_RESTORER 0x04000000
#endif

/* On the caller's stack, which stays until the pool is done with it. */
struct blocking {
	const struct call *call;
	long result;
	int sig;         /* that the call has earned */
	_Atomic int tid; /* of the pool's thread, while it may be in the call */
	_Atomic bool ended;
};

/* ---- the signal that ends it ----------------------------------------------------- */

struct kernel_action {
	void (*handler)(int sig);
	unsigned long flags;
	void (*restorer)(void);
	uint64_t mask;
};

/* That it comes at all ends a call. */
static void on_interrupt(int sig)
{
	(void)sig;
}

static void install_handler(void)
{
	static _Atomic bool installed;
	const struct kernel_action action = { .handler = on_interrupt,
		                              .flags = SA_RESTORER,
		                              .restorer = dispatch_restorer };

	if (atomic_exchange_explicit(&installed, true, memory_order_relaxed))
		return;
	sys4(SYS_rt_sigaction, INTERRUPT_SIGNAL, &action, NULL, sizeof(action.mask));
}

static void *blocking_do(void *arg)
{
	struct blocking *b = arg;
	const uint64_t mask = INTERRUPT_MASK;

	atomic_store_explicit(&b->tid, (int)sys0(SYS_gettid), memory_order_release);
	sys4(SYS_rt_sigprocmask, SIG_UNBLOCK, &mask, NULL, sizeof(mask));
	b->result = call_real(b->call);
	b->sig = signal_earned(b->result);
	sys4(SYS_rt_sigprocmask, SIG_BLOCK, &mask, NULL, sizeof(mask));
	/* Release: the result; pairs with the acquire in blocking_end(). */
	atomic_store_explicit(&b->ended, true, memory_order_release);
	return NULL;
}

static void rest(int64_t ns)
{
	struct park_ticket ticket = park_begin(gt_self(), PARK_SLEEP, NULL, NULL);

	park_commit(ticket, PARK_SHIELDED, sys.now() + ns);
}

/* Its caller's wait has been ended while it runs. */
static void blocking_end(void *arg)
{
	struct blocking *b = arg;
	int64_t ns = INTERRUPT_FIRST_NS;

	while (!atomic_load_explicit(&b->ended, memory_order_acquire)) {
		int tid = atomic_load_explicit(&b->tid, memory_order_acquire);
		if (tid)
			sys3(SYS_tgkill, sys0(SYS_getpid), tid, INTERRUPT_SIGNAL);
		rest(ns);
		if (ns < INTERRUPT_LAST_NS)
			ns *= 2;
	}
}

/* The caller has the signal that the pool's thread got for it. */
static long ended(const struct blocking *b)
{
	if (unlikely(b->sig))
		signal_raise(gt_self(), b->sig, SI_USER);
	return b->result;
}

/* ---- calls ------------------------------------------------------------------------- */

long blocking_call(const struct call *c)
{
	struct gt *self = gt_self();
	stack_id stack = self->stack;
	struct blocking b;
	int r;

	install_handler();
	stack_pin(stack);
	do {
		b = (struct blocking){ .call = c };
		r = offload_run(blocking_do, &b, NULL, blocking_end, call_pc(c));
		/* Over in spite of the signal? */
		if (atomic_load_explicit(&b.ended, memory_order_acquire) &&
		    (r == 0 || b.result != -EINTR))
			r = 1;
	} while (r == IO_INTERRUPTED && !wait_was_signalled());
	stack_unpin(stack);
	if (r == 1)
		return ended(&b);
	return r == -EAGAIN ? -ENOMEM : r;
}

static void *plain_do(void *arg)
{
	struct blocking *b = arg;

	b->result = call_real(b->call);
	b->sig = signal_earned(b->result);
	return NULL;
}

long blocking_call_to_end(const struct call *c)
{
	stack_id stack = gt_self()->stack;
	struct blocking b = { .call = c };

	stack_pin(stack);
	int r = offload_to_end(plain_do, &b, call_pc(c));
	stack_unpin(stack);
	if (r < 0)
		return r == -EAGAIN ? -ENOMEM : r;
	return ended(&b);
}
