/* SPDX-License-Identifier: MIT
 *
 * Code that is not thread-safe, three times at once: a serial group keeps it
 * right.
 *
 *	serial [--parallel] [ROUNDS]
 *
 * Three green threads bump a plain counter and now and then let others run, but
 * never in the middle of a bump.  As members of one serial group they lose
 * nothing, on any number of workers.  With --parallel they may run anywhere,
 * and bumps get lost when two workers read the same old value.
 *
 * Exit status: 0 when the sum is exact or with --parallel; 1 when it is not.
 */
#include <green.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MEMBERS 3
#define BUMPS_BETWEEN_YIELDS 100

/* volatile only so that the compiler really reads and writes each time. */
static volatile long counter;
static long rounds = 1000000;

static void *bump(void *unused)
{
	for (long i = 1; i <= rounds; i++) {
		long seen = counter;

		counter = seen + 1;
		if (i % BUMPS_BETWEEN_YIELDS == 0)
			green_yield();
	}
	return unused;
}

static void *run_members(void *parallel)
{
	struct green_serial *group = parallel ? NULL : green_serial_new();
	struct green_attr attr = { .name = "member", .serial = group, .migratable = !group };
	green_t members[MEMBERS] = { GREEN_NONE };
	bool failed = false;

	for (int i = 0; i < MEMBERS; i++)
		if (green_spawn(&members[i], &attr, bump, NULL) < 0)
			failed = true;
	for (int i = 0; i < MEMBERS; i++)
		green_join(members[i], NULL);
	green_serial_free(group);
	return (void *)(intptr_t)failed;
}

int main(int argc, char **argv)
{
	bool parallel = argc > 1 && strcmp(argv[1], "--parallel") == 0;
	void *failed = NULL;

	if (argc > 1 + parallel)
		rounds = strtol(argv[1 + parallel], NULL, 10);
	if (rounds < 1 || argc > 2 + parallel) {
		fprintf(stderr, "Usage: serial [--parallel] [ROUNDS]\n");
		return 2;
	}
	int result = green_run(run_members, parallel ? argv : NULL, &failed);
	if (result < 0 || failed) {
		fprintf(stderr, "serial: %s\n", result < 0 ? green_error() : "cannot spawn");
		return 1;
	}
	printf("%ld of %ld: %s\n", counter, MEMBERS * rounds,
	       counter == MEMBERS * rounds ? "exact" : "bumps were lost");
	return !parallel && counter != MEMBERS * rounds;
}
