/* SPDX-License-Identifier: MIT
 *
 * Wait records: the pool hands each out once and gets by on few, lists keep
 * their order, a claim passes over who has given up, and without memory every
 * wait says so and leaves its object as it was.
 */
#include "sync.h"

#define MANY 1000

static int by_address(const void *a, const void *b)
{
	uintptr_t x = *(const uintptr_t *)a, y = *(const uintptr_t *)b;
	return x < y ? -1 : x > y;
}

static unsigned distinct(uintptr_t *addresses, unsigned n)
{
	unsigned found = n > 0;
	qsort(addresses, n, sizeof(*addresses), by_address);
	for (unsigned i = 1; i < n; i++)
		found += addresses[i] != addresses[i - 1];
	return found;
}

static void *each_once(void *arg)
{
	static struct green_waiter *taken[MANY];
	static uintptr_t addresses[2 * MANY];
	for (int round = 0; round < 2; round++) {
		for (unsigned i = 0; i < MANY; i++) {
			taken[i] = waiter_get();
			CHECK(!taken[i]->listed && !taken[i]->claimed && !taken[i]->handed);
			memset(taken[i], 0xa5, sizeof(*taken[i]));
			addresses[round * MANY + (int)i] = (uintptr_t)taken[i];
		}
		CHECK_EQ(distinct(addresses + (ptrdiff_t)round * MANY, MANY), MANY);
		for (unsigned i = 0; i < MANY; i++)
			waiter_put(taken[i]);
	}
	CHECK_LE(distinct(addresses, 2 * MANY), MANY + 64); /* used again */
	return arg;
}
BOTH(each_once)

/* Taken here, put back there, round after round: they come back. */
static struct green_waiter *carried[100];
static uintptr_t seen[200 * 100];

static void *put_all(void *arg)
{
	for (unsigned i = 0; i < 100; i++)
		waiter_put(carried[i]);
	return arg;
}

static void *come_back(void *arg)
{
	for (unsigned round = 0; round < 200; round++) {
		for (unsigned i = 0; i < 100; i++) {
			carried[i] = waiter_get();
			seen[round * 100 + i] = (uintptr_t)carried[i];
		}
		struct thread t = thread_start(true, put_all, NULL);
		thread_join(&t);
	}
	CHECK_LE(distinct(seen, 200 * 100), 100 + WAITERS_KEPT + 128);
	return arg;
}
BOTH(come_back)

static void *hammer(void *arg)
{
	struct green_waiter *taken[90];
	for (int round = 0; round < 300; round++) {
		unsigned n = 1 + (unsigned)round * 7 % 90;
		for (unsigned i = 0; i < n; i++) {
			taken[i] = waiter_get();
			CHECK(!taken[i]->sibling);
			taken[i]->sibling = arg; /* nobody else has it meanwhile */
		}
		if (round % 8 == 0)
			green_yield();
		for (unsigned i = 0; i < n; i++) {
			CHECK((void *)taken[i]->sibling == arg);
			taken[i]->sibling = NULL;
			waiter_put(taken[i]);
		}
	}
	return NULL;
}

static void *exclusive(void *arg)
{
	struct thread threads[8];
	for (int i = 0; i < 8; i++)
		threads[i] = thread_start(!green_self() || i % 4 == 0, hammer, &threads[i]);
	for (int i = 0; i < 8; i++)
		thread_join(&threads[i]);
	return arg;
}
BOTH(exclusive)

GREEN_TEST(flush)
{
	struct green_waiter *taken[200];
	for (int i = 0; i < 200; i++)
		taken[i] = waiter_get();
	for (int i = 0; i < 200; i++)
		waiter_put(taken[i]);
	struct worker *worker = worker_self();
	CHECK_GE(worker->waiter_free_count, 100);
	waiter_flush(worker);
	CHECK_EQ(worker->waiter_free_count, 0);
	CHECK(!worker->waiter_free);
	waiter_flush(worker);
	struct green_waiter *w = waiter_get();
	CHECK(w);
	waiter_put(w);
}

/* ---- lists ------------------------------------------------------------------ */

TEST(order)
{
	struct green_waiter w[4];
	struct green_wait_list list = { NULL, NULL };
	memset(w, 0, sizeof(w));
	wait_list_append(&list, &w[1]);
	wait_list_append(&list, &w[2]);
	wait_list_prepend(&list, &w[0]);
	wait_list_append(&list, &w[3]);
	wait_list_remove(&list, &w[1]);
	CHECK(list.first == &w[0] && w[0].next == &w[2] && w[2].next == &w[3]);
	CHECK(list.last == &w[3] && w[3].prev == &w[2] && w[2].prev == &w[0]);
	CHECK(!w[1].listed && w[0].listed && w[2].listed && w[3].listed);
	wait_list_remove(&list, &w[0]);
	wait_list_remove(&list, &w[3]);
	wait_list_remove(&list, &w[2]);
	CHECK(!list.first && !list.last);
}

