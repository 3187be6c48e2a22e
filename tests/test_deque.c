/* SPDX-License-Identifier: MIT
 *
 * The deque of never-run threads: order, growth, and that of an owner and
 * several thieves each item goes to exactly one.
 */
#include "harness.h"

#include "deque.h"

static const uint64_t starts[] = {
	0, 1, 1023, UINT64_MAX - 8, UINT64_MAX, (uint64_t)INT64_MAX - 3
};
#define STARTS (sizeof(starts) / sizeof(*starts))

static bool take(struct deque *d, uint32_t *value)
{
	bool raced;

	return deque_steal(d, value, &raced);
}

TEST(newest_to_owner_oldest_to_thief)
{
	for (size_t s = 0; s < STARTS; s++) {
		struct deque d;
		uint32_t value;
		REQUIRE_EQ(deque_init(&d, starts[s]), 0);
		CHECK(!deque_pop(&d, &value));
		CHECK(!take(&d, &value));
		for (uint32_t i = 1; i <= 20; i++)
			CHECK_EQ(deque_push(&d, i), 0);
		CHECK_EQ(deque_count(&d), 20);
		for (uint32_t i = 1; i <= 8; i++) {
			REQUIRE(take(&d, &value));
			CHECK_EQ(value, i);
			REQUIRE(deque_pop(&d, &value));
			CHECK_EQ(value, 21 - i);
		}
		CHECK_EQ(deque_count(&d), 4);
		while (deque_pop(&d, &value))
			;
		CHECK_EQ(deque_count(&d), 0);
		CHECK(!take(&d, &value));
		deque_destroy(&d);
	}
}

TEST(last_item_to_either)
{
	struct deque d;
	uint32_t value = 0;

	REQUIRE_EQ(deque_init(&d, UINT64_MAX - 1), 0);
	for (uint32_t i = 1; i < 100; i++) {
		CHECK_EQ(deque_push(&d, i), 0);
		CHECK(i % 2 ? deque_pop(&d, &value) : take(&d, &value));
		CHECK_EQ(value, i);
		CHECK(!deque_pop(&d, &value));
		CHECK(!take(&d, &value));
		CHECK_EQ(deque_count(&d), 0);
	}
	deque_destroy(&d);
}

TEST(grows)
{
	for (size_t s = 0; s < STARTS; s++) {
		const uint32_t n = 100000;
		struct deque d;
		uint32_t value;
		REQUIRE_EQ(deque_init(&d, starts[s]), 0);
		/* A hole at the top, so that growth moves what has wrapped. */
		for (uint32_t i = 0; i < 700; i++)
			deque_push(&d, 0);
		for (uint32_t i = 0; i < 700; i++)
			CHECK(take(&d, &value));
		for (uint32_t i = 1; i <= n; i++)
			CHECK_EQ(deque_push(&d, i), 0);
		CHECK_EQ(deque_count(&d), n);
		for (uint32_t i = 1; i <= n; i++)
			if (!CHECK(take(&d, &value)) || !CHECK_EQ(value, i))
				break;
		deque_destroy(&d);
	}
}

TEST(no_memory_to_grow)
{
	struct deque d;
	uint32_t value, pushed = 0;

	REQUIRE_EQ(deque_init(&d, 1), 0);
	fault_inject(SYS_mmap, 0, 0, ENOMEM);
	while (deque_push(&d, pushed + 1) == 0)
		pushed++;
	CHECK_GT(pushed, 100);
	CHECK_EQ(deque_push(&d, 7), -ENOMEM);
	CHECK_EQ(deque_count(&d), pushed);
	fault_clear();
	CHECK_EQ(deque_push(&d, ++pushed), 0);
	for (uint32_t i = 1; i <= pushed; i++)
		if (!CHECK(take(&d, &value)) || !CHECK_EQ(value, i))
			break;
	deque_destroy(&d);
	fault_inject(SYS_mmap, 0, 0, ENOMEM);
	CHECK_EQ(deque_init(&d, 1), -ENOMEM);
	fault_clear();
}

/* ---- litmus ----------------------------------------------------------------- */

#define THIEVES 3

static struct {
	struct deque d;
	_Atomic bool done;
	_Atomic uint8_t *taken; /* how often each item was */
	uint32_t items;
	_Atomic uint64_t sum;
	_Atomic uint64_t count;
} litmus;

static void account(uint32_t value, uint64_t *sum, uint64_t *count)
{
	CHECK_EQ(atomic_fetch_add_explicit(&litmus.taken[value], 1, memory_order_relaxed), 0);
	*sum += value;
	++*count;
}

static void *thief(void *arg)
{
	uint64_t sum = 0, count = 0;
	uint32_t value;
	bool raced;

	while (!atomic_load(&litmus.done) || deque_count(&litmus.d) > 0)
		if (deque_steal(&litmus.d, &value, &raced))
			account(value, &sum, &count);
	atomic_fetch_add(&litmus.sum, sum);
	atomic_fetch_add(&litmus.count, count);
	return arg;
}

/* depth: how many items the owner lets pile up; 1 fights for the last one. */
static void owner(unsigned depth, uint64_t start)
{
	uint64_t sum = 0, count = 0;
	pthread_t thieves[THIEVES];
	struct rng rng = rng_seed(depth + start);
	uint32_t value, next = 0;

	atomic_store(&litmus.done, false);
	atomic_store(&litmus.sum, 0);
	atomic_store(&litmus.count, 0);
	litmus.taken = calloc(litmus.items, 1);
	REQUIRE(litmus.taken != NULL);
	REQUIRE_EQ(deque_init(&litmus.d, start), 0);
	for (int i = 0; i < THIEVES; i++)
		thieves[i] = start_os(thief, NULL);
	while (next < litmus.items) {
		unsigned burst = 1 + (unsigned)rng_below(&rng, depth);
		for (unsigned i = 0; i < burst && next < litmus.items; i++)
			REQUIRE_EQ(deque_push(&litmus.d, next++), 0);
		unsigned pops = (unsigned)rng_below(&rng, burst + 2);
		for (unsigned i = 0; i < pops && deque_pop(&litmus.d, &value); i++)
			account(value, &sum, &count);
	}
	while (deque_pop(&litmus.d, &value))
		account(value, &sum, &count);
	atomic_store(&litmus.done, true);
	for (int i = 0; i < THIEVES; i++)
		join_os(thieves[i]);
	CHECK_EQ(atomic_load(&litmus.count) + count, litmus.items);
	CHECK_EQ(atomic_load(&litmus.sum) + sum, (uint64_t)litmus.items * (litmus.items - 1) / 2);
	deque_destroy(&litmus.d);
	free((void *)litmus.taken);
}

TEST(each_item_once)
{
	litmus.items = scaled(1000000);
	owner(1, UINT64_MAX - 8);
	owner(2, 0);
	owner(8, UINT64_MAX - 100000);
	owner(3000, UINT64_MAX - 8); /* grows while being robbed */
}
