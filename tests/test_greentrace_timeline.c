/* SPDX-License-Identifier: MIT
 *
 * The parts of greentrace that need records in the order of time: sorting them, chains of
 * who woke whom; and what timelines are written with.  Checked against plain counting.
 */
#include "harness.h"

#include "chains.h"
#include "functions.h"
#include "order.h"
#include "protobuf.h"

/* ---- protocol buffers --------------------------------------------------------------- */

/* The examples of the format's own documentation, and its corners. */
TEST(messages_are_encoded_as_the_format_says)
{
	static const unsigned char known[] = {
		0x08, 0x96, 0x01,                                     /* 1: 150 */
		0x12, 0x07, 't',  'e',  's',  't',  'i',  'n',  'g',  /* 2: "testing" */
		0x1a, 0x03, 0x08, 0x96, 0x01,                         /* 3 { 1: 150 } */
		0x21, 8,    7,    6,    5,    4,    3,    2,    1,    /* 4: fixed */
		0xf8, 0x02, 0x00,                                     /* 47: 0 */
		0x28, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, /* 5: -1 */
		0xff, 0x01
	};
	struct message m = { 0 }, inner = { 0 };

	message_begin(&m);
	message_number(&m, 1, 150);
	message_text(&m, 2, "testing");
	message_begin(&inner);
	message_number(&inner, 1, 150);
	message_message(&m, 3, &inner);
	message_fixed(&m, 4, 0x0102030405060708u);
	message_number(&m, 47, 0);
	message_number(&m, 5, UINT64_MAX);
	REQUIRE(!m.failed);
	REQUIRE_EQ(m.size, sizeof(known));
	CHECK(memcmp(m.data, known, sizeof(known)) == 0);
	message_begin(&m);
	CHECK_EQ(m.size, 0);
	message_free(&m);
	message_free(&inner);
}

TEST(messages_grow)
{
	static const char text[100000];
	struct message m = { 0 };

	message_begin(&m);
	for (int i = 0; i < 10; i++)
		message_bytes(&m, 1, text, sizeof(text));
	CHECK_EQ(m.size, 10 * (1 + 3 + sizeof(text)));
	CHECK(!m.failed);
	message_free(&m);
}

/* ---- order ---------------------------------------------------------------------------- */

enum { WORKERS = 3, BATCHES = 400 };

struct seen {
	uint64_t last, count, sum;
};

static void look(void *arg, const struct ordered *o)
{
	struct seen *seen = arg;

	CHECK_GE(o->record.time, seen->last);
	seen->last = o->record.time;
	seen->sum += o->record.time;
	seen->count++;
}

/* Each worker's batches come late by less than the delay. */
TEST(records_of_all_workers_come_in_order)
{
	static struct event_records e;
	struct seen seen = { 0 };
	struct order order = { .take = look, .arg = &seen };
	uint64_t sum = 0, count = 0;

	for (uint32_t batch = 0; batch < BATCHES; batch++)
		for (uint32_t w = 0; w < WORKERS; w++) {
			e.tid = w;
			e.count = 1 + (batch * 7 + w * 13) % TRACE_BATCH;
			for (uint32_t i = 0; i < e.count; i++) {
				e.records[i].time = (uint64_t)batch * 1000 + i + w;
				if (e.records[i].time >= 2000) {
					sum += e.records[i].time;
					count++;
				}
			}
			e.ticks = (uint64_t)batch * 1000 + 999;
			order_add(&order, &e, 2000, 2000);
		}
	CHECK(seen.count > 0); /* not only at the end */
	order_end(&order);
	CHECK_EQ(seen.count, count);
	CHECK_EQ(seen.sum, sum);
	CHECK_EQ(order.refused, 0);
	order_free(&order);
}

/* ---- chains ---------------------------------------------------------------------------- */

static void wait_ends(struct chains *c, uint64_t time, uint64_t site, unsigned why, uint32_t thread,
                      uint32_t waker, uint32_t ready)
{
	const struct trace_record r = {
		.time = time,
		.where = site << 16 | why << 8,
		.thread = (1u << 26) | thread,
		.waker = waker,
		.away = 100,
		.ready = ready,
	};

	chains_add(c, &r, 7);
}

static const struct chain *only_chain(const struct chains *c, uint64_t site, unsigned why)
{
	uint32_t number;

	REQUIRE_EQ(chains_of(c, site, why, &number, 1), 1);
	return chains_get(c, number);
}

