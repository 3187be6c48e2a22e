/* SPDX-License-Identifier: MIT
 *
 * Stuck workers: a thread that computes holds up nobody but those that must run
 * on its worker, and these are reported by name.
 */
#include "harness.h"

#include "worker.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>

/* The green threads under test wait on atomics: a computing thread ends when the
 * test says so, not after a time. */
static struct {
	_Atomic bool computing, enough;
	_Atomic int worker;
	_Atomic unsigned done, woken;
	green_sem_t sem;
} hog;

static void *compute(void *arg)
{
	atomic_store(&hog.worker, green_worker());
	atomic_store(&hog.computing, true);
	while (!atomic_load(&hog.enough))
		cpu_pause();
	return arg;
}

static void *count(void *arg)
{
	CHECK_NE(green_worker(), atomic_load(&hog.worker));
	atomic_fetch_add(&hog.done, 1);
	return arg;
}

static void *migrate(void *arg)
{
	CHECK_EQ(green_sem_wait(&hog.sem), 0);
	atomic_fetch_add(&hog.done, 1);
	return arg;
}

/* Spawns on its own worker, then computes: those spawned must not wait. */
static void *spawn_and_compute(void *arg)
{
	atomic_store(&hog.worker, green_worker());
	for (int i = 0; i < 50; i++)
		CHECK_EQ(green_go(count, NULL), 0);
	return compute(arg);
}

static void *never_run_ones(void *arg)
{
	struct green_attr attr = { .name = "hog" };
	green_t t = start_with(&attr, spawn_and_compute, NULL);

	WAIT_FOR(atomic_load(&hog.computing));
	WAIT_FOR(atomic_load(&hog.done) == 50);
	atomic_store(&hog.enough, true);
	join_green(t);
	return arg;
}

static void use_fresh_hog(void)
{
	memset(&hog, 0, sizeof(hog));
	atomic_store(&hog.worker, -1);
}

/* The first thread must not be on the computing one's worker: it would wait. */
static void *elsewhere(void *arg)
{
	green_fn fn = (green_fn)arg;
	struct green_attr attr = { .migratable = true };
	green_t t = start_with(&attr, fn, NULL);

	join_green(t);
	return NULL;
}

TEST(never_run_threads_go_elsewhere)
{
	struct green_options two = { .workers = 2 };

	use_fresh_hog();
	CHECK_EQ(run_green_with(&two, elsewhere, (void *)never_run_ones, NULL), 0);
}

static void *wake_and_compute(void *arg)
{
	atomic_store(&hog.worker, green_worker());
	for (int i = 0; i < 20; i++)
		green_sem_post(&hog.sem);
	return compute(arg);
}

static void *migratable_ones(void *arg)
{
	green_t threads[20];

	for (int i = 0; i < 20; i++) {
		threads[i] = start_migratable(migrate, NULL);
		await_parked(threads[i]);
	}
	/* They are woken on the worker that computes from then on. */
	green_t t = start_green(wake_and_compute, NULL);
	WAIT_FOR(atomic_load(&hog.computing));
	WAIT_FOR(atomic_load(&hog.done) == 20);
	atomic_store(&hog.enough, true);
	join_green(t);
	for (int i = 0; i < 20; i++)
		join_green(threads[i]);
	return arg;
}

TEST(migratable_threads_go_elsewhere)
{
	struct green_options two = { .workers = 2 };

	use_fresh_hog();
	CHECK_EQ(run_green_with(&two, elsewhere, (void *)migratable_ones, NULL), 0);
}

/* From OS threads too: work for the stuck worker is not left there. */
static void *spawn_from_outside(void *arg)
{
	for (int i = 0; i < 50; i++)
		REQUIRE_EQ(green_go(count, NULL), 0);
	return arg;
}

static void *spawned_outside(void *arg)
{
	green_t t = start_green(compute, NULL);

	WAIT_FOR(atomic_load(&hog.computing));
	pthread_t os = start_os(spawn_from_outside, NULL);
	WAIT_FOR(atomic_load(&hog.done) == 50);
	atomic_store(&hog.enough, true);
	join_green(t);
	join_os(os);
	return arg;
}

TEST(spawned_outside_go_elsewhere)
{
	struct green_options two = { .workers = 2 };

	use_fresh_hog();
	CHECK_EQ(run_green_with(&two, elsewhere, (void *)spawned_outside, NULL), 0);
}

/* ---- long stretches ------------------------------------------------------------ */

/* Computes until its worker is told to look around, which nobody else does here. */
static void *compute_in_stretches(void *arg)
{
	while (!atomic_load(&hog.enough)) {
		while (atomic_load(&worker_self()->tick) != 1 && !atomic_load(&hog.enough))
			cpu_pause();
		atomic_fetch_add(&hog.done, 1);
		green_yield();
	}
	return arg;
}

