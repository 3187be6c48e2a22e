/* SPDX-License-Identifier: MIT
 *
 * What tracers get: records say who waited where, for how long and who woke it, and
 * nothing is lost on the way to a flush.
 */
#include "harness.h"

#include "symbol.h"
#include "trace.h"
#include "worker.h"

#include <fcntl.h>

/* ---- attached ------------------------------------------------------------------ */

/* As the kernel does it when a tracer comes and goes. */
static void attach(uint16_t *semaphore, int change)
{
	__atomic_fetch_add(semaphore, (uint16_t)change, __ATOMIC_SEQ_CST);
}

/* Records of this worker since head was from; at most room of them. */
static unsigned records_since(uint64_t from, struct trace_record *to, unsigned room)
{
	struct trace_worker *t = &worker_self()->trace;
	uint64_t head = atomic_load(&t->head);
	unsigned n = 0;

	REQUIRE(t->records);
	for (uint64_t i = from; i < head && n < room; i++)
		to[n++] = t->records[i % trace_info.ring];
	return n;
}

static uint64_t head_now(void)
{
	return atomic_load(&worker_self()->trace.head);
}

static uint64_t flushed_now(void)
{
	return atomic_load(&worker_self()->trace.flushed);
}

static bool site_in(const struct trace_record *r, const char *function)
{
	struct symbols symbols;
	char name[64];

	symbols_begin(&symbols);
	symbol_name(&symbols, (const void *)(uintptr_t)(trace_site(r) - 1), name, sizeof(name));
	symbols_end(&symbols);
	return CHECK_STR(name, function);
}

static const struct green_options one_worker = { .workers = 1, .flight_records = 1024 };

/* ---- records ----------------------------------------------------------------------- */

static struct {
	green_sem_t ping, pong;
	unsigned rounds;
	green_t other;
} pair;

never_inline static void wait_here(green_sem_t *sem)
{
	CHECK_EQ(green_sem_wait(sem), 0);
	__asm__ volatile("" : : : "memory"); /* no tail call */
}

static void *answer(void *arg)
{
	for (unsigned i = 0; i < pair.rounds; i++) {
		wait_here(&pair.ping);
		green_sem_post(&pair.pong);
	}
	return arg;
}

static void play(unsigned rounds)
{
	pair.rounds = rounds;
	pair.other = start_green(answer, NULL);
	green_yield();
	for (unsigned i = 0; i < rounds; i++) {
		green_sem_post(&pair.ping);
		wait_here(&pair.pong);
	}
}

static void *each_wait_is_recorded(void *arg)
{
	struct trace_record r[512];
	uint64_t from = head_now(), before = trace_now();
	uint32_t self = (uint32_t)green_self(), other;

	play(100);
	other = (uint32_t)pair.other;
	unsigned n = records_since(from, r, 512), mine = 0, its = 0;
	CHECK_EQ(n, 200);
	for (unsigned i = 0; i < n; i++) {
		CHECK_EQ(trace_why(&r[i]), TRACE_SEM);
		CHECK_EQ(trace_flags(&r[i]) & TRACE_WAKE_MASK, TRACE_WAKE_PEER);
		CHECK_EQ(trace_flags(&r[i]) & (TRACE_MOVED | TRACE_OUTSIDE | TRACE_LONG), 0);
		CHECK_GE(r[i].away, r[i].ready);
		CHECK_GE(r[i].time, i ? r[i - 1].time : before);
		CHECK(r[i].thread == self || r[i].thread == other);
		mine += r[i].thread == self;
		its += r[i].thread == other;
		/* Each wakes the other. */
		CHECK_EQ(r[i].waker, (r[i].thread == self ? other : self) & GT_INDEX_MASK);
	}
	CHECK_LE(r[n - 1].time, trace_now());
	CHECK_EQ(mine, 100);
	CHECK_EQ(its, 100);
	site_in(&r[0], "wait_here");
	site_in(&r[n - 1], "wait_here");
	join_green(pair.other);
	return arg;
}

TEST(the_flight_recorder_has_each_wait)
{
	run_green_with(&one_worker, each_wait_is_recorded, NULL, NULL);
}

static void *full_batches(void *arg)
{
	uint64_t from = head_now();

	CHECK_EQ(from, flushed_now());
	attach(&trace_hot.sem.flush, 1);
	play(600);
	/* With the yield: what is left is less than a batch, and a batch ends at a
	 * multiple of its size (or the tick came, and took more). */
	CHECK_EQ(head_now() - from, 1201);
	CHECK_LT(head_now() - flushed_now(), TRACE_BATCH);
	CHECK_GE(flushed_now(), 2 * TRACE_BATCH);
	/* Nothing lies for long while the worker sleeps. */
	do {
		green_sleep(GREEN_MS(50));
	} while (head_now() - flushed_now() > 1); /* this sleep's own */
	attach(&trace_hot.sem.flush, -1);
	uint64_t flushed = flushed_now();
	play(600);
	CHECK_EQ(flushed_now(), flushed);
	return join_green(pair.other), arg;
}

