/* SPDX-License-Identifier: MIT
 *
 * The bounded FIFO of migratable threads: order, bounds, steal-half, and that
 * each item goes to exactly one taker.
 */
#include "harness.h"

#include "ring.h"

static const uint32_t starts[] = { 0, 1, RING_SIZE - 1, UINT32_MAX - 8, UINT32_MAX, INT32_MAX };
#define STARTS (sizeof(starts) / sizeof(*starts))

TEST(first_in_first_out)
{
	for (size_t s = 0; s < STARTS; s++) {
		struct ring r;
		uint32_t value, in = 0, out = 0;
		ring_init(&r, starts[s]);
		CHECK(!ring_pop(&r, &value));
		while (in < 1000) {
			CHECK(ring_push(&r, in++));
			CHECK(ring_push(&r, in++));
			REQUIRE(ring_pop(&r, &value));
			CHECK_EQ(value, out++);
			if (ring_count(&r) > 200)
				while (ring_pop(&r, &value))
					CHECK_EQ(value, out++);
		}
		while (ring_pop(&r, &value))
			CHECK_EQ(value, out++);
		CHECK_EQ(out, in);
	}
}

TEST(full)
{
	for (size_t s = 0; s < STARTS; s++) {
		struct ring r;
		uint32_t value;
		ring_init(&r, starts[s]);
		for (uint32_t i = 0; i < RING_SIZE; i++)
			CHECK(ring_push(&r, i));
		CHECK_EQ(ring_count(&r), RING_SIZE);
		CHECK(!ring_push(&r, 1));
		CHECK(ring_pop(&r, &value) && value == 0);
		CHECK(ring_push(&r, RING_SIZE));
		CHECK(!ring_push(&r, 1));
		for (uint32_t i = 1; i <= RING_SIZE; i++)
			CHECK(ring_pop(&r, &value) && value == i);
	}
}

TEST(half)
{
	for (size_t s = 0; s < STARTS; s++)
		for (uint32_t n = 0; n <= RING_SIZE; n++) {
			uint32_t taken[RING_SIZE / 2], value;
			struct ring r;
			ring_init(&r, starts[s]);
			for (uint32_t i = 0; i < n; i++)
				ring_push(&r, i);
			unsigned got = ring_steal_half(&r, taken);
			CHECK_EQ(got, n - n / 2);
			for (uint32_t i = 0; i < got; i++)
				CHECK_EQ(taken[i], i);
			for (uint32_t i = got; i < n; i++)
				CHECK(ring_pop(&r, &value) && value == i);
			CHECK_EQ(ring_count(&r), 0);
		}
}

/* ---- litmus ----------------------------------------------------------------- */

#define THIEVES 3

static struct {
	struct ring r;
	_Atomic bool done;
	_Atomic uint8_t *taken;
	uint32_t items;
	_Atomic uint64_t sum, count;
} litmus;

static void account(uint32_t value, uint64_t *sum, uint64_t *count)
{
	CHECK_EQ(atomic_fetch_add_explicit(&litmus.taken[value], 1, memory_order_relaxed), 0);
	*sum += value;
	++*count;
}

static void *thief(void *arg)
{
	uint32_t values[RING_SIZE / 2];
	uint64_t sum = 0, count = 0;

	while (!atomic_load(&litmus.done) || ring_count(&litmus.r)) {
		unsigned n = ring_steal_half(&litmus.r, values);
		for (unsigned i = 0; i < n; i++)
			account(values[i], &sum, &count);
	}
	atomic_fetch_add(&litmus.sum, sum);
	atomic_fetch_add(&litmus.count, count);
	return arg;
}

static void owner(unsigned burst_max, uint32_t start)
{
	uint64_t sum = 0, count = 0;
	pthread_t thieves[THIEVES];
	struct rng rng = rng_seed(burst_max);
	uint32_t value, next = 0;

	atomic_store(&litmus.done, false);
	atomic_store(&litmus.sum, 0);
	atomic_store(&litmus.count, 0);
	litmus.taken = calloc(litmus.items, 1);
	REQUIRE(litmus.taken != NULL);
	ring_init(&litmus.r, start);
	for (int i = 0; i < THIEVES; i++)
		thieves[i] = start_os(thief, NULL);
	while (next < litmus.items) {
		unsigned burst = 1 + (unsigned)rng_below(&rng, burst_max);
		while (burst-- && next < litmus.items)
			if (ring_push(&litmus.r, next))
				next++;
			else if (ring_pop(&litmus.r, &value))
				account(value, &sum, &count);
		if (rng_below(&rng, 2) && ring_pop(&litmus.r, &value))
			account(value, &sum, &count);
	}
	while (ring_pop(&litmus.r, &value))
		account(value, &sum, &count);
	atomic_store(&litmus.done, true);
	for (int i = 0; i < THIEVES; i++)
		join_os(thieves[i]);
	CHECK_EQ(atomic_load(&litmus.count) + count, litmus.items);
	CHECK_EQ(atomic_load(&litmus.sum) + sum, (uint64_t)litmus.items * (litmus.items - 1) / 2);
	free((void *)litmus.taken);
}

TEST(each_item_once)
{
	litmus.items = scaled(1000000);
	owner(1, UINT32_MAX - 8);
	owner(4, UINT32_MAX - 100000);
	owner(RING_SIZE, UINT32_MAX - 8);
	owner(4 * RING_SIZE, 0);
}
