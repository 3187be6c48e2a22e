/* SPDX-License-Identifier: MIT
 *
 * The runtime's life: green_init, green_run, green_fini.  Everything hangs off
 * one struct, rt.
 */
#include "runtime.h"
#include "arch/os_thread.h"
#include "arch/switch.h"
#include "fault.h"
#include "fdtab.h"
#include "feature.h"
#include "flight.h"
#include "hibernate.h"
#include "io_buffer.h"
#include "io_op.h"
#include "noswitch.h"
#include "offload.h"
#include "options.h"
#include "overflow.h"
#include "scheduler.h"
#include "waiter.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

struct runtime rt;

static struct {
	pthread_mutex_t lock; /* init, fini and the beginning of run */
	_Atomic int running;  /* one green_run() at a time */
	green_fn fn;
	void *arg, *result;
	bool overflowed; /* fn has ended so */
} life = { .lock = PTHREAD_MUTEX_INITIALIZER };

/* ---- workers -------------------------------------------------------------- */

static size_t worker_bytes(void)
{
	return sizeof(struct worker) + sizeof(struct stack_cache) +
	       rt.workers_count * sizeof(uint16_t);
}

static void worker_free(struct worker *w)
{
	/* Requests that came too late: the threads shall be free to be listed. */
	uint32_t at = atomic_exchange_explicit(&w->attn, 0, memory_order_acquire);
	while (at && at != ~0u)
		at = atomic_exchange_explicit(&gt_at(at - 1)->attn, 0, memory_order_relaxed);
	deque_destroy(&w->fresh);
	timers_destroy(&w->timers);
	trace_worker_free(w);
	sys_unmap(w, worker_bytes());
}

static struct worker *worker_new(unsigned id, int cpu)
{
	long error;
	struct worker *w = sys_map(worker_bytes(), 0, &error);

	if (!w)
		return NULL;
	w->id = (uint16_t)id;
	w->cpu = cpu;
	w->stacks = (struct stack_cache *)(w + 1);
	w->victims = (uint16_t *)(w->stacks + 1);
	w->random = sys.seed() | 1;
	ring_init(&w->shared, 0);
	if (deque_init(&w->fresh, 1) < 0 || timers_init(&w->timers) < 0) {
		worker_free(w);
		return NULL;
	}
	return w;
}

static void workers_free(void)
{
	for (unsigned i = 0; i < rt.workers_count; i++) {
		struct worker *w = worker_at(i);
		atomic_store_explicit(&rt.workers[i], NULL, memory_order_release);
		if (w)
			worker_free(w);
	}
}

static int workers_new(void)
{
	unsigned n = cpus_for(rt.cpus, rt.workers_count);

	/* More workers than CPUs share them in turn; they are not pinned then. */
	for (unsigned i = 0; i < rt.workers_count; i++) {
		if (rt.options.no_pin || rt.workers_count > n)
			rt.cpus[i] = -1;
		struct worker *w = worker_new(i, rt.cpus[i]);
		if (!w)
			goto no_memory;
		atomic_store_explicit(&rt.workers[i], w, memory_order_release);
	}
	steal_init();
	return 0;
no_memory:
	workers_free();
	error_set("no memory for %u workers: set GREEN_WORKERS to fewer, or raise RLIMIT_AS or "
	          "RLIMIT_MEMLOCK (ulimit -v, -l)",
	          rt.workers_count);
	return -ENOMEM;
}

/* ---- init and fini -------------------------------------------------------- */

