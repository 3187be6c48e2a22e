/* SPDX-License-Identifier: MIT
 *
 * Sweeping chunk by chunk, in slices, by the monitor; and rousing.
 */
#include "sweep.h"
#include "arch/regs.h"
#include "fatal.h"
#include "hibernate.h"
#include "options.h"
#include "park.h"
#include "scheduler.h"
#include "trace.h"

#include <fcntl.h>
#include <string.h>

#define SLICE_NS GREEN_MS(4)     /* of work without a pause */
#define PAUSE_NS GREEN_MS(6)     /* between slices of one pass, usually */
#define PASS_NS_MIN GREEN_MS(10) /* between passes */
#define PRESSURE_NS GREEN_S(1)   /* between looks at the kernel's figures */
#define HURRY 64                 /* times earlier when memory is short */
#define STACKS_LEAST 1000        /* in use: of fewer, none hibernates unless asked for */
#define SHARE 20                 /* 1 : SHARE of the time for passes that find little */
#define RETURN_NS GREEN_US(10)   /* of CPU time, for one stack to hibernate and come back */
#define EASE_NS GREEN_S(30)      /* until one step back */
#define EASE_MAX 64
#define SKIP_MAX 256u /* chunks that are left alone, between two looks at the clock */
#define PAGE ((size_t)4096)
#define FETCH_BYTES ((size_t)384) /* what most parked threads have on their stacks */

static struct {
	/* Where the present pass is, and its haste; the monitor's. */
	unsigned arena;
	uint32_t chunk;
	int64_t next_ns, began_ns, looked_ns;
	int64_t paced_ns;       /* the least patience when next_ns was set */
	int64_t spent_ns;       /* of CPU time, when the present pass began */
	uint64_t awake, before; /* stacks that it has found so; hibernations before it */
	bool pressure;
	bool going; /* one complete pass more: it tidies up */
	/* The least patience: that the chunks' notes go by; when the present pass began. */
	int64_t noted_ns, least_began_ns;
	int64_t ease; /* times later than usual */
	int64_t counted_ns, eased_ns;
	uint64_t returns; /* when last counted */
	/* The least patience of any thread in this run. */
	_Atomic int64_t least_ns;
	_Atomic bool refused; /* a spawn, since the last pass began */
	_Atomic bool asked;   /* for hibernation: an option, a budget, a thread's attributes */
} sweep;

struct pass { /* what a slice of one goes by */
	int64_t now;
	int64_t hurry; /* times earlier than usual */
	int64_t least; /* patience of any thread, when it began */
};

void sweep_reset(void)
{
	sweep.arena = 0;
	sweep.chunk = 0;
	sweep.next_ns = 0;
	sweep.began_ns = 0;
	sweep.looked_ns = 0;
	sweep.paced_ns = 0;
	sweep.spent_ns = 0;
	sweep.awake = 0;
	sweep.pressure = false;
	sweep.going = false;
	sweep.noted_ns = INT64_MAX;
	sweep.ease = 1;
	sweep.counted_ns = sys.now();
	sweep.eased_ns = 0;
	sweep.returns = stacks_hibernations() - stacks_hibernated();
	atomic_store_explicit(&sweep.asked,
	                      options_hibernation_asked() || rt.options.stack_bytes_max,
	                      memory_order_relaxed);
	atomic_store_explicit(&sweep.least_ns, rt.options.hibernate_after_ns, memory_order_relaxed);
	atomic_store_explicit(&sweep.refused, false, memory_order_relaxed);
}

/* ---- how long --------------------------------------------------------------- */

/* 1: for ever; n: 2^(n - 2) ms. */
#define PATIENCE_FOREVER 1
#define PATIENCE_MAX 31 /* six days: five bits of gt.kind */

static int64_t patience_ns(unsigned patience)
{
	return GREEN_MS(1) << (patience - 2);
}

