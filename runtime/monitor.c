/* SPDX-License-Identifier: MIT
 *
 * The monitor: an OS thread that looks at the workers a hundred times a second
 * while they work, ten times while all sleep.  It finds workers that are stuck
 * in one green thread, sends thieves to what waits there, and finds out when
 * nothing can ever go on (deadlock).  It never wakes a worker that has nothing
 * to do: a lost wake-up must stay visible.
 */
#include "arch/base.h"
#include "arch/os_thread.h"
#include "dump.h"
#include "fatal.h"
#include "offload.h"
#include "options.h"
#include "runtime.h"
#include "scheduler.h"
#include "stall.h"
#include "starter.h"
#include "sweep.h"
#include "trace.h"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#define TICK_NS GREEN_MS(10)
#define TICK_IDLE_NS GREEN_MS(100)
#define TICK_PREEMPT_NS GREEN_MS(4) /* two of them at most until a thread has to yield */
#define PREEMPT_NS GREEN_MS(3)
#define HURRY_AGAIN_NS GREEN_US(200)
#define TICK_SLOW_NS GREEN_MS(4)
#define SLOW_NS GREEN_MS(1) /* between two looks around */
#define EXPIRE_MAX 256      /* deadlines of a stuck worker, each tick: each is searched for */
#define STUCK_EARLY_NS GREEN_MS(10) /* new work goes elsewhere from then on */
#define MISSED_NS GREEN_MS(50)      /* so late a look comes where nobody ran */

#define STOP 1u
#define ASK 2u

struct seen {
	uint64_t switches, rounds;
	int64_t since;
	uint64_t rounds_before; /* for preemption: the last look around, seen when */
	int64_t round_at;
	uint64_t rounds_counted; /* for slow: at the time counted_at */
	int64_t counted_at;
	bool slow; /* it looks around seldom: its threads compute for long between switches */
	bool reported;
};

static struct {
	pthread_t thread;
	_Atomic uint32_t asked;      /* STOP, and above a count of monitor_ask() */
	_Atomic uint32_t begun;      /* futex */
	_Atomic unsigned sanitizers; /* threads of the thread sanitizer's own */
	uint32_t due;                /* preempted ones that wait for a turn */
	unsigned next;               /* the worker whose thread is the next to give way for them */
	struct seen seen[WORKERS_MAX];
} monitor;

/* ---- stuck workers -------------------------------------------------------- */

static void report_stuck(struct worker *w, int64_t for_ns)
{
	struct gt *gt = atomic_load_explicit(&w->current, memory_order_relaxed);

	atomic_fetch_add_explicit(&rt.stuck, 1, memory_order_relaxed);
	if (trace_wants(stuck))
		probe_stuck(w, gt ? gt_handle(gt) : GREEN_NONE, for_ns);
	if (debug_has("stuck"))
		stall_report(w, for_ns);
}

static bool stealable(struct worker *w)
{
	return deque_count(&w->fresh) > 0 || ring_count(&w->shared) ||
	       atomic_load_explicit(&w->arrivals_since, memory_order_relaxed);
}

static bool can_expire(const struct timer *timer)
{
	return park_expires_anywhere(gt_at(timer->gt));
}

/* Deadlines of migratable threads that are parked on a stuck worker: they can
 * go on elsewhere.  (Those that wait for its engine cannot.) */
static void fire_timers_of(struct worker *w, int64_t now)
{
	struct timer due;

	if (atomic_load_explicit(&w->timers.first_ns, memory_order_relaxed) > now)
		return;
	for (int i = 0; i < EXPIRE_MAX && timers_due_where(&w->timers, now, can_expire, &due); i++)
		park_expire(gt_at(due.gt), due.seq);
}

void (*monitor_also)(void);

/* Has w anything that it could do instead, but for arrivals?  A look from outside. */
RACY static bool others_wait(struct worker *w, int64_t now)
{
	return deque_count(&w->fresh) > 0 || ring_count(&w->shared) || w->run_next ||
	       w->local.head || w->demoted.head ||
	       atomic_load_explicit(&w->inbox, memory_order_relaxed) ||
	       atomic_load_explicit(&w->attn, memory_order_relaxed) ||
	       atomic_load_explicit(&w->ops_in_flight, memory_order_relaxed) ||
	       atomic_load_explicit(&w->timers.first_ns, memory_order_relaxed) <= now;
}

