/* SPDX-License-Identifier: MIT
 *
 * park: many green threads parked at once, what each costs in memory, and
 * whether every one of them wakes.
 *
 * Memory is all-in: resident pages, page tables and swap of the whole process,
 * less what it had before the first green thread was spawned.
 */
#include "proc.h"
#include "progress.h"
#include "run.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define THREADS 100000
#define SETTLE_NS GREEN_MS(50)  /* from the last thread's start until it is parked */
#define BYTES_PER_THREAD 6000.0 /* to judge whether memory suffices */
#define DESCRIPTORS_KEPT 200    /* left for the runtime and the rest */

enum way { SLEEP, READ, SEM };

struct park {
	enum way way;
	uint64_t threads;
	green_t *handles; /* sleep: to be cancelled */
	int *fds;         /* read: eventfds, shared when there are more threads */
	uint64_t fds_count;
	struct proc_memory before;
	green_sem_t sem, all_ended;
	int64_t hibernate_ns; /* 0: never */
	_Atomic uint64_t next, started, woken, ended;
};

static struct park park;

/* Waits in the chosen way; true when it was woken as it should be. */
static bool wait_once(uint64_t number)
{
	uint64_t value = 0;
	switch (park.way) {
	case SLEEP:
		return green_sleep(GREEN_S(1000000)) == -ECANCELED;
	case READ:
		return green_read(park.fds[number % park.fds_count], &value, sizeof(value)) == 8 &&
		       value == 1;
	default:
		return green_sem_wait(&park.sem) == 0;
	}
}

/* What a thread has on its stack while it is parked, and finds there again. */
#define WORDS 4

static void fill(uint64_t *words, uint64_t number)
{
	for (uint64_t i = 0; i < WORDS; i++)
		words[i] = (number + 1) * 0x9e3779b97f4a7c15u + i;
	__asm__ volatile("" : : "r"(words) : "memory"); /* they lie on the stack */
}

static bool intact(const uint64_t *words, uint64_t number)
{
	for (uint64_t i = 0; i < WORDS; i++)
		if (words[i] != (number + 1) * 0x9e3779b97f4a7c15u + i)
			return false;
	return true;
}

static void *parker(void *arg)
{
	uint64_t words[WORDS];

	fill(words, (uint64_t)arg);
	atomic_fetch_add_explicit(&park.started, 1, memory_order_relaxed);
	if (wait_once((uint64_t)arg) && intact(words, (uint64_t)arg))
		atomic_fetch_add_explicit(&park.woken, 1, memory_order_relaxed);
	/* The last one's post makes the counts above visible to the waiter. */
	if (atomic_fetch_add_explicit(&park.ended, 1, memory_order_acq_rel) + 1 == park.threads)
		green_sem_post(&park.all_ended);
	return NULL;
}

static int spawn_all(struct run *run)
{
	struct green_attr attr = { .detached = true };
	atomic_store_explicit(&park.started, 0, memory_order_relaxed);
	atomic_store_explicit(&park.woken, 0, memory_order_relaxed);
	atomic_store_explicit(&park.ended, 0, memory_order_relaxed);
	for (uint64_t i = 0; i < park.threads; i++)
		if (run_spawn(run, &park.handles[i], &attr, parker, (void *)i))
			return run->status;
	uint64_t started;
	while ((started = atomic_load_explicit(&park.started, memory_order_relaxed)) <
	       park.threads) {
		progress("park: %llu of %llu threads parked", (unsigned long long)started,
		         (unsigned long long)park.threads);
		green_sleep(GREEN_MS(1));
	}
	return 0;
}

static void wake_all(void)
{
	switch (park.way) {
	case SLEEP:
		for (uint64_t i = 0; i < park.threads; i++)
			green_cancel(park.handles[i]);
		break;
	case READ:
		for (uint64_t i = 0; i < park.fds_count; i++) {
			uint64_t readers =
				park.threads / park.fds_count + (i < park.threads % park.fds_count);
			if (write(park.fds[i], &readers, sizeof(readers)) < 0)
				return; /* its readers stay: the watchdog tells */
		}
		break;
	case SEM:
		for (uint64_t i = 0; i < park.threads; i++)
			green_sem_post(&park.sem);
		break;
	}
	green_sem_wait(&park.all_ended);
}

/* Waits until all but a few stacks sleep; false: they do not here. */
static bool wait_hibernated(void)
{
	struct green_info info;
	size_t before = 0;
	int64_t changed = green_now();

	do {
		if (green_info(&info))
			return false;
		if (info.stacks_hibernated != before)
			changed = green_now();
		before = info.stacks_hibernated;
		progress("park: %zu of %llu stacks hibernated", before,
		         (unsigned long long)park.threads);
		green_sleep(GREEN_MS(20));
	} while (before < park.threads && green_now() - changed < 2 * park.hibernate_ns);
	return before >= park.threads - park.threads / 1000;
}

static int measure_hibernated(struct run *run)
{
	struct proc_memory now;

	if (!park.hibernate_ns || !wait_hibernated())
		return 0;
	int error = proc_memory(0, &now);
	if (error)
		return run_cannot(run, "/proc/self/status: %s", strerror(-error));
	result_measure(&run->result, "bytes_per_thread_hibernated", "bytes",
	               (proc_bytes(&now) - proc_bytes(&park.before)) / (double)park.threads);
	return 0;
}

