/* SPDX-License-Identifier: MIT
 *
 * What there is already when interception starts, as /proc tells it.
 */
#include "intercept/before.h"
#include "intercept/futex.h"
#include "intercept/shared.h"
#include "intercept/signal.h"
#include "intercept/wait.h"
#include "lines.h"
#include "options.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>

#define FD_INFOS "/proc/self/fdinfo/"
#define TASK_FOLDER_LINKS 2 /* besides one for each thread */

/* ---- threads ------------------------------------------------------------------- */

bool before_has_threads(void)
{
	struct stat tasks;

	return sys2(SYS_stat, "/proc/self/task", &tasks) == 0 &&
	       tasks.st_nlink > TASK_FOLDER_LINKS + 1;
}

int before_look_at_threads(bool *others)
{
	*others = before_has_threads();
	if (sys0(SYS_gettid) != sys0(SYS_getpid)) {
		error_set("green threads begin with the process's first, and another one has "
		          "made the first thread that was seen");
		return -EPERM;
	}
	if (*others)
		futex_has_others();
	return 0;
}

/* ---- descriptors ------------------------------------------------------------------ */

static bool has_limit(int fd, int option)
{
	struct timeval limit = { 0, 0 };
	socklen_t size = sizeof(limit);

	return sys5(SYS_getsockopt, fd, SOL_SOCKET, option, &limit, &size) == 0 &&
	       (limit.tv_sec || limit.tv_usec);
}

static bool lingers(int fd)
{
	struct linger linger;
	socklen_t size = sizeof(linger);

	return sys5(SYS_getsockopt, fd, SOL_SOCKET, SO_LINGER, &linger, &size) == 0 &&
	       linger.l_onoff;
}

static void look_at_socket(int fd)
{
	if (has_limit(fd, SO_RCVTIMEO) || has_limit(fd, SO_SNDTIMEO))
		atomic_store_explicit(&wait_limits_used, true, memory_order_relaxed);
	if (lingers(fd))
		atomic_store_explicit(&wait_lingers_used, true, memory_order_relaxed);
}

/* The number behind the key in a file of /proc; 0: there is no such line. */
static uint64_t number_in(const char *path, const char *key)
{
	struct lines lines;
	char line[64];
	uint64_t number = 0;

	if (!lines_open(&lines, path))
		return 0;
	while (lines_next(&lines, line, sizeof(line)))
		if (strncmp(line, key, strlen(key)) == 0)
			number = lines_hex(&(const char *){ line + strlen(key) });
	lines_close(&lines);
	return number;
}

/* The signals that a signalfd(2) reads; 0: it is none. */
static uint64_t signals_of(const char *number)
{
	char path[64] = FD_INFOS;

	strncat(path, number, sizeof(path) - sizeof(FD_INFOS));
	return number_in(path, "sigmask:\t");
}

struct entry { /* of getdents64(2) */
	uint64_t inode, offset;
	unsigned short size;
	unsigned char type;
	char name[];
};

static void look_at(const char *name)
{
	struct stat about;
	int fd = 0;

	for (const char *digit = name; *digit; digit++) {
		if (*digit < '0' || *digit > '9')
			return;
		fd = fd * 10 + (*digit - '0');
	}
	if (sys2(SYS_fstat, fd, &about) < 0)
		return;
	if (S_ISSOCK(about.st_mode))
		look_at_socket(fd);
	else if (!(about.st_mode & S_IFMT)) /* as those have it that are no file of any kind */
		atomic_fetch_or_explicit(&signals.in_files, signals_of(name), memory_order_relaxed);
}

void before_look_at_files(void)
{
	_Alignas(struct entry) char entries[4096];
	long n, infos = sys4(SYS_openat, AT_FDCWD, FD_INFOS, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);

	if (infos < 0) { /* no way to know */
		atomic_store_explicit(&wait_limits_used, true, memory_order_relaxed);
		atomic_store_explicit(&wait_lingers_used, true, memory_order_relaxed);
		return;
	}
	while ((n = sys3(SYS_getdents64, infos, entries, sizeof(entries))) > 0)
		for (long at = 0; at < n;) {
			const struct entry *e = (const struct entry *)(const void *)(entries + at);
			look_at(e->name);
			at += e->size;
		}
	sys1(SYS_close, infos);
}

/* ---- memory ------------------------------------------------------------------------- */

/* A line of /proc/self/maps: "from-to rw-s …". */
static void look_at_mapping(const char *line)
{
	uintptr_t from = lines_hex(&line);
	uintptr_t to = *line == '-' ? (line++, lines_hex(&line)) : 0;

	/* Where it cannot be written nobody has a lock. */
	if (to > from && strlen(line) > 4 && line[2] == 'w' && line[4] == 's')
		shared_note(from, to - from);
}

void before_look_at_memory(void)
{
	struct lines lines;
	char line[64]; /* the beginning of one is enough */

	if (!lines_open(&lines, "/proc/self/maps")) { /* everything may be */
		shared_note(0, UINTPTR_MAX);
		return;
	}
	while (lines_next(&lines, line, sizeof(line)))
		look_at_mapping(line);
	lines_close(&lines);
}

/* ---- signals ------------------------------------------------------------------------- */

void before_take_signals(struct thread *t)
{
	static const struct timespec at_once = { 0, 0 };
	uint64_t pending;
	siginfo_t info;

	/* All are blocked by now.  Those of the process are in there as well, which is why the
	 * file, which takes longer, says which are the thread's own. */
	if (sys2(SYS_rt_sigpending, &pending, sizeof(pending)) == 0 && !pending)
		return;
	while ((pending = number_in("/proc/thread-self/status", "SigPnd:\t"))) {
		/* The thread's own come before the process's. */
		if (sys4(SYS_rt_sigtimedwait, &pending, &info, &at_once, sizeof(pending)) <= 0)
			return;
		signal_send(t, &info, false);
	}
}
