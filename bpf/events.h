/* SPDX-License-Identifier: MIT OR GPL-2.0-only
 *
 * What the BPF programs send to greentrace, and what it tells them.
 */
#ifndef EVENTS_H
#define EVENTS_H

#include "trace_record.h"

enum event_kind {
	EVENT_RECORDS = 1, /* struct event_records: a worker has flushed its ring */
	EVENT_STACK,       /* struct event_stack: the stack at a switch point */
	EVENT_ENTERED,     /* struct event_stack: the first call at a switch point */
	EVENT_FORBIDDEN,   /* struct event_stack: a call, perhaps below the forbidden function */
	EVENT_BLOCKED,     /* struct event_stack: a worker slept below a green thread */
	EVENT_HOG,         /* struct event_stack: a worker computed without a switch */
	EVENT_QUEUED,      /* struct event_small: a worker waited for a CPU */
	EVENT_WORKER,      /* struct event_small: a worker is seen for the first time */
	EVENT_DESCRIPTOR,  /* struct event_small: the first use of it at a switch point */
	EVENT_SYSCALL,     /* struct event_stack: a new place of a call that was not intercepted */
	EVENT_FAULT,       /* struct event_stack: a page of the stacks was touched */
	EVENT_REQUEST,     /* struct event_request: of io_uring, completed */
	EVENT_GROWN,       /* struct event_small: a stack was deeper than any of its kind */
};

/* In the order of the DWARF numbers of x86-64; the last is the pc. */
#define EVENT_REGISTERS 17
#define EVENT_SP 7
#define EVENT_PC 16

#define STACK_PAGE 4096u
/* Pages are copied: the first and perhaps the last in part.  What is larger than so many
 * whole ones goes on beyond the copy. */
#define STACK_PAGES 4
#define STACK_COPY_MAX ((STACK_PAGES + 1) * STACK_PAGE)

struct event_stack {
	__u32 kind;
	__u32 size;    /* bytes of stack that follow, from the stack pointer up */
	__u32 tid;     /* of the worker, as the first PID namespace has it */
	__s32 syscall; /* EVENT_BLOCKED: its number, -1: none (a page fault) */
	__u64 time_ns; /* CLOCK_MONOTONIC */
	__u64 thread;  /* id of the green thread, perhaps with flags */
	__u64 ns;      /* how long it has lasted; EVENT_FAULT: faults since the last one sent */
	__u64 site; /* of a switch point; EVENT_SYSCALL: of the call; EVENT_FAULT: what was touched
	             */
	__u64 why;  /* enum trace_why; EVENT_HOG: switches before; EVENT_BLOCKED: how much of `ns`
	             * was told before, of a call that goes on */
	__u64 registers[EVENT_REGISTERS];
	char stack[STACK_COPY_MAX];
};

struct event_small {
	__u32 kind, tid;
	__u64 time_ns;
	__u64 ns;        /* EVENT_QUEUED */
	__u64 site, why; /* EVENT_DESCRIPTOR; EVENT_GROWN: the function of the thread */
	__u64 object;    /* the descriptor, the address of the worker, or how many bytes deep */
};

struct event_records {
	__u32 kind, count;
	__u64 time_ns; /* when it was flushed, and the same by the clock of the records */
	__u64 ticks;
	__u32 tid, clock; /* enum trace_clock */
	struct trace_record records[TRACE_BATCH];
};

struct event_request {
	__u32 kind;
	__u32 opcode;
	__u64 completed_ns, submitted_ns;
	__u64 punted_ns; /* to a kernel thread, which may block; 0: it was not */
	__u64 thread;    /* its index */
	__u64 site, why; /* where it waits */
};

/* A system call: of the libraries that make it, who has called them tells it apart. */
struct syscall_key {
	__u64 ip, caller;
	__u64 number;
};

struct request_key { /* in flight */
	__u64 ring, data;
};

struct entry_key {
	__u64 site;
	__u64 why;
};

struct descriptor_key {
	__u64 site;
	__u32 why;
	__s32 fd;
};

enum count {
	COUNT_LOST,    /* records: the buffer was full */
	COUNT_UNREAD,  /* records: the process's memory could not be read */
	COUNT_EVENTS,  /* other events: the buffer was full */
	COUNT_ENTRIES, /* calls at switch points for which the table had no room */
	COUNT_CUT,     /* stacks too deep to be searched whole */
	COUNTS,
};

#endif
