/* SPDX-License-Identifier: MIT
 *
 * Checks of what threads may rely on, which know nothing of green threads: the same
 * program runs natively and under greenrun.
 *
 * A check is a function that returns true when all it expects holds.  Checks run one
 * after another in one process, and leave it as they found it.
 */
#ifndef CONFORM_H
#define CONFORM_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

struct check {
	const char *name;
	bool (*run)(void);
	const char *file;
	int line;
};

/* Defines a check and puts it into the list that main() runs. */
#define CHECK(name)                                                                   \
	static bool run_##name(void);                                                 \
	__attribute__((used, section("checks"))) static struct check check_##name = { \
		#name, run_##name, __FILE__, __LINE__                                 \
	};                                                                            \
	static bool run_##name(void)

/* Ends a check that does not hold, saying where. */
#define EXPECT(condition)                                                \
	do {                                                             \
		if (!(condition))                                        \
			return expected(__FILE__, __LINE__, #condition); \
	} while (0)

/* Always false. */
bool expected(const char *file, int line, const char *condition);

/* Ends a check that this system does not allow. */
#define SKIP(reason) return skipped(reason)
bool skipped(const char *reason);

uint64_t now_ms(void); /* monotonic */
void sleep_ms(unsigned ms);
/* Time for others to block in the calls they are about to make: short sleeps, because what
 * holds up the whole process takes one of them only. */
void let_block(void);
/* The time on a clock in so many milliseconds. */
struct timespec in_ms(clockid_t clock, int ms);

/* A thread that must start. */
pthread_t started(void *(*run)(void *), void *argument);
/* What a thread returned. */
void *joined(pthread_t thread);
/* Both: what run() returns in a thread of its own. */
void *in_thread(void *(*run)(void *), void *argument);

/* Waits at most five seconds until *word is at least value. */
bool reaches(const int *word, int value);
/* The same for a signal that the calling thread blocks. */
bool becomes_pending(int number);

/* How a child ends in which run() is called, whose result is its exit status. */
int child_status(int (*run)(void));
bool exits_with(int status, int code);

/* For a thread: returns its argument after 20 ms. */
void *sleeps_a_little(void *argument);
/* Starts ten such threads, and joins them: 0 if they return what they should. */
int uses_threads(void);
int add_one(int *word); /* atomically; returns what it is now */
int value_of(const int *word);

#endif