static int init_memory(void)
{
	struct green_options *o = &rt.options;
	struct stacks_config config = {
		.guard_size = o->guard_size,
		.slots_max = o->threads_max,
		.caches_max = rt.workers_count,
		.scrub = (enum stack_scrub)(o->scrub - GREEN_SCRUB_NONE),
		/* Without use for it, stacks are such as every debugger knows. */
		.no_userfaultfd =
			!feature_on(FEATURE_USERFAULTFD) || o->hibernate_after_ns == GREEN_FOREVER,
		.no_userfaultfd_kernel = !feature_on(FEATURE_USERFAULTFD_KERNEL),
		.no_write_protect = !feature_on(FEATURE_UFFD_WP),
		.no_move = !feature_on(FEATURE_UFFD_MOVE),
		.keep_fd = fd_private,
		.drop_fd = fd_private_close,
		.no_guard_install = !feature_on(FEATURE_GUARD_INSTALL),
		.watch_later = true,
		.or_never = !options_hibernation_asked(),
		.no_mprotect = !feature_on(FEATURE_MPROTECT_GUARD),
	};
	int r = fdtab_init();

	if (r < 0) {
		error_set("no address space for descriptors: raise RLIMIT_AS (ulimit -v)");
		return r;
	}
	r = stacks_init(&config);
	if (r == -EINVAL)
		error_set("guard_size: %zu does not fit into a stack", o->guard_size);
	else if (r < 0)
		error_set("no address space for stacks: raise RLIMIT_AS (ulimit -v; after "
		          "mlockall(2) also RLIMIT_MEMLOCK, ulimit -l), or set "
		          "GREEN_THREADS_MAX lower");
	if (r < 0)
		return r;
	feature_set(FEATURE_USERFAULTFD, stacks_rung() <= STACK_RUNG_USERFAULTFD);
	feature_set(FEATURE_USERFAULTFD_KERNEL, stacks_rung() == STACK_RUNG_USERFAULTFD_KERNEL);
	feature_set(FEATURE_UFFD_WP, stacks_can_hibernate());
	feature_set(FEATURE_UFFD_MOVE, stacks_can_hibernate() && stacks_can_move());
	feature_set(FEATURE_GUARD_INSTALL, stacks_install_guards());
	feature_set(FEATURE_MPROTECT_GUARD, stacks_rung() == STACK_RUNG_MPROTECT);
	/* More than there are stacks for would wait for one another for ever. */
	rt.count_exactly =
		o->threads_max || o->stack_bytes_max || stacks_capacity(0) < THREADS_MAX_DEFAULT;
	if (!o->threads_max || o->threads_max > stacks_capacity(0))
		o->threads_max = stacks_capacity(0);
	/* Where the address space is too short for that, stacks stay as they are. */
	if (o->hibernate_after_ns != GREEN_FOREVER)
		hibernate_init();
	rt.default_class = stack_class(o->stack_size);
	o->stack_size = stack_class_size((unsigned)rt.default_class);
	if (o->scrub != GREEN_SCRUB_NONE)
		rt.default_class |= GT_CLASS_SCRUB;
	/* OS threads and the workers' caches hold some descriptors too.  The table
	 * is made once a process: where addresses are free it is large enough for
	 * any later green_init(). */
	struct rlimit64 space = { RLIM64_INFINITY, RLIM64_INFINITY };
	sys4(SYS_prlimit64, 0, RLIMIT_AS, NULL, &space);
	r = space.rlim_cur == RLIM64_INFINITY ? gt_table_init(GT_INDEX_MASK) : -ENOMEM;
	if (r < 0)
		r = gt_table_init(o->threads_max + rt.workers_count * 8192 + 65536);
	if (r < 0) {
		error_set("no address space for descriptors: raise RLIMIT_AS (ulimit -v), or set "
		          "GREEN_THREADS_MAX lower");
		stacks_fini();
	}
	return r;
}

/* A lock that another thread holds at the moment of a fork is never let go in the
 * child.  So those that a child without a runtime may want are held by the forking
 * thread (green_init() and fini, descriptors) or made anew (pools of records); it
 * has no use for the others: those of workers, of stacks, of operations. */
static void fork_prepare(void)
{
	pthread_mutex_lock(&life.lock);
	hibernate_lock();
	gt_table_lock();
}

static void fork_parent(void)
{
	gt_table_unlock();
	hibernate_unlock();
	pthread_mutex_unlock(&life.lock);
}

/* Only the forking thread is left, on whatever stack it is.  It has no
 * runtime: rings, workers and other green threads are the parent's. */
