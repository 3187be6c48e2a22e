/* SPDX-License-Identifier: MIT
 *
 * What a thread asks about itself, or tells the kernel about itself.
 */
#include "intercept/thread.h"

#include <errno.h>
#include <sys/prctl.h>

static int own_tid(void)
{
	/* Relaxed: nobody else writes that of a thread that runs. */
	return atomic_load_explicit(&thread_self_fast()->tid, memory_order_relaxed);
}

long fast_gettid(struct call *c)
{
	int tid = own_tid();

	(void)c;
	return tid ? tid : CALL_PASS;
}

long fast_set_tid_address(struct call *c)
{
	struct thread *t = thread_self_fast();

	if (!own_tid())
		return CALL_PASS;
	t->clear_tid = (int *)c->arg[0];
	return own_tid();
}

long fast_set_robust_list(struct call *c)
{
	struct thread *t = thread_self_fast();

	if (!own_tid())
		return CALL_PASS;
	if (c->arg[1] != 3 * sizeof(long)) /* struct robust_list_head */
		return -EINVAL;
	t->robust_list = (void *)c->arg[0];
	return 0;
}

long fast_get_robust_list(struct call *c)
{
	const struct thread *t = thread_self_fast();
	long tid = c->arg[0];

	if (!own_tid())
		return CALL_PASS;
	if (tid != 0 && tid != own_tid()) {
		if (!tid_is_green(tid))
			return CALL_PASS;
		if (!(t = thread_find((int)tid)))
			return -ESRCH;
	}
	*(void **)c->arg[1] = t->robust_list;
	*(size_t *)c->arg[2] = 3 * sizeof(long);
	return 0;
}

/* What the kernel writes there for one OS thread would be true of the next green thread
 * that runs on it.  libc asks getcpu(2) instead. */
long fast_rseq(struct call *c)
{
	(void)c;
	return own_tid() ? -ENOSYS : CALL_PASS;
}

static void set_name(struct thread *t, const char *name)
{
	unsigned i = 0;

	for (; i < THREAD_NAME_SIZE - 1 && name[i]; i++)
		t->name[i] = name[i];
	t->name[i] = 0;
}

static long get_name(const struct thread *t, char *name)
{
	for (unsigned i = 0; i < THREAD_NAME_SIZE; i++)
		name[i] = t->name[i];
	return 0;
}

/* The first thread's name is the process's too, and its OS thread is the first. */
long fast_prctl(struct call *c)
{
	struct thread *t = thread_self_fast();
	bool first = !tid_is_green(own_tid());

	switch (c->arg[0]) {
	case PR_SET_NAME:
		set_name(t, (const char *)c->arg[1]);
		return first ? CALL_PASS : 0;
	case PR_GET_NAME:
		return first ? CALL_PASS : get_name(t, (char *)c->arg[1]);
	case PR_GET_TID_ADDRESS:
		if (!own_tid())
			return CALL_PASS;
		*(int **)c->arg[1] = t->clear_tid;
		return 0;
	default:
		return CALL_PASS;
	}
}
