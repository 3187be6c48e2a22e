/* SPDX-License-Identifier: MIT
 *
 * Link mode: calls of libc in green threads park these alone, in threads that have
 * thread-local storage of their own; pthread_create() in them; what is asked for, exempt
 * or excepted; handlers of signals.
 */
#include "harness.h"

#include "green_intercept.h"

#include <fcntl.h>
#include <netdb.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>

#define MS 1000000LL

static void intercept(unsigned set)
{
	int r = green_intercept(set);

	if (r == -ENOTSUP)
		SKIP("%s", green_error());
	REQUIRE_EQ(r, 0);
}

static int64_t now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

static void run_all(green_fn fn)
{
	intercept(GREEN_INTERCEPT_ALL);
	run_green(fn, NULL);
}

/* ---- calls ---------------------------------------------------------------------- */

/* Sleepers now, and at most: no more than there are workers, if a sleep keeps its
 * worker from others. */
static _Atomic unsigned asleep, asleep_peak;

static unsigned workers(void) /* 50 of a hundred sleepers are enough */
{
	struct green_info info;

	REQUIRE_EQ(green_info(&info), 0);
	return info.workers < 50 ? info.workers : 50;
}

static void *sleeper(void *arg)
{
	unsigned n = atomic_fetch_add(&asleep, 1) + 1, peak = atomic_load(&asleep_peak);

	(void)arg;
	while (n > peak && !atomic_compare_exchange_weak(&asleep_peak, &peak, n))
		;
	CHECK_EQ(usleep(50000), 0);
	atomic_fetch_sub(&asleep, 1);
	return NULL;
}

static void *many(void *fn_of)
{
	green_fn *fn = fn_of;
	green_t threads[100];

	for (unsigned i = 0; i < 100; i++)
		threads[i] = start_green(*fn, (void *)(uintptr_t)i);
	for (unsigned i = 0; i < 100; i++)
		join_green(threads[i]);
	return NULL;
}

static void *time_many(void *fn_of)
{
	int64_t start = now();

	many(fn_of);
	return (void *)(uintptr_t)(now() - start);
}

TEST(sleeps_at_once)
{
	green_fn fn = sleeper;

	intercept(GREEN_INTERCEPT_ALL);
	int64_t took = (int64_t)(uintptr_t)run_green(time_many, &fn);
	CHECK_GE(took, 50 * MS);
	CHECK_GT(atomic_load(&asleep_peak), workers());
}

static void *reader(void *arg)
{
	int fds[2];
	char line[32];

	(void)arg;
	REQUIRE_EQ(pipe(fds), 0);
	FILE *in = fdopen(fds[0], "r");
	REQUIRE(in);
	green_t writer = start_green(sleep_for, (void *)(uintptr_t)(20 * MS));
	join_green(writer);
	CHECK_EQ(write(fds[1], "hello\n", 6), 6);
	CHECK(fgets(line, sizeof(line), in) != NULL);
	CHECK_STR(line, "hello\n");
	close(fds[1]);
	CHECK(fgets(line, sizeof(line), in) == NULL);
	fclose(in);
	return NULL;
}

static void *stdio_many(void *arg)
{
	green_fn fn = reader;

	(void)arg;
	return many(&fn);
}

TEST(stdio)
{
	run_all(stdio_many);
}

static int arrivals[2], departures[2];

/* Each says that it is there, and leaves when all are. */
static void *system_many(void *arg)
{
	char command[64];

	snprintf(command, sizeof(command), "cd /proc/self/fd; echo >%d; read x <%d; exit 3",
	         arrivals[1], departures[0]);
	CHECK_EQ(system(command), 3 << 8);
	return arg;
}

