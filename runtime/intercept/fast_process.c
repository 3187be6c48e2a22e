/* SPDX-License-Identifier: MIT
 *
 * Which clone(2) makes what: a thread, which is a green thread (thread.c); a process with
 * memory of its own (process.c); or one that shares ours until it executes a program.
 *
 * That last one runs as the caller in every way but that it is no worker (the entry takes
 * its GS base away): all its calls are the kernel's.  It goes on to execve(2) with the
 * mask and the CPUs that the program thinks it has; the caller's OS thread stands still
 * meanwhile.
 */
#include "intercept/process.h"
#include "intercept/signal.h"

#include <linux/sched.h>

static void set_real_mask(uint64_t mask)
{
	call_raw(SYS_rt_sigprocmask, SIG_SETMASK, (long)&mask, 0, sizeof(mask), 0, 0);
}

static long birth(uint64_t flags, bool has_stack)
{
	if (flags & CLONE_THREAD)
		return CALL_MORE;
	if (!(flags & CLONE_VM) && !has_stack)
		return CALL_MORE;
	/* Whole: until the kernel has it nothing is dispatched here. */
	set_real_mask(signal_mask_of(thread_self_fast()));
	cpus_of_thread(thread_self_fast());
	return CALL_PASS;
}

long fast_clone3(struct call *c)
{
	const struct clone_args *args = (const struct clone_args *)c->arg[0];

	if (c->arg[1] < CLONE_ARGS_SIZE_VER0 || !args)
		return CALL_PASS;
	return birth(args->flags, args->stack != 0);
}

long fast_clone(struct call *c)
{
	return birth((uint64_t)c->arg[0], c->arg[1] != 0);
}

long fast_vfork(struct call *c)
{
	(void)c;
	return birth(CLONE_VM | CLONE_VFORK, false);
}

long fast_born(struct call *c)
{
	set_real_mask(signals.real_mask);
	cpus_of_worker(thread_self_fast());
	return c->arg[5];
}