uint8_t sweep_patience(int64_t after_ns)
{
	uint8_t n = PATIENCE_FOREVER + 1;

	if (after_ns == GREEN_FOREVER)
		return PATIENCE_FOREVER;
	if (!atomic_load_explicit(&sweep.asked, memory_order_relaxed))
		atomic_store_explicit(&sweep.asked, true, memory_order_relaxed);
	while (n < PATIENCE_MAX && patience_ns(n) < after_ns)
		n++;
	/* Relaxed: a hint for the monitor's clock. */
	int64_t least = atomic_load_explicit(&sweep.least_ns, memory_order_relaxed);
	while (patience_ns(n) < least &&
	       !atomic_compare_exchange_weak_explicit(&sweep.least_ns, &least, patience_ns(n),
	                                              memory_order_relaxed, memory_order_relaxed))
		continue;
	return n;
}

static int64_t patience_of(const struct gt *gt, const struct pass *pass)
{
	unsigned n = gt_kind(gt) >> GT_KIND_PATIENCE_SHIFT;

	if (n == 0)
		return rt.options.hibernate_after_ns * (pass->hurry > 1 ? 1 : sweep.ease);
	return n == PATIENCE_FOREVER ? GREEN_FOREVER : patience_ns(n);
}

/* ---- how much memory ---------------------------------------------------------- */

/* The least that the stacks of so many threads take. */
static size_t least_bytes(uint64_t alive)
{
	size_t asleep = stacks_hibernated();

	return (alive > asleep ? alive - asleep : 0) * PAGE + hibernate_bytes();
}

bool sweep_admits(uint64_t alive)
{
	size_t max = rt.options.stack_bytes_max;

	if (!max || least_bytes(alive) <= max)
		return true;
	/* Relaxed: a hint for the monitor, which looks every few milliseconds. */
	atomic_store_explicit(&sweep.refused, true, memory_order_relaxed);
	return false;
}

/* Has somebody on this machine waited for memory during a hundredth of the last
 * ten seconds?  (Documentation/accounting/psi.rst) */
static bool under_pressure(void)
{
	static const char least[] = "some avg10=0.";
	char text[128];
	long fd = sys3(SYS_open, "/proc/pressure/memory", O_RDONLY | O_CLOEXEC, 0);

	if (fd < 0)
		return false;
	long n = sys3(SYS_read, fd, text, sizeof(text));
	sys1(SYS_close, fd);
	return n >= (long)sizeof(least) - 1 && !memcmp(text, least, sizeof(least) - 3) &&
	       memcmp(text, least, sizeof(least) - 1) != 0;
}

static bool memory_is_short(int64_t now)
{
	size_t max = rt.options.stack_bytes_max;

	if (now >= sweep.looked_ns + PRESSURE_NS) {
		sweep.looked_ns = now;
		sweep.pressure = under_pressure();
	}
	return sweep.pressure || (max && least_bytes(sched_alive()) > max - max / 4);
}

/* ---- one chunk ---------------------------------------------------------------- */

void sweep_rouse(struct gt *gt)
{
	if (stack_rouse(gt->stack) < 0)
		fatal("no memory to bring back the stack of a green thread",
		      "give the process more memory, or do not hibernate (GREEN_HIBERNATE_MS=0)");
	if (trace_wants(restore))
		probe_restore(gt_handle(gt), gt->sp, stack_top(gt->stack));
	/* Nobody else changes it now: the wait has been claimed. */
	atomic_fetch_and_explicit(&gt->park, ~(uint64_t)PARK_ASLEEP, memory_order_relaxed);
}

static bool may_sleep(uint64_t word)
{
	return (word & (PARK_ARMED | PARK_SAVED | PARK_CLAIMED)) == (PARK_ARMED | PARK_SAVED);
}

/* What threads that wait at the same place of the same function have in common. */
static uint64_t likeness(const struct gt *gt)
{
	uint64_t pc = (uintptr_t)atomic_load_explicit(&gt->wait_pc, memory_order_relaxed);

	return pc * 31 + (uintptr_t)gt->fn;
}

