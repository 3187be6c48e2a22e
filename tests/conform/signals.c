/* SPDX-License-Identifier: MIT
 *
 * Signals: which thread gets one, what its handler sees, what it interrupts.
 */
#include "conform.h"

#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/select.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

static int handled, ready;
static pid_t handled_by;
static siginfo_t handled_info;

static void handles(int number, siginfo_t *info, void *context)
{
	int saved = errno;

	(void)number;
	(void)context;
	__atomic_store_n(&handled_by, gettid(), __ATOMIC_SEQ_CST);
	handled_info = *info;
	add_one(&handled);
	errno = saved;
}

/* handles() for the signal from now on; *old takes what was there. */
static bool on(int number, int flags, struct sigaction *old)
{
	struct sigaction action = { .sa_sigaction = handles, .sa_flags = SA_SIGINFO | flags };

	handled = ready = 0;
	handled_by = 0;
	return sigaction(number, &action, old) == 0;
}

static bool off(int number, const struct sigaction *old)
{
	return sigaction(number, old, NULL) == 0;
}

static int mask_only(int how, int number)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, number);
	return pthread_sigmask(how, &set, NULL);
}

static bool is_blocked(int number)
{
	sigset_t set;

	return pthread_sigmask(SIG_BLOCK, NULL, &set) == 0 && sigismember(&set, number);
}

CHECK(signal_action_is_kept)
{
	struct sigaction old, found;

	EXPECT(on(SIGUSR1, SA_RESTART, &old));
	EXPECT(sigaction(SIGUSR1, NULL, &found) == 0);
	EXPECT(found.sa_sigaction == handles && (found.sa_flags & SA_RESTART));
	EXPECT(off(SIGUSR1, &old));
	EXPECT(sigaction(SIGKILL, &old, NULL) == -1 && errno == EINVAL);
	return true;
}

static void *raises(void *argument)
{
	(void)argument;
	raise(SIGUSR1);
	return (void *)(intptr_t)(handled == 1 && handled_by == gettid());
}

CHECK(signal_raise_in_thread)
{
	struct sigaction old;

	EXPECT(on(SIGUSR1, 0, &old));
	EXPECT(in_thread(raises, NULL));
	EXPECT(handled_info.si_pid == getpid() && handled_info.si_code == SI_TKILL);
	EXPECT(off(SIGUSR1, &old));
	return true;
}

CHECK(signal_raise_in_main)
{
	struct sigaction old;

	EXPECT(on(SIGUSR1, 0, &old));
	EXPECT(raises(NULL));
	EXPECT(off(SIGUSR1, &old));
	return true;
}

/* Until a handler has run in it; returns its tid. */
static void *sleeps_until_handled(void *argument)
{
	(void)argument;
	add_one(&ready);
	for (int i = 0; i < 500 && !value_of(&handled); i++)
		usleep(10000);
	return (void *)(intptr_t)gettid();
}

CHECK(signal_to_a_sleeping_thread)
{
	struct sigaction old;
	pthread_t t;

	EXPECT(on(SIGUSR1, 0, &old));
	t = started(sleeps_until_handled, NULL);
	EXPECT(reaches(&ready, 1));
	EXPECT(pthread_kill(t, SIGUSR1) == 0);
	EXPECT((intptr_t)joined(t) == handled_by && handled == 1);
	EXPECT(off(SIGUSR1, &old));
	return true;
}

static void *computes_until_handled(void *argument)
{
	(void)argument;
	add_one(&ready);
	for (uint64_t end = now_ms() + 5000; now_ms() < end && !value_of(&handled);)
		for (volatile int i = 0; i < 100000 && !value_of(&handled); i++)
			;
	return (void *)(intptr_t)gettid();
}

CHECK(signal_to_a_computing_thread)
{
	struct sigaction old;
	pthread_t t;

	EXPECT(on(SIGUSR1, 0, &old));
	t = started(computes_until_handled, NULL);
	EXPECT(reaches(&ready, 1));
	EXPECT(pthread_kill(t, SIGUSR1) == 0);
	EXPECT((intptr_t)joined(t) == handled_by && handled == 1);
	EXPECT(off(SIGUSR1, &old));
	return true;
}

