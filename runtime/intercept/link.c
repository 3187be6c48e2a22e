/* SPDX-License-Identifier: MIT
 *
 * Link mode: switching it on, and TLS blocks for green threads (link.h).
 */
#include "intercept/link.h"
#include "arch/base.h"
#include "fatal.h"
#include "green.h"
#include "intercept/before.h"
#include "intercept/dispatch.h"
#include "intercept/entry.h"
#include "intercept/futex.h"
#include "intercept/interceptors.h"
#include "intercept/kick.h"
#include "intercept/patch.h"
#include "intercept/route.h"
#include "intercept/signal.h"
#include "intercept/thread.h"
#include "intercept/thread_exit.h"
#include "intercept/wait.h"
#include "offload.h"
#include "options.h"
#include "runtime.h"
#include "scheduler.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

#define CLASSES 8

static pthread_attr_t attrs[CLASSES]; /* of threads of libc's, by stack class */
static uint64_t first_mask;           /* of who called green_intercept() */
static char first_name[THREAD_NAME_SIZE];

/* ---- a TLS block of its own ------------------------------------------------------- */

static never_inline void set_result(void *result)
{
	gt_self()->arg = result;
}

/* As a thread of libc's, on its stack. */
static void *run(void *arg)
{
	struct thread *t = thread_self();

	set_result(NULL); /* in case it ends by pthread_exit(3) */
	set_result(t->fn(arg));
	return NULL;
}

static int make_tls(struct worker *w, struct thread *t, unsigned class, void *arg)
{
	pthread_t libc_thread;
	int r;

	/* It has not run before: it stays on this worker. */
	while (w->makes_tls)
		sched_yield_self(w);
	w->makes_tls = true;
	t->adopts = true;
	r = pthread_create(&libc_thread, &attrs[class], run, arg);
	t->adopts = false;
	w->makes_tls = false;
	return r;
}

static void *boot(void *arg)
{
	struct gt *self = gt_self();
	struct thread *t = thread_of(self);

	self->fn = t->fn; /* for reports */
	if (make_tls(worker_self(), t, self->stack_class & GT_CLASS_MASK, arg) != 0)
		fatal("there is no memory for a green thread's thread-local storage",
		      "start fewer at once, or give those that need none of their own "
		      "green_attr.shared_tls");
	spawn_move(self, t->adopted_sp, t->adopted_fs, t->migratable);
}

/* What it has of the one that spawned it, as a thread of libc's has. */
static void inherit(struct thread *t, const struct thread *parent)
{
	atomic_store_explicit(&t->sigmask, parent ? signal_mask_of(parent) : first_mask,
	                      memory_order_relaxed);
	t->cpus = parent ? parent->cpus : 0;
	memcpy(t->name, parent ? parent->name : first_name, sizeof(t->name));
}

/* spawn_hook.  The record is this thread's from now on. */
static green_fn own_tls_first(struct gt *gt, const struct spawn *s)
{
	const struct gt *self = gt_self();

	if (gt_index(gt) >= THREADS_MAX)
		return NULL;
	struct thread *t = thread_of(gt);
	t->detained = t->adopts = false;
	t->call = NULL;
	t->room_call = NULL;
	t->clear_tid = NULL;
	t->robust_list = NULL;
	inherit(t, self ? thread_of(self) : NULL);
	if (s->system || (s->attr && s->attr->shared_tls))
		return s->fn;
	t->fn = s->fn;
	t->migratable = gt_kind(gt) & GT_KIND_MIGRATABLE;
	gt_set_kind(gt, gt_kind(gt) & (uint8_t)~GT_KIND_MIGRATABLE);
	return boot;
}

static void make_attrs(void)
{
	for (unsigned class = 0; class < CLASSES; class ++) {
		size_t size = class < STACK_CLASSES ? stack_class_size(class) : 0;

		pthread_attr_init(&attrs[class]);
		pthread_attr_setdetachstate(&attrs[class], PTHREAD_CREATE_DETACHED);
		if (size >= (size_t)PTHREAD_STACK_MIN)
			pthread_attr_setstacksize(&attrs[class], size);
	}
}

/* ---- switching it on ---------------------------------------------------------------- */

static int choose_mode(enum intercept_mode *mode, bool others)
{
	int r = intercept_mode_from_environment(mode);

	if (r < 0)
		return r;
	if (*mode == INTERCEPT_OFF) {
		error_set("GREEN_INTERCEPT=off");
		return -ENOTSUP;
	}
	if (others && (*mode == INTERCEPT_PATCH || *mode == INTERCEPT_BOTH)) {
		error_set("GREEN_INTERCEPT: there are other threads already: code can be rewritten "
		          "before green_init() only");
		return -EBUSY;
	}
	return 0;
}

static int worker_starts(struct worker *w)
{
	link_learn_mask(w);
	return interceptors_arm(w);
}

static void fill_table(void)
{
	calls[SYS_clone].fast = fast_link_clone;
	calls[SYS_clone3].fast = fast_link_clone3;
	calls[SYS_rt_sigaction] = (struct call_entry){ "rt_sigaction", fast_link_sigaction, NULL,
		                                       "handlers are plain code", CALL_THREADS };
	calls[SYS_rt_sigprocmask] = (struct call_entry){ "rt_sigprocmask", fast_link_sigprocmask,
		                                         NULL, "the worker's", CALL_THREADS };
	calls[SYS_tkill] = (struct call_entry){ "tkill", fast_link_tkill, NULL, "to its worker",
		                                CALL_THREADS };
	calls[SYS_tgkill] = (struct call_entry){ "tgkill", fast_link_tgkill, NULL, "to its worker",
		                                 CALL_THREADS };
	calls[SYS_rt_tgsigqueueinfo] =
		(struct call_entry){ "rt_tgsigqueueinfo", fast_link_tgsigqueueinfo, NULL,
		                     "to its worker", CALL_THREADS };
}