/* What tells one wait of one thread from others, all but certainly. */
static uint32_t tag_of(const struct gt *gt, uint64_t word)
{
	uint64_t wait = (word >> PARK_SEQ_SHIFT << GT_INDEX_BITS) + gt_index(gt);

	return (uint32_t)(wait * 0x9e3779b97f4a7c15u >> 32);
}

/* How long it still has to wait; the least patience: that is not known yet. */
static int64_t remains(const struct gt *gt, uint64_t word, const struct pass *pass)
{
	int64_t since = atomic_load_explicit(&gt->since_ns, memory_order_relaxed);
	int64_t patience = patience_of(gt, pass);

	/* < 0: it has been woken since, and the compare-and-swap would fail. */
	if (!may_sleep(word) || patience == GREEN_FOREVER || since < 0)
		return pass->least;
	return since + patience / pass->hurry - pass->now;
}

/* Bytes of a parked thread's stack above the frame of the public function that it
 * waits in: what is below is handed to the kernel pinned.  All of them, where the
 * frame pointers do not lead there. */
NO_ASAN static size_t users_bytes(const struct gt *gt)
{
	uintptr_t sp = (uintptr_t)gt->sp, top = (uintptr_t)stack_top(gt->stack);
	uintptr_t pc = (uintptr_t)atomic_load_explicit(&gt->wait_pc, memory_order_relaxed);
	uintptr_t fp = *(const uintptr_t *)(sp + SWITCH_FRAME_FP);

	for (uintptr_t below = sp; fp > below && fp <= top - 16 && fp % 8 == 0;) {
		const uintptr_t *frame = (const uintptr_t *)fp;
		if (frame[1] == pc)
			return top - (fp + 16);
		below = fp;
		fp = frame[0];
	}
	return top - sp;
}

/* Steps 1 and 2 of sweep.h.  On success nobody runs on the stack, or will before
 * it has been roused.  *wait: no longer than until it may be tried again. */
static bool put_to_sleep(struct stack_sleeper *s, stack_id stack, const struct pass *pass,
                         int64_t *wait)
{
	struct gt *gt = gt_at(stack_owner(stack));
	uint64_t word = atomic_load_explicit(&gt->park, memory_order_acquire);

	/* The owner is a hint: the thread may be parked elsewhere, and that stack be
	 * nobody's.  Before the park word is changed, because afterwards the thread
	 * may be woken, end, and its descriptor begin anew on this stack. */
	if (gt->stack != stack)
		return false;
	int64_t left = remains(gt, word, pass);
	if (left > 0) {
		*wait = left < *wait ? left : *wait;
		return false;
	}
	if (stack_is_trimmed(stack, tag_of(gt, word)))
		return false;
	if (!stack_lull(stack))
		return false;
	/* Release: SWEEPING; acquire: the saved registers.  Only now it is known that
	 * nothing is live that the kernel may write to. */
	if (atomic_compare_exchange_strong_explicit(&gt->park, &word, word | PARK_ASLEEP,
	                                            memory_order_acq_rel, memory_order_relaxed)) {
		*s = (struct stack_sleeper){
			.stack = stack,
			.sp = gt->sp,
			.users = users_bytes(gt),
			.alike = likeness(gt),
		};
		if (stack_fits_slab(s))
			return true;
		stack_trim(stack, gt->sp, tag_of(gt, word));
	}
	stack_unlull(stack);
	return false;
}

static struct { /* found, and lulled: of one class, of a few chunks */
	struct stack_sleeper sleepers[STACK_CHUNKS_MAX * STACK_CHUNK_MAX];
	unsigned count;
} found;

static uint32_t note_of(int64_t time)
{
	return (uint32_t)(time / GREEN_MS(1));
}

/* A chunk in which nobody has waited for long enough is noted for when somebody may have:
 * who parks after this does not before the least patience is over. */
static bool is_noted(uint32_t note, const struct pass *pass)
{
	return note && pass->hurry == 1 && pass->least >= sweep.noted_ns &&
	       (int32_t)(note - note_of(pass->now)) > 0;
}

/* Descriptors lie anywhere, and what they point to has not been looked at for long: all
 * are asked for at once, not one after the other. */
