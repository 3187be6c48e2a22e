/* SPDX-License-Identifier: MIT
 *
 * The files of thread_name.h.
 */
#include "intercept/thread_name.h"
#include "intercept/call.h"
#include "intercept/thread.h"
#include "spin.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>

#define OPEN_MAX_HERE 32
#define PREFIX "/proc/self/task/"

_Atomic unsigned thread_names_open; /* under the lock, read without */

static struct {
	struct spin lock;
	struct {
		int fd, tid;
	} at[OPEN_MAX_HERE];
} written;

/* -1: it is another path. */
static int tid_of(const char *path)
{
	int tid = 0;

	if ((uintptr_t)path < 4096 || strncmp(path, PREFIX, sizeof(PREFIX) - 1) != 0)
		return -1;
	for (path += sizeof(PREFIX) - 1; *path >= '0' && *path <= '9' && tid < 1 << 27; path++)
		tid = tid * 10 + (*path - '0');
	return strcmp(path, "/comm") == 0 && tid_is_green(tid) ? tid : -1;
}

static void remember(int fd, int tid)
{
	spin_lock(&written.lock);
	if (thread_names_open < OPEN_MAX_HERE) {
		written.at[thread_names_open].fd = fd;
		written.at[thread_names_open].tid = tid;
		atomic_store_explicit(&thread_names_open, thread_names_open + 1,
		                      memory_order_relaxed);
	}
	spin_unlock(&written.lock);
}

long thread_name_open(const char *path, uint64_t flags)
{
	int tid = tid_of(path);

	if (likely(tid < 0))
		return CALL_PASS;
	const struct thread *t = thread_find(tid);
	if (!t)
		return -ENOENT;
	long fd = sys2(SYS_memfd_create, "comm", flags & O_CLOEXEC ? MFD_CLOEXEC : 0);
	if (fd < 0)
		return fd;
	/* Empty: what is written is not laid over the name. */
	if ((flags & O_ACCMODE) != O_RDONLY) {
		remember((int)fd, tid);
		return fd;
	}
	char line[THREAD_NAME_SIZE + 1];
	size_t size = strnlen(t->name, THREAD_NAME_SIZE - 1);
	memcpy(line, t->name, size);
	line[size++] = '\n';
	sys4(SYS_pwrite64, fd, line, size, 0);
	return fd;
}

static void take_name(int fd, int tid)
{
	struct thread *t = thread_find(tid);
	char name[THREAD_NAME_SIZE];
	long size = sys4(SYS_pread64, fd, name, sizeof(name) - 1, 0);

	if (!t || size <= 0)
		return;
	name[size] = 0;
	name[strcspn(name, "\n")] = 0;
	memcpy(t->name, name, sizeof(name));
}

void thread_name_close(int fd)
{
	int tid = 0;

	/* Relaxed: who closes it has opened it. */
	if (likely(!atomic_load_explicit(&thread_names_open, memory_order_relaxed)))
		return;
	spin_lock(&written.lock);
	for (unsigned i = 0; i < thread_names_open; i++)
		if (written.at[i].fd == fd) {
			tid = written.at[i].tid;
			written.at[i] = written.at[thread_names_open - 1];
			atomic_store_explicit(&thread_names_open, thread_names_open - 1,
			                      memory_order_relaxed);
			break;
		}
	spin_unlock(&written.lock);
	if (tid)
		take_name(fd, tid);
}