/* The next time that somebody on a worker which only computes has waited for.  A slow one
 * is called once for each: it comes when it switches, and not the sooner for a second call. */
static int64_t next_hurry(int64_t now, int64_t next)
{
	for (unsigned i = 0; i < rt.workers_count; i++) {
		struct worker *w = worker_at(i);
		int64_t first = atomic_load_explicit(&w->timers.first_ns, memory_order_relaxed);
		if (monitor_preempt ? sched_runs_hog(w) : monitor.seen[i].slow && first > now)
			next = first < next ? first : next;
	}
	return next;
}

/* Arrivals that have waited for long, on all workers: as a rule those that were preempted.
 * A look from outside. */
RACY static uint32_t turns_due(int64_t now)
{
	uint32_t due = 0;

	for (unsigned i = 0; monitor_preempt && i < rt.workers_count; i++) {
		struct worker *w = worker_at(i);
		int64_t since = atomic_load_explicit(&w->arrivals_since, memory_order_relaxed);
		if (since && now - since >= PREEMPT_NS)
			due += w->arrivals.count;
	}
	return due;
}

/* For each that waits one gives way, wherever it runs: by turns, so that each has run for
 * as long.  Who has not heard the last request is asked again, and counts for nobody. */
static bool gives_way(struct worker *w)
{
	if (monitor.due == 0)
		return false;
	if (!atomic_load_explicit(&w->preempt, memory_order_relaxed)) {
		monitor.due--;
		monitor.next = w->id + 1u;
	}
	atomic_store_explicit(&w->levels, true, memory_order_relaxed);
	return true;
}

/* A worker that does not look around leaves those waiting whose time has come, and whose
 * I/O is done, be it that one thread runs or that a few change places. */
static void hurry(struct worker *w, struct seen *seen, int64_t now)
{
	uint64_t rounds = atomic_load_explicit(&w->rounds, memory_order_relaxed);

	if (rounds != seen->rounds_before) {
		seen->rounds_before = rounds;
		seen->round_at = now;
	} else if ((now - seen->round_at >= PREEMPT_NS && (gives_way(w) || others_wait(w, now))) ||
	           (sched_runs_hog(w) &&
	            atomic_load_explicit(&w->timers.first_ns, memory_order_relaxed) <= now)) {
		monitor_preempt(w);
	}
}

/* A worker looks around each SCHED_TICK switches, by a count that costs nothing.  Where its
 * threads compute for a millisecond or two between switches that is a tenth of a second, for
 * which timers and completions would wait: such a one shall look at its next switch.  Its
 * count is overwritten without a lock; should it win the race, the next look is soon. */
static void hurry_slow(struct worker *w, struct seen *seen, uint64_t rounds, int64_t now)
{
	int64_t passed = now - seen->counted_at;

	if (passed >= TICK_SLOW_NS / 2) {
		seen->slow = seen->counted_at &&
		             (int64_t)(rounds - seen->rounds_counted) * SLOW_NS < passed;
		seen->rounds_counted = rounds;
		seen->counted_at = now;
	}
	if (seen->slow)
		atomic_store_explicit(&w->tick, 1, memory_order_relaxed);
}

static void look_at(struct worker *w, struct seen *seen, int64_t now)
{
	uint64_t switches = atomic_load_explicit(&w->switches, memory_order_relaxed);
	uint64_t rounds = atomic_load_explicit(&w->rounds, memory_order_relaxed);
	bool running = atomic_load_explicit(&w->current, memory_order_relaxed) != NULL;

	if (monitor_preempt && running)
		hurry(w, seen, now);
	seen->slow &= running;
	if (running)
		hurry_slow(w, seen, rounds, now);

	if (!running || switches != seen->switches || rounds != seen->rounds || !seen->since) {
		seen->switches = switches;
		seen->rounds = rounds;
		seen->since = now;
		seen->reported = false;
		if (atomic_load_explicit(&w->stuck_since, memory_order_relaxed))
			atomic_store_explicit(&w->stuck_since, 0, memory_order_relaxed);
		return;
	}
	if (now - seen->since < STUCK_EARLY_NS)
		return;
	atomic_store_explicit(&w->stuck_since, seen->since, memory_order_relaxed);
	fire_timers_of(w, now);
	if (stealable(w))
		sched_wake_any();
	if (!seen->reported && now - seen->since >= rt.options.stuck_ns) {
		seen->reported = true;
		report_stuck(w, now - seen->since);
	}
}