/* Two tickets of waits that are over, before one of a wait that goes on. */
static void stale_then_current(struct gt *self, struct green_wait_list *list,
                               struct green_waiter *w)
{
	for (int i = 0; i < 3; i++) {
		memset(&w[i], 0, sizeof(w[i]));
		w[i].ticket = park_begin(self, PARK_SEM, list, NULL);
		wait_list_append(list, &w[i]);
		if (i < 2)
			CHECK(park_abort(w[i].ticket));
	}
}

static void *claiming(void *arg)
{
	struct gt *self = park_self();
	struct green_wait_list list = { NULL, NULL };
	struct green_waiter *w[3];
	struct spin lock = { 0 };
	struct green_waiter records[3];

	stale_then_current(self, &list, records);
	w[0] = wait_list_claim(&list, WAKE_PEER);
	CHECK(w[0] == &records[2] && w[0]->claimed);
	CHECK(!list.first && !records[0].listed && !records[0].claimed);
	park_finish(self);
	CHECK_EQ(park_commit(records[2].ticket, 0, GREEN_FOREVER), WAKE_PEER);
	CHECK(!wait_list_claim(&list, WAKE_PEER));

	stale_then_current(self, &list, records);
	spin_lock(&lock);
	CHECK(wait_list_wake(&lock, &list));
	CHECK_EQ(park_commit(records[2].ticket, 0, GREEN_FOREVER), WAKE_PEER);
	spin_lock(&lock); /* it was let go */
	CHECK(!wait_list_wake(&lock, &list));
	CHECK(atomic_load(&lock.held));
	spin_unlock(&lock);

	stale_then_current(self, &list, records);
	w[1] = wait_list_claim_all(&list, WAKE_CLOSED, NULL);
	CHECK(w[1] == &records[2] && !w[1]->next);
	waiters_finish(w[1]);
	CHECK_EQ(park_commit(records[2].ticket, 0, GREEN_FOREVER), WAKE_CLOSED);
	return arg;
}
BOTH(claiming)

/* ---- without memory ----------------------------------------------------------- */

static _Atomic bool dry; /* no memory to be had */

static long fails(long nr)
{
	return nr == SYS_mmap && atomic_load(&dry) ? -ENOMEM : 0;
}

static long call(long nr, long a, long b, long c, long d, long e, long f)
{
	long error = fails(nr);
	return error ? error : sys_raw(nr, a, b, c, d, e, f);
}

static struct green_waiter *hoard; /* linked through sibling */

static void pool_exhaust(void)
{
	struct green_waiter *w;
	atomic_store(&dry, true);
	while ((w = waiter_get())) {
		w->sibling = hoard;
		hoard = w;
	}
}

static void pool_restore(void)
{
	atomic_store(&dry, false);
	while (hoard) {
		struct green_waiter *w = hoard;
		hoard = w->sibling;
		waiter_put(w);
	}
}

static void *lock_it(void *mutex)
{
	CHECK_EQ(green_mutex_lock(mutex), 0);
	return NULL;
}

static void *no_memory(void *arg)
{
	green_mutex_t mutex = GREEN_MUTEX_INIT, taken = GREEN_MUTEX_INIT;
	green_cond_t cond = GREEN_COND_INIT;
	green_sem_t sem = GREEN_SEM_INIT(0);
	green_wg_t wg = GREEN_WG_INIT;
	green_chan_t *chan = green_chan_new(sizeof(int), 0);
	int x = 0;
	struct green_select cases[2] = { { chan, false, &x, 0 }, { chan, true, &x, 0 } };
	struct thread t = thread_start(!green_self(), lock_it, &taken);
	thread_join(&t);
	green_wg_add(&wg, 1);

	pool_exhaust();
	CHECK_EQ(green_sem_wait(&sem), -ENOMEM);
	CHECK_EQ(green_wg_wait(&wg), -ENOMEM);
	CHECK_EQ(green_chan_recv(chan, &x), -ENOMEM);
	CHECK_EQ(green_chan_send(chan, &x), -ENOMEM);
	CHECK_EQ(green_select(cases, 2, false), -ENOMEM);
	CHECK_EQ(green_mutex_lock(&taken), -ENOMEM);
	CHECK_EQ(green_mutex_lock(&mutex), 0); /* no wait, no record */
	CHECK_EQ(green_cond_wait(&cond, &mutex), -ENOMEM);
	CHECK_EQ(green_mutex_unlock(&mutex), 0); /* still held */
	pool_restore();

	CHECK(!sem.waiters.first && !wg.waiters.first && !cond.waiters.first);
	CHECK(!taken.waiters.first);
	CHECK_EQ(green_chan_trysend(chan, &x), -EAGAIN);
	CHECK_EQ(green_chan_tryrecv(chan, &x), -EAGAIN);
	CHECK_EQ(green_sem_post(&sem), 0);
	CHECK_EQ(green_sem_wait(&sem), 0);
	green_chan_free(chan);
	return arg;
}

TEST(no_memory_plain)
{
	sys.call = call;
	sys_fault_hook = fails;
	no_memory(NULL);
}

TEST(no_memory_green)
{
	sys.call = call;
	sys_fault_hook = fails;
	run_green(no_memory, NULL);
}
