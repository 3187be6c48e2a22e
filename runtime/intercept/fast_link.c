/* SPDX-License-Identifier: MIT
 *
 * What link mode does in the fast stage: threads, handlers of signals, exempt libraries.
 */
#include "arch/base.h"
#include "intercept/dispatch.h"
#include "intercept/link.h"
#include "intercept/signal.h"
#include "intercept/thread.h"
#include "scheduler.h"

#include <errno.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>

#define SA_RESTORER_FLAG 0x04000000

bool link_on, link_threads;

/* ---- threads ----------------------------------------------------------------- */

static long birth(uint64_t flags)
{
	bool ours = flags & CLONE_THREAD && (link_threads || thread_self_fast()->adopts);

	return ours ? CALL_MORE : CALL_PASS;
}

long fast_link_clone3(struct call *c)
{
	const struct clone_args *args = (const struct clone_args *)c->arg[0];

	return c->arg[1] < CLONE_ARGS_SIZE_VER0 || !args ? CALL_PASS : birth(args->flags);
}

long fast_link_clone(struct call *c)
{
	return birth((uint64_t)c->arg[0]);
}

/* ---- masks --------------------------------------------------------------------- */

void link_learn_mask(struct worker *w)
{
	call_raw(SYS_rt_sigprocmask, SIG_BLOCK, 0, (long)&w->sigmask, sizeof(w->sigmask), 0, 0);
}

/* The kernel looks at the arguments first, and so *set can be read. */
long fast_link_sigprocmask(struct call *c)
{
	static const uint64_t open = DISPATCH_SIGNAL;
	struct worker *w = base_gs();
	const uint64_t *set = (const uint64_t *)c->arg[1];
	uint64_t mask = set ? *set : 0;
	long r = call_real(c);

	if (r < 0 || !set)
		return r;
	if (c->arg[0] == SIG_BLOCK)
		mask |= w->sigmask;
	else if (c->arg[0] == SIG_UNBLOCK)
		mask = w->sigmask & ~mask;
	mask &= ~SIGNALS_UNBLOCKABLE;
	if (dispatch_started && (mask & DISPATCH_SIGNAL)) {
		call_raw(SYS_rt_sigprocmask, SIG_UNBLOCK, (long)&open, 0, sizeof(open), 0, 0);
		mask &= ~DISPATCH_SIGNAL;
	}
	w->sigmask = mask;
	/* Relaxed: its own. */
	atomic_store_explicit(&thread_self_fast()->sigmask, mask, memory_order_relaxed);
	return r;
}

void link_switch_mask(struct worker *w, const struct gt *to)
{
	uint64_t mask = atomic_load_explicit(&thread_of(to)->sigmask, memory_order_relaxed);

	if (mask == w->sigmask)
		return;
	w->sigmask = mask;
	call_raw(SYS_rt_sigprocmask, SIG_SETMASK, (long)&mask, 0, sizeof(mask), 0, 0);
}

/* ---- handlers of signals ------------------------------------------------------- */

/* The program's.  Written when one is installed; a signal at that moment sees one or the
 * other handler, as it would otherwise. */
static struct signal_action actions[SIGNAL_COUNT + 1];

extern internal const char __start_green_text[], __stop_green_text[];

static __thread uint16_t handlers; /* that run, one in the other */

bool link_in_handler(void)
{
	return handlers != 0;
}

static void run_handler(int sig, siginfo_t *info, void *context)
{
	struct worker *w = worker_hide();
	void *gs = bypass_begin();

	handlers++;
	/* One argument or three: the ABI does not mind. */
	actions[sig].handler.info(sig, info, context);
	handlers--;
	bypass_end(gs);
	worker_unhide(w);
}

bool link_by_dispatch;
static __thread bool armed; /* this OS thread, which is no worker */

int link_arm(void)
{
	armed = true;
	return dispatch_arm();
}

/* With dispatch alone what a handler wakes would not be seen on other OS threads. */
static void run_armed(int sig, siginfo_t *info, void *context)
{
	static const uint64_t open = DISPATCH_SIGNAL;

	call_raw(SYS_rt_sigprocmask, SIG_UNBLOCK, (long)&open, 0, sizeof(open), 0, 0);
	dispatch_arm();
	run_handler(sig, info, context);
	dispatch_disarm();
}

