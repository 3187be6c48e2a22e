/* SPDX-License-Identifier: MIT
 *
 * The harness itself: a check that fails anywhere, a crash or a hang fails its
 * test and no other, and a skip is no pass.
 *
 * The tests that fail on purpose are there only when HARNESS_BAD is set; this
 * program runs itself with it.
 */
#include "harness.h"

#include <signal.h>
#include <sys/wait.h>

/* ---- tests that fail ---------------------------------------------------------------- */

static void *fail_once(void *arg)
{
	CHECK_EQ(1 + 1, 3);
	return arg;
}

static void *require_once(void *arg)
{
	REQUIRE(arg != NULL);
	return arg;
}

static void bad_check(void)
{
	CHECK_STR("one", "two");
	CHECK_HAS("haystack", "needle");
	CHECK(checks_failed() == 2); /* it goes on */
}

static void bad_require(void)
{
	REQUIRE_EQ(1, 2);
	printf("error: not reached\n");
}

static void bad_os_thread(void)
{
	join_os(start_os(fail_once, NULL));
}

static void bad_require_in_os_thread(void)
{
	join_os(start_os(require_once, NULL));
}

static void bad_green_thread(void)
{
	run_green(fail_once, NULL);
}

static void bad_crash(void)
{
	signal(SIGSEGV, SIG_DFL);
	raise(SIGSEGV);
}

static void bad_exit(void)
{
	_exit(0); /* with a check that has failed before */
}

static void bad_exit_after_check(void)
{
	fail_once(NULL);
	bad_exit();
}

static void bad_hang(void)
{
	test_limit(1);
	WAIT_FOR(checks_failed() > 100);
}

static void *park_for_ever(void *arg)
{
	green_sem_wait(arg);
	return NULL;
}

static void *hang_green(void *arg)
{
	green_t t = start_green(park_for_ever, arg);

	await_parked(t);
	test_limit(1); /* from now on, however long all that has taken */
	join_green(t);
	return NULL;
}

static void *keep_alive(void *arg)
{
	for (;;)
		pause();
	return arg;
}

static void bad_hang_green(void)
{
	green_sem_t sem = GREEN_SEM_INIT(0);

	start_os(keep_alive, NULL); /* or it would be a deadlock, and no hang */
	run_green(hang_green, &sem);
}

static void skipped(void)
{
	SKIP("for the %s", "example");
}

static void good(void)
{
	CHECK(true);
}

#define BAD(name)                 \
	{                         \
#name, name, NULL \
	}
static struct test bad_tests[] = {
	BAD(bad_check),
	BAD(good),
	BAD(bad_require),
	BAD(bad_os_thread),
	BAD(bad_require_in_os_thread),
	BAD(bad_green_thread),
	BAD(bad_crash),
	BAD(bad_exit_after_check),
	BAD(bad_hang),
	BAD(bad_hang_green),
	BAD(skipped),
};
#define BADS (sizeof(bad_tests) / sizeof(*bad_tests))

__attribute__((constructor)) static void add_bad_tests(void)
{
	if (getenv("HARNESS_BAD"))
		for (size_t i = 0; i < BADS; i++)
			test_register(&bad_tests[i]);
}

/* ---- and what comes of them ------------------------------------------------------------ */

static char output[65536];

/* The exit status of this program with arg; its output in output. */
static int run_self(const char *arg)
{
	int fds[2], status;
	size_t n = 0;
	ssize_t r;

	fflush(NULL);
	REQUIRE_EQ(pipe(fds), 0);
	pid_t pid = fork();
	if (pid == 0) {
		dup2(fds[1], 1);
		dup2(fds[1], 2);
		setenv("HARNESS_BAD", "1", 1);
		execl("/proc/self/exe", "test_harness", arg, NULL);
		_exit(127);
	}
	close(fds[1]);
	while (n < sizeof(output) - 1 && (r = read(fds[0], output + n, sizeof(output) - 1 - n)) > 0)
		n += (size_t)r;
	output[n] = 0;
	close(fds[0]);
	REQUIRE_EQ(waitpid(pid, &status, 0), pid);
	REQUIRE(WIFEXITED(status));
	return WEXITSTATUS(status);
}

TEST(failures_are_told)
{
	if (getenv("HARNESS_BAD"))
		return;
	CHECK_NE(run_self("bad_*"), 0);
	CHECK_HAS(output, "is \"one\", not \"two\"");
	CHECK_HAS(output, "has no \"needle\"");
	CHECK_HAS(output, "1 + 1 is 2, not == 3");
	CHECK(!strstr(output, "not reached"));
	CHECK_HAS(output, "killed by signal");
	CHECK_HAS(output, "bad_hang: timed out");
	CHECK_HAS(output, "was waiting for checks_failed() > 100");
	CHECK_HAS(output, "bad_hang_green: timed out");
	CHECK_HAS(output, "park_for_ever"); /* the dump */
	for (size_t i = 0; i < BADS; i++)
		if (strncmp(bad_tests[i].name, "bad_", 4) == 0) {
			char line[100];
			snprintf(line, sizeof(line), "[  FAILED  ] %s", bad_tests[i].name);
			CHECK_HAS(output, line);
		}
	CHECK(!strstr(output, "OK ]"));
}

TEST(others_go_on)
{
	if (getenv("HARNESS_BAD"))
		return;
	CHECK_EQ(run_self("good"), 0);
	CHECK_HAS(output, "OK ] good");
	CHECK_EQ(run_self("skipped"), 0);
	CHECK_HAS(output, "SKIP: skipped: for the example");
	CHECK_HAS(output, "SKIPPED");
	CHECK(!strstr(output, "OK ]"));
	CHECK_EQ(run_self("--list"), 0);
	CHECK_HAS(output, "bad_os_thread\n");
}
