/* SPDX-License-Identifier: MIT
 *
 * Processes: fork and its handlers, exec, waiting for children, how a process ends.
 */
#include "conform.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static int returns_seven(void)
{
	return 7;
}

CHECK(fork_and_wait)
{
	EXPECT(exits_with(child_status(returns_seven), 7));
	EXPECT(waitpid(-1, NULL, 0) == -1 && errno == ECHILD);
	return true;
}

CHECK(fork_child_uses_threads)
{
	EXPECT(exits_with(child_status(uses_threads), 0));
	return true;
}

static int forks_again(void)
{
	return exits_with(child_status(uses_threads), 0) ? 0 : 1;
}

CHECK(fork_child_forks)
{
	EXPECT(exits_with(child_status(forks_again), 0));
	return true;
}

static int ids_are_new(void)
{
	return gettid() == getpid() && syscall(SYS_gettid) == getpid() ? 0 : 1;
}

static void *forks(void *argument)
{
	(void)argument;
	return (void *)(intptr_t)exits_with(child_status(ids_are_new), 0);
}

CHECK(fork_in_a_thread)
{
	EXPECT(in_thread(forks, NULL));
	return true;
}

CHECK(fork_in_many_threads)
{
	pthread_t t[8];

	for (int i = 0; i < 8; i++)
		t[i] = started(forks, NULL);
	for (int i = 0; i < 8; i++)
		EXPECT(joined(t[i]));
	return true;
}

static int counter;

static void *counts(void *argument)
{
	while (!value_of(argument)) {
		add_one(&counter);
		sleep_ms(1);
	}
	return NULL;
}

static int nobody_counts(void)
{
	int before = value_of(&counter);

	sleep_ms(30);
	return value_of(&counter) == before ? 0 : 1;
}

/* Only the thread that forked lives on in the child. */
CHECK(fork_leaves_other_threads)
{
	int stop = 0, status;
	pthread_t t = started(counts, &stop);

	counter = 0;
	EXPECT(reaches(&counter, 3));
	status = child_status(nobody_counts);
	add_one(&stop);
	joined(t);
	EXPECT(exits_with(status, 0));
	return true;
}

static char sequence[16];
static bool note_forks;

static void note(char what)
{
	size_t n = strlen(sequence);

	if (note_forks && n + 1 < sizeof(sequence))
		sequence[n] = what;
}

static void prepares_a(void)
{
	note('a');
}
static void prepares_b(void)
{
	note('b');
}
static void in_parent_a(void)
{
	note('p');
}
static void in_parent_b(void)
{
	note('q');
}
static void in_child_a(void)
{
	note('c');
}
static void in_child_b(void)
{
	note('d');
}

static int sequence_in_child(void)
{
	return strcmp(sequence, "bacd") == 0 ? 0 : 1;
}

CHECK(fork_handlers)
{
	int status;

	EXPECT(pthread_atfork(prepares_a, in_parent_a, in_child_a) == 0);
	EXPECT(pthread_atfork(prepares_b, in_parent_b, in_child_b) == 0);
	note_forks = true;
	status = child_status(sequence_in_child);
	note_forks = false;
	EXPECT(exits_with(status, 0));
	EXPECT(strcmp(sequence, "bapq") == 0);
	return true;
}

static __thread int own = 5;

static int keeps_tls(void)
{
	return own == 42 && errno == EDOM ? 0 : 1;
}

static void *forks_with_tls(void *argument)
{
	(void)argument;
	own = 42;
	errno = EDOM;
	return (void *)(intptr_t)exits_with(child_status(keeps_tls), 0);
}

CHECK(fork_keeps_tls)
{
	EXPECT(in_thread(forks_with_tls, NULL));
	return true;
}

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

static int uses_malloc_and_locks(void)
{
	for (int i = 0; i < 100; i++)
		free(malloc((size_t)i * 100));
	return pthread_mutex_lock(&mutex) || pthread_mutex_unlock(&mutex);
}

static void *uses_malloc(void *argument)
{
	while (!value_of(argument))
		for (int i = 0; i < 100; i++)
			free(malloc((size_t)i * 100));
	return NULL;
}

CHECK(fork_while_others_use_malloc)
{
	int stop = 0;
	pthread_t t[3];

	for (int i = 0; i < 3; i++)
		t[i] = started(uses_malloc, &stop);
	for (int i = 0; i < 10; i++)
		EXPECT(exits_with(child_status(uses_malloc_and_locks), 0));
	add_one(&stop);
	for (int i = 0; i < 3; i++)
		joined(t[i]);
	return true;
}

