/* SPDX-License-Identifier: MIT
 *
 * The system calls that are about signals.
 */
#include "intercept/kick.h"
#include "intercept/signal.h"

#include <errno.h>
#include <string.h>
#include <time.h>

#define STACK_MIN 2048 /* the kernel's MINSIGSTKSZ */

/* ---- actions ------------------------------------------------------------------- */

static void change_action(int sig, const struct signal_action *wanted)
{
	struct signal_action *action = &signals.actions[sig];

	spin_lock(&signals.lock);
	*action = *wanted;
	action->mask &= ~SIGNALS_UNBLOCKABLE;
	if (signal_is_ignored(sig))
		signal_forget(SIGNAL_BIT(sig));
	signal_set_real(sig);
	spin_unlock(&signals.lock);
}

/* The handler that is about to be taken away has to run for what came before: natively that
 * is over when the call begins. */
static bool comes_first(int sig, const struct signal_action *before,
                        const struct signal_action *wanted)
{
	const struct thread *t = thread_self();

	if (before->handler.plain == SIG_DFL || before->handler.plain == SIG_IGN ||
	    before->handler.plain == wanted->handler.plain || (SIGNALS_OF_FAULTS & SIGNAL_BIT(sig)))
		return false;
	signal_gather(sig);
	return atomic_load_explicit(&t->pending, memory_order_seq_cst) & ~signal_mask_of(t) &
	       SIGNAL_BIT(sig);
}

long call_rt_sigaction(struct call *c)
{
	int sig = (int)c->arg[0];
	const struct signal_action *wanted = (const void *)c->arg[1];
	struct signal_action *old = (void *)c->arg[2], before;

	if (c->arg[3] != sizeof(before.mask) || sig < 1 || sig > SIGNAL_COUNT ||
	    (wanted && (SIGNALS_UNBLOCKABLE & SIGNAL_BIT(sig))))
		return -EINVAL;
	/* Both may be the same. */
	struct signal_action now = wanted ? *wanted : signals.actions[sig];
	spin_lock(&signals.lock);
	before = signals.actions[sig];
	spin_unlock(&signals.lock);
	if (wanted && comes_first(sig, &before, &now))
		return CALL_RESTARTNOINTR;
	if (wanted)
		change_action(sig, &now);
	if (old)
		*old = before;
	return 0;
}

/* ---- masks, stacks, what is pending --------------------------------------------- */

long call_rt_sigprocmask(struct call *c)
{
	struct thread *t = thread_self();
	const uint64_t *set = (const void *)c->arg[1];
	uint64_t *old = (void *)c->arg[2];
	uint64_t before = signal_mask_of(t);

	/* The arguments are right: fast_rt_sigprocmask() has been here. */
	uint64_t mask = *set;
	if (c->arg[0] == SIG_BLOCK)
		mask = before | *set;
	else if (c->arg[0] == SIG_UNBLOCK)
		mask = before & ~*set;
	signal_set_mask(t, mask);
	if (old)
		*old = before;
	return 0;
}

long call_sigaltstack(struct call *c)
{
	struct thread *t = thread_self();
	const stack_t *wanted = (const void *)c->arg[0];
	stack_t *old = (void *)c->arg[1];
	stack_t before = signal_stack_of(t, c->sp), now = { .ss_flags = SS_DISABLE };

	if (wanted) {
		unsigned flags = (unsigned)wanted->ss_flags, mode = flags & ~(1u << 31);
		if (before.ss_flags & SS_ONSTACK)
			return -EPERM;
		if (mode != 0 && mode != SS_DISABLE && mode != SS_ONSTACK)
			return -EINVAL;
		if (mode != SS_DISABLE) {
			if (wanted->ss_size < STACK_MIN)
				return -ENOMEM;
			now = *wanted;
			now.ss_flags = (int)(flags & (1u << 31));
		}
		t->altstack = now;
	}
	if (old)
		*old = before;
	return 0;
}

long call_rt_sigpending(struct call *c)
{
	struct thread *t = thread_self();
	uint64_t *set = (void *)c->arg[0], real = 0;

	if (c->arg[1] < 0 || (size_t)c->arg[1] > sizeof(real))
		return -EINVAL;
	sys2(SYS_rt_sigpending, &real, sizeof(real));
	real |= atomic_load_explicit(&t->pending, memory_order_relaxed);
	real &= signal_mask_of(t);
	memcpy(set, &real, (size_t)c->arg[1]);
	return 0;
}

