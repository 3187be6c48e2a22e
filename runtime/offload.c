/* SPDX-License-Identifier: MIT
 *
 * The offload pool: a queue of jobs and the OS threads that work it off.
 *
 * Life of a job: QUEUED -> RUNNING -> DONE, each change under the pool's lock.
 * A caller that gives up takes a QUEUED job out of the queue itself; of one
 * that is RUNNING it awaits the end.  Records are type-stable, and nothing of
 * them lies on a green stack.
 */
#include "offload.h"
#include "arch/base.h"
#include "arch/os_thread.h"
#include "options.h"
#include "park.h"
#include "scheduler.h"
#include "spin.h"
#include "starter.h"
#include "trace.h"
#include "worker.h"

#include <errno.h>
#include <pthread.h>
#include <sys/prctl.h>

#define JOB_SLAB 16384
#define OFFLOAD_STACK ((size_t)256 << 10)
#define OFFLOAD_MOST 4096

enum job_state { JOB_QUEUED, JOB_RUNNING, JOB_DONE };

struct job {
	struct job *next; /* queue, free list */
	green_fn fn;
	void *arg;
	void *result;
	struct park_ticket waiter; /* gt NULL: nobody waits just now */
	/* What a caller that is cancelled while fn runs does: nothing but wait,
	 * unless one of these is set (offload.h). */
	void (*abandon)(void *arg);
	void (*release)(void *arg);
	enum job_state state;
	bool left;      /* nobody waits any more */
	bool forgotten; /* nor does green_fini(): its thread has no slot any more */
	bool shielded;
	bool brief; /* offload_brief() */
};

/* WANTED: the starter shall make it. */
enum slot_state { SLOT_FREE, SLOT_WANTED, SLOT_TAKEN, SLOT_RUNS, SLOT_ENDED };

struct slot { /* one OS thread */
	pthread_t thread;
	enum slot_state state;
	bool had;        /* a thread that has ended, to be joined; while WANTED */
	struct job *job; /* it does, or NULL */
};

static struct {
	struct spin lock;
	uint32_t wake; /* futex: changes when a job comes or the pool stops */
	struct job *first, *last, *free;
	unsigned queued, idle, threads;
	bool stopping;
	struct slot *slots;
	unsigned slots_count, wanted;
} pool;

/* ---- jobs --------------------------------------------------------------------- */

/* The lock is held. */
static struct job *job_get(void)
{
	long error;

	if (!pool.free) {
		struct job *slab = sys_map(JOB_SLAB, 0, &error);
		if (!slab)
			return NULL;
		sys_name(slab, JOB_SLAB, "green: offload jobs");
		for (size_t i = 0; i < JOB_SLAB / sizeof(*slab); i++) {
			slab[i].next = pool.free;
			pool.free = &slab[i];
		}
	}
	struct job *job = pool.free;
	pool.free = job->next;
	return job;
}

static void job_put(struct job *job)
{
	spin_lock(&pool.lock);
	job->next = pool.free;
	pool.free = job;
	spin_unlock(&pool.lock);
}

/* The lock is held. */
static void enqueue(struct job *job)
{
	job->next = NULL;
	if (pool.last)
		pool.last->next = job;
	else
		pool.first = job;
	pool.last = job;
	pool.queued++;
}

/* Takes job out of the queue; the lock is held. */
static void dequeue(struct job *job)
{
	struct job *before = NULL;

	for (struct job *j = pool.first; j != job; j = j->next)
		before = j;
	if (before)
		before->next = job->next;
	else
		pool.first = job->next;
	if (pool.last == job)
		pool.last = before;
	pool.queued--;
}

/* ---- pool threads ---------------------------------------------------------------- */

static void clear_up(struct job *job)
{
	job->release(job->arg);
	job_put(job);
}

/* With the lock on entry and on return.  False: the job was forgotten, and so is the
 * slot. */
