/* SPDX-License-Identifier: MIT OR GPL-2.0-only
 *
 * The kernel's side of greentrace: the runtime's probes (runtime/trace_record.h says
 * which there are), and what happens to the workers of the process without its runtime.
 */
#include "maps.h"

#include <bpf/usdt.bpf.h>

char LICENSE[] SEC("license") = "Dual MIT/GPL";

#define SYSCALL_INSTRUCTION 0x050f
#define SCAN_WORDS (STACK_COPY_MAX / 8)

static const struct worker new_worker;

static __always_inline __u64 argument(struct pt_regs *ctx, int n)
{
	long value = 0;

	bpf_usdt_arg(ctx, n, &value);
	return (__u64)value;
}

/* ---- the runtime's probes ------------------------------------------------------------ */

static __always_inline void know_worker(__u64 address)
{
	__u64 id = bpf_get_current_pid_tgid();
	__u32 tid = (__u32)id;
	struct worker *w = bpf_map_lookup_elem(&workers, &tid);
	struct event_small event = { .kind = EVENT_WORKER, .tid = tid, .object = address };

	if (w) {
		w->address = address;
		return;
	}
	target_tgid = id >> 32;
	if (bpf_map_update_elem(&workers, &tid, &new_worker, BPF_NOEXIST))
		return;
	w = bpf_map_lookup_elem(&workers, &tid);
	if (w)
		w->address = address;
	if (bpf_ringbuf_output(&events, &event, sizeof(event), 0))
		count(COUNT_EVENTS, 1);
}

static __always_inline void name_batch(struct pt_regs *ctx, struct event_records *e, __u32 n)
{
	e->kind = EVENT_RECORDS;
	e->count = n;
	e->time_ns = bpf_ktime_get_ns();
	e->ticks = argument(ctx, 2);
	e->tid = (__u32)bpf_get_current_pid_tgid();
	e->clock = user_number(trace_info_clock);
}

/* The buffer gives room of a fixed size only. */
static __always_inline void send_whole_batch(struct pt_regs *ctx, __u64 from)
{
	struct event_records *e = bpf_ringbuf_reserve(&records, sizeof(*e), 0);

	if (!e) {
		count(COUNT_LOST, TRACE_BATCH);
		return;
	}
	name_batch(ctx, e, TRACE_BATCH);
	if (bpf_probe_read_user(e->records, sizeof(e->records), (void *)from)) {
		count(COUNT_UNREAD, TRACE_BATCH);
		bpf_ringbuf_discard(e, BPF_RB_NO_WAKEUP);
	} else {
		bpf_ringbuf_submit(e, BPF_RB_NO_WAKEUP);
	}
}

/* Any other is copied twice, and takes no more room than it needs. */
static __always_inline void send_batch(struct pt_regs *ctx, __u64 from, __u64 n)
{
	__u32 zero = 0, size;
	struct event_records *e = bpf_map_lookup_elem(&batch, &zero);

	if (!e)
		return;
	name_batch(ctx, e, (__u32)n);
	size = (__u32)n * sizeof(struct trace_record);
	barrier_var(size); /* compared right before its use, as older verifiers want it */
	if (size > sizeof(e->records))
		return;
	if (bpf_probe_read_user(e->records, size, (void *)from))
		count(COUNT_UNREAD, n);
	else if (bpf_ringbuf_output(&records, e,
	                            __builtin_offsetof(struct event_records, records) + size,
	                            BPF_RB_NO_WAKEUP))
		count(COUNT_LOST, n);
}

/* By flush as well as at the start: they may have started before, and their tids may be
 * those of another namespace. */
SEC("usdt")
int on_flush(struct pt_regs *ctx)
{
	__u64 from = argument(ctx, 0), n = argument(ctx, 1);

	know_worker(argument(ctx, 3));
	if (n >= TRACE_BATCH)
		send_whole_batch(ctx, from);
	else
		send_batch(ctx, from, n);
	return 0;
}

/* Where the probe is, and the stack from there: unwinding passes the runtime's own frames
 * as well as any others. */
static __always_inline void send_place(struct pt_regs *ctx, struct event_stack *e, __u32 kind,
                                       __u64 why, __u64 top)
{
	e->kind = kind;
	e->tid = (__u32)bpf_get_current_pid_tgid();
	e->syscall = -1;
	e->time_ns = bpf_ktime_get_ns();
	e->thread = argument(ctx, 0);
	e->ns = 0;
	e->site = argument(ctx, 1);
	e->why = why;
	keep_registers(e->registers, ctx);
	e->size = copy_stack(e->stack, ctx->sp, top);
	send_stack(e);
}

