/* SPDX-License-Identifier: MIT
 *
 * Deadline scopes and timers: nesting, the edges of time, many at once, and
 * that a timer that lost the race does nothing.
 */
#include "harness.h"

#include "worker.h"

#include <limits.h>

/* ---- scopes --------------------------------------------------------------------- */

static void nested_scopes(void)
{
	struct green_deadline outer, inner;

	/* The inner one is earlier. */
	green_deadline_begin(&outer, GREEN_S(1000));
	green_deadline_begin(&inner, GREEN_MS(1));
	CHECK_EQ(green_sleep(GREEN_S(500)), -ETIMEDOUT);
	CHECK(green_deadline_end(&inner));
	CHECK_EQ(green_sleep(1), 0);
	CHECK(!green_deadline_end(&outer));

	/* The outer one is. */
	green_deadline_begin(&outer, GREEN_MS(1));
	green_deadline_begin(&inner, GREEN_S(1000));
	CHECK_EQ(green_sleep(GREEN_S(500)), -ETIMEDOUT);
	CHECK(!green_deadline_end(&inner)); /* not this one's time */
	CHECK_EQ(green_sleep(GREEN_S(500)), -ETIMEDOUT);
	CHECK(green_deadline_end(&outer));
	CHECK_EQ(green_sleep(1), 0);
}

static void edges(void)
{
	static const int64_t passed[] = { 0, -1, INT32_MIN, INT64_MIN, INT64_MIN + 1 };
	static const int64_t never[] = { GREEN_FOREVER,     INT64_MAX - 1,      INT64_MAX / 2,
		                         INT32_MAX * 1000l, UINT32_MAX * 1000l, 1l << 62 };
	struct green_deadline scope;

	for (size_t i = 0; i < sizeof(passed) / sizeof(*passed); i++) {
		green_deadline_begin(&scope, passed[i]);
		CHECK_EQ(green_sleep(GREEN_S(1000)), -ETIMEDOUT);
		CHECK(green_deadline_end(&scope));
	}
	for (size_t i = 0; i < sizeof(never) / sizeof(*never); i++) {
		green_deadline_begin(&scope, never[i]);
		CHECK_EQ(green_sleep(1000), 0);
		CHECK(!green_deadline_end(&scope));
	}
}

static void sleep_against_scope(void)
{
	struct green_deadline scope;

	/* A sleep that is over first succeeds. */
	green_deadline_begin(&scope, GREEN_S(1000));
	CHECK_EQ(green_sleep(GREEN_US(100)), 0);
	CHECK(!green_deadline_end(&scope));
	green_deadline_begin(&scope, GREEN_US(100));
	CHECK_EQ(green_sleep(GREEN_S(1000)), -ETIMEDOUT);
	CHECK(green_deadline_end(&scope));
	/* Passed while nothing was waited for: it shows in the next wait. */
	green_deadline_begin(&scope, 1000);
	spin_for(GREEN_MS(1));
	CHECK_EQ(green_sleep(1), -ETIMEDOUT);
	CHECK(green_deadline_end(&scope));
}

GREEN_TEST(scopes_in_green_threads)
{
	nested_scopes();
	edges();
	sleep_against_scope();
	struct green_deadline scope;
	green_deadline_begin(&scope, 0);
	CHECK_EQ(green_yield(), -ETIMEDOUT);
	CHECK(green_deadline_end(&scope));
	CHECK_EQ(green_yield(), 0);
}

TEST(scopes_in_os_threads)
{
	nested_scopes();
	edges();
	sleep_against_scope();
	REQUIRE_EQ(green_init(NULL), 0);
	nested_scopes();
	edges();
	sleep_against_scope();
	CHECK_EQ(green_fini(), 0);
}

