/* SPDX-License-Identifier: MIT
 *
 * The threads of C11, and the futexes that all of this is made of.
 */
#include "conform.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <threads.h>
#include <unistd.h>

static int returns(void *argument)
{
	return (int)(intptr_t)argument;
}

static int exits(void *argument)
{
	thrd_exit((int)(intptr_t)argument);
}

CHECK(c11_threads)
{
	thrd_t t;
	int result;

	EXPECT(thrd_create(&t, returns, (void *)5L) == thrd_success);
	EXPECT(!thrd_equal(t, thrd_current()));
	EXPECT(thrd_join(t, &result) == thrd_success && result == 5);
	EXPECT(thrd_create(&t, exits, (void *)6L) == thrd_success);
	EXPECT(thrd_join(t, &result) == thrd_success && result == 6);
	EXPECT(thrd_create(&t, returns, NULL) == thrd_success && thrd_detach(t) == thrd_success);
	return true;
}

CHECK(c11_sleep)
{
	struct timespec limit = { 0, 30000000 };
	uint64_t before = now_ms();

	thrd_yield();
	EXPECT(thrd_sleep(&limit, NULL) == 0 && now_ms() - before >= 29);
	return true;
}

static mtx_t mutex;
static cnd_t condition;
static long count;
static int turn;

static int counts(void *argument)
{
	for (int i = 0; i < 5000; i++) {
		mtx_lock(&mutex);
		count++;
		mtx_unlock(&mutex);
	}
	return (int)(intptr_t)argument;
}

CHECK(c11_mutex)
{
	thrd_t t[4];

	count = 0;
	EXPECT(mtx_init(&mutex, mtx_plain) == thrd_success);
	for (int i = 0; i < 4; i++)
		EXPECT(thrd_create(&t[i], counts, NULL) == thrd_success);
	for (int i = 0; i < 4; i++)
		EXPECT(thrd_join(t[i], NULL) == thrd_success);
	EXPECT(count == 20000);
	EXPECT(mtx_trylock(&mutex) == thrd_success);
	EXPECT(mtx_trylock(&mutex) == thrd_busy);
	EXPECT(mtx_unlock(&mutex) == thrd_success);
	mtx_destroy(&mutex);
	return true;
}

static int tries(void *argument)
{
	struct timespec soon = in_ms(CLOCK_REALTIME, 30);

	return mtx_timedlock(argument, &soon);
}

CHECK(c11_mutex_timed_and_recursive)
{
	thrd_t t;
	int result;
	mtx_t m;

	EXPECT(mtx_init(&m, mtx_timed | mtx_recursive) == thrd_success);
	EXPECT(mtx_lock(&m) == thrd_success && mtx_lock(&m) == thrd_success);
	EXPECT(thrd_create(&t, tries, &m) == thrd_success);
	EXPECT(thrd_join(t, &result) == thrd_success && result == thrd_timedout);
	EXPECT(mtx_unlock(&m) == thrd_success && mtx_unlock(&m) == thrd_success);
	mtx_destroy(&m);
	return true;
}

static int takes_turns(void *argument)
{
	int own = (int)(intptr_t)argument;

	for (int i = 0; i < 500; i++) {
		mtx_lock(&mutex);
		while (turn % 2 != own)
			cnd_wait(&condition, &mutex);
		turn++;
		cnd_broadcast(&condition);
		mtx_unlock(&mutex);
	}
	return 0;
}

CHECK(c11_condition)
{
	struct timespec soon = in_ms(CLOCK_REALTIME, 30);
	thrd_t t[2];

	turn = 0;
	EXPECT(mtx_init(&mutex, mtx_plain) == thrd_success && cnd_init(&condition) == thrd_success);
	for (int i = 0; i < 2; i++)
		EXPECT(thrd_create(&t[i], takes_turns, (void *)(intptr_t)i) == thrd_success);
	for (int i = 0; i < 2; i++)
		EXPECT(thrd_join(t[i], NULL) == thrd_success);
	EXPECT(turn == 1000);
	EXPECT(mtx_lock(&mutex) == thrd_success);
	EXPECT(cnd_timedwait(&condition, &mutex, &soon) == thrd_timedout);
	EXPECT(mtx_unlock(&mutex) == thrd_success);
	cnd_destroy(&condition);
	mtx_destroy(&mutex);
	return true;
}

static tss_t storage;
static int destroyed;
static once_flag once = ONCE_FLAG_INIT;
static int done_once;

static void destroys(void *value)
{
	(void)value;
	add_one(&destroyed);
}

static void does_once(void)
{
	add_one(&done_once);
}

