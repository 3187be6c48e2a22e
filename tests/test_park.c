/* SPDX-License-Identifier: MIT
 *
 * The parking protocol itself: exactly one waker wins at each step, and no
 * wake-up is lost however wakers, cancels and deadlines race.
 */
#include "harness.h"

#include "park.h"
#include "worker.h"

#define HERE __builtin_return_address(0)

static struct park_ticket begin(void)
{
	return park_begin(park_self(), PARK_SEM, NULL, HERE);
}

/* ---- one thread, step by step ---------------------------------------------------- */

static void steps(void)
{
	/* Woken before it commits: does not switch. */
	struct park_ticket t = begin();
	CHECK(park_wake(t, WAKE_PEER));
	CHECK(!park_wake(t, WAKE_PEER));
	CHECK(!park_claim(t, WAKE_CLOSED));
	CHECK(!park_abort(t));
	CHECK_EQ(park_commit(t, 0, GREEN_FOREVER), WAKE_PEER);

	/* Claimed and finished in two steps. */
	t = begin();
	CHECK(park_claim(t, WAKE_CLOSED));
	CHECK(!park_claim(t, WAKE_PEER));
	CHECK(!park_wake(t, WAKE_PEER));
	CHECK(!park_abort(t));
	park_finish(t.gt);
	CHECK_EQ(park_commit(t, 0, GREEN_FOREVER), WAKE_CLOSED);

	/* Given up: no ticket is worth anything. */
	struct park_ticket old = t;
	t = begin();
	CHECK(!park_wake(old, WAKE_PEER));
	CHECK(park_abort(t));
	CHECK(!park_abort(t));
	CHECK(!park_wake(t, WAKE_PEER));
	CHECK(!park_claim(t, WAKE_PEER));

	/* A deadline of long ago. */
	t = begin();
	CHECK_EQ(park_commit(t, 0, green_now() - 1), WAKE_TIMEOUT);
	CHECK(!park_wake(t, WAKE_PEER));
	t = begin();
	CHECK_EQ(park_commit(t, PARK_SHIELDED, green_now() + 1000), WAKE_TIMEOUT);
}

GREEN_TEST(steps_in_a_green_thread)
{
	steps();
}

TEST(steps_in_an_os_thread)
{
	steps();
	REQUIRE_EQ(green_init(NULL), 0);
	steps();
	CHECK_EQ(green_fini(), 0);
	steps();
}

TEST(words_of_reasons)
{
	CHECK_EQ(park_error(WAKE_PEER), 0);
	CHECK_EQ(park_error(WAKE_TIMEOUT), -ETIMEDOUT);
	CHECK_EQ(park_error(WAKE_CANCEL), -ECANCELED);
	CHECK_EQ(park_error(WAKE_CLOSED), -EPIPE);
	CHECK_EQ(park_error(WAKE_NOMEM), -ENOMEM);
	for (int why = 0; why < PARK_WHY_COUNT; why++)
		CHECK(strcmp(park_why_name((enum park_why)why), "unknown") != 0);
	CHECK_STR(park_why_name(PARK_WHY_COUNT), "unknown");
	CHECK_STR(park_why_name((enum park_why) - 1), "unknown");
}

/* A late expiry, or one of another wait, does nothing. */
static void *expire_others(void *arg)
{
	struct park_ticket t = begin();

	CHECK_EQ(park_commit(t, 0, green_now() + GREEN_MS(20)), WAKE_TIMEOUT);
	return arg;
}

static void *stale_expiry(void *arg)
{
	green_t thread = start_green(expire_others, NULL);

	await_parked(thread);
	struct gt *gt = gt_lookup(thread);
	uint32_t seq = (uint32_t)(atomic_load(&gt->park) >> PARK_SEQ_SHIFT);
	int64_t before = green_now();
	park_expire(gt, seq - 1);
	park_expire(gt, seq + 1);
	CHECK((atomic_load(&gt->park) & PARK_CLAIMED) == 0 || green_now() - before > GREEN_MS(19));
	join_green(thread);
	return arg;
}

TEST(expiry_of_another_wait)
{
	struct green_options one = { .workers = 1 };

	CHECK_EQ(run_green_with(&one, stale_expiry, NULL, NULL), 0);
}

/* ---- one parker, many wakers -------------------------------------------------------- */

/* The parker publishes its ticket; of the wakers exactly one must win each
 * round, and the parker must always go on. */
#define WAKERS 4

static struct {
	struct park_ticket ticket; /* guarded by round: even is "published" */
	_Atomic uint64_t round;
	_Atomic uint32_t wins;
	_Atomic bool stop;
} arena;

static void *waker(void *arg)
{
	struct rng rng = rng_seed((uintptr_t)arg);
	uint64_t seen = 0;

	while (!atomic_load(&arena.stop)) {
		uint64_t round = atomic_load_explicit(&arena.round, memory_order_acquire);
		if (round == seen) {
			if (gt_self())
				green_yield();
			else
				sched_yield();
			continue;
		}
		seen = round;
		struct park_ticket t = { arena.ticket.gt, (uint64_t)round << PARK_SEQ_SHIFT };
		if (rng_below(&rng, 2)) {
			if (park_wake(t, WAKE_PEER))
				atomic_fetch_add(&arena.wins, 1);
		} else if (park_claim(t, WAKE_CLOSED)) {
			atomic_fetch_add(&arena.wins, 1);
			if (rng_below(&rng, 2))
				cpu_pause();
			park_finish(t.gt);
		}
	}
	return NULL;
}

