/* SPDX-License-Identifier: MIT
 *
 * Serial groups: members never run in parallel, so that code which is not
 * thread-safe needs no locks between switch points.
 */
#include "harness.h"

#define MEMBERS 24

static struct {
	volatile uint64_t plain; /* on purpose neither atomic nor locked */
	_Atomic int inside;
	_Atomic int worker;
} group_data;

static void *increment(void *arg)
{
	struct rng rng = rng_seed((uintptr_t)arg);

	for (unsigned i = 0; i < 400; i++) {
		CHECK_EQ(atomic_fetch_add(&group_data.inside, 1), 0);
		uint64_t seen = group_data.plain;
		for (uint64_t n = rng_below(&rng, 50); n > 0; n--)
			cpu_pause();
		group_data.plain = seen + 1;
		int none = -1, here = green_worker();
		CHECK(atomic_compare_exchange_strong(&group_data.worker, &none, here) ||
		      none == here);
		atomic_fetch_sub(&group_data.inside, 1);
		switch (rng_below(&rng, 3)) {
		case 0:
			green_yield();
			break;
		case 1:
			green_sleep((int64_t)rng_below(&rng, 2000));
			break;
		}
	}
	return NULL;
}

static void *noise(void *arg)
{
	for (int i = 0; i < 2000; i++)
		green_yield();
	return arg;
}

struct outsider {
	struct green_serial *group;
	green_t threads[MEMBERS / 2];
};

static void *spawn_members(void *arg)
{
	struct outsider *o = arg;
	struct green_attr attr = { .serial = o->group };

	for (uintptr_t i = 0; i < MEMBERS / 2; i++)
		o->threads[i] = start_with(&attr, increment, (void *)(100 + i));
	return NULL;
}

static void *members(void *arg)
{
	struct green_serial *group = green_serial_new();
	struct outsider *o = calloc(1, sizeof(*o));
	green_t threads[MEMBERS / 2], others[8];

	REQUIRE(group && o);
	group_data.plain = 0;
	atomic_store(&group_data.worker, -1);
	struct green_attr attr = { .serial = group };
	o->group = group;
	pthread_t os = start_os(spawn_members, o);
	for (uintptr_t i = 0; i < MEMBERS / 2; i++)
		threads[i] = start_with(&attr, increment, (void *)i);
	for (int i = 0; i < 8; i++)
		others[i] = start_migratable(noise, NULL);
	while (pthread_tryjoin_np(os, NULL) == EBUSY)
		green_sleep(GREEN_MS(1));
	green_serial_free(group); /* lives until its last member has ended */
	for (int i = 0; i < MEMBERS / 2; i++) {
		join_green(threads[i]);
		join_green(o->threads[i]);
	}
	for (int i = 0; i < 8; i++)
		join_green(others[i]);
	CHECK_EQ(group_data.plain, MEMBERS * 400);
	free(o);
	return arg;
}

TEST(never_in_parallel)
{
	struct green_options eight = { .workers = 8 };

	CHECK_EQ(run_green_with(&eight, members, NULL, NULL), 0);
}

GREEN_TEST(never_in_parallel_here)
{
	members(NULL);
}

/* Several groups run beside one another: else this does not end. */
static _Atomic uint64_t workers_seen;

static void *note_worker(void *arg)
{
	atomic_fetch_or(&workers_seen, (uint64_t)1 << green_worker());
	return arg;
}

static void *many_groups(void *arg)
{
	/* Idle workers are preferred: perhaps not to the one that runs this; and on a
	 * busy machine there may be but one of them for a while. */
	while (__builtin_popcountll(atomic_load(&workers_seen)) < 3) {
		struct green_serial *group = green_serial_new();
		struct green_attr attr = { .serial = group };
		REQUIRE(group != NULL);
		green_t a = start_with(&attr, note_worker, NULL);
		green_t b = start_with(&attr, note_worker, NULL);
		join_green(a);
		join_green(b);
		green_serial_free(group);
	}
	return arg;
}

TEST(groups_spread)
{
	struct green_options four = { .workers = 4 };

	CHECK_EQ(run_green_with(&four, many_groups, NULL, NULL), 0);
}

GREEN_TEST(freed_without_members)
{
	for (int i = 0; i < 100; i++)
		green_serial_free(green_serial_new());
	green_serial_free(NULL);
}
