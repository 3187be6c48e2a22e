/* SPDX-License-Identifier: MIT
 *
 * hostile --list | hostile native|green CASE: runs one of the cases, in a process whose
 * threads must be of that kind.
 */
#include "hostile.h"

#include <errno.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define KERNEL_TID_MAX (4 << 20)

extern const struct hostile __start_cases[], __stop_cases[]; /* NOLINT: made by the linker */

void say(const char *format, ...)
{
	char line[512];
	va_list list;

	va_start(list, format);
	int n = vsnprintf(line, sizeof(line) - 1, format, list);
	va_end(list);
	line[n] = '\n';
	if (write(STDOUT_FILENO, line, (size_t)n + 1) != n + 1)
		abort();
}

void say_result(const char *what, long result)
{
	const char *name = result < 0 ? strerrorname_np(errno) : "";

	say("%s: %ld%s%s", what, result, result < 0 ? " " : "", name ? name : "?");
}

void sleep_ms(unsigned ms)
{
	struct timespec left = { ms / 1000, (long)(ms % 1000) * 1000000 };

	while (nanosleep(&left, &left) < 0 && errno == EINTR)
		;
}

uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

pthread_t started(void *(*run)(void *), void *argument)
{
	pthread_t thread;
	int r = pthread_create(&thread, NULL, run, argument);

	if (r) {
		say("pthread_create: %s", strerrorname_np(r));
		_exit(99);
	}
	return thread;
}

void *joined(pthread_t thread)
{
	void *result = NULL;
	int r = pthread_join(thread, &result);

	if (r)
		say("pthread_join: %s", strerrorname_np(r));
	return result;
}

void *in_thread(void *(*run)(void *), void *argument)
{
	return joined(started(run, argument));
}

void set(int *word, int value)
{
	__atomic_store_n(word, value, __ATOMIC_SEQ_CST);
}

int add_one(int *word)
{
	return __atomic_add_fetch(word, 1, __ATOMIC_SEQ_CST);
}

bool reaches(const int *word, int value)
{
	for (int i = 0; i < 5000; i++) {
		if (__atomic_load_n(word, __ATOMIC_SEQ_CST) >= value)
			return true;
		sleep_ms(1);
	}
	return false;
}

void handle(int sig, void (*handler)(int), int flags)
{
	struct sigaction action = { .sa_handler = handler, .sa_flags = flags };

	if (sigaction(sig, &action, NULL))
		say_result("sigaction", -1);
}

/* ---- do threads still work? ------------------------------------------------------- */

struct relay {
	pthread_mutex_t mutex;
	pthread_cond_t turn;
	int next, ends[2];
};

static void *passes_on(void *argument)
{
	struct relay *r = argument;
	char byte;

	sleep_ms(1);
	if (read(r->ends[0], &byte, 1) != 1)
		return NULL;
	pthread_mutex_lock(&r->mutex);
	while (r->next != byte)
		pthread_cond_wait(&r->turn, &r->mutex);
	r->next++;
	pthread_cond_broadcast(&r->turn);
	pthread_mutex_unlock(&r->mutex);
	return argument;
}

void say_threads_work(void)
{
	struct relay r = { PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, { -1, -1 } };
	pthread_t t[10];

	if (pipe(r.ends))
		return say_result("pipe", -1);
	for (int i = 0; i < 10; i++)
		t[i] = started(passes_on, &r);
	sleep_ms(5);
	for (char i = 0; i < 10; i++)
		if (write(r.ends[1], &i, 1) != 1)
			say_result("write", -1);
	for (int i = 0; i < 10; i++)
		if (joined(t[i]) != &r)
			say("a thread could not read");
	close(r.ends[0]);
	close(r.ends[1]);
	say("threads work");
}

void say_end_of(const char *what, pid_t pid)
{
	int status;
	pid_t r;

	while ((r = waitpid(pid, &status, 0)) < 0 && errno == EINTR)
		;
	if (r != pid)
		say_result(what, -1);
	else if (WIFSIGNALED(status))
		say("%s: ended by SIG%s", what, sigabbrev_np(WTERMSIG(status)));
	else
		say("%s: status %d", what, WEXITSTATUS(status));
}

/* ---- another process -------------------------------------------------------------- */

#define ARGUMENT "HOSTILE_ARGUMENT"

static const char *kind;

pid_t part_started(const char *name, const char *argument)
{
	char *words[] = { "hostile", (char *)kind, (char *)name, NULL };
	pid_t pid;

	setenv(ARGUMENT, argument, 1);
	int r = posix_spawn(&pid, "/proc/self/exe", NULL, NULL, words, environ);
	if (r)
		say("posix_spawn: %s", strerrorname_np(r));
	return r ? -1 : pid;
}

const char *part_argument(void)
{
	const char *argument = getenv(ARGUMENT);

	return argument ? argument : "";
}

/* ---- one case --------------------------------------------------------------------------- */

static void *own_tid(void *unused)
{
	(void)unused;
	return (void *)(intptr_t)gettid();
}

int main(int argc, char **argv)
{
	bool green = argc > 1 && strcmp(argv[1], "green") == 0;

	if (argc == 2 && strcmp(argv[1], "--list") == 0) {
		for (const struct hostile *h = __start_cases; h < __stop_cases; h++)
			if (!h->part)
				puts(h->name);
		return 0;
	}
	if (argc != 3)
		return fprintf(stderr, "hostile --list | hostile native|green CASE\n"), 2;
	kind = argv[1];
	if (((intptr_t)in_thread(own_tid, NULL) > KERNEL_TID_MAX) != green)
		return fprintf(stderr, "hostile: the threads are not %s\n", argv[1]), 2;
	for (const struct hostile *h = __start_cases; h < __stop_cases; h++)
		if (strcmp(h->name, argv[2]) == 0) {
			h->run();
			return 0;
		}
	return fprintf(stderr, "hostile: no case %s\n", argv[2]), 2;
}