TEST(batches_are_handed_on_while_somebody_is_attached)
{
	static const struct green_options options = { .workers = 1,
		                                      .flight_records = GREEN_FLIGHT_OFF };

	run_green_with(&options, full_batches, NULL, NULL);
}

static void *yield_often(void *arg)
{
	for (int i = 0; i < 10; i++)
		green_yield();
	return arg;
}

static void *yields(void *arg)
{
	struct trace_record r[64];
	uint64_t from = head_now();
	green_t t = start_green(yield_often, NULL);

	yield_often(NULL);
	CHECK_EQ(head_now(), from);
	join_green(t);
	from = head_now();
	attach(&trace_hot.sem.flush, 1);
	t = start_green(yield_often, NULL);
	for (int i = 0; i < 10; i++)
		green_yield();
	attach(&trace_hot.sem.flush, -1);
	unsigned n = records_since(from, r, 64);
	CHECK_GE(n, 18);
	for (unsigned i = 0; i < n; i++) {
		CHECK_EQ(trace_why(&r[i]), TRACE_YIELD);
		CHECK_EQ(trace_flags(&r[i]) & TRACE_WAKE_MASK, TRACE_WAKE_NONE);
		CHECK_EQ(r[i].ready, r[i].away);
		CHECK_EQ(r[i].waker, 0);
	}
	/* With nobody else to run, a yield gives up nothing. */
	join_green(t);
	attach(&trace_hot.sem.flush, 1);
	from = head_now();
	green_yield();
	CHECK_EQ(head_now(), from);
	attach(&trace_hot.sem.flush, -1);
	return arg;
}

TEST(yields_are_recorded_for_tracers_only)
{
	run_green_with(&one_worker, yields, NULL, NULL);
}

static void *nothing_kept(void *arg)
{
	play(10);
	CHECK_EQ(head_now(), 0);
	return join_green(pair.other), arg;
}

TEST(without_flight_recorder_and_tracer_nothing_is_recorded)
{
	static const struct green_options options = { .workers = 1,
		                                      .flight_records = GREEN_FLIGHT_OFF };

	run_green_with(&options, nothing_kept, NULL, NULL);
}

static void *a_sleep(void *arg)
{
	struct trace_record r[8];
	uint64_t from = head_now();

	attach(&trace_hot.sem.flush, 1);
	int64_t before = green_now();
	CHECK_EQ(green_sleep(GREEN_MS(20)), 0);
	int64_t took = green_now() - before;
	attach(&trace_hot.sem.flush, -1);
	REQUIRE_EQ(records_since(from, r, 8), 1);
	struct trace_line line = trace_line();
	int64_t away = trace_ns(&line, trace_ticks(&r[0], r[0].away));
	/* Between the sleep and what it took, by another clock: within a hundredth. */
	CHECK_GE(away, GREEN_MS(20) - GREEN_US(400));
	CHECK_LE(away, took + took / 100);
	CHECK_EQ(trace_why(&r[0]), TRACE_SLEEP);
	CHECK_EQ(trace_flags(&r[0]) & TRACE_WAKE_MASK, TRACE_WAKE_TIMEOUT);
	CHECK_EQ(r[0].waker, 0);
	return arg;
}

TEST(a_sleep_takes_as_long_as_it_takes)
{
	run_green_with(&one_worker, a_sleep, NULL, NULL);
}

static void *post_from_outside(void *thread)
{
	await_parked(*(green_t *)thread);
	green_sem_post(&pair.pong);
	return NULL;
}

static void *an_os_thread_wakes(void *arg)
{
	struct trace_record r[8];
	uint64_t from = head_now();
	green_t self = green_self();
	pthread_t os = start_os(post_from_outside, &self);

	wait_here(&pair.pong);
	REQUIRE_GE(records_since(from, r, 8), 1);
	CHECK_EQ(trace_flags(&r[0]) & TRACE_OUTSIDE, TRACE_OUTSIDE);
	CHECK_EQ(r[0].waker, 0);
	join_os(os);
	return arg;
}

TEST(woken_by_an_os_thread)
{
	run_green_with(&one_worker, an_os_thread_wakes, NULL, NULL);
}

static _Atomic int io_ends[2];

static void *write_late(void *arg)
{
	CHECK_EQ(green_write(io_ends[1], "x", 1), 1);
	return arg;
}

never_inline static void read_here(int fd)
{
	char c;

	CHECK_EQ(green_read(fd, &c, 1), 1);
	__asm__ volatile("" : : : "memory");
}

static void *a_read(void *arg)
{
	struct trace_record r[8];
	int ends[2];

	REQUIRE_EQ(pipe2(ends, O_CLOEXEC), 0);
	io_ends[1] = ends[1];
	uint64_t from = head_now();
	green_t t = start_green(write_late, NULL);
	read_here(ends[0]);
	REQUIRE_GE(records_since(from, r, 8), 1);
	CHECK_EQ(trace_why(&r[0]), TRACE_IO);
	site_in(&r[0], "read_here");
	join_green(t);
	close(ends[0]);
	close(ends[1]);
	return arg;
}