static void *systems(void *arg)
{
	enum { COUNT = 10 };
	green_t threads[COUNT];
	char line;

	REQUIRE_EQ(pipe(arrivals) | pipe(departures), 0);
	for (unsigned i = 0; i < COUNT; i++)
		threads[i] = start_green(system_many, arg);
	for (unsigned i = 0; i < COUNT; i++)
		CHECK_EQ(read(arrivals[0], &line, 1), 1);
	for (unsigned i = 0; i < COUNT; i++)
		CHECK_EQ(write(departures[1], "\n", 1), 1);
	for (unsigned i = 0; i < COUNT; i++)
		join_green(threads[i]);
	return NULL;
}

TEST(system_at_once)
{
	run_all(systems);
}

/* ---- thread-local storage ---------------------------------------------------------- */

static __thread int local = 7;
static pthread_key_t key;
static _Atomic int destroyed;

static void on_destroy(void *value)
{
	if (value)
		atomic_fetch_add(&destroyed, 1);
}

static void *own_state(void *arg)
{
	int mine = (int)(uintptr_t)arg + 100;

	CHECK_EQ(local, 7);
	local = mine;
	errno = mine;
	pthread_setspecific(key, (void *)(uintptr_t)mine);
	for (unsigned i = 0; i < 5; i++) {
		green_yield();
		CHECK_EQ(local, mine);
		CHECK_EQ(errno, mine);
		CHECK_EQ((int)(uintptr_t)pthread_getspecific(key), mine);
	}
	return arg;
}

static void *tls_many(void *arg)
{
	green_t threads[50];

	(void)arg;
	for (unsigned i = 0; i < 50; i++)
		threads[i] = i % 2 ? start_green(own_state, (void *)(uintptr_t)i)
		                   : start_migratable(own_state, (void *)(uintptr_t)i);
	for (unsigned i = 0; i < 50; i++)
		CHECK_EQ((uintptr_t)join_green(threads[i]), i);
	CHECK_EQ(atomic_load(&destroyed), 50);
	return NULL;
}

TEST(each_has_thread_local_storage_of_its_own)
{
	REQUIRE_EQ(pthread_key_create(&key, on_destroy), 0);
	run_all(tls_many);
}

static void *put_local(void *arg)
{
	(void)arg;
	local++;
	return (void *)(uintptr_t)local;
}

static void *share_worker(void *arg)
{
	const struct green_attr attr = { .shared_tls = true };

	(void)arg;
	CHECK_EQ((uintptr_t)join_green(start_with(&attr, put_local, NULL)), 8);
	CHECK_EQ((uintptr_t)join_green(start_with(&attr, put_local, NULL)), 9);
	CHECK_EQ((uintptr_t)join_green(start_with(NULL, put_local, NULL)), 8);
	return NULL;
}

TEST(or_shares_its_workers)
{
	const struct green_options options = { .workers = 1 };

	intercept(GREEN_INTERCEPT_ALL);
	CHECK_EQ(run_green_with(&options, share_worker, NULL, NULL), 0);
}

static void *migrates(void *arg)
{
	const struct green_attr attr = { .migratable = true };
	green_t threads[20];

	(void)arg;
	for (unsigned i = 0; i < 20; i++)
		threads[i] = start_with(&attr, own_state, (void *)(uintptr_t)i);
	for (unsigned i = 0; i < 20; i++)
		join_green(threads[i]);
	return NULL;
}

TEST(runs_again_after_a_run)
{
	REQUIRE_EQ(pthread_key_create(&key, on_destroy), 0);
	intercept(GREEN_INTERCEPT_ALL);
	for (unsigned i = 0; i < 3; i++)
		CHECK_EQ(run_green_with(NULL, migrates, NULL, NULL), 0);
	CHECK_EQ(usleep(1000), 0);
}

/* ---- threads of libc's ------------------------------------------------------------- */

static void *thread_of_libc(void *arg)
{
	usleep(20000);
	return green_self() != GREEN_NONE ? arg : NULL;
}

static void *make_threads(void *arg)
{
	pthread_t threads[50];
	void *result;

	for (unsigned i = 0; i < 50; i++)
		REQUIRE_EQ(pthread_create(&threads[i], NULL, thread_of_libc, arg), 0);
	for (unsigned i = 0; i < 50; i++) {
		CHECK_EQ(pthread_join(threads[i], &result), 0);
		CHECK(result == arg);
	}
	return NULL;
}