/* Whose OS thread this is, even where it runs as plain code. */
static const struct worker *worker_here(void)
{
	const struct worker *w = base_gs();
	long tid = w ? 0 : call_raw(SYS_gettid, 0, 0, 0, 0, 0, 0);

	for (unsigned i = 0; !w && i < rt.workers_count; i++) {
		const struct worker *other = worker_at(i);
		if (other && other->tid == tid)
			w = other;
	}
	return w;
}

static void on_signal(int sig, siginfo_t *info, void *context)
{
	const struct worker *w = worker_here();
	void *fs = base_fs();

	/* By these libc asks its threads to do something: it means the OS thread. */
	if (w && (sig == SIGNAL_CANCEL || sig == SIGNAL_SETXID))
		base_set_fs(w->fs_base);
	if (link_by_dispatch && !w && !armed && !handlers)
		run_armed(sig, info, context);
	else
		run_handler(sig, info, context);
	base_set_fs(fs);
}

static bool is_ours(const struct signal_action *action)
{
	return action->handler.info == on_signal;
}

static bool is_function(const struct signal_action *action)
{
	const char *at = (const char *)(uintptr_t)action->handler.plain;

	return action->handler.plain != SIG_DFL && action->handler.plain != SIG_IGN &&
	       !(at >= __start_green_text && at < __stop_green_text);
}

/* Puts ours in the place of what is there. */
static void wrap(int sig)
{
	struct signal_action now;

	now.handler.plain = SIG_DFL;
	if (call_raw(SYS_rt_sigaction, sig, 0, (long)&now, sizeof(now.mask), 0, 0) < 0 ||
	    !is_function(&now))
		return;
	actions[sig] = now;
	now.handler.info = on_signal;
	now.flags |= SA_RESTORER_FLAG;
	now.restorer = dispatch_restorer;
	now.mask &= ~DISPATCH_SIGNAL;
	call_raw(SYS_rt_sigaction, sig, (long)&now, 0, sizeof(now.mask), 0, 0);
}

void link_wrap_handlers(void)
{
	for (int sig = 1; sig <= SIGNAL_COUNT; sig++)
		wrap(sig);
}

/* The kernel looks at the arguments first. */
long fast_link_sigaction(struct call *c)
{
	long sig = c->arg[0];
	struct signal_action *old = (struct signal_action *)c->arg[2], before;
	bool known = sig >= 1 && sig <= SIGNAL_COUNT;

	if (sig == SIGSYS && c->arg[1] && dispatch_started)
		return -EINVAL;
	if (known)
		before = actions[sig];
	long r = call_real(c);
	if (r == 0 && known && old && is_ours(old))
		*old = before;
	if (r == 0 && known && c->arg[1])
		wrap((int)sig);
	return r;
}

/* ---- to a thread ------------------------------------------------------------------ */

/* The OS thread that a green thread runs on, or ran last: it gets its signals. */
static long os_thread_of(int tid)
{
	const struct thread *t = thread_find(tid);

	if (!t)
		return -ESRCH;
	unsigned worker = atomic_load_explicit(&thread_gt(t)->worker, memory_order_relaxed);
	return worker_at(worker)->tid;
}

static long send_on(struct call *c, unsigned at, int sig)
{
	if (!tid_is_green(c->arg[at]))
		return CALL_PASS;
	/* Identities are OS threads', which libc asks as well. */
	long tid = sig == SIGNAL_SETXID ? -ESRCH : os_thread_of((int)c->arg[at]);
	/* pthread_cancel(3) has left word with the thread, which looks at its next call. */
	if (tid < 0 || sig == SIGNAL_CANCEL)
		return tid < 0 ? tid : 0;
	c->arg[at] = tid;
	return CALL_PASS;
}

long fast_link_tkill(struct call *c)
{
	return send_on(c, 0, (int)c->arg[1]);
}

long fast_link_tgkill(struct call *c)
{
	return send_on(c, 1, (int)c->arg[2]);
}

long fast_link_tgsigqueueinfo(struct call *c)
{
	return send_on(c, 1, (int)c->arg[2]);
}
