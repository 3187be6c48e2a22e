/* SPDX-License-Identifier: MIT
 *
 * The rings of records, and the clock they go by.
 */
#include "trace.h"
#include "arch/clock.h"
#include "noswitch.h"
#include "worker.h"

#include <fcntl.h>
#include <string.h>
#include <time.h>

#define SEEN 1024 /* sites remembered by a worker */
#define SEEN_TRIES 8
#define RARELY 16             /* switches between two readings where they are many */
#define MANY_TICKS 4096       /* they are many when one takes less */
#define HELD_NS GREEN_MS(10)  /* records lie no longer */
#define ASLEEP_NS GREEN_MS(1) /* before a sleep */
#define MOMENT_NS GREEN_MS(250)
#define STAMP_BITS 37 /* of ticks >> TRACE_SHIFT: twelve minutes at 3 GHz */
#define STAMP_MASK (((uint64_t)1 << STAMP_BITS) - 1)
#define STAMP_OUTSIDE GT_INDEX_MASK /* for the waker: an OS thread */

_Static_assert(sizeof(struct trace_record) == 32, "two a cache line");
_Static_assert((int)PARK_WHY_COUNT == (int)TRACE_WHY_COUNT && (int)PARK_POOL == (int)TRACE_POOL &&
                       (int)PARK_FUTEX == (int)TRACE_FUTEX,
               "numbers that tracers know");
_Static_assert((int)WAKE_PEER == (int)TRACE_WAKE_PEER && (int)WAKE_SIGNAL == (int)TRACE_WAKE_SIGNAL,
               "numbers that tracers know");

struct trace_info trace_info = {
	.version = TRACE_VERSION,
	.size = sizeof(struct trace_info),
	.record_size = sizeof(struct trace_record),
	.batch = TRACE_BATCH,
	.ring = 2 * TRACE_BATCH,
	.clock = TRACE_CLOCK_NS,
	.clock_every = 1,
};
uint64_t trace_keeping;
_Atomic uint32_t trace_sections;
int64_t trace_stacks_ns = TRACE_STACK_AGAIN_NS;
static _Atomic bool ending; /* trace_end() */
struct trace_call *(*trace_call_hook)(struct gt *self);

/* ---- the clock -------------------------------------------------------------------- */

uint64_t trace_now(void)
{
	return likely(trace_info.clock == TRACE_CLOCK_TSC) ? cpu_ticks() : (uint64_t)sys.now();
}

/* The kernel uses the counter only where it is the same on all CPUs. */
static bool kernel_trusts_tsc(void)
{
	char text[32];
	long fd = sys3(SYS_open, "/sys/devices/system/clocksource/clocksource0/current_clocksource",
	               O_RDONLY | O_CLOEXEC, 0);

	if (fd < 0)
		return false;
	long n = sys3(SYS_read, fd, text, sizeof(text) - 1);
	sys1(SYS_close, fd);
	text[n > 0 ? n : 0] = 0;
	return !strncmp(text, "tsc", 3) || !strncmp(text, "kvm-clock", 9) ||
	       !strncmp(text, "hyperv_clocksource_tsc", 22);
}

static struct trace_moment moment_now(void)
{
	/* Between two readings of the one: what interrupts the three is seen. */
	struct trace_moment m = { 0 };
	uint64_t least = UINT64_MAX;

	for (int i = 0; i < 4; i++) {
		uint64_t before = trace_now();
		int64_t ns = sys.now();
		uint64_t took = trace_now() - before;
		if (took < least) {
			least = took;
			m = (struct trace_moment){ .ticks = before + took / 2, .ns = ns };
		}
	}
	return m;
}

void trace_init(void)
{
	size_t keep = rt.options.flight_records;

	trace_info.clock =
		cpu_ticks_evenly() && kernel_trusts_tsc() ? TRACE_CLOCK_TSC : TRACE_CLOCK_NS;
	trace_info.ring = 2 * TRACE_BATCH;
	while (trace_info.ring < keep)
		trace_info.ring *= 2;
	trace_info.flight = keep > 0;
	trace_keeping = keep > 0;
	trace_info.first = trace_info.last = moment_now();
}