/* ---- waiting ---------------------------------------------------------------- */

static void *waits_for_child(void *argument)
{
	int status;
	pid_t pid = (pid_t)(intptr_t)argument;

	return (void *)(intptr_t)(waitpid(pid, &status, 0) == pid && exits_with(status, 3));
}

/* They wait side by side: the children end when all are waited for. */
CHECK(wait_in_threads)
{
	pthread_t t[5];
	int end[2];
	char byte;

	EXPECT(pipe(end) == 0);
	for (int i = 0; i < 5; i++) {
		pid_t pid = fork();
		EXPECT(pid >= 0);
		if (pid == 0) {
			close(end[1]);
			_exit(read(end[0], &byte, 1) == 0 ? 3 : 4);
		}
		t[i] = started(waits_for_child, (void *)(intptr_t)pid);
	}
	let_block();
	close(end[1]);
	for (int i = 0; i < 5; i++)
		EXPECT(joined(t[i]));
	close(end[0]);
	return true;
}

CHECK(wait_without_hanging)
{
	int status;
	pid_t pid = fork();

	EXPECT(pid >= 0);
	if (pid == 0) {
		usleep(50000);
		_exit(1);
	}
	EXPECT(waitpid(pid, &status, WNOHANG) == 0);
	EXPECT(waitpid(pid, &status, 0) == pid && exits_with(status, 1));
	return true;
}

CHECK(waitid_leaves_the_child)
{
	siginfo_t info = { .si_pid = 0 };
	int status;
	pid_t pid = fork();

	EXPECT(pid >= 0);
	if (pid == 0)
		_exit(9);
	EXPECT(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT) == 0);
	EXPECT(info.si_pid == pid && info.si_status == 9 && info.si_code == CLD_EXITED);
	EXPECT(waitpid(pid, &status, 0) == pid && exits_with(status, 9));
	return true;
}

CHECK(wait_for_any)
{
	pid_t pids[3];
	int seen = 0, status;

	for (int i = 0; i < 3; i++) {
		pids[i] = fork();
		EXPECT(pids[i] >= 0);
		if (pids[i] == 0)
			_exit(i);
	}
	for (int i = 0; i < 3; i++) {
		pid_t pid = wait(&status);
		for (int j = 0; j < 3; j++)
			if (pids[j] == pid && exits_with(status, j))
				seen |= 1 << j;
	}
	EXPECT(seen == 7);
	return true;
}

CHECK(wait_for_stop_and_continue)
{
	int status;
	pid_t pid = fork();

	EXPECT(pid >= 0);
	if (pid == 0) {
		for (;;)
			pause();
	}
	EXPECT(kill(pid, SIGSTOP) == 0);
	EXPECT(waitpid(pid, &status, WUNTRACED) == pid && WIFSTOPPED(status));
	EXPECT(kill(pid, SIGCONT) == 0);
	EXPECT(waitpid(pid, &status, WCONTINUED) == pid && WIFCONTINUED(status));
	EXPECT(kill(pid, SIGTERM) == 0);
	EXPECT(waitpid(pid, &status, 0) == pid && WIFSIGNALED(status));
	return true;
}

static int children_ended;

static void child_ended(int number)
{
	(void)number;
	add_one(&children_ended);
}

CHECK(signal_of_a_child)
{
	struct sigaction action = { .sa_handler = child_ended, .sa_flags = SA_RESTART }, old;
	int status;
	pid_t pid;

	children_ended = 0;
	EXPECT(sigaction(SIGCHLD, &action, &old) == 0);
	pid = fork();
	EXPECT(pid >= 0);
	if (pid == 0)
		_exit(0);
	EXPECT(waitpid(pid, &status, 0) == pid);
	EXPECT(reaches(&children_ended, 1));
	EXPECT(sigaction(SIGCHLD, &old, NULL) == 0);
	return true;
}

/* ---- other programs --------------------------------------------------------- */

CHECK(exec_in_a_child)
{
	int status;
	pid_t pid = fork();

	EXPECT(pid >= 0);
	if (pid == 0) {
		execl("/bin/sh", "sh", "-c", "exit 5", NULL);
		_exit(99);
	}
	EXPECT(waitpid(pid, &status, 0) == pid && exits_with(status, 5));
	return true;
}

