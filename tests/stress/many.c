/* SPDX-License-Identifier: MIT
 *
 * Stress by numbers: one simple thing very often, on all workers, with exact
 * sums (after the virtual thread stress tests of the JDK).
 */
#include "harness.h"

#include "worker.h"

#include <sys/resource.h>

#if defined(GREEN_TSAN)
#define MANY(n, tsan) (tsan) /* at most 4,000 live threads */
#elif defined(GREEN_ASAN)
#define MANY(n, tsan) ((n) / 20)
#else
#define MANY(n, tsan) (n)
#endif

/* ---- skynet: a tree of a million leaves -------------------------------------------- */

struct leafs {
	uint64_t first, count;
};

static void *skynet(void *arg)
{
	struct leafs *l = arg;
	struct leafs parts[10];
	green_t children[10];
	uint64_t sum = 0;

	if (l->count == 1)
		return (void *)(uintptr_t)l->first;
	for (uint64_t i = 0; i < 10; i++) {
		parts[i] = (struct leafs){ l->first + i * (l->count / 10), l->count / 10 };
		children[i] = start_green(skynet, &parts[i]);
	}
	for (int i = 0; i < 10; i++)
		sum += (uintptr_t)join_green(children[i]);
	return (void *)(uintptr_t)sum;
}

GREEN_TEST(skynet_a_lot)
{
	struct leafs *root = malloc(sizeof(*root));
	uint64_t n = MANY(1000000, 1000);
#if defined(GREEN_ASAN)
	n = 10000;
#endif

	for (int round = 0; round < 10; round++) {
		*root = (struct leafs){ 0, n };
		CHECK_EQ((uintptr_t)join_green(start_green(skynet, root)), n * (n - 1) / 2);
	}
	free(root);
}

/* ---- everybody parked at once --------------------------------------------------------- */

static green_wg_t gate;
static _Atomic unsigned through;

static void *wait_at_the_gate(void *arg)
{
	CHECK_EQ(green_wg_wait(&gate), 0);
	atomic_fetch_add_explicit(&through, 1, memory_order_relaxed);
	return arg;
}

GREEN_TEST(parked_at_once)
{
	unsigned n = MANY(200000, 3000);
	struct green_info info;

	CHECK_EQ(green_wg_add(&gate, 1), 0);
	for (unsigned i = 0; i < n; i++)
		REQUIRE_EQ(green_go(wait_at_the_gate, NULL), 0);
	/* All of them have a stack, and wait. */
	WAIT_FOR(green_info(&info) == 0 && info.stacks_used >= n);
	CHECK_EQ(atomic_load(&through), 0);
	CHECK_EQ(green_wg_done(&gate), 0);
	WAIT_FOR(atomic_load(&through) == n);
	/* Who ends is counted out first and gives its stack back then. */
	WAIT_FOR(green_info(&info) == 0 && info.threads == 1 && info.stacks_used == 1);
}

/* ---- park a lot ---------------------------------------------------------------------------- */

struct parker {
	green_sem_t sem;
	_Atomic unsigned permits, parks, timeouts;
	unsigned rounds;
};

static void *park_a_lot(void *arg)
{
	struct parker *p = arg;

	for (unsigned i = 0; i < p->rounds;) {
		struct green_deadline scope;
		/* With and without a deadline in turn. */
		green_deadline_begin(&scope, i % 2 ? GREEN_FOREVER : GREEN_S(100));
		CHECK_EQ(green_sem_wait(&p->sem), 0);
		green_deadline_end(&scope);
		i++;
		atomic_store(&p->parks, i);
	}
	return NULL;
}

static void *unpark_a_lot(void *arg)
{
	struct parker *p = arg;

	/* Only when the last permit has been taken: each is one park and unpark. */
	for (;;) {
		unsigned permits = atomic_load(&p->permits);
		if (permits >= p->rounds)
			return NULL;
		if (atomic_load(&p->parks) < permits) {
			green_yield();
			continue;
		}
		if (atomic_compare_exchange_strong(&p->permits, &permits, permits + 1))
			green_sem_post(&p->sem);
	}
}

