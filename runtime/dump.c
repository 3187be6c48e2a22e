/* SPDX-License-Identifier: MIT
 *
 * green_dump() and the report of a deadlock: a line for each worker and each
 * green thread.
 *
 * They read what others write meanwhile, without locks: a line may show a
 * thread half way between two states.  Descriptors and operations are
 * type-stable, so nothing worse can come of it.
 */
#include "dump.h"
#include "census.h"
#include "fdtab.h"
#include "mutex.h"
#include "report.h"
#include "symbol.h"
#include "worker.h"

#include <string.h>

#define DEADLOCK_LINES 100 /* of a million threads that all wait */
#define PLACES 32          /* code addresses whose text is kept */

struct place { /* of code: few places spawn most threads */
	void *address;
	bool is_function;
	char text[103];
};

struct dump {
	struct report out;
	struct symbols symbols;
	int64_t now;
	struct place places[PLACES];
};

/* One thread as it was when it was looked at. */
struct view {
	uint64_t id;
	struct gt *gt;
	uint8_t state, why;
	uint16_t worker;
	void *object, *wait_pc, *spawn_pc, *fn;
	int64_t since;
	bool migratable;
	char name[32];
};

static void dump_begin(struct dump *d, int fd)
{
	report_begin(&d->out, fd);
	symbols_begin(&d->symbols);
	d->now = sched_now();
	memset(d->places, 0, sizeof(d->places));
}

static int dump_end(struct dump *d)
{
	symbols_end(&d->symbols);
	return report_end(&d->out);
}

/* ---- looking ---------------------------------------------------------------- */

RACY static void copy_name(char *to, const struct gt_ext *ext)
{
	const volatile char *from = ext->name;

	for (size_t i = 0; i < sizeof(ext->name); i++)
		to[i] = from[i];
	to[sizeof(ext->name) - 1] = 0;
}

/* False: nobody, or somebody else by the end of the look. */
RACY static bool look(uint32_t index, struct view *v)
{
	struct gt *gt = gt_at(index);

	/* Acquire pairs with the release that ends a spawn. */
	v->id = atomic_load_explicit(&gt->id, memory_order_acquire);
	if (!(v->id & GT_LIVE) || !gt_gen(v->id))
		return false;
	v->gt = gt;
	v->state = atomic_load_explicit(&gt->state, memory_order_relaxed);
	v->why = atomic_load_explicit(&gt->why, memory_order_relaxed);
	v->worker = atomic_load_explicit(&gt->worker, memory_order_relaxed);
	v->object = atomic_load_explicit(&gt->wait_obj, memory_order_relaxed);
	v->wait_pc = atomic_load_explicit(&gt->wait_pc, memory_order_relaxed);
	v->since = atomic_load_explicit(&gt->since_ns, memory_order_relaxed);
	v->spawn_pc = gt_origin(gt);
	v->fn = gt_function(gt);
	v->migratable = v->id & GT_MIGRATABLE;
	v->name[0] = 0;
	struct gt_ext *ext = atomic_load_explicit(&gt->ext, memory_order_acquire);
	if (ext)
		copy_name(v->name, ext);
	uint64_t again = atomic_load_explicit(&gt->id, memory_order_acquire);
	return gt_gen(again) == gt_gen(v->id);
}

RACY static int fd_of(const struct io_op *op)
{
	return op->fd;
}

RACY static uint32_t ready_count(const struct worker *w)
{
	int64_t fresh = deque_count(&w->fresh);

	return w->local.count + ring_count(&w->shared) + w->arrivals.count +
	       (uint32_t)(fresh > 0 ? fresh : 0);
}

/* ---- parts of a line -------------------------------------------------------- */

static void put(struct dump *d, const char *text)
{
	report_str(&d->out, text);
}

/* "function+0x1f (file)" of the call before a return address, or the quoted name
 * of a function; from memory if it has been looked up already. */
static const char *text_of(struct dump *d, void *address, bool is_function)
{
	uintptr_t hash = (uintptr_t)address + is_function;
	struct place *place = &d->places[(hash ^ hash >> 5 ^ hash >> 10) % PLACES];
	char name[64];
	struct report text;

	if (place->address == address && place->is_function == is_function)
		return place->text;
	report_begin(&text, -1);
	if (!is_function)
		symbol_report(&d->symbols, &text, address, true);
	else if (symbol_name(&d->symbols, address, name, sizeof(name)))
		report_quoted(&text, name, sizeof(name));
	else
		report_hex(&text, address);
	size_t n = text.used < sizeof(place->text) ? text.used : sizeof(place->text) - 1;
	memcpy(place->text, text.text, n);
	place->text[n] = 0;
	place->address = address;
	place->is_function = is_function;
	return place->text;
}