void trace_moment(int64_t now)
{
	uint32_t seq = trace_info.moment_seq;

	if (now - trace_info.last.ns < MOMENT_NS)
		return;
	/* For readers in other processes: odd while it is being written. */
	__atomic_store_n(&trace_info.moment_seq, seq + 1, __ATOMIC_RELAXED);
	atomic_thread_fence(memory_order_release);
	trace_info.last = moment_now();
	__atomic_store_n(&trace_info.moment_seq, seq + 2, __ATOMIC_RELEASE);
}

struct trace_line trace_line(void)
{
	struct trace_moment now = moment_now(), first = trace_info.first;
	struct trace_line line = { .ticks = now.ticks, .ns = now.ns, .ns_per_tick = 1 };

	if (now.ticks > first.ticks && now.ns > first.ns)
		line.ns_per_tick = (double)(now.ns - first.ns) / (double)(now.ticks - first.ticks);
	return line;
}

/* Whoever is attached says how often; else as often as it costs next to nothing. */
static uint64_t clock_every(const struct trace_worker *t, uint64_t now, uint64_t switches)
{
	uint64_t n = switches - t->clock_at;

	if (trace_wants_hot(flush) || trace_wants_hot(resume)) {
		uint32_t every = __atomic_load_n(&trace_info.clock_every, __ATOMIC_RELAXED);
		return every >= 1 && every <= SCHED_TICK ? every : 1;
	}
	/* Not read since the last look around: it says nothing about switches. */
	return n > SCHED_TICK || now - t->clock > n * MANY_TICKS ? 1 : RARELY;
}

/* at: of which number of switches the reading is the last moment. */
static uint64_t clock_read(struct trace_worker *t, uint64_t at, uint64_t switches)
{
	uint64_t now = trace_now();

	atomic_store_explicit(&t->every, clock_every(t, now, switches), memory_order_relaxed);
	t->clock_at = at;
	return t->clock = now;
}

static inline uint64_t every_of(struct trace_worker *t)
{
	return atomic_load_explicit(&t->every, memory_order_relaxed);
}

static inline uint64_t switches_of(const struct worker *w)
{
	return atomic_load_explicit(&w->switches, memory_order_relaxed);
}

/* The running thread gives up its CPU. */
static inline uint64_t clock_leaving(struct worker *w)
{
	struct trace_worker *t = &w->trace;
	uint64_t switches = switches_of(w);

	return switches - t->clock_at >= every_of(t) ? clock_read(t, switches, switches) : t->clock;
}

/* It has got it: a switch after the reading that its predecessor made, maybe. */
static inline uint64_t clock_arriving(struct worker *w)
{
	struct trace_worker *t = &w->trace;
	uint64_t switches = switches_of(w);

	return switches - t->clock_at > every_of(t) ? clock_read(t, switches - 1, switches)
	                                            : t->clock;
}

/* In the scheduler context all that happens between two switches is one moment:
 * clock_at is made stale by each look at the engine. */
static inline uint64_t clock_waking(struct worker *w)
{
	struct trace_worker *t = &w->trace;
	uint64_t switches = switches_of(w);

	if (w->in_scheduler)
		return switches != t->clock_at ? clock_read(t, switches, switches) : t->clock;
	return switches - t->clock_at >= every_of(t) ? clock_read(t, switches - 1, switches)
	                                             : t->clock;
}

/* ---- handing on ----------------------------------------------------------------- */

static uint64_t head_of(const struct trace_worker *t)
{
	return atomic_load_explicit(&t->head, memory_order_relaxed);
}

static bool has_pending(const struct trace_worker *t)
{
	return head_of(t) != atomic_load_explicit(&t->flushed, memory_order_relaxed);
}

/* A batch ends where its place in the ring is a multiple of TRACE_BATCH, so that
 * none goes round the end. */
static never_inline void hand_on(struct worker *w, uint64_t now)
{
	struct trace_worker *t = &w->trace;
	uint64_t head = head_of(t), from = atomic_load_explicit(&t->flushed, memory_order_relaxed);
	uint64_t first = (head - 1) & ~(uint64_t)(TRACE_BATCH - 1);

	if (from < first)
		from = first; /* nobody was attached */
	probe_flush(t->records + (from & (trace_info.ring - 1)), head - from, now, w);
	atomic_store_explicit(&t->flushed, head, memory_order_relaxed);
}

