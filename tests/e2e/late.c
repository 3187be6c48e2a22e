/* SPDX-License-Identifier: MIT
 *
 * What a program did before its first thread holds behind it: signals, alternate stacks,
 * limits of sockets, shared memory.  For greenrun.sh, which runs it natively and under
 * greenrun.  Prints what differs, and with an argument whether threads are the kernel's.
 *
 *	late [daemon] native|green
 */
#define _GNU_SOURCE
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#define KERNEL_TID_MAX (4 << 20)
#define ALTSTACK_SIZE 65536

static int bad;
static volatile sig_atomic_t usr1, sys_came, winch;
static char altstack[ALTSTACK_SIZE];

static void expect(int holds, const char *what)
{
	if (!holds) {
		fprintf(stderr, "late: %s\n", what);
		bad = 1;
	}
}

static void on_signal(int sig)
{
	char here;

	if (sig == SIGUSR1)
		usr1++;
	if (sig == SIGSYS)
		sys_came++;
	if (sig == SIGWINCH)
		winch = &here >= altstack && &here < altstack + sizeof(altstack) ? 1 : -1;
}

static void *own_tid(void *unused)
{
	(void)unused;
	return (void *)(long)gettid();
}

static long tid_of_a_thread(void)
{
	pthread_t thread;
	void *tid = NULL;

	expect(pthread_create(&thread, NULL, own_tid, NULL) == 0, "pthread_create");
	pthread_join(thread, &tid);
	return (long)tid;
}

/* In memory shared with a child, which wakes it from outside. */
static void waits_for_a_child(_Atomic int *word)
{
	pid_t child = fork();

	if (child == 0) {
		usleep(100000);
		atomic_store(word, 1);
		syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
		_exit(0);
	}
	while (!atomic_load(word))
		syscall(SYS_futex, word, FUTEX_WAIT, 0, NULL, NULL, 0);
	expect(waitpid(child, NULL, 0) == child, "the child that wakes");
}

int main(int argc, char **argv)
{
	stack_t alternate = { .ss_sp = altstack, .ss_size = sizeof(altstack) }, found;
	struct sigaction action = { .sa_handler = on_signal };
	struct timeval limit = { .tv_usec = 50000 };
	int pair[2], files;
	char byte;
	sigset_t set, in_file;

	if (argc > 2 && daemon(1, 1) < 0)
		return 1;
	clearenv();
	sigaction(SIGUSR1, &action, NULL);
	sigaction(SIGSYS, &action, NULL);
	action.sa_flags = SA_ONSTACK;
	sigaction(SIGWINCH, &action, NULL);
	sigaltstack(&alternate, NULL);
	sigemptyset(&in_file);
	sigaddset(&in_file, SIGUSR2);
	set = in_file;
	sigaddset(&set, SIGUSR1);
	sigprocmask(SIG_BLOCK, &set, NULL);
	raise(SIGUSR1);
	files = signalfd(-1, &in_file, SFD_CLOEXEC);
	socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
	setsockopt(pair[0], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	_Atomic int *word =
		mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	long tid = tid_of_a_thread();
	expect((tid > KERNEL_TID_MAX) == (strcmp(argv[argc - 1], "green") == 0),
	       "threads are of the other kind");

	sigpending(&set);
	expect(sigismember(&set, SIGUSR1) == 1 && usr1 == 0, "SIGUSR1 is no longer pending");
	sigdelset(&set, SIGUSR2);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
	expect(usr1 == 1, "SIGUSR1 did not come once");
	expect(sigaltstack(NULL, &found) == 0 && found.ss_sp == altstack, "another sigaltstack");
	raise(SIGWINCH);
	expect(winch == 1, "the handler did not run on the alternate stack");
	kill(getpid(), SIGSYS);
	expect(sys_came == 1, "SIGSYS did not come once");
	raise(SIGUSR2);
	expect(poll(&(struct pollfd){ files, POLLIN, 0 }, 1, 5000) == 1, "signalfd is silent");
	expect(recv(pair[0], &byte, 1, 0) < 0 && errno == EAGAIN, "SO_RCVTIMEO is forgotten");
	waits_for_a_child(word);
	if (argc > 2)
		puts(bad ? "bad" : "good"); /* nobody waits for a daemon's status */
	return bad;
}
