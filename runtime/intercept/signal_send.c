/* SPDX-License-Identifier: MIT
 *
 * Sending signals: the queues of green threads, and who gets what is for any.
 */
#include "intercept/link.h"
#include "intercept/signal.h"

#include <errno.h>
#include <linux/membarrier.h>
#include <string.h>

#define RECORDS_SLAB ((size_t)64 << 10)
#define RECORDS_MAX 65536u /* as RLIMIT_SIGPENDING often is */
/* In this order: what code did by itself comes before what others sent. */
#define SIGNALS_FIRST SIGNALS_OF_FAULTS
#define SIGNALS_IGNORED_BY_DEFAULT \
	(SIGNAL_BIT(SIGCHLD) | SIGNAL_BIT(SIGURG) | SIGNAL_BIT(SIGWINCH) | SIGNAL_BIT(SIGCONT))

/* ---- records ---------------------------------------------------------------- */

static struct signal_record *record_get(void)
{
	struct signal_record *record = signals.free;
	long error;

	if (!record && signals.records < RECORDS_MAX) {
		struct signal_record *slab = sys_map(RECORDS_SLAB, 0, &error);
		for (size_t i = 0; slab && i < RECORDS_SLAB / sizeof(*slab); i++) {
			slab[i].next = signals.free;
			signals.free = &slab[i];
			signals.records++;
		}
		record = signals.free;
	}
	if (record)
		signals.free = record->next;
	return record;
}

void signal_record_put(struct signal_record *record)
{
	record->next = signals.free;
	signals.free = record;
}

/* ---- queues ----------------------------------------------------------------- */

void signal_note_pending(struct thread *t)
{
	uint64_t pending = 0;

	for (const struct signal_record *r = t->queue; r; r = r->next)
		pending |= SIGNAL_BIT(r->info.si_signo);
	atomic_store_explicit(&t->pending, pending, memory_order_seq_cst);
}

/* A standard signal is pending once, a real-time one as often as it came. */
static int enqueue(struct thread *t, const siginfo_t *info, bool process)
{
	struct signal_record **end = &t->queue, *record;

	for (; *end; end = &(*end)->next)
		if (info->si_signo < SIGNAL_CANCEL && (*end)->info.si_signo == info->si_signo &&
		    (*end)->process == process)
			return 0;
	record = record_get();
	if (!record)
		return -EAGAIN;
	record->info = *info;
	record->process = process;
	record->next = NULL;
	*end = record;
	signal_note_pending(t);
	return 0;
}

struct signal_record *signal_take(struct thread *t, uint64_t which)
{
	uint64_t pending = atomic_load_explicit(&t->pending, memory_order_relaxed) & which;
	struct signal_record **place = &t->queue, *record;

	if (!pending)
		return NULL;
	if (pending & SIGNALS_FIRST)
		pending &= SIGNALS_FIRST;
	int sig = __builtin_ctzll(pending) + 1;
	while ((*place)->info.si_signo != sig)
		place = &(*place)->next;
	record = *place;
	*place = record->next;
	signal_note_pending(t);
	return record;
}

static void forget(struct thread *t, uint64_t which)
{
	for (struct signal_record *record; (record = signal_take(t, which));)
		signal_record_put(record);
}

void signal_forget(uint64_t which)
{
	for (uint32_t i = 1; i < gt_high(); i++)
		if (atomic_load_explicit(&threads[i].pending, memory_order_relaxed) & which)
			forget(&threads[i], which);
}

/* ---- sending ---------------------------------------------------------------- */

bool signal_is_ignored(int sig)
{
	const struct signal_action *action = &signals.actions[sig];

	if (action->handler.plain == SIG_DFL)
		return SIGNALS_IGNORED_BY_DEFAULT & SIGNAL_BIT(sig);
	return action->handler.plain == SIG_IGN;
}

/* All CPUs that run a thread of ours pass a barrier: see signal.h. */
static void barrier_everywhere(void)
{
	if (sys3(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0) < 0)
		atomic_thread_fence(memory_order_seq_cst);
}