static void *sigqueues_itself(void *argument)
{
	(void)argument;
	pthread_sigqueue(pthread_self(), SIGUSR1, (union sigval){ .sival_int = 77 });
	return NULL;
}

CHECK(signal_with_a_value)
{
	struct sigaction old;

	EXPECT(on(SIGUSR1, 0, &old));
	in_thread(sigqueues_itself, NULL);
	EXPECT(handled == 1 && handled_info.si_value.sival_int == 77);
	EXPECT(handled_info.si_code == SI_QUEUE);
	EXPECT(sigqueue(getpid(), SIGUSR1, (union sigval){ .sival_int = 78 }) == 0);
	EXPECT(reaches(&handled, 2) && handled_info.si_value.sival_int == 78);
	EXPECT(off(SIGUSR1, &old));
	return true;
}

/* ---- masks ------------------------------------------------------------------ */

static void *has_mask(void *argument)
{
	return (void *)(intptr_t)(is_blocked(SIGUSR1) == (argument != NULL));
}

CHECK(mask_is_inherited)
{
	EXPECT(in_thread(has_mask, NULL));
	EXPECT(mask_only(SIG_BLOCK, SIGUSR1) == 0);
	EXPECT(in_thread(has_mask, (void *)1L));
	EXPECT(mask_only(SIG_UNBLOCK, SIGUSR1) == 0);
	return true;
}

static void *blocks_it(void *argument)
{
	mask_only(SIG_BLOCK, SIGUSR1);
	sleep_ms(30);
	return is_blocked(SIGUSR1) ? argument : NULL;
}

CHECK(mask_is_private)
{
	pthread_t t = started(blocks_it, (void *)1L);

	sleep_ms(10);
	EXPECT(!is_blocked(SIGUSR1));
	EXPECT(joined(t));
	EXPECT(!is_blocked(SIGUSR1));
	return true;
}

CHECK(mask_holds_back)
{
	struct sigaction old;
	sigset_t pending;

	EXPECT(on(SIGUSR1, 0, &old));
	EXPECT(mask_only(SIG_BLOCK, SIGUSR1) == 0);
	EXPECT(raise(SIGUSR1) == 0);
	EXPECT(handled == 0);
	EXPECT(sigpending(&pending) == 0 && sigismember(&pending, SIGUSR1));
	EXPECT(mask_only(SIG_UNBLOCK, SIGUSR1) == 0);
	EXPECT(handled == 1);
	EXPECT(sigpending(&pending) == 0 && !sigismember(&pending, SIGUSR1));
	EXPECT(off(SIGUSR1, &old));
	return true;
}

CHECK(signal_to_the_process_avoids_who_blocks)
{
	struct sigaction old;
	pthread_t t;
	bool got, there;

	EXPECT(on(SIGUSR1, 0, &old));
	t = started(sleeps_until_handled, NULL);
	EXPECT(mask_only(SIG_BLOCK, SIGUSR1) == 0);
	EXPECT(reaches(&ready, 1));
	EXPECT(kill(getpid(), SIGUSR1) == 0);
	got = reaches(&handled, 1);
	there = (intptr_t)joined(t) == handled_by;
	EXPECT(mask_only(SIG_UNBLOCK, SIGUSR1) == 0);
	EXPECT(got && there);
	EXPECT(off(SIGUSR1, &old));
	return true;
}

static sigset_t mask_seen;

static void notes_mask(int number)
{
	(void)number;
	pthread_sigmask(SIG_BLOCK, NULL, &mask_seen);
	add_one(&handled);
}