SEC("usdt")
int on_stack(struct pt_regs *ctx)
{
	__u32 zero = 0;
	struct event_stack *e = bpf_map_lookup_elem(&place, &zero);

	if (e)
		send_place(ctx, e, EVENT_STACK, argument(ctx, 2), argument(ctx, 5));
	return 0;
}

static __always_inline void note_descriptor(const struct entry_key *entry, __s32 fd)
{
	struct descriptor_key key = { entry->site, (__u32)entry->why, fd };
	__u64 one = 1, *n = bpf_map_lookup_elem(&descriptors, &key);
	struct event_small event = { .kind = EVENT_DESCRIPTOR };

	if (n) {
		__sync_fetch_and_add(n, 1);
		return;
	}
	if (bpf_map_update_elem(&descriptors, &key, &one, BPF_NOEXIST))
		return;
	event.site = entry->site;
	event.why = entry->why;
	event.object = (__u64)fd;
	if (bpf_ringbuf_output(&events, &event, sizeof(event), 0))
		count(COUNT_EVENTS, 1);
}

SEC("usdt")
int on_enter(struct pt_regs *ctx)
{
	struct entry_key key = { argument(ctx, 1), argument(ctx, 2) };
	__u64 one = 1, *n = bpf_map_lookup_elem(&entries, &key);
	__u32 zero = 0;
	struct event_stack *e = bpf_map_lookup_elem(&place, &zero);
	__s32 fd = (__s32)argument(ctx, 3);

	if (!begun)
		return 0;
	if (n)
		__sync_fetch_and_add(n, 1);
	else if (bpf_map_update_elem(&entries, &key, &one, BPF_NOEXIST) == 0 && e)
		send_place(ctx, e, EVENT_ENTERED, key.why, 0);
	else if ((n = bpf_map_lookup_elem(&entries, &key)))
		__sync_fetch_and_add(n, 1); /* another CPU was first */
	else
		count(COUNT_ENTRIES, 1);
	if ((key.why == TRACE_IO || key.why == TRACE_CLOSE || key.why >= TRACE_CALL) && fd >= 0)
		note_descriptor(&key, fd);
	return 0;
}

/* A live frame of the forbidden function has a return address in it on the stack, below
 * it.  There may be others, left over: libdw decides. */
static __always_inline bool may_be_forbidden(const struct event_stack *e)
{
	/* Read again: the verifier is to go through the loop once, not for each size there is. */
	__u32 words = *(const volatile __u32 *)&e->size / 8;

	for (__u32 i = 0; i < SCAN_WORDS && i < words; i++) {
		__u64 word = *(const __u64 *)(e->stack + 8 * i);
		if (word > forbidden_start && word <= forbidden_end)
			return true;
	}
	return false;
}

SEC("usdt")
int on_forbidden(struct pt_regs *ctx)
{
	__u32 zero = 0;
	struct event_stack *e = bpf_map_lookup_elem(&place, &zero);

	if (!e)
		return 0;
	e->size = copy_stack(e->stack, ctx->sp, 0);
	if (may_be_forbidden(e))
		send_place(ctx, e, EVENT_FORBIDDEN, argument(ctx, 2), 0);
	else if (e->size > STACK_PAGES * STACK_PAGE)
		count(COUNT_CUT, 1);
	return 0;
}

SEC("usdt")
int on_grown(struct pt_regs *ctx)
{
	struct event_small event = { .kind = EVENT_GROWN };

	event.site = argument(ctx, 3);
	event.object = argument(ctx, 2);
	if (bpf_ringbuf_output(&events, &event, sizeof(event), 0))
		count(COUNT_EVENTS, 1);
	return 0;
}

SEC("usdt")
int on_worker_start(struct pt_regs *ctx)
{
	know_worker(argument(ctx, 2));
	return 0;
}

SEC("usdt")
int on_worker_stop(struct pt_regs *ctx)
{
	__u32 tid = (__u32)bpf_get_current_pid_tgid();

	bpf_map_delete_elem(&workers, &tid);
	return 0;
}

/* A worker that sleeps while it runs a green thread is blocked: its own wait for work it
 * does in scheduler context, when it has no current thread. */

/* ---- blocked, and waiting for a CPU --------------------------------------------- */

/* The user's registers of the running task; a page fault is no system call, although the
 * field then holds a small number too. */