/* Does t let it through, or wait for it? */
static bool takes(const struct thread *t, int sig)
{
	uint64_t blocked = atomic_load_explicit(&t->sigmask, memory_order_seq_cst) &
	                   ~atomic_load_explicit(&t->awaited, memory_order_seq_cst);

	return !(blocked & SIGNAL_BIT(sig));
}

static bool is_there(const struct thread *t)
{
	return atomic_load_explicit(&t->tid, memory_order_acquire) != 0;
}

int signal_send(struct thread *t, const siginfo_t *info, bool process)
{
	struct gt *gt = thread_gt(t), *self = gt_self();
	int r;

	spin_lock(&signals.lock);
	r = is_there(t) ? 0 : -ESRCH;
	green_t handle = gt_handle(gt);
	/* What is blocked is never ignored: it may be handled when it comes through. */
	bool drop = r == 0 && takes(t, info->si_signo) && signal_is_ignored(info->si_signo) &&
	            !(atomic_load_explicit(&t->awaited, memory_order_relaxed) &
	              SIGNAL_BIT(info->si_signo));
	if (r == 0 && !drop)
		r = enqueue(t, info, process);
	spin_unlock(&signals.lock);
	if (r < 0 || drop)
		return r;
	if (gt != self)
		barrier_everywhere();
	if (!takes(t, info->si_signo))
		return 0;
	park_signal(handle);
	if (gt != self)
		kick_gt(gt);
	return 0;
}

/* ---- to any thread -------------------------------------------------------------- */

/* Somebody who takes it: the one preferred, the first thread, one that waits for it,
 * any.  NULL: all block it. */
static struct thread *find_taker(int sig, struct thread *preferred)
{
	struct thread *any = NULL;

	if (preferred && is_there(preferred) && takes(preferred, sig))
		return preferred;
	for (uint32_t i = 1; i < gt_high(); i++) {
		struct thread *t = &threads[i];
		if (!is_there(t) || !takes(t, sig))
			continue;
		if (atomic_load_explicit(&t->tid, memory_order_relaxed) == signals.pid ||
		    (atomic_load_explicit(&t->awaited, memory_order_relaxed) & SIGNAL_BIT(sig)))
			return t;
		if (!any)
			any = t;
	}
	return any;
}

bool signal_send_process(const siginfo_t *info, struct thread *preferred)
{
	struct thread *t;

	barrier_everywhere();
	while ((t = find_taker(info->si_signo, preferred))) {
		int r = signal_send(t, info, true);
		if (r != -ESRCH)
			return true;
	}
	return false;
}

bool signal_has_taker(int sig)
{
	barrier_everywhere();
	return find_taker(sig, NULL) != NULL;
}

int signal_earned(long result)
{
	static const struct timespec at_once = { 0, 0 };
	const uint64_t which = SIGNAL_BIT(SIGPIPE) | SIGNAL_BIT(SIGXFSZ);

	if (likely(result != -EPIPE && result != -EFBIG))
		return 0;
	long sig = sys4(SYS_rt_sigtimedwait, &which, NULL, &at_once, sizeof(which));
	return sig > 0 ? (int)sig : 0;
}

void signal_raise(struct gt *self, int sig, int code)
{
	static const struct timespec at_once = { 0, 0 };
	uint64_t which = SIGNAL_BIT(sig);
	siginfo_t info;

	if (link_on) { /* its OS thread's, as any in that mode */
		sys3(SYS_tgkill, sys0(SYS_getpid), sys0(SYS_gettid), sig);
		return;
	}
	memset(&info, 0, sizeof(info));
	info.si_signo = sig;
	info.si_code = code;
	info.si_pid = signals.pid;
	info.si_uid = (uid_t)sys0(SYS_getuid);
	/* The kernel's is for this OS thread, which blocks it. */
	sys4(SYS_rt_sigtimedwait, &which, NULL, &at_once, sizeof(which));
	signal_send(thread_of(self), &info, false);
}