static void *make_threads_marked(void *arg)
{
	(void)arg;
	return make_threads(&local);
}

TEST(pthread_create_makes_green_threads)
{
	run_all(make_threads_marked);
}

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int in_lock;

static void *lock_and_sleep(void *arg)
{
	pthread_mutex_lock(&lock);
	CHECK_EQ(in_lock++, 0);
	usleep(1000);
	in_lock--;
	pthread_mutex_unlock(&lock);
	return arg;
}

static void *locks(void *arg)
{
	green_fn fn = lock_and_sleep;

	(void)arg;
	return many(&fn);
}

TEST(a_mutex_held_across_a_switch)
{
	run_all(locks);
}

/* ---- what was asked for -------------------------------------------------------------- */

static void *sleep_natively(void *arg)
{
	green_fn fn = arg ? sleeper : NULL;
	green_t threads[4];
	int64_t start = now();

	for (unsigned i = 0; i < 4; i++)
		threads[i] = start_green(fn, NULL);
	for (unsigned i = 0; i < 4; i++)
		join_green(threads[i]);
	return (void *)(uintptr_t)(now() - start);
}

TEST(only_what_was_asked_for)
{
	const struct green_options options = { .workers = 1 };
	void *took;

	CHECK(!green_is_intercepted("poll"));
	intercept(GREEN_INTERCEPT_SOCKETS | GREEN_INTERCEPT_READINESS);
	CHECK(green_is_intercepted("poll"));
	CHECK(green_is_intercepted("recv"));
	CHECK(green_is_intercepted("pthread_mutex_lock"));
	CHECK(!green_is_intercepted("sleep"));
	CHECK(!green_is_intercepted("pthread_create"));
	CHECK(!green_is_intercepted("no such call"));
	CHECK_EQ(run_green_with(&options, sleep_natively, &local, &took), 0);
	/* Four times 50 ms on one worker, none of them parked. */
	CHECK_GE((intptr_t)took, 200 * MS);
	CHECK_EQ(atomic_load(&asleep_peak), 1);
}

TEST(wrong_arguments_and_times)
{
	CHECK_EQ(green_intercept(0), -EINVAL);
	CHECK_EQ(green_intercept(1u << 20), -EINVAL);
	CHECK_EQ(green_blocking_end(), 0);
	CHECK_EQ(green_intercept_exempt(""), -EINVAL);
	CHECK_EQ(green_intercept_exempt("libnothing"), -ENOENT);
	intercept(GREEN_INTERCEPT_ALL);
	CHECK_EQ(green_intercept_all(), -EALREADY);
	CHECK_EQ(green_blocking_end(), -EINVAL);
}

static void *busy(void *arg)
{
	CHECK_EQ(green_intercept_all(), -EBUSY);
	CHECK_EQ(green_intercept_exempt("libc"), -EBUSY);
	return arg;
}

TEST(not_during_a_run)
{
	run_green(busy, NULL);
}

/* The monitor is there already: no rewriting. */
TEST(after_init_calls_are_dispatched)
{
	struct green_intercept_info info;
	green_fn fn = sleeper;

	const char *mode = getenv("GREEN_INTERCEPT");
	bool must_rewrite = mode && (strcmp(mode, "patch") == 0 || strcmp(mode, "both") == 0);

	REQUIRE_EQ(green_init(NULL), 0);
	pthread_t other = start_os(sleep_for, (void *)(uintptr_t)(300 * MS));
	if (must_rewrite) {
		CHECK_EQ(green_intercept_all(), -EBUSY);
		CHECK_HAS(green_error(), "before green_init()");
		return;
	}
	intercept(GREEN_INTERCEPT_ALL);
	REQUIRE_EQ(green_intercept_info(&info), 0);
	CHECK_EQ(info.sites, 0);
	CHECK(info.dispatch);
	void *took;
	REQUIRE_EQ(green_run(time_many, &fn, &took), 0);
	CHECK_GE((intptr_t)took, 50 * MS);
	CHECK_GT(atomic_load(&asleep_peak), workers());
	join_os(other);
}

