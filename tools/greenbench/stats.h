/* SPDX-License-Identifier: MIT
 *
 * Numbers over rounds, and histograms of latencies.
 *
 * The histogram is log-linear, as HdrHistogram's: each power of two of
 * nanoseconds is cut into HIST_SUB equal parts, so a value is known to 1.6 %.
 *
 * A struct hist has one writer (a worker, or a client process); a hist_set has
 * one for each writer, in shared memory, and its reader looks at what was added
 * since it last looked.
 */
#ifndef STATS_H
#define STATS_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#define HIST_SUB_BITS 6
#define HIST_SUB (1u << HIST_SUB_BITS)
#define HIST_BITS_MAX 42 /* 2^42 ns: 73 minutes; longer ones count as that */
#define HIST_BUCKETS ((HIST_BITS_MAX - HIST_SUB_BITS + 1) * HIST_SUB)

struct hist {
	/* Relaxed: only the counts matter, and each has one writer. */
	_Alignas(64) _Atomic uint64_t bucket[HIST_BUCKETS];
};

struct hist_set {
	unsigned count;
	struct hist *each;             /* by writer */
	uint64_t seen[HIST_BUCKETS];   /* sums at the last look */
	uint64_t window[HIST_BUCKETS]; /* what was added between the last two looks */
	uint64_t total;                /* the sum of window */
};

static inline unsigned hist_index(uint64_t ns)
{
	if (ns < HIST_SUB)
		return (unsigned)ns;
	unsigned shift = 63u - (unsigned)__builtin_clzll(ns) - HIST_SUB_BITS;
	unsigned index = (shift + 1) * HIST_SUB + (unsigned)((ns >> shift) - HIST_SUB);
	return index < HIST_BUCKETS ? index : HIST_BUCKETS - 1;
}

static inline void hist_add(struct hist *hist, int64_t ns)
{
	_Atomic uint64_t *bucket = &hist->bucket[hist_index(ns > 0 ? (uint64_t)ns : 0)];
	uint64_t count = atomic_load_explicit(bucket, memory_order_relaxed);
	atomic_store_explicit(bucket, count + 1, memory_order_relaxed);
}

/* The middle of a bucket's range, ns. */
double hist_value(unsigned index);

/* Room for count writers; forked children share it.  NULL: no memory. */
struct hist_set *hist_set_new(unsigned count);
void hist_set_free(struct hist_set *set);

/* Makes what was added since the last look the window. */
void hist_set_look(struct hist_set *set);

/* The value in microseconds that a share (0 … 1) of the window does not exceed;
 * NAN when it is empty. */
double hist_set_us(const struct hist_set *set, double share);

/* Over rounds; NAN stands for a round without a value and does not count. */
double stats_median(const double *values, size_t count);
double stats_min(const double *values, size_t count);
double stats_max(const double *values, size_t count);

#endif
