/* SPDX-License-Identifier: MIT
 *
 * The scheduler: nobody starves, work spreads, what may move moves and what may
 * not stays, no stack to be had.
 */
#include "harness.h"

#include "arch/compat.h"
#include "worker.h"

#include <sched.h>
#include <unistd.h>

static void *nothing(void *arg)
{
	return arg;
}

static void *set_flag(void *arg)
{
	atomic_store((_Atomic bool *)arg, true);
	return NULL;
}

/* ---- fairness ------------------------------------------------------------------ */

/* Two threads that do nothing but yield to one another, on the only worker. */
static struct {
	_Atomic bool stop;
	_Atomic uint64_t yields;
} pair;

static void *yield_for_ever(void *arg)
{
	while (!atomic_load(&pair.stop)) {
		green_yield();
		atomic_fetch_add_explicit(&pair.yields, 1, memory_order_relaxed);
	}
	return arg;
}

/* Yields that passed until the flag was set, seen by a third yielder. */
static uint64_t yields_until(_Atomic bool *flag)
{
	uint64_t before = atomic_load(&pair.yields);

	while (!atomic_load(flag))
		green_yield();
	return atomic_load(&pair.yields) - before;
}

static void *set_flag_after(void *arg)
{
	green_sleep(1);
	return set_flag(arg);
}

static void *spawn_outside(void *arg)
{
	REQUIRE_EQ(green_go(set_flag, arg), 0);
	return NULL;
}

static void *wake_outside(void *arg)
{
	green_sem_post(arg);
	return NULL;
}

static struct {
	green_sem_t sem;
	_Atomic bool done;
} waiting = { .sem = GREEN_SEM_INIT(0) };

static void *wait_for_sem(void *arg)
{
	CHECK_EQ(green_sem_wait(&waiting.sem), 0);
	return set_flag(arg);
}

static void *read_pipe(void *arg)
{
	int fd = (int)(intptr_t)arg;
	char *byte = malloc(1);

	CHECK_EQ(green_read(fd, byte, 1), 1);
	free(byte);
	return set_flag((void *)&waiting.done);
}

/* Each kind of waiting work gets its turn within a bounded number of switches. */
static void *nobody_starves(void *arg)
{
	green_t yielders[2];
	int fds[2];

	REQUIRE_EQ(pipe(fds), 0);
	for (int i = 0; i < 2; i++)
		yielders[i] = start_green(yield_for_ever, NULL);
	for (int round = 0; round < 20; round++) {
		_Atomic bool *done = &waiting.done;

		atomic_store(done, false); /* never-run */
		CHECK_EQ(green_go(set_flag, (void *)done), 0);
		CHECK_LT(yields_until(done), 1000);

		atomic_store(done, false); /* never-run, behind many newer ones */
		CHECK_EQ(green_go(set_flag, (void *)done), 0);
		for (int i = 0; i < 300; i++)
			green_go(nothing, NULL);
		CHECK_LT(yields_until(done), 2000);

		atomic_store(done, false); /* migratable, started */
		green_t t = start_migratable(set_flag_after, (void *)done);
		yields_until(done);
		join_green(t);

		atomic_store(done, false); /* inbox: from another OS thread */
		t = start_green(wait_for_sem, (void *)done);
		await_parked(t);
		join_os(start_os(wake_outside, &waiting.sem));
		CHECK_LT(yields_until(done), 1000);
		join_green(t);

		atomic_store(done, false); /* arrivals: spawned outside */
		join_os(start_os(spawn_outside, (void *)done));
		CHECK_LT(yields_until(done), 1000);

		atomic_store(done, false); /* a completion */
		t = start_green(read_pipe, (void *)(intptr_t)fds[0]);
		await_parked(t);
		CHECK_EQ(write(fds[1], "x", 1), 1);
		yields_until(done);
		join_green(t);
	}
	atomic_store(&pair.stop, true);
	for (int i = 0; i < 2; i++)
		join_green(yielders[i]);
	close(fds[0]);
	close(fds[1]);
	return arg;
}

TEST(yielding_pair_starves_nobody)
{
	struct green_options one = { .workers = 1 };

	CHECK_EQ(run_green_with(&one, nobody_starves, NULL, NULL), 0);
}