/* Each sleep ends between two stretches, not after the 61 to the next look around. */
GREEN_TEST(long_stretches_do_not_delay_timers)
{
	green_t threads[2];

	use_fresh_hog();
	for (int i = 0; i < 2; i++)
		threads[i] = start_green(compute_in_stretches, NULL);
	for (int i = 0; i < 5; i++)
		CHECK_EQ(green_sleep(GREEN_MS(1)), 0);
	atomic_store(&hog.enough, true);
	for (int i = 0; i < 2; i++)
		join_green(threads[i]);
}

/* ---- the report ------------------------------------------------------------------------ */

static void *wait_here(void *arg)
{
	CHECK_EQ(green_sem_wait(&hog.sem), 0);
	atomic_fetch_add(&hog.woken, 1);
	return arg;
}

#define REPORT_NS GREEN_MS(300)

struct reported {
	struct green_serial *group;
	uint64_t stuck, most;
};

/* One that has no CPU for so long is stuck, too, be it the one that looks. */
static uint64_t stuck_now(struct reported *r)
{
	struct green_info info;
	int64_t before = green_now();

	green_sleep(GREEN_MS(5));
	REQUIRE_EQ(green_info(&info), 0);
	r->most += green_now() - before > REPORT_NS - GREEN_MS(50);
	return info.stuck;
}

/* A started thread of the same worker as the computing one, by a serial group. */
static void *stuck_and_waiting(void *arg)
{
	struct reported *r = arg;

	r->group = green_serial_new();
	REQUIRE(r->group != NULL);
	struct green_attr waits = { .name = "patience", .serial = r->group };
	struct green_attr hogs = { .name = "greedy", .serial = r->group };
	green_t waiter = start_with(&waits, wait_here, NULL);
	await_parked(waiter);
	green_t t = start_with(&hogs, compute, NULL);
	WAIT_FOR(atomic_load(&hog.computing));
	green_sem_post(&hog.sem); /* ready, and cannot run */
	while (!(r->stuck = stuck_now(r)))
		;
	CHECK(r->stuck <= r->most);
	green_dump(STDERR_FILENO);
	CHECK_EQ(atomic_load(&hog.woken), 0);
	for (int i = 0; i < 20; i++) /* once is enough */
		CHECK(stuck_now(r) <= r->most);
	atomic_store(&hog.enough, true);
	join_green(t);
	join_green(waiter);
	green_serial_free(r->group);
	return NULL;
}

static void *report(void *arg)
{
	(void)arg;
	struct reported *r = calloc(1, sizeof(*r));
	struct green_attr attr = { .migratable = true };

	REQUIRE(r != NULL);
	r->most = 1;
	green_t t = start_with(&attr, stuck_and_waiting, r);

	join_green(t);
	CHECK(r->stuck > 0);
	free(r);
	return NULL;
}

TEST(stuck_worker_is_reported_by_name)
{
	struct green_options two = { .workers = 2, .stuck_ns = REPORT_NS };

	setenv("GREEN_DEBUG", "stuck", 1);
	use_fresh_hog();
	capture_begin();
	CHECK_EQ(run_green_with(&two, report, NULL, NULL), 0);
	const char *text = capture_end();
	CHECK_HAS(text, "stuck");
	CHECK_HAS(text, "greedy");
	CHECK_HAS(text, "patience");
}

/* ---- where it is stuck --------------------------------------------------------- */

static int nap_ends[2];

/* Of the test's own: libc's read() may be anything. */
never_inline static void naps(void)
{
	char c;

	CHECK_EQ(syscall(SYS_read, nap_ends[0], &c, 1), 1);
	__asm__ volatile("" : : : "memory");
}

static void *takes_a_nap(void *arg)
{
	naps();
	return arg;
}

static bool was_said(const char *what)
{
	char text[8192] = "";

	/* capture_begin() has put a file there. */
	return pread(STDERR_FILENO, text, sizeof(text) - 1, 0) > 0 && strstr(text, what);
}

/* Runs fn on one worker until a report about it has been written.  One that naps may
 * have been found on its way there, without a CPU: then it does so again. */
static void *be_reported(void *fn)
{
	struct green_attr attr = { .name = "sl\033eepy" };
	const char *enough = fn == takes_a_nap ? "now in system call 0\n" : " ms without a switch";

	do {
		off_t before = lseek(STDERR_FILENO, 0, SEEK_END);
		green_t t = start_with(&attr, (green_fn)fn, NULL);
		WAIT_FOR(lseek(STDERR_FILENO, 0, SEEK_END) > before);
		atomic_store(&hog.enough, true);
		REQUIRE_EQ(write(nap_ends[1], "x", 1), 1);
		join_green(t);
		green_sleep(GREEN_S(1)); /* more are not reported */
	} while (!was_said(enough));
	return NULL;
}

