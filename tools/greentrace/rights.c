/* SPDX-License-Identifier: MIT
 *
 * Rights, read from /proc and /sys before libbpf fails with messages of its own, which
 * guess at limits that have nothing to do with it.
 */
#include "rights.h"

#include <bpf/libbpf.h>
#include <errno.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Their numbers, which older headers lack. */
enum { SYS_PTRACE = 19, SYS_ADMIN = 21, PERFMON = 38, BPF = 39 };

#define FIRST_PID_NAMESPACE 0xeffffffcu /* its inode number, fixed in the kernel */

static uint64_t effective(void)
{
	char line[256];
	uint64_t set = 0;
	FILE *f = fopen("/proc/self/status", "re");

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "CapEff: %" SCNx64, &set) == 1)
			break;
	if (f)
		fclose(f);
	return set;
}

static bool locked_down(void)
{
	char text[128] = "";
	FILE *f = fopen("/sys/kernel/security/lockdown", "re");

	if (!f)
		return false;
	bool found = fgets(text, sizeof(text), f) && strstr(text, "[confidentiality]");
	fclose(f);
	return found;
}

/* Where libbpf looks for the numbers of tracepoints. */
static int find_tracepoints(void)
{
	static const char *const places[] = {
		"/sys/kernel/tracing/events/io_uring/io_uring_complete/id",
		"/sys/kernel/debug/tracing/events/io_uring/io_uring_complete/id",
	};

	int error = ENOENT;

	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		if (access(places[i], R_OK) == 0)
			return 0;
		if (errno == EACCES)
			error = EACCES;
	}
	return error;
}

void rights_read(struct rights *r)
{
	uint64_t set = effective();
	struct stat st;

	memset(r, 0, sizeof(*r));
	r->sys_admin = set >> SYS_ADMIN & 1;
	r->sys_ptrace = set >> SYS_PTRACE & 1;
	/* The old capability contains the new ones. */
	r->bpf = r->sys_admin || (set >> BPF & 1);
	r->perfmon = r->sys_admin || (set >> PERFMON & 1);
	r->btf = access("/sys/kernel/btf/vmlinux", R_OK) == 0;
	r->lockdown = locked_down();
	r->pid_namespace = stat("/proc/self/ns/pid", &st) == 0 && st.st_ino != FIRST_PID_NAMESPACE;
	r->tracepoints = find_tracepoints();
	r->multi_uprobe = libbpf_major_version() > 1 || libbpf_minor_version() >= 3;
}

static void append(char *to, size_t size, const char *text)
{
	size_t n = strlen(to);

	snprintf(to + n, size - n, "%s%s", n ? ", " : "", text);
}

void rights_missing(const struct rights *r, char *to, size_t size)
{
	to[0] = 0;
	if (!r->bpf)
		append(to, size, "CAP_BPF");
	if (!r->perfmon)
		append(to, size, "CAP_PERFMON");
	if (!r->sys_admin && !r->multi_uprobe)
		append(to, size, "CAP_SYS_ADMIN (this libbpf is older than 1.3)");
}

void rights_explain(const struct rights *r, int error, char *to, size_t size)
{
	char missing[128];

	rights_missing(r, missing, sizeof(missing));
	if (r->lockdown)
		snprintf(to, size,
		         "the kernel is locked down for confidentiality "
		         "(/sys/kernel/security/lockdown): no program may read memory by BPF");
	else if (error == ENOTSUP && !r->btf)
		snprintf(to, size, "this kernel has no BTF (/sys/kernel/btf/vmlinux)");
	else if ((error == EPERM || error == EACCES) && missing[0])
		snprintf(to, size, "it takes root, or %s", missing);
	else if (error == EPERM || error == EACCES)
		snprintf(to, size,
		         "%s, although the capabilities are there: a container (seccomp) or a "
		         "security module forbids it",
		         strerror(error));
	else
		snprintf(to, size, "%s", strerror(error));
}