/* Two threads that wake one another through the run-next slot for ever. */
static struct {
	green_sem_t sem[2];
	_Atomic bool stop;
} ping;

static void *ping_pong(void *arg)
{
	int me = (int)(intptr_t)arg;

	while (!atomic_load(&ping.stop)) {
		green_sem_post(&ping.sem[!me]);
		green_sem_wait(&ping.sem[me]);
	}
	green_sem_post(&ping.sem[!me]);
	return NULL;
}

static void *beside_ping_pong(void *arg)
{
	green_t players[2];

	for (intptr_t i = 0; i < 2; i++)
		players[i] = start_green(ping_pong, (void *)i);
	/* Started, never-run, timers: all go on. */
	for (int i = 0; i < 50; i++) {
		CHECK_EQ(green_yield(), 0);
		join_green(start_green(nothing, NULL));
		join_green(start_migratable(nothing, NULL));
		CHECK_EQ(green_sleep(GREEN_US(50)), 0);
	}
	atomic_store(&ping.stop, true);
	for (int i = 0; i < 2; i++)
		join_green(players[i]);
	return arg;
}

TEST(ping_pong_starves_nobody)
{
	struct green_options one = { .workers = 1 };

	CHECK_EQ(run_green_with(&one, beside_ping_pong, NULL, NULL), 0);
}

/* All started threads get about the same number of turns. */
#define EQUALS 20
static struct {
	uint64_t turns[EQUALS];
	_Atomic bool stop;
} equal;

static void *count_turns(void *arg)
{
	while (!atomic_load(&equal.stop)) {
		equal.turns[(uintptr_t)arg]++;
		green_yield();
	}
	return NULL;
}

static void *take_turns(void *arg)
{
	green_t threads[EQUALS];
	uint64_t most = 0, least = UINT64_MAX;

	for (uintptr_t i = 0; i < EQUALS; i++)
		threads[i] = start_green(count_turns, (void *)i);
	for (unsigned i = 0; i < 5000; i++)
		green_yield();
	atomic_store(&equal.stop, true);
	for (int i = 0; i < EQUALS; i++) {
		join_green(threads[i]);
		most = equal.turns[i] > most ? equal.turns[i] : most;
		least = equal.turns[i] < least ? equal.turns[i] : least;
	}
	CHECK_GT(least, 2000);
	CHECK_LE(most - least, most / 5 + 10);
	return arg;
}

TEST(turns_are_fair)
{
	struct green_options one = { .workers = 1 };

	CHECK_EQ(run_green_with(&one, take_turns, NULL, NULL), 0);
}

/* ---- where threads run ------------------------------------------------------------ */

/* A plain thread stays where it first ran, whatever wakes it. */
static void *stays(void *arg)
{
	struct rng rng = rng_seed((uintptr_t)arg);
	int worker = green_worker();

	for (unsigned i = 0; i < scaled(200); i++) {
		switch (rng_below(&rng, 3)) {
		case 0:
			green_yield();
			break;
		case 1:
			green_sleep((int64_t)rng_below(&rng, 50000));
			break;
		case 2:
			join_green(start_green(nothing, NULL));
			break;
		}
		CHECK_EQ(green_worker(), worker);
	}
	return NULL;
}

static void *plain_threads(void *arg)
{
	green_t threads[32];

	for (uintptr_t i = 0; i < 32; i++)
		threads[i] = start_green(stays, (void *)i);
	for (int i = 0; i < 32; i++)
		join_green(threads[i]);
	return arg;
}

TEST(plain_threads_stay)
{
	struct green_options four = { .workers = 4 };

	CHECK_EQ(run_green_with(&four, plain_threads, NULL, NULL), 0);
}

/* Migratable ones move and keep all their values. */
static struct {
	_Atomic unsigned moves;
	_Atomic bool stop;
} migration;