static void unpark_by(unsigned unparkers)
{
	struct parker *p = calloc(1, sizeof(*p));
	green_t threads[4], parker;

	p->rounds = MANY(50000, 2000);
	parker = start_green(park_a_lot, p);
	for (unsigned i = 0; i < unparkers; i++)
		threads[i] =
			i % 2 ? start_green(unpark_a_lot, p) : start_migratable(unpark_a_lot, p);
	join_green(parker);
	for (unsigned i = 0; i < unparkers; i++)
		join_green(threads[i]);
	CHECK_EQ(atomic_load(&p->parks), p->rounds);
	CHECK_EQ(green_sem_trywait(&p->sem), -EAGAIN);
	free(p);
}

GREEN_TEST(park_a_lot_with_one_to_four_unparkers)
{
	for (unsigned n = 1; n <= 4; n++)
		unpark_by(n);
}

/* ---- yield and sleep a lot --------------------------------------------------------------------
 */

static void *yield_a_lot(void *arg)
{
	for (unsigned i = 0; i < (unsigned)(uintptr_t)arg; i++)
		CHECK_EQ(green_yield(), 0);
	return NULL;
}

GREEN_TEST(yield_a_lot_alone_and_together)
{
	unsigned n = MANY(1000000, 20000);
	green_t threads[10];

	yield_a_lot((void *)(uintptr_t)n);
	for (int i = 0; i < 10; i++)
		threads[i] = i % 2 ? start_green(yield_a_lot, (void *)(uintptr_t)(n / 10))
		                   : start_migratable(yield_a_lot, (void *)(uintptr_t)(n / 10));
	for (int i = 0; i < 10; i++)
		join_green(threads[i]);
}

static _Atomic unsigned slept;

static void *sleep_a_lot(void *arg)
{
	struct rng rng = rng_seed((uintptr_t)arg);

	for (int i = 0; i < 5; i++)
		CHECK_EQ(green_sleep((int64_t)rng_below(&rng, GREEN_MS(20))), 0);
	atomic_fetch_add(&slept, 1);
	return NULL;
}

GREEN_TEST(sleep_a_lot_of_threads)
{
	unsigned n = MANY(20000, 2000);

	for (unsigned i = 0; i < n; i++)
		REQUIRE_EQ(green_go(sleep_a_lot, (void *)(uintptr_t)i), 0);
	WAIT_FOR(atomic_load(&slept) == n);
}

/* ---- ping-pong
 * ----------------------------------------------------------------------------------- */

struct table {
	green_chan_t *there, *back;
	unsigned rounds;
};

static void *return_balls(void *arg)
{
	struct table *t = arg;
	uint64_t ball;

	while (green_chan_recv(t->there, &ball) == 0) {
		ball++;
		CHECK_EQ(green_chan_send(t->back, &ball), 0);
	}
	return NULL;
}

static void *play(void *arg)
{
	struct table *t = arg;
	uint64_t ball = 0;

	green_t partner = start_green(return_balls, t);
	for (unsigned i = 0; i < t->rounds; i++) {
		CHECK_EQ(green_chan_send(t->there, &ball), 0);
		CHECK_EQ(green_chan_recv(t->back, &ball), 0);
	}
	CHECK_EQ(ball, t->rounds);
	CHECK_EQ(green_chan_close(t->there), 0);
	join_green(partner);
	return NULL;
}

GREEN_TEST(ping_pong_a_lot)
{
	struct table *tables = calloc(8, sizeof(*tables));
	green_t threads[8];

	for (int i = 0; i < 8; i++) {
		tables[i].rounds = MANY(60000, 2000);
		tables[i].there = green_chan_new(sizeof(uint64_t), (size_t)i % 3);
		tables[i].back = green_chan_new(sizeof(uint64_t), (size_t)i % 2);
		threads[i] = start_green(play, &tables[i]);
	}
	for (int i = 0; i < 8; i++) {
		join_green(threads[i]);
		green_chan_free(tables[i].there);
		green_chan_free(tables[i].back);
	}
	free(tables);
}

/* ---- timed waits
 * -------------------------------------------------------------------------------------- */

/* Signalled and timed out at the same moment, a lot: each signal wakes somebody
 * or finds nobody, and a waiter that timed out has not eaten one. */
static struct {
	green_mutex_t mutex;
	green_cond_t cond;
	unsigned tokens, taken, made;
	bool stop;
} timed;

