/* SPDX-License-Identifier: MIT
 *
 * Measuring the time stamp counter.
 */
#include "clock.h"

#include <string.h>
#include <time.h>

#define LEAST_NS 20000000 /* two readings of 100 ns each are wrong by 1/100,000 then */

static uint64_t read_ticks(void)
{
	return __builtin_ia32_rdtsc();
}

int64_t clock_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

uint64_t clock_ticks(const struct tick_clock *clock)
{
	return clock->nanoseconds ? (uint64_t)clock_now() : read_ticks();
}

/* The same moment by both: the reading in the middle of the closest pair. */
static void read_both(uint64_t *ticks, int64_t *ns)
{
	uint64_t best = UINT64_MAX;

	*ticks = 0;
	*ns = 0;
	for (int i = 0; i < 5; i++) {
		uint64_t before = read_ticks();
		int64_t now = clock_now();
		uint64_t after = read_ticks();
		if (after - before >= best)
			continue;
		best = after - before;
		*ticks = before + best / 2;
		*ns = now;
	}
}

void clock_start(struct tick_clock *clock)
{
	const struct timespec least = { .tv_nsec = LEAST_NS };

	memset(clock, 0, sizeof(*clock));
	read_both(&clock->ticks, &clock->ns);
	nanosleep(&least, NULL);
	clock_measure(clock);
}

void clock_measure(struct tick_clock *clock)
{
	uint64_t ticks;
	int64_t ns;

	if (clock_now() - clock->ns < 2 * clock->measured_ns)
		return;
	read_both(&ticks, &ns);
	clock->measured_ns = ns - clock->ns;
	clock->ns_per_tick = (double)clock->measured_ns / (double)(ticks - clock->ticks);
}

int64_t clock_moment(const struct tick_clock *clock, uint64_t ticks)
{
	const double most = 1e18;
	double ns = clock->nanoseconds
	                    ? (double)(int64_t)ticks
	                    : (double)(int64_t)(ticks - clock->ticks) * clock->ns_per_tick;

	if (!(ns > -most && ns < most))
		return 0;
	return clock->nanoseconds ? (int64_t)ticks : clock->ns + (int64_t)ns;
}