static void fork_child(void)
{
	struct gt *self = gt_self();

	gt_table_unlock();
	hibernate_unlock();
	pthread_mutex_unlock(&life.lock);
	waiter_forked();
	if (atomic_load_explicit(&rt.state, memory_order_relaxed) != RUNTIME_NONE)
		stacks_forked(self && stack_is_slot(self->stack) ? self->stack : STACK_NONE);
	io_op_forked();
	io_buffer_forked();
	worker_set_self(NULL);
	if (atomic_load_explicit(&rt.state, memory_order_relaxed) == RUNTIME_NONE)
		return;
	atomic_store_explicit(&rt.state, RUNTIME_FORKED, memory_order_relaxed);
	gt_table_orphan();
}

_Noreturn void fork_child_returned(void)
{
	static const char text[] =
		"libgreen: a green thread's function returned in a forked child, which has no "
		"runtime to return to: end the child by exec or _exit\n";

	sys3(SYS_write, 2, text, sizeof(text) - 1);
	_exit(70);
}

static void once_per_process(void)
{
	pthread_atfork(fork_prepare, fork_parent, fork_child);
}

/* What green_info() counts, it counts since here. */
static void counts_reset(void)
{
	atomic_store_explicit(&rt.spawned_before, sched_spawned(), memory_order_relaxed);
	atomic_store_explicit(&rt.alive_peak, 0, memory_order_relaxed);
	atomic_store_explicit(&rt.stuck, 0, memory_order_relaxed);
	noswitch_reset();
	for (unsigned i = 0; i < rt.workers_count; i++) {
		struct worker *w = worker_at(i);
		atomic_store_explicit(&w->switches, 0, memory_order_relaxed);
		atomic_store_explicit(&w->steals, 0, memory_order_relaxed);
	}
}

static int init_locked(const struct green_options *options)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	static const struct green_options defaults;
	int state = atomic_load_explicit(&rt.state, memory_order_acquire);
	int r;

	if (state == RUNTIME_FORKED)
		return -EOWNERDEAD;
	if (state != RUNTIME_NONE)
		return -EALREADY;
	error_set("%s", "");
	pthread_once(&once, once_per_process);
	rt.options = options ? *options : defaults;
	if ((r = options_resolve(&rt.options)) < 0)
		return r;
	rt.workers_count = rt.options.workers;
	atomic_store_explicit(&rt.spawned_outside, 0, memory_order_relaxed);
	atomic_store_explicit(&rt.alive_exact, 0, memory_order_relaxed);
	switch_area_size();
	trace_init();
	if ((r = init_memory()) < 0)
		return r;
	if ((r = engine_choose()) < 0)
		goto no_engine;
	if ((r = workers_new()) < 0)
		goto no_engine;
	if ((r = fault_init()) < 0)
		goto no_fault;
	if ((r = flight_signal_start()) < 0) {
		error_set("flight_signal: signal %d cannot be handled", rt.options.flight_signal);
		goto no_signal;
	}
	counts_reset();
	engine_report();
	rt.options.features = NULL; /* was the caller's memory */
	atomic_store_explicit(&rt.state, RUNTIME_READY, memory_order_release);
	return 0;
no_signal:
	fault_fini();
no_fault:
	workers_free();
no_engine:
	stacks_fini();
	return r;
}

int green_init(const struct green_options *options)
{
	if (gt_self())
		return -EALREADY;
	pthread_mutex_lock(&life.lock);
	int r = init_locked(options);
	pthread_mutex_unlock(&life.lock);
	return r;
}

int green_fini(void)
{
	int r = 0;

	if (gt_self())
		return -EBUSY;
	pthread_mutex_lock(&life.lock);
	switch (atomic_load_explicit(&rt.state, memory_order_acquire)) {
	case RUNTIME_NONE:
		r = -ENXIO;
		break;
	case RUNTIME_FORKED:
		r = -EOWNERDEAD;
		break;
	default:
		if (atomic_load_explicit(&life.running, memory_order_acquire)) {
			r = -EBUSY;
			break;
		}
		atomic_store_explicit(&rt.state, RUNTIME_NONE, memory_order_release);
		while (atomic_load_explicit(&rt.visitors, memory_order_acquire))
			sys0(SYS_sched_yield);
		offload_stop();
		flight_signal_stop();
		fault_fini();
		workers_free();
		stacks_fini();
	}
	pthread_mutex_unlock(&life.lock);
	return r;
}

/* ---- run ------------------------------------------------------------------ */