TEST(a_chain_leads_back_over_several_hops)
{
	struct chains *c = chains_open();

	REQUIRE(c != NULL);
	wait_ends(c, 10000, 0x100, TRACE_SLEEP, 1, 0, 0);
	wait_ends(c, 20000, 0x200, TRACE_SEM, 2, 1, 0);
	wait_ends(c, 20500, 0x999, TRACE_YIELD, 2, 0, 0);
	wait_ends(c, 30000, 0x300, TRACE_RECV, 3, 2, 0);

	const struct chain *chain = only_chain(c, 0x300, TRACE_RECV);
	CHECK_EQ(chain->count, 1);
	CHECK_EQ(chain->total_ns, 7);
	REQUIRE_EQ(chain->end, CHAIN_GOES_ON);
	chain = chains_get(c, chain->before);
	CHECK_EQ(chain->pc, 0x200);
	CHECK_EQ(chain->why, TRACE_SEM);
	REQUIRE_EQ(chain->end, CHAIN_GOES_ON);
	chain = chains_get(c, chain->before);
	CHECK_EQ(chain->pc, 0x100);
	CHECK_EQ(chain->end, CHAIN_EVENT);
	chains_close(c);
}

/* What the waker did after the waking is not what led to it. */
TEST(a_chain_is_of_the_time_of_the_waking)
{
	struct chains *c = chains_open();

	REQUIRE(c != NULL);
	wait_ends(c, 10000, 0x100, TRACE_SLEEP, 1, 0, 0);
	wait_ends(c, 30000, 0x101, TRACE_SEM, 1, 0, 0);
	wait_ends(c, 40000, 0x200, TRACE_RECV, 2, 1, (40000 - 20000) >> TRACE_SHIFT);
	CHECK_EQ(chains_get(c, only_chain(c, 0x200, TRACE_RECV)->before)->pc, 0x100);
	wait_ends(c, 40000, 0x201, TRACE_RECV, 2, 1, (40000 - 35000) >> TRACE_SHIFT);
	CHECK_EQ(chains_get(c, only_chain(c, 0x201, TRACE_RECV)->before)->pc, 0x101);
	wait_ends(c, 40000, 0x202, TRACE_RECV, 2, 1, (40000 - 5000) >> TRACE_SHIFT);
	CHECK_EQ(only_chain(c, 0x202, TRACE_RECV)->end, CHAIN_NEW);
	chains_close(c);
}

TEST(two_that_wake_each_other_make_chains_of_limited_length)
{
	struct chains *c = chains_open();

	REQUIRE(c != NULL);
	for (uint32_t i = 0; i < 1000; i++)
		wait_ends(c, 1000 * (i + 1), 0x100 + i % 2, TRACE_SEND, 1 + i % 2,
		          i ? 1 + (i + 1) % 2 : 0, 0);
	uint32_t numbers[20];
	size_t n = chains_of(c, 0x100, TRACE_SEND, numbers, 20);
	CHECK_LE(n, CHAIN_HOPS);
	const struct chain *chain = chains_get(c, numbers[0]);
	CHECK_GE(chain->count, 490);
	CHECK_EQ(chain->depth, CHAIN_HOPS);
	while (chain->end == CHAIN_GOES_ON)
		chain = chains_get(c, chain->before);
	CHECK_EQ(chain->end, CHAIN_CUT);
	CHECK_LE(chains_count(c), 50);
	chains_close(c);
}

/* More places than there is room for: what was known stays. */
TEST(chains_are_limited_in_number)
{
	struct chains *c = chains_open();

	REQUIRE(c != NULL);
	for (uint32_t i = 0; i < CHAINS_MAX + 1000; i++)
		wait_ends(c, 1000 * (i + 1), 0x1000 + i, TRACE_RECV, 1 + i, i, 0);
	CHECK_EQ(chains_count(c), CHAINS_MAX);
	CHECK_EQ(only_chain(c, 0x1000, TRACE_RECV)->count, 1);
	chains_close(c);
}

/* ---- functions of a batch -------------------------------------------------------------- */

TEST(functions_of_a_batch_are_found_again)
{
	static struct batch_functions b;
	bool is_new;

	batch_clear(&b);
	CHECK(batch_put(&b, 0, &is_new) == NULL);
	for (uint32_t i = 1; i <= TRACE_BATCH; i++) {
		uint64_t *fn = batch_put(&b, i * 65536, &is_new);
		REQUIRE(fn != NULL);
		CHECK(is_new);
		*fn = i;
	}
	CHECK(batch_put(&b, 3, &is_new) == NULL);
	for (uint32_t i = 1; i <= TRACE_BATCH; i++)
		CHECK_EQ(batch_get(&b, i * 65536), i);
	CHECK_EQ(batch_get(&b, 0), 0);
	CHECK_EQ(batch_get(&b, 5), 0);
	CHECK(batch_put(&b, 65536, &is_new) != NULL && !is_new);
}
