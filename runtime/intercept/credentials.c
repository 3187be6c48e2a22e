/* SPDX-License-Identifier: MIT
 *
 * setuid(2) & co. hold for one OS thread in Linux, for the process in POSIX.  libc makes
 * every thread repeat the call, by a signal; here the OS threads of the runtime do, and
 * libc finds nobody else to ask (tgkill(2) of that signal says ESRCH).
 *
 * So a program that changes one thread's identity by syscall(2) on purpose changes all:
 * green threads have none of their own.
 */
#include "intercept/credentials.h"
#include "fdtab.h"
#include "intercept/fs_identity.h"
#include "intercept/kick.h"
#include "intercept/signal.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#define TASKS_MAX 4096

/* One at a time. */
static struct {
	_Atomic uint32_t busy;
	int tasks; /* /proc/self/task, opened before a chroot(2) could hide it */
	long nr, arg[3], result;
	_Atomic uint32_t remaining; /* futex: OS threads that have not made it yet */
	_Atomic bool failed;
} request = { .tasks = -1 };

struct entry { /* of getdents64(2) */
	uint64_t ino;
	int64_t next;
	unsigned short size;
	unsigned char type;
	char name[];
};

void credentials_start(void)
{
	long fd = sys3(SYS_open, "/proc/self/task", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);

	if (fd >= 0)
		request.tasks = fd_private((int)fd);
}

void credentials_asked(const siginfo_t *info)
{
	/* Acquire by the signal itself: the request was written before it was sent. */
	if (info->si_pid != signals.pid || info->si_value.sival_ptr != &request)
		return;
	if (sys3(request.nr, request.arg[0], request.arg[1], request.arg[2]) != request.result)
		atomic_store_explicit(&request.failed, true, memory_order_relaxed);
	/* Release: pairs with the acquire in credentials_everywhere(). */
	if (atomic_fetch_sub_explicit(&request.remaining, 1, memory_order_release) == 1)
		sys_futex_wake((const uint32_t *)&request.remaining, 1);
}

/* Kernel threads that work for a ring: they borrow the identity of who asks. */
static bool is_kernel_helper(const char *name)
{
	char path[64], comm[8] = "";
	size_t length = strlen(name);

	if (length > 16)
		return false;
	memcpy(path, name, length);
	memcpy(path + length, "/comm", 6);
	long fd = sys4(SYS_openat, request.tasks, path, O_RDONLY | O_CLOEXEC, 0);
	if (fd < 0)
		return false;
	sys3(SYS_read, fd, comm, sizeof(comm) - 1);
	sys1(SYS_close, fd);
	return memcmp(comm, "iou-", 4) == 0;
}

static bool ask(int tid)
{
	siginfo_t info;

	memset(&info, 0, sizeof(info));
	info.si_signo = SIGNAL_KICK;
	info.si_code = SI_QUEUE;
	info.si_pid = signals.pid;
	info.si_value.sival_ptr = &request;
	atomic_fetch_add_explicit(&request.remaining, 1, memory_order_relaxed);
	if (sys4(SYS_rt_tgsigqueueinfo, signals.pid, tid, SIGNAL_KICK, &info) == 0)
		return true;
	atomic_fetch_sub_explicit(&request.remaining, 1, memory_order_relaxed);
	return false;
}

static int number_of(const char *name)
{
	int n = 0;

	for (; *name >= '0' && *name <= '9'; name++)
		n = n * 10 + *name - '0';
	return n;
}

/* All but the calling one that have not been asked yet; how many those were. */
static int ask_all(int *asked, int *count)
{
	char buffer[4096] __attribute__((aligned(8)));
	int self = (int)sys0(SYS_gettid), new = 0;
	long n;

	sys3(SYS_lseek, request.tasks, 0, SEEK_SET);
	while ((n = sys3(SYS_getdents64, request.tasks, buffer, sizeof(buffer))) > 0)
		for (long at = 0; at < n;) {
			const struct entry *e = (const void *)(buffer + at);
			int tid = number_of(e->name), i = 0;
			at += e->size;
			while (i < *count && asked[i] != tid)
				i++;
			if (!tid || tid == self || i < *count || *count == TASKS_MAX ||
			    is_kernel_helper(e->name))
				continue;
			if (ask(tid)) {
				asked[(*count)++] = tid;
				new ++;
			}
		}
	return new;
}

/* The calling OS thread's identity has been changed; now the others'. */
static void repeat_everywhere(void)
{
	static int asked[TASKS_MAX]; /* the request is one */
	int count = 0;

	/* One that starts another meanwhile had the old identity to give. */
	while (ask_all(asked, &count) > 0) {
		uint32_t left;
		while ((left = atomic_load_explicit(&request.remaining, memory_order_acquire)))
			sys_futex_wait((const uint32_t *)&request.remaining, left, INT64_MAX);
	}
}

static bool is_of_users(long nr)
{
	return nr == SYS_setuid || nr == SYS_setreuid || nr == SYS_setresuid;
}

static long change(const struct call *c)
{
	/* Others that ask meanwhile wait actively: it is a matter of microseconds. */
	while (atomic_exchange_explicit(&request.busy, 1, memory_order_acquire))
		sys0(SYS_sched_yield);
	request.nr = c->nr;
	memcpy(request.arg, c->arg, sizeof(request.arg));
	request.result = call_real(c);
	if (request.result >= 0) {
		repeat_everywhere();
		fs_identity_reset(is_of_users(c->nr),
		                  c->nr != SYS_setgroups && !is_of_users(c->nr));
	}
	long r = request.result;
	atomic_store_explicit(&request.busy, 0, memory_order_release);
	return r;
}

long call_setuid(struct call *c)
{
	return change(c);
}

long call_setgid(struct call *c)
{
	return change(c);
}

long call_setreuid(struct call *c)
{
	return change(c);
}

long call_setregid(struct call *c)
{
	return change(c);
}

long call_setresuid(struct call *c)
{
	return change(c);
}

long call_setresgid(struct call *c)
{
	return change(c);
}

long call_setgroups(struct call *c)
{
	return change(c);
}
