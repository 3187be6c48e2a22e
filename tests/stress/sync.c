/* SPDX-License-Identifier: MIT
 *
 * Seeded stress of green_sync.h: in each round green threads on all workers and
 * OS threads use the same objects, with random deadlines and cancellations, and
 * otherwise wait for ever.  At the end of a round every sum must be exact.  A
 * lost wake-up is a hang, which a watchdog reports with the seed.
 *
 *   stress_sync [--seed N] [--seconds S]
 */
#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "green.h"

#define GREENS_MAX 48
#define OS_MAX 4
#define HANG_S 60

static uint64_t seed;
static _Atomic uint64_t rounds, operations, gave_up;

static void fail(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

static void fail(const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	fprintf(stderr, "stress_sync: seed %llu, round %llu: ", (unsigned long long)seed,
	        (unsigned long long)rounds);
	vfprintf(stderr, format, arguments);
	fputc('\n', stderr);
	va_end(arguments);
	green_dump(2);
	abort();
}

/* ---- randomness (splitmix64) ------------------------------------------------ */

static uint64_t next(uint64_t *state)
{
	uint64_t x = *state += 0x9e3779b97f4a7c15;
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
	x = (x ^ x >> 27) * 0x94d049bb133111eb;
	return x ^ x >> 31;
}

static unsigned below(uint64_t *state, unsigned n)
{
	return (unsigned)(next(state) % n);
}

/* ---- one round's world ------------------------------------------------------- */

struct actor {
	uint64_t random;
	unsigned id, operations;
};

#define BIG 200

static struct {
	green_mutex_t mutex;
	uint64_t locked; /* under mutex */
	_Atomic uint64_t locks;

	green_sem_t sem;
	unsigned sem_tokens;
	_Atomic int sem_inside;

	green_mutex_t monitor;
	green_cond_t freed;
	unsigned free, free_tokens; /* under monitor */

	green_chan_t *chan[3]; /* rendezvous, buffered, big elements */
	_Atomic uint64_t sent[3], received[3];
	_Atomic int traders;

	green_pool_t *pool;
	green_imap_t *imap;
	unsigned items, items_fetched;
	_Atomic uint64_t mapped;
	_Atomic uint64_t pool_started, pool_done;

	green_wg_t all;
} world;

static bool ended(int error)
{
	return error == -ECANCELED;
}

/* Counts how an operation that may give up ended; anything else is a failure. */
static int outcome(const char *what, int error)
{
	atomic_fetch_add_explicit(&operations, 1, memory_order_relaxed);
	if (error == -ECANCELED || error == -ETIMEDOUT)
		atomic_fetch_add_explicit(&gave_up, 1, memory_order_relaxed);
	else if (error && error != -EPIPE && error != -EAGAIN && error != -EBUSY)
		fail("%s: %d (%s)", what, error, strerror(-error));
	return error;
}

static void pause_sometimes(struct actor *a)
{
	unsigned dice = below(&a->random, 16);
	if (dice < 4)
		green_yield();
	else if (dice == 4)
		green_sleep(below(&a->random, 100000));
}

/* ---- what an actor can do; each returns what outcome() returned ----------------- */

static int use_mutex(struct actor *a)
{
	int error = outcome("lock", below(&a->random, 8) ? green_mutex_lock(&world.mutex)
	                                                 : green_mutex_trylock(&world.mutex));
	if (error)
		return error;
	uint64_t before = world.locked;
	pause_sometimes(a);
	if (world.locked != before)
		fail("two threads hold the mutex");
	world.locked++;
	atomic_fetch_add(&world.locks, 1);
	if (green_mutex_unlock(&world.mutex))
		fail("the owner may not unlock");
	return 0;
}

static int use_sem(struct actor *a)
{
	int error = outcome("semaphore", green_sem_wait(&world.sem));
	if (error)
		return error;
	if (atomic_fetch_add(&world.sem_inside, 1) >= (int)world.sem_tokens)
		fail("more inside than the semaphore allows");
	pause_sometimes(a);
	atomic_fetch_sub(&world.sem_inside, 1);
	if (green_sem_post(&world.sem))
		fail("post failed");
	return 0;
}

/* A counter guarded by a monitor.  Everybody who is signalled takes or passes
 * the signal on, also when cancelled meanwhile. */
static int use_cond(struct actor *a)
{
	int error = outcome("lock", green_mutex_lock(&world.monitor));
	if (error)
		return error;
	while (!world.free && !error)
		error = outcome("cond", green_cond_wait(&world.freed, &world.monitor));
	if (!error)
		world.free--;
	if (green_mutex_unlock(&world.monitor))
		fail("the mutex was not held after a wait (%d)", error);
	if (error)
		return error;
	pause_sometimes(a);
	struct green_shield shield;
	green_shield_begin(&shield);
	if (green_mutex_lock(&world.monitor))
		fail("shielded lock failed");
	world.free++;
	if (below(&a->random, 4))
		green_cond_signal(&world.freed);
	else
		green_cond_broadcast(&world.freed);
	green_mutex_unlock(&world.monitor);
	green_shield_end(&shield);
	return 0;
}

static uint64_t element_make(struct actor *a, unsigned char *element, size_t size)
{
	uint64_t value = next(&a->random) >> 8;
	memset(element, (int)(value & 0xff), size);
	memcpy(element, &value, sizeof(value));
	return value;
}

static void element_received(int c, const unsigned char *element, size_t size)
{
	uint64_t value;
	memcpy(&value, element, sizeof(value));
	for (size_t i = sizeof(value); i < size; i++)
		if (element[i] != (value & 0xff))
			fail("an element of channel %d is torn", c);
	atomic_fetch_add(&world.received[c], value);
}

static size_t element_size(int c)
{
	return c == 2 ? BIG : sizeof(uint64_t);
}

static int use_chan(struct actor *a, bool may_wait)
{
	unsigned char element[BIG];
	int c = (int)below(&a->random, 3), error;
	if (below(&a->random, 2)) {
		uint64_t value = element_make(a, element, element_size(c));
		error = outcome("send", may_wait ? green_chan_send(world.chan[c], element)
		                                 : green_chan_trysend(world.chan[c], element));
		if (!error)
			atomic_fetch_add(&world.sent[c], value);
	} else {
		error = outcome("receive", may_wait ? green_chan_recv(world.chan[c], element)
		                                    : green_chan_tryrecv(world.chan[c], element));
		if (!error)
			element_received(c, element, element_size(c));
	}
	return error;
}

/* Sends on one channel or receives from any: any two who do this can go on. */
static int use_select(struct actor *a)
{
	unsigned char out[BIG], in[3][BIG];
	struct green_select cases[5] = { { .chan = NULL } };
	int c = (int)below(&a->random, 3);
	unsigned at = below(&a->random, 5);
	uint64_t value = element_make(a, out, element_size(c));
	cases[at % 5] = (struct green_select){ world.chan[c], true, out, 1 };
	for (unsigned i = 0; i < 3; i++)
		cases[(at + 1 + i) % 5] = (struct green_select){ world.chan[i], false, in[i], 1 };
	int k = green_select(cases, 5, false);
	if (k < 0)
		return outcome("select", k);
	int error = outcome("select", cases[k].result);
	if (error)
		return error;
	if (cases[k].send) {
		atomic_fetch_add(&world.sent[c], value);
	} else {
		unsigned i = ((unsigned)k + 4 - at) % 5;
		element_received((int)i, in[i], element_size((int)i));
	}
	return 0;
}

static void *pool_member(void *arg)
{
	struct actor a = { (uint64_t)(uintptr_t)arg, 0, 0 };
	pause_sometimes(&a);
	if (green_pool_running(world.pool) < 1)
		fail("a member runs, and the pool is empty");
	atomic_fetch_add(&world.pool_done, 1);
	return NULL;
}

static int use_pool(struct actor *a)
{
	void *arg = (void *)(uintptr_t)next(&a->random);
	int error = outcome("pool", green_pool_spawn(world.pool, pool_member, arg));
	if (!error)
		atomic_fetch_add(&world.pool_started, 1);
	return error;
}

static int source(void *arg, void **item)
{
	struct actor *a = arg;
	if (world.items_fetched == world.items)
		return 0;
	if (!below(&a->random, 4)) {
		int error = green_sleep(below(&a->random, 50000));
		if (error)
			return error;
	}
	*item = (void *)(uintptr_t)++world.items_fetched;
	return 1;
}

static void *triple(void *arg)
{
	struct actor a = { (uint64_t)(uintptr_t)arg, 0, 0 };
	pause_sometimes(&a);
	return (void *)((uintptr_t)arg * 3);
}

static int use_imap(struct actor *a)
{
	void *result;
	(void)a;
	int status = green_imap_next(world.imap, &result);
	if (status <= 0)
		return outcome("imap", status);
	atomic_fetch_add(&world.mapped, (uint64_t)(uintptr_t)result);
	return outcome("imap", 0);
}

/* A wait group in this frame, gone as soon as it is waited for. */
static void *finish(void *wg)
{
	if (green_wg_done(wg))
		fail("wait group below zero");
	return NULL;
}

static int use_wg(struct actor *a)
{
	green_wg_t wg = GREEN_WG_INIT;
	struct green_shield shield;
	int n = (int)below(&a->random, 3) + 1;
	green_wg_add(&wg, n);
	for (int i = 0; i < n; i++)
		if (green_go(finish, &wg))
			fail("spawn failed");
	green_shield_begin(&shield);
	int error = outcome("wait group", green_wg_wait(&wg));
	green_shield_end(&shield);
	memset(&wg, 0xff, sizeof(wg));
	__asm__ volatile("" ::"r"(&wg) : "memory");
	return error;
}

/* ---- actors ------------------------------------------------------------------ */

static int act(struct actor *a, bool in_time)
{
	switch (below(&a->random, 10)) {
	case 0:
	case 1:
		return use_mutex(a);
	case 2:
		return use_sem(a);
	case 3:
		return use_cond(a);
	case 4:
		return use_chan(a, in_time);
	case 5:
	case 6:
		return use_select(a);
	case 7:
		return use_pool(a);
	case 8:
		return use_imap(a);
	default:
		return use_wg(a);
	}
}

static void *actor_main(void *arg)
{
	struct actor *a = arg;
	for (unsigned i = 0; i < a->operations; i++) {
		struct green_deadline scope;
		bool in_time = !below(&a->random, 3);
		if (in_time)
			green_deadline_begin(&scope, below(&a->random, 200000));
		int error = act(a, in_time);
		if (in_time)
			green_deadline_end(&scope);
		if (ended(error))
			break;
		pause_sometimes(a);
	}
	/* One trader alone would wait for ever. */
	if (atomic_fetch_sub(&world.traders, 1) <= 2)
		for (int i = 0; i < 3; i++)
			green_chan_close(world.chan[i]);
	if (green_wg_done(&world.all))
		fail("wait group below zero");
	return NULL;
}

/* ---- rounds ------------------------------------------------------------------ */

static void world_begin(uint64_t *random, unsigned actors, struct actor *imap_random)
{
	memset(&world, 0, sizeof(world));
	world.sem_tokens = world.sem.value = below(random, 3) + 1;
	world.free_tokens = world.free = below(random, 3) + 1;
	world.chan[0] = green_chan_new(sizeof(uint64_t), 0);
	world.chan[1] = green_chan_new(sizeof(uint64_t), below(random, 5));
	world.chan[2] = green_chan_new(BIG, below(random, 3));
	world.traders = (int)actors;
	world.pool = green_pool_new(below(random, 4) + 1);
	world.items = below(random, 200);
	imap_random->random = next(random);
	world.imap = green_pool_imap(world.pool, triple, source, imap_random);
	if (!world.chan[0] || !world.chan[1] || !world.chan[2] || !world.pool || !world.imap)
		fail("no memory");
	green_wg_add(&world.all, (int)actors);
}

static void world_end(void)
{
	unsigned char element[BIG];
	for (int c = 0; c < 3; c++) {
		while (!green_chan_recv(world.chan[c], element))
			element_received(c, element, element_size(c));
		if (world.sent[c] != world.received[c])
			fail("channel %d: %llu sent, %llu received", c,
			     (unsigned long long)world.sent[c],
			     (unsigned long long)world.received[c]);
		green_chan_free(world.chan[c]);
	}
	struct actor nobody = { 0 };
	while (world.mapped != 3ull * world.items * (world.items + 1) / 2)
		if (use_imap(&nobody))
			break;
	if (world.mapped != 3ull * world.items * (world.items + 1) / 2)
		fail("imap: sum %llu of %u items", (unsigned long long)world.mapped, world.items);
	green_imap_delete(world.imap);
	green_pool_delete(world.pool);
	if (world.pool_started != world.pool_done)
		fail("pool: %llu started, %llu done", (unsigned long long)world.pool_started,
		     (unsigned long long)world.pool_done);
	if (world.locked != world.locks || world.mutex.waiters.first || world.mutex.owner)
		fail("mutex: %llu locks, %llu counted", (unsigned long long)world.locks,
		     (unsigned long long)world.locked);
	if (world.sem.value != world.sem_tokens || world.sem.waiters.first)
		fail("semaphore: %u, not %u", world.sem.value, world.sem_tokens);
	if (world.free != world.free_tokens || world.freed.waiters.first)
		fail("cond: %u, not %u", world.free, world.free_tokens);
}

static void cancel_some(uint64_t *random, const green_t *threads, unsigned count)
{
	unsigned times = below(random, count);
	for (unsigned i = 0; i < times; i++) {
		green_sleep(below(random, 150000));
		green_cancel(threads[below(random, count)]);
	}
}

static void *os_actor(void *arg)
{
	return actor_main(arg);
}

static void round_run(uint64_t *random)
{
	struct actor actors[GREENS_MAX + OS_MAX], imap_random = { 0 };
	green_t greens[GREENS_MAX];
	pthread_t os[OS_MAX];
	unsigned green_count = below(random, GREENS_MAX - 1) + 2;
	unsigned os_count = below(random, OS_MAX + 1);
	unsigned each = below(random, 200) + 1;

	world_begin(random, green_count + os_count, &imap_random);
	for (unsigned i = 0; i < green_count + os_count; i++)
		actors[i] = (struct actor){ next(random), i, each };
	for (unsigned i = 0; i < green_count; i++) {
		struct green_attr attr = { .migratable = below(random, 2) };
		if (green_spawn(&greens[i], &attr, actor_main, &actors[i]))
			fail("spawn failed");
	}
	for (unsigned i = 0; i < os_count; i++)
		if (pthread_create(&os[i], NULL, os_actor, &actors[green_count + i]))
			fail("pthread_create failed");
	if (below(random, 4))
		cancel_some(random, greens, green_count);
	if (green_wg_wait(&world.all))
		fail("wait group of the actors");
	for (unsigned i = 0; i < green_count; i++)
		if (green_join(greens[i], NULL))
			fail("join failed");
	for (unsigned i = 0; i < os_count; i++)
		pthread_join(os[i], NULL); /* has called green_wg_done(): ends at once */
	world_end();
}

static int64_t run_ns;

static void *stress(void *arg)
{
	uint64_t random = seed;
	int64_t end_ns = green_now() + run_ns;
	while (green_now() < end_ns) {
		round_run(&random);
		atomic_fetch_add(&rounds, 1);
	}
	return arg;
}

static void *watchdog(void *arg)
{
	uint64_t before = 0;
	for (unsigned idle = 0;; idle++) {
		sleep(1);
		uint64_t now = atomic_load(&rounds);
		if (now != before)
			idle = 0;
		before = now;
		if (idle >= HANG_S)
			fail("no round has ended for %d s", HANG_S);
	}
	return arg;
}

int main(int argc, char **argv)
{
	struct timespec now;
	pthread_t dog;
	clock_gettime(CLOCK_REALTIME, &now);
	seed = (uint64_t)now.tv_nsec ^ (uint64_t)now.tv_sec << 20 ^ (uint64_t)getpid() << 40;
	run_ns = GREEN_S(3);
	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--seed") && i + 1 < argc) {
			seed = strtoull(argv[++i], NULL, 0);
		} else if (!strcmp(argv[i], "--seconds") && i + 1 < argc) {
			run_ns = (int64_t)(1e9 * strtod(argv[++i], NULL));
		} else {
			fprintf(stderr, "usage: stress_sync [--seed N] [--seconds S]\n");
			return 2;
		}
	}
	printf("seed %llu\n", (unsigned long long)seed);
	fflush(stdout);
	if (pthread_create(&dog, NULL, watchdog, NULL))
		return 1;
	int error = green_run(stress, NULL, NULL);
	if (error)
		fail("green_run: %d: %s", error, green_error());
	printf("%llu rounds, %llu operations, %llu given up\n", (unsigned long long)rounds,
	       (unsigned long long)operations, (unsigned long long)gave_up);
	return 0;
}