/* ---- waiting ------------------------------------------------------------------------ */

/* Until there is a signal to deliver, or the time is over; true: a signal. */
static bool await_signal(struct gt *self, int64_t deadline_ns)
{
	while (!signal_pending(self)) {
		struct park_ticket ticket = park_begin(self, PARK_SLEEP, NULL, PARK_PC);
		if (park_commit(ticket, 0, deadline_ns) == WAKE_TIMEOUT)
			return signal_pending(self);
	}
	return true;
}

long call_rt_sigsuspend(struct call *c)
{
	long r = signal_mask_for_call((const void *)c->arg[0], (size_t)c->arg[1]);

	if (r < 0)
		return r;
	await_signal(gt_self(), GREEN_FOREVER);
	return CALL_RESTARTNOHAND;
}

long call_pause(struct call *c)
{
	(void)c;
	await_signal(gt_self(), GREEN_FOREVER);
	return CALL_RESTARTNOHAND;
}

/* One of the set that is there already: with the thread, or with the kernel. */
static bool take_awaited(struct thread *t, uint64_t set, siginfo_t *info)
{
	static const struct timespec at_once = { 0, 0 };

	spin_lock(&signals.lock);
	struct signal_record *record = signal_take(t, set);
	if (record) {
		*info = record->info;
		signal_record_put(record);
	}
	spin_unlock(&signals.lock);
	return record || sys4(SYS_rt_sigtimedwait, &set, info, &at_once, sizeof(set)) > 0;
}

/* From now on green-signals brings them here.  Ignored ones come to those who wait. */
static void begin_await(struct thread *t, uint64_t set)
{
	uint64_t before = atomic_fetch_or_explicit(&signals.awaited, set, memory_order_relaxed);

	atomic_store_explicit(&t->awaited, set, memory_order_seq_cst);
	if (atomic_load_explicit(&signals.held, memory_order_seq_cst) & set)
		signals_unhold(set);
	if (!(set & ~before))
		return;
	spin_lock(&signals.lock);
	for (int sig = 1; sig <= SIGNAL_COUNT; sig++)
		if ((set & ~before & SIGNAL_BIT(sig)) &&
		    signals.actions[sig].handler.plain == SIG_IGN)
			signal_set_real(sig);
	spin_unlock(&signals.lock);
}

static long timed_wait(struct thread *t, uint64_t set, siginfo_t *info, int64_t deadline_ns)
{
	struct gt *self = thread_gt(t);
	enum wake_reason reason = WAKE_NONE;

	for (;;) {
		if (take_awaited(t, set, info))
			return info->si_signo;
		if (reason == WAKE_TIMEOUT)
			return -EAGAIN;
		if (signal_pending(self))
			return -EINTR;
		struct park_ticket ticket = park_begin(self, PARK_SLEEP, NULL, PARK_PC);
		if (!(atomic_load_explicit(&t->pending, memory_order_seq_cst) & set))
			reason = park_commit(ticket, 0, deadline_ns);
		else if (!park_abort(ticket))
			park_commit(ticket, PARK_SHIELDED, GREEN_FOREVER);
	}
}

long call_rt_sigtimedwait(struct call *c)
{
	struct thread *t = thread_self();
	siginfo_t *info = (void *)c->arg[1], found;
	const struct timespec *timeout = (const void *)c->arg[2];
	int64_t deadline_ns = GREEN_FOREVER;

	if (c->arg[3] != sizeof(uint64_t))
		return -EINVAL;
	uint64_t set = *(const uint64_t *)c->arg[0] & ~SIGNALS_UNBLOCKABLE;
	if (timeout) {
		if (timeout->tv_sec < 0 || timeout->tv_nsec < 0 || timeout->tv_nsec > 999999999)
			return -EINVAL;
		deadline_ns = timeout->tv_sec > GREEN_FOREVER / GREEN_S(4)
		                      ? GREEN_FOREVER
		                      : sys.now() + timeout->tv_sec * GREEN_S(1) + timeout->tv_nsec;
		if (!timeout->tv_sec && !timeout->tv_nsec)
			deadline_ns = 0;
	}
	long r = take_awaited(t, set, &found) ? found.si_signo : deadline_ns ? 0 : -EAGAIN;
	if (r == 0) {
		begin_await(t, set);
		r = timed_wait(t, set, &found, deadline_ns);
		atomic_store_explicit(&t->awaited, 0, memory_order_seq_cst);
		/* What came meanwhile and is blocked again is nobody's who waits. */
		signal_settle(t);
	}
	if (r > 0 && info)
		*info = found;
	return r;
}