CHECK(mask_in_a_handler)
{
	struct sigaction action = { .sa_handler = notes_mask }, old;

	handled = 0;
	sigaddset(&action.sa_mask, SIGUSR2);
	EXPECT(sigaction(SIGUSR1, &action, &old) == 0);
	EXPECT(raise(SIGUSR1) == 0 && handled == 1);
	EXPECT(sigismember(&mask_seen, SIGUSR1) && sigismember(&mask_seen, SIGUSR2));
	EXPECT(!is_blocked(SIGUSR1) && !is_blocked(SIGUSR2));
	action.sa_flags = SA_NODEFER;
	EXPECT(sigaction(SIGUSR1, &action, NULL) == 0);
	EXPECT(raise(SIGUSR1) == 0 && handled == 2);
	EXPECT(!sigismember(&mask_seen, SIGUSR1) && sigismember(&mask_seen, SIGUSR2));
	EXPECT(off(SIGUSR1, &old));
	return true;
}

CHECK(signal_handler_once)
{
	struct sigaction old, found;

	EXPECT(on(SIGUSR1, SA_RESETHAND, &old));
	EXPECT(raise(SIGUSR1) == 0 && handled == 1);
	EXPECT(sigaction(SIGUSR1, NULL, &found) == 0 && found.sa_handler == SIG_DFL);
	EXPECT(off(SIGUSR1, &old));
	return true;
}

CHECK(signal_ignored)
{
	void (*old)(int) = signal(SIGUSR1, SIG_IGN);

	EXPECT(raise(SIGUSR1) == 0 && kill(getpid(), SIGUSR1) == 0);
	EXPECT(signal(SIGUSR1, old) == SIG_IGN);
	return true;
}

/* ---- waiting for signals ---------------------------------------------------- */

static void *waits_for_signal(void *argument)
{
	sigset_t set;
	int number = 0;

	(void)argument;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	add_one(&ready);
	if (sigwait(&set, &number))
		return NULL;
	return (void *)(intptr_t)number;
}

CHECK(sigwait_from_the_process)
{
	pthread_t t;

	ready = 0;
	EXPECT(mask_only(SIG_BLOCK, SIGUSR1) == 0);
	t = started(waits_for_signal, NULL);
	EXPECT(reaches(&ready, 1));
	let_block();
	EXPECT(kill(getpid(), SIGUSR1) == 0);
	EXPECT(joined(t) == (void *)SIGUSR1);
	EXPECT(mask_only(SIG_UNBLOCK, SIGUSR1) == 0);
	return true;
}

CHECK(sigwait_from_a_thread)
{
	pthread_t t;

	ready = 0;
	EXPECT(mask_only(SIG_BLOCK, SIGUSR1) == 0);
	t = started(waits_for_signal, NULL);
	EXPECT(reaches(&ready, 1));
	EXPECT(pthread_kill(t, SIGUSR1) == 0);
	EXPECT(joined(t) == (void *)SIGUSR1);
	EXPECT(mask_only(SIG_UNBLOCK, SIGUSR1) == 0);
	return true;
}

CHECK(sigtimedwait_times_out)
{
	struct timespec soon = { 0, 30000000 };
	uint64_t before = now_ms();
	siginfo_t info;
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	EXPECT(mask_only(SIG_BLOCK, SIGUSR1) == 0);
	EXPECT(sigtimedwait(&set, &info, &soon) == -1 && errno == EAGAIN);
	EXPECT(now_ms() - before >= 29);
	EXPECT(sigqueue(getpid(), SIGUSR1, (union sigval){ .sival_int = 5 }) == 0);
	EXPECT(sigwaitinfo(&set, &info) == SIGUSR1 && info.si_value.sival_int == 5);
	EXPECT(mask_only(SIG_UNBLOCK, SIGUSR1) == 0);
	return true;
}

static void *kills_later(void *argument)
{
	let_block();
	pthread_kill(*(pthread_t *)argument, SIGUSR1);
	return NULL;
}

CHECK(sigsuspend_waits)
{
	pthread_t self = pthread_self(), t;
	struct sigaction old;
	sigset_t none;

	EXPECT(on(SIGUSR1, 0, &old));
	EXPECT(mask_only(SIG_BLOCK, SIGUSR1) == 0);
	t = started(kills_later, &self);
	sigemptyset(&none);
	EXPECT(sigsuspend(&none) == -1 && errno == EINTR && handled == 1);
	EXPECT(is_blocked(SIGUSR1));
	EXPECT(mask_only(SIG_UNBLOCK, SIGUSR1) == 0);
	joined(t);
	EXPECT(off(SIGUSR1, &old));
	return true;
}

