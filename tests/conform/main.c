/* SPDX-License-Identifier: MIT
 *
 * Runs the checks and prints one line for each: "ok NAME", "not ok NAME: why" or
 * "SKIP: NAME: why".
 *
 *   conform [--list] [--after NAME] [NAME ...]
 *
 * --after NAME begins with the check that follows it: who runs this goes on behind a
 * check that ended or stopped the process.
 */
#include "conform.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern struct check __start_checks[], __stop_checks[]; /* NOLINT: made by the linker */

static char why[256];
static bool is_skip;

bool expected(const char *file, int line, const char *condition)
{
	const char *name = strrchr(file, '/');

	snprintf(why, sizeof(why), "%s:%d: %s (errno %d)", name ? name + 1 : file, line, condition,
	         errno);
	return false;
}

bool skipped(const char *reason)
{
	snprintf(why, sizeof(why), "%s", reason);
	is_skip = true;
	return false;
}

uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

void sleep_ms(unsigned ms)
{
	struct timespec left = { ms / 1000, (long)(ms % 1000) * 1000000 };

	while (nanosleep(&left, &left) < 0 && errno == EINTR)
		;
}

void let_block(void)
{
	for (int i = 0; i < 30; i++)
		sleep_ms(1);
}

struct timespec in_ms(clockid_t clock, int ms)
{
	struct timespec t;

	clock_gettime(clock, &t);
	t.tv_sec += ms / 1000;
	t.tv_nsec += (long)(ms % 1000) * 1000000;
	if (t.tv_nsec < 0) {
		t.tv_nsec += 1000000000;
		t.tv_sec--;
	}
	if (t.tv_nsec >= 1000000000) {
		t.tv_nsec -= 1000000000;
		t.tv_sec++;
	}
	return t;
}

pthread_t started(void *(*run)(void *), void *argument)
{
	pthread_t thread;
	int r = pthread_create(&thread, NULL, run, argument);

	if (r) {
		fprintf(stderr, "pthread_create: %s\n", strerror(r));
		abort();
	}
	return thread;
}

void *joined(pthread_t thread)
{
	void *result;
	int r = pthread_join(thread, &result);

	if (r) {
		fprintf(stderr, "pthread_join: %s\n", strerror(r));
		abort();
	}
	return result;
}

void *in_thread(void *(*run)(void *), void *argument)
{
	return joined(started(run, argument));
}

int add_one(int *word)
{
	return __atomic_add_fetch(word, 1, __ATOMIC_SEQ_CST);
}

int value_of(const int *word)
{
	return __atomic_load_n(word, __ATOMIC_SEQ_CST);
}

bool reaches(const int *word, int value)
{
	for (int i = 0; i < 5000; i++) {
		if (value_of(word) >= value)
			return true;
		sleep_ms(1);
	}
	return false;
}

bool becomes_pending(int number)
{
	sigset_t set;

	for (int i = 0; i < 5000; i++) {
		if (sigpending(&set) == 0 && sigismember(&set, number) == 1)
			return true;
		sleep_ms(1);
	}
	return false;
}

int child_status(int (*run)(void))
{
	int status;
	pid_t pid = fork();

	if (pid == 0)
		_exit(run());
	return pid > 0 && waitpid(pid, &status, 0) == pid ? status : -1;
}

bool exits_with(int status, int code)
{
	return WIFEXITED(status) && WEXITSTATUS(status) == code;
}

void *sleeps_a_little(void *argument)
{
	sleep_ms(20);
	return argument;
}

int uses_threads(void)
{
	pthread_t t[10];

	for (intptr_t i = 0; i < 10; i++)
		t[i] = started(sleeps_a_little, (void *)i);
	for (intptr_t i = 0; i < 10; i++)
		if (joined(t[i]) != (void *)i)
			return 1;
	return 0;
}

static bool run_one(const struct check *check)
{
	bool good;

	is_skip = false;
	errno = 0;
	good = check->run();
	if (good)
		printf("ok %s\n", check->name);
	else
		printf("%s %s: %s\n", is_skip ? "SKIP:" : "not ok", check->name, why);
	fflush(stdout);
	return good || is_skip;
}

/* The linker has them in the order of the files, a compiler in any order. */
static int by_place(const void *a, const void *b)
{
	const struct check *x = a, *y = b;
	int files = strcmp(x->file, y->file);

	return files ? files : x->line - y->line;
}

static bool wanted(const struct check *check, char **names)
{
	if (!*names)
		return true;
	for (; *names; names++)
		if (strcmp(*names, check->name) == 0)
			return true;
	return false;
}

int main(int argc, char **argv)
{
	const char *after = NULL;
	bool list = false, good = true;
	char **names = argv + 1;

	for (; *names && **names == '-'; names++) {
		if (strcmp(*names, "--list") == 0)
			list = true;
		else if (strcmp(*names, "--after") == 0 && names[1])
			after = *++names;
		else
			return fprintf(stderr, "%s: unknown option %s\n", argv[0], *names), 2;
	}
	(void)argc;
	qsort(__start_checks, (size_t)(__stop_checks - __start_checks), sizeof(struct check),
	      by_place);
	for (const struct check *c = __start_checks; c < __stop_checks; c++) {
		if (list)
			puts(c->name);
		else if (!after && wanted(c, names))
			good &= run_one(c);
		if (after && strcmp(after, c->name) == 0)
			after = NULL;
	}
	return good ? 0 : 1;
}
