/* SPDX-License-Identifier: MIT
 *
 * One traced process: finding what to attach to, waiting for what is sent.
 */
#include "session.h"
#include "attach.h"
#include "escape.h"
#include "files.h"
#include "find.h"
#include "greenps.h"

#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define WORKERS_MAX 4096
#define DRAIN_MS 5 /* between two looks at the buffers, whose writers do not wake anybody */

/* ---- the file ----------------------------------------------------------------- */

static bool same_file(const char *a, const char *b)
{
	struct stat x, y;

	return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

/* Not access(2), which asks what the user could do without the program's capabilities. */
static bool readable(const char *file)
{
	int fd = open(file, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct stat st;
	bool it_is = fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode);

	if (fd >= 0)
		close(fd);
	return it_is;
}

static bool is_cut_short(const char *file)
{
	int fd = open(file, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	bool it_is = fd >= 0 && file_is_cut_short(fd);

	if (fd >= 0)
		close(fd);
	return it_is;
}

/* Never by its path alone: what lies there now may be a newer file, whose probes would
 * never be hit. */
static bool find_file(struct session *s)
{
	char exe[64], mapped[128];
	const struct mapping *m = s->target.mappings;

	while (m->start != s->layout.base)
		m++;
	snprintf(exe, sizeof(exe), "/proc/%d/exe", (int)s->pid);
	snprintf(mapped, sizeof(mapped), "/proc/%d/map_files/%" PRIx64 "-%" PRIx64, (int)s->pid,
	         m->start, m->end);
	if (readable(mapped)) {
		snprintf(s->file, sizeof(s->file), "%s", same_file(exe, mapped) ? exe : mapped);
		return true;
	}
	/* Without the right to look there: its path, unless that is another file by now. */
	snprintf(s->file, sizeof(s->file), "/proc/%d/root%s", (int)s->pid, m->path);
	if (same_file(exe, s->file))
		snprintf(s->file, sizeof(s->file), "%s", exe);
	return !strstr(m->path, " (deleted)") && readable(s->file);
}

static void compare_namespaces(struct session *s)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/ns/pid", (int)s->pid);
	s->same_pids = same_file(path, "/proc/self/ns/pid");
	s->pids_are_the_kernels = s->same_pids && !s->rights.pid_namespace;
}

/* ---- opening ------------------------------------------------------------------ */

/* libbpf's own messages guess at reasons; ours go by errno and the rights there are. */
static int say_nothing(enum libbpf_print_level level, const char *format, va_list arguments)
{
	(void)level;
	(void)format;
	(void)arguments;
	return 0;
}

/* Also when it is a zombie, or about to be one: then its memory is gone. */
static bool has_ended(const struct session *s)
{
	struct pollfd fd = { .fd = s->pidfd, .events = POLLIN };
	char path[40], to[2];

	snprintf(path, sizeof(path), "/proc/%d/exe", (int)s->pid);
	return poll(&fd, 1, 0) > 0 || (readlink(path, to, sizeof(to)) < 0 && errno != EACCES);
}

static int gone(const struct session *s)
{
	char program[300];

	return problem("process %d (%s) has ended", (int)s->pid,
	               escape_text(program, sizeof(program), s->target.program, true));
}

/* The process that the number is a thread of; itself, or 0: it has ended. */
static pid_t process_of(pid_t pid)
{
	char path[40], line[128];
	int process = 0;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	FILE *f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f) && sscanf(line, "Tgid: %d", &process) != 1)
		;
	if (f)
		fclose(f);
	return process;
}

static int no_pidfd(pid_t pid, int error)
{
	pid_t process = process_of(pid);

	if (process && process != pid)
		return problem("%d is a thread of process %d: -p takes that", (int)pid,
		               (int)process);
	return problem("process %d: %s", (int)pid, strerror(error));
}

int session_open(struct session *s, pid_t pid, bool launched)
{
	struct field count;

	memset(s, 0, sizeof(*s));
	s->pid = pid;
	s->launched = launched;
	s->pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	int no_fd = errno;
	libbpf_set_print(say_nothing);
	rights_read(&s->rights);
	compare_namespaces(s);
	int status = target_open_pid(&s->target, pid);
	if (status == EXIT_OK)
		status = layout_find(&s->layout, &s->target);
	if (status != EXIT_OK)
		return status;
	if (s->pidfd < 0)
		return no_pidfd(pid, no_fd);
	count = s->layout.runtime_workers_count;
	count.value += s->layout.rt.value;
	layout_global(&s->target, count, &s->workers_count);
	if (s->workers_count > s->layout.runtime_workers.size / sizeof(uint64_t) ||
	    s->workers_count > WORKERS_MAX)
		return problem("process %d: its libgreen says that it has %" PRIu64
		               " workers: it is damaged",
		               (int)pid, s->workers_count);
	if (!find_file(s))
		return has_ended(s) ? gone(s)
		                    : problem("process %d: the file that has its libgreen has been "
		                              "replaced or cannot be read: it takes root, or "
		                              "CAP_CHECKPOINT_RESTORE",
		                              (int)pid);
	return EXIT_OK;
}

