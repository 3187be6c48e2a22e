/* SPDX-License-Identifier: MIT
 *
 * Taking the snapshot.
 *
 * A live program goes on meanwhile.  Descriptors are read in blocks, then the
 * details of each thread (name, descriptor, owner of a mutex), then the block again:
 * a thread that was the same both times, park word included, was not a mixture of
 * two.  Others are looked at again, a few times: one that never keeps still
 * is shown as it was last, without the details.
 */
#include "snapshot.h"
#include "asleep.h"
#include "escape.h"
#include "greenps.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK 4096 /* descriptors read at once */
#define LOOKS 4    /* at a thread that changes */
#define WORKERS_MAX 4096
#define UNREADABLE (-1) /* not reported yet */

/* ---- one thread ------------------------------------------------------------- */

static uint64_t handle_of(const struct snapshot *s, uint64_t id, uint32_t index)
{
	uint64_t mask = ((uint64_t)1 << s->layout.index_bits.value) - 1;

	return (id & ~mask) | index;
}

uint32_t snapshot_index(const struct snapshot *s, uint64_t id)
{
	return (uint32_t)(id & (((uint64_t)1 << s->layout.index_bits.value) - 1));
}

static bool decode(const struct snapshot *s, const char *raw, uint32_t index, struct thread *thread)
{
	const struct layout *l = &s->layout;
	uint64_t id = layout_get(raw, l->gt_id);

	memset(thread, 0, sizeof(*thread));
	if (!(id & l->live.value) || handle_of(s, id, 0) == 0)
		return false;
	thread->id = handle_of(s, id, index);
	thread->address = s->table + (uint64_t)index * l->gt.size;
	thread->cancelled = id & l->cancelled.value;
	thread->migratable = id & l->migratable.value;
	thread->foreign = id & l->foreign.value;
	thread->park = layout_get(raw, l->gt_park);
	thread->sp = layout_get(raw, l->gt_sp);
	thread->stack = (uint32_t)layout_get(raw, l->gt_stack);
	thread->worker = (uint16_t)layout_get(raw, l->gt_worker);
	thread->state = (uint8_t)layout_get(raw, l->gt_state);
	thread->why = (uint8_t)layout_get(raw, l->gt_why);
	thread->object = layout_get(raw, l->gt_wait_obj);
	thread->wait_pc = layout_get(raw, l->gt_wait_pc);
	thread->since_ns = (int64_t)layout_get(raw, l->gt_since_ns);
	thread->spawn_pc = layout_origin(l, raw);
	thread->fd = -1;
	return !thread->foreign || thread_is_parked(s, thread);
}

static void read_names(struct snapshot *s, const char *raw, struct thread *thread)
{
	uint64_t ext = layout_get(raw, s->layout.gt_ext);
	size_t size = s->layout.gt_ext_name.size;

	thread->fn = layout_function(&s->layout, s->t, raw);
	if (size >= sizeof(thread->name))
		size = sizeof(thread->name) - 1;
	if (ext && !target_read(s->t, ext + s->layout.gt_ext_name.value, thread->name, size))
		thread->name[0] = 0;
}

/* The handle of the thread whose descriptor is at that address, as far as it has one. */
static uint64_t handle_at(struct snapshot *s, uint64_t address)
{
	uint64_t offset = address - s->table, id;
	struct field f = { address + s->layout.gt_id.value, s->layout.gt_id.size };

	if (offset % s->layout.gt.size || offset / s->layout.gt.size > UINT32_MAX ||
	    !layout_global(s->t, f, &id))
		return 0;
	return handle_of(s, id, (uint32_t)(offset / s->layout.gt.size));
}

static void read_object(struct snapshot *s, struct thread *thread)
{
	const struct layout *l = &s->layout;
	uint64_t n = 0;

	if (!thread_is_parked(s, thread) || !thread->object)
		return;
	if (thread->why == l->why_join.value) {
		thread->owner = handle_at(s, thread->object);
	} else if (thread->why == l->why_mutex.value) {
		/* It may lie on a stack. */
		if (l->mutex_owner.size <= sizeof(n) &&
		    asleep_read(s, thread->object + l->mutex_owner.value, &n, l->mutex_owner.size))
			thread->owner = n;
	} else if (thread->why == l->why_io.value) {
		if (layout_global(s->t,
		                  (struct field){ thread->object + l->io_op_fd.value,
		                                  l->io_op_fd.size },
		                  &n))
			thread->fd = (int32_t)n;
	} else if (thread->why == l->why_close.value) {
		thread->fd = (int32_t)thread->object;
	}
}