static bool work(struct slot *slot, struct job *job)
{
	slot->job = job;
	spin_unlock(&pool.lock);
	job->result = job->fn(job->arg);

	spin_lock(&pool.lock);
	if (job->forgotten) {
		spin_unlock(&pool.lock);
		clear_up(job);
		spin_lock(&pool.lock);
		return false;
	}
	slot->job = NULL;
	job->state = JOB_DONE;
	struct park_ticket waiter = job->waiter;
	bool left = job->left;
	pool.idle++; /* it will look at the queue at once: no need for another */
	spin_unlock(&pool.lock);
	if (left)
		clear_up(job);
	/* From here on job is the caller's.  Counted until it has been woken, so
	 * that nobody takes a thread waiting here for deadlocked. */
	if (waiter.gt)
		park_wake(waiter, WAKE_PEER);
	atomic_fetch_sub_explicit(&rt.offloads, 1, memory_order_release);
	spin_lock(&pool.lock);
	pool.idle--;
	return true;
}

/* The next job; NULL: none came, the thread shall end.  The lock is held on
 * entry and on return. */
static struct job *await_job(void)
{
	int64_t until = sys.now() + OFFLOAD_IDLE_NS;
	bool late = false;

	while (!pool.first && !pool.stopping && !late) {
		uint32_t seen = pool.wake;
		pool.idle++;
		spin_unlock(&pool.lock);
		late = sys_futex_wait(&pool.wake, seen, until) == -ETIMEDOUT;
		spin_lock(&pool.lock);
		pool.idle--;
	}
	struct job *job = pool.first;
	if (job) {
		dequeue(job);
		job->state = JOB_RUNNING;
	}
	return job;
}

void (*offload_start_hook)(void);

static void *offload_thread(void *arg)
{
	struct slot *slot = arg;
	struct job *job;

	sys2(SYS_prctl, PR_SET_NAME, "green-offload");
	cpus_unbind();
	if (offload_start_hook)
		offload_start_hook();
	spin_lock(&pool.lock);
	while ((job = await_job()) && work(slot, job))
		;
	if (!job) {
		slot->state = SLOT_ENDED;
		pool.threads--;
	}
	spin_unlock(&pool.lock);
	return NULL;
}

_Atomic bool offload_used;

static int thread_new(struct slot *slot)
{
	atomic_store_explicit(&offload_used, true, memory_order_relaxed);
	return os_thread_start(&slot->thread, offload_thread, slot, OFFLOAD_STACK, true);
}

/* Reserves the slots on first use; the lock is held. */
static bool slots_ready(void)
{
	long error;
	unsigned count = rt.options.offload_max;

	if (pool.slots)
		return true;
	/* Under interception a job may wait for what another one holds, a file's lock say:
	 * none may have to wait for a thread. */
	if (own_tls)
		count = OFFLOAD_MOST;
	else if (count == 0)
		count = 64;
	if (count > OFFLOAD_MOST)
		count = OFFLOAD_MOST;
	pool.slots = sys_map(count * sizeof(*pool.slots), 0, &error);
	pool.slots_count = pool.slots ? count : 0;
	return pool.slots != NULL;
}

/* A slot for a new thread, NULL: as many as may be; *join: it had a thread
 * that has ended.  The lock is held. */
static struct slot *slot_take(bool *join)
{
	if (!slots_ready())
		return NULL;
	for (unsigned i = 0; i < pool.slots_count; i++) {
		struct slot *slot = &pool.slots[i];
		if (slot->state == SLOT_FREE || slot->state == SLOT_ENDED) {
			*join = slot->state == SLOT_ENDED;
			slot->state = SLOT_TAKEN;
			pool.threads++;
			return slot;
		}
	}
	return NULL;
}

static int start_thread(struct slot *slot, bool join)
{
	if (join)
		pthread_join(slot->thread, NULL); /* in its last instructions */
	int r = (int)sys_fault(SYS_clone3);
	if (r == 0)
		r = thread_new(slot);
	spin_lock(&pool.lock);
	if (r < 0) {
		slot->state = SLOT_FREE;
		pool.threads--;
	} else if (slot->state == SLOT_TAKEN) {
		slot->state = SLOT_RUNS; /* it may have ended already */
	}
	spin_unlock(&pool.lock);
	return r;
}

/* See starter.h. */
static void let_starter_start(struct slot *slot, bool join)
{
	spin_lock(&pool.lock);
	slot->had = join;
	slot->state = SLOT_WANTED;
	pool.wanted++;
	spin_unlock(&pool.lock);
	starter_ask();
}

