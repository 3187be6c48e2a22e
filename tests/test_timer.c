/* SPDX-License-Identifier: MIT
 *
 * The heap of deadlines against a plain model: order, removal, the edges of
 * time, no memory.
 */
#include "harness.h"

#include "timer.h"

#include <limits.h>

static struct timers timers;
static struct gt_cache cache;

static void begin(size_t threads)
{
	REQUIRE_EQ(gt_table_init(threads), 0);
	REQUIRE_EQ(timers_init(&timers), 0);
}

static struct park_ticket new_thread(void)
{
	struct gt *gt = gt_alloc(&cache);

	REQUIRE(gt != NULL);
	return (struct park_ticket){ gt, (uint64_t)1 << PARK_SEQ_SHIFT };
}

TEST(empty)
{
	struct timer due;

	begin(10);
	CHECK_EQ(atomic_load(&timers.first_ns), INT64_MAX);
	CHECK(!timers_due(&timers, INT64_MAX, &due));
	timers_remove(&timers, new_thread().gt); /* not armed: nothing */
	timers_destroy(&timers);
}

TEST(edges_of_time)
{
	static const int64_t edges[] = { INT64_MIN,
		                         -1,
		                         0,
		                         1,
		                         INT32_MAX - 1,
		                         INT32_MAX,
		                         INT32_MAX + 1l,
		                         UINT32_MAX,
		                         UINT32_MAX + 1l,
		                         INT64_MAX - 2,
		                         INT64_MAX - 1,
		                         INT64_MAX };
	const int n = sizeof(edges) / sizeof(*edges);
	struct timer due;

	begin(100);
	for (int i = 0; i < n; i++) /* 5 and 12 have no common divisor */
		CHECK_EQ(timers_add(&timers, edges[i * 5 % n], new_thread()), 0);
	for (int i = 0; i < n; i++) {
		CHECK_EQ(atomic_load(&timers.first_ns), edges[i]);
		if (edges[i] > INT64_MIN)
			CHECK(!timers_due(&timers, edges[i] - 1, &due));
		REQUIRE(timers_due(&timers, edges[i], &due));
		CHECK_EQ(due.deadline_ns, edges[i]);
	}
	CHECK(!timers_due(&timers, INT64_MAX, &due));
	timers_destroy(&timers);
}

TEST(entry_names_its_wait)
{
	struct timer due;

	begin(100);
	struct park_ticket ticket = new_thread();
	ticket.seq = (uint64_t)0x123456789abc << PARK_SEQ_SHIFT;
	CHECK_EQ(timers_add(&timers, 5, ticket), 0);
	CHECK_NE(atomic_load(&ticket.gt->timer_pos), 0);
	REQUIRE(timers_due(&timers, 5, &due));
	CHECK_EQ(due.gt, gt_index(ticket.gt));
	CHECK_EQ(due.seq, 0x56789abc);
	CHECK_EQ(atomic_load(&ticket.gt->timer_pos), 0);
	timers_destroy(&timers);
}

/* Places are where the threads say, and no child is earlier than its parent. */
static void audit(void)
{
	for (uint32_t i = 0; i < timers.count; i++) {
		CHECK_EQ(atomic_load(&gt_at(timers.heap[i].gt)->timer_pos), i + 1);
		if (i > 0)
			CHECK_LE(timers.heap[(i - 1) / 4].deadline_ns, timers.heap[i].deadline_ns);
	}
	CHECK_EQ(atomic_load(&timers.first_ns),
	         timers.count ? timers.heap[0].deadline_ns : INT64_MAX);
}

static int by_value(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return (x > y) - (x < y);
}

/* 100,000 armed, half of them taken out in random order, the rest in order. */
TEST(half_cancelled)
{
	const unsigned n = scaled(100000);
	struct park_ticket *tickets = calloc(n, sizeof(*tickets));
	int64_t *left = calloc(n, sizeof(*left));
	struct rng rng = rng_seed(1);
	struct timer due;
	unsigned kept = 0;

	begin(n);
	for (unsigned i = 0; i < n; i++) {
		tickets[i] = new_thread();
		int64_t deadline = (int64_t)rng_below(&rng, n / 2); /* many equal ones */
		CHECK_EQ(timers_add(&timers, deadline, tickets[i]), 0);
		if (i % 2)
			left[kept++] = deadline;
	}
	audit();
	for (unsigned i = 0; i < n; i += 2)
		timers_remove(&timers, tickets[i].gt);
	audit();
	CHECK_EQ(timers.count, kept);
	qsort(left, kept, sizeof(*left), by_value);
	for (unsigned i = 0; i < kept; i++)
		if (!CHECK(timers_due(&timers, INT64_MAX, &due)) ||
		    !CHECK_EQ(due.deadline_ns, left[i]))
			break;
	CHECK_EQ(timers.count, 0);
	timers_destroy(&timers);
	free(tickets);
	free(left);
}

/* Random operations against an array. */
TEST(against_a_model)
{
	enum { THREADS = 300 };
	struct park_ticket tickets[THREADS];
	int64_t armed[THREADS]; /* -1: not */
	struct rng rng = rng_seed(7);
	struct timer due;

	begin(THREADS);
	for (int i = 0; i < THREADS; i++) {
		tickets[i] = new_thread();
		armed[i] = -1;
	}
	for (int step = 0; step < 20000; step++) {
		unsigned i = (unsigned)rng_below(&rng, THREADS);
		if (rng_below(&rng, 5) == 0) {
			int64_t least = INT64_MAX;
			for (int t = 0; t < THREADS; t++)
				if (armed[t] >= 0 && armed[t] < least)
					least = armed[t];
			CHECK_EQ(atomic_load(&timers.first_ns), least);
			if (least == INT64_MAX)
				continue;
			REQUIRE(timers_due(&timers, least, &due));
			CHECK_EQ(due.deadline_ns, least);
			for (int t = 0; t < THREADS; t++)
				if (gt_index(tickets[t].gt) == due.gt) {
					CHECK_EQ(armed[t], least);
					armed[t] = -1;
				}
		} else if (armed[i] >= 0) {
			timers_remove(&timers, tickets[i].gt);
			armed[i] = -1;
		} else {
			armed[i] = (int64_t)rng_below(&rng, 1000);
			REQUIRE_EQ(timers_add(&timers, armed[i], tickets[i]), 0);
		}
		if (step % 500 == 0)
			audit();
	}
	timers_destroy(&timers);
}

TEST(no_memory_to_grow)
{
	struct timer due;
	unsigned added = 0;

	begin(100000);
	fault_inject(SYS_mmap, 0, 0, ENOMEM);
	while (timers_add(&timers, (int64_t)added, new_thread()) == 0)
		added++;
	fault_clear();
	CHECK_GE(added, 64);
	CHECK_EQ(timers.count, added);
	audit();
	CHECK_EQ(timers_add(&timers, -5, new_thread()), 0);
	REQUIRE(timers_due(&timers, INT64_MAX, &due));
	CHECK_EQ(due.deadline_ns, -5);
	for (unsigned i = 0; i < added; i++)
		if (!CHECK(timers_due(&timers, INT64_MAX, &due)) || !CHECK_EQ(due.deadline_ns, i))
			break;
	timers_destroy(&timers);
}