CHECK(signalfd_reads)
{
	struct signalfd_siginfo info;
	sigset_t set;
	int fd;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	EXPECT(mask_only(SIG_BLOCK, SIGUSR1) == 0);
	fd = signalfd(-1, &set, SFD_NONBLOCK);
	EXPECT(fd >= 0);
	EXPECT(read(fd, &info, sizeof(info)) == -1 && errno == EAGAIN);
	EXPECT(kill(getpid(), SIGUSR1) == 0);
	for (int i = 0; i < 100 && read(fd, &info, sizeof(info)) < 0; i++)
		sleep_ms(10);
	EXPECT(info.ssi_signo == SIGUSR1);
	close(fd);
	EXPECT(mask_only(SIG_UNBLOCK, SIGUSR1) == 0);
	return true;
}

static bool child_kills(int number)
{
	pid_t pid = fork();
	int status;

	if (pid == 0)
		_exit(kill(getppid(), number) != 0);
	return pid > 0 && waitpid(pid, &status, 0) == pid && status == 0;
}

/* Blocked by all: it stays pending, with who sent it. */
CHECK(signal_of_a_child_pending)
{
	struct timespec late = { 5, 0 };
	struct sigaction old;
	sigset_t set;
	siginfo_t info;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	EXPECT(on(SIGUSR1, 0, &old));
	EXPECT(mask_only(SIG_BLOCK, SIGUSR1) == 0);
	EXPECT(child_kills(SIGUSR1));
	EXPECT(becomes_pending(SIGUSR1) && handled == 0);
	EXPECT(sigtimedwait(&set, &info, &late) == SIGUSR1);
	EXPECT(info.si_code == SI_USER && info.si_pid > 0 && info.si_pid != getpid());
	EXPECT(child_kills(SIGUSR1) && becomes_pending(SIGUSR1));
	EXPECT(mask_only(SIG_UNBLOCK, SIGUSR1) == 0);
	/* Natively at once, under greenrun soon: greenrun(1). */
	EXPECT(reaches(&handled, 1) && handled_info.si_code == SI_USER);
	EXPECT(off(SIGUSR1, &old));
	return true;
}

CHECK(signalfd_reads_of_a_child)
{
	struct signalfd_siginfo info;
	struct pollfd waiting = { .events = POLLIN };
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	EXPECT(mask_only(SIG_BLOCK, SIGUSR1) == 0);
	waiting.fd = signalfd(-1, &set, 0);
	EXPECT(waiting.fd >= 0 && child_kills(SIGUSR1));
	EXPECT(poll(&waiting, 1, 5000) == 1);
	EXPECT(read(waiting.fd, &info, sizeof(info)) == sizeof(info));
	EXPECT(info.ssi_signo == SIGUSR1 && info.ssi_code == SI_USER);
	EXPECT(info.ssi_pid != (uint32_t)getpid());
	/* What is for this thread alone is read by it, too. */
	EXPECT(pthread_kill(pthread_self(), SIGUSR1) == 0);
	EXPECT(read(waiting.fd, &info, sizeof(info)) == sizeof(info));
	EXPECT(info.ssi_signo == SIGUSR1 && info.ssi_code == SI_TKILL);
	close(waiting.fd);
	EXPECT(mask_only(SIG_UNBLOCK, SIGUSR1) == 0);
	return true;
}

/* ---- interrupting calls ----------------------------------------------------- */

static int pipes[2];

static void *writes_later(void *argument)
{
	let_block();
	pthread_kill(*(pthread_t *)argument, SIGUSR1);
	let_block();
	if (write(pipes[1], "x", 1) != 1)
		return NULL;
	return argument;
}