static __attribute__((noinline)) void scope_within_scope(int depth)
{
	struct green_deadline scope;

	green_deadline_begin(&scope, depth == 17 ? GREEN_MS(1) : GREEN_S(1000 + depth));
	if (depth < 30)
		scope_within_scope(depth + 1);
	else
		CHECK_EQ(green_sleep(GREEN_FOREVER), -ETIMEDOUT);
	CHECK_EQ(green_yield(), depth < 17 ? 0 : -ETIMEDOUT);
	CHECK_EQ(green_deadline_end(&scope), depth == 17);
	CHECK_EQ(green_yield(), depth <= 17 ? 0 : -ETIMEDOUT);
}

GREEN_TEST(thirty_scopes)
{
	scope_within_scope(0);
}

/* A scope is its thread's own: those it spawns have none. */
static void *no_scope(void *joined)
{
	CHECK_EQ(green_sem_wait(joined), 0);
	return NULL;
}

GREEN_TEST(scopes_are_not_inherited)
{
	struct green_deadline scope;
	struct green_shield shield;
	green_sem_t joined = { 0 };

	green_deadline_begin(&scope, 0);
	green_t t = start_green(no_scope, &joined);
	CHECK_EQ(green_join(t, NULL), -ETIMEDOUT);
	await_parked(t);
	CHECK_EQ(green_sem_post(&joined), 0);
	green_shield_begin(&shield);
	CHECK_EQ(green_join(t, NULL), 0);
	green_shield_end(&shield);
	CHECK(green_deadline_end(&scope));
}

/* ---- many timers -------------------------------------------------------------------- */

#define TIMERS 100000

static struct {
	_Atomic unsigned slept, cancelled, early;
} many;

static void *sleep_some(void *arg)
{
	struct rng rng = rng_seed((uintptr_t)arg);
	int64_t duration = (int64_t)rng_below(&rng, GREEN_MS(100)), begin = green_now();
	int r = green_sleep(duration);

	if (r == -ECANCELED)
		atomic_fetch_add(&many.cancelled, 1);
	else if (CHECK_EQ(r, 0))
		atomic_fetch_add(&many.slept, 1);
	if (r == 0 && green_now() - begin < duration)
		atomic_fetch_add(&many.early, 1);
	return NULL;
}

/* Half of them are cancelled in a race with their firing: each ends exactly once. */
GREEN_TEST(many_timers_half_cancelled)
{
	unsigned n = TIMERS;
#if defined(GREEN_TSAN)
	n = 3000; /* fibers are dear */
#elif defined(GREEN_ASAN)
	n = 20000;
#endif
	green_t *threads = calloc(n, sizeof(*threads));
	struct rng rng = rng_seed(5);

	for (unsigned i = 0; i < n; i++)
		threads[i] = start_green(sleep_some, (void *)(uintptr_t)i);
	for (unsigned i = 0; i < n; i++)
		if (rng_below(&rng, 2))
			CHECK_EQ(green_cancel(threads[i]), 0);
	for (unsigned i = 0; i < n; i++)
		join_green(threads[i]);
	CHECK_EQ(atomic_load(&many.slept) + atomic_load(&many.cancelled), n);
	CHECK_GT(atomic_load(&many.slept), 0);
	CHECK_GT(atomic_load(&many.cancelled), 0);
	CHECK_EQ(atomic_load(&many.early), 0);
	for (unsigned i = 0; i < rt.workers_count; i++)
		CHECK_EQ(worker_at(i)->timers.count, 0);
	free(threads);
}

/* ---- races ---------------------------------------------------------------------------- */

static struct {
	green_sem_t sem;
	_Atomic uint64_t got, timed_out, posted;
	_Atomic bool stop;
} race;

