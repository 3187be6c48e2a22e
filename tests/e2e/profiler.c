/* SPDX-License-Identifier: MIT
 *
 * A sampling profiler to be preloaded, as profilers are: SIGPROF by setitimer()
 * and, for 10,000 samples a second, sent in turn to all threads that this has met.  PROFILER has
 * the words "altstack" (SA_ONSTACK, which moves the handler only where a thread has an alternate
 * stack), "backtrace" (unwinds by CFI) or "walk" (follows the frame pointers).
 *
 * It is for a program that works in processes which it forks, and itself waits for them:
 * those are profiled, from their fork on, and each prints "samples N deepest N" to
 * standard error when it ends.  Timers and threads do not survive a fork.
 */
#include <errno.h>
#include <execinfo.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#define DEPTH 64
#define TASKS 128

static _Atomic unsigned long samples;
static _Atomic int deepest;
static _Atomic pid_t tasks[TASKS]; /* threads that the timer has met; 0: free */
static bool unwind, profiled;

/* Frame pointers may be anything where a library was built without them: they are
 * read in a way that can fail. */
static int walk(const ucontext_t *context)
{
	uintptr_t frame[2] = { (uintptr_t)context->uc_mcontext.gregs[REG_RBP], 0 };
	int depth = 0;

	while (depth < DEPTH && frame[0]) {
		uintptr_t at = frame[0];
		struct iovec here = { frame, sizeof(frame) }, there = { (void *)at, sizeof(frame) };
		if (process_vm_readv(getpid(), &here, 1, &there, 1, 0) != sizeof(frame) ||
		    frame[0] <= at)
			break;
		depth++;
	}
	return depth;
}

/* Without a descriptor: the program may count its own. */
static void remember_task(void)
{
	pid_t self = gettid(), nobody = 0;
	unsigned n = 0;

	while (n < TASKS && atomic_load(&tasks[n]) != self)
		n++;
	for (unsigned i = 0; n == TASKS && i < TASKS; i++, nobody = 0)
		if (atomic_compare_exchange_strong(&tasks[i], &nobody, self))
			break;
}

static void sample(int signal, siginfo_t *info, void *context)
{
	void *frames[DEPTH];
	(void)signal;
	if (info->si_code == SI_KERNEL) /* the timer */
		remember_task();
	int error = errno;
	int depth = unwind ? backtrace(frames, DEPTH) : walk(context);
	int most = atomic_load(&deepest);

	atomic_fetch_add(&samples, 1);
	while (depth > most && !atomic_compare_exchange_weak(&deepest, &most, depth))
		;
	errno = error;
}

static void *send_signals(void *arg)
{
	const struct timespec pause = { 0, 100000 };
	unsigned i = 0;

	for (;; nanosleep(&pause, NULL)) {
		pid_t task = 0;
		for (unsigned n = 0; n < TASKS && !task; n++)
			task = atomic_load(&tasks[++i % TASKS]);
		if (task && syscall(SYS_tgkill, getpid(), task, SIGPROF) != 0)
			atomic_store(&tasks[i % TASKS], 0);
	}
	return arg;
}

static void begin(void)
{
	struct itimerval often = { { 0, 100 }, { 0, 100 } };
	sigset_t prof, before;
	pthread_t thread;

	profiled = true;
	sigemptyset(&prof);
	sigaddset(&prof, SIGPROF);
	pthread_sigmask(SIG_BLOCK, &prof, &before);
	int error = pthread_create(&thread, NULL, send_signals, NULL);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (error || setitimer(ITIMER_PROF, &often, NULL))
		abort();
}

__attribute__((constructor)) static void prepare(void)
{
	const char *how = getenv("PROFILER");
	struct sigaction action = { .sa_sigaction = sample, .sa_flags = SA_SIGINFO | SA_RESTART };
	void *frames[4];

	if (!how)
		return;
	unsetenv("LD_PRELOAD");
	unwind = strstr(how, "backtrace");
	if (strstr(how, "altstack"))
		action.sa_flags |= SA_ONSTACK;
	backtrace(frames, 4); /* loads its library now, not in the handler */
	if (sigaction(SIGPROF, &action, NULL) || pthread_atfork(NULL, NULL, begin))
		abort();
}

__attribute__((destructor)) static void end(void)
{
	if (profiled)
		fprintf(stderr, "samples %lu deepest %d\n", atomic_load(&samples),
		        atomic_load(&deepest));
}
