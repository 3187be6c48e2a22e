/* SPDX-License-Identifier: MIT
 *
 * The futex table of interception: who is woken by address and bits, how many, what a
 * wait says that was not woken, requeueing; and that nobody is lost in a storm.
 */
#include "harness.h"

#include "intercept/futex.h"
#include "intercept/thread.h"

#include <linux/futex.h>
#include <sched.h>

#define ALL FUTEX_BITSET_MATCH_ANY

static uint32_t words[4];
static _Atomic int woken;

struct wait {
	uint32_t *word;
	uint32_t bits;
	int64_t deadline_ns;
	long result;
};

static void *waits(void *arg)
{
	struct wait *w = arg;

	w->result = futex_wait(w->word, 0, w->bits, w->deadline_ns, NULL);
	atomic_fetch_add(&woken, 1);
	return NULL;
}

/* Green threads that wait, each parked when this returns. */
static void start(struct wait *w, green_t *t, int count)
{
	static const struct green_attr attr = { .migratable = true };

	for (int i = 0; i < count; i++)
		REQUIRE_EQ(green_spawn(&t[i], &attr, waits, &w[i]), 0);
	for (int i = 0; i < count; i++)
		await_parked(t[i]);
}

static void join(const green_t *t, int count)
{
	for (int i = 0; i < count; i++)
		CHECK_EQ(green_join(t[i], NULL), 0);
}

static struct wait wait_at(uint32_t *word, uint32_t bits)
{
	return (struct wait){
		.word = word, .bits = bits, .deadline_ns = GREEN_FOREVER, .result = 1
	};
}

GREEN_TEST(wakes_so_many_at_that_address)
{
	struct wait w[5];
	green_t t[5];

	REQUIRE_EQ(threads_init(), 0);
	for (int i = 0; i < 5; i++)
		w[i] = wait_at(&words[i == 4], ALL);
	start(w, t, 5);
	CHECK_EQ(futex_wake(&words[2], 9, ALL, false), 0);
	CHECK_EQ(futex_wake(&words[0], 1, ALL, false), 1);
	CHECK_EQ(futex_wake(&words[0], 9, ALL, false), 3);
	CHECK_EQ(futex_wake(&words[0], 9, ALL, false), 0);
	CHECK_EQ(futex_wake(&words[1], 9, ALL, false), 1);
	join(t, 5);
	for (int i = 0; i < 5; i++)
		CHECK_EQ(w[i].result, 0);
}

GREEN_TEST(wakes_by_bits)
{
	struct wait w[2] = { wait_at(&words[0], 1), wait_at(&words[0], 2) };
	green_t t[2];

	REQUIRE_EQ(threads_init(), 0);
	start(w, t, 2);
	CHECK_EQ(futex_wake(&words[0], 9, 4, false), 0);
	CHECK_EQ(futex_wake(&words[0], 9, 2, false), 1);
	CHECK_EQ(green_join(t[1], NULL), 0);
	CHECK_EQ(atomic_load(&woken), 1);
	CHECK_EQ(futex_wake(&words[0], 9, 7, false), 1);
	join(t, 1);
}

GREEN_TEST(does_not_wait)
{
	uint32_t word = 7;

	REQUIRE_EQ(threads_init(), 0);
	CHECK_EQ(futex_wait(&word, 8, ALL, GREEN_FOREVER, NULL), -EAGAIN);
	CHECK_EQ(futex_wait(&word, 7, ALL, green_now() + GREEN_MS(20), NULL), -ETIMEDOUT);
	/* And is in no list any more. */
	CHECK_EQ(futex_wake(&word, 9, ALL, false), 0);
}