void trace_tick(struct worker *w, int64_t now)
{
	struct trace_worker *t = &w->trace;

	t->clock_at = TRACE_STALE;
	if (unlikely(t->stacks_on) && !trace_wants_hot(stack))
		t->stacks_on = false;
	if (trace_wants_hot(flush) && has_pending(t) &&
	    (now - t->flushed_ns >= HELD_NS ||
	     atomic_load_explicit(&ending, memory_order_relaxed))) {
		hand_on(w, trace_now());
		t->flushed_ns = now;
	}
}

static bool others_have_pending(const struct worker *self)
{
	for (unsigned i = 0; i < rt.workers_count; i++) {
		const struct worker *w = worker_at(i);
		if (w && w != self && has_pending(&w->trace))
			return true;
	}
	return false;
}

void trace_end(void)
{
	struct worker *self = worker_self();
	const struct timespec pause = { .tv_nsec = GREEN_US(100) };
	int64_t limit = sys.now() + HELD_NS;

	if (!trace_wants_hot(flush))
		return;
	/* Relaxed: who wakes up sees it, who is awake will soon. */
	atomic_store_explicit(&ending, true, memory_order_relaxed);
	if (self && has_pending(&self->trace))
		hand_on(self, trace_now());
	for (unsigned i = 0; i < rt.workers_count; i++) {
		struct worker *w = worker_at(i);
		if (w && w != self && has_pending(&w->trace))
			sched_wake_worker(w);
	}
	while (others_have_pending(self) && sys.now() < limit)
		sys2(SYS_nanosleep, &pause, NULL);
}

int64_t trace_sleep(struct worker *w, int64_t limit)
{
	struct trace_worker *t = &w->trace;

	t->clock_at = TRACE_STALE;
	if (likely(!trace_wants_hot(flush)) || !has_pending(t))
		return limit;
	int64_t now = sys.now();
	if (now - t->flushed_ns >= ASLEEP_NS) {
		hand_on(w, trace_now());
		t->flushed_ns = now;
		return limit;
	}
	return limit < 0 || limit > HELD_NS ? HELD_NS : limit;
}

/* ---- records -------------------------------------------------------------------- */

static uint32_t saturate(uint64_t n)
{
	return n > UINT32_MAX ? UINT32_MAX : (uint32_t)n;
}

/* In registers, all of it: a struct in memory costs three nanoseconds here. */
#define RECORD(w, self, site, why, flags, now, away, ready, waker) \
	write_record(w, gt_handle(self), (uintptr_t)(site), why, flags, now, away, ready, waker)

static inline __attribute__((always_inline)) void
write_record(struct worker *w, uint64_t thread, uint64_t site, unsigned why, unsigned flags,
             uint64_t now, uint64_t away, uint64_t ready, uint32_t waker)
{
	struct trace_worker *t = &w->trace;
	uint64_t head = head_of(t);
	unsigned shift = TRACE_SHIFT;

	if (trace_wants_hot(resume))
		probe_resume(thread, site, flags << 8 | why, away, ready, waker);
	if (unlikely(!t->records))
		return;
	if (unlikely(away >> TRACE_SHIFT > UINT32_MAX)) {
		shift = TRACE_SHIFT_LONG;
		flags |= TRACE_LONG;
	}
	t->records[head & (trace_info.ring - 1)] = (struct trace_record){
		.time = now,
		.where = site << 16 | why << 8 | flags,
		.thread = (uint32_t)thread,
		.waker = waker,
		.away = saturate(away >> shift),
		.ready = saturate(ready >> shift),
	};
	/* Release: for readers outside, who look at the head before and after. */
	atomic_store_explicit(&t->head, head + 1, memory_order_release);
	if (unlikely((head + 1) % TRACE_BATCH == 0) && trace_wants_hot(flush))
		hand_on(w, now);
}

/* ---- stacks --------------------------------------------------------------------- */

/* Is the stack of this place to be shown? */
static bool is_news(struct worker *w, uint64_t key)
{
	struct trace_worker *t = &w->trace;
	int64_t now = atomic_load_explicit(&w->now, memory_order_relaxed);

	if (!t->seen)
		return false;
	/* The kernel counts all tracers as one: who came later knows of none yet. */
	if (!t->stacks_on || now - t->seen_ns >= trace_stacks_ns) {
		memset(t->seen, 0, SEEN * sizeof(*t->seen));
		t->seen_ns = now;
		if (!t->stacks_on)
			t->stacks = TRACE_STACK_EVERY;
		t->stacks_on = true;
	}
	for (uint64_t i = 0, at = key * 0x9e3779b97f4a7c15u >> 32; i < SEEN_TRIES; i++, at++) {
		if (t->seen[at % SEEN] == key)
			break;
		if (!t->seen[at % SEEN]) {
			t->seen[at % SEEN] = key;
			return true;
		}
	}
	if (--t->stacks)
		return false;
	t->stacks = TRACE_STACK_EVERY;
	return true;
}