static __always_inline void note_place(struct worker *w, struct task_struct *task)
{
	struct event_stack *event = &w->event;
	struct pt_regs *user = (struct pt_regs *)bpf_task_pt_regs((void *)task);
	struct pt_regs r = {};
	__u16 instruction = 0;

	bpf_probe_read_kernel(&r, sizeof(r), user);
	keep_registers(event->registers, &r);
	bpf_probe_read_user(&instruction, sizeof(instruction), (void *)(r.ip - 2));
	event->syscall = instruction == SYSCALL_INSTRUCTION ? (__s32)r.orig_ax : -1;
	event->size = copy_stack(event->stack, r.sp, 0);
}

/* Tells of the call that blocked the worker, until it ran again.  The switch to it may not have
 * been seen: when that was, its CPU time says. */
static __always_inline void settle(struct worker *w, struct task_struct *task)
{
	__u64 now = bpf_ktime_get_ns();

	if (!w->blocked_at)
		return;
	w->event.kind = EVENT_BLOCKED;
	w->event.tid = (__u32)task->pid;
	w->event.time_ns = now - (task->se.sum_exec_runtime - w->left_runtime);
	w->event.ns = w->event.time_ns - w->blocked_at;
	w->event.why = w->told_ns;
	w->blocked_at = 0;
	if (w->event.ns < blocked_min_ns)
		return;
	w->told_ns = w->event.ns;
	send_stack(&w->event);
}

/* Is it the call that the worker was about to sleep in, when another task took the CPU? */
static __always_inline bool still_in_call(const struct worker *w, struct task_struct *task)
{
	const __u64 *before = w->event.registers;
	struct pt_regs r = {};

	bpf_probe_read_kernel(&r, sizeof(r), (void *)bpf_task_pt_regs((void *)task));
	return r.ip == before[EVENT_PC] && r.sp == before[EVENT_SP] &&
	       w->began_switches == user_word(w->address + worker_switches);
}

static __always_inline void begin_blocked(struct worker *w, struct task_struct *task)
{
	__u64 thread = user_word(w->address + worker_current);

	if (!thread || !blocked_min_ns || !begun)
		return;
	w->event.thread = user_word(thread + gt_id);
	note_place(w, task);
	if (is_for_probes(w->event.syscall))
		return;
	if (w->event.syscall == RESTART_SYSCALL && w->began_at) {
		w->event.syscall = (__s32)w->began_syscall;
	} else {
		w->began_syscall = w->event.syscall;
		w->began_at = bpf_ktime_get_ns();
		w->told_ns = 0;
	}
	w->began_switches = user_word(w->address + worker_switches);
	w->blocked_at = w->began_at;
}

/* A call that lasts is one, however often its sleep is broken: a task that has said that it
 * will sleep may wait for the CPU again before it does; and a sleep that something interrupts
 * is gone on with by a system call of another number, perhaps after it was told of. */
static __always_inline void worker_leaves(struct worker *w, struct task_struct *task, bool preempt)
{
	bool sleeps = task->__state != 0;

	w->queued_at = begun && (preempt || !sleeps) ? bpf_ktime_get_ns() : 0;
	if (!w->blocked_at || w->asleep || !sleeps || !still_in_call(w, task)) {
		settle(w, task);
		if (sleeps)
			begin_blocked(w, task);
	}
	w->asleep = !preempt;
	w->left_runtime = task->se.sum_exec_runtime;
}

static __always_inline void tell_queued(struct worker *w, __u32 tid, __u64 now)
{
	struct event_small event = { .kind = EVENT_QUEUED, .tid = tid, .time_ns = now };

	event.ns = now - w->queued_at;
	w->queued_at = 0;
	if (bpf_ringbuf_output(&events, &event, sizeof(event), BPF_RB_NO_WAKEUP))
		count(COUNT_EVENTS, 1);
}

static __always_inline void worker_comes(struct worker *w, struct task_struct *task)
{
	if (w->queued_at)
		tell_queued(w, (__u32)task->pid, bpf_ktime_get_ns());
	if (w->asleep)
		settle(w, task);
}

SEC("tp_btf/sched_switch")
int BPF_PROG(on_switch, bool preempt, struct task_struct *prev, struct task_struct *next)
{
	__u32 tid;
	struct worker *w;

	if ((__u32)prev->tgid == target_tgid) {
		tid = (__u32)prev->pid;
		w = bpf_map_lookup_elem(&workers, &tid);
		if (w)
			worker_leaves(w, prev, preempt);
	}
	if ((__u32)next->tgid == target_tgid) {
		tid = (__u32)next->pid;
		w = bpf_map_lookup_elem(&workers, &tid);
		if (w)
			worker_comes(w, next);
	}
	return 0;
}

