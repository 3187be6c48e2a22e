/* SPDX-License-Identifier: MIT
 *
 * struct tick_clock: what the target's ticks are in nanoseconds.
 *
 * The time stamp counter is one for the whole machine, so that this process can measure
 * how fast it goes; the longer ago the first reading, the better it knows.
 */
#ifndef CLOCK_H
#define CLOCK_H

#include <stdbool.h>
#include <stdint.h>

struct tick_clock {
	bool nanoseconds; /* ticks are nanoseconds */
	uint64_t ticks;   /* at the first reading, */
	int64_t ns;       /* CLOCK_MONOTONIC */
	double ns_per_tick;
	int64_t measured_ns; /* over that time */
};

/* Nanoseconds of CLOCK_MONOTONIC. */
int64_t clock_now(void);

/* Ticks now. */
uint64_t clock_ticks(const struct tick_clock *clock);

void clock_start(struct tick_clock *clock);
/* Measures anew, if that makes it better. */
void clock_measure(struct tick_clock *clock);

static inline uint64_t clock_duration(const struct tick_clock *clock, uint64_t ticks)
{
	return clock->nanoseconds ? ticks : (uint64_t)((double)ticks * clock->ns_per_tick);
}

/* The moment in nanoseconds of CLOCK_MONOTONIC; what lies centuries away is cut. */
int64_t clock_moment(const struct tick_clock *clock, uint64_t ticks);

#endif
