/* SPDX-License-Identifier: MIT
 *
 * Stress of overflows: green threads run out of their stacks in every way, many at
 * once, on every rung of the guard ladder, and end alone.  Their neighbours, each with
 * a pattern that fills its stack, are parked among them; no byte of theirs may change.
 * --count overflows of each way on each rung.
 */
#define _GNU_SOURCE
#include "harness.h"

#include "green_sync.h"
#include "overflows.h"

#include <getopt.h>

#define NEIGHBOURS 32
#define AT_ONCE 8
#define PATTERN ((size_t)40 << 10)

static unsigned count;
static green_sem_t go_on[2]; /* those with odd numbers, with even ones */
static _Atomic unsigned waiting;

static unsigned char pattern_at(uintptr_t who, size_t i)
{
	return (unsigned char)(who * 31 + i * 7 + (i >> 8));
}

__attribute__((noinline)) static void *neighbour(void *arg)
{
	volatile unsigned char bytes[PATTERN];
	uintptr_t who = (uintptr_t)arg, changed = 0;

	for (size_t i = 0; i < PATTERN; i++)
		bytes[i] = pattern_at(who, i);
	atomic_fetch_add(&waiting, 1);
	CHECK_EQ(green_sem_wait(&go_on[who % 2]), 0);
	for (size_t i = 0; i < PATTERN; i++)
		changed += bytes[i] != pattern_at(who, i);
	return (void *)changed;
}

/* When those with odd numbers have ended, every second slot is free, and hot. */
static void start_neighbours(green_t *threads)
{
	atomic_store(&waiting, 0);
	for (uintptr_t i = 0; i < 2 * NEIGHBOURS; i++)
		threads[i] = start_green(neighbour, (void *)i);
	WAIT_FOR(atomic_load(&waiting) == 2 * NEIGHBOURS);
}

static void end_neighbours(green_t *threads, unsigned which)
{
	for (int i = 0; i < NEIGHBOURS; i++)
		green_sem_post(&go_on[which]);
	for (int i = 0; i < NEIGHBOURS; i++)
		CHECK(join_green(threads[2 * i + which]) == NULL);
}

static void overflow_some(green_fn fn)
{
	green_t threads[AT_ONCE];
	void *result = threads;

	for (int i = 0; i < AT_ONCE; i++)
		threads[i] = start_green(fn, NULL);
	for (int i = 0; i < AT_ONCE; i++) {
		CHECK_EQ(green_join(threads[i], &result), -EOVERFLOW);
		CHECK(!result);
	}
}

static void *among_neighbours(void *unused)
{
	green_t threads[2 * NEIGHBOURS];

	start_neighbours(threads);
	end_neighbours(threads, 1);
	for (unsigned kind = 0; kind < OVERFLOWS; kind++)
		for (unsigned done = 0; done < count; done += AT_ONCE)
			overflow_some(overflows[kind].fn);
	end_neighbours(threads, 0);
	return unused;
}

/* As few at the end as at the beginning. */
static unsigned mappings;

static void *measure(void *unused)
{
	among_neighbours(NULL);
	mappings = count_mappings();
	return unused;
}

static void on_rung(const char *name, const char *features, int64_t hibernate)
{
	struct green_options options = { .overflow = GREEN_OVERFLOW_END,
		                         .features = features,
		                         .hibernate_after_ns = hibernate };
	struct green_info info;
	unsigned all, each;

	skip_without_guards();
	CHECK_EQ(green_init(&options), 0);
	CHECK_EQ(green_info(&info), 0);
	CHECK_EQ(green_fini(), 0);
	if (strcmp(info.stacks, name))
		SKIP("the rung here is %s", info.stacks);
	test_limit(600);
	reports_begin();
	CHECK_EQ(run_green_with(&options, measure, NULL, NULL), 0);
	const char *text = reports_end();
	/* A report's first line is written in one piece with what follows it; the rest
	 * may mingle with another's. */
	each = (count + AT_ONCE - 1) / AT_ONCE * AT_ONCE;
	all = (unsigned)OVERFLOWS * each;
	CHECK_EQ(count_of(text, "libgreen: stack overflow: green thread"), all);
	if (strcmp(name, "mprotect"))
		CHECK_LE(mappings, 400); /* a sanitizer has many */
}

TEST(userfaultfd_kernel)
{
	on_rung("userfaultfd-kernel", NULL, GREEN_MS(20));
}

TEST(userfaultfd)
{
	on_rung("userfaultfd", "-userfaultfd_kernel", GREEN_MS(20));
}

TEST(guard_install)
{
	on_rung("guard-install", "-userfaultfd", 0);
}

TEST(mprotect_guard)
{
	on_rung("mprotect", "-userfaultfd,-guard_install", 0);
}

int main(int argc, char **argv)
{
	static const struct option options[] = { { "count", required_argument, NULL, 'c' }, { 0 } };
	int c;

	count = scaled(64);
	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1)
		switch (c) {
		case 'c':
			count = (unsigned)strtoul(optarg, NULL, 0);
			break;
		default:
			fprintf(stderr, "usage: %s [--count OVERFLOWS] [TEST ...]\n", argv[0]);
			return 2;
		}
	argv[optind - 1] = argv[0];
	return harness_main(argc - optind + 1, argv + optind - 1);
}
