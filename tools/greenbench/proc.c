/* SPDX-License-Identifier: MIT
 *
 * Reading /proc.
 */
#include "proc.h"

#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

/* The number behind a key of a "key: number" file. */
static int64_t field(const char *text, const char *key)
{
	char line[64];
	snprintf(line, sizeof(line), "\n%s:", key);
	const char *at = strstr(text, line);
	long long value = 0;
	if (at)
		sscanf(at + strlen(line), "%lld", &value);
	return value;
}

static int slurp(const char *path, char *buf, size_t size)
{
	FILE *file = fopen(path, "re");
	if (!file)
		return -errno;
	buf[0] = '\n';
	size_t length = fread(buf + 1, 1, size - 2, file);
	buf[1 + length] = '\0';
	fclose(file);
	return 0;
}

int proc_memory(pid_t pid, struct proc_memory *memory)
{
	char path[64] = "/proc/self/status", text[8192];
	if (pid)
		snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	int error = slurp(path, text, sizeof(text));
	*memory = (struct proc_memory){ 0 };
	if (error)
		return error;
	memory->rss_kb = field(text, "VmRSS");
	memory->pte_kb = field(text, "VmPTE");
	memory->swap_kb = field(text, "VmSwap");
	memory->threads = field(text, "Threads");
	return 0;
}

double proc_bytes(const struct proc_memory *memory)
{
	return 1024.0 * (double)(memory->rss_kb + memory->pte_kb + memory->swap_kb);
}

/* A single number, INFINITY for "max" or an unreadable file. */
static double number_in(const char *path)
{
	char text[64];
	double value;
	if (slurp(path, text, sizeof(text)) || sscanf(text, "%lf", &value) != 1)
		return INFINITY;
	return value;
}

double proc_available_bytes(void)
{
	char text[8192];
	double machine = INFINITY;
	if (slurp("/proc/meminfo", text, sizeof(text)) == 0)
		machine = 1024.0 * (double)field(text, "MemAvailable");
	double limit = number_in("/sys/fs/cgroup/memory.max");
	if (isinf(limit))
		return machine;
	return fmin(machine, limit - number_in("/sys/fs/cgroup/memory.current"));
}

/* Of one thread, where its name is this; else NAN. */
static double thread_ns(const char *tid, const char *name)
{
	char path[320], text[64];
	double ns;

	snprintf(path, sizeof(path), "/proc/self/task/%s/comm", tid);
	if (slurp(path, text, sizeof(text)))
		return NAN;
	text[strcspn(text + 1, "\n") + 1] = '\0';
	if (strcmp(text + 1, name) != 0)
		return NAN;
	snprintf(path, sizeof(path), "/proc/self/task/%s/schedstat", tid);
	return slurp(path, text, sizeof(text)) || sscanf(text, "%lf", &ns) != 1 ? NAN : ns;
}

double proc_thread_ns(const char *name)
{
	DIR *tasks = opendir("/proc/self/task");
	double ns = NAN;

	for (struct dirent *at; tasks && isnan(ns) && (at = readdir(tasks));)
		ns = thread_ns(at->d_name, name);
	if (tasks)
		closedir(tasks);
	return ns;
}

uint64_t proc_raise_nofile(void)
{
	struct rlimit limit;
	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return 1024;
	if (limit.rlim_cur < limit.rlim_max) {
		struct rlimit raised = { limit.rlim_max, limit.rlim_max };
		if (setrlimit(RLIMIT_NOFILE, &raised) == 0)
			limit = raised;
	}
	return limit.rlim_cur;
}
