/* SPDX-License-Identifier: MIT
 *
 * Child processes: greenbench itself with other arguments, and servers.
 *
 * Every child is known by its pid until it has been waited for, so that
 * whatever ends this program ends them too.
 */
#ifndef CHILD_H
#define CHILD_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* Ends the children when this program is ended by a signal or exits. */
void child_init(void);

/* fork(), with the child known and dying with its parent.  -errno on failure. */
pid_t child_fork(void);

/* Kills what is still there, with SIGKILL.  Async-signal-safe. */
void child_kill_all(void);

/* Has it ended?  Then *status is as from waitpid() and it is forgotten. */
bool child_ended(pid_t pid, int *status);

/* Waits for it, at most timeout_s, then kills it.  The status as waitpid(). */
int child_wait(pid_t pid, double timeout_s);

/* Path of this very program. */
const char *child_self(void);

/* Runs a command (NULL-ended) and returns its exit status, or 128 + signal.
 * *output is what it wrote to standard output, to be freed. */
int child_capture(char *const *argv, char **output);

/* The same in two steps, for several at once.  child_start(): on that CPU alone, or
 * on any (-1); 0 or -errno.  child_finish() is due once after success. */
struct child {
	pid_t pid;
	int from; /* its standard output */
};
int child_start(struct child *child, char *const *argv, int cpu);
int child_finish(struct child *child, char **output);

/* CPU time of a process so far, exact, with all its threads; -1: unknown. */
int64_t child_cpu_ns(pid_t pid);

#endif
