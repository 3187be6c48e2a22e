/* SPDX-License-Identifier: MIT
 *
 * Interception: the full stage, and how it is all switched on.
 */
#include "intercept/intercept.h"
#include "arch/base.h"
#include "fatal.h"
#include "green.h"
#include "intercept/audit.h"
#include "intercept/before.h"
#include "intercept/credentials.h"
#include "intercept/dispatch.h"
#include "intercept/entry.h"
#include "intercept/futex.h"
#include "intercept/heir.h"
#include "intercept/interceptors.h"
#include "intercept/link.h"
#include "intercept/patch.h"
#include "intercept/preempt.h"
#include "intercept/route.h"
#include "intercept/signal.h"
#include "intercept/tally.h"
#include "intercept/thread.h"
#include "intercept/thread_exit.h"
#include "offload.h"
#include "options.h"
#include "runtime.h"
#include "scheduler.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

bool intercept_on;

static inline bool is_to_pass(long r)
{
	return r == CALL_PASS || r == CALL_REAL || r == CALL_MORE;
}

/* Both stages once more, for a call that a signal had ended. */
long intercept_again(struct call *c)
{
	const struct call_entry *entry = &calls[c->nr];
	long r = entry->full ? CALL_MORE : entry->fast(c);

	if (r == CALL_MORE && entry->full)
		r = entry->full(c);
	return is_to_pass(r) ? call_real(c) : r;
}

static inline bool is_restart(long r)
{
	return unlikely(r <= CALL_RESTARTSYS && r >= CALL_RESTART_BLOCK);
}

/* Somebody wants to know of the call, before the fast stage: both, here. */
static never_inline long entered(struct call *c)
{
	const struct call_entry *entry = &calls[c->nr];
	long r;

	c->result = 0;
	route_entered(c);
	r = entry->fast(c);
	if (r == CALL_TRY || r == CALL_TRY_ALL)
		r = ((call_tried_fn *)c->result)(c, call_real(c));
	return r == CALL_MORE ? entry->full(c) : r;
}

/* An OS thread's, the scheduler's, or a signal handler's of the program (link mode). */
static bool is_outside(void)
{
	const struct worker *w = base_gs();

	return !w || !atomic_load_explicit(&w->current, memory_order_relaxed);
}

/* Made anew until nothing interrupts it: what has come is for the outer call. */
static long inner_again(struct call *c, long r)
{
	struct gt *self = gt_self();
	bool signalled = false;

	while (is_restart(r)) {
		signalled |= park_take_signal(self);
		r = intercept_again(c);
	}
	if (signalled)
		park_signal(gt_handle(self));
	return r;
}

/* Calls nest where the runtime itself, in a call, uses what makes one: the unwinder, whose
 * locks are libc's.  The inner one is the runtime's code as the outer one is: nobody is
 * preempted there, and no handler of the program's runs. */
long intercept_full(struct call *c)
{
	if (unlikely(c->nr == SYS_futex) && is_outside())
		return link_wake(c);
	struct thread *t = thread_self();
	struct call *outer = t->call;
	const struct call *outer_placed = t->placed;
	const bool inner = t->detained;

	t->detained = true;
	t->call = c;
	t->placed = NULL;
	call_fn *full = calls[c->nr].full;
	long r = unlikely(c->result == CALL_UNTRIED) ? entered(c) : full ? full(c) : CALL_PASS;
	if (is_to_pass(r)) {
		r = unlikely(audit_limit_ns) ? audit_call(c) : call_real(c);
		int sig = signal_earned(r);
		if (unlikely(sig))
			signal_raise(gt_self(), sig, SI_USER);
	}
	if (unlikely(inner)) {
		r = inner_again(c, r);
		t->placed = outer_placed;
	}
	t->call = outer;
	t->detained = inner;
	return is_restart(r) ? intercept_end(c, r) : r;
}

/* What the runtime does in a call from now on it does as the program. */
static void leave_calls(void)
{
	struct gt *self = gt_self();

	if (self && gt_index(self) < THREADS_MAX)
		thread_of(self)->detained = false;
}