SEC("tp_btf/sched_wakeup")
int BPF_PROG(on_wakeup, struct task_struct *task)
{
	__u32 tid = (__u32)task->pid;
	struct worker *w;

	if ((__u32)task->tgid != target_tgid)
		return 0;
	w = bpf_map_lookup_elem(&workers, &tid);
	if (w && begun)
		w->queued_at = bpf_ktime_get_ns();
	return 0;
}

/* ---- hogs ------------------------------------------------------------------------ */

/* A sample of a worker's CPU time.  One without a switch for long is told of, at each
 * sample that finds it in its own code: registers and stack are there then. */
SEC("perf_event")
int on_sample(struct bpf_perf_event_data *context)
{
	__u32 tid = (__u32)bpf_get_current_pid_tgid();
	struct worker *w = bpf_map_lookup_elem(&workers, &tid);
	__u64 thread, switches;

	if (!w)
		return 0;
	thread = user_word(w->address + worker_current);
	switches = user_word(w->address + worker_switches);
	if (!thread || switches != w->hog_switches) {
		w->hog_switches = switches;
		w->hog_ns = 0;
		return 0;
	}
	w->hog_ns += context->sample_period;
	if (w->hog_ns < hog_min_ns || (context->regs.cs & 3) != 3)
		return 0;
	/* Without, this program needs no type information of the kernel's. */
	if (blocked_min_ns)
		settle(w, bpf_get_current_task_btf());
	w->event.kind = EVENT_HOG;
	w->event.tid = tid;
	w->event.syscall = -1;
	w->event.time_ns = bpf_ktime_get_ns();
	w->event.thread = user_word(thread + gt_id);
	w->event.ns = w->hog_ns;
	w->event.why = switches;
	keep_registers(w->event.registers, &context->regs);
	w->event.size = copy_stack(w->event.stack, context->regs.sp, 0);
	send_stack(&w->event);
	return 0;
}

/* ---- system calls that were not intercepted ---------------------------------------- */

/* Fills and sends the event of w. */
static __always_inline void tell_place(struct worker *w, struct pt_regs *r, __u32 kind, __u32 tid,
                                       __u64 thread, __u64 site)
{
	settle(w, bpf_get_current_task_btf());
	w->event.kind = kind;
	w->event.tid = tid;
	w->event.time_ns = bpf_ktime_get_ns();
	w->event.thread = user_word(thread + gt_id);
	w->event.site = site;
	keep_registers(w->event.registers, r);
	w->event.size = copy_stack(w->event.stack, r->sp, 0);
	send_stack(&w->event);
}

SEC("tp_btf/sys_enter")
int BPF_PROG(on_syscall, struct pt_regs *regs, long number)
{
	__u64 id = bpf_get_current_pid_tgid(), thread, one = 1, *n;
	__u32 tid = (__u32)id;
	struct syscall_key key = { .number = (__u64)number };
	struct pt_regs r = {};
	struct worker *w;

	if ((__u32)(id >> 32) != target_tgid)
		return 0;
	w = bpf_map_lookup_elem(&workers, &tid);
	/* One that is gone on with has been seen. */
	if (!w || !begun || is_for_probes(number) || number == RESTART_SYSCALL)
		return 0;
	bpf_probe_read_kernel(&r, sizeof(r), regs);
	thread = user_word(w->address + worker_current);
	if (!thread || (r.ip >= text_start && r.ip < text_end) ||
	    (r.ip >= vdso_start && r.ip < vdso_end))
		return 0;
	key.ip = r.ip;
	key.caller = user_word(r.sp);
	n = bpf_map_lookup_elem(&syscalls, &key);
	if (n) {
		__sync_fetch_and_add(n, 1);
		return 0;
	}
	if (bpf_map_update_elem(&syscalls, &key, &one, BPF_NOEXIST)) {
		count(COUNT_ENTRIES, 1);
		return 0;
	}
	w->event.syscall = (__s32)number;
	w->event.ns = 1;
	w->event.why = key.caller;
	tell_place(w, &r, EVENT_SYSCALL, tid, thread, key.ip);
	return 0;
}

/* ---- pages of the stacks ------------------------------------------------------------- */

/* So many in such a stretch are sent, the others are counted only. */
#define FAULTS_SENT 64
#define FAULTS_NS 10000000
#define NEAR 65536