/* frame: of the function that pc does not lie in, but was called from there.  A function
 * that many call is one site: what tells its callers apart, most often, is how deep the
 * stack is there. */
static never_inline void show_stack(struct worker *w, const struct gt *self, void *site,
                                    unsigned why, void *pc, char *frame)
{
	/* A stack that somebody else has made: its top is not known. */
	uintptr_t top = stack_is_slot(self->stack) ? (uintptr_t)stack_top(self->stack) : 0;
	uint64_t depth = top ? top - (uintptr_t)frame : 0;
	uint64_t key = ((uint64_t)(uintptr_t)site << 8 | why) + depth * 0xd6e8feb86659fd93u;

	if (is_news(w, key ? key : 1))
		probe_stack(gt_handle(self), (uintptr_t)site, why, (uintptr_t)pc,
		            (uintptr_t)(frame + 2 * sizeof(void *)), top);
}

#define SHOW_STACK(w, self, site, why)                                              \
	do                                                                          \
		if (trace_wants_hot(stack))                                         \
			show_stack(w, self, site, why, __builtin_return_address(0), \
			           __builtin_frame_address(0));                     \
	while (0)

/* ---- hooks ---------------------------------------------------------------------- */

/* What its wait is called: by itself, or by the call of the program that waits. */
struct place {
	void *site;
	unsigned why;
};

static inline struct place name_call(struct gt *self, struct place place)
{
	if (likely(!trace_call_hook) || !trace_attached())
		return place;
	const struct trace_call *call = trace_call_hook(self);
	if (!call)
		return place;
	return (struct place){ call->site, call->why ? call->why : place.why };
}

static inline struct place place_of(struct gt *self)
{
	struct place own = { atomic_load_explicit(&self->wait_pc, memory_order_relaxed),
		             atomic_load_explicit(&self->why, memory_order_relaxed) };

	return name_call(self, own);
}

never_inline uint64_t trace_left(struct worker *w, struct gt *self)
{
	if (unlikely(trace_attached())) {
		struct place place = place_of(self);
		SHOW_STACK(w, self, place.site, place.why);
	}
	return clock_leaving(w) | 1; /* never 0 */
}

void trace_stamp(struct worker *w, struct gt *gt)
{
	uint64_t now, waker = STAMP_OUTSIDE;

	if (unlikely(atomic_load_explicit(&gt->since_ns, memory_order_relaxed) < 0))
		return; /* trace_woken_early() */
	if (likely(w != NULL)) {
		struct gt *current = atomic_load_explicit(&w->current, memory_order_relaxed);
		waker = current ? gt_index(current) : GT_NONE;
		now = clock_waking(w);
	} else {
		now = trace_now();
	}
	atomic_store_explicit(&gt->since_ns,
	                      (int64_t)(TRACE_STAMP | waker << STAMP_BITS |
	                                (now >> TRACE_SHIFT & STAMP_MASK)),
	                      memory_order_relaxed);
}

/* How long it has been ready, by its stamp; not more than it was away. */
static inline uint64_t ready_since(uint64_t stamp, uint64_t now, uint64_t away)
{
	uint64_t ready = ((now >> TRACE_SHIFT) - stamp) & STAMP_MASK;

	/* Clocks of two CPUs, or readings that were shared: not less than none. */
	if (unlikely(ready > STAMP_MASK / 2))
		return 0;
	return ready << TRACE_SHIFT < away ? ready << TRACE_SHIFT : away;
}

never_inline void trace_arrived(const struct worker *before, struct gt *self, uint64_t left,
                                enum wake_reason reason)
{
	struct worker *w = worker_self();
	uint64_t stamp = (uint64_t)atomic_load_explicit(&self->since_ns, memory_order_relaxed);
	uint64_t now = clock_arriving(w), away = now > left ? now - left : 0, ready = away;
	uint32_t waker = GT_NONE;
	unsigned flags = reason;