bool offload_grow(void)
{
	bool all = true;

	spin_lock(&pool.lock);
	for (unsigned i = 0; pool.wanted && i < pool.slots_count; i++) {
		struct slot *slot = &pool.slots[i];
		if (slot->state != SLOT_WANTED)
			continue;
		slot->state = SLOT_TAKEN;
		pool.wanted--;
		spin_unlock(&pool.lock);
		int r = start_thread(slot, slot->had);
		spin_lock(&pool.lock);
		if (r == 0)
			continue;
		/* Jobs wait for it: again a little later. */
		all = false;
		slot->state = SLOT_WANTED;
		slot->had = false;
		pool.threads++;
		pool.wanted++;
		break;
	}
	spin_unlock(&pool.lock);
	return all;
}

/* ---- callers ------------------------------------------------------------------------ */

/* Sees to it that somebody works on the job just queued.  The lock is held on
 * entry, not on return.  -EAGAIN: nobody ever will. */
static int attract_thread(struct job *job)
{
	struct slot *slot = NULL;
	bool join = false, helped = pool.idle > 0;
	int r = 0;

	if (pool.queued > pool.idle)
		slot = slot_take(&join);
	pool.wake++;
	spin_unlock(&pool.lock);
	if (helped)
		sys_futex_wake(&pool.wake, 1);
	if (slot && own_tls) {
		let_starter_start(slot, join);
		helped = true;
	} else if (slot && start_thread(slot, join) == 0) {
		helped = true;
	}
	if (helped)
		return 0;
	spin_lock(&pool.lock);
	if (pool.threads == 0 && job->state == JOB_QUEUED) {
		dequeue(job);
		r = -EAGAIN;
	}
	spin_unlock(&pool.lock);
	return r;
}

/* Waits for the end of job once: WAKE_PEER when it is done. */
static enum wake_reason await_end(struct job *job, unsigned flags, void *pc)
{
	struct park_ticket ticket = park_begin(gt_self(), PARK_OFFLOAD, NULL, pc);

	spin_lock(&pool.lock);
	bool done = job->state == JOB_DONE;
	if (!done)
		job->waiter = ticket;
	spin_unlock(&pool.lock);
	if (!done)
		return park_commit(ticket, flags, GREEN_FOREVER);
	if (!park_abort(ticket))
		park_commit(ticket, PARK_SHIELDED, GREEN_FOREVER);
	return WAKE_PEER;
}

/* The caller's wait was ended: takes the job back if it has not begun, or
 * leaves it if it may.  The state it was found in. */
static enum job_state withdraw(struct job *job, bool *left)
{
	spin_lock(&pool.lock);
	enum job_state state = job->state;
	if (state == JOB_QUEUED)
		dequeue(job);
	job->waiter.gt = NULL;
	job->left = *left = state == JOB_RUNNING && job->release;
	spin_unlock(&pool.lock);
	if (state == JOB_QUEUED)
		atomic_fetch_sub_explicit(&rt.offloads, 1, memory_order_release);
	return state;
}

static int await_job_end(struct job *job, bool *left, void *pc)
{
	enum wake_reason reason = await_end(job, job->shielded ? PARK_SHIELDED : 0, pc);
	int r = 0;

	if (reason == WAKE_PEER)
		return 0;
	switch (withdraw(job, left)) {
	case JOB_DONE:
		return 0;
	case JOB_QUEUED:
		return park_error(reason);
	case JOB_RUNNING:
		break;
	}
	if (*left)
		return park_error(reason);
	if (job->abandon) {
		job->abandon(job->arg);
		r = park_error(reason);
	}
	while (await_end(job, PARK_SHIELDED, pc) != WAKE_PEER)
		;
	return r;
}

/* Does it here if it is brief and nobody idle would take it: a new thread may come only when
 * the caller has let go of a lock, but for the next one.  The lock is held on entry, and on
 * return if it has not done it. */
static bool done_here(const struct job *how)
{
	bool join = false;

	if (!how->brief || !own_tls || pool.idle > pool.queued)
		return false;
	struct slot *slot = pool.wanted ? NULL : slot_take(&join);
	spin_unlock(&pool.lock);
	if (slot)
		let_starter_start(slot, join);
	how->fn(how->arg);
	return true;
}

/* Has the job that how describes done by the pool; *job: to be put back, unless it is still
 * being done.  NULL: it is over, without the pool. */
