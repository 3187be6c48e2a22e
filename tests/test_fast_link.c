/* SPDX-License-Identifier: MIT
 *
 * Link mode: signals that green threads send and get, files that they write, processes that
 * they make, and how they are ended.
 */
#include "harness.h"

#include "arch/sys.h"
#include "green_intercept.h"
#include "intercept/call.h"
#include "intercept/thread.h"

#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>

static void *plain(void *arg)
{
	void (*body)(void) = (void (*)(void))(uintptr_t)arg;

	body();
	return NULL;
}

static void run_body(void (*body)(void))
{
	int r = green_intercept_all();

	if (r == -ENOTSUP)
		SKIP("%s", green_error());
	REQUIRE_EQ(r, 0);
	run_green(plain, (void *)(uintptr_t)body);
}

#define LINK_TEST(name)                \
	static void name##_body(void); \
	TEST(name)                     \
	{                              \
		run_body(name##_body); \
	}                              \
	static void name##_body(void)

static _Atomic int came;

static void count_signal(int sig)
{
	(void)sig;
	atomic_fetch_add(&came, 1);
}

/* ---- to a thread ---------------------------------------------------------------- */

static void *sleeps(void *arg)
{
	usleep(50000);
	return arg;
}

LINK_TEST(raise_is_heard)
{
	signal(SIGUSR1, count_signal);
	CHECK_EQ(raise(SIGUSR1), 0);
	CHECK_EQ(atomic_load(&came), 1);
	CHECK_EQ(pthread_kill(pthread_self(), SIGUSR1), 0);
	CHECK_EQ(atomic_load(&came), 2);
}

static pthread_t other;

static void *tells_itself(void *arg)
{
	other = pthread_self();
	return sleeps(arg);
}

LINK_TEST(a_signal_for_another)
{
	signal(SIGUSR1, count_signal);
	green_t sleeper = start_green(tells_itself, NULL);
	usleep(5000);
	CHECK_EQ(pthread_kill(other, 0), 0);
	CHECK_EQ(pthread_kill(other, SIGUSR1), 0);
	WAIT_FOR(atomic_load(&came) == 1);
	join_green(sleeper);
}

static void *aborts(void *arg)
{
	(void)arg;
	abort();
}

static void *runs_aborting(void *arg)
{
	join_green(start_green(aborts, NULL));
	return arg;
}

TEST(abort_is_the_end)
{
	if (green_intercept_all() == -ENOTSUP)
		SKIP("%s", green_error());
	int status = run_to_death(NULL, runs_aborting);
	CHECK(WIFSIGNALED(status));
	CHECK_EQ(WTERMSIG(status), SIGABRT);
}

/* ---- by what it does ---------------------------------------------------------------- */

LINK_TEST(a_broken_pipe_once)
{
	int fds[2];

	signal(SIGPIPE, count_signal);
	REQUIRE_EQ(pipe(fds), 0);
	close(fds[0]);
	CHECK_EQ(write(fds[1], "x", 1), -1);
	CHECK_EQ(errno, EPIPE);
	CHECK_EQ(atomic_load(&came), 1);
	close(fds[1]);
	REQUIRE_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	close(fds[0]);
	CHECK_EQ(send(fds[1], "x", 1, 0), -1);
	CHECK_EQ(errno, EPIPE);
	CHECK_EQ(atomic_load(&came), 2);
	CHECK_EQ(send(fds[1], "x", 1, MSG_NOSIGNAL), -1);
	CHECK_EQ(atomic_load(&came), 2);
	close(fds[1]);
}

/* As where the unwinder, for a tracer, waits for a lock of libc's. */
static long calls_another(struct call *c)
{
	CHECK(thread_self()->detained);
	usleep(1000);
	CHECK(thread_self()->detained);
	CHECK(thread_self()->call == c);
	return 77;
}

LINK_TEST(a_call_within_a_call)
{
	const struct call_entry was = calls[SYS_getpgid];

	calls[SYS_getpgid] = (struct call_entry){ "getpgid", fast_more, calls_another, "", 0 };
	CHECK_EQ(getpgid(0), 77);
	CHECK(!thread_self()->detained);
	calls[SYS_getpgid] = was;
}

static _Atomic unsigned looked;

static long count_looks(long nr, long a, long b, long c, long d, long e, long f)
{
	if (nr == SYS_fstat || nr == SYS_fcntl)
		atomic_fetch_add(&looked, 1);
	return sys_raw(nr, a, b, c, d, e, f);
}

static int made_file(void)
{
	char name[] = "/tmp/green-fast-XXXXXX";
	int fd = mkstemp(name);

	REQUIRE(fd >= 0);
	unlink(name);
	return fd;
}

/* The full stage, where the 128th call in a row lets others run, once kept all that came
 * after it, and asked each time what the file is. */
LINK_TEST(many_writes_to_a_file_look_at_it_seldom)
{
	char byte[] = "x";
	struct iovec piece = { byte, 1 };
	int fd = made_file();

	sys.call = count_looks;
	for (unsigned i = 0; i < 1000; i++)
		CHECK_EQ(pwrite(fd, "x", 1, i), 1);
	for (unsigned i = 0; i < 1000; i++)
		CHECK_EQ(write(fd, "x", 1), 1);
	for (unsigned i = 0; i < 1000; i++)
		CHECK_EQ(writev(fd, &piece, 1), 1);
	sys.call = sys_raw;
	CHECK_LE(atomic_load(&looked), 100);
	close(fd);
}

LINK_TEST(a_mask_for_one_call)
{
	struct timespec limit = { 5, 0 };
	sigset_t usr1, open;

	sigemptyset(&usr1);
	sigaddset(&usr1, SIGUSR1);
	signal(SIGUSR1, count_signal);
	pthread_sigmask(SIG_BLOCK, &usr1, &open);
	sigdelset(&open, SIGUSR1);
	raise(SIGUSR1);
	CHECK_EQ(atomic_load(&came), 0);
	CHECK_EQ(ppoll(NULL, 0, &limit, &open), -1);
	CHECK_EQ(errno, EINTR);
	CHECK_EQ(atomic_load(&came), 1);
	pthread_sigmask(SIG_UNBLOCK, &usr1, NULL);
}

static void *has_mask(void *arg)
{
	sigset_t mask;

	for (unsigned i = 0; i < 20; i++) {
		usleep(500);
		pthread_sigmask(SIG_BLOCK, NULL, &mask);
		CHECK_EQ(sigismember(&mask, SIGUSR2), arg != NULL);
	}
	return NULL;
}

/* Each has its own, and hands it down. */
LINK_TEST(masks_follow_green_threads)
{
	green_t children[10];
	sigset_t usr2;

	sigemptyset(&usr2);
	sigaddset(&usr2, SIGUSR2);
	for (unsigned i = 0; i < 10; i++) {
		pthread_sigmask(i % 2 ? SIG_BLOCK : SIG_UNBLOCK, &usr2, NULL);
		children[i] = start_migratable(has_mask, i % 2 ? &came : NULL);
	}
	for (unsigned i = 0; i < 10; i++)
		join_green(children[i]);
}

LINK_TEST(bad_addresses)
{
	char *nowhere = (char *)(uintptr_t)8;
	int fds[2];

	REQUIRE_EQ(pipe(fds), 0);
	CHECK_EQ(syscall(SYS_write, fds[1], nowhere, 1), -1);
	CHECK_EQ(errno, EFAULT);
	CHECK_EQ(syscall(SYS_futex, nowhere, 0, 1, NULL, NULL, 0), -1);
	CHECK_EQ(errno, EFAULT);
	CHECK_EQ(syscall(SYS_poll, nowhere, 1, 1), -1);
	CHECK_EQ(errno, EFAULT);
	close(fds[0]);
	close(fds[1]);
}

/* ---- identity -------------------------------------------------------------------------- */

static void *computes(void *arg)
{
	for (unsigned i = 0; i < 200; i++) {
		for (volatile unsigned n = 0; n < 20000; n++)
			;
		green_yield();
	}
	return arg;
}

/* libc has every thread repeat it, by a signal to its OS thread. */
LINK_TEST(identity_is_every_threads)
{
	green_t others[8];
	struct green_intercept_info info;

	REQUIRE_EQ(green_intercept_info(&info), 0);
	if (!info.sites)
		SKIP("by dispatch alone it is not seen whom an OS thread wakes that just begins");

	for (unsigned i = 0; i < 8; i++)
		others[i] = start_migratable(computes, NULL);
	for (unsigned i = 0; i < 20; i++) {
		CHECK_EQ(seteuid(geteuid()), 0);
		green_yield();
	}
	for (unsigned i = 0; i < 8; i++)
		join_green(others[i]);
}

/* ---- processes -------------------------------------------------------------------------- */

static void in_child(int fd)
{
	usleep(1000);
	char byte = 'a' + (green_self() != GREEN_NONE && green_yield() == 0);
	_exit(write(fd, &byte, 1) == 1 ? 7 : 8);
}

LINK_TEST(a_fork_goes_on_natively)
{
	int fds[2], status = 0;
	char byte = 0;

	for (int i = 0; i < 2; i++) {
		REQUIRE_EQ(pipe(fds), 0);
		pid_t pid = i ? (pid_t)syscall(SYS_fork) : fork();
		if (pid == 0)
			in_child(fds[1]);
		REQUIRE_GE(pid, 1);
		close(fds[1]);
		CHECK_EQ(read(fds[0], &byte, 1), 1);
		close(fds[0]);
		CHECK_EQ(waitpid(pid, &status, 0), pid);
		CHECK(WIFEXITED(status));
		CHECK_EQ(WEXITSTATUS(status), 7);
	}
}

/* ---- being ended ------------------------------------------------------------------------- */

static void *reads(void *arg)
{
	int fd = (int)(intptr_t)arg;
	char byte;

	CHECK_EQ(read(fd, &byte, 1), -1);
	CHECK_EQ(errno, ECANCELED);
	/* Whatever does not wait is as ever. */
	CHECK_EQ(read(-1, &byte, 1), -1);
	CHECK_EQ(errno, EBADF);
	CHECK_GT(getppid(), 0);
	return NULL;
}

LINK_TEST(a_cancel_ends_a_read)
{
	int fds[2];

	REQUIRE_EQ(pipe(fds), 0);
	green_t reader = start_green(reads, (void *)(intptr_t)fds[0]);
	usleep(5000);
	CHECK_EQ(green_cancel(reader), 0);
	join_green(reader);
	close(fds[0]);
	close(fds[1]);
}

static void *exits(void *arg)
{
	pthread_exit(arg);
}

LINK_TEST(pthread_exit_ends_it)
{
	CHECK(join_green(start_green(exits, &came)) == NULL);
}

/* The run is over when main returns: who sleeps is cancelled. */
static void *never_ends(void *arg)
{
	while (usleep(1000000) == 0)
		;
	CHECK_EQ(errno, ECANCELED);
	return arg;
}

LINK_TEST(the_end_of_a_run)
{
	for (unsigned i = 0; i < 20; i++)
		REQUIRE_EQ(green_go(never_ends, NULL), 0);
	usleep(2000);
}