static int uses_storage(void *argument)
{
	call_once(&once, does_once);
	if (tss_get(storage) || tss_set(storage, argument) != thrd_success)
		return 1;
	sleep_ms(5);
	return tss_get(storage) != argument;
}

CHECK(c11_storage_and_once)
{
	thrd_t t[5];
	int result;

	destroyed = 0;
	EXPECT(tss_create(&storage, destroys) == thrd_success);
	for (intptr_t i = 0; i < 5; i++)
		EXPECT(thrd_create(&t[i], uses_storage, (void *)(i + 1)) == thrd_success);
	for (int i = 0; i < 5; i++)
		EXPECT(thrd_join(t[i], &result) == thrd_success && result == 0);
	EXPECT(destroyed == 5 && done_once == 1);
	tss_delete(storage);
	return true;
}

/* ---- futexes ---------------------------------------------------------------- */

static uint32_t words[2];
static int waiting, woken;

static long futex(uint32_t *word, int operation, uint32_t value, const struct timespec *limit,
                  uint32_t *other, uint32_t value3)
{
	return syscall(SYS_futex, word, operation, value, limit, other, value3);
}

static void *waits(void *argument)
{
	uint32_t bits = (uint32_t)(uintptr_t)argument;
	long r;

	add_one(&waiting);
	r = futex(&words[0], FUTEX_WAIT_BITSET_PRIVATE, 0, NULL, NULL, bits);
	add_one(&woken);
	return (void *)r;
}

/* How many wait for the first word: those that can be moved to the second, and back. */
static long waiters(void)
{
	const struct timespec *all = (const struct timespec *)(uintptr_t)INT_MAX;
	long n = futex(&words[0], FUTEX_CMP_REQUEUE_PRIVATE, 0, all, &words[1], 0);

	return futex(&words[1], FUTEX_CMP_REQUEUE_PRIVATE, 0, all, &words[0], 0) == n ? n : -1;
}

static bool start_waiting(pthread_t *t, int threads, uint32_t bits)
{
	waiting = woken = 0;
	words[0] = words[1] = 0;
	for (int i = 0; i < threads; i++)
		t[i] = started(waits, (void *)(uintptr_t)bits);
	EXPECT(reaches(&waiting, threads));
	while (waiters() < threads)
		sleep_ms(1);
	return true;
}

CHECK(futex_value_differs)
{
	words[0] = 1;
	EXPECT(futex(&words[0], FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0) == -1 && errno == EAGAIN);
	EXPECT(futex(&words[0], FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0) == 0);
	return true;
}

CHECK(futex_bad_arguments)
{
	uint32_t *odd = (uint32_t *)((char *)words + 1);

	EXPECT(futex(odd, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0) == -1 && errno == EINVAL);
	EXPECT(futex(NULL, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0) == -1 && errno == EFAULT);
	EXPECT(futex(words, FUTEX_WAIT_BITSET_PRIVATE, 0, NULL, NULL, 0) == -1 && errno == EINVAL);
	EXPECT(futex(words, 77, 0, NULL, NULL, 0) == -1 && errno == ENOSYS);
	return true;
}

CHECK(futex_times_out)
{
	struct timespec limit = { 0, 30000000 }, until;
	uint64_t before = now_ms();

	words[0] = 0;
	EXPECT(futex(words, FUTEX_WAIT_PRIVATE, 0, &limit, NULL, 0) == -1 && errno == ETIMEDOUT);
	EXPECT(now_ms() - before >= 29);
	until = in_ms(CLOCK_MONOTONIC, 30);
	EXPECT(futex(words, FUTEX_WAIT_BITSET_PRIVATE, 0, &until, NULL, ~0u) == -1);
	EXPECT(errno == ETIMEDOUT && now_ms() - before >= 59);
	until = in_ms(CLOCK_REALTIME, 30);
	EXPECT(futex(words, FUTEX_WAIT_BITSET_PRIVATE | FUTEX_CLOCK_REALTIME, 0, &until, NULL,
	             ~0u) == -1);
	EXPECT(errno == ETIMEDOUT && now_ms() - before >= 88);
	return true;
}

CHECK(futex_wakes_so_many)
{
	pthread_t t[5];

	EXPECT(start_waiting(t, 5, ~0u));
	EXPECT(futex(words, FUTEX_WAKE_PRIVATE, 2, NULL, NULL, 0) == 2);
	EXPECT(reaches(&woken, 2));
	sleep_ms(20);
	EXPECT(value_of(&woken) == 2);
	EXPECT(futex(words, FUTEX_WAKE_PRIVATE, 100, NULL, NULL, 0) == 3);
	for (int i = 0; i < 5; i++)
		EXPECT(joined(t[i]) == NULL);
	return true;
}