static void put_place(struct dump *d, void *address)
{
	put(d, address ? text_of(d, address, false) : "?");
}

static void put_name(struct dump *d, const struct view *v)
{
	report_handle(&d->out, gt_gen(v->id) | gt_index(v->gt));
	put(d, " ");
	if (v->name[0])
		report_quoted(&d->out, v->name, sizeof(v->name));
	else
		put(d, text_of(d, v->fn, true));
}

static void put_thread(struct dump *d, const struct gt *gt)
{
	struct view v;

	if (look(gt_index(gt), &v))
		put_name(d, &v);
	else
		put(d, "that has ended");
}

static void put_owner(struct dump *d, const green_mutex_t *mutex)
{
	/* Relaxed: a report. */
	struct gt *owner = gt_find(__atomic_load_n(&mutex->owner, __ATOMIC_RELAXED));

	if (!owner)
		return;
	put(d, ", held by ");
	put_thread(d, owner);
}

/* What it waits for.  still: nobody runs, so that the object can be read. */
static void put_object(struct dump *d, const struct view *v, bool still)
{
	switch (v->why) {
	case PARK_IO:
		put(d, " on descriptor ");
		report_number(&d->out, v->object ? fd_of(v->object) : -1);
		return;
	case PARK_CLOSE:
		put(d, " of descriptor ");
		report_number(&d->out, (intptr_t)v->object);
		return;
	case PARK_JOIN:
		put(d, " of ");
		if (v->object)
			put_thread(d, v->object);
		return;
	default:
		if (!v->object)
			return;
		put(d, " ");
		report_hex(&d->out, v->object);
		if (v->why == PARK_MUTEX && still)
			put_owner(d, v->object);
	}
}

static void put_wait(struct dump *d, const struct view *v, bool still)
{
	put(d, "waits: ");
	put(d, park_why_name(v->why));
	put_object(d, v, still);
	put(d, " for ");
	report_since(&d->out, v->since < 0 ? 0 : d->now - v->since); /* < 0: just woken */
	put(d, " at ");
	put_place(d, v->wait_pc);
}

static void put_state(struct dump *d, const struct view *v, bool still)
{
	static const char *const names[] = {
		[GT_FREE] = "starting", [GT_FRESH] = "not started",
		[GT_READY] = "ready",   [GT_RUNNING] = "running",
		[GT_PARKED] = "waits",  [GT_DEAD] = "ended, not joined",
	};

	if (v->state == GT_PARKED)
		put_wait(d, v, still);
	else
		put(d, v->state <= GT_DEAD ? names[v->state] : "?");
}

static void dump_thread(struct dump *d, const struct view *v, bool still)
{
	if (v->id & GT_FOREIGN) {
		put(d, "OS thread ");
		report_handle(&d->out, gt_gen(v->id) | gt_index(v->gt));
		put(d, ": ");
		put_wait(d, v, still);
		put(d, "\n");
		return;
	}
	put(d, "green thread ");
	put_name(d, v);
	put(d, ": ");
	put_state(d, v, still);
	put(d, v->migratable ? ", any worker" : ", worker ");
	if (!v->migratable)
		report_number(&d->out, v->worker);
	if (v->id & GT_CANCELLED)
		put(d, ", cancelled");
	put(d, ", spawned at ");
	put(d, v->spawn_pc ? text_of(d, v->spawn_pc, false) : "green_serve");
	put(d, "\n");
}