static bool same(const struct thread *a, const struct thread *b)
{
	return a->id == b->id && a->park == b->park && a->state == b->state && a->why == b->why &&
	       a->object == b->object && a->sp == b->sp && a->stack == b->stack;
}

bool snapshot_look(struct snapshot *s, uint32_t index, struct thread *thread)
{
	static char raw[STRUCT_SIZE_MAX];
	uint64_t address = s->table + (uint64_t)index * s->layout.gt.size;
	struct thread again;

	for (int i = 0; i < LOOKS; i++) {
		if (!target_read(s->t, address, raw, s->layout.gt.size) ||
		    !decode(s, raw, index, thread))
			return false;
		read_names(s, raw, thread);
		read_object(s, thread);
		thread->settled = target_read(s->t, address, raw, s->layout.gt.size) &&
		                  decode(s, raw, index, &again) && same(thread, &again);
		if (thread->settled)
			return true;
	}
	thread->owner = 0;
	thread->fd = -1;
	return true;
}

/* ---- all of them ------------------------------------------------------------ */

static bool add_thread(struct snapshot *s, const struct thread *thread)
{
	size_t n = s->threads_count;

	if ((n & (n - 1)) == 0) {
		size_t room = n ? 2 * n : 1;
		struct thread *more = realloc(s->threads, room * sizeof(*more));
		if (!more)
			return false;
		s->threads = more;
	}
	s->threads[s->threads_count++] = *thread;
	return true;
}

static bool block_again(struct snapshot *s, uint32_t first, uint32_t count, size_t from, char *raw)
{
	size_t size = s->layout.gt.size, kept = from;
	struct thread again;

	if (s->t->core || !target_read(s->t, s->table + first * size, raw, count * size)) {
		for (size_t i = from; i < s->threads_count; i++)
			s->threads[i].settled = s->t->core != NULL;
		return !s->t->gone;
	}
	for (size_t i = from; i < s->threads_count; i++) {
		struct thread *thread = &s->threads[i];
		uint32_t index = snapshot_index(s, thread->id);
		thread->settled = decode(s, raw + (index - first) * size, index, &again) &&
		                  same(thread, &again);
		if (!thread->settled && !snapshot_look(s, index, thread))
			continue; /* it has ended meanwhile */
		s->threads[kept++] = *thread;
	}
	s->threads_count = kept;
	return !s->t->gone;
}

static int look_at_block(struct snapshot *s, uint32_t first, uint32_t count, char *raw)
{
	size_t size = s->layout.gt.size, from = s->threads_count;
	struct thread thread;

	if (!target_read(s->t, s->table + first * size, raw, count * size))
		return UNREADABLE;
	for (uint32_t i = 0; i < count; i++) {
		const char *at = raw + i * size;
		if (!decode(s, at, first + i, &thread))
			continue;
		read_names(s, at, &thread);
		read_object(s, &thread);
		if (!add_thread(s, &thread))
			return problem("no memory for so many green threads");
	}
	return block_again(s, first, count, from, raw) ? EXIT_OK : UNREADABLE;
}

static int look_at_threads(struct snapshot *s)
{
	uint64_t high;
	int status = EXIT_OK;
	char *raw = malloc(BLOCK * s->layout.gt.size);

	if (!raw)
		return problem("no memory");
	if (!layout_global(s->t, s->layout.gt_table_high, &high) ||
	    !layout_global(s->t, s->layout.gt_table, &s->table))
		status = UNREADABLE;
	if (status == EXIT_OK && high >> s->layout.index_bits.value)
		status = problem("the program's table of green threads is damaged");
	for (uint64_t i = 1; status == EXIT_OK && s->table && i < high; i += BLOCK)
		status = look_at_block(s, (uint32_t)i,
		                       (uint32_t)(high - i < BLOCK ? high - i : BLOCK), raw);
	free(raw);
	return status;
}

/* ---- workers, arenas, time -------------------------------------------------- */

