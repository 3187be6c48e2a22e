/* SPDX-License-Identifier: MIT
 *
 * /_status: what the runtime and the process say about themselves, as JSON.
 */
#include "local.h"
#include "response.h"
#include "route.h"
#include "server.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define PAGE_MAX (EXCHANGE_OUT - RESPONSE_HEAD_MAX)

/* The number behind "name:" in /proc/self/status, in bytes when in kB there. */
static unsigned long long proc_number(const char *status, const char *name, unsigned unit)
{
	const char *line = strstr(status, name);

	return line ? strtoull(line + strlen(name), NULL, 10) * unit : 0;
}

/* Reads /proc/self/status; the kernel makes it up without waiting for anything,
 * so this blocks nobody. */
static void read_proc(char *buf, size_t size)
{
	int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd >= 0 ? read(fd, buf, size - 1) : -1;

	buf[n > 0 ? n : 0] = '\0';
	if (fd >= 0)
		close(fd);
}

static int print_runtime(char *buf, size_t size, const struct green_info *info)
{
	return snprintf(buf, size,
	                "{\"version\":\"%s\",\"engine\":\"%s\",\"engine_reason\":\"%s\","
	                "\"workers\":%u,\"stacks\":\"%s\",\"stack_size\":%zu,"
	                "\"threads_max\":%zu,\"threads\":%zu,\"threads_peak\":%zu,"
	                "\"stacks_used\":%zu,\"switches\":%llu,\"spawns\":%llu,"
	                "\"steals\":%llu,\"stuck\":%llu,\"features\":\"%s\"",
	                info->version, info->engine, info->engine_reason, info->workers,
	                info->stacks, info->stack_size, info->threads_max, info->threads,
	                info->threads_peak, info->stacks_used, (unsigned long long)info->switches,
	                (unsigned long long)info->spawns, (unsigned long long)info->steals,
	                (unsigned long long)info->stuck, info->features);
}

static int print_process(char *buf, size_t size, const char *proc)
{
	return snprintf(buf, size,
	                ",\"connections\":%zu,\"requests\":%llu,\"rss_bytes\":%llu,"
	                "\"page_table_bytes\":%llu,\"os_threads\":%llu,\"cpu_us\":%llu,"
	                "\"now_ns\":%lld}\n",
	                server_connections(), (unsigned long long)local_requests(),
	                proc_number(proc, "VmRSS:", 1024), proc_number(proc, "VmPTE:", 1024),
	                proc_number(proc, "Threads:", 1),
	                (unsigned long long)clock() * 1000000 / CLOCKS_PER_SEC,
	                (long long)green_now());
}

int status_serve(struct connection *c)
{
	char *page = c->x->out + RESPONSE_HEAD_MAX;
	char *proc = page + PAGE_MAX / 2;
	struct green_info info;
	int len;

	if (c->x->request.method != METHOD_GET && c->x->request.method != METHOD_HEAD)
		return respond_other_method(c, SLICE("GET, HEAD, OPTIONS"));
	if (green_info(&info) != 0)
		return respond_error(c, 503);
	read_proc(proc, PAGE_MAX / 2);
	len = print_runtime(page, PAGE_MAX / 2, &info);
	len += print_process(page + len, PAGE_MAX / 2 - (size_t)len, proc);
	assert(len < PAGE_MAX / 2);

	struct text head = head_begin(c, 200);
	head_field(&head, "Cache-Control", SLICE("no-store"));
	return respond_page(c, &head, SLICE("application/json"),
	                    (struct slice){ page, (size_t)len });
}