static int have_done(const struct job *how, struct job **job, bool *left, void *pc)
{
	spin_lock(&pool.lock);
	*job = NULL;
	if (done_here(how))
		return 0;
	*job = job_get();
	if (!*job) {
		spin_unlock(&pool.lock);
		return -ENOMEM;
	}
	**job = *how;
	atomic_fetch_add_explicit(&rt.offloads, 1, memory_order_relaxed);
	enqueue(*job);
	int r = attract_thread(*job);
	if (r == 0)
		return await_job_end(*job, left, pc);
	atomic_fetch_sub_explicit(&rt.offloads, 1, memory_order_release);
	return r;
}

/* Does the job that how describes; *left: it is still being done. */
static int run_job(const struct job *how, void **result, bool *left, void *pc)
{
	struct job *job;

	*left = false;
	int r = how->shielded ? 0 : park_check(gt_self());
	if (r < 0)
		return r;
	if (trace_wants(block_enter))
		probe_block_enter(gt_handle(gt_self()), pc, (uintptr_t)how->fn, how->arg);
	int64_t since = trace_wants(block_exit) ? sys.now() : 0;
	r = have_done(how, &job, left, pc);
	if (since && trace_wants(block_exit))
		probe_block_exit(gt_handle(gt_self()), pc, (uintptr_t)how->fn, sys.now() - since);
	if (*left || !job)
		return r;
	if (r == 0 && result)
		*result = job->result;
	job_put(job);
	return r;
}

int offload_run(green_fn fn, void *arg, void **result, void (*abandon)(void *arg), void *pc)
{
	struct job how = { .fn = fn, .arg = arg, .abandon = abandon, .state = JOB_QUEUED };
	bool left;

	return run_job(&how, result, &left, pc);
}

int offload_to_end(green_fn fn, void *arg, void *pc)
{
	struct job how = { .fn = fn, .arg = arg, .state = JOB_QUEUED, .shielded = true };
	bool left;

	return run_job(&how, NULL, &left, pc);
}

int offload_brief(green_fn fn, void *arg, bool shielded, void *pc)
{
	struct job how = {
		.fn = fn, .arg = arg, .state = JOB_QUEUED, .shielded = shielded, .brief = true
	};
	bool left;

	return run_job(&how, NULL, &left, pc);
}

int offload_leave(green_fn fn, void *arg, void (*release)(void *arg), bool *left, void *pc)
{
	struct job how = { .fn = fn, .arg = arg, .release = release, .state = JOB_QUEUED };

	return run_job(&how, NULL, left, pc);
}

int green_offload(green_fn fn, void *arg, void **result)
{
	struct gt *self = gt_self();

	if (!self) {
		void *value = fn(arg);
		if (result)
			*result = value;
		return 0;
	}
	trace_enter(PARK_PC, PARK_OFFLOAD, (uintptr_t)fn);
	/* The argument usually lies on the caller's stack. */
	stack_id stack = self->stack;
	stack_pin(stack);
	int r = offload_run(fn, arg, result, NULL, PARK_PC);
	stack_unpin(stack);
	return r;
}

unsigned offload_threads(void)
{
	spin_lock(&pool.lock);
	unsigned n = pool.threads;
	spin_unlock(&pool.lock);
	return n;
}

/* Awaits the end of the slot's thread.  What it does for nobody may take for ever (a FIFO
 * without another side): then the thread goes on by itself, and clears up after that. */
static void stop_thread(struct slot *slot)
{
	spin_lock(&pool.lock);
	bool runs = slot->state > SLOT_WANTED;
	bool forget = runs && slot->job && slot->job->left;
	if (forget) {
		slot->job->forgotten = true;
		pool.threads--;
	}
	spin_unlock(&pool.lock);
	if (forget) {
		atomic_fetch_sub_explicit(&rt.offloads, 1, memory_order_release);
		pthread_detach(slot->thread);
	} else if (runs) {
		pthread_join(slot->thread, NULL);
	}
}

void offload_stop(void)
{
	spin_lock(&pool.lock);
	pool.stopping = true;
	pool.wake++;
	spin_unlock(&pool.lock);
	sys_futex_wake(&pool.wake, INT32_MAX);
	for (unsigned i = 0; i < pool.slots_count; i++)
		stop_thread(&pool.slots[i]);
	sys_unmap(pool.slots, pool.slots_count * sizeof(*pool.slots));
	pool.slots = NULL;
	pool.slots_count = 0;
	pool.stopping = false;
}
