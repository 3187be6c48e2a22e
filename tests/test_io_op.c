/* SPDX-License-Identifier: MIT
 *
 * The pool of operation records: every record has one owner, is reused, and may
 * be got and put on any thread.
 */
#include "harness.h"

#include "arch/sys.h"
#include "io_op.h"
#include "scheduler.h"
#include "worker.h"

#define COUNT 5000

static struct worker *begin_worker(void)
{
	struct worker *w = aligned_alloc(CACHE_LINE, sizeof(*w));

	REQUIRE(w);
	memset(w, 0, sizeof(*w));
	worker_set_self(w);
	return w;
}

static void end_worker(struct worker *w)
{
	io_op_flush(w);
	worker_set_self(NULL);
	free(w);
}

static int by_address(const void *a, const void *b)
{
	uintptr_t left = *(const uintptr_t *)a, right = *(const uintptr_t *)b;

	return left < right ? -1 : left > right;
}

/* Gets COUNT records and checks that no two share a cache line. */
static void get_all(struct io_op **ops)
{
	static struct io_op *sorted[COUNT];

	for (int i = 0; i < COUNT; i++)
		REQUIRE(ops[i] = io_op_get());
	memcpy(sorted, ops, sizeof(sorted));
	qsort(sorted, COUNT, sizeof(sorted[0]), by_address);
	for (int i = 0; i < COUNT; i++) {
		REQUIRE_EQ((uintptr_t)sorted[i] % CACHE_LINE, 0);
		if (i > 0)
			REQUIRE_GE((uintptr_t)sorted[i] - (uintptr_t)sorted[i - 1],
			           sizeof(struct io_op));
	}
}

static void *const poison = (void *)0x5a5a;

static void spoil(struct io_op *op)
{
	op->kind = IO_FSYNC;
	op->cancel_sent = 7;
	op->fd = 7;
	op->res = 7;
	op->events = 7;
	op->addr = poison;
	op->len = op->offset = op->engine_data = 7;
	op->worker = poison;
	op->engine_next = op->group_next = poison;
	op->fd_prev = poison;
	atomic_store(&op->in_flight, 1);
	atomic_store(&op->cancel_wanted, 1);
}

static void check_fresh(const struct io_op *op)
{
	CHECK_EQ(op->kind, IO_POLL);
	CHECK_EQ(op->cancel_sent, 0);
	CHECK_EQ(op->fd, -1);
	CHECK_EQ(op->res | (int)op->events, 0);
	CHECK_EQ(op->len | op->offset | op->engine_data, 0);
	CHECK(!op->addr && !op->worker && !op->engine_next && !op->group_next);
	CHECK(!op->fd_next && !op->fd_prev);
	CHECK(op->complete == io_op_wake);
	CHECK_EQ(atomic_load(&op->in_flight), 0);
	CHECK_EQ(atomic_load(&op->cancel_wanted), 0);
}

TEST(records_come_back_fresh)
{
	static struct io_op *ops[COUNT];
	struct worker *w = begin_worker();

	for (int round = 0; round < 3; round++) {
		get_all(ops);
		for (int i = 0; i < COUNT; i++) {
			check_fresh(ops[i]);
			spoil(ops[i]);
		}
		for (int i = 0; i < COUNT; i++)
			io_op_put(ops[i]);
	}
	end_worker(w);
}

TEST(the_last_put_is_the_first_got)
{
	struct worker *w = begin_worker();
	struct io_op *op = io_op_get();

	for (int i = 0; i < 1000; i++) {
		io_op_put(op);
		REQUIRE(io_op_get() == op);
	}
	io_op_put(op);
	end_worker(w);
}

/* What a worker has in surplus serves the others; nothing is mapped twice. */
static unsigned maps;

static long count_maps(long nr, long a, long b, long c, long d, long e, long f)
{
	maps += nr == SYS_mmap;
	return sys_raw(nr, a, b, c, d, e, f);
}

TEST(surplus_goes_to_everybody)
{
	static struct io_op *ops[COUNT];
	struct worker *w = begin_worker();

	get_all(ops);
	for (int i = 0; i < COUNT; i++)
		io_op_put(ops[i]);
	CHECK_LT(w->op_free_count, 256);
	end_worker(w);
	sys.call = count_maps;
	maps = 0;
	get_all(ops); /* an OS thread */
	for (int i = 0; i < COUNT; i++)
		io_op_put(ops[i]);
	w = begin_worker();
	get_all(ops);
	for (int i = 0; i < COUNT; i++)
		io_op_put(ops[i]);
	sys.call = sys_raw;
	CHECK_EQ(maps, 0);
	end_worker(w);
}

TEST(no_memory)
{
	struct worker *w = begin_worker();

	fault_inject(SYS_mmap, 0, 0, ENOMEM);
	CHECK(!io_op_get());
	worker_set_self(NULL);
	CHECK(!io_op_get());
	fault_clear();
	struct io_op *op = io_op_get();
	REQUIRE(op);
	io_op_put(op);
	worker_set_self(w);
	op = io_op_get();
	REQUIRE(op);
	io_op_put(op);
	end_worker(w);
}

/* Records pass between OS threads and workers; each is marked by its holder. */
static struct io_op *_Atomic exchange[64];

static void *trade(void *arg)
{
	struct worker *w = arg ? begin_worker() : NULL;
	struct rng rng = rng_seed((uintptr_t)&w);

	for (unsigned i = 0, n = scaled(200000); i < n; i++) {
		struct io_op *op = io_op_get();
		REQUIRE(op);
		op->len = (uintptr_t)op;
		op = atomic_exchange(&exchange[rng_below(&rng, 64)], op);
		if (op) {
			CHECK_EQ(op->len, (uintptr_t)op);
			op->len = 0;
			io_op_put(op);
		}
	}
	if (w)
		end_worker(w);
	return NULL;
}

TEST(records_wander)
{
	pthread_t threads[4];

	for (int i = 0; i < 4; i++)
		threads[i] = start_os(trade, i % 2 ? exchange : NULL);
	for (int i = 0; i < 4; i++)
		join_os(threads[i]);
	for (int i = 0; i < 64; i++)
		if (exchange[i])
			io_op_put(exchange[i]);
}