/* ---- sending ------------------------------------------------------------------------------ */

static void info_begin(siginfo_t *info, int sig, int code)
{
	memset(info, 0, sizeof(*info));
	info->si_signo = sig;
	info->si_code = code;
	info->si_pid = signals.pid;
	info->si_uid = (uid_t)sys0(SYS_getuid);
}

static long send_to_self(const siginfo_t *info, const struct call *c)
{
	int sig = info->si_signo;

	if (sig == 0)
		return 0;
	if (SIGNALS_UNBLOCKABLE & SIGNAL_BIT(sig))
		return call_real(c);
	/* Before the call returns, the handler runs (POSIX): so not by green-signals. */
	if (signal_send_process(info, thread_self()))
		return 0;
	signal_hold(sig);
	return call_real(c);
}

long call_kill(struct call *c)
{
	int sig = (int)c->arg[1];
	siginfo_t info;

	if (c->arg[0] != signals.pid || sig < 0 || sig > SIGNAL_COUNT)
		return CALL_PASS;
	info_begin(&info, sig, SI_USER);
	return send_to_self(&info, c);
}

long call_rt_sigqueueinfo(struct call *c)
{
	int sig = (int)c->arg[1];
	siginfo_t info;

	if (c->arg[0] != signals.pid || sig < 0 || sig > SIGNAL_COUNT)
		return CALL_PASS;
	info = *(const siginfo_t *)c->arg[2];
	info.si_signo = sig;
	return send_to_self(&info, c);
}

static long send_to_thread(int tid, int sig, const siginfo_t *info)
{
	struct thread *t = thread_find(tid);

	if (sig < 0 || sig > SIGNAL_COUNT)
		return -EINVAL;
	if (!t)
		return -ESRCH;
	if (sig == 0)
		return 0;
	/* setuid() & co.: the call itself is made by every OS thread (credentials.c). */
	if (sig == SIGNAL_SETXID)
		return -ESRCH;
	if (sig == SIGKILL || sig == SIGSTOP)
		return sys2(SYS_kill, signals.pid, sig);
	/* What its signalfd(2) shall read must be the kernel's; but that is the process's, so
	 * not while another thread would take it. */
	if ((atomic_load_explicit(&signals.in_files, memory_order_relaxed) & SIGNAL_BIT(sig)) &&
	    !signal_has_taker(sig))
		return signal_leave_to_kernel(info);
	return signal_send(t, info, false);
}

static bool is_ours(int tid)
{
	return tid_is_green(tid) || tid == signals.pid;
}

long call_tgkill(struct call *c)
{
	siginfo_t info;

	if (c->arg[0] != signals.pid)
		return CALL_PASS;
	/* OS threads of the runtime are none of the program's. */
	if (!is_ours((int)c->arg[1]))
		return c->arg[2] == SIGNAL_SETXID ? -ESRCH : CALL_PASS;
	info_begin(&info, (int)c->arg[2], SI_TKILL);
	return send_to_thread((int)c->arg[1], (int)c->arg[2], &info);
}

long call_tkill(struct call *c)
{
	siginfo_t info;

	if (!is_ours((int)c->arg[0]))
		return CALL_PASS;
	info_begin(&info, (int)c->arg[1], SI_TKILL);
	return send_to_thread((int)c->arg[0], (int)c->arg[1], &info);
}

long call_rt_tgsigqueueinfo(struct call *c)
{
	siginfo_t info;

	if (c->arg[0] != signals.pid || !is_ours((int)c->arg[1]))
		return CALL_PASS;
	info = *(const siginfo_t *)c->arg[3];
	info.si_signo = (int)c->arg[2];
	return send_to_thread((int)c->arg[1], (int)c->arg[2], &info);
}

/* ---- files ----------------------------------------------------------------------------------- */

static long note_file(const struct call *c)
{
	if (c->arg[1] && c->arg[2] == sizeof(uint64_t))
		atomic_fetch_or_explicit(&signals.in_files, *(const uint64_t *)c->arg[1],
		                         memory_order_relaxed);
	return CALL_PASS;
}

long call_signalfd(struct call *c)
{
	return note_file(c);
}

long call_signalfd4(struct call *c)
{
	return note_file(c);
}
