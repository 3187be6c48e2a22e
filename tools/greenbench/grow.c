/* SPDX-License-Identifier: MIT
 *
 * grow: what it costs a fresh stack to grow, next to plain memory.
 *
 * Green threads on one worker, the first one's, touch the pages below their first
 * one, then park, so that each has a stack of its own; beside each growth the same
 * number of pages of an anonymous mapping is touched.  On all other workers one
 * thread computes: the kernel then has TLBs to empty.
 */
#include "place.h"
#include "run.h"
#include "stats.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>

#define THREADS 1000
#define PAGE ((size_t)4096)
#define SLOT ((size_t)65536)

static const struct depth {
	size_t bytes;
	const char *green, *plain, *ratio;
} depths[] = {
	{ 4 * 1024, "ns_4k", "plain_ns_4k", "ratio_4k" },
	{ 16 * 1024, "ns_16k", "plain_ns_16k", "ratio_16k" },
	{ 56 * 1024, "ns_56k", "plain_ns_56k", "ratio_56k" },
};

static struct {
	struct place place;
	uint64_t threads;
	char *memory; /* plain: a slot for each thread */
	double *green, *plain;
	uint64_t fresh; /* growers on whose stack nobody had been; they share a worker */
	green_sem_t stay;
	green_wg_t grown, ended;
	_Atomic bool stop;
} grow;

static uint64_t page_faults(void)
{
	struct rusage usage;

	getrusage(RUSAGE_THREAD, &usage);
	return (uint64_t)usage.ru_minflt;
}

/* Page by page, downwards. */
static __attribute__((noinline)) int64_t touch_below(volatile char *page, size_t bytes)
{
	int64_t begin = green_now();

	for (size_t at = PAGE; at <= bytes; at += PAGE)
		page[-(ptrdiff_t)at] = 1;
	return green_now() - begin;
}

static void *grower(void *arg)
{
	const struct depth *depth = arg;
	/* Where this frame lies; nobody uses what is below. */
	char *page = (char *)((uintptr_t)__builtin_frame_address(0) & ~(PAGE - 1));
	uint64_t faults = page_faults();
	int64_t ns = touch_below(page, depth->bytes);

	/* A stack from the cache has had its pages for long. */
	if (page_faults() - faults >= depth->bytes / PAGE) {
		char *plain = grow.memory + (grow.fresh + 1) * SLOT - PAGE;
		*(volatile char *)plain = 1;
		grow.green[grow.fresh] = (double)ns;
		grow.plain[grow.fresh++] = (double)touch_below(plain, depth->bytes);
	}
	green_wg_done(&grow.grown);
	green_sem_wait(&grow.stay);
	green_wg_done(&grow.ended);
	return NULL;
}

static void *computer(void *unused)
{
	while (!atomic_load_explicit(&grow.stop, memory_order_relaxed))
		continue;
	green_wg_done(&grow.ended);
	return unused;
}

static int start_computers(struct run *run)
{
	atomic_store_explicit(&grow.stop, false, memory_order_relaxed);
	for (unsigned i = 0; i < run->workers; i++) {
		struct green_attr attr = place_attr(&grow.place, i, true);
		if (i == (unsigned)green_worker())
			continue;
		green_wg_add(&grow.ended, 1);
		if (run_spawn(run, NULL, &attr, computer, NULL))
			return run->status;
	}
	return 0;
}

static int measure(struct run *run, const struct depth *depth)
{
	struct green_attr attr = place_attr(&grow.place, (unsigned)green_worker(), true);

	grow.fresh = 0;
	madvise(grow.memory, grow.threads * SLOT, MADV_DONTNEED);
	if (start_computers(run))
		return run->status;
	for (uint64_t i = 0; i < grow.threads; i++) {
		green_wg_add(&grow.grown, 1);
		green_wg_add(&grow.ended, 1);
		if (run_spawn(run, NULL, &attr, grower, (void *)(uintptr_t)depth))
			return run->status;
	}
	green_wg_wait(&grow.grown);
	atomic_store_explicit(&grow.stop, true, memory_order_relaxed);
	for (uint64_t i = 0; i < grow.threads; i++)
		green_sem_post(&grow.stay);
	green_wg_wait(&grow.ended);
	if (grow.fresh < grow.threads / 4)
		return run_cannot(run, "%llu of %llu threads had a fresh stack: give more threads",
		                  (unsigned long long)grow.fresh, (unsigned long long)grow.threads);
	double green = stats_median(grow.green, grow.fresh),
	       plain = stats_median(grow.plain, grow.fresh);
	result_measure(&run->result, depth->green, "ns", green);
	result_measure(&run->result, depth->plain, "ns", plain);
	result_measure(&run->result, depth->ratio, "times plain", green / plain);
	return 0;
}

static int grow_round(struct run *run, void *unused)
{
	(void)unused;
	for (size_t i = 0; i < sizeof(depths) / sizeof(depths[0]); i++)
		if (measure(run, &depths[i]))
			return run->status;
	return 0;
}

static int grow_body(struct run *run)
{
	grow.threads = run_default(run->options->threads, THREADS);
	result_number(&run->result, "threads", (double)grow.threads);
	grow.green = run_alloc(run, grow.threads, sizeof(*grow.green));
	grow.plain = run_alloc(run, grow.threads, sizeof(*grow.plain));
	grow.memory = mmap(NULL, grow.threads * SLOT, PROT_READ | PROT_WRITE,
	                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (grow.memory == MAP_FAILED)
		run_cannot(run, "memory to compare with: %s", strerror(errno));
	else
		madvise(grow.memory, grow.threads * SLOT, MADV_NOHUGEPAGE);
	if (!run->status && place_init(&grow.place, run) == 0) {
		run_rounds(run, grow_round, NULL);
		place_free(&grow.place);
	}
	if (grow.memory != MAP_FAILED)
		munmap(grow.memory, grow.threads * SLOT);
	free(grow.green);
	free(grow.plain);
	return run->status;
}

static int grow_run(const struct options *options)
{
	return run_bench(options, "grow", grow_body);
}

const struct bench bench_grow = {
	.name = "grow",
	.about = "Grows fresh stacks by 4, 16 and 56 KB, and as much plain memory beside each:\n"
		 "nanoseconds for either (median of the threads), and how many times more.\n"
		 "GREEN_HIBERNATE_MS chooses stacks that can hibernate; with two workers and\n"
		 "more, the others compute meanwhile.\n"
		 "--threads: that grow in a round (default 1,000).",
	.accepts = "threads",
	.examples = "  greenbench grow --workers 1\n"
		    "  GREEN_HIBERNATE_MS=1000 greenbench grow --workers 2 --json\n",
	.run = grow_run,
};
