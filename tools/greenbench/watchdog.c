/* SPDX-License-Identifier: MIT
 *
 * The watchdog.
 */
#include "watchdog.h"

#include "bench.h"
#include "child.h"
#include "green.h"
#include "progress.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

/* A dump has one line for each green thread: for a few they help. */
#define DUMP_THREADS_MAX 200

static const char *bench_name;
static double default_limit_s;
static const char *_Atomic phase;
/* Release: pairs with the acquire in watch(), which then reads phase. */
static _Atomic int64_t deadline_ns = GREEN_FOREVER;

static void give_up(void)
{
	/* If even the report hangs: the alarm ends the process. */
	signal(SIGALRM, SIG_DFL);
	alarm(10);
	progress_clear();
	fprintf(stderr, "greenbench: %s: not finished in time: %s\n", bench_name,
	        atomic_load_explicit(&phase, memory_order_relaxed));
	struct green_info info;
	if (green_info(&info) == 0) {
		fprintf(stderr, "greenbench: %zu green threads are alive, engine %s\n",
		        info.threads, info.engine);
		if (info.threads <= DUMP_THREADS_MAX)
			green_dump(STDERR_FILENO);
	}
	child_kill_all();
	_exit(EXIT_WRONG);
}

static void *watch(void *arg)
{
	const struct timespec pause = { .tv_nsec = 200 * 1000 * 1000 };
	for (;;) {
		nanosleep(&pause, NULL);
		if (green_now() > atomic_load_explicit(&deadline_ns, memory_order_acquire))
			give_up();
	}
	return arg;
}

int watchdog_start(const char *bench, double limit_s)
{
	bench_name = bench;
	default_limit_s = limit_s;
	sigset_t all, before;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	pthread_t thread;
	int error = pthread_create(&thread, NULL, watch, NULL);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (!error)
		pthread_detach(thread);
	return -error;
}

void watchdog_phase(const char *what, double limit_s)
{
	atomic_store_explicit(&phase, what, memory_order_relaxed);
	atomic_store_explicit(&deadline_ns, green_now() + (int64_t)(limit_s * 1e9),
	                      memory_order_release);
}

void watchdog_rest(void)
{
	atomic_store_explicit(&deadline_ns, GREEN_FOREVER, memory_order_release);
}

double watchdog_limit_s(void)
{
	return default_limit_s;
}