static void *wait_briefly(void *arg)
{
	struct rng rng = rng_seed((uintptr_t)arg);

	while (!atomic_load(&race.stop)) {
		struct green_deadline scope;
		green_deadline_begin(&scope, (int64_t)rng_below(&rng, 30000));
		int r = green_sem_wait(&race.sem);
		green_deadline_end(&scope);
		if (r == 0)
			atomic_fetch_add(&race.got, 1);
		else if (CHECK_EQ(r, -ETIMEDOUT))
			atomic_fetch_add(&race.timed_out, 1);
		/* With no deadline now: one that is left over must not end this. */
		if (rng_below(&rng, 4) == 0)
			CHECK_EQ(green_sleep(1000), 0);
		CHECK_EQ(green_yield(), 0);
	}
	return NULL;
}

static void *post(void *arg)
{
	struct rng rng = rng_seed((uintptr_t)arg);

	for (unsigned i = 0; i < scaled(4000); i++) {
		atomic_fetch_add(&race.posted, 1);
		CHECK_EQ(green_sem_post(&race.sem), 0);
		CHECK_EQ(green_sleep((int64_t)rng_below(&rng, 20000)), 0);
	}
	return NULL;
}

static void *deadline_race(void *arg)
{
	green_t waiters[8], posters[3];
	bool migratable = arg != NULL;

	memset(&race, 0, sizeof(race));
	for (uintptr_t i = 0; i < 8; i++)
		waiters[i] = migratable ? start_migratable(wait_briefly, (void *)i)
		                        : start_green(wait_briefly, (void *)i);
	for (uintptr_t i = 0; i < 3; i++)
		posters[i] = start_migratable(post, (void *)(100 + i));
	pthread_t os = start_os(post, (void *)200);
	for (int i = 0; i < 3; i++)
		join_green(posters[i]);
	while (pthread_tryjoin_np(os, NULL) == EBUSY)
		green_sleep(GREEN_MS(1));
	/* Nothing handed over is lost. */
	WAIT_FOR(atomic_load(&race.got) == atomic_load(&race.posted));
	atomic_store(&race.stop, true);
	for (int i = 0; i < 8; i++)
		join_green(waiters[i]);
	CHECK_EQ(green_sem_trywait(&race.sem), -EAGAIN);
	CHECK_GT(atomic_load(&race.timed_out), 0);
	return NULL;
}

TEST(deadline_races_with_wake)
{
	struct green_options four = { .workers = 4 };

	CHECK_EQ(run_green_with(&four, deadline_race, NULL, NULL), 0);
	CHECK_EQ(run_green_with(&four, deadline_race, (void *)1, NULL), 0);
}

/* No memory for one more timer: the wait says so, and nothing else breaks. */
static struct {
	_Atomic unsigned begun, refused;
} sleepers;

static void *sleeper(void *arg)
{
	atomic_fetch_add(&sleepers.begun, 1);
	int r = green_sleep(GREEN_S(1000));

	if (r == -ENOMEM)
		atomic_fetch_add(&sleepers.refused, 1);
	else
		CHECK_EQ(r, -ECANCELED);
	return arg;
}

static void *timers_without_memory(void *arg)
{
	enum { N = 5000 };
	green_t *threads = calloc(N, sizeof(*threads));

	for (int i = 0; i < N; i++)
		threads[i] = start_green(sleeper, NULL);
	while (atomic_load(&sleepers.begun) < N)
		green_yield();
	for (int i = 0; i < N; i++)
		green_cancel(threads[i]); /* those that have not ended */
	for (int i = 0; i < N; i++)
		join_green(threads[i]);
	CHECK_GT(atomic_load(&sleepers.refused), 0);
	CHECK_LT(atomic_load(&sleepers.refused), N);
	free(threads);
	return arg;
}

static void *timers_grow_fails(void *arg)
{
	fault_inject(SYS_mmap, 0, 0, ENOMEM);
	timers_without_memory(arg);
	fault_clear();
	return arg;
}

TEST(no_memory_for_timers)
{
	struct green_options one = { .workers = 1 };

#if defined(GREEN_TSAN)
	SKIP("needs 5,000 green threads at once");
#endif
	CHECK_EQ(run_green_with(&one, timers_grow_fails, NULL, NULL), 0);
}