static int park_round(struct run *run, void *arg)
{
	(void)arg;
	double threads = (double)park.threads;
	struct proc_memory now;
	int64_t begin = green_now();
	if (spawn_all(run))
		return run->status;
	int64_t parked = green_now();
	green_sleep(SETTLE_NS);
	int error = proc_memory(0, &now);
	int failed = measure_hibernated(run);
	if (failed)
		return failed;
	int64_t wake = green_now();
	wake_all();
	int64_t end = green_now();
	if (error)
		return run_cannot(run, "/proc/self/status: %s", strerror(-error));
	result_measure(&run->result, "bytes_per_thread_active", "bytes",
	               (proc_bytes(&now) - proc_bytes(&park.before)) / threads);
	result_measure(&run->result, "rss_bytes_per_thread", "bytes",
	               1024.0 * (double)(now.rss_kb - park.before.rss_kb) / threads);
	result_measure(&run->result, "pte_bytes_per_thread", "bytes",
	               1024.0 * (double)(now.pte_kb - park.before.pte_kb) / threads);
	result_measure(&run->result, "ns_to_park", "ns", (double)(parked - begin) / threads);
	result_measure(&run->result, "ns_to_wake", "ns", (double)(end - wake) / threads);
	result_measure(&run->result, "ops_per_s", "wakes/s", threads * 1e9 / (double)(end - wake));
	uint64_t woken = atomic_load_explicit(&park.woken, memory_order_relaxed);
	if (woken != park.threads)
		return run_wrong(run, "%llu of %llu threads woke as they should",
		                 (unsigned long long)woken, (unsigned long long)park.threads);
	return 0;
}

static int open_fds(struct run *run)
{
	uint64_t limit = proc_raise_nofile();
	uint64_t room = limit > DESCRIPTORS_KEPT + 1 ? limit - DESCRIPTORS_KEPT : 1;
	uint64_t count = park.threads < room ? park.threads : room;
	park.fds = run_alloc(run, count, sizeof(int));
	if (!park.fds)
		return run->status;
	for (; park.fds_count < count; park.fds_count++) {
		int fd = eventfd(0, EFD_CLOEXEC | EFD_SEMAPHORE);
		if (fd < 0)
			return run_cannot(run, "descriptor %llu: %s",
			                  (unsigned long long)park.fds_count, strerror(errno));
		park.fds[park.fds_count] = fd;
	}
	result_number(&run->result, "descriptors", (double)count);
	return 0;
}

static int prepare(struct run *run)
{
	double need = BYTES_PER_THREAD * (double)park.threads, have = proc_available_bytes();
	if (need > have)
		return run_cannot(run,
		                  "%llu threads need about %.0f MB, %.0f MB are available; "
		                  "give --threads %.0f",
		                  (unsigned long long)park.threads, need / 1e6, have / 1e6,
		                  have / BYTES_PER_THREAD);
	park.handles = run_alloc(run, park.threads, sizeof(*park.handles));
	if (!park.handles || (park.way == READ && open_fds(run)))
		return run->status;
	int error = proc_memory(0, &park.before);
	if (error)
		return run_cannot(run, "/proc/self/status: %s", strerror(-error));
	return 0;
}

static int park_body(struct run *run)
{
	static const char *const names[] = { "sleep", "read", "sem" };
	park.threads = run_default(run->options->threads, THREADS);
	result_number(&run->result, "threads", (double)park.threads);
	result_text(&run->result, "how", names[park.way]);
	if (prepare(run) == 0)
		run_rounds(run, park_round, NULL);
	for (uint64_t i = 0; i < park.fds_count; i++)
		green_close(park.fds[i]);
	free(park.fds);
	free(park.handles);
	return run->status;
}

/* Not before all are there and have been measured. */
static void hibernate_later(const struct options *options)
{
	const char *given = getenv("GREEN_HIBERNATE_MS");
	uint64_t ms = 1000 + run_default(options->threads, THREADS) / 100;
	char text[32];

	if (given)
		ms = strtoull(given, NULL, 10);
	snprintf(text, sizeof(text), "%llu", (unsigned long long)ms);
	setenv("GREEN_HIBERNATE_MS", text, 1);
	park.hibernate_ns = GREEN_MS(ms);
}

static int park_run(const struct options *options)
{
	const char *how = options->how ? options->how : "sleep";
	if (!strcmp(how, "sleep"))
		park.way = SLEEP;
	else if (!strcmp(how, "read"))
		park.way = READ;
	else if (!strcmp(how, "sem"))
		park.way = SEM;
	else
		return options_bad("how", "give sleep, read or sem");
	hibernate_later(options);
	return run_bench(options, "park", park_body);
}

const struct bench bench_park = {
	.name = "park",
	.about = "Parks many green threads at once, measures the memory of each (resident,\n"
		 "page tables, swap) while active and, once they hibernate, then, wakes all,\n"
		 "checks what lay on their stacks, and counts them.\n"
		 "--threads: parked at once (default 100k).\n"
		 "--how: sleep (default; woken by green_cancel), read (of an eventfd), sem.",
	.accepts = "threads how",
	.examples = "  greenbench park --threads 1000000 --rounds 1\n"
		    "  greenbench park --how read --threads 10000 --json\n",
	.run = park_run,
};