CHECK(futex_wakes_by_bits)
{
	pthread_t t[2];

	EXPECT(start_waiting(t, 2, 4));
	EXPECT(futex(words, FUTEX_WAKE_BITSET_PRIVATE, 9, NULL, NULL, 3) == 0);
	EXPECT(futex(words, FUTEX_WAKE_BITSET_PRIVATE, 9, NULL, NULL, 6) == 2);
	for (int i = 0; i < 2; i++)
		EXPECT(joined(t[i]) == NULL);
	return true;
}

CHECK(futex_requeues)
{
	struct timespec *two = (struct timespec *)2L; /* so the kernel has it */
	pthread_t t[5];

	EXPECT(start_waiting(t, 5, ~0u));
	EXPECT(futex(words, FUTEX_CMP_REQUEUE_PRIVATE, 1, two, &words[1], 9) == -1 &&
	       errno == EAGAIN);
	EXPECT(futex(words, FUTEX_CMP_REQUEUE_PRIVATE, 1, two, &words[1], 0) == 3);
	EXPECT(reaches(&woken, 1));
	EXPECT(futex(words, FUTEX_WAKE_PRIVATE, 9, NULL, NULL, 0) == 2);
	EXPECT(reaches(&woken, 3));
	EXPECT(futex(&words[1], FUTEX_WAKE_PRIVATE, 9, NULL, NULL, 0) == 2);
	for (int i = 0; i < 5; i++)
		EXPECT(joined(t[i]) == NULL);
	return true;
}

CHECK(futex_wakes_with_an_operation)
{
	struct timespec *one = (struct timespec *)1L;
	uint32_t add_if_equal = FUTEX_OP(FUTEX_OP_ADD, 3, FUTEX_OP_CMP_EQ, 9);
	pthread_t t[2];

	EXPECT(start_waiting(t, 2, ~0u));
	words[1] = 5;
	EXPECT(futex(&words[1], FUTEX_WAKE_OP_PRIVATE, 1, one, words, add_if_equal) == 0);
	EXPECT(words[0] == 3); /* added; but it was not 9 */
	words[0] = 9;
	EXPECT(futex(&words[1], FUTEX_WAKE_OP_PRIVATE, 1, one, words, add_if_equal) == 1);
	EXPECT(words[0] == 12);
	EXPECT(futex(words, FUTEX_WAKE_PRIVATE, 9, NULL, NULL, 0) == 1);
	for (int i = 0; i < 2; i++)
		EXPECT(joined(t[i]) == NULL);
	return true;
}

static void *wakes_second(void *argument)
{
	sleep_ms(30);
	__atomic_store_n(&words[1], 1, __ATOMIC_SEQ_CST);
	futex(&words[1], FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
	return argument;
}

CHECK(futex_waits_for_several)
{
	struct futex_waitv v[2] = {
		{ .uaddr = (uintptr_t)&words[0], .flags = FUTEX_32 | FUTEX_PRIVATE_FLAG },
		{ .uaddr = (uintptr_t)&words[1], .flags = FUTEX_32 | FUTEX_PRIVATE_FLAG },
	};
	struct timespec until = in_ms(CLOCK_MONOTONIC, 5000);
	pthread_t t;
	long r;

	words[0] = words[1] = 0;
	t = started(wakes_second, NULL);
	r = syscall(SYS_futex_waitv, v, 2, 0, &until, CLOCK_MONOTONIC);
	joined(t);
	if (r < 0 && errno == ENOSYS)
		SKIP("no futex_waitv here");
	EXPECT(r == 1);
	until = in_ms(CLOCK_MONOTONIC, 30);
	v[1].val = 1;
	EXPECT(syscall(SYS_futex_waitv, v, 2, 0, &until, CLOCK_MONOTONIC) == -1 &&
	       errno == ETIMEDOUT);
	return true;
}

CHECK(futex_shared_with_a_child)
{
	uint32_t *word =
		mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int status;
	pid_t pid;

	EXPECT(word != MAP_FAILED);
	pid = fork();
	EXPECT(pid >= 0);
	if (pid == 0) {
		usleep(30000);
		__atomic_store_n(word, 1, __ATOMIC_SEQ_CST);
		futex(word, FUTEX_WAKE, 1, NULL, NULL, 0);
		_exit(0);
	}
	while (!__atomic_load_n(word, __ATOMIC_SEQ_CST))
		futex(word, FUTEX_WAIT, 0, NULL, NULL, 0);
	EXPECT(waitpid(pid, &status, 0) == pid && status == 0);
	EXPECT(munmap(word, 4096) == 0);
	return true;
}
