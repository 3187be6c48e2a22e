/* SPDX-License-Identifier: MIT OR GPL-2.0-only
 *
 * What the BPF programs read of the kernel's own structures: these fields and no others.
 * Where they lie in the running kernel, libbpf finds out when it loads the programs
 * (CO-RE), so that no dump of a kernel's types is needed to build them.
 */
#ifndef KERNEL_H
#define KERNEL_H

#define __VMLINUX_H__ /* for libbpf's headers: the names are those of the kernel */

#include <linux/bpf.h>
#include <linux/types.h>
#include <stdbool.h>

#define FOUND_AT_LOAD __attribute__((preserve_access_index))

struct sched_entity {
	__u64 sum_exec_runtime;
} FOUND_AT_LOAD;

struct task_struct {
	int pid, tgid;
	unsigned int __state;
	struct sched_entity se;
} FOUND_AT_LOAD;

/* The same in all kernels: registers of the interrupted context, which programs on user
 * space probes get for their context.  Named as inside the kernel. */
struct pt_regs {
	unsigned long r15, r14, r13, r12, bp, bx;
	unsigned long r11, r10, r9, r8, ax, cx, dx, si, di;
	unsigned long orig_ax, ip, cs, flags, sp, ss;
};

/* Tracepoints of io_uring. */
struct trace_event_raw_io_uring_submit_req {
	void *ctx;
	unsigned long long user_data;
	unsigned char opcode;
} FOUND_AT_LOAD;

struct trace_event_raw_io_uring_submit_sqe {
	void *ctx;
	unsigned long long user_data;
	unsigned char opcode;
} FOUND_AT_LOAD;

struct io_kiocb {
	__u64 user_data; /* in 5.15 */
} FOUND_AT_LOAD;

struct trace_event_raw_io_uring_queue_async_work {
	void *ctx;
	struct io_kiocb *req; /* where there is no user_data */
	__u64 user_data;
} FOUND_AT_LOAD;

struct trace_event_raw_io_uring_complete {
	void *ctx;
	__u64 user_data;
} FOUND_AT_LOAD;

struct bpf_perf_event_data {
	struct pt_regs regs;
	__u64 sample_period, addr;
};

/* System calls of x86-64: one that was interrupted is gone on with; and what the kernel itself
 * has put into the program to call probes by. */
#define RESTART_SYSCALL 219
#define SYSCALL_URETPROBE 335
#define SYSCALL_UPROBE 336

static inline bool is_for_probes(long number)
{
	return number == SYSCALL_UPROBE || number == SYSCALL_URETPROBE;
}

#endif
