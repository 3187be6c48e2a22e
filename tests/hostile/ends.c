/* SPDX-License-Identifier: MIT
 *
 * How processes end: by signals, by faults, by exit from anywhere, by another program.
 */
#include "hostile.h"

#include <assert.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

static void no_core(void)
{
	setrlimit(RLIMIT_CORE, &(struct rlimit){ 0, 0 });
}

static void *waits(void *unused)
{
	for (;;)
		pause();
	return unused;
}

/* Some wait, and then a thread does it. */
static void end_by(void *(*run)(void *))
{
	no_core();
	for (int i = 0; i < 3; i++)
		started(waits, NULL);
	sleep_ms(2);
	in_thread(run, NULL);
	say("still here");
}

static void *aborts(void *unused)
{
	(void)unused;
	abort();
}

CASE(end_by_abort)
{
	end_by(aborts);
}

static void *asserts(void *unused)
{
	fclose(stderr);
	assert(unused);
	return NULL;
}

CASE(end_by_assert)
{
	end_by(asserts);
}

static int volatile zero;

static void *divides(void *unused)
{
	say("%d", 1 / zero);
	return unused;
}

CASE(end_by_division)
{
	end_by(divides);
}

static void *writes_nowhere(void *unused)
{
	*(int volatile *)8 = 1;
	return unused;
}

CASE(end_by_fault)
{
	end_by(writes_nowhere);
}

static void *traps(void *unused)
{
	__builtin_trap();
	return unused;
}

CASE(end_by_trap)
{
	end_by(traps);
}

static void *breaks(void *unused)
{
	__asm__ volatile("int3");
	return unused;
}

CASE(end_by_breakpoint)
{
	end_by(breaks);
}

static void *reads_behind_the_end(void *unused)
{
	char path[] = "/tmp/hostile.XXXXXX";
	int fd = mkstemp(path);
	volatile char *p = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);

	unlink(path);
	say("%d", p[100]);
	return unused;
}

CASE(end_by_bus_error)
{
	end_by(reads_behind_the_end);
}

static void *kills_itself(void *unused)
{
	kill(getpid(), SIGKILL);
	return unused;
}

CASE(end_by_kill)
{
	end_by(kills_itself);
}

static void *terminates_main(void *unused)
{
	/* NOLINTNEXTLINE(bugprone-bad-signal-to-kill-thread): to end the process by it */
	pthread_kill(*(pthread_t *)unused, SIGTERM);
	return waits(unused);
}

CASE(end_by_a_signal_to_main)
{
	pthread_t self = pthread_self();

	no_core();
	started(terminates_main, &self);
	for (;;)
		pause();
}

static void *quits_by_sigqueue(void *unused)
{
	sigqueue(getpid(), SIGRTMIN + 3, (union sigval){ 0 });
	return waits(unused);
}

CASE(end_by_a_real_time_signal)
{
	end_by(quits_by_sigqueue);
}

/* A handler that puts back the default and raises it again, as those do that report. */
static void reports(int sig)
{
	say("reporting %s", sigabbrev_np(sig));
	signal(sig, SIG_DFL);
	raise(sig);
}

CASE(end_by_a_fault_that_is_reported)
{
	handle(SIGSEGV, reports, 0);
	end_by(writes_nowhere);
}

CASE(end_by_an_abort_that_is_reported)
{
	handle(SIGABRT, reports, 0);
	end_by(aborts);
}

/* ... or returns, and faults again. */
static void reports_and_returns(int sig)
{
	say("reporting %s", sigabbrev_np(sig));
	signal(sig, SIG_DFL);
}

CASE(end_by_a_fault_again)
{
	handle(SIGSEGV, reports_and_returns, 0);
	end_by(writes_nowhere);
}

CASE(end_by_a_fault_with_that_blocked)
{
	sigset_t all;

	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, NULL);
	handle(SIGSEGV, reports, 0);
	end_by(writes_nowhere);
}

CASE(end_by_a_fault_that_is_ignored)
{
	handle(SIGSEGV, SIG_IGN, 0);
	end_by(writes_nowhere);
}

static void *bad_call(void *unused)
{
	syscall(SYS_exit_group, 41);
	return unused;
}

CASE(end_by_exit_group)
{
	end_by(bad_call);
}

static void at_exit_first(void)
{
	say("registered first");
}

static void at_exit_second(void)
{
	say("registered second");
	say_threads_work();
}

static void *exits(void *unused)
{
	(void)unused;
	exit(17);
}

CASE(end_by_exit)
{
	atexit(at_exit_first);
	atexit(at_exit_second);
	end_by(exits);
}

static void exits_in_handler(int sig)
{
	exit(sig);
}

static void *raises(void *unused)
{
	raise(SIGUSR1);
	return unused;
}

CASE(end_by_exit_in_a_handler)
{
	atexit(at_exit_first);
	handle(SIGUSR1, exits_in_handler, 0);
	end_by(raises);
}

static void ends_the_thread(int sig)
{
	(void)sig;
	pthread_exit((void *)5);
}

CASE(end_of_a_thread_in_a_handler)
{
	handle(SIGUSR1, ends_the_thread, 0);
	say("%d", (int)(intptr_t)in_thread(raises, NULL));
	say_threads_work();
}

/* ---- another program --------------------------------------------------------------- */

static void *executes(void *unused)
{
	execl("/bin/sh", "sh", "-c", "echo executed; kill -TERM $$", NULL);
	return unused;
}

CASE(end_by_exec)
{
	end_by(executes);
}

CASE(end_by_exec_of_main)
{
	pthread_t t = started(waits, NULL);

	(void)t;
	setvbuf(stdout, NULL, _IONBF, 0);
	executes(NULL);
}

/* What passes to the program executed: mask, ignored signals, alarm, pid. */
static void *executes_with_state(void *unused)
{
	sigset_t mask;
	char text[200];

	sigemptyset(&mask);
	sigaddset(&mask, SIGUSR2);
	sigaddset(&mask, SIGTERM);
	pthread_sigmask(SIG_SETMASK, &mask, NULL);
	handle(SIGHUP, SIG_IGN, 0);
	handle(SIGUSR1, reports, 0);
	snprintf(text, sizeof(text),
	         "test $$ = %d && echo the same; grep -E '^Sig(Blk|Ign|Cgt)' /proc/self/status",
	         (int)getpid());
	execl("/bin/bash", "bash", "-c", text, NULL);
	return unused;
}

CASE(exec_keeps_what_it_should)
{
	end_by(executes_with_state);
}

static void *executes_nothing(void *unused)
{
	say_result("execve", execl("/no/such/program", "x", NULL));
	return unused;
}

CASE(exec_that_fails)
{
	in_thread(executes_nothing, NULL);
	executes_nothing(NULL);
	say_threads_work();
}

static void executes_in_handler(int sig)
{
	(void)sig;
	execl("/bin/sh", "sh", "-c", "echo from a handler; exit 3", NULL);
}

CASE(exec_in_a_handler)
{
	handle(SIGUSR1, executes_in_handler, 0);
	end_by(raises);
}