static bool look_at_worker(struct snapshot *s, uint32_t id, char *raw)
{
	const struct layout *l = &s->layout;
	struct worker_view *w = &s->workers[s->workers_count];
	uint64_t address, idle = 0;
	struct field pointer = { l->rt.value + l->runtime_workers.value + 8 * (uint64_t)id, 8 };
	struct field bits = { l->rt.value + l->runtime_idle.value + 8 * (uint64_t)(id / 64), 8 };

	if (!layout_global(s->t, pointer, &address) || !address ||
	    !target_read(s->t, address, raw, l->worker.size))
		return false;
	layout_global(s->t, bits, &idle);
	w->id = id;
	w->tid = (pid_t)layout_get(raw, l->worker_tid);
	w->current = layout_get(raw, l->worker_current);
	w->switches = layout_get(raw, l->worker_switches);
	w->now = (int64_t)layout_get(raw, l->worker_now);
	w->stuck_since = (int64_t)layout_get(raw, l->worker_stuck_since);
	w->idle = idle >> id % 64 & 1;
	s->workers_count++;
	return true;
}

static int look_at_workers(struct snapshot *s)
{
	const struct layout *l = &s->layout;
	uint64_t count;
	struct field f = { l->rt.value + l->runtime_workers_count.value,
		           l->runtime_workers_count.size };

	if (!layout_global(s->t, f, &count))
		return UNREADABLE;
	if (count > WORKERS_MAX || count > l->runtime_workers.size / 8)
		return problem("the program's libgreen says that it has %llu workers: it is "
		               "damaged",
		               (unsigned long long)count);
	s->workers = calloc(count + 1, sizeof(*s->workers));
	char *raw = malloc(l->worker.size + 1);
	if (!s->workers || !raw) {
		free(raw);
		return problem("no memory");
	}
	for (uint32_t i = 0; i < count; i++)
		look_at_worker(s, i, raw);
	free(raw);
	return EXIT_OK;
}

static void look_at_arenas(struct snapshot *s)
{
	static char raw[STRUCT_SIZE_MAX];
	const struct layout *l = &s->layout;
	uint64_t count = l->arena.size ? l->arenas.size / l->arena.size : 0;

	for (uint64_t i = 0; i < count && i < 4; i++) {
		if (!target_read(s->t, l->arenas.value + i * l->arena.size, raw, l->arena.size))
			continue;
		s->arenas[i].base = layout_get(raw, l->arena_base);
		s->arenas[i].shift = layout_get(raw, l->arena_shift) & 31;
		s->arenas[i].slots = layout_get(raw, l->arena_slots);
		if (l->has_sleep)
			s->arenas[i].sleep = layout_get(raw, l->arena_sleep);
	}
	if (!l->has_sleep ||
	    !target_read(s->t, l->hibernate_view.value, raw, l->hibernate_view.size))
		return;
	s->slab = layout_get(raw, l->view_slab);
	s->models = layout_get(raw, l->view_models);
	s->words = layout_get(raw, l->view_words);
}

static void know_time(struct snapshot *s)
{
	s->now_ns = target_now(s->t);
	if (s->now_ns)
		return;
	for (size_t i = 0; i < s->workers_count; i++)
		if (s->workers[i].now > s->now_ns)
			s->now_ns = s->workers[i].now;
	for (size_t i = 0; i < s->threads_count; i++)
		if (s->threads[i].since_ns > s->now_ns)
			s->now_ns = s->threads[i].since_ns;
}

/* ---- taking it -------------------------------------------------------------- */

static int unreadable(const struct snapshot *s)
{
	if (s->t->gone)
		return problem("process %d ended while it was being read", (int)s->t->pid);
	return problem("the memory of libgreen's tables cannot be read%s",
	               s->t->core ? ": the core file is cut short, or was made without private "
	                            "memory (/proc/PID/coredump_filter)"
	                          : "");
}

static int nothing(const struct snapshot *s, const char *why)
{
	char program[300];

	escape_text(program, sizeof(program), s->t->program, true);
	complain("process %d (%s): no green threads: %s", (int)s->t->pid, program, why);
	return EXIT_NOTHING;
}