static __attribute__((noinline)) void *moves_on(void *arg)
{
	uint64_t seed = (uintptr_t)arg, a = seed * 3, b = seed * 5, c = seed * 7, d = seed * 11;
	double x = (double)seed, y = x / 3;
	uint64_t steps_seed = seed;
	volatile uint64_t array[64];
	int worker = green_worker();

	for (int i = 0; i < 64; i++)
		array[i] = seed + (uint64_t)i;
	for (unsigned i = 0; !atomic_load(&migration.stop); i++) {
		if (i % 8 == 7) /* workers run out of work of their own */
			green_sleep((int64_t)(steps_seed = steps_seed * 48271 % 0x7fffffff) %
			            50000);
		else
			green_yield();
		if (green_worker() != worker) {
			worker = green_worker();
			atomic_fetch_add(&migration.moves, 1);
		}
		a += 3, b += 5, c += 7, d += 11, x += 1;
		array[i % 64] += 1;
	}
	uint64_t steps = (a - seed * 3) / 3;
	CHECK_EQ(b, seed * 5 + steps * 5);
	CHECK_EQ(c, seed * 7 + steps * 7);
	CHECK_EQ(d, seed * 11 + steps * 11);
	CHECK(x == (double)seed + (double)steps && y == (double)seed / 3);
	uint64_t sum = 0;
	for (int i = 0; i < 64; i++)
		sum += array[i];
	CHECK_EQ(sum, 64 * seed + 63 * 32 + steps);
	return NULL;
}

static void *migratable_threads(void *arg)
{
	green_t threads[5];

	for (uintptr_t i = 0; i < 5; i++)
		threads[i] = start_migratable(moves_on, (void *)(i + 1));
	/* Until there has been enough of it. */
	WAIT_FOR(atomic_load(&migration.moves) >= 20);
	atomic_store(&migration.stop, true);
	for (int i = 0; i < 5; i++)
		join_green(threads[i]);
	return arg;
}

TEST(migratable_threads_move)
{
	struct green_options two = { .workers = 2 };

	CHECK_EQ(run_green_with(&two, migratable_threads, NULL, NULL), 0);
}

/* Work spread from one place reaches all workers. */
static struct {
	_Atomic uint64_t seen; /* a bit a worker */
} spread;

static void *note_worker(void *arg)
{
	atomic_fetch_or(&spread.seen, (uint64_t)1 << green_worker());
	spin_for(GREEN_US(20));
	return arg;
}

static void *spread_out(void *arg)
{
	uint64_t all = ((uint64_t)1 << (uintptr_t)arg) - 1;

	while (atomic_load(&spread.seen) != all) {
		green_t threads[64];
		for (int i = 0; i < 64; i++)
			threads[i] = start_green(note_worker, NULL);
		for (int i = 0; i < 64; i++)
			join_green(threads[i]);
	}
	return NULL;
}

TEST(work_reaches_all_workers)
{
	struct green_options four = { .workers = 4 };

	CHECK_EQ(run_green_with(&four, spread_out, (void *)4, NULL), 0);
}

static unsigned cpus_of_process(void)
{
	cpu_set_t set;

	REQUIRE_EQ(sched_getaffinity(0, sizeof(set), &set), 0);
	return (unsigned)CPU_COUNT(&set);
}

static void *one_cpu_load(void *arg)
{
	plain_threads(NULL);
	migratable_threads(NULL);
	return arg;
}

/* Eight workers on one CPU. */
TEST(more_workers_than_cpus)
{
	struct green_options eight = { .workers = 8 };
	cpu_set_t set, before;

	REQUIRE_EQ(sched_getaffinity(0, sizeof(before), &before), 0);
	CPU_ZERO(&set);
	for (unsigned cpu = 0; cpu < CPU_SETSIZE; cpu++)
		if (CPU_ISSET(cpu, &before)) {
			CPU_SET(cpu, &set);
			break;
		}
	REQUIRE_EQ(sched_setaffinity(0, sizeof(set), &set), 0);
	CHECK_EQ(run_green_with(&eight, one_cpu_load, NULL, NULL), 0);
	CHECK_EQ(cpus_of_process(), 1);
}

/* The caller's own affinity comes back after the run. */
TEST(affinity_is_restored)
{
	unsigned before = cpus_of_process();
	struct green_info info;

	unsetenv("GREEN_WORKERS");
	CHECK_EQ(green_init(NULL), 0);
	CHECK_EQ(green_info(&info), 0);
	CHECK_GE(info.workers, 1);
	CHECK_LE(info.workers, before); /* a quota may make it fewer */
	CHECK_EQ(green_run(nothing, NULL, NULL), 0);
	CHECK_EQ(cpus_of_process(), before);
	CHECK_EQ(green_fini(), 0);
}