static void *be_reported_elsewhere(void *fn)
{
	struct green_attr attr = { .migratable = true };

	return join_green(start_with(&attr, be_reported, fn));
}

static const char *report_about(green_fn fn)
{
	struct green_options two = { .workers = 2, .stuck_ns = GREEN_MS(20) };

	setenv("GREEN_DEBUG", "stuck", 1);
	use_fresh_hog();
	REQUIRE_EQ(pipe2(nap_ends, O_CLOEXEC), 0);
	capture_begin();
	CHECK_EQ(run_green_with(&two, be_reported_elsewhere, (void *)fn, NULL), 0);
	return capture_end();
}

TEST(a_system_call_is_reported_with_its_callers)
{
	const char *text = report_about(takes_a_nap);

	CHECK_HAS(text, " is stuck: it has been running green thread ");
	CHECK_HAS(text, "\"sl\\x1beepy\" for ");
	CHECK_HAS(text, " ms without a switch, now in system call 0\n");
	CHECK_HAS(text, "libgreen:   called by naps+");
	CHECK_HAS(text, "libgreen:   called by takes_a_nap+");
	CHECK_HAS(text, "libgreen:   called by spawn_boot+");
}

TEST(a_computation_is_reported_with_its_callers)
{
#if defined(GREEN_TSAN)
	SKIP("the thread sanitizer keeps signals back");
#endif
	const char *text = report_about(compute);

	CHECK_HAS(text, " ms without a switch\n");
	CHECK_HAS(text, "libgreen:   at compute+");
	CHECK_HAS(text, "libgreen:   called by spawn_boot+");
}

TEST(silent_without_debug)
{
	struct green_options two = { .workers = 2, .stuck_ns = GREEN_MS(100) };

	unsetenv("GREEN_DEBUG");
	unsetenv("GREEN_WORKERS"); /* it takes a second one */
	use_fresh_hog();
	CHECK_EQ(green_init(&two), 0);
	capture_begin();
	CHECK_EQ(green_run(elsewhere, (void *)never_run_ones, NULL), 0);
	CHECK_STR(capture_end(), "");
	CHECK_EQ(green_fini(), 0);
}

/* One that yields, even alone, is not stuck. */
static void *yield_alone(void *arg)
{
	struct green_info info;
	int64_t end = green_now() + GREEN_MS(400);

	while (green_now() < end)
		green_yield();
	CHECK_EQ(green_info(&info), 0);
	CHECK_EQ(info.stuck, 0);
	return arg;
}

TEST(yielding_is_not_stuck)
{
	struct green_options one = { .workers = 1, .stuck_ns = GREEN_S(2) };

	CHECK_EQ(run_green_with(&one, yield_alone, NULL, NULL), 0);
}

/* ---- time in which nobody ran --------------------------------------------------------- */

#define STOPPED_NS GREEN_MS(1500)

static void nap_natively(int64_t ns)
{
	struct timespec t = { ns / GREEN_S(1), ns % GREEN_S(1) };

	clock_nanosleep(CLOCK_MONOTONIC, 0, &t, NULL);
}

/* Stops its parent once that has been seen to compute. */
static void stop_parent(void)
{
	char c;

	if (read(nap_ends[0], &c, 1) != 1)
		_exit(1);
	nap_natively(GREEN_MS(50));
	kill(getppid(), SIGSTOP);
	nap_natively(STOPPED_NS);
	kill(getppid(), SIGCONT);
	_exit(0);
}

/* Computes before the stop, through it, and until the monitor has looked again. */
static void *compute_through_a_stop(void *arg)
{
	struct green_info info;
	int64_t before = green_now(), now = before, until = INT64_MAX;

	REQUIRE_EQ(write(nap_ends[1], "x", 1), 1);
	for (; now < until; before = now) {
		now = green_now();
		if (now - before > STOPPED_NS / 2)
			until = now + GREEN_MS(50);
	}
	CHECK_EQ(green_info(&info), 0);
	CHECK_EQ(info.stuck, 0);
	return arg;
}

TEST(a_stopped_process_is_not_stuck)
{
	struct green_options one = { .workers = 1, .stuck_ns = GREEN_S(1) };
	int status;

	REQUIRE_EQ(pipe2(nap_ends, O_CLOEXEC), 0);
	pid_t pid = fork();
	REQUIRE(pid >= 0);
	if (pid == 0)
		stop_parent();
	CHECK_EQ(run_green_with(&one, compute_through_a_stop, NULL, NULL), 0);
	REQUIRE_EQ(waitpid(pid, &status, 0), pid);
	CHECK_EQ(status, 0);
}
