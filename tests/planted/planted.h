/* SPDX-License-Identifier: MIT
 *
 * Programs that stall, each for one reason, for greentrace to find: the line to be found
 * ends in the comment "planted".  tests/e2e/planted.sh runs them, man/greentrace-guide.7
 * shows how each is found.
 *
 *	./PROGRAM            with the problem
 *	./PROGRAM well       does the same work without it
 */
#ifndef PLANTED_H
#define PLANTED_H

#include <green.h>
#include <green_io.h>
#include <green_sync.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

/* Has a frame of its own, and does not end in a jump. */
#define KEPT __attribute__((noinline, noclone))
#define NO_JUMP __asm__ volatile("" ::: "memory")

static bool well; /* without the problem */

static inline int64_t cpu_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* Of CPU time, whoever else wants the CPU. */
KEPT __attribute__((unused)) static void compute(int64_t ns)
{
	int64_t end = cpu_now() + ns;

	while (cpu_now() < end)
		for (volatile int i = 0; i < 1000; i++)
			;
}

/* NULL from work: all went well. */
static inline int planted_main(int argc, char **argv, void *(*work)(void *))
{
	void *result = NULL;
	int r;

	well = argc == 2 && strcmp(argv[1], "well") == 0;
	r = green_run(work, NULL, &result);
	if (r != 0 || result)
		fprintf(stderr, "%s: %s\n", argv[0], r ? strerror(-r) : (const char *)result);
	return r != 0 || result;
}

#endif