	if (unlikely(w != before))
		flags |= TRACE_MOVED;
	if (switches_of(w) - w->trace.clock_at > 1)
		flags |= TRACE_COARSE;
	/* It is not there if nobody recorded when it was woken, and but for its first
	 * bit 0 if it was woken before it had parked. */
	if (likely(stamp > TRACE_STAMP)) {
		ready = ready_since(stamp, now, away);
		waker = (uint32_t)(stamp >> STAMP_BITS) & GT_INDEX_MASK;
		if (unlikely(waker == STAMP_OUTSIDE)) {
			waker = GT_NONE;
			flags |= TRACE_OUTSIDE;
		}
	}
	/* A time again, for reports. */
	atomic_store_explicit(&self->since_ns, atomic_load_explicit(&w->now, memory_order_relaxed),
	                      memory_order_relaxed);
	struct place place = place_of(self);
	RECORD(w, self, place.site, place.why, flags, now, away, ready, waker);
}

never_inline void trace_yield(struct worker *w, struct gt *self, void *pc)
{
	uint64_t switches = switches_of(w);
	struct worker *before = w;

	trace_enter(pc, PARK_YIELD, 0);
	if (!trace_attached()) {
		sched_yield_self(w);
		return;
	}
	struct place place = name_call(self, (struct place){ pc, PARK_YIELD });
	SHOW_STACK(w, self, place.site, place.why);
	uint64_t left = clock_leaving(w);
	sched_yield_self(w);
	w = worker_self();
	if (w == before && switches_of(w) == switches)
		return; /* nobody else wanted to run */
	uint64_t now = clock_arriving(w), away = now > left ? now - left : 0;
	unsigned flags = w != before ? TRACE_MOVED : 0;
	if (switches_of(w) - w->trace.clock_at > 1)
		flags |= TRACE_COARSE;
	RECORD(w, self, place.site, place.why, flags, now, away, away, GT_NONE);
}

void trace_spawn(const struct gt *gt, const void *pc)
{
	const struct gt *parent = gt_self();
	const struct gt_ext *ext = atomic_load_explicit(&gt->ext, memory_order_relaxed);

	probe_spawn(gt_handle(gt), parent ? gt_handle(parent) : GREEN_NONE,
	            (uintptr_t)gt_function(gt), ext && ext->name[0] ? ext->name : NULL, pc);
}

void trace_entered(void *pc, enum park_why why, uint64_t object)
{
	struct gt *self = gt_self();
	struct trace_call *call = self && trace_call_hook ? trace_call_hook(self) : NULL;
	uint64_t shown = why;

	if (!self || (call && call->told))
		return;
	if (call) {
		call->told = true;
		pc = call->site;
		shown = call->why ? call->why : shown;
	}
	if (trace_wants_hot(enter))
		probe_enter(gt_handle(self), pc, shown, object);
	noswitch_entered(self, pc, why);
}

/* ---- a worker's life ------------------------------------------------------------ */

static size_t ring_bytes(void)
{
	return trace_info.ring * sizeof(struct trace_record) + SEEN * sizeof(uint64_t);
}

/* The memory of an earlier run does: it is kept as long as the worker is, for a
 * report may be reading it. */
static void make_ring(struct worker *w)
{
	struct trace_worker *t = &w->trace;
	long error;

	if (!t->records)
		t->records = sys_map(ring_bytes(), 0, &error);
	if (!t->records)
		return;
	sys_name(t->records, ring_bytes(), "green: records");
	t->seen = (uint64_t *)(t->records + trace_info.ring);
}

void trace_worker_start(struct worker *w)
{
	struct trace_worker *t = &w->trace;

	make_ring(w);
	atomic_store_explicit(&t->head, 0, memory_order_relaxed);
	atomic_store_explicit(&t->flushed, 0, memory_order_relaxed);
	t->clock_at = TRACE_STALE;
	atomic_store_explicit(&t->every, 1, memory_order_relaxed);
	t->stacks_on = false;
	if (trace_wants(worker_start))
		probe_worker_start(w->id, (uint64_t)w->tid, w);
}

void trace_worker_stop(struct worker *w)
{
	if (trace_wants_hot(flush) && has_pending(&w->trace))
		hand_on(w, trace_now());
	if (trace_wants(worker_stop))
		probe_worker_stop(w->id, (uint64_t)w->tid, w);
}

void trace_worker_free(struct worker *w)
{
	sys_unmap(w->trace.records, ring_bytes());
}
