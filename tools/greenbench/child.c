/* SPDX-License-Identifier: MIT
 *
 * Child processes.
 */
#include "child.h"

#include "green.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define CHILDREN_MAX 300

/* Slots of living children; 0: free.  Also read by a signal handler. */
static _Atomic pid_t children[CHILDREN_MAX];
static pid_t owner; /* a forked child must not kill its siblings */

void child_kill_all(void)
{
	if (getpid() != owner)
		return;
	for (int i = 0; i < CHILDREN_MAX; i++) {
		pid_t pid = atomic_load_explicit(&children[i], memory_order_relaxed);
		if (pid > 0)
			kill(pid, SIGKILL);
	}
}

static void on_signal(int number)
{
	child_kill_all();
	signal(number, SIG_DFL);
	raise(number);
}

void child_init(void)
{
	owner = getpid();
	signal(SIGINT, on_signal);
	signal(SIGTERM, on_signal);
	signal(SIGHUP, on_signal);
	signal(SIGPIPE, SIG_IGN);
	atexit(child_kill_all);
}

static void replace(pid_t old, pid_t new)
{
	for (int i = 0; i < CHILDREN_MAX; i++)
		if (atomic_load_explicit(&children[i], memory_order_relaxed) == old) {
			atomic_store_explicit(&children[i], new, memory_order_relaxed);
			return;
		}
}

pid_t child_fork(void)
{
	pid_t parent = getpid();
	pid_t pid = fork();
	if (pid < 0)
		return -errno;
	if (pid > 0) {
		replace(0, pid);
		return pid;
	}
	signal(SIGINT, SIG_DFL);
	signal(SIGTERM, SIG_DFL);
	signal(SIGHUP, SIG_DFL);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
	return 0;
}

bool child_ended(pid_t pid, int *status)
{
	if (waitpid(pid, status, WNOHANG) != pid)
		return false;
	replace(pid, 0);
	return true;
}

int child_wait(pid_t pid, double timeout_s)
{
	const struct timespec pause = { .tv_nsec = 2 * 1000 * 1000 };
	int64_t deadline = green_now() + (int64_t)(timeout_s * 1e9);
	int status = 0;
	while (!child_ended(pid, &status)) {
		if (green_now() > deadline) {
			kill(pid, SIGKILL);
			deadline = GREEN_FOREVER;
		}
		nanosleep(&pause, NULL);
	}
	return status;
}

const char *child_self(void)
{
	static char path[4096];
	if (!path[0]) {
		ssize_t length = readlink("/proc/self/exe", path, sizeof(path) - 1);
		if (length < 0)
			snprintf(path, sizeof(path), "/proc/self/exe");
	}
	return path;
}

static void pin(int cpu)
{
	cpu_set_t *set = CPU_ALLOC((size_t)cpu + 1);
	size_t size = CPU_ALLOC_SIZE((size_t)cpu + 1);
	if (!set)
		return;
	CPU_ZERO_S(size, set);
	CPU_SET_S((size_t)cpu, size, set);
	sched_setaffinity(0, size, set);
	CPU_FREE(set);
}

static void run_captured(char *const *argv, int out, int cpu)
{
	if (cpu >= 0)
		pin(cpu);
	dup2(out, STDOUT_FILENO);
	signal(SIGPIPE, SIG_DFL);
	execvp(argv[0], argv);
	fprintf(stderr, "greenbench: cannot run %s: %m\n", argv[0]);
	_exit(127);
}

int child_start(struct child *child, char *const *argv, int cpu)
{
	int pipe_fds[2];
	*child = (struct child){ .pid = -1, .from = -1 };
	if (pipe2(pipe_fds, O_CLOEXEC) < 0)
		return -errno;
	child->pid = child_fork();
	if (child->pid == 0)
		run_captured(argv, pipe_fds[1], cpu);
	close(pipe_fds[1]);
	if (child->pid < 0)
		close(pipe_fds[0]);
	else
		child->from = pipe_fds[0];
	return child->pid < 0 ? (int)child->pid : 0;
}

int child_finish(struct child *child, char **output)
{
	size_t size = 0;
	FILE *text = open_memstream(output, &size), *from = fdopen(child->from, "r");
	for (int c; text && from && (c = fgetc(from)) != EOF;)
		fputc(c, text);
	if (text)
		fclose(text);
	if (from)
		fclose(from);
	int status = child_wait(child->pid, 10);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int child_capture(char *const *argv, char **output)
{
	struct child child;
	return child_start(&child, argv, -1) < 0 ? 127 : child_finish(&child, output);
}

int64_t child_cpu_ns(pid_t pid)
{
	clockid_t clock;
	struct timespec time;
	if (clock_getcpuclockid(pid, &clock) || clock_gettime(clock, &time) < 0)
		return -1;
	return time.tv_sec * GREEN_S(1) + time.tv_nsec;
}
