/* SPDX-License-Identifier: MIT
 *
 * Loading the BPF programs and attaching them by libbpf.
 */
#include "attach.h"
#include "clock.h"
#include "object.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/perf_event.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define LINKS_MAX 24
#define DRAIN_NS 20000000 /* at a time, while more arrive than can be taken */
#define SAMPLERS_MAX 1024
#define SAMPLE_NS 5030000u /* about 200 a second, in step with nothing that counts milliseconds */

struct attachment {
	struct greentrace_bpf *bpf;
	struct ring_buffer *records, *events;
	int64_t drain_until; /* ns */
	struct bpf_link *links[LINKS_MAX];
	unsigned links_count;
	struct {
		pid_t tid;
		struct bpf_link *link;
	} samplers[SAMPLERS_MAX];
	unsigned samplers_count;
	struct receiver receiver;
};

/* ---- what arrives ----------------------------------------------------------- */

static int take_records(void *arg, void *data, size_t size)
{
	const struct attachment *a = arg;
	const struct event_records *e = data;
	const size_t head = offsetof(struct event_records, records);

	if (size >= head && e->count <= (size - head) / sizeof(e->records[0]))
		a->receiver.records(a->receiver.arg, e);
	return clock_now() < a->drain_until ? 0 : -EINTR;
}

static int take_event(void *arg, void *data, size_t size)
{
	const struct attachment *a = arg;
	const struct event_stack *stack = data;
	const struct event_small *small = data;
	const size_t head = offsetof(struct event_stack, stack);

	if (size < sizeof(*small))
		return 0;
	switch (small->kind) {
	case EVENT_QUEUED:
	case EVENT_WORKER:
	case EVENT_DESCRIPTOR:
	case EVENT_GROWN:
		a->receiver.small(a->receiver.arg, small);
		break;
	case EVENT_REQUEST:
		if (size >= sizeof(struct event_request))
			a->receiver.request(a->receiver.arg, data);
		break;
	default:
		if (size >= head && stack->size <= size - head)
			a->receiver.stack(a->receiver.arg, stack);
	}
	return 0;
}

bool attachment_drain(struct attachment *a)
{
	a->drain_until = clock_now() + DRAIN_NS;
	ring_buffer__consume(a->events);
	return ring_buffer__consume(a->records) != -EINTR;
}

int attachment_fd(const struct attachment *a)
{
	return ring_buffer__epoll_fd(a->events);
}

/* ---- loading ---------------------------------------------------------------- */

#define AREAS (sizeof(((struct greentrace_bpf__bss *)0)->stacks_base) / sizeof(uint64_t))

/* Leaves them alone where there is none to be found. */
static void find_vdso(pid_t pid, __u64 *start, __u64 *end)
{
	char path[40], line[512];

	snprintf(path, sizeof(path), "/proc/%d/maps", (int)pid);
	FILE *f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f))
		if (strstr(line, " [vdso]\n"))
			sscanf(line, "%llx-%llx", start, end);
	if (f)
		fclose(f);
}

static void set_places(struct greentrace_bpf *bpf, const struct session *s)
{
	const struct layout *l = &s->layout;

	bpf->bss->text_start = l->text.value;
	bpf->bss->text_end = l->text_end.value;
	bpf->bss->arenas = l->arenas.value;
	bpf->bss->gt_table = l->gt_table.value;
	bpf->bss->trace_info_clock = l->trace_info.value + offsetof(struct trace_info, clock);
	find_vdso(s->pid, &bpf->bss->vdso_start, &bpf->bss->vdso_end);
}

static void set_constants(struct greentrace_bpf *bpf, const struct session *s)
{
	const struct layout *l = &s->layout;
	const struct wishes *w = &s->wishes;

	bpf->bss->target_tgid = s->pids_are_the_kernels ? (uint32_t)s->pid : 0;
	bpf->rodata->worker_current = l->worker_current.value;
	bpf->rodata->worker_switches = l->worker_switches.value;
	bpf->rodata->gt_id = l->gt_id.value;
	bpf->rodata->gt_wait_pc = l->gt_wait_pc.value;
	bpf->rodata->gt_why = l->gt_why.value;
	bpf->rodata->op_gt = l->io_op_gt.value;
	bpf->rodata->gt_size = l->gt.size;
	bpf->rodata->arena_count = l->arena.size ? (uint32_t)(l->arenas.size / l->arena.size) : 0;
	bpf->rodata->arena_size = l->arena.size;
	bpf->rodata->arena_base = l->arena_base.value;
	bpf->rodata->arena_shift = l->arena_shift.value;
	bpf->rodata->arena_slots = l->arena_slots.value;
	bpf->rodata->blocked_min_ns = s->no_kernel_views ? 0 : w->blocked_ns;
	bpf->rodata->hog_min_ns = w->hog_ns;
	bpf->rodata->forbidden_start = w->forbidden_start;
	bpf->rodata->forbidden_end = w->forbidden_end;
}