/* ---- escapes --------------------------------------------------------------------------- */

static void *blocks(void *arg)
{
	CHECK_EQ(green_blocking_begin(), 0);
	CHECK_EQ(green_blocking_begin(), 0);
	CHECK_EQ(green_self(), GREEN_NONE);
	usleep(50000);
	CHECK_EQ(green_blocking_end(), 0);
	CHECK_EQ(green_self(), GREEN_NONE);
	CHECK_EQ(green_blocking_end(), 0);
	CHECK_NE(green_self(), GREEN_NONE);
	CHECK_EQ(green_blocking_end(), -EINVAL);
	return arg;
}

static void *block_four(void *arg)
{
	green_t threads[4];
	int64_t start = now();

	for (unsigned i = 0; i < 4; i++)
		threads[i] = start_green(blocks, arg);
	for (unsigned i = 0; i < 4; i++)
		join_green(threads[i]);
	return (void *)(uintptr_t)(now() - start);
}

TEST(a_stretch_of_plain_code)
{
	const struct green_options options = { .workers = 1 };
	void *took;

	intercept(GREEN_INTERCEPT_ALL);
	CHECK_EQ(run_green_with(&options, block_four, NULL, &took), 0);
	CHECK_GE((intptr_t)took, 200 * MS);
}

TEST(an_exempt_library)
{
	const struct green_options options = { .workers = 1 };
	void *took;

	intercept(GREEN_INTERCEPT_ALL);
	/* The program itself has no name; the harness is part of it. */
	if (green_intercept_exempt("libcmocka") < 0)
		SKIP("no libcmocka here");
	CHECK_EQ(run_green_with(&options, sleep_natively, &local, &took), 0);
	CHECK_GE((intptr_t)took, 50 * MS);
	CHECK_GT(atomic_load(&asleep_peak), 1);
}

/* ---- signals ---------------------------------------------------------------------------- */

static volatile sig_atomic_t handled;

static void on_alarm(int sig)
{
	/* As plain code: it may have interrupted the runtime itself. */
	if (sig == SIGALRM && green_self() == GREEN_NONE && write(-1, "", 1) < 0)
		handled++;
}

static void *alarmed(void *arg)
{
	struct sigaction action = { .sa_handler = on_alarm, .sa_flags = SA_RESTART }, old;
	timer_t timer;
	struct itimerspec every = { { 0, 1 * MS }, { 0, 1 * MS } };

	(void)arg;
	sigfillset(&action.sa_mask);
	REQUIRE_EQ(sigaction(SIGALRM, &action, NULL), 0);
	REQUIRE_EQ(sigaction(SIGALRM, NULL, &old), 0);
	CHECK(old.sa_handler == on_alarm);
	REQUIRE_EQ(timer_create(CLOCK_MONOTONIC, NULL, &timer), 0);
	REQUIRE_EQ(timer_settime(timer, 0, &every, NULL), 0);
	green_fn fn = sleeper;
	many(&fn);
	WAIT_FOR(handled > 20);
	timer_delete(timer);
	CHECK_EQ(signal(SIGALRM, SIG_IGN) == on_alarm, 1);
	CHECK(signal(SIGALRM, SIG_DFL) == SIG_IGN);
	return NULL;
}

TEST(handlers_are_plain_code)
{
	run_all(alarmed);
}

TEST(handlers_from_before)
{
	struct sigaction old;

	signal(SIGALRM, on_alarm);
	intercept(GREEN_INTERCEPT_ALL);
	CHECK_EQ(sigaction(SIGALRM, NULL, &old), 0);
	CHECK(old.sa_handler == on_alarm);
	raise(SIGALRM);
	CHECK_EQ(handled, 1);
}