RACY static void fetch_all(const stack_id *stacks, unsigned count, const struct pass *pass)
{
	for (unsigned i = 0; i < count; i++) {
		const char *gt = (const char *)gt_at(stack_owner(stacks[i]));
		__builtin_prefetch(gt);
		__builtin_prefetch(gt + CACHE_LINE);
	}
	for (unsigned i = 0; i < count; i++) {
		const struct gt *gt = gt_at(stack_owner(stacks[i]));
		uint64_t word = atomic_load_explicit(&gt->park, memory_order_relaxed);
		if (gt->stack == stacks[i] && remains(gt, word, pass) <= 0)
			for (size_t at = 0; at < FETCH_BYTES; at += CACHE_LINE)
				__builtin_prefetch((const char *)gt->sp + at);
	}
}

/* False: it was left alone, which takes no time. */
static bool look_at_chunk(const struct pass *pass)
{
	uint32_t *note = stack_chunk_note(sweep.arena, sweep.chunk);
	stack_id stacks[STACK_CHUNK_MAX];
	int64_t wait = pass->least;

	if (stack_chunk_sleeps(sweep.arena, sweep.chunk))
		return false;
	if (is_noted(*note, pass)) {
		sweep.awake += stack_chunk_slots(sweep.arena);
		return false;
	}
	unsigned count = stack_chunk_awake(sweep.arena, sweep.chunk, stacks);
	fetch_all(stacks, count, pass);
	for (unsigned i = 0; i < count; i++) {
		sweep.awake++;
		found.count += put_to_sleep(&found.sleepers[found.count], stacks[i], pass, &wait);
	}
	*note = note_of(pass->now + wait);
	return true;
}

static void hibernate_found(void)
{
	struct stack_sleeper *s = found.sleepers;

	if (found.count)
		stacks_hibernate(s, found.count);
	for (unsigned i = 0; trace_wants(hibernate) && i < found.count; i++)
		if (s[i].stack != STACK_NONE && stack_is_hibernated(s[i].stack))
			probe_hibernate(gt_handle(gt_at(stack_owner(s[i].stack))), s[i].sp,
			                stack_top(s[i].stack));
	found.count = 0;
}

/* ---- passes ------------------------------------------------------------------- */

/* Some chunks of one arena; true when the pass is complete. */
static bool sweep_next(const struct pass *pass)
{
	while (sweep.arena < STACK_CLASSES && sweep.chunk >= stack_chunks(sweep.arena)) {
		sweep.arena++;
		sweep.chunk = 0;
	}
	if (sweep.arena == STACK_CLASSES) {
		sweep.arena = 0;
		hibernate_tidy();
		return true;
	}
	uint32_t chunks = stack_chunks(sweep.arena);
	uint32_t end = chunks - sweep.chunk > SKIP_MAX ? sweep.chunk + SKIP_MAX : chunks;
	for (unsigned looked = 0; looked < STACK_CHUNKS_MAX && sweep.chunk < end; sweep.chunk++)
		looked += look_at_chunk(pass);
	hibernate_found();
	return false;
}

/* Four passes within the least patience. */
static int64_t next_pass(const struct pass *pass)
{
	int64_t least = atomic_load_explicit(&sweep.least_ns, memory_order_relaxed);
	int64_t wait = least / 4 / pass->hurry;

	return pass->now + (wait > PASS_NS_MIN ? wait : PASS_NS_MIN);
}

/* CPU time of the monitor: on a busy machine a pass takes longer by the clock, and is not
 * dearer for that. */
static int64_t spent(void)
{
	struct timespec t = { 0 };

	sys2(SYS_clock_gettime, CLOCK_THREAD_CPUTIME_ID, &t);
	return GREEN_S(t.tv_sec) + t.tv_nsec;
}

/* The pass is complete: when to begin another.  Looking at a million threads that work
 * takes tens of milliseconds.  Who has asked does not wait for another time what was
 * asked for. */