static void *execs(void *argument)
{
	(void)argument;
	execl("/bin/sh", "sh", "-c", "exit 6", NULL);
	return NULL;
}

static int execs_from_a_thread(void)
{
	started(sleeps_a_little, NULL);
	in_thread(execs, NULL);
	return 99;
}

CHECK(exec_in_a_thread)
{
	EXPECT(exits_with(child_status(execs_from_a_thread), 6));
	return true;
}

CHECK(vfork_and_exec)
{
	int status;
	pid_t pid = vfork();

	if (pid == 0) {
		execl("/bin/sh", "sh", "-c", "exit 4", NULL);
		_exit(99);
	}
	EXPECT(pid > 0);
	EXPECT(waitpid(pid, &status, 0) == pid && exits_with(status, 4));
	return true;
}

static void *spawns(void *argument)
{
	char *const arguments[] = { "sh", "-c", "sleep 0.05; exit 8", NULL };
	int status;
	pid_t pid;

	(void)argument;
	if (posix_spawn(&pid, "/bin/sh", NULL, NULL, arguments, environ))
		return NULL;
	return (void *)(intptr_t)(waitpid(pid, &status, 0) == pid && exits_with(status, 8));
}

CHECK(posix_spawn_in_threads)
{
	pthread_t t[5];

	for (int i = 0; i < 5; i++)
		t[i] = started(spawns, NULL);
	for (int i = 0; i < 5; i++)
		EXPECT(joined(t[i]));
	return true;
}

static void *runs_shell(void *argument)
{
	(void)argument;
	return (void *)(intptr_t)exits_with(system("sleep 0.05; exit 3"), 3);
}

CHECK(system_in_threads)
{
	pthread_t t[5];

	for (int i = 0; i < 5; i++)
		t[i] = started(runs_shell, NULL);
	for (int i = 0; i < 5; i++)
		EXPECT(joined(t[i]));
	return true;
}

static void *reads_a_command(void *argument)
{
	char line[32] = "";
	FILE *f = popen("sleep 0.05; echo heard", "r");

	(void)argument;
	if (!f || !fgets(line, sizeof(line), f))
		return NULL;
	return (void *)(intptr_t)(pclose(f) == 0 && strcmp(line, "heard\n") == 0);
}

CHECK(popen_in_threads)
{
	pthread_t t[5];

	for (int i = 0; i < 5; i++)
		t[i] = started(reads_a_command, NULL);
	for (int i = 0; i < 5; i++)
		EXPECT(joined(t[i]));
	return true;
}

/* ---- CPUs -------------------------------------------------------------------------- */

static cpu_set_t of_the_parent;

static int has_the_same_cpus(void)
{
	cpu_set_t own;

	return sched_getaffinity(0, sizeof(own), &own) || !CPU_EQUAL(&own, &of_the_parent);
}

/* What a program executed says that it may use. */
static int cpus_of_a_program(void)
{
	int count = -1;
	FILE *f = popen("unset OMP_NUM_THREADS OMP_THREAD_LIMIT; nproc", "r");

	if (f && fscanf(f, "%d", &count) != 1)
		count = -1;
	return f && pclose(f) == 0 ? count : -1;
}

static int executes_nproc(void)
{
	char command[64];

	snprintf(command, sizeof(command), "test $(nproc) = %d", CPU_COUNT(&of_the_parent));
	unsetenv("OMP_NUM_THREADS");
	unsetenv("OMP_THREAD_LIMIT");
	execl("/bin/sh", "sh", "-c", command, NULL);
	return 1;
}

static void *children_have_its_cpus(void *first_alone)
{
	if (sched_getaffinity(0, sizeof(of_the_parent), &of_the_parent))
		return NULL;
	for (int cpu = 0, seen = 0; first_alone && cpu < CPU_SETSIZE; cpu++)
		if (CPU_ISSET(cpu, &of_the_parent) && seen++)
			CPU_CLR(cpu, &of_the_parent);
	if (sched_setaffinity(0, sizeof(of_the_parent), &of_the_parent))
		return NULL;
	bool good = exits_with(child_status(has_the_same_cpus), 0) &&
	            exits_with(child_status(executes_nproc), 0) &&
	            cpus_of_a_program() == CPU_COUNT(&of_the_parent);
	return good ? &of_the_parent : NULL;
}

CHECK(children_inherit_the_cpus)
{
	EXPECT(in_thread(children_have_its_cpus, NULL));
	EXPECT(in_thread(children_have_its_cpus, &of_the_parent));
	return true;
}
