/* SPDX-License-Identifier: MIT
 *
 * greentrace check: tries what it needs on itself, and says what to grant where that is
 * refused.
 */
#include "arch/probe.h"
#include "greenps.h"
#include "object.h"
#include "rights.h"

#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/perf_event.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

/* A probe such as the library's.  What tells whether they can be had is to attach to one in
 * the same way: libbpf has the kernel check its programs for one way only. */
__attribute__((noinline, used)) static void probed(void)
{
	PROBE2("check", "0", 0, 0);
}

static struct bpf_link *attach_probe(struct greentrace_bpf *bpf)
{
	return bpf_program__attach_usdt(bpf->progs.on_worker_stop, getpid(), "/proc/self/exe",
	                                PROBE_PROVIDER, "check", NULL);
}

static struct bpf_link *attach_switch(struct greentrace_bpf *bpf)
{
	return bpf_program__attach(bpf->progs.on_switch);
}

static struct bpf_link *attach_sampler(struct greentrace_bpf *bpf)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_SOFTWARE,
		.config = PERF_COUNT_SW_CPU_CLOCK,
		.size = sizeof(attr),
		.sample_period = 1000000000,
	};
	int fd = (int)syscall(SYS_perf_event_open, &attr, 0, -1, -1, PERF_FLAG_FD_CLOEXEC);

	if (fd < 0)
		return NULL;
	struct bpf_link *link = bpf_program__attach_perf_event(bpf->progs.on_sample, fd);
	if (!link)
		close(fd);
	return link;
}

static const struct view {
	const char *name;
	bool kernel; /* needs the kernel's types */
	struct bpf_link *(*attach)(struct greentrace_bpf *bpf);
} views[] = {
	{ "switch points", false, attach_probe },
	{ "workers that block or wait for a CPU", true, attach_switch },
	{ "green threads that do not switch", false, attach_sampler },
};

/* 0 or errno. */
static int attempt(const struct view *view, bool kernel_types)
{
	struct greentrace_bpf *bpf = object_open(kernel_types);

	if (!bpf)
		return errno;
	bpf_program__set_autoload(bpf->progs.on_switch, view->kernel);
	bpf_program__set_autoload(bpf->progs.on_wakeup, view->kernel);
	bpf_program__set_autoload(bpf->progs.on_forbidden, false);
	bpf_program__set_autoload(bpf->progs.on_syscall, view->kernel);
	bpf_program__set_autoload(bpf->progs.on_fault, view->kernel);
	bpf_program__set_autoload(bpf->progs.on_submit, false);
	bpf_program__set_autoload(bpf->progs.on_punt, false);
	bpf_program__set_autoload(bpf->progs.on_complete, false);
	int error = -greentrace_bpf__load(bpf);
	if (!error) {
		struct bpf_link *link = view->attach(bpf);
		error = link ? 0 : errno;
		bpf_link__destroy(link);
	}
	greentrace_bpf__destroy(bpf);
	return error;
}

static void say_how_to_grant(const struct rights *r)
{
	char missing[128];

	rights_missing(r, missing, sizeof(missing));
	if (missing[0])
		printf("\nMissing: %s.\nTo grant: run it as root (sudo greentrace), or once\n"
		       "  sudo setcap "
		       "cap_bpf,cap_perfmon,cap_sys_ptrace,cap_checkpoint_restore%s+ep "
		       "$(command -v greentrace)\n",
		       missing, r->multi_uprobe ? "" : ",cap_sys_admin");
	if (!r->sys_ptrace)
		printf("\nProcesses of other users: CAP_SYS_PTRACE is missing.\n");
	if (!r->btf)
		printf("\nThe kernel has no type information (/sys/kernel/btf/vmlinux): it was "
		       "built "
		       "without\nCONFIG_DEBUG_INFO_BTF, and no right can replace that.\n");
}

static int say_nothing(enum libbpf_print_level level, const char *format, va_list arguments)
{
	(void)level;
	(void)format;
	(void)arguments;
	return 0;
}

int check(void)
{
	const size_t count = sizeof(views) / sizeof(views[0]);
	size_t good = 0;
	struct utsname system;
	struct rights rights;
	char why[400];

	libbpf_set_print(say_nothing);
	rights_read(&rights);
	uname(&system);
	printf("Linux %s %s, libbpf %u.%u%s\n\n", system.release, system.machine,
	       libbpf_major_version(), libbpf_minor_version(),
	       rights.pid_namespace ? ", inside a PID namespace" : "");
	for (size_t i = 0; i < count; i++) {
		int error =
			views[i].kernel && !rights.btf ? ENOTSUP : attempt(&views[i], rights.btf);
		good += error == 0;
		if (error)
			rights_explain(&rights, error, why, sizeof(why));
		printf("%-38s %s%s\n", views[i].name, error ? "no: " : "yes", error ? why : "");
	}
	say_how_to_grant(&rights);
	return good == count ? EXIT_OK : good ? EXIT_NOTHING : EXIT_PROBLEM;
}
