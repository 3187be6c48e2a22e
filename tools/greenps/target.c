/* SPDX-License-Identifier: MIT
 *
 * Reading a live process: its mappings and its memory from /proc, which neither
 * stops it nor runs code in it.
 *
 * Not by process_vm_readv(2): that waits at a missing page of memory under
 * userfaultfd until the process's own thread has put one there, so that looking at
 * hibernated stacks would bring them back.  A read of /proc/PID/mem fails there.
 */
#include "target.h"
#include "core.h"
#include "escape.h"
#include "greenps.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

bool target_add_mapping(struct target *t, const struct mapping *m)
{
	size_t n = t->mappings_count;

	if ((n & (n - 1)) == 0) {
		size_t room = n ? 2 * n : 1;
		struct mapping *more = realloc(t->mappings, room * sizeof(*more));
		if (!more)
			return false;
		t->mappings = more;
	}
	t->mappings[n] = *m;
	t->mappings[n].path = strdup(m->path);
	if (!t->mappings[n].path)
		return false;
	t->mappings_count++;
	return true;
}

/* "start-end perms offset device inode path" */
static bool parse_mapping(char *line, struct mapping *m)
{
	int path = 0;

	line[strcspn(line, "\n")] = 0;
	if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %*s %" SCNx64 " %*s %*s %n", &m->start, &m->end,
	           &m->offset, &path) < 3 ||
	    path == 0)
		return false;
	m->path = line + path;
	return m->path[0] == '/';
}

static int not_allowed(const struct target *t)
{
	struct stat st;
	char path[64], scope = '0';

	snprintf(path, sizeof(path), "/proc/%d", (int)t->pid);
	FILE *f = fopen("/proc/sys/kernel/yama/ptrace_scope", "re");
	if (f) {
		scope = (char)fgetc(f);
		fclose(f);
	}
	if (scope == '3')
		return problem("process %d: not allowed: kernel.yama.ptrace_scope is 3, which lets "
		               "nobody read other processes until the next boot; look at a core "
		               "file instead",
		               (int)t->pid);
	if (stat(path, &st) == 0 && geteuid() != 0 && st.st_uid == geteuid() && scope != '0')
		return problem("process %d: not allowed: kernel.yama.ptrace_scope is %c; run it "
		               "as root (sudo %s ...) or with CAP_SYS_PTRACE, or let the program "
		               "call prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY)",
		               (int)t->pid, scope, tool_name);
	if (stat(path, &st) == 0 && geteuid() != 0)
		return problem("process %d: not allowed: it belongs to user %u or has more rights "
		               "than you; run it as root (sudo %s ...) or with CAP_SYS_PTRACE",
		               (int)t->pid, (unsigned)st.st_uid, tool_name);
	return problem("process %d: not allowed, although you are root: this container lacks "
	               "CAP_SYS_PTRACE (docker run --cap-add SYS_PTRACE), or a security module "
	               "forbids it",
	               (int)t->pid);
}

/* A process that ends loses its memory, and what is left of it in /proc belongs to root. */
static bool has_ended(pid_t pid)
{
	char path[64];
	unsigned long pages = 0;

	snprintf(path, sizeof(path), "/proc/%d/statm", (int)pid);
	FILE *f = fopen(path, "re");
	if (!f)
		return true;
	bool known = fscanf(f, "%lu", &pages) == 1;
	fclose(f);
	return !known || pages == 0;
}

static int open_problem(const struct target *t, int error)
{
	if (t->mappings_count && has_ended(t->pid))
		return problem("process %d ended while it was being read", (int)t->pid);
	if (error == ENOENT || error == ESRCH)
		return problem("process %d: there is none with this number", (int)t->pid);
	if (error == EACCES || error == EPERM)
		return not_allowed(t);
	return problem("process %d: /proc/%d/maps: %s", (int)t->pid, (int)t->pid, strerror(error));
}

static void read_program(struct target *t)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/comm", (int)t->pid);
	FILE *f = fopen(path, "re");
	if (!f)
		return;
	if (!fgets(t->program, sizeof(t->program), f))
		t->program[0] = 0;
	t->program[strcspn(t->program, "\n")] = 0;
	fclose(f);
}

/* 0 or errno. */
static int read_mappings(struct target *t)
{
	char path[64], *line = NULL;
	size_t size = 0;
	struct mapping m;
	int error = 0;

	snprintf(path, sizeof(path), "/proc/%d/maps", (int)t->pid);
	FILE *f = fopen(path, "re");
	if (!f)
		return errno;
	errno = 0;
	while (!error && getline(&line, &size, f) >= 0)
		if (parse_mapping(line, &m) && !target_add_mapping(t, &m))
			error = ENOMEM;
	if (!error && ferror(f))
		error = errno;
	free(line);
	fclose(f);
	return error;
}

static ssize_t read_by_pid(const struct target *t, uint64_t address, void *buf, size_t size)
{
	struct iovec to = { .iov_base = buf, .iov_len = size };
	struct iovec from = { .iov_base = (void *)(uintptr_t)address, .iov_len = size };

	return process_vm_readv(t->pid, &to, 1, &from, 1, 0);
}

int target_open_pid(struct target *t, pid_t pid)
{
	char path[64];

	memset(t, 0, sizeof(*t));
	t->memory = -1;
	t->pid = pid;
	read_program(t);
	int error = read_mappings(t);
	if (error)
		return open_problem(t, error);
	if (t->mappings_count == 0)
		return problem(
			"process %d: it has no memory: it has ended (a zombie), or it is part "
			"of the kernel",
			(int)pid);
	snprintf(path, sizeof(path), "/proc/%d/mem", (int)pid);
	t->memory = open(path, O_RDONLY | O_CLOEXEC);
	if (t->memory >= 0)
		return EXIT_OK;
	/* The file belongs to its user, whatever other rights there are. */
	error = errno;
	t->by_pid = read_by_pid(t, t->mappings[0].start, path, 1) == 1;
	return t->by_pid ? EXIT_OK : open_problem(t, error);
}

void target_close(struct target *t)
{
	for (size_t i = 0; i < t->mappings_count; i++)
		free(t->mappings[i].path);
	free(t->mappings);
	core_close(t->core);
	if (t->memory >= 0)
		close(t->memory);
	memset(t, 0, sizeof(*t));
	t->memory = -1;
}

bool target_read(struct target *t, uint64_t address, void *buf, size_t size)
{
	size_t done = 0;

	if (t->core)
		return core_read(t, address, buf, size);
	while (done < size && !t->gone) {
		char *to = (char *)buf + done;
		ssize_t n = t->by_pid ? read_by_pid(t, address + done, to, size - done)
		                      : pread(t->memory, to, size - done, (off_t)(address + done));
		if (n <= 0) {
			t->gone = n == 0 || (t->by_pid && errno == ESRCH); /* its memory is */
			return false;
		}
		done += (size_t)n;
	}
	return done == size;
}

int64_t target_now(const struct target *t)
{
	struct timespec now;

	if (t->core || clock_gettime(CLOCK_MONOTONIC, &now) != 0)
		return 0;
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}