static void choose_programs(struct greentrace_bpf *bpf, const struct session *s)
{
	const struct wishes *w = &s->wishes;
	bool kernel = !s->no_kernel_views;

	bpf_program__set_autoload(bpf->progs.on_flush, w->switches);
	bpf_program__set_autoload(bpf->progs.on_stack, w->stacks);
	bpf_program__set_autoload(bpf->progs.on_enter, w->entries);
	bpf_program__set_autoload(bpf->progs.on_forbidden, w->forbidden_end > 0);
	bpf_program__set_autoload(bpf->progs.on_grown, w->faults);
	bpf_program__set_autoload(bpf->progs.on_switch, kernel && (w->blocked_ns || w->queued));
	bpf_program__set_autoload(bpf->progs.on_wakeup, kernel && w->queued);
	bpf_program__set_autoload(bpf->progs.on_sample, w->hog_ns > 0);
	bpf_program__set_autoload(bpf->progs.on_syscall, kernel && w->syscalls);
	bpf_program__set_autoload(bpf->progs.on_fault, kernel && w->faults);
	bpf_program__set_autoload(bpf->progs.on_submit, kernel && w->requests);
	bpf_program__set_autoload(bpf->progs.on_punt, kernel && w->requests);
	bpf_program__set_autoload(bpf->progs.on_complete, kernel && w->requests);
}

/* A worker has room for a stack: so no more of them than there may be, which is known once
 * the runtime has started. */
static void size_maps(struct greentrace_bpf *bpf, const struct session *s)
{
	uint64_t workers = s->workers_count;

	if (!workers)
		workers = s->layout.runtime_workers.size / sizeof(uint64_t);
	bpf_map__set_max_entries(bpf->maps.workers, (uint32_t)workers + 16);
	bpf_map__set_max_entries(bpf->maps.records, (uint32_t)s->wishes.buffer);
}

static int make_rings(struct attachment *a)
{
	a->records = ring_buffer__new(bpf_map__fd(a->bpf->maps.records), take_records, a, NULL);
	if (!a->records)
		return -errno;
	a->events = ring_buffer__new(bpf_map__fd(a->bpf->maps.events), take_event, a, NULL);
	return a->events ? 0 : -errno;
}

/* ---- attaching -------------------------------------------------------------- */

static int keep_link(struct attachment *a, struct bpf_link *link)
{
	if (!link)
		return -errno;
	a->links[a->links_count++] = link;
	return 0;
}

/* Its name has changed. */
static struct bpf_link *attach_submit(const struct bpf_program *program)
{
	struct bpf_link *link =
		bpf_program__attach_tracepoint(program, "io_uring", "io_uring_submit_req");

	return link ? link
	            : bpf_program__attach_tracepoint(program, "io_uring", "io_uring_submit_sqe");
}

static int attach_kernel(struct attachment *a)
{
	struct bpf_program *programs[] = { a->bpf->progs.on_switch,  a->bpf->progs.on_wakeup,
		                           a->bpf->progs.on_syscall, a->bpf->progs.on_fault,
		                           a->bpf->progs.on_punt,    a->bpf->progs.on_complete };
	int r = 0;

	if (bpf_program__autoload(a->bpf->progs.on_submit))
		r = keep_link(a, attach_submit(a->bpf->progs.on_submit));
	for (size_t i = 0; i < sizeof(programs) / sizeof(programs[0]) && !r; i++)
		if (bpf_program__autoload(programs[i]))
			r = keep_link(a, bpf_program__attach(programs[i]));
	return r;
}

/* Workers first: they are known before they tell anything. */
static int attach_probes(struct session *s, const char **what)
{
	struct attachment *a = s->attachment;
	const struct {
		struct bpf_program *program;
		const char *probe;
	} all[] = {
		{ a->bpf->progs.on_worker_start, "worker_start" },
		{ a->bpf->progs.on_worker_stop, "worker_stop" },
		{ a->bpf->progs.on_stack, "stack" },
		{ a->bpf->progs.on_grown, "stack_grow" },
		{ a->bpf->progs.on_enter, "enter" },
		{ a->bpf->progs.on_forbidden, "enter" },
		{ a->bpf->progs.on_flush, "flush" },
	};
	int r = 0;

	_Static_assert(sizeof(all) / sizeof(all[0]) + 7 <= LINKS_MAX,
	               "there is room for all links");
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]) && !r; i++) {
		if (!bpf_program__autoload(all[i].program))
			continue;
		*what = all[i].probe;
		r = keep_link(a, bpf_program__attach_usdt(all[i].program, s->pid, s->file,
		                                          TRACE_PROVIDER, all[i].probe, NULL));
	}
	return r;
}

/* with_new: and the threads that it makes from now on, and these. */
static int add_sampler(struct attachment *a, pid_t tid, bool with_new)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_SOFTWARE,
		.config = PERF_COUNT_SW_CPU_CLOCK,
		.size = sizeof(attr),
		.sample_period = SAMPLE_NS,
		.inherit = with_new,
		.inherit_thread = with_new,
	};

	for (unsigned i = 0; i < a->samplers_count; i++)
		if (a->samplers[i].tid == tid)
			return 0;
	if (a->samplers_count == SAMPLERS_MAX)
		return -ENOSPC;
	int fd = (int)syscall(SYS_perf_event_open, &attr, tid, -1, -1, PERF_FLAG_FD_CLOEXEC);
	if (fd < 0)
		return -errno;
	struct bpf_link *link = bpf_program__attach_perf_event(a->bpf->progs.on_sample, fd);
	if (!link) {
		int error = errno;
		close(fd);
		return -error;
	}
	a->samplers[a->samplers_count].tid = tid;
	a->samplers[a->samplers_count++].link = link;
	return 0;
}