GREEN_TEST(requeues)
{
	struct wait w[4];
	green_t t[4];
	uint32_t expected = 1;

	REQUIRE_EQ(threads_init(), 0);
	for (int i = 0; i < 4; i++)
		w[i] = wait_at(&words[0], ALL);
	start(w, t, 4);
	CHECK_EQ(futex_requeue(&words[0], &words[1], 1, 2, &expected), -EAGAIN);
	expected = 0;
	CHECK_EQ(futex_requeue(&words[0], &words[1], 1, 2, &expected), 3);
	CHECK_EQ(futex_wake(&words[0], 9, ALL, false), 1);
	CHECK_EQ(futex_wake(&words[1], 9, ALL, false), 2);
	join(t, 4);
}

/* Out of time after it has been moved: it must find the list that it is in. */
GREEN_TEST(times_out_where_it_was_moved)
{
	struct wait w = wait_at(&words[0], ALL);
	green_t t;
	long moved = 0;

	REQUIRE_EQ(threads_init(), 0);
	/* Until it has been moved before it was out of time. */
	for (int64_t limit = GREEN_MS(50); !moved; limit *= 2) {
		int before = atomic_load(&woken);
		w.deadline_ns = green_now() + limit;
		REQUIRE_EQ(green_spawn(&t, NULL, waits, &w), 0);
		WAIT_FOR((moved = futex_requeue(&words[0], &words[1], 0, 1, NULL)) ||
		         atomic_load(&woken) > before);
		join(&t, 1);
		CHECK_EQ(w.result, -ETIMEDOUT);
	}
	CHECK_EQ(moved, 1);
	CHECK_EQ(futex_wake(&words[1], 9, ALL, false), 0);
}

static void *waits_for_any(void *result)
{
	struct futex_wait records[3];
	struct futex_waitv at[3];

	for (int i = 0; i < 3; i++)
		at[i] = (struct futex_waitv){ .uaddr = (uintptr_t)&words[i], .flags = FUTEX_32 };
	*(long *)result = futex_wait_any(records, at, 3, GREEN_FOREVER, NULL);
	return NULL;
}

GREEN_TEST(waits_for_any_of_several)
{
	green_t t;
	long result = -1;

	REQUIRE_EQ(threads_init(), 0);
	REQUIRE_EQ(green_spawn(&t, NULL, waits_for_any, &result), 0);
	await_parked(t);
	CHECK_EQ(futex_wake(&words[1], 9, ALL, false), 1);
	join(&t, 1);
	CHECK_EQ(result, 1);
	for (int i = 0; i < 3; i++)
		CHECK_EQ(futex_wake(&words[i], 9, ALL, false), 0);
}

/* ---- a storm ---------------------------------------------------------------------- */

#define STORM_THREADS 16
#define STORM_ROUNDS 2000

static struct {
	_Atomic uint32_t word; /* 0 free, 1 held, 2 held and somebody waits */
	long count;            /* guarded by it */
} lock;

static void storm_lock(void)
{
	uint32_t none = 0;

	if (atomic_compare_exchange_strong(&lock.word, &none, 1))
		return;
	while (atomic_exchange(&lock.word, 2) != 0)
		futex_wait((const void *)&lock.word, 2, ALL, GREEN_FOREVER, NULL);
}

static void *storms(void *unused)
{
	(void)unused;
	for (int i = 0; i < STORM_ROUNDS; i++) {
		storm_lock();
		lock.count++;
		if (i % 16 == 0)
			green_yield();
		if (atomic_exchange(&lock.word, 0) == 2)
			futex_wake((const void *)&lock.word, 1, ALL, false);
	}
	return NULL;
}

GREEN_TEST(a_lock_made_of_it_loses_nobody)
{
	static const struct green_attr attr = { .migratable = true };
	green_t t[STORM_THREADS];

	REQUIRE_EQ(threads_init(), 0);
	for (int i = 0; i < STORM_THREADS; i++)
		REQUIRE_EQ(green_spawn(&t[i], &attr, storms, NULL), 0);
	join(t, STORM_THREADS);
	CHECK_EQ(lock.count, (long)STORM_THREADS * STORM_ROUNDS);
}
