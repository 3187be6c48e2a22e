/* SPDX-License-Identifier: MIT
 *
 * The test harness.  A suite is a file of TESTs; harness.c has its main().
 *
 * Each test runs in a child process of its own with a time limit, so that a
 * crash, a hang or a changed resource limit is the matter of that test only.
 * Checks may be made anywhere: in the test itself, in green threads, in other
 * OS threads.  A failed CHECK is printed and fails the test, which goes on; a
 * failed REQUIRE ends it at once.  cmocka counts and reports in the parent; its
 * own assertions, which longjmp, are not for tests written with this.
 *
 *	TEST(name) { ... }        runs in the child's main thread
 *	GREEN_TEST(name) { ... }  runs as the first green thread of a run
 *
 *	test_x [NAME ...]         runs only the tests named; * is a wildcard
 *	test_x --here NAME        runs that test in this process (for a debugger)
 *	test_x --list             prints the names
 *
 * GREEN_ENGINE and GREEN_WORKERS reach the runtime as they reach any program.
 */
#ifndef HARNESS_H
#define HARNESS_H

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "arch/cpu.h"
#include "green.h"

#define HARNESS_UNUSED __attribute__((unused))

/* ---- checks --------------------------------------------------------------- */

/* Any thread.  Each macro's value is whether the check held. */
#define CHECK(condition) check_that(!!(condition), false, __FILE__, __LINE__, "%s", #condition)
#define CHECK_EQ(value, expected) CHECK_INT_(false, value, ==, expected, #value)
#define CHECK_NE(value, expected) CHECK_INT_(false, value, !=, expected, #value)
#define CHECK_LT(value, limit) CHECK_INT_(false, value, <, limit, #value)
#define CHECK_LE(value, limit) CHECK_INT_(false, value, <=, limit, #value)
#define CHECK_GT(value, limit) CHECK_INT_(false, value, >, limit, #value)
#define CHECK_GE(value, limit) CHECK_INT_(false, value, >=, limit, #value)
#define CHECK_STR(value, expected) check_string(value, expected, #value, __FILE__, __LINE__)
/* needle is found in haystack */
#define CHECK_HAS(haystack, needle) check_has(haystack, needle, #haystack, __FILE__, __LINE__)

#define REQUIRE(condition) check_that(!!(condition), true, __FILE__, __LINE__, "%s", #condition)
#define REQUIRE_EQ(value, expected) CHECK_INT_(true, value, ==, expected, #value)
#define REQUIRE_GE(value, limit) CHECK_INT_(true, value, >=, limit, #value)

#define FAIL(...) ((void)check_that(false, false, __FILE__, __LINE__, __VA_ARGS__))

#define CHECK_INT_(fatal, value, op, expected, text)                                             \
	__extension__({                                                                          \
		__typeof__((value) + 0) value_ = (value);                                        \
		__typeof__((expected) + 0) expected_ = (expected);                               \
		check_that((long long)value_ op(long long) expected_, fatal, __FILE__, __LINE__, \
		           "%s is %lld, not %s %lld", text, (long long)value_, #op,              \
		           (long long)expected_);                                                \
	})

__attribute__((format(printf, 5, 6))) bool check_that(bool holds, bool fatal, const char *file,
                                                      int line, const char *format, ...);
bool check_string(const char *value, const char *expected, const char *what, const char *file,
                  int line);
bool check_has(const char *haystack, const char *needle, const char *what, const char *file,
               int line);

/* Failed checks of this test so far. */
unsigned checks_failed(void);

/* Ends the test as skipped, which is never a pass.  Any thread. */
#define SKIP(...) test_skip(__VA_ARGS__)
__attribute__((format(printf, 1, 2))) _Noreturn void test_skip(const char *format, ...);

/* ---- tests ---------------------------------------------------------------- */

struct test {
	const char *name;
	void (*fn)(void);
	struct test *next;
};
void test_register(struct test *test);

#define TEST(name)                                                     \
	static void name(void);                                        \
	__attribute__((constructor)) static void name##_register(void) \
	{                                                              \
		static struct test test_ = { #name, name, NULL };      \
		test_register(&test_);                                 \
	}                                                              \
	static void name(void)

#define GREEN_TEST(name)                     \
	static void name##_body(void);       \
	TEST(name)                           \
	{                                    \
		run_green_body(name##_body); \
	}                                    \
	static void name##_body(void)

/* Seconds this test may take from now on (60; three times that under a
 * sanitizer, TEST_SLOWNESS times that where a machine is emulated).  It is a
 * net for hangs, not a measure. */
void test_limit(unsigned seconds);

/* n, or fewer where the build makes everything slow: sanitizers, coverage. */
unsigned scaled(unsigned n);

/* Runs all registered tests whose names match argv; the exit status. */
int harness_main(int argc, char **argv);

/* ---- helpers --------------------------------------------------------------- */

/* green_run() of fn with all defaults, which must succeed; fn's result.  Leaves
 * the runtime initialised. */
void *run_green(green_fn fn, void *arg);
void run_green_body(void (*body)(void));

/* init, run, fini.  What the options say comes before GREEN_WORKERS and
 * GREEN_ENGINE.  The result is green_run()'s; init and fini must succeed. */
int run_green_with(const struct green_options *options, green_fn fn, void *arg, void **result);

/* Skips the test where GREEN_FEATURES forbids all guards. */
void skip_without_guards(void);

/* A run in a process of its own, which is to die of it: the status of waitpid(2). */
int run_to_death(const struct green_options *options, green_fn fn);

/* Of this process, now. */
unsigned count_mappings(void);

/* Must succeed. */
green_t start_green(green_fn fn, void *arg);
green_t start_migratable(green_fn fn, void *arg);
green_t start_with(const struct green_attr *attr, green_fn fn, void *arg);
void *join_green(green_t thread);
pthread_t start_os(void *(*fn)(void *), void *arg);
void *join_os(pthread_t thread);

/* Sleeps so many nanoseconds; a green_fn. */
void *sleep_for(void *ns);

/* Does this system know "localhost"?  A bare one may lack /etc/hosts. */
bool localhost_known(void);

/* Waits, in any thread, until condition holds; a timeout names the place. */
#define WAIT_FOR(condition)                                            \
	do {                                                           \
		while (!(condition))                                   \
			harness_pause(#condition, __FILE__, __LINE__); \
		harness_pause(NULL, NULL, 0);                          \
	} while (0)
void harness_pause(const char *what, const char *file, int line);

/* Waits until the green thread is parked (and its registers are saved). */
void await_parked(green_t thread);

/* Burns CPU without a switch. */
void spin_for(int64_t ns);

/* Sends standard error to a file until capture_end(), which returns the text
 * (valid until the next capture). */
void capture_begin(void);
const char *capture_end(void);

/* Repeatable random numbers: xorshift64*. */
struct rng {
	uint64_t state;
};
struct rng rng_seed(uint64_t seed);
uint64_t rng_next(struct rng *rng);
uint64_t rng_below(struct rng *rng, uint64_t limit);

/* ---- faults (harness_fault.c) ---------------------------------------------- */

/* From now on system call nr of the runtime fails with -error: after the first
 * `skip` ones, `count` times (0: for ever).  Up to four at once. */
void fault_inject(long nr, unsigned skip, unsigned count, int error);
/* Before threads run in which faults shall be injected later. */
void fault_prepare(void);
void fault_clear(void);
unsigned fault_hits(void); /* calls that were made to fail so far */

#endif