/* ---- order --------------------------------------------------------------------------- */

#define SLEEPERS 10
static struct {
	int order[SLEEPERS];
	int count;
} sleepers;

static void *sleep_in_turn(void *arg)
{
	intptr_t i = (intptr_t)arg;

	/* One that starts later sleeps shorter. */
	green_sleep(GREEN_MS(20) * (SLEEPERS - i));
	sleepers.order[sleepers.count++] = (int)i;
	return NULL;
}

static void *sleep_order(void *arg)
{
	green_t threads[SLEEPERS];

	for (intptr_t i = 0; i < SLEEPERS; i++)
		threads[i] = start_green(sleep_in_turn, (void *)i);
	for (int i = 0; i < SLEEPERS; i++)
		join_green(threads[i]);
	for (int i = 0; i < SLEEPERS; i++)
		CHECK_EQ(sleepers.order[i], SLEEPERS - 1 - i);
	return arg;
}

TEST(sleepers_wake_in_order)
{
	struct green_options one = { .workers = 1 };

	CHECK_EQ(run_green_with(&one, sleep_order, NULL, NULL), 0);
}

GREEN_TEST(sleep_lasts)
{
	for (int i = 0; i < 20; i++) {
		int64_t want = GREEN_US(i * 100), begin = green_now();
		CHECK_EQ(green_sleep(want), 0);
		CHECK_GE(green_now() - begin, want);
	}
	CHECK_EQ(green_sleep(0), 0);
	CHECK_EQ(green_sleep(-1), 0);
	CHECK_EQ(green_sleep(INT64_MIN), 0);
}

/* ---- no stack ------------------------------------------------------------------------- */

#define WANTING 2000
static struct {
	_Atomic unsigned ran;
	_Atomic bool go;
} shortage;

static void *hold_a_stack(void *arg)
{
	atomic_fetch_add(&shortage.ran, 1);
	while (!atomic_load(&shortage.go))
		green_sleep(GREEN_MS(1));
	return arg;
}

/* The kernel refuses guards for new stacks for a while: threads wait for one,
 * those that have one go on, and nothing is lost. */
static void *short_of_stacks(void *arg)
{
	green_t *threads = calloc(WANTING, sizeof(*threads)), yielder;

	atomic_store(&pair.stop, false);
	yielder = start_green(yield_for_ever, NULL);
	green_yield();
	for (int i = 0; i < WANTING; i++)
		threads[i] = start_green(hold_a_stack, NULL);
	while (fault_hits() < 20)
		CHECK_EQ(green_yield(), 0);
	CHECK_LT(atomic_load(&shortage.ran), WANTING);
	/* The others go on meanwhile. */
	uint64_t before = atomic_load(&pair.yields);
	for (int i = 0; i < 50; i++)
		CHECK_EQ(green_yield(), 0);
	CHECK_GT(atomic_load(&pair.yields), before);
	CHECK_EQ(green_sleep(GREEN_MS(1)), 0);
	fault_clear();
	WAIT_FOR(atomic_load(&shortage.ran) == WANTING);
	atomic_store(&shortage.go, true);
	for (int i = 0; i < WANTING; i++)
		join_green(threads[i]);
	atomic_store(&pair.stop, true);
	join_green(yielder);
	free(threads);
	return arg;
}

static void *begin_shortage(void *arg)
{
	/* A few stacks are hot already. */
	join_green(start_green(nothing, NULL));
	fault_inject(SYS_madvise, 0, 0, ENOMEM);
	fault_inject(SYS_process_madvise, 0, 0, ENOMEM);
	return short_of_stacks(arg);
}

TEST(no_stack_for_a_while)
{
	struct green_options one = { .workers = 1 };
	struct green_info info;

	CHECK_EQ(green_init(&one), 0);
	CHECK_EQ(green_info(&info), 0);
	CHECK_EQ(green_fini(), 0);
	if (strcmp(info.stacks, "guard-install") != 0)
		SKIP("stacks are not guarded by MADV_GUARD_INSTALL here");
	fault_prepare();
	CHECK_EQ(run_green_with(&one, begin_shortage, NULL, NULL), 0);
}