static void *wait_timed_a_lot(void *arg)
{
	struct rng rng = rng_seed((uintptr_t)arg);

	CHECK_EQ(green_mutex_lock(&timed.mutex), 0);
	while (!timed.stop || timed.tokens) {
		struct green_deadline scope;
		green_deadline_begin(&scope, (int64_t)rng_below(&rng, 40000));
		int r = timed.tokens ? 0 : green_cond_wait(&timed.cond, &timed.mutex);
		green_deadline_end(&scope);
		CHECK(r == 0 || r == -ETIMEDOUT);
		if (timed.tokens) {
			timed.tokens--;
			timed.taken++;
		}
	}
	CHECK_EQ(green_mutex_unlock(&timed.mutex), 0);
	return NULL;
}

GREEN_TEST(timed_waits_a_lot)
{
	unsigned n = MANY(20000, 1000);
	green_t threads[8];

	for (uintptr_t i = 0; i < 8; i++)
		threads[i] = start_green(wait_timed_a_lot, (void *)i);
	for (unsigned i = 0; i < n; i++) {
		CHECK_EQ(green_mutex_lock(&timed.mutex), 0);
		timed.tokens++;
		timed.made++;
		CHECK_EQ(green_cond_signal(&timed.cond), 0);
		CHECK_EQ(green_mutex_unlock(&timed.mutex), 0);
		if (i % 4 == 0)
			green_sleep(20000);
	}
	CHECK_EQ(green_mutex_lock(&timed.mutex), 0);
	timed.stop = true;
	CHECK_EQ(green_cond_broadcast(&timed.cond), 0);
	CHECK_EQ(green_mutex_unlock(&timed.mutex), 0);
	for (int i = 0; i < 8; i++)
		join_green(threads[i]);
	CHECK_EQ(timed.taken, timed.made);
}

static void *post(void *sem)
{
	CHECK_EQ(green_sem_post(sem), 0);
	return NULL;
}

/* Timers armed and disarmed by all workers at once. */
static void *cancel_timers(void *arg)
{
	green_sem_t *sem = calloc(1, sizeof(*sem));

	for (unsigned i = 0; i < (unsigned)(uintptr_t)arg; i++) {
		struct green_deadline scope;
		green_deadline_begin(&scope, GREEN_S(1000));
		green_t t = start_migratable(post, sem);
		CHECK_EQ(green_sem_wait(sem), 0);
		join_green(t);
		CHECK(!green_deadline_end(&scope));
	}
	free(sem);
	return NULL;
}

GREEN_TEST(cancel_timers_a_lot)
{
	uintptr_t n = MANY(5000, 200);
	green_t threads[16];

	for (int i = 0; i < 16; i++)
		threads[i] = i % 2 ? start_green(cancel_timers, (void *)n)
		                   : start_migratable(cancel_timers, (void *)n);
	for (int i = 0; i < 16; i++)
		join_green(threads[i]);
	for (unsigned i = 0; i < rt.workers_count; i++)
		CHECK_EQ(worker_at(i)->timers.count, 0);
}

/* ---- reports while all of this goes on
 * ------------------------------------------------------------------ */

static _Atomic bool stop;

static void *churn(void *arg)
{
	while (!atomic_load(&stop)) {
		green_t t = start_migratable(sleep_for, (void *)20000);
		green_cancel(t);
		green_set_name(GREEN_NONE, "churn");
		join_green(t);
	}
	return arg;
}

GREEN_TEST(dump_a_lot)
{
	unsigned n = MANY(300, 30);
	struct green_info info;
	green_t threads[16];

	for (int i = 0; i < 16; i++)
		threads[i] = i % 2 ? start_green(churn, NULL) : start_migratable(churn, NULL);
	int fd = green_open("/dev/null", 1, 0);
	REQUIRE_GE(fd, 0);
	for (unsigned i = 0; i < n; i++) {
		CHECK_EQ(green_dump(fd), 0);
		CHECK_EQ(green_info(&info), 0);
		CHECK_LE(info.threads, 33);
		green_yield();
	}
	atomic_store(&stop, true);
	for (int i = 0; i < 16; i++)
		join_green(threads[i]);
	green_close(fd);
}