static int64_t pass_done(const struct pass *pass)
{
	int64_t next = next_pass(pass), rest = pass->now + (spent() - sweep.spent_ns) * SHARE;
	int64_t least = atomic_load_explicit(&sweep.least_ns, memory_order_relaxed);
	bool fruitful = (stacks_hibernations() - sweep.before) * SHARE > sweep.awake;

	sweep.going = false;
	sweep.noted_ns = sweep.least_began_ns;
	if (atomic_load_explicit(&sweep.asked, memory_order_relaxed) && rest - pass->now > least)
		rest = pass->now + least;
	return fruitful || pass->hurry > 1 || next > rest ? next : rest;
}

/* Threads that wait for a little longer than that, again and again, only lose by it.
 * Where nobody has asked for it, coming back takes 1 : SHARE of one CPU at most; else all
 * are given longer, and after a while a little less again. */
static void ease(int64_t now)
{
	uint64_t returns = stacks_hibernations() - stacks_hibernated();
	int64_t passed = now - sweep.counted_ns;

	if (options_hibernation_asked() || passed < rt.options.hibernate_after_ns)
		return;
	bool many = (int64_t)(returns - sweep.returns) * RETURN_NS * SHARE > passed;
	if (many || now - sweep.eased_ns > EASE_NS) {
		sweep.ease = many ? sweep.ease * 2 : sweep.ease / 2;
		sweep.ease = sweep.ease < 1 ? 1 : sweep.ease > EASE_MAX ? EASE_MAX : sweep.ease;
		sweep.eased_ns = now;
	}
	sweep.counted_ns = now;
	sweep.returns = returns;
}

/* What nobody has asked for must be worth it: a thousand stacks are some megabytes.  The
 * monitor comes by ten times a second all the same. */
static bool is_worth_it(void)
{
	sweep.going |= atomic_load_explicit(&sweep.asked, memory_order_relaxed) ||
	               stacks_hibernated() > 0 || stacks_used() >= STACKS_LEAST;
	return sweep.going;
}

/* Is it time for a slice?  *pass: what it shall go by. */
static bool is_time(struct pass *pass)
{
	bool refused = atomic_exchange_explicit(&sweep.refused, false, memory_order_relaxed);
	int64_t least = atomic_load_explicit(&sweep.least_ns, memory_order_relaxed);

	/* Somebody may have less patience than there was when the time was set. */
	if (least < sweep.paced_ns && sweep.next_ns > next_pass(pass))
		sweep.next_ns = next_pass(pass);
	sweep.paced_ns = least;
	if (pass->now < sweep.next_ns && !refused)
		return false;
	sweep.next_ns = pass->now;
	if (!sweep.arena && !sweep.chunk) {
		sweep.began_ns = pass->now;
		sweep.spent_ns = spent();
		sweep.awake = 0;
		sweep.least_began_ns = pass->least;
		sweep.before = stacks_hibernations();
		ease(pass->now);
	}
	if (refused || memory_is_short(pass->now))
		pass->hurry = HURRY;
	return true;
}

/* A pass that takes longer than the threads' patience falls behind those that
 * park: it goes on without a pause. */
static int64_t pause_of(const struct pass *pass)
{
	int64_t least = atomic_load_explicit(&sweep.least_ns, memory_order_relaxed);

	return pass->now - sweep.began_ns > least / pass->hurry ? 0 : PAUSE_NS;
}

int64_t sweep_some(int64_t now)
{
	struct pass pass = {
		.now = now,
		.hurry = 1,
		.least = atomic_load_explicit(&sweep.least_ns, memory_order_relaxed),
	};

	if (rt.options.hibernate_after_ns == GREEN_FOREVER || !hibernate_is_ready())
		return INT64_MAX;
	if (!is_worth_it())
		return INT64_MAX;
	if (!is_time(&pass))
		return sweep.next_ns;
	bool complete;
	do {
		hibernate_lock();
		complete = sweep_next(&pass);
		hibernate_unlock();
		now = sys.now();
	} while (!complete && now - pass.now < SLICE_NS);
	sweep.next_ns = complete ? pass_done(&pass) : now + pause_of(&pass);
	return sweep.next_ns;
}