void intercept_begin(void)
{
	fatal_hook = leave_calls;
	intercept_on = true;
}

/* ---- start ---------------------------------------------------------------- */

int intercept_mode_from_environment(enum intercept_mode *mode)
{
	static const char *const names[] = {
		[INTERCEPT_AUTO] = "auto",         [INTERCEPT_PATCH] = "patch",
		[INTERCEPT_DISPATCH] = "dispatch", [INTERCEPT_BOTH] = "both",
		[INTERCEPT_OFF] = "off",
	};
	const char *text = secure_getenv("GREEN_INTERCEPT");

	*mode = INTERCEPT_AUTO;
	if (!text || !*text)
		return 0;
	for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strcmp(text, names[i]) == 0) {
			*mode = (enum intercept_mode)i;
			return 0;
		}
	error_set("GREEN_INTERCEPT: \"%s\" is none of auto, patch, dispatch, both, off", text);
	return -EINVAL;
}

/* Where no code is rewritten, what the runtime's other OS threads wake is seen once they are
 * armed.  Until then libc may have woken somebody who waited for that thread to begin. */
static void arm_helper(void)
{
	const uint64_t open = DISPATCH_SIGNAL;

	sys4(SYS_rt_sigprocmask, SIG_UNBLOCK, &open, NULL, sizeof(open));
	dispatch_arm();
	futex_wake_green(NULL, 0);
}

/* The first worker's OS thread still has libc to call, below: it is armed last. */
static int arm_others(struct worker *w)
{
	return w->id == 0 ? 0 : interceptors_arm(w);
}

/* Not pinned: a program that knows nothing of workers shares the machine with others as it
 * does natively.  Where one of those computes, a worker pinned to its CPU waits for it, and the
 * program for the worker. */
static const struct green_options usual = { .no_pin = true };

static int start_workers(void)
{
	int r = threads_init();

	if (r < 0) {
		error_set("no address space for threads: raise RLIMIT_AS (ulimit -v)");
		return r;
	}
	intercept_vector_init();
	intercept_rooms_init();
	route_start();
	thread_exit_init();
	signals_start();
	before_look_at_files();
	before_look_at_memory();
	preempt_start();
	own_tls = true;
	worker_start_hook = arm_others;
	if (!patch_sites())
		offload_start_hook = arm_helper;
	r = runtime_start_here(&usual);
	if (r < 0) {
		own_tls = false;
		worker_start_hook = NULL;
		signals_undo();
	} else {
		credentials_start(); /* its descriptor goes into the table that is there now */
	}
	return r;
}

int green_intercept_start(void)
{
	enum intercept_mode mode;
	bool others;
	int r = intercept_mode_from_environment(&mode);

	if (r < 0 || mode == INTERCEPT_OFF)
		return r;
	if ((r = preempt_options()) < 0 || (r = tally_options()) < 0)
		return r;
	if (intercept_on) {
		error_set("the program intercepts its system calls itself");
		return -EALREADY;
	}
	if (runtime_is_claimed()) {
		error_set("the program runs green threads itself, by green_run()");
		return -EBUSY;
	}
	if (!base_usable()) {
		error_set("green threads with thread-local storage of their own need FSGSBASE: "
		          "Linux 5.9 and a CPU that has it");
		return -ENOTSUP;
	}
	if ((r = before_look_at_threads(&others)) < 0 || (r = interceptors_start(mode, others)) < 0)
		return r;
	if ((r = start_workers()) < 0) {
		dispatch_stop(); /* what is rewritten passes everything on */
		return r;
	}
	/* There is no way back from here. */
	if (signals_serve() < 0)
		fatal("the thread that takes the signals cannot start",
		      "raise the limit on processes (ulimit -u) or memory (ulimit -v)");
	heir_start();
	intercept_begin();
	tally_start();
	intercept_yield_start();
	if (thread_adopt_main() < 0)
		fatal("the first green thread cannot start",
		      "raise the limit on memory (ulimit -v)");
	return interceptors_arm(worker_self());
}