void runtime_stop_workers(void)
{
	atomic_store_explicit(&rt.stopping, 1, memory_order_seq_cst);
	for (unsigned i = 0; i < rt.workers_count; i++)
		sched_wake_worker(worker_at(i));
}

void runtime_cancel_all(void)
{
	/* Threads that start from here on are cancelled (spawn_boot()): those alive
	 * that the walk does not see are among them. */
	atomic_store_explicit(&rt.draining, 1, memory_order_seq_cst);
	atomic_thread_fence(memory_order_seq_cst);
	for (uint32_t i = 1; i < gt_high(); i++) {
		struct gt *gt = gt_at(i);
		uint64_t id = atomic_load_explicit(&gt->id, memory_order_acquire);
		if ((id & GT_LIVE) && !(id & GT_FOREIGN))
			green_cancel(gt_gen(id) | i);
	}
}

void *runtime_main(void *unused)
{
	(void)unused;
	life.result = life.fn(life.arg);
	runtime_cancel_all();
	return NULL;
}

void *runtime_main_owes(void *unused)
{
	(void)unused;
	life.overflowed = true;
	runtime_cancel_all();
	return NULL;
}

static void *worker_thread(void *arg)
{
	struct worker *w = arg;
	char name[16];
	int r = worker_enter(w);

	snprintf(name, sizeof(name), "green-w%u", w->id);
	pthread_setname_np(pthread_self(), name);

	/* Release pairs with the acquire in workers_start(). */
	atomic_store_explicit(&w->started, r < 0 ? r : 1, memory_order_release);
	sys_futex_wake((const uint32_t *)&w->started, 1);
	if (r < 0)
		return NULL;
	worker_loop(w);
	worker_leave(w);
	return NULL;
}

static int worker_start(struct worker *w)
{
	int r = (int)sys_fault(SYS_clone);

	atomic_store_explicit(&w->started, 0, memory_order_relaxed);
	if (r == 0)
		r = os_thread_start(&w->thread, worker_thread, w, 0, false);
	if (r)
		return r;
	while ((r = atomic_load_explicit(&w->started, memory_order_acquire)) == 0)
		sys_futex_wait((const uint32_t *)&w->started, 0, INT64_MAX);
	if (r < 0)
		pthread_join(w->thread, NULL);
	return r < 0 ? r : 0;
}

static void workers_join(unsigned from, unsigned to)
{
	for (unsigned i = from; i < to; i++)
		pthread_join(worker_at(i)->thread, NULL);
}

static void start_error(unsigned worker, int error)
{
	const char *limit = "processes or descriptors (ulimit -u, -n)";

	if (error == -ENOMEM && rt.engine == &engine_uring)
		limit = "locked memory (ulimit -l), set GREEN_ENGINE=epoll";
	else if (error == -ENOMEM)
		limit = "memory (ulimit -v)";
	error_set("worker %u of %u cannot start: %s; raise the limit on %s, or set "
	          "GREEN_WORKERS to fewer",
	          worker, rt.workers_count, strerror(-error), limit);
}

static int workers_start(void)
{
	struct worker *first = worker_at(0);
	int r = stacks_start();
	unsigned i;

	if (r < 0) {
		error_set(
			"no worker can start without the thread that watches the stacks: %s; "
			"raise the limit on processes (ulimit -u), set GREEN_WORKERS to fewer, or "
			"GREEN_FEATURES=-userfaultfd",
			strerror(-r));
		return r;
	}
	if ((r = worker_enter(first)) < 0) {
		start_error(0, r);
		stacks_stop();
		return r;
	}
	for (i = 1; i < rt.workers_count; i++)
		if ((r = worker_start(worker_at(i))) < 0)
			break;
	if (r == 0)
		r = monitor_start();
	if (r == 0)
		return 0;
	start_error(i, r);
	runtime_stop_workers();
	workers_join(1, i);
	worker_leave(first);
	stacks_stop();
	return r;
}

