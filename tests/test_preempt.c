/* SPDX-License-Identifier: MIT
 *
 * Threads that only compute and are made to give way: each has its turns, on one worker and
 * on two, and none moves that need not.
 */
#include "harness.h"

#include "scheduler.h"

#include <string.h>

#define THREADS_MAX 9
#define TURNS 6

/* Nothing here depends on how long a turn is: threads compute until the others have had
 * theirs. */
static struct {
	unsigned threads;
	_Atomic unsigned begun, done;
	_Atomic uint64_t turns[THREADS_MAX], beats[2];
	_Atomic bool stop;
} hogs;

static void use_fresh_hogs(unsigned threads)
{
	memset(&hogs, 0, sizeof(hogs));
	hogs.threads = threads;
}

static void *run_hogs(green_fn fn)
{
	green_t threads[THREADS_MAX];

	for (uintptr_t i = 0; i < hogs.threads; i++)
		threads[i] = start_migratable(fn, (void *)i);
	for (unsigned i = 0; i < hogs.threads; i++)
		join_green(threads[i]);
	return NULL;
}

/* ---- one worker ------------------------------------------------------------------ */

static void *give_way(void *arg)
{
	_Atomic uint64_t *turns = &hogs.turns[(uintptr_t)arg];

	atomic_fetch_add(&hogs.begun, 1);
	while (atomic_load(&hogs.begun) < hogs.threads)
		sched_preempted(worker_self());
	while (!atomic_load(&hogs.stop)) {
		if (atomic_fetch_add(turns, 1) == 1000)
			atomic_store(&hogs.stop, true);
		sched_preempted(worker_self());
	}
	return NULL;
}

/* The last may not leave its worker, as a program's first thread under greenrun. */
static void *take_turns(void *arg)
{
	green_t threads[THREADS_MAX];
	uint64_t most = 0, least = UINT64_MAX;

	for (uintptr_t i = 0; i < hogs.threads; i++)
		threads[i] = i + 1 < hogs.threads ? start_migratable(give_way, (void *)i)
		                                  : start_green(give_way, (void *)i);
	for (unsigned i = 0; i < hogs.threads; i++) {
		uint64_t turns;
		join_green(threads[i]);
		turns = atomic_load(&hogs.turns[i]);
		most = turns > most ? turns : most;
		least = turns < least ? turns : least;
	}
	CHECK_LE(most - least, 2);
	return arg;
}

TEST(turns_are_equal_on_one_worker)
{
	struct green_options one = { .workers = 1 };

	for (unsigned threads = 3; threads <= THREADS_MAX; threads += 3) {
		use_fresh_hogs(threads);
		CHECK_EQ(run_green_with(&one, take_turns, NULL, NULL), 0);
	}
}

/* ---- two workers ----------------------------------------------------------------- */

/* In the place of interception, which would interrupt the thread. */
static void ask(struct worker *w)
{
	atomic_store(&w->preempt, 1);
}

/* True if the caller has had to give way. */
static bool asked(void)
{
	struct worker *w = worker_self();

	cpu_pause();
	if (!atomic_load(&w->preempt) || !atomic_exchange(&w->preempt, 0))
		return false;
	sched_preempted(w);
	return true;
}

/* Until all have given way some times. */
static void *compute(void *arg)
{
	uintptr_t own = (uintptr_t)arg;

	while (atomic_load(&hogs.done) < hogs.threads)
		if (asked() && atomic_fetch_add(&hogs.turns[own], 1) == TURNS)
			atomic_fetch_add(&hogs.done, 1);
	return NULL;
}

static void *all_give_way(void *unused)
{
	(void)unused;
	return run_hogs(compute);
}

/* None has a worker to itself while others share one. */
TEST(turns_come_to_all_on_two_workers)
{
	struct green_options two = { .workers = 2 };
	static const unsigned counts[] = { 3, 4, 5, 9 };

	monitor_preempt = ask;
	for (unsigned i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
		use_fresh_hogs(counts[i]);
		CHECK_EQ(run_green_with(&two, all_give_way, NULL, NULL), 0);
	}
	monitor_preempt = NULL;
}

/* Both have run at the same time once the other's beats have been seen without an end of the
 * own turn. */
static void *stay(void *arg)
{
	uintptr_t own = (uintptr_t)arg;
	uint64_t before = 0;

	for (unsigned seen = 0; seen < 2;) {
		uint64_t beats = atomic_load(&hogs.beats[!own]);
		atomic_fetch_add(&hogs.beats[own], 1);
		seen += beats != before;
		before = beats;
		if (asked())
			seen = 0;
	}
	int worker = green_worker();
	for (int64_t end = green_now() + GREEN_MS(100); green_now() < end;) {
		atomic_fetch_add(&hogs.beats[own], 1);
		asked();
		CHECK_EQ(green_worker(), worker);
	}
	return NULL;
}

static void *both_stay(void *unused)
{
	(void)unused;
	return run_hogs(stay);
}

TEST(one_thread_a_worker_stays)
{
	struct green_options two = { .workers = 2 };

	monitor_preempt = ask;
	use_fresh_hogs(2);
	CHECK_EQ(run_green_with(&two, both_stay, NULL, NULL), 0);
	monitor_preempt = NULL;
}