TEST(a_read_is_recorded_at_the_callers_line)
{
	run_green_with(&one_worker, a_read, NULL, NULL);
}

static unsigned sites_seen(void)
{
	const uint64_t *seen = worker_self()->trace.seen;
	unsigned n = 0;

	for (unsigned i = 0; i < 1024; i++)
		n += seen[i] != 0;
	return n;
}

/* A place that more than one function waits by. */
never_inline static void wait_shallow(void)
{
	green_yield();
	__asm__ volatile("" : : : "memory");
}

never_inline static void wait_deep(void)
{
	volatile char room[512];

	room[0] = 0;
	wait_shallow();
	__asm__ volatile("" : : "r"(room) : "memory");
}

static void *stacks_by_depth(void *arg)
{
	trace_stacks_ns = INT64_MAX;
	attach(&trace_hot.sem.stack, 1);
	wait_shallow();
	unsigned before = sites_seen();
	wait_shallow();
	CHECK_EQ(sites_seen(), before);
	wait_deep();
	CHECK_EQ(sites_seen(), before + 1);
	wait_deep();
	CHECK_EQ(sites_seen(), before + 1);
	attach(&trace_hot.sem.stack, -1);
	return arg;
}

TEST(a_place_is_shown_by_each_way_to_it)
{
	run_green_with(&one_worker, stacks_by_depth, NULL, NULL);
}

static void *stacks_once(void *arg)
{
	trace_stacks_ns = INT64_MAX;
	attach(&trace_hot.sem.stack, 1);
	play(50); /* one yield, and one place that waits */
	join_green(pair.other);
	CHECK(worker_self()->trace.stacks_on);
	CHECK_GE(sites_seen(), 2);
	unsigned before = sites_seen();
	play(50);
	join_green(pair.other);
	CHECK_LE(sites_seen(), before + 2); /* another call of play(), another join */
	attach(&trace_hot.sem.stack, -1);
	/* Forgotten at the next look around: who attaches then sees them anew. */
	WAIT_FOR(!worker_self()->trace.stacks_on);
	attach(&trace_hot.sem.stack, 1);
	play(1);
	CHECK_LE(sites_seen(), 3); /* answer() and play() are two ways to one place */
	attach(&trace_hot.sem.stack, -1);
	return join_green(pair.other), arg;
}

TEST(each_place_shows_its_stack_once)
{
	run_green_with(&one_worker, stacks_once, NULL, NULL);
}

/* A second tracer comes to a semaphore that is above zero already. */
static void *stacks_again(void *arg)
{
	attach(&trace_hot.sem.stack, 1);
	play(50);
	join_green(pair.other);
	unsigned before = sites_seen();
	CHECK_GE(before, 2);
	trace_stacks_ns = GREEN_MS(20);
	green_sleep(GREEN_MS(30));
	wait_shallow();
	CHECK_LT(sites_seen(), before);
	CHECK_GE(sites_seen(), 1);
	attach(&trace_hot.sem.stack, -1);
	return arg;
}

TEST(stacks_are_shown_again_after_a_while)
{
	run_green_with(&one_worker, stacks_again, NULL, NULL);
}

/* ---- two workers -------------------------------------------------------------------- */

static void *migrants(void *arg)
{
	play(2000);
	return join_green(pair.other), arg;
}

static void *migrants_meet(void *arg)
{
	struct green_attr attr = { .migratable = true };

	attach(&trace_hot.sem.flush, 1);
	attach(&trace_hot.sem.resume, 1);
	attach(&trace_hot.sem.stack, 1);
	attach(&trace_hot.sem.enter, 1);
	join_green(start_with(&attr, migrants, NULL));
	CHECK_NE(head_now(), 0);
	attach(&trace_hot.sem.flush, -1);
	attach(&trace_hot.sem.resume, -1);
	attach(&trace_hot.sem.stack, -1);
	attach(&trace_hot.sem.enter, -1);
	CHECK_EQ(trace_attached(), 0);
	return arg;
}

TEST(all_is_recorded_of_those_that_move)
{
	static const struct green_options options = { .workers = 2 };

	run_green_with(&options, migrants_meet, NULL, NULL);
}

/* ---- the clock ---------------------------------------------------------------------- */

/* As a reader in another process: the monitor writes meanwhile. */
__attribute__((no_sanitize("thread"), noinline)) static struct trace_moment last_moment(void)
{
	const volatile struct trace_moment *last = &trace_info.last;

	return (struct trace_moment){ .ticks = last->ticks, .ns = last->ns };
}

static void *moments(void *arg)
{
	struct trace_moment first = last_moment();

	WAIT_FOR(__atomic_load_n(&trace_info.moment_seq, __ATOMIC_ACQUIRE) >= 2);
	CHECK_GT(last_moment().ns, first.ns);
	CHECK_GT(last_moment().ticks, first.ticks);
	return arg;
}

TEST(readers_can_tell_the_time)
{
	run_green_with(&one_worker, moments, NULL, NULL);
}
