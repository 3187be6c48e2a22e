/* SPDX-License-Identifier: MIT
 *
 * When a thief takes work, and when it rests.
 */
#include "harness.h"

#include "scheduler.h"

#include <stdlib.h>
#include <string.h>

#define LONG_NS 1000000 /* loot that was worth it, by any standard */

/* How long a worker rests after loot that has kept it busy for so long. */
static int64_t rest_after(struct worker *w, int64_t busy_ns, bool victim_went_on)
{
	int64_t now = atomic_load(&w->now);

	w->stole_at = now;
	w->stole_from = 0;
	w->victim_progress = atomic_load(&worker_at(0)->switches) +
	                     atomic_load(&worker_at(0)->spawned) - victim_went_on;
	atomic_store(&w->now, now + busy_ns);
	steal_judge(w);
	CHECK_EQ(w->stole_at, 0);
	CHECK_EQ(w->rests_until, now + busy_ns + w->rest_ns);
	return w->rest_ns;
}

/* On one worker, which neither switches nor spawns meanwhile. */
static void *rests(void *unused)
{
	struct worker *w = aligned_alloc(_Alignof(struct worker), sizeof(*w));
	int64_t last = 0, rest;

	(void)unused;
	REQUIRE(w);
	memset(w, 0, sizeof(*w));
	atomic_store(&w->now, 1000000000);
	steal_judge(w); /* nothing stolen: nothing to judge */
	CHECK_EQ(w->rests_until, 0);
	CHECK_EQ(rest_after(w, LONG_NS, true), 0);
	for (int i = 0; (rest = rest_after(w, 1, true)) > last; i++) {
		CHECK(last == 0 || rest == 2 * last);
		REQUIRE(i < 20);
		last = rest;
	}
	CHECK_EQ(rest, last); /* as long as it gets */
	CHECK_LE(last, 100000);
	CHECK_EQ(rest_after(w, LONG_NS, true), 0);
	rest = rest_after(w, 1, true);
	CHECK(rest > 0 && rest < last);
	CHECK_EQ(rest_after(w, 1, false), 0); /* its victim is at something long */
	free(w);
	return NULL;
}

TEST(rests_grow_while_theft_does_not_pay)
{
	struct green_options one = { .workers = 1 };

	CHECK_EQ(run_green_with(&one, rests, NULL, NULL), 0);
}

static void *nothing(void *arg)
{
	return arg;
}

static void *set_flag(void *arg)
{
	atomic_store((_Atomic bool *)arg, true);
	return NULL;
}

/* A thief that has found nothing but crumbs comes all the same when the one who
 * made them is busy: nothing else would ever start the thread. */
static void *crumbs_then_a_long_one(void *unused)
{
	(void)unused;
	for (int round = 0; round < 50; round++) {
		_Atomic bool *flag = calloc(1, sizeof(*flag));

		REQUIRE(flag != NULL);
		for (int i = 0; i < 2000; i++)
			CHECK_EQ(green_go(nothing, NULL), 0);
		green_yield();
		CHECK_EQ(green_go(set_flag, (void *)flag), 0);
		while (!atomic_load(flag))
			cpu_pause();
		free((void *)flag);
	}
	return NULL;
}

TEST(resting_thief_comes_back)
{
	struct green_options two = { .workers = 2 };

	CHECK_EQ(run_green_with(&two, crumbs_then_a_long_one, NULL, NULL), 0);
}