/* The sequence in its ticket is the number of the round. */
static void park_many_times(unsigned rounds)
{
	arena.ticket.gt = park_self();
	atomic_store(&arena.wins, 0);
	for (unsigned i = 0; i < rounds; i++) {
		struct park_ticket t = begin();
		atomic_store_explicit(&arena.round, t.seq >> PARK_SEQ_SHIFT, memory_order_release);
		enum wake_reason reason = park_commit(t, 0, GREEN_FOREVER);
		CHECK(reason == WAKE_PEER || reason == WAKE_CLOSED);
	}
	WAIT_FOR(atomic_load(&arena.wins) >= rounds); /* the last one may be about to count */
	atomic_store(&arena.stop, true);
}

static void *park_against_wakers(void *arg)
{
	bool os = arg != NULL;
	pthread_t os_wakers[WAKERS];
	green_t wakers[WAKERS];

	atomic_store(&arena.stop, false);
	atomic_store(&arena.round, 0);
	arena.ticket.gt = park_self();
	for (uintptr_t i = 0; i < WAKERS; i++)
		if (os)
			os_wakers[i] = start_os(waker, (void *)i);
		else
			wakers[i] = start_green(waker, (void *)i);
	park_many_times(scaled(5000));
	for (int i = 0; i < WAKERS; i++)
		if (os) {
			while (pthread_tryjoin_np(os_wakers[i], NULL) == EBUSY)
				green_sleep(GREEN_MS(1));
		} else {
			join_green(wakers[i]);
		}
	CHECK_EQ(atomic_load(&arena.wins), scaled(5000));
	return NULL;
}

GREEN_TEST(one_winner_among_green_wakers)
{
	park_against_wakers(NULL);
}

GREEN_TEST(one_winner_among_os_wakers)
{
	park_against_wakers((void *)1);
}

GREEN_TEST(migratable_parker)
{
	join_green(start_migratable(park_against_wakers, NULL));
}

TEST(os_thread_parks)
{
	pthread_t wakers[WAKERS];

	arena.ticket.gt = park_self();
	REQUIRE(arena.ticket.gt != NULL);
	for (uintptr_t i = 0; i < WAKERS; i++)
		wakers[i] = start_os(waker, (void *)i);
	park_many_times(scaled(20000));
	for (int i = 0; i < WAKERS; i++)
		join_os(wakers[i]);
	CHECK_EQ(atomic_load(&arena.wins), scaled(20000));
}

/* ---- many parkers: waits with and without end ------------------------------------------- */

/* As ParkALot of the JDK: pairs of park and unpark that must balance. */
#define PARKERS 32

static struct slot {
	cache_aligned _Atomic uint64_t seq; /* of the open wait; 0: none */
	struct gt *gt;
	_Atomic uint64_t parks, wakes, timeouts;
} slots[PARKERS];
static _Atomic bool stop;

static void *park_a_lot(void *arg)
{
	struct slot *s = arg;
	struct rng rng = rng_seed((uintptr_t)(s - slots));

	s->gt = park_self();
	for (unsigned i = 0; i < scaled(2000); i++) {
		int64_t deadline = rng_below(&rng, 2)
		                           ? GREEN_FOREVER
		                           : green_now() + (int64_t)rng_below(&rng, 20000);
		struct park_ticket t = begin();
		atomic_store_explicit(&s->seq, t.seq, memory_order_release);
		enum wake_reason reason = park_commit(t, 0, deadline);
		atomic_store(&s->seq, 0);
		if (reason == WAKE_TIMEOUT) {
			CHECK_GE(green_now(), deadline);
			atomic_fetch_add(&s->timeouts, 1);
		} else if (CHECK_EQ(reason, WAKE_PEER)) {
			atomic_fetch_add(&s->parks, 1);
		}
	}
	return NULL;
}

static void *unpark_a_lot(void *arg)
{
	struct rng rng = rng_seed((uintptr_t)arg);

	while (!atomic_load(&stop)) {
		for (int i = 0; i < PARKERS; i++) {
			struct slot *s = &slots[i];
			uint64_t seq = atomic_load_explicit(&s->seq, memory_order_acquire);
			if (seq && rng_below(&rng, 3) &&
			    park_wake((struct park_ticket){ s->gt, seq }, WAKE_PEER))
				atomic_fetch_add(&s->wakes, 1);
		}
		if (gt_self())
			green_yield();
		else
			sched_yield();
	}
	return NULL;
}

static void *park_storm(void *arg)
{
	green_t parkers[PARKERS], wakers[2];

	for (int i = 0; i < PARKERS; i++) {
		atomic_store(&slots[i].seq, 0);
		parkers[i] = i % 2 ? start_green(park_a_lot, &slots[i])
		                   : start_migratable(park_a_lot, &slots[i]);
	}
	for (uintptr_t i = 0; i < 2; i++)
		wakers[i] = start_green(unpark_a_lot, (void *)i);
	pthread_t os = start_os(unpark_a_lot, (void *)7);
	for (int i = 0; i < PARKERS; i++)
		join_green(parkers[i]);
	atomic_store(&stop, true);
	for (int i = 0; i < 2; i++)
		join_green(wakers[i]);
	while (pthread_tryjoin_np(os, NULL) == EBUSY)
		green_sleep(GREEN_MS(1));
	for (int i = 0; i < PARKERS; i++) {
		CHECK_EQ(slots[i].parks, slots[i].wakes);
		CHECK_EQ(slots[i].parks + slots[i].timeouts, scaled(2000));
	}
	return arg;
}

TEST(park_a_lot_on_four_workers)
{
	struct green_options four = { .workers = 4 };

	CHECK_EQ(run_green_with(&four, park_storm, NULL, NULL), 0);
}

GREEN_TEST(park_a_lot_here)
{
	park_storm(NULL);
}
