/* SPDX-License-Identifier: MIT
 *
 * alarm(2), setitimer(2), timer_create(2): signals that come by the clock.
 */
#include "hostile.h"

#include <setjmp.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static sigjmp_buf jump;
static int came, value;
static pthread_t taker;

static void counts(int sig)
{
	(void)sig;
	taker = pthread_self();
	add_one(&came);
}

static void jumps(int sig)
{
	siglongjmp(jump, sig);
}

static void timer_in_ms(int which, int ms, int again_ms)
{
	struct itimerval v = { { 0, again_ms * 1000 }, { 0, ms * 1000 } };

	say_result("setitimer", setitimer(which, &v, NULL));
}

/* The classic: an end for a call that takes none. */
CASE(alarm_and_jump)
{
	int p[2];
	char byte;

	handle(SIGALRM, jumps, 0);
	if (pipe(p))
		return;
	for (int volatile i = 0; i < 3; i++) {
		timer_in_ms(ITIMER_REAL, 10, 0);
		if (sigsetjmp(jump, 1) == 0)
			say_result("read", read(p[0], &byte, 1));
		else
			say("timed out");
	}
	say_threads_work();
}

CASE(alarm_out_of_a_loop)
{
	handle(SIGALRM, jumps, 0);
	for (int volatile i = 0; i < 3; i++) {
		timer_in_ms(ITIMER_REAL, 10, 0);
		if (sigsetjmp(jump, 1) == 0)
			for (;;)
				__asm__ volatile("");
		say("out of the loop");
	}
	say_threads_work();
}

static void *takes_alarms(void *unused)
{
	sigset_t set;
	int sig;

	(void)unused;
	sigemptyset(&set);
	sigaddset(&set, SIGALRM);
	for (int i = 0; i < 3; i++) {
		sigwait(&set, &sig);
		say("sigwait: SIG%s", sigabbrev_np(sig));
	}
	pthread_sigmask(SIG_UNBLOCK, &set, NULL);
	if (!reaches(&came, 3))
		say("no handler");
	say("by this thread: %d", pthread_equal(taker, pthread_self()) != 0);
	return NULL;
}

CASE(alarm_for_a_thread)
{
	sigset_t set;

	handle(SIGALRM, counts, SA_RESTART);
	sigemptyset(&set);
	sigaddset(&set, SIGALRM);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	pthread_t t = started(takes_alarms, NULL);
	timer_in_ms(ITIMER_REAL, 5, 5);
	joined(t);
	timer_in_ms(ITIMER_REAL, 0, 0);
}

static long cpu_time_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void *computes(void *unused)
{
	long before = cpu_time_ms();

	while (cpu_time_ms() - before < 60)
		for (int volatile i = 0; i < 100000; i++)
			;
	return unused;
}

CASE(timers_of_cpu_time)
{
	handle(SIGVTALRM, counts, SA_RESTART);
	handle(SIGPROF, counts, SA_RESTART);
	timer_in_ms(ITIMER_VIRTUAL, 4, 0);
	in_thread(computes, NULL);
	say("SIGVTALRM: %d", came);
	timer_in_ms(ITIMER_PROF, 4, 0);
	in_thread(computes, NULL);
	say("both: %d", came);
	sleep_ms(20);
	say("both: %d", came);
}

CASE(alarm_is_remembered)
{
	handle(SIGALRM, counts, 0);
	say_result("alarm", alarm(100));
	say_result("alarm", alarm(50) > 90);
	say_result("alarm", alarm(0) > 40);
	say_result("alarm", alarm(0));
	sleep_ms(5);
	say("came %d", came);
}

static void takes_value(int sig, siginfo_t *info, void *unused)
{
	(void)sig;
	(void)unused;
	value = info->si_value.sival_int;
	taker = pthread_self();
	if (info->si_code != SI_TIMER)
		say("code %d", info->si_code);
	add_one(&came);
}

static void *has_a_timer(void *unused)
{
	struct sigevent e = { .sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGRTMIN + 1 };
	struct itimerspec soon = { { 0, 2000000 }, { 0, 2000000 } };
	timer_t id;
	int before = came;

	e.sigev_value.sival_int = 1234;
	e._sigev_un._tid = gettid();
	say_result("timer_create", timer_create(CLOCK_MONOTONIC, &e, &id));
	timer_settime(id, 0, &soon, NULL);
	while (__atomic_load_n(&came, __ATOMIC_SEQ_CST) < before + 3)
		pause();
	say("value %d, here %d", value, pthread_equal(taker, pthread_self()) != 0);
	say_result("timer_delete", timer_delete(id));
	say_result("timer_delete", timer_delete(id));
	return unused;
}

CASE(timer_of_a_thread)
{
	struct sigaction action = { .sa_sigaction = takes_value,
		                    .sa_flags = SA_SIGINFO | SA_RESTART };

	sigaction(SIGRTMIN + 1, &action, NULL);
	in_thread(has_a_timer, NULL);
	has_a_timer(NULL);
}
