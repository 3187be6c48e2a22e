/* SPDX-License-Identifier: MIT
 *
 * Timers that signal one thread (SIGEV_THREAD_ID): libc's SIGEV_THREAD rests on them.
 *
 * The kernel knows no green thread.  The timer signals the process instead, by a number
 * of ours, and green-signals finds out by the timer's id which thread is meant.
 */
#include "intercept/posix_timer.h"
#include "intercept/signal.h"

#include <errno.h>
#include <string.h>
#include <time.h>

#define SIGNAL_TIMER SIGNAL_COUNT /* the program's own are told apart by si_code, si_tid */
#define TIMERS_MAX 4096u

struct posix_timer {
	_Atomic int tid; /* 0: free */
	int id, sig;
};

static struct {
	struct spin lock;
	struct posix_timer timers[TIMERS_MAX];
	uint32_t high;
} table;

/* The lock is held. */
static struct posix_timer *find(int id)
{
	for (uint32_t i = 0; i < table.high; i++)
		if (table.timers[i].tid && table.timers[i].id == id)
			return &table.timers[i];
	return NULL;
}

static struct posix_timer *reserve(void)
{
	struct posix_timer *timer = NULL;

	spin_lock(&table.lock);
	for (uint32_t i = 0; !timer && i < TIMERS_MAX; i++)
		if (!table.timers[i].tid)
			timer = &table.timers[i];
	if (timer) {
		timer->tid = -1;
		timer->id = -1;
		if (timer - table.timers >= table.high)
			table.high = (uint32_t)(timer - table.timers) + 1;
	}
	spin_unlock(&table.lock);
	return timer;
}

long call_timer_create(struct call *c)
{
	const struct sigevent *wanted = (const void *)c->arg[1];

	if (!wanted || wanted->sigev_notify != SIGEV_THREAD_ID)
		return CALL_PASS;
	int tid = wanted->_sigev_un._tid, id = 0;
	struct thread *t = tid == signals.pid ? NULL : thread_find(tid);
	if ((!t && tid != signals.pid) || wanted->sigev_signo < 1 ||
	    wanted->sigev_signo > SIGNAL_COUNT)
		return -EINVAL;
	struct posix_timer *timer = reserve();
	if (!timer)
		return -EAGAIN;
	struct sigevent real = *wanted;
	real.sigev_notify = SIGEV_SIGNAL;
	real.sigev_signo = SIGNAL_TIMER;
	long r = sys3(SYS_timer_create, c->arg[0], &real, &id);
	spin_lock(&table.lock);
	timer->id = id;
	timer->sig = wanted->sigev_signo;
	timer->tid = r < 0 ? 0 : tid;
	spin_unlock(&table.lock);
	if (r == 0)
		*(int *)c->arg[2] = id;
	return r;
}

long call_timer_delete(struct call *c)
{
	long r = call_real(c);

	if (r < 0)
		return r;
	spin_lock(&table.lock);
	struct posix_timer *timer = find((int)c->arg[0]);
	if (timer)
		timer->tid = 0;
	spin_unlock(&table.lock);
	return r;
}

struct thread *posix_timer_target(siginfo_t *info)
{
	int tid = 0;

	if (info->si_code != SI_TIMER || info->si_signo != SIGNAL_TIMER)
		return NULL;
	spin_lock(&table.lock);
	struct posix_timer *timer = find(info->si_timerid);
	if (timer && timer->tid > 0) {
		tid = timer->tid;
		info->si_signo = timer->sig;
	}
	spin_unlock(&table.lock);
	return tid ? thread_find(tid) : NULL;
}
