/* SPDX-License-Identifier: MIT
 *
 * How a process ends, and what it does to all of itself: its descriptors, its user.
 */
#include "conform.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static void *exits(void *argument)
{
	_exit((int)(intptr_t)argument);
}

static int exits_from_a_thread(void)
{
	in_thread(exits, (void *)11L);
	return 1;
}

CHECK(exit_in_a_thread)
{
	EXPECT(exits_with(child_status(exits_from_a_thread), 11));
	return true;
}

static void at_exit(void)
{
	_exit(12);
}

static void *calls_exit(void *argument)
{
	(void)argument;
	exit(1);
}

static int runs_at_exit(void)
{
	atexit(at_exit);
	in_thread(calls_exit, NULL);
	return 1;
}

CHECK(exit_runs_handlers)
{
	EXPECT(exits_with(child_status(runs_at_exit), 12));
	return true;
}

static void *exits_last(void *argument)
{
	sleep_ms(50);
	_exit((int)(intptr_t)argument);
}

static int main_ends_first(void)
{
	started(exits_last, (void *)13L);
	pthread_exit(NULL);
}

CHECK(exit_of_main_leaves_threads)
{
	EXPECT(exits_with(child_status(main_ends_first), 13));
	return true;
}

/* With the last thread the process ends, successfully. */
static int main_and_last_end(void)
{
	started(sleeps_a_little, NULL);
	pthread_exit(NULL);
}

CHECK(exit_of_the_last_thread)
{
	EXPECT(exits_with(child_status(main_and_last_end), 0));
	return true;
}

static void exits_by_signal(int sig)
{
	(void)sig;
	_exit(14);
}

static void signals_at_exit(void)
{
	kill(getpid(), SIGUSR1);
}

static int last_end_is_signalled(void)
{
	signal(SIGUSR1, exits_by_signal);
	atexit(signals_at_exit);
	return main_and_last_end();
}

/* What runs at exit(3) then has the mask that the thread had. */
CHECK(exit_of_the_last_thread_takes_signals)
{
	EXPECT(exits_with(child_status(last_end_is_signalled), 14));
	return true;
}

static int becomes_a_daemon(void)
{
	int pipes[2], status = 1;
	pid_t pid;

	if (pipe(pipes) || (pid = fork()) < 0)
		return 1;
	if (pid == 0) {
		if (daemon(0, 0) == 0)
			status = uses_threads();
		if (write(pipes[1], &status, sizeof(status)) < 0)
			_exit(1);
		_exit(0);
	}
	close(pipes[1]);
	if (waitpid(pid, NULL, 0) != pid || read(pipes[0], &status, sizeof(status)) < 0)
		return 1;
	return status;
}

CHECK(daemon_uses_threads)
{
	EXPECT(exits_with(child_status(becomes_a_daemon), 0));
	return true;
}

static int closes_all(void)
{
	if (syscall(SYS_close_range, 3, ~0u, 0))
		for (int i = 3; i < 1024; i++)
			close(i);
	return uses_threads();
}

CHECK(descriptors_all_closed)
{
	EXPECT(exits_with(child_status(closes_all), 0));
	return true;
}

static int closes_each(void)
{
	for (int i = 3; i < 1024; i++)
		close(i);
	return uses_threads();
}

CHECK(descriptors_each_closed)
{
	EXPECT(exits_with(child_status(closes_each), 0));
	return true;
}

CHECK(descriptors_are_the_lowest)
{
	int a = open("/dev/null", O_RDONLY), b = open("/dev/null", O_RDONLY);

	close(a);
	EXPECT(open("/dev/null", O_RDONLY) == a);
	close(a);
	close(b);
	EXPECT(a == 3 || a > 0);
	return true;
}

static int raises_limit(void)
{
	struct rlimit l;

	if (getrlimit(RLIMIT_NOFILE, &l))
		return 1;
	l.rlim_cur = l.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &l) || dup2(0, (int)l.rlim_cur - 1) < 0)
		return 2;
	return uses_threads();
}

CHECK(descriptor_limit_raised)
{
	EXPECT(exits_with(child_status(raises_limit), 0));
	return true;
}

static int changes_user(void)
{
	pthread_t t = started(sleeps_a_little, NULL);

	if (setgid(65534) || setuid(65534))
		return 1;
	joined(t);
	return getuid() == 65534 && geteuid() == 65534 && getgid() == 65534 ? uses_threads() : 2;
}

CHECK(setuid_with_threads)
{
	if (getuid() != 0)
		SKIP("not root");
	EXPECT(exits_with(child_status(changes_user), 0));
	return true;
}

static void *own_uid(void *argument)
{
	(void)argument;
	sleep_ms(30);
	return (void *)(intptr_t)getuid();
}

static int changes_all_threads(void)
{
	pthread_t t[6];

	for (int i = 0; i < 6; i++)
		t[i] = started(own_uid, NULL);
	if (setuid(65534))
		return 1;
	for (int i = 0; i < 6; i++)
		if (joined(t[i]) != (void *)65534L)
			return 2;
	return 0;
}

CHECK(setuid_reaches_all_threads)
{
	if (getuid() != 0)
		SKIP("not root");
	EXPECT(exits_with(child_status(changes_all_threads), 0));
	return true;
}