static int check_state(struct snapshot *s)
{
	const struct layout *l = &s->layout;
	uint64_t state;
	struct field f = { l->rt.value + l->runtime_state.value, l->runtime_state.size };

	if (!layout_global(s->t, f, &state))
		return unreadable(s);
	if (state == l->runtime_is_ready.value || state == l->runtime_is_running.value)
		return EXIT_OK;
	return nothing(s,
	               state ? "it is a child made by fork(), which has no runtime"
	                     : "it has not called green_init() or green_run(), or they are over");
}

int snapshot_take(struct snapshot *s, struct target *t)
{
	memset(s, 0, sizeof(*s));
	s->t = t;
	int status = layout_find(&s->layout, t);
	if (status == EXIT_OK)
		status = check_state(s);
	if (status != EXIT_OK)
		return status;
	look_at_arenas(s);
	status = look_at_workers(s);
	if (status == EXIT_OK)
		status = look_at_threads(s);
	if (t->gone || status == UNREADABLE)
		return unreadable(s);
	asleep_mark(s);
	know_time(s);
	return s->threads_count || status ? status : nothing(s, "none was started");
}

void snapshot_free(struct snapshot *s)
{
	free(s->workers);
	free(s->threads);
	memset(s, 0, sizeof(*s));
}

/* ---- questions -------------------------------------------------------------- */

static const struct thread *find_index(const struct snapshot *s, uint64_t index)
{
	size_t low = 0, high = s->threads_count;

	while (low < high) {
		size_t mid = (low + high) / 2;
		if (snapshot_index(s, s->threads[mid].id) < index)
			low = mid + 1;
		else
			high = mid;
	}
	return low < s->threads_count && snapshot_index(s, s->threads[low].id) == index
	               ? &s->threads[low]
	               : NULL;
}

const struct thread *snapshot_find(const struct snapshot *s, uint64_t id)
{
	const struct thread *thread = find_index(s, snapshot_index(s, id));

	return thread && thread->id == id ? thread : NULL;
}

const struct thread *snapshot_run_by(const struct snapshot *s, const struct worker_view *w)
{
	return w->current ? find_index(s, (w->current - s->table) / s->layout.gt.size) : NULL;
}

const struct worker_view *snapshot_runs_on(const struct snapshot *s, const struct thread *thread)
{
	/* Usually it is where it says, and there may be a million threads to ask for. */
	if (thread->worker < s->workers_count &&
	    s->workers[thread->worker].current == thread->address)
		return &s->workers[thread->worker];
	for (size_t i = 0; i < s->workers_count && thread->state == s->layout.state_running.value;
	     i++)
		if (s->workers[i].current == thread->address)
			return &s->workers[i];
	return NULL;
}

bool snapshot_slot(const struct snapshot *s, uint32_t stack, struct stack_view *v)
{
	const struct layout *l = &s->layout;
	uint64_t class = (uint64_t)(stack >> l->stack_id_shift.value);
	uint64_t slot = stack & (((uint64_t)1 << l->stack_id_shift.value) - 1);

	if (class == 0 || class > 4)
		return false;
	const struct arena_view *a = &s->arenas[class - 1];
	if (!a->base || slot >= a->slots)
		return false;
	v->low = a->base + (slot << a->shift);
	v->end = v->low + ((uint64_t)1 << a->shift);
	v->top = v->end -
	         ((slot * l->colour_factor.value & l->colour_mask.value) << l->colour_shift.value);
	v->class = (uint32_t) class - 1;
	v->slot = (uint32_t)slot;
	return v->top > v->low && v->top <= v->end;
}

bool snapshot_stack(const struct snapshot *s, const struct thread *thread, struct stack_view *v)
{
	return !thread->foreign && snapshot_slot(s, thread->stack, v);
}

bool snapshot_is_saved(const struct snapshot *s, const struct thread *thread)
{
	const struct layout *l = &s->layout;
	struct stack_view v;

	if (!snapshot_stack(s, thread, &v) || thread->sp < v.low || thread->sp % 8 ||
	    thread->sp + l->frame.size > v.top)
		return false;
	/* A worker may be about to bring it back, and run it. */
	if (thread->hibernated)
		return true;
	if (thread_is_parked(s, thread))
		return thread->park & l->park_saved.value;
	return thread->state == l->state_ready.value && !snapshot_runs_on(s, thread);
}