/* Of the stack that is in use: it may be one of no area. */
static __always_inline bool is_near(__u64 address, __u64 sp)
{
	return address + NEAR > sp && address < sp + NEAR;
}

SEC("tp_btf/page_fault_user")
int BPF_PROG(on_fault, unsigned long address, struct pt_regs *regs)
{
	__u64 id = bpf_get_current_pid_tgid(), now, thread;
	__u32 tid = (__u32)id;
	struct pt_regs r = {};
	struct worker *w;

	if ((__u32)(id >> 32) != target_tgid)
		return 0;
	w = bpf_map_lookup_elem(&workers, &tid);
	thread = w ? user_word(w->address + worker_current) : 0;
	if (!w || !thread)
		return 0;
	bpf_probe_read_kernel(&r, sizeof(r), regs);
	if (!is_stack(address) && !is_near(address, r.sp))
		return 0;
	w->faults++;
	now = bpf_ktime_get_ns();
	if (now - w->fault_at >= FAULTS_NS) {
		w->fault_at = now;
		w->faults_sent = 0;
	}
	if (w->faults_sent++ >= FAULTS_SENT)
		return 0;
	w->event.syscall = -1;
	w->event.ns = w->faults;
	w->event.why = 0;
	w->faults = 0;
	tell_place(w, &r, EVENT_FAULT, tid, thread, address);
	return 0;
}

/* ---- io_uring -------------------------------------------------------------------------- */

/* The data of a request is the address of an operation of the runtime's, or one with a tag
 * in its low bits, which nobody waits for. */
#define REQUEST_TAGS 7

static __always_inline struct request_key submitted(void *ctx, struct event_request *request)
{
	struct trace_event_raw_io_uring_submit_req *now = ctx;
	struct trace_event_raw_io_uring_submit_sqe *then = ctx;

	if (bpf_core_type_exists(struct trace_event_raw_io_uring_submit_req)) {
		request->opcode = BPF_CORE_READ(now, opcode);
		return (struct request_key){ (__u64)BPF_CORE_READ(now, ctx),
			                     BPF_CORE_READ(now, user_data) };
	}
	request->opcode = BPF_CORE_READ(then, opcode);
	return (struct request_key){ (__u64)BPF_CORE_READ(then, ctx),
		                     BPF_CORE_READ(then, user_data) };
}

/* Of io_uring_submit_req, or, as 5.15 and 6.1 call it, io_uring_submit_sqe. */
SEC("tp")
int on_submit(void *ctx)
{
	struct event_request request = { .kind = EVENT_REQUEST };
	struct request_key key = submitted(ctx, &request);
	__u64 thread, table;

	if ((__u32)(bpf_get_current_pid_tgid() >> 32) != target_tgid || (key.data & REQUEST_TAGS))
		return 0;
	thread = user_word(key.data + op_gt);
	table = user_word(gt_table);
	if (!table || thread <= table)
		return 0;
	request.submitted_ns = bpf_ktime_get_ns();
	request.thread = (thread - table) / gt_size;
	request.site = user_word(thread + gt_wait_pc);
	request.why = user_word(thread + gt_why) & 0xff;
	bpf_map_update_elem(&requests, &key, &request, BPF_ANY);
	return 0;
}

SEC("tp/io_uring/io_uring_queue_async_work")
int on_punt(struct trace_event_raw_io_uring_queue_async_work *ctx)
{
	struct request_key key = { (__u64)BPF_CORE_READ(ctx, ctx), 0 };
	struct event_request *request;

	if (bpf_core_field_exists(ctx->user_data))
		key.data = BPF_CORE_READ(ctx, user_data);
	else /* 5.15 */
		key.data = BPF_CORE_READ(ctx, req, user_data);
	request = bpf_map_lookup_elem(&requests, &key);
	if (request && !request->punted_ns)
		request->punted_ns = bpf_ktime_get_ns();
	return 0;
}

SEC("tp/io_uring/io_uring_complete")
int on_complete(struct trace_event_raw_io_uring_complete *ctx)
{
	struct request_key key = { (__u64)BPF_CORE_READ(ctx, ctx), BPF_CORE_READ(ctx, user_data) };
	struct event_request *request = bpf_map_lookup_elem(&requests, &key);

	if (!request)
		return 0;
	request->completed_ns = bpf_ktime_get_ns();
	if (bpf_ringbuf_output(&events, request, sizeof(*request), BPF_RB_NO_WAKEUP))
		count(COUNT_EVENTS, 1);
	bpf_map_delete_elem(&requests, &key);
	return 0;
}