/* A program that was started here may be through before its workers are known here. */
static int sample_all(struct session *s, const char **what)
{
	if (!s->wishes.hog_ns || !s->launched)
		return 0;
	*what = "samples";
	return add_sampler(s->attachment, s->pid, true);
}

void attach_worker(struct session *s, pid_t tid, uint64_t address)
{
	struct attachment *a = s->attachment;
	uint32_t key = (uint32_t)tid;
	/* Its address comes first; all else begins with zeroes. */
	uint64_t *value = calloc(1, bpf_map__value_size(a->bpf->maps.workers));

	if (value && s->pids_are_the_kernels) {
		value[0] = address;
		bpf_map_update_elem(bpf_map__fd(a->bpf->maps.workers), &key, value, BPF_NOEXIST);
	}
	free(value);
	/* The worker may have ended by now. */
	if (s->wishes.hog_ns && !s->launched)
		add_sampler(a, tid, false);
}

int attach(struct session *s, const struct receiver *r, const char **what)
{
	struct attachment *a = calloc(1, sizeof(*a));

	*what = "memory";
	if (!a)
		return -ENOMEM;
	s->attachment = a;
	a->receiver = *r;
	*what = "BPF programs";
	a->bpf = object_open(!s->no_kernel_views);
	if (!a->bpf)
		return -errno;
	set_constants(a->bpf, s);
	set_places(a->bpf, s);
	choose_programs(a->bpf, s);
	size_maps(a->bpf, s);
	int error = greentrace_bpf__load(a->bpf);
	if (!error)
		error = make_rings(a);
	if (!error)
		error = attach_kernel(a);
	if (!error)
		error = attach_probes(s, what);
	return error ? error : sample_all(s, what);
}

void attachment_begin(struct attachment *a)
{
	a->bpf->bss->begun = 1;
}

void attachment_end(struct attachment *a)
{
	a->bpf->bss->begun = 0;
}

void detach(struct attachment *a)
{
	for (unsigned i = 0; i < a->samplers_count; i++)
		bpf_link__destroy(a->samplers[i].link);
	a->samplers_count = 0;
	/* The last attached first: what fills the buffers. */
	while (a->links_count > 0)
		bpf_link__destroy(a->links[--a->links_count]);
}

void attachment_free(struct attachment *a)
{
	if (!a)
		return;
	detach(a);
	ring_buffer__free(a->records);
	ring_buffer__free(a->events);
	greentrace_bpf__destroy(a->bpf);
	free(a);
}

void attachment_refresh(struct session *s)
{
	set_places(s->attachment->bpf, s);
}

uint64_t attachment_depth(const struct attachment *a, uint64_t address)
{
	const struct greentrace_bpf__bss *bss = a->bpf->bss;

	for (size_t i = 0; i < AREAS; i++) {
		uint64_t from = address - bss->stacks_base[i];
		uint64_t size = (uint64_t)1 << (bss->stacks_shift[i] & 63);
		if (address >= bss->stacks_base[i] && from / size < bss->stacks_slots[i])
			return size - (from & (size - 1));
	}
	return 0;
}

/* ---- tables ----------------------------------------------------------------- */

uint64_t attachment_count(const struct attachment *a, enum count which)
{
	int cpus = libbpf_num_possible_cpus();
	uint64_t sum = 0, *values = cpus > 0 ? calloc((size_t)cpus, sizeof(*values)) : NULL;
	uint32_t key = which;

	if (values && bpf_map_lookup_elem(bpf_map__fd(a->bpf->maps.counts), &key, values) == 0)
		for (int i = 0; i < cpus; i++)
			sum += values[i];
	free(values);
	return sum;
}

void attachment_entries(const struct attachment *a,
                        void (*each)(void *arg, const struct entry_key *key, uint64_t n), void *arg)
{
	int map = bpf_map__fd(a->bpf->maps.entries);
	struct entry_key key, *before = NULL;
	uint64_t n;

	while (bpf_map_get_next_key(map, before, &key) == 0) {
		if (bpf_map_lookup_elem(map, &key, &n) == 0)
			each(arg, &key, n);
		before = &key;
	}
}

void attachment_syscalls(const struct attachment *a,
                         void (*each)(void *arg, const struct syscall_key *key, uint64_t n),
                         void *arg)
{
	int map = bpf_map__fd(a->bpf->maps.syscalls);
	struct syscall_key key, *before = NULL;
	uint64_t n;

	while (bpf_map_get_next_key(map, before, &key) == 0) {
		if (bpf_map_lookup_elem(map, &key, &n) == 0)
			each(arg, &key, n);
		before = &key;
	}
}