static void dump_worker(struct dump *d, const struct worker *w)
{
	struct gt *current = atomic_load_explicit(&w->current, memory_order_relaxed);
	int64_t stuck = atomic_load_explicit(&w->stuck_since, memory_order_relaxed);
	uint64_t idle = atomic_load_explicit(&rt.idle[w->id / 64], memory_order_relaxed);

	put(d, "worker ");
	report_number(&d->out, w->id);
	put(d, " (OS thread ");
	report_number(&d->out, w->tid);
	put(d, "): ");
	if (current) {
		put(d, stuck ? "stuck in " : "runs ");
		put_thread(d, current);
		if (stuck) {
			put(d, " for ");
			report_since(&d->out, d->now - stuck);
		}
	} else {
		put(d, idle >> w->id % 64 & 1 ? "asleep" : "looks for work");
	}
	put(d, ", ");
	report_number(&d->out, ready_count(w));
	put(d, " ready, ");
	report_number(&d->out, atomic_load_explicit(&w->ops_in_flight, memory_order_relaxed));
	put(d, " operations in flight, ");
	report_handle(&d->out, atomic_load_explicit(&w->switches, memory_order_relaxed));
	put(d, " switches\n");
}

/* ---- the census ------------------------------------------------------------- */

/* One that is parked has used at least what is in use now. */
RACY static void count_in_census(const struct view *v)
{
	stack_id stack = *(const volatile stack_id *)&v->gt->stack, found;
	uintptr_t sp = (uintptr_t) * (void *const volatile *)&v->gt->sp;

	if (v->state == GT_PARKED && stack_is_slot(stack) &&
	    stack_find((const void *)sp, &found) == STACK_PART_FRAMES && found == stack &&
	    sp <= (uintptr_t)stack_top(stack))
		census_record(v->gt, stack, (uintptr_t)stack_top(stack) - sp);
}

static void dump_site(struct dump *d, const struct census_site *site)
{
	/* Relaxed: a report. */
	void *pc = atomic_load_explicit(&site->pc, memory_order_relaxed);
	void *fn = atomic_load_explicit(&site->fn, memory_order_relaxed);
	uint32_t deepest = atomic_load_explicit(&site->deepest, memory_order_relaxed);

	if (!pc || !fn || !deepest)
		return;
	put(d, "stack use: at most ");
	report_number(&d->out, deepest);
	put(d, " bytes of ");
	report_kib(&d->out, atomic_load_explicit(&site->size, memory_order_relaxed));
	put(d, ", ");
	report_number(&d->out, atomic_load_explicit(&site->looked, memory_order_relaxed));
	put(d, " ended ones looked at: ");
	put(d, text_of(d, fn, true));
	put(d, " spawned at ");
	put(d, atomic_load_explicit(&site->is_handler, memory_order_relaxed)
	               ? "green_serve"
	               : text_of(d, pc, false));
	put(d, "\n");
}

static void dump_census(struct dump *d)
{
	for (unsigned i = 0; i < CENSUS_SITES; i++)
		dump_site(d, &census_sites[i]);
}

/* ---- whole reports ---------------------------------------------------------- */

int green_dump(int fd)
{
	int state = atomic_load_explicit(&rt.state, memory_order_acquire);
	struct dump d;
	struct view v;

	dump_begin(&d, fd);
	if (state != RUNTIME_RUNNING)
		put(&d, "libgreen: not running\n");
	else
		for (unsigned i = 0; i < rt.workers_count; i++)
			dump_worker(&d, worker_at(i));
	if (state != RUNTIME_READY && state != RUNTIME_RUNNING)
		return dump_end(&d);
	for (uint32_t i = 1; i < gt_high(); i++)
		if (look(i, &v) && (!(v.id & GT_FOREIGN) || v.state == GT_PARKED)) {
			count_in_census(&v);
			dump_thread(&d, &v, false);
		}
	dump_census(&d);
	return dump_end(&d);
}

void deadlock_report(int fd)
{
	struct dump d;
	struct view v;
	unsigned count = 0;

	dump_begin(&d, fd);
	put(&d, "libgreen: deadlock: no I/O, timer, offload or other OS thread is left that could "
	        "wake any of these:\n");
	for (uint32_t i = 1; i < gt_high(); i++) {
		if (!look(i, &v) || (v.id & GT_FOREIGN))
			continue;
		if (v.state == GT_PARKED && count++ < DEADLOCK_LINES) {
			put(&d, "  ");
			dump_thread(&d, &v, true);
		}
	}
	if (count > DEADLOCK_LINES) {
		put(&d, "  and ");
		report_number(&d.out, count - DEADLOCK_LINES);
		put(&d, " more\n");
	}
	put(&d, "libgreen: all of them are cancelled; green_run() will return -EDEADLK\n");
	dump_end(&d);
}
