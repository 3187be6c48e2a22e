/* SPDX-License-Identifier: MIT
 *
 * Programs that do to their process what servers, libraries and tests do, and what a
 * runtime beneath them has to survive.  Each case runs alone in a process, natively and
 * under greenrun, and prints what came of it: the same.
 */
#ifndef HOSTILE_H
#define HOSTILE_H

#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct hostile {
	const char *name;
	void (*run)(void);
	bool part; /* of another case, which starts it: not in the list */
};

/* Defines a case and puts it into the list that main() looks in: one behind the other. */
#define CASE_OR_PART(name, part)                                                                   \
	static void run_##name(void);                                                              \
	__attribute__((used, section("cases"),                                                     \
	               aligned(8))) static const struct hostile case_##name = { #name, run_##name, \
		                                                                part };            \
	static void run_##name(void)
#define CASE(name) CASE_OR_PART(name, false)
#define PART(name) CASE_OR_PART(name, true)

/* Another process that runs it, with threads of the same kind; argument: for part_argument(). */
pid_t part_started(const char *name, const char *argument);
const char *part_argument(void);

/* A line of what came of it. */
__attribute__((format(printf, 1, 2))) void say(const char *format, ...);
/* "WHAT: 0" or "WHAT: 3 EINTR": a result with the name of errno if it is negative. */
void say_result(const char *what, long result);

void sleep_ms(unsigned ms);
uint64_t now_ms(void);

/* A thread that must start; its result; both. */
pthread_t started(void *(*run)(void *), void *argument);
void *joined(pthread_t thread);
void *in_thread(void *(*run)(void *), void *argument);

/* Waits at most five seconds until *word is value or more. */
bool reaches(const int *word, int value);
void set(int *word, int value);
int add_one(int *word);

void handle(int sig, void (*handler)(int), int flags);
/* Ten threads that sleep, wait for each other and write to pipes: what goes wrong, or
 * "threads work". */
void say_threads_work(void);
/* How a child has ended. */
void say_end_of(const char *what, pid_t pid);

#endif