static void run_reset(void)
{
	atomic_store_explicit(&rt.stopping, 0, memory_order_relaxed);
	atomic_store_explicit(&rt.draining, 0, memory_order_relaxed);
	atomic_store_explicit(&rt.deadlock, 0, memory_order_relaxed);
	atomic_store_explicit(&rt.spinning, 0, memory_order_relaxed);
	atomic_fetch_and_explicit(&rt.spawned_outside, ~SPAWNS_CLOSED, memory_order_seq_cst);
	life.result = NULL;
	life.overflowed = false;
	counts_reset();
	for (unsigned i = 0; i < rt.workers_count; i++) {
		struct worker *w = worker_at(i);
		w->spinner = false;
		w->idle_ewma_ns = 0;
		atomic_store_explicit(&w->stuck_since, 0, memory_order_relaxed);
	}
}

/* The calling thread is a worker for the time of the run. */
static int run_as_worker(void *pc)
{
	struct spawn main_thread = { .fn = runtime_main, .pc = pc, .worker = -1, .detached = true };
	struct green_attr attr = { .name = "main" };
	int r = workers_start();

	if (r < 0 && engine_fall_back(r)) {
		run_reset();
		r = workers_start();
	}
	if (r < 0)
		return r;
	main_thread.attr = &attr;
	atomic_store_explicit(&rt.state, RUNTIME_RUNNING, memory_order_release);
	r = sched_spawn(&main_thread, NULL);
	if (r < 0) {
		error_set("the first green thread cannot start: %s", strerror(-r));
		runtime_stop_workers();
	}
	worker_loop(worker_at(0));
	monitor_stop();
	atomic_store_explicit(&rt.state, RUNTIME_READY, memory_order_release);
	workers_join(1, rt.workers_count);
	worker_leave(worker_at(0));
	stacks_stop();
	if (unlikely(sched_alive() > 0))
		runtime_abandon();
	return r < 0 ? r : 0;
}

/* 0 and the run is this thread's; else -errno. */
static int run_claim(const struct green_options *usual)
{
	int state = atomic_load_explicit(&rt.state, memory_order_acquire);

	if (state == RUNTIME_FORKED)
		return -EOWNERDEAD;
	if (state == RUNTIME_NONE) {
		int r = init_locked(usual);
		if (r < 0)
			return r;
	}
	/* Acquire pairs with the release at the end of green_run(). */
	return atomic_exchange_explicit(&life.running, 1, memory_order_acquire) ? -EBUSY : 0;
}

bool runtime_is_claimed(void)
{
	return atomic_load_explicit(&life.running, memory_order_acquire);
}

static int run_begin(green_fn fn, void *arg)
{
	if (gt_self())
		return -EPERM;
	if (!fn)
		return -EINVAL;
	pthread_mutex_lock(&life.lock);
	int r = run_claim(NULL);
	pthread_mutex_unlock(&life.lock);
	if (r < 0)
		return r;
	error_set("%s", "");
	life.fn = fn;
	life.arg = arg;
	run_reset();
	return 0;
}

int runtime_start_here(const struct green_options *usual)
{
	pthread_mutex_lock(&life.lock);
	int r = run_claim(usual);
	pthread_mutex_unlock(&life.lock);
	if (r < 0)
		return r;
	run_reset();
	r = workers_start();
	if (r < 0 && engine_fall_back(r)) {
		run_reset();
		r = workers_start();
	}
	if (r == 0)
		atomic_store_explicit(&rt.state, RUNTIME_RUNNING, memory_order_release);
	return r;
}

int green_run(green_fn fn, void *arg, void **result)
{
	unsigned long affinity[WORKERS_MAX / 64] = { 0 };
	int r = run_begin(fn, arg);

	if (r < 0)
		return r;
	long bytes = sys3(SYS_sched_getaffinity, 0, sizeof(affinity), affinity);
	r = run_as_worker(PARK_PC);
	if (bytes > 0)
		sys3(SYS_sched_setaffinity, 0, bytes, affinity);
	if (r == 0 && atomic_load_explicit(&rt.deadlock, memory_order_relaxed)) {
		error_set("deadlock: every green thread waited for what could not happen; the "
		          "report on standard error names them");
		r = -EDEADLK;
	}
	if (r == 0 && life.overflowed) {
		error_set("the first green thread ran out of its stack; the report on standard "
		          "error says where");
		r = -EOVERFLOW;
	}
	if (r == 0 && result)
		*result = life.result;
	atomic_store_explicit(&life.running, 0, memory_order_release);
	return r;
}
