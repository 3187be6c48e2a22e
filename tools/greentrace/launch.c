/* SPDX-License-Identifier: MIT
 *
 * A breakpoint at the entry point, as debuggers do it: there the dynamic linker has
 * mapped the libraries, so that it is known which file has the runtime.  Where none has, it
 * may be a program that starts another in its place, as greenrun does.
 */
#include "launch.h"
#include "escape.h"
#include "find.h"
#include "greenps.h"
#include "memory.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#define BREAKPOINT 0xccul /* int3: one byte, behind which it stops */

static uint64_t entry_of(pid_t pid)
{
	char path[64];
	Elf64_auxv_t entry;
	uint64_t address = 0;

	snprintf(path, sizeof(path), "/proc/%d/auxv", (int)pid);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	while (!address && read(fd, &entry, sizeof(entry)) == sizeof(entry) &&
	       entry.a_type != AT_NULL)
		if (entry.a_type == AT_ENTRY)
			address = entry.a_un.a_val;
	close(fd);
	return address;
}

/* Until it stops for SIGTRAP; other signals are its own.  False: it has ended, which
 * *status says how. */
static bool wait_for_trap(pid_t pid, int *status)
{
	int signal;

	for (;;) {
		if (waitpid(pid, status, 0) < 0 || !WIFSTOPPED(*status))
			return false;
		signal = WSTOPSIG(*status);
		if (signal == SIGTRAP)
			return true;
		ptrace(PTRACE_CONT, pid, NULL, (void *)(uintptr_t)signal);
	}
}

static bool set_pc(pid_t pid, uint64_t pc)
{
	struct user_regs_struct registers;

	if (ptrace(PTRACE_GETREGS, pid, NULL, &registers) != 0)
		return false;
	registers.rip = pc;
	return ptrace(PTRACE_SETREGS, pid, NULL, &registers) == 0;
}

static bool run_to(pid_t pid, uint64_t address)
{
	void *at = (void *)(uintptr_t)address;
	int status;

	errno = 0;
	long word = ptrace(PTRACE_PEEKTEXT, pid, at, NULL);
	if (errno)
		return false;
	void *broken = (void *)(((unsigned long)word & ~0xfful) | BREAKPOINT);
	return ptrace(PTRACE_POKETEXT, pid, at, broken) == 0 &&
	       ptrace(PTRACE_CONT, pid, NULL, NULL) == 0 && wait_for_trap(pid, &status) &&
	       ptrace(PTRACE_POKETEXT, pid, at, (void *)word) == 0 && set_pc(pid, address);
}

/* In the child; what went wrong with exec goes into the pipe, which else closes. */
static void become(char **argv, int report)
{
	ptrace(PTRACE_TRACEME, 0, NULL, NULL);
	memory_unlimit();
	execvp(argv[0], argv);
	int error = errno;
	if (write(report, &error, sizeof(error)) != sizeof(error))
		_exit(126);
	_exit(127);
}

static int exec_error(int report)
{
	int error = 0;
	ssize_t n = read(report, &error, sizeof(error));

	return n == sizeof(error) ? error : 0;
}

/* Stopped behind execve(2): on to its entry point. */
static bool enter(pid_t pid)
{
	uint64_t entry = entry_of(pid);

	return entry != 0 && run_to(pid, entry);
}

/* No runtime there: on to the entry point of the program that it executes in its place.
 * False: it has ended before, or cannot be followed. */
static bool enter_next(pid_t pid, int *status)
{
	return ptrace(PTRACE_CONT, pid, NULL, NULL) == 0 && wait_for_trap(pid, status) &&
	       *status >> 8 == (SIGTRAP | PTRACE_EVENT_EXEC << 8) && enter(pid);
}

static bool follow(pid_t pid, int *status)
{
	const long options = PTRACE_O_EXITKILL | PTRACE_O_TRACEEXEC;

	if (!wait_for_trap(pid, status) ||
	    ptrace(PTRACE_SETOPTIONS, pid, NULL, (void *)(uintptr_t)options) != 0 || !enter(pid))
		return false;
	while (!find_has_runtime(pid))
		if (!enter_next(pid, status))
			return false;
	return true;
}

static int give_up(pid_t pid, int status, const char *shown)
{
	if (WIFEXITED(status) || WIFSIGNALED(status))
		return problem("%s is not a libgreen program (or its libgreen is older than 0.1), "
		               "and executed none",
		               shown);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	return problem("%s cannot be started under control (PTRACE_TRACEME: is ptrace allowed "
	               "here?)",
	               shown);
}

int launch(pid_t *pid, char **argv)
{
	char shown[300];
	int ends[2], error, status = W_STOPCODE(0);

	if (pipe2(ends, O_CLOEXEC) != 0)
		return problem("no pipe: %s", strerror(errno));
	*pid = fork();
	if (*pid == 0)
		become(argv, ends[1]);
	close(ends[1]);
	/* The pipe closes with exec, before the stop for it. */
	error = *pid < 0 ? errno : exec_error(ends[0]);
	close(ends[0]);
	escape_text(shown, sizeof(shown), argv[0], true);
	if (error) {
		if (*pid > 0)
			waitpid(*pid, NULL, 0);
		return problem("%s: %s", shown, strerror(error));
	}
	return follow(*pid, &status) ? EXIT_OK : give_up(*pid, status, shown);
}

int launch_go(pid_t pid)
{
	if (ptrace(PTRACE_DETACH, pid, NULL, NULL) != 0)
		return problem("process %d: %s", (int)pid, strerror(errno));
	return EXIT_OK;
}