/* The process was stopped, its control group frozen, the machine paused, or the monitor
 * held up by its own report: what it did not see does not count against the workers. */
static void forgive(int64_t missed_ns)
{
	if (missed_ns < MISSED_NS)
		return;
	for (unsigned i = 0; i < rt.workers_count; i++)
		if (monitor.seen[i].since)
			monitor.seen[i].since += missed_ns;
}

/* ---- deadlock ------------------------------------------------------------- */

static bool asleep(const struct worker *w)
{
	return atomic_load_explicit(&rt.idle[w->id / 64], memory_order_seq_cst) >> (w->id % 64) & 1;
}

/* Does this worker have anything that may still happen? */
static bool expects(struct worker *w)
{
	return !asleep(w) || atomic_load_explicit(&w->ops_in_flight, memory_order_acquire) ||
	       atomic_load_explicit(&w->timers.first_ns, memory_order_acquire) != INT64_MAX ||
	       atomic_load_explicit(&w->inbox, memory_order_acquire) ||
	       atomic_load_explicit(&w->attn, memory_order_acquire) || stealable(w);
}

/* Kernel threads of ours that show among the tasks of the process. */
static bool is_kernel_helper(const char *comm)
{
	return strncmp(comm, "iou-", 4) == 0;
}

/* OS threads of the process, or a number too large if that cannot be told.
 * Counted, not known by name: a program may call its threads what it likes. */
static unsigned threads_there(void)
{
	unsigned there = 0;
	char path[64], comm[32];
	struct dirent *entry;
	DIR *tasks = opendir("/proc/self/task");

	if (!tasks)
		return UINT32_MAX;
	while ((entry = readdir(tasks))) {
		if (entry->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "/proc/self/task/%.20s/comm", entry->d_name);
		long fd = sys3(SYS_open, path, O_RDONLY | O_CLOEXEC, 0);
		long n = fd < 0 ? 0 : sys3(SYS_read, fd, comm, sizeof(comm) - 1);
		if (fd >= 0)
			sys1(SYS_close, fd);
		comm[n > 0 ? n : 0] = 0;
		there += n > 0 && !is_kernel_helper(comm);
	}
	closedir(tasks);
	return there;
}

/* OS threads that are neither workers, nor monitor, nor of the offload pool:
 * any of them may wake a green thread one day. */
static bool others_exist(void)
{
	unsigned there = threads_there();

	/* The pool asked last: one of its threads that ends meanwhile passes for a
	 * stranger, and not the other way round. */
	return there >
	       rt.workers_count + 1 + monitor.sanitizers + offload_threads() + stacks_threads();
}

static uint64_t rounds_of_all(void)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < rt.workers_count; i++)
		sum += atomic_load_explicit(&worker_at(i)->rounds, memory_order_acquire);
	return sum;
}

static bool nothing_expected(void)
{
	for (unsigned i = 0; i < rt.workers_count; i++)
		if (expects(worker_at(i)))
			return false;
	return atomic_load_explicit(&rt.offloads, memory_order_acquire) == 0 &&
	       !atomic_load_explicit(&rt.stopping, memory_order_acquire);
}

/* Twice in a row, nobody has looked around in between, and nobody outside could
 * have changed anything: strangers are looked for first.  One that wakes a green
 * thread and ends is gone then, but what it did shows. */
static void look_for_deadlock(void)
{
	static uint64_t rounds_before;
	static bool suspected;
	uint64_t rounds = rounds_of_all();

	if (!suspected || rounds != rounds_before || !nothing_expected()) {
		suspected = nothing_expected();
		rounds_before = rounds;
		return;
	}
	suspected = false;
	if (sched_alive() == 0 || others_exist())
		return;
	if (!nothing_expected() || rounds_of_all() != rounds_before)
		return;
	if (atomic_exchange(&rt.deadlock, 1)) {
		/* Cancelled, and still they wait: they are beyond help. */
		runtime_stop_workers();
		return;
	}
	deadlock_report(2);
	runtime_cancel_all();
}

/* ---- the thread ----------------------------------------------------------- */

/* Without those who bring stacks back, threads would wait for ever. */
static void look_at_stacks(void)
{
	static const char said[] = "libgreen: the OS thread green-faults, which brings back "
				   "stacks that hibernate, has been ended by somebody; there is "
				   "another now\n";
	int r = stacks_watch();

	if (r < 0)
		fatal("an OS thread that brings back stacks (green-keeper, green-faults) has been "
		      "ended by somebody",
		      "find out who ends threads of this process (a seccomp filter?), or do "
		      "without (GREEN_FEATURES=-userfaultfd)");
	if (r > 0)
		sys3(SYS_write, 2, said, sizeof(said) - 1);
}

