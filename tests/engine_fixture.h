/* SPDX-License-Identifier: MIT
 *
 * Drives one engine without a scheduler: a worker that is nothing but an
 * engine's owner, and operations that count their completions.
 */
#ifndef ENGINE_FIXTURE_H
#define ENGINE_FIXTURE_H

#include "harness.h"

#include "arch/sys.h"
#include "engine.h"
#include "engine_uring.h"
#include "fdtab.h"
#include "feature.h"
#include "worker.h"

#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/wait.h>

#define MS 1000000LL

static const struct engine_ops *engine;
static struct worker *worker;

/* An operation and how often it has completed. */
struct counted {
	struct io_op op;
	int completions;
};

static inline void count_completion(struct io_op *op)
{
	((struct counted *)op)->completions++;
}

static inline struct worker *new_worker(void)
{
	struct worker *w = aligned_alloc(CACHE_LINE, sizeof(*w));

	REQUIRE(w);
	memset(w, 0, sizeof(*w));
	return w;
}

static inline void engine_begin(void)
{
	worker = new_worker();
	REQUIRE_EQ(engine->start(worker), 0);
}

static inline void engine_end(void)
{
	sys_fault_hook = NULL;
	sys.call = sys_raw;
	engine->stop(worker);
	free(worker);
}

/* Runs a test body on one engine; skips it when that cannot be used here.  No other will
 * do: for rings, the memory is waited for that closed ones still hold. */
static inline void on_engine(const struct engine_ops *ops, void (*body)(void))
{
	char why[128] = "";

	REQUIRE_EQ(fdtab_init(), 0);
	engine = ops;
	rt.options.engine = ops == &engine_uring ? GREEN_ENGINE_URING : GREEN_ENGINE_EPOLL;
	if (ops->probe(why, sizeof(why)) < 0)
		SKIP("%s: %s", ops->name, why);
	engine_begin();
	body();
	engine_end();
}

/* A test that runs on both engines. */
#define ENGINE_TEST(name)                       \
	static void name(void);                 \
	TEST(name##_uring)                      \
	{                                       \
		on_engine(&engine_uring, name); \
	}                                       \
	TEST(name##_epoll)                      \
	{                                       \
		on_engine(&engine_epoll, name); \
	}                                       \
	static void name(void)

/* Tests for one of them. */
#define URING_TEST(name) ONE_ENGINE_TEST_(name, engine_uring)
#define EPOLL_TEST(name) ONE_ENGINE_TEST_(name, engine_epoll)
#define ONE_ENGINE_TEST_(name, ops)           \
	static void name##_body(void);        \
	TEST(name)                            \
	{                                     \
		on_engine(&ops, name##_body); \
	}                                     \
	static void name##_body(void)

static inline void prepare(struct counted *c, enum io_kind kind, int fd, uint32_t events)
{
	memset(c, 0, sizeof(*c));
	c->op.kind = (uint8_t)kind;
	c->op.fd = fd;
	c->op.events = events;
	c->op.complete = count_completion;
	c->op.worker = worker;
}

/* Starts a wait for readiness. */
static inline void wait_for(struct counted *c, int fd, uint32_t events)
{
	prepare(c, IO_POLL, fd, events);
	REQUIRE_EQ(engine->submit(worker, &c->op), 0);
	REQUIRE_EQ(c->completions, 0);
}

/* Polls until c has completed, at most 5 s; its result. */
static inline int32_t result_of(struct counted *c)
{
	int64_t end = sys.now() + 5000 * MS;

	while (!c->completions && sys.now() < end)
		REQUIRE(engine->poll(worker, 100 * MS) >= 0);
	REQUIRE_EQ(c->completions, 1);
	REQUIRE_EQ(c->op.in_flight, 0);
	return c->op.res;
}

/* Polls for a while in which nothing may complete. */
static inline void expect_nothing(int64_t ns)
{
	int64_t end = sys.now() + ns;

	while (sys.now() < end)
		REQUIRE_EQ(engine->poll(worker, 5 * MS), 0);
}

static inline int new_eventfd(unsigned value)
{
	int fd = eventfd(value, EFD_CLOEXEC | EFD_NONBLOCK);

	REQUIRE(fd >= 0);
	return fd;
}

static inline void ring_eventfd(int fd)
{
	uint64_t one = 1;

	REQUIRE_EQ(write(fd, &one, sizeof(one)), sizeof(one));
}

static inline void drain_eventfd(int fd)
{
	uint64_t count;

	REQUIRE_EQ(read(fd, &count, sizeof(count)), sizeof(count));
}

/* Waits, rings and cancels in a random order; everything must complete once. */
static inline void mixed_traffic(int rounds)
{
	enum { COUNT = 16 };
	struct counted ops[COUNT];
	int fds[COUNT];
	unsigned seed = 7;

	for (int i = 0; i < COUNT; i++)
		fds[i] = new_eventfd(0);
	for (int round = 0; round < rounds; round++) {
		for (int i = 0; i < COUNT; i++)
			wait_for(&ops[i], fds[i], POLLIN);
		if (rand_r(&seed) % 2)
			REQUIRE(engine->poll(worker, 0) >= 0);
		for (int i = 0; i < COUNT; i++) {
			unsigned what = rand_r(&seed) % 4;
			if (what != 1)
				ring_eventfd(fds[i]);
			if (what < 2)
				engine->cancel(worker, &ops[i].op);
		}
		for (int i = 0; i < COUNT; i++) {
			int32_t res = result_of(&ops[i]);
			uint64_t count;
			REQUIRE(res == POLLIN || res == -ECANCELED);
			REQUIRE(read(fds[i], &count, sizeof(count)) == sizeof(count) ||
			        errno == EAGAIN);
		}
	}
	for (int i = 0; i < COUNT; i++)
		close(fds[i]);
}

/* Open descriptors of this process. */
static inline int count_fds(void)
{
	int count = 0;

	for (int fd = 0; fd < 20000; fd++)
		count += fcntl(fd, F_GETFD) >= 0;
	return count;
}

#endif