void session_close(struct session *s)
{
	attachment_free(s->attachment);
	target_close(&s->target);
	if (s->pidfd >= 0)
		close(s->pidfd);
}

void session_refresh(struct session *s)
{
	struct layout now;

	if (!s->launched || s->refreshed)
		return;
	s->refreshed = true;
	find_looks = true; /* it may have ended: what was found before it started is good, too */
	if (layout_find(&now, &s->target) == EXIT_OK)
		s->layout = now;
	find_looks = false;
}

/* ---- attaching ---------------------------------------------------------------- */

pid_t session_tid(struct session *s, pid_t kernel_tid, uint64_t worker)
{
	struct field f = s->layout.worker_tid;
	uint64_t tid;

	if (!s->rights.pid_namespace)
		return kernel_tid;
	f.value += worker;
	return s->same_pids && layout_global(&s->target, f, &tid) ? (pid_t)tid : 0;
}

/* In another namespace, where its tids mean others here, they tell of themselves. */
static void known_workers(struct session *s)
{
	const struct layout *l = &s->layout;

	for (uint64_t i = 0; i < s->workers_count && s->same_pids; i++) {
		uint64_t address, tid;
		uint64_t at = l->rt.value + l->runtime_workers.value + i * sizeof(address);
		struct field f = l->worker_tid;
		if (!target_read(&s->target, at, &address, sizeof(address)) || !address)
			continue;
		f.value += address;
		if (layout_global(&s->target, f, &tid) && tid)
			attach_worker(s, (pid_t)tid, address);
	}
}

static int cannot(const struct session *s, int error, const char *what)
{
	char why[400], program[300];

	if (error == -ESRCH || has_ended(s))
		return gone(s);
	escape_text(program, sizeof(program), s->target.program, true);
	if (is_cut_short(s->file))
		return problem("process %d (%s): the file that has its libgreen has been cut "
		               "short since it was loaded: no probe can be put into it",
		               (int)s->pid, program);
	if (error == -ENOENT)
		return problem("process %d (%s): its libgreen has no probe \"%s\": it is older "
		               "than this greentrace",
		               (int)s->pid, program, what);
	rights_explain(&s->rights, -error, why, sizeof(why));
	return problem("process %d (%s): cannot attach (%s): %s; see \"greentrace check\"",
	               (int)s->pid, program, what, why);
}

int session_attach(struct session *s, const struct wishes *wishes, const struct receiver *r)
{
	const char *what;

	s->wishes = *wishes;
	s->no_kernel_views = !s->rights.btf;
	if (s->no_kernel_views && (wishes->blocked_ns || wishes->queued || wishes->syscalls ||
	                           wishes->faults || wishes->requests))
		complain("this kernel has no BTF (/sys/kernel/btf/vmlinux): workers that block or "
		         "wait for a CPU are not seen, nor system calls, page faults and io_uring");
	else if (wishes->requests && s->rights.tracepoints)
		return problem(
			"--io needs the kernel's tracepoints of io_uring, which %s",
			s->rights.tracepoints == EACCES
				? "this user may not look up in tracefs (run it as root)"
				: "are not there: mount -t tracefs tracefs /sys/kernel/tracing");
	int error = attach(s, r, &what);
	if (error)
		return cannot(s, error, what);
	known_workers(s);
	return EXIT_OK;
}

void session_detach(struct session *s)
{
	detach(s->attachment);
	while (!attachment_drain(s->attachment))
		;
}

bool session_poll(struct session *s, int ms)
{
	struct pollfd fds[] = { { .fd = s->pidfd, .events = POLLIN },
		                { .fd = attachment_fd(s->attachment), .events = POLLIN } };

	int n = poll(fds, 2, s->behind ? 0 : ms < DRAIN_MS ? ms : DRAIN_MS);
	s->behind = !attachment_drain(s->attachment);
	return s->behind || n <= 0 || !(fds[0].revents & POLLIN);
}
