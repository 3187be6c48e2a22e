/* SPDX-License-Identifier: MIT
 *
 * Signals that end calls: by EINTR, not at all, by a siglongjmp(3) out of the handler.
 */
#include "calls.h"
#include "hostile.h"

#include <errno.h>
#include <setjmp.h>
#include <string.h>
#include <unistd.h>

#define SIGNALS 3

static __thread sigjmp_buf jump;
static int armed, handled, over;

static void counts(int sig)
{
	(void)sig;
	add_one(&handled);
}

static void jumps(int sig)
{
	add_one(&handled);
	siglongjmp(jump, sig);
}

/* ---- out of a call ---------------------------------------------------------------------- */

static void *signals_main(void *argument)
{
	pthread_t target = *(pthread_t *)argument;

	if (!reaches(&armed, 1))
		say("never armed");
	sleep_ms(3);
	pthread_kill(target, SIGUSR1);
	return NULL;
}

/* In the calling thread, twice; its mask has to be what it was. */
static void *jumps_out(void *argument)
{
	const struct waiting *w = argument;
	pthread_t self = pthread_self();

	for (volatile int i = 0; i < 2; i++) {
		sigset_t mask;
		pthread_t t;
		set(&armed, 0);
		t = started(signals_main, &self);
		int sig = sigsetjmp(jump, 1);
		if (sig == 0) {
			set(&armed, 1);
			say_result(w->name, w->call());
		} else if (sig != SIGUSR1) {
			say("%s: jumped with %d", w->name, sig);
		}
		joined(t);
		pthread_sigmask(SIG_BLOCK, NULL, &mask);
		if (sigismember(&mask, SIGUSR1))
			say("%s: the signal stays blocked", w->name);
	}
	return NULL;
}

CASE(jump_out_of_calls)
{
	waiting_prepare();
	handle(SIGUSR1, jumps, 0);
	for (unsigned i = 0; i < waiting_count; i++) {
		jumps_out((void *)&waiting_calls[i]);
		in_thread(jumps_out, (void *)&waiting_calls[i]);
		say("%s: %d jumps", waiting_calls[i].name, handled);
		handled = 0;
	}
	waiting_clean();
	say_threads_work();
}

/* ---- EINTR or again -------------------------------------------------------------------- */

static void *makes_the_call(void *argument)
{
	const struct waiting *w = argument;
	const char *name = w->name;

	if (sigsetjmp(jump, 1)) {
		say("%s: goes on waiting", name);
	} else {
		set(&armed, 1);
		say_result(name, w->call());
	}
	set(&over, 1);
	return NULL;
}

/* The first signal may come before the call, but not all of them. */
static void signal_until_over(pthread_t t)
{
	for (int i = 1; i <= SIGNALS && !__atomic_load_n(&over, __ATOMIC_SEQ_CST); i++) {
		sleep_ms(2);
		pthread_kill(t, SIGUSR1);
		while (__atomic_load_n(&handled, __ATOMIC_SEQ_CST) < i &&
		       !__atomic_load_n(&over, __ATOMIC_SEQ_CST))
			sleep_ms(1);
		sleep_ms(1);
	}
	if (!__atomic_load_n(&over, __ATOMIC_SEQ_CST))
		pthread_kill(t, SIGUSR2);
}

static void interrupt_calls(int flags)
{
	waiting_prepare();
	handle(SIGUSR1, counts, flags);
	handle(SIGUSR2, jumps, 0);
	for (unsigned i = 0; i < waiting_count; i++) {
		armed = handled = over = 0;
		pthread_t t = started(makes_the_call, (void *)&waiting_calls[i]);
		reaches(&armed, 1);
		signal_until_over(t);
		joined(t);
	}
	waiting_clean();
}

CASE(calls_are_interrupted)
{
	interrupt_calls(0);
}

CASE(calls_are_restarted)
{
	interrupt_calls(SA_RESTART);
}

/* A child that stops and continues this process whenever it is told to. */
static void stop_and_continue(int orders)
{
	pid_t parent = getppid();
	char order;

	while (read(orders, &order, 1) == 1) {
		kill(parent, SIGSTOP);
		sleep_ms(2);
		kill(parent, SIGCONT);
	}
	_exit(0);
}

/* A debugger that attaches, or a shell that stops and continues its job. */
CASE(calls_outlive_a_stop)
{
	int orders[2];

	if (pipe(orders))
		return;
	pid_t child = fork();
	if (child == 0) {
		close(orders[1]);
		stop_and_continue(orders[0]);
	}
	waiting_prepare();
	handle(SIGUSR2, jumps, 0);
	for (unsigned i = 0; i < waiting_count; i++) {
		if (waiting_calls[i].stop_ends_it)
			continue;
		armed = over = 0;
		pthread_t t = started(makes_the_call, (void *)&waiting_calls[i]);
		reaches(&armed, 1);
		sleep_ms(3);
		if (write(orders[1], "", 1) != 1)
			say_result("write", -1);
		sleep_ms(6);
		if (!__atomic_load_n(&over, __ATOMIC_SEQ_CST))
			pthread_kill(t, SIGUSR2);
		joined(t);
	}
	waiting_clean();
	kill(child, SIGKILL);
	say_end_of("who stops", child);
}