/* An OS thread that is no worker, or no longer: without a worker's gate (dispatch.h). */
static void arm_plainly(void)
{
	const uint64_t open = DISPATCH_SIGNAL;

	sys4(SYS_rt_sigprocmask, SIG_UNBLOCK, &open, NULL, sizeof(open));
	link_arm();
	futex_wake_green(NULL, 0); /* what libc has woken before */
}

/* Where no code is rewritten, calls of OS threads are seen that were armed. */
static int arm(void)
{
	if (patch_sites()) {
		worker_stop_hook = dispatch_disarm;
		return 0;
	}
	link_by_dispatch = true;
	offload_start_hook = worker_stop_hook = arm_plainly;
	return link_arm();
}

static int check(void)
{
	if (base_usable())
		return 0;
	error_set("green threads with thread-local storage of their own need FSGSBASE: "
	          "Linux 5.9 and a CPU that has it");
	return -ENOTSUP;
}

static int start(void)
{
	enum intercept_mode mode;
	bool others = before_has_threads();
	int r = check();

	if (r < 0 || (r = choose_mode(&mode, others)) < 0)
		return r;
	make_attrs();
	intercept_vector_init();
	sys4(SYS_rt_sigprocmask, SIG_BLOCK, NULL, &first_mask, sizeof(first_mask));
	sys2(SYS_prctl, PR_GET_NAME, first_name);
	if ((r = threads_init()) < 0) {
		error_set("no address space for threads: raise RLIMIT_AS (ulimit -v)");
		return r;
	}
	if ((r = interceptors_start(mode, others)) < 0)
		return r;
	thread_exit_init();
	route_start();
	kick_hear_faults();
	link_wake_start();
	/* Others than green threads may set them, unseen. */
	atomic_store_explicit(&wait_limits_used, true, memory_order_relaxed);
	atomic_store_explicit(&wait_lingers_used, true, memory_order_relaxed);
	/* The process itself: it does not end with its last green thread. */
	atomic_store_explicit(&threads_alive, 1, memory_order_relaxed);
	worker_start_hook = worker_starts;
	sched_switch_hook = link_switch_mask;
	spawn_hook = own_tls_first;
	own_tls = true;
	fill_table();
	link_on = true;
	intercept_begin();
	link_wrap_handlers();
	/* The caller sees handlers of signals as it installed them. */
	return arm();
}

/* What is in the table, but for what has not been asked for. */
static void narrow(unsigned set)
{
	static const unsigned groups[CALL_GROUP_COUNT] = {
		[CALL_SOCKETS] = GREEN_INTERCEPT_SOCKETS,
		[CALL_READINESS] = GREEN_INTERCEPT_READINESS,
		[CALL_TIME] = GREEN_INTERCEPT_TIME,
		[CALL_FILES] = GREEN_INTERCEPT_FILES,
		[CALL_THREADS] = GREEN_INTERCEPT_ALL, /* what threads of libc's rest on */
	};

	for (unsigned nr = 0; nr < CALL_NR_MAX; nr++) {
		bool wait = nr == SYS_wait4 || nr == SYS_waitid;
		unsigned needs = wait ? GREEN_INTERCEPT_PROCESSES : groups[calls[nr].group];

		if (calls[nr].name && !(set & needs))
			calls[nr] = (struct call_entry){ .name = NULL };
	}
	link_threads = set & GREEN_INTERCEPT_THREADS;
}

int green_intercept(unsigned set)
{
	int r;

	if (!set || set & ~GREEN_INTERCEPT_ALL)
		return -EINVAL;
	if (intercept_on)
		return -EALREADY;
	if (runtime_usable() == 0) {
		error_set("green_intercept() comes before green_run()");
		return -EBUSY;
	}
	if ((r = start()) < 0)
		return r;
	narrow(set);
	return 0;
}

int green_intercept_all(void)
{
	return green_intercept(GREEN_INTERCEPT_ALL);
}

/* ---- asking --------------------------------------------------------------------------- */

/* Functions whose system call bears another name. */
static const char *const aliases[][2] = {
	{ "recv", "recvfrom" },
	{ "send", "sendto" },
	{ "sleep", "clock_nanosleep" },
	{ "usleep", "clock_nanosleep" },
	{ "pselect", "pselect6" },
	{ "pread", "pread64" },
	{ "pwrite", "pwrite64" },
	{ "wait", "wait4" },
	{ "waitpid", "wait4" },
	{ "system", "wait4" },
	{ "pclose", "wait4" },
	{ "getaddrinfo", "poll" },
	{ "fread", "read" },
	{ "fgets", "read" },
	{ "fwrite", "write" },
	{ "printf", "write" },
	{ "pthread_mutex_lock", "futex" },
	{ "pthread_cond_wait", "futex" },
	{ "pthread_join", "futex" },
	{ "sem_wait", "futex" },
	{ "thrd_sleep", "clock_nanosleep" },
	{ "lockf", "fcntl" },
};

bool green_is_intercepted(const char *name)
{
	if (!intercept_on || !name)
		return false;
	if (strcmp(name, "pthread_create") == 0 || strcmp(name, "thrd_create") == 0)
		return !link_on || link_threads;
	for (unsigned i = 0; i < sizeof(aliases) / sizeof(aliases[0]); i++)
		if (strcmp(name, aliases[i][0]) == 0)
			name = aliases[i][1];
	for (unsigned nr = 0; nr < CALL_NR_MAX; nr++)
		if (calls[nr].name && strcmp(name, calls[nr].name) == 0)
			return true;
	return false;
}
