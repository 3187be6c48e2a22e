/* SPDX-License-Identifier: MIT
 *
 * The flight recorder's reports: by call, by signal, before a process ends.
 */
#include "harness.h"

#include "trace.h"
#include "worker.h"

#include <signal.h>
#include <sys/wait.h>

static const struct green_options recording = { .workers = 1, .flight_records = 1024 };

never_inline static void waits_here(green_sem_t *sem)
{
	CHECK_EQ(green_sem_wait(sem), 0);
	__asm__ volatile("" : : : "memory");
}

static green_sem_t turn;

static void *take_turns(void *arg)
{
	for (int i = 0; i < 10; i++)
		waits_here(&turn);
	return arg;
}

/* A thread named "taker" waits ten times for this one. */
static green_t have_a_past(void)
{
	struct green_attr attr = { .name = "taker" };
	green_t t = start_with(&attr, take_turns, NULL);

	for (int i = 0; i < 9; i++) {
		green_yield();
		green_sem_post(&turn);
	}
	green_yield();
	return t;
}

static void end_it(green_t t)
{
	green_sem_post(&turn);
	join_green(t);
}

static void check_text(const char *text)
{
	CHECK_HAS(text, "flight recorder of worker 0 (OS thread ");
	CHECK_HAS(text, " ago green thread ");
	CHECK_HAS(text, "\"taker\" went on after ");
	CHECK_HAS(text, " of semaphore (ready for ");
	CHECK_HAS(text, ") at waits_here+");
	CHECK_HAS(text, ", woken by 1\n");
}

static void *dumps(void *arg)
{
	green_t t = have_a_past();

	capture_begin();
	CHECK_EQ(green_flight_dump(2), 0);
	check_text(capture_end());
	CHECK_EQ(green_flight_dump(-1), -EBADF);
	end_it(t);
	return arg;
}

TEST(a_dump_says_who_waited_where)
{
	CHECK_EQ(green_flight_dump(2), -ENODATA);
	run_green_with(&recording, dumps, NULL, NULL);
	CHECK_EQ(green_flight_dump(2), -ENODATA);
}

static void *wraps(void *arg)
{
	struct worker *w = worker_self();
	unsigned lines = 0;

	for (int i = 0; i < 300; i++)
		end_it(have_a_past());
	CHECK_GT(atomic_load(&w->trace.head), trace_info.ring);
	capture_begin();
	CHECK_EQ(green_flight_dump(2), 0);
	const char *text = capture_end();
	for (const char *at = text; (at = strstr(at, " ago green thread ")); at++)
		lines++;
	/* The oldest might have been overwritten during the look. */
	CHECK_EQ(lines, trace_info.ring - 1);
	return arg;
}

TEST(only_the_last_are_kept)
{
	run_green_with(&recording, wraps, NULL, NULL);
	CHECK_EQ(trace_info.ring, 1024);
}

static void *by_signal(void *arg)
{
	green_t t = have_a_past();

	capture_begin();
	raise(SIGUSR2);
	check_text(capture_end());
	end_it(t);
	return arg;
}

TEST(a_signal_dumps)
{
	static const struct green_options options = { .workers = 1, .flight_signal = SIGUSR2 };
	struct sigaction now;

	run_green_with(&options, by_signal, NULL, NULL);
	CHECK_EQ(sigaction(SIGUSR2, NULL, &now), 0);
	CHECK(now.sa_handler == SIG_DFL);
}

TEST(a_signal_that_cannot_be_handled)
{
	static const struct green_options options = { .flight_signal = SIGKILL };

	CHECK_EQ(green_init(&options), -EINVAL);
	CHECK_HAS(green_error(), "flight_signal: signal 9");
}

TEST(a_signal_of_faults_is_refused)
{
	static const int faults[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS };
	struct green_options options = { .workers = 1 };

	for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++) {
		options.flight_signal = faults[i];
		CHECK_EQ(green_init(&options), -EINVAL);
		CHECK_HAS(green_error(), "is what a fault sends");
	}
}

static void *nothing_there(void *arg)
{
	CHECK_EQ(green_flight_dump(2), -ENODATA);
	return arg;
}

TEST(off_is_off)
{
	static const struct green_options options = { .flight_records = GREEN_FLIGHT_OFF };

	run_green_with(&options, nothing_there, NULL, NULL);
	setenv("GREEN_FLIGHT", "0", 1);
	run_green_with(NULL, nothing_there, NULL, NULL);
}

TEST(as_many_as_asked_for)
{
	setenv("GREEN_FLIGHT", "3000", 1);
	REQUIRE_EQ(green_init(NULL), 0);
	CHECK_EQ(trace_info.ring, 4096);
	CHECK_EQ(green_fini(), 0);
}

/* ---- before the end -------------------------------------------------------------------- */

static void *crashes(void *arg)
{
	static volatile int *volatile nowhere = (volatile int *)16;

	have_a_past();
	*nowhere = 1;
	return arg;
}

static const char *last_words(void)
{
	capture_begin();
	int status = run_to_death(&recording, crashes);
	CHECK(!WIFEXITED(status) || WEXITSTATUS(status) != 0);
	return capture_end();
}

TEST(a_crash_is_reported_on_request)
{
#if defined(GREEN_ASAN) || defined(GREEN_TSAN)
	SKIP("the sanitizer handles SIGSEGV");
#endif
	CHECK(!strstr(last_words(), "flight recorder"));
	setenv("GREEN_DEBUG", "flight", 1);
	const char *text = last_words();
	CHECK_HAS(text, "libgreen: killed by SIGSEGV\n");
	check_text(text);
}
