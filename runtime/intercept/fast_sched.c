/* SPDX-License-Identifier: MIT
 *
 * Scheduling as the program may ask for it: CPUs, policies, priorities.  A green thread
 * runs where and when a worker does, so these answer as for a thread that has what the
 * process has, and remember which CPUs were asked for.
 */
#include "arch/base.h"
#include "intercept/process.h"
#include "intercept/thread.h"
#include "worker.h"

#include <errno.h>
#include <sched.h>
#include <sys/resource.h>

/* 0 is the caller, who is one. */
bool fast_is_ours(long tid)
{
	int self = atomic_load_explicit(&thread_self_fast()->tid, memory_order_relaxed);

	return self && (tid == 0 || tid == self || tid_is_green(tid));
}

static struct thread *target(const struct call *c)
{
	long tid = (int)c->arg[0];

	return tid_is_green(tid) ? thread_find((int)tid) : thread_self_fast();
}

/* The call for the caller's OS thread. */
static long of_worker(struct call *c)
{
	c->arg[0] = 0;
	return CALL_PASS;
}

static long ask_worker(struct call *c)
{
	if (!fast_is_ours((int)c->arg[0]))
		return CALL_PASS;
	return target(c) ? of_worker(c) : -ESRCH;
}

long fast_sched_setaffinity(struct call *c)
{
	const unsigned long *mask = (const unsigned long *)c->arg[2];

	if (!fast_is_ours((int)c->arg[0]))
		return CALL_PASS;
	struct thread *t = target(c);
	if (!t)
		return -ESRCH;
	if (c->arg[1] < (long)sizeof(*mask))
		return -EINVAL;
	uint64_t allowed = *mask & threads_cpus[0];
	for (unsigned i = 1; !allowed && i < (unsigned long)c->arg[1] / sizeof(*mask) &&
	                     i < sizeof(threads_cpus) / sizeof(threads_cpus[0]);
	     i++)
		if (mask[i] & threads_cpus[i]) {
			t->cpus = 0; /* beyond what is remembered */
			return 0;
		}
	if (!allowed)
		return -EINVAL;
	t->cpus = allowed;
	return 0;
}

long fast_sched_getaffinity(struct call *c)
{
	unsigned long *mask = (unsigned long *)c->arg[2];

	if (!fast_is_ours((int)c->arg[0]))
		return CALL_PASS;
	const struct thread *t = target(c);
	if (!t)
		return -ESRCH;
	if (c->arg[1] < threads_cpus_bytes || c->arg[1] % (long)sizeof(*mask))
		return -EINVAL;
	for (long i = 0; i < threads_cpus_bytes / (long)sizeof(*mask); i++)
		mask[i] = !t->cpus ? threads_cpus[i] : i == 0 ? t->cpus : 0;
	return threads_cpus_bytes;
}

/* ---- what a process inherits ------------------------------------------------------- */

static void set_cpus(const unsigned long *mask, long bytes)
{
	call_raw(SYS_sched_setaffinity, 0, bytes, (long)mask, 0, 0, 0);
}

void cpus_of_thread(const struct thread *t)
{
	if (t->cpus)
		set_cpus(&t->cpus, sizeof(t->cpus));
	else if (rt.cpus[0] >= 0 && threads_cpus_bytes > 0)
		set_cpus(threads_cpus, threads_cpus_bytes);
}

void cpus_of_worker(const struct thread *t)
{
	const struct worker *w = base_gs();
	int cpu = rt.cpus[w->id];
	unsigned long mask[WORKERS_MAX / 64];

	if (cpu < 0) {
		if (t->cpus && threads_cpus_bytes > 0)
			set_cpus(threads_cpus, threads_cpus_bytes);
		return;
	}
	/* One by one: not by memset(3), which would use vector registers. */
	for (volatile unsigned long *word = mask; word < mask + WORKERS_MAX / 64; word++)
		*word = 0;
	mask[cpu / 64] = 1ul << (cpu % 64);
	set_cpus(mask, sizeof(mask));
}

/* ---- policies and priorities ---------------------------------------------------------- */

static bool is_real_time(int policy)
{
	policy &= ~SCHED_RESET_ON_FORK;
	return policy != SCHED_OTHER && policy != SCHED_BATCH && policy != SCHED_IDLE;
}

long fast_sched_setscheduler(struct call *c)
{
	const struct sched_param *param = (const struct sched_param *)c->arg[2];

	if (!fast_is_ours((int)c->arg[0]))
		return CALL_PASS;
	if (!target(c))
		return -ESRCH;
	if (is_real_time((int)c->arg[1]))
		return -EPERM;
	return !param || param->sched_priority != 0 ? -EINVAL : 0;
}

long fast_sched_setparam(struct call *c)
{
	const struct sched_param *param = (const struct sched_param *)c->arg[1];

	if (!fast_is_ours((int)c->arg[0]))
		return CALL_PASS;
	if (!target(c))
		return -ESRCH;
	return !param || param->sched_priority != 0 ? -EINVAL : 0;
}

long fast_sched_setattr(struct call *c)
{
	const uint32_t *attr = (const uint32_t *)c->arg[1]; /* size, policy … */

	if (!fast_is_ours((int)c->arg[0]))
		return CALL_PASS;
	if (!target(c))
		return -ESRCH;
	if (!attr)
		return -EINVAL;
	return is_real_time((int)attr[1]) ? -EPERM : 0;
}

long fast_sched_getscheduler(struct call *c)
{
	return ask_worker(c);
}

long fast_sched_getparam(struct call *c)
{
	return ask_worker(c);
}

long fast_sched_getattr(struct call *c)
{
	return ask_worker(c);
}

long fast_sched_rr_get_interval(struct call *c)
{
	return ask_worker(c);
}

/* which, who */
static bool is_about_thread(const struct call *c)
{
	return c->arg[0] == PRIO_PROCESS && tid_is_green((int)c->arg[1]);
}

long fast_getpriority(struct call *c)
{
	if (is_about_thread(c)) {
		if (!thread_find((int)c->arg[1]))
			return -ESRCH;
		c->arg[1] = 0;
	}
	return CALL_PASS;
}

long fast_setpriority(struct call *c)
{
	if (!is_about_thread(c))
		return CALL_PASS;
	return thread_find((int)c->arg[1]) ? 0 : -ESRCH;
}