static bool read_is_interrupted(int flags, ssize_t result)
{
	pthread_t self = pthread_self(), t;
	struct sigaction old;
	ssize_t n;
	char byte;

	EXPECT(pipe(pipes) == 0 && on(SIGUSR1, flags, &old));
	t = started(writes_later, &self);
	n = read(pipes[0], &byte, 1);
	EXPECT(n == result && (n > 0 || errno == EINTR));
	EXPECT(handled == 1 && handled_by == gettid());
	joined(t);
	close(pipes[0]);
	close(pipes[1]);
	EXPECT(off(SIGUSR1, &old));
	return true;
}

CHECK(signal_interrupts_read)
{
	return read_is_interrupted(0, -1);
}

CHECK(signal_restarts_read)
{
	return read_is_interrupted(SA_RESTART, 1);
}

static bool sleep_is_interrupted(int flags)
{
	struct timespec request = { 1000, 0 }, left = { 0, 0 };
	pthread_t self = pthread_self(), t;
	struct sigaction old;

	EXPECT(on(SIGUSR1, flags, &old));
	t = started(kills_later, &self);
	EXPECT(nanosleep(&request, &left) == -1 && errno == EINTR);
	EXPECT(left.tv_sec > 900 && left.tv_sec < 1000 && handled == 1);
	joined(t);
	EXPECT(off(SIGUSR1, &old));
	return true;
}

CHECK(signal_interrupts_sleep)
{
	return sleep_is_interrupted(0) && sleep_is_interrupted(SA_RESTART);
}

CHECK(signal_interrupts_poll)
{
	pthread_t self = pthread_self(), t;
	struct sigaction old;

	EXPECT(on(SIGUSR1, SA_RESTART, &old));
	t = started(kills_later, &self);
	EXPECT(poll(NULL, 0, 5000) == -1 && errno == EINTR && handled == 1);
	joined(t);
	EXPECT(off(SIGUSR1, &old));
	return true;
}

CHECK(signal_interrupts_pause)
{
	pthread_t self = pthread_self(), t;
	struct sigaction old;

	EXPECT(on(SIGUSR1, SA_RESTART, &old));
	t = started(kills_later, &self);
	EXPECT(pause() == -1 && errno == EINTR && handled == 1);
	joined(t);
	EXPECT(off(SIGUSR1, &old));
	return true;
}

CHECK(ppoll_with_a_mask)
{
	struct timespec late = { 5, 0 };
	pthread_t self = pthread_self(), t;
	struct sigaction old;
	sigset_t none;

	EXPECT(on(SIGUSR1, 0, &old));
	EXPECT(mask_only(SIG_BLOCK, SIGUSR1) == 0);
	t = started(kills_later, &self);
	sleep_ms(60);
	EXPECT(handled == 0);
	sigemptyset(&none);
	EXPECT(ppoll(NULL, 0, &late, &none) == -1 && errno == EINTR && handled == 1);
	EXPECT(is_blocked(SIGUSR1));
	joined(t);
	t = started(kills_later, &self);
	EXPECT(pselect(0, NULL, NULL, NULL, &late, &none) == -1 && errno == EINTR && handled == 2);
	joined(t);
	EXPECT(mask_only(SIG_UNBLOCK, SIGUSR1) == 0);
	EXPECT(off(SIGUSR1, &old));
	return true;
}

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

static void *locks(void *argument)
{
	add_one(&ready);
	pthread_mutex_lock(&mutex);
	pthread_mutex_unlock(&mutex);
	return argument;
}

CHECK(signal_during_mutex_lock)
{
	struct sigaction old;
	pthread_t t;

	EXPECT(on(SIGUSR1, 0, &old));
	EXPECT(pthread_mutex_lock(&mutex) == 0);
	t = started(locks, (void *)1L);
	EXPECT(reaches(&ready, 1));
	for (int i = 1; i <= 20; i++) {
		EXPECT(pthread_kill(t, SIGUSR1) == 0);
		EXPECT(reaches(&handled, i));
	}
	EXPECT(pthread_mutex_unlock(&mutex) == 0);
	EXPECT(joined(t) == (void *)1L);
	EXPECT(off(SIGUSR1, &old));
	return true;
}
