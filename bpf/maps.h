/* SPDX-License-Identifier: MIT OR GPL-2.0-only
 *
 * The maps, the settings, and what all programs do: finding the worker that runs here,
 * copying the stack, sending.
 */
#ifndef MAPS_H
#define MAPS_H

#include "kernel.h"
#include "events.h"

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

/* The process, as the first PID namespace has it: the tool may be in another, and the
 * process in a third.  What its probes find out is right. */
__u32 target_tgid = 0;

/* Is it looked at?  Not yet while probes are put in, and no longer while they are taken out:
 * that takes a while, and what workers count or wait for meanwhile is not the program's. */
__u32 begun = 0;

/* Where its code and its data are: some may be elsewhere once it runs. */
__u64 text_start = 0;
__u64 text_end = 0;
__u64 vdso_start = 0; /* it asks the kernel where the clock is no counter of the CPU */
__u64 vdso_end = 0;
__u64 arenas = 0;
__u64 gt_table = 0;
__u64 trace_info_clock = 0;

/* Its stacks, an area for each of their sizes, as they were found last: they are mapped when
 * the first is wanted, and when greentrace looks, the process may have ended. */
#define AREAS 4
__u64 stacks_base[AREAS] = {};
__u64 stacks_shift[AREAS] = {}; /* of a slot's size */
__u64 stacks_slots[AREAS] = {};

/* ---- settings: written before the programs are loaded ------------------------ */

const volatile __u64 worker_current = 0; /* offsets in the runtime's structures, */
const volatile __u64 worker_switches = 0;
const volatile __u64 gt_id = 0; /* from its descriptor */
const volatile __u64 gt_wait_pc = 0;
const volatile __u64 gt_why = 0;
const volatile __u64 op_gt = 0;
const volatile __u32 arena_count = 0;
const volatile __u64 arena_size = 0;
const volatile __u64 arena_base = 0;
const volatile __u64 arena_shift = 0;
const volatile __u64 arena_slots = 0;
const volatile __u64 gt_size = 1;
const volatile __u64 blocked_min_ns = 0;
const volatile __u64 hog_min_ns = 0;
const volatile __u64 forbidden_start = 0; /* code that no switch point may be called from */
const volatile __u64 forbidden_end = 0;

/* ---- maps -------------------------------------------------------------------- */

/* A worker, by its tid as the first PID namespace has it.  What is known of it is changed
 * in place: only the CPU that it runs on, or that wakes it, does. */
struct worker {
	__u64 address;      /* of its struct in the process */
	__u64 blocked_at;   /* ns; 0: it is not blocked */
	__u64 asleep;       /* when it left the CPU last, and did not only wait for it; */
	__u64 left_runtime; /* CPU time until then, ns */
	__u64 began_at;     /* the last call that blocked it; */
	__s64 began_syscall;
	__u64 began_switches; /* its count of switches; */
	__u64 told_ns;        /* how much of it was told of */
	__u64 queued_at;      /* ns; 0: it does not wait for a CPU */
	__u64 hog_switches;   /* its count of switches at the last sample */
	__u64 hog_ns;         /* sampled since then */
	__u64 fault_at;       /* ns; when a stretch began, in which so many faults */
	__u64 faults_sent;    /* were sent; */
	__u64 faults;         /* and how many since the last of these */
	struct event_stack event;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__type(key, __u32);
	__type(value, struct worker);
} workers SEC(".maps");

/* Records, which come in large numbers; and all else, which they must not crowd out. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 8 << 20);
} records SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4 << 20);
} events SEC(".maps");

/* Calls at each switch point, and what descriptors they were for. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, struct entry_key);
	__type(value, __u64);
} entries SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__type(key, struct descriptor_key);
	__type(value, __u64);
} descriptors SEC(".maps");

/* System calls below green threads that the runtime did not make. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, struct syscall_key);
	__type(value, __u64);
} syscalls SEC(".maps");

/* In flight; those that were submitted before the attaching are not known. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, struct request_key);
	__type(value, struct event_request);
} requests SEC(".maps");

/* Too large for a program's stack. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct event_records);
} batch SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct event_stack);
} place SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, COUNTS);
	__type(key, __u32);
	__type(value, __u64);
} counts SEC(".maps");

static __always_inline void count(__u32 which, __u64 n)
{
	__u64 *value = bpf_map_lookup_elem(&counts, &which);

	if (value)
		*value += n;
}

/* ---- what the programs share --------------------------------------------------- */

static __always_inline __u64 user_word(__u64 address)
{
	__u64 word = 0;

	bpf_probe_read_user(&word, sizeof(word), (void *)address);
	return word;
}

static __always_inline __u32 user_number(__u64 address)
{
	__u32 number = 0;

	bpf_probe_read_user(&number, sizeof(number), (void *)address);
	return number;
}

static __always_inline bool is_in_area(__u32 i, __u64 address)
{
	__u64 arena = arenas + i * arena_size, base = user_word(arena + arena_base);

	if (!base)
		return false;
	stacks_shift[i] = user_number(arena + arena_shift) & 63;
	stacks_slots[i] = user_number(arena + arena_slots);
	stacks_base[i] = base;
	return address >= base && (address - base) >> stacks_shift[i] < stacks_slots[i];
}

static __always_inline bool is_stack(__u64 address)
{
	for (__u32 i = 0; i < AREAS; i++)
		if (i < arena_count && is_in_area(i, address))
			return true;
	return false;
}

/* Page by page: a read is all or nothing, and what lies beyond the stack may be a guard.
 * Ends at top, if that is known. */
static __always_inline __u32 copy_stack(char *to, __u64 sp, __u64 top)
{
	__u32 at = 0;

#pragma unroll
	for (int i = 0; i <= STACK_PAGES; i++) {
		__u64 left = top ? top - (sp + at) : STACK_PAGE;
		__u64 n = STACK_PAGE - ((sp + at) & (STACK_PAGE - 1));
		if (left < n)
			n = left;
		barrier_var(n); /* compared right before its use, as older verifiers want it */
		if (n > STACK_PAGE || at > STACK_COPY_MAX - STACK_PAGE)
			break;
		if (bpf_probe_read_user(to + at, n, (void *)(sp + at)))
			break;
		at += n;
	}
	return at;
}

static __always_inline void keep_registers(__u64 *to, const struct pt_regs *r)
{
	to[0] = r->ax;
	to[1] = r->dx;
	to[2] = r->cx;
	to[3] = r->bx;
	to[4] = r->si;
	to[5] = r->di;
	to[6] = r->bp;
	to[EVENT_SP] = r->sp;
	to[8] = r->r8;
	to[9] = r->r9;
	to[10] = r->r10;
	to[11] = r->r11;
	to[12] = r->r12;
	to[13] = r->r13;
	to[14] = r->r14;
	to[15] = r->r15;
	to[EVENT_PC] = r->ip;
}

/* Sends the event with as much of the stack as was copied.  Of those that come by the
 * thousand the tool is not woken, which costs the program an interrupt and a switch: it looks
 * every few milliseconds. */
static __always_inline void send_stack(struct event_stack *event)
{
	__u32 size = event->size;
	__u64 flags = event->kind == EVENT_STACK ? BPF_RB_NO_WAKEUP : 0;

	if (size > STACK_COPY_MAX)
		return;
	if (bpf_ringbuf_output(&events, event, __builtin_offsetof(struct event_stack, stack) + size,
	                       flags))
		count(COUNT_EVENTS, 1);
}

#endif
