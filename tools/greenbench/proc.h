/* SPDX-License-Identifier: MIT
 *
 * What /proc says: memory and threads of a process, memory of the machine; and
 * the limit on descriptors.
 */
#ifndef PROC_H
#define PROC_H

#include <stdint.h>
#include <sys/types.h>

struct proc_memory {
	int64_t rss_kb;
	int64_t pte_kb; /* page tables */
	int64_t swap_kb;
	int64_t threads; /* OS threads */
};

/* 0: this process.  0, or -errno when it cannot be read. */
int proc_memory(pid_t pid, struct proc_memory *memory);

/* RSS, page tables and swap together, bytes. */
double proc_bytes(const struct proc_memory *memory);

/* Memory that could be taken without swapping, bytes: the machine's and the
 * control group's. */
double proc_available_bytes(void);

/* CPU time of the thread of this process that has that name, ns; NAN: not known. */
double proc_thread_ns(const char *name);

/* Raises the soft limit on descriptors to the hard one; returns it. */
uint64_t proc_raise_nofile(void);

#endif