static void note_peak(void)
{
	uint64_t alive = sched_alive();

	if (alive > atomic_load_explicit(&rt.alive_peak, memory_order_relaxed))
		atomic_store_explicit(&rt.alive_peak, alive, memory_order_relaxed);
}

static int64_t tick(bool all_asleep)
{
	if (all_asleep)
		return TICK_IDLE_NS;
	if (monitor_preempt)
		return TICK_PREEMPT_NS;
	for (unsigned i = 0; i < rt.workers_count; i++)
		if (monitor.seen[i].slow)
			return TICK_SLOW_NS;
	return TICK_NS;
}

static void *monitor_thread(void *unused)
{
	int64_t due = INT64_MAX; /* the next look around */

	(void)unused;
	cpus_unbind();
	atomic_store_explicit(&monitor.begun, 1, memory_order_release);
	if (own_tls)
		sys_futex_wake((const uint32_t *)&monitor.begun, 1);
	for (;;) {
		/* Acquire pairs with the releases of monitor_ask() and monitor_stop(). */
		uint32_t asked = atomic_load_explicit(&monitor.asked, memory_order_acquire);
		if (asked & STOP)
			break;
		int64_t now = sys.now();
		bool all_asleep = true;
		forgive(now - due);
		monitor.due = turns_due(now);
		if (monitor.due)
			sched_wake_any();
		for (unsigned i = 0, first = monitor.next; i < rt.workers_count; i++) {
			unsigned at = (first + i) % rt.workers_count;
			look_at(worker_at(at), &monitor.seen[at], now);
			trace_hurry(&worker_at(at)->trace);
			all_asleep &= asleep(worker_at(at));
		}
		stall_tick(now);
		note_peak();
		trace_moment(now);
		look_at_stacks();
		if (monitor_also)
			monitor_also();
		/* Under interception a signal may end every wait. */
		if (all_asleep && !own_tls)
			look_for_deadlock();
		int64_t next = next_hurry(now, now + tick(all_asleep));
		if (next <= now)
			next = now + HURRY_AGAIN_NS; /* it has been asked */
		int64_t sweep = sweep_some(now);
		due = sweep < next ? sweep : next;
		sys_futex_wait((const uint32_t *)&monitor.asked, asked, due);
	}
	stall_stop();
	return NULL;
}

/* The thread sanitizer has a thread of its own, and in a forked child two; the
 * second comes with the first that the child makes, so it is counted after. */
static void count_sanitizers(void)
{
#if defined(GREEN_TSAN)
	unsigned there = threads_there() - rt.workers_count - 1 - offload_threads();

	monitor.sanitizers = there < 2 ? there : 2;
#endif
}

/* What libc does at a thread's beginning may wake one that changes the process's identity
 * (setuid(2)).  Once that may be a green thread, nobody would see it. */
static void await_begin(void)
{
	while (own_tls && !atomic_load_explicit(&monitor.begun, memory_order_acquire))
		sys_futex_wait((const uint32_t *)&monitor.begun, 0, INT64_MAX);
}

int monitor_start(void)
{
	int r = own_tls ? starter_start() : 0;

	if (r < 0)
		return r;
	atomic_store_explicit(&monitor.asked, 0, memory_order_relaxed);
	atomic_store_explicit(&monitor.begun, 0, memory_order_relaxed);
	memset(monitor.seen, 0, sizeof(monitor.seen));
	sweep_reset();
	r = os_thread_start(&monitor.thread, monitor_thread, NULL, 0, true);
	if (r == 0) {
		pthread_setname_np(monitor.thread, "green-monitor");
		await_begin();
	} else if (own_tls) {
		starter_stop();
	}
	count_sanitizers();
	return r;
}

void monitor_ask(void)
{
	atomic_fetch_add_explicit(&monitor.asked, ASK, memory_order_release);
	sys_futex_wake((const uint32_t *)&monitor.asked, 1);
}

void monitor_stop(void)
{
	atomic_fetch_or_explicit(&monitor.asked, STOP, memory_order_release);
	sys_futex_wake((const uint32_t *)&monitor.asked, 1);
	pthread_join(monitor.thread, NULL);
	if (own_tls)
		starter_stop();
}
