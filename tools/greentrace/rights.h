/* SPDX-License-Identifier: MIT
 *
 * What this process may do, and what to grant if that is not enough.
 */
#ifndef RIGHTS_H
#define RIGHTS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct rights {
	bool bpf, perfmon, sys_admin, sys_ptrace; /* effective capabilities */
	bool btf;                                 /* the kernel describes its types */
	bool lockdown;                            /* confidentiality: BPF may not read memory */
	bool pid_namespace;                       /* not in the first one */
	int tracepoints;   /* 0: those of io_uring can be looked up in tracefs; else errno */
	bool multi_uprobe; /* this libbpf can use such links */
};

void rights_read(struct rights *rights);

/* Why attaching probes failed with that errno, and what helps: one line. */
void rights_explain(const struct rights *rights, int error, char *to, size_t size);

/* What is missing for probes to be attached to processes of this user: a list such as
 * "CAP_BPF, CAP_PERFMON"; "": nothing. */
void rights_missing(const struct rights *rights, char *to, size_t size);

/* greentrace check: EXIT_OK: everything works here; EXIT_NOTHING: some of it; EXIT_PROBLEM. */
int check(void);

#endif
