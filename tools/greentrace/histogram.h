/* SPDX-License-Identifier: MIT
 *
 * struct histogram: durations, counted by size.
 *
 * Each power of two is divided into 16 parts of equal width, so that a quantile is wrong by
 * 1/32 at most; count, total and max are exact.
 */
#ifndef HISTOGRAM_H
#define HISTOGRAM_H

#include <stdint.h>

#define HISTOGRAM_PARTS_SHIFT 4
#define HISTOGRAM_PARTS (1u << HISTOGRAM_PARTS_SHIFT)
#define HISTOGRAM_LOG2_MAX 44 /* 2^44 ns are five hours; what is longer counts as that */
#define HISTOGRAM_BUCKETS ((HISTOGRAM_LOG2_MAX - HISTOGRAM_PARTS_SHIFT + 1) * HISTOGRAM_PARTS)

struct histogram {
	uint64_t count, total_ns, max_ns;
	uint32_t buckets[HISTOGRAM_BUCKETS];
};

void histogram_add(struct histogram *h, uint64_t ns);

/* What was added as `from` has become longer; a histogram that has no such gets a new one. */
void histogram_grow(struct histogram *h, uint64_t from, uint64_t to);

void histogram_merge(struct histogram *to, const struct histogram *from);

/* What the share (0 to 1) of all values does not exceed, to within 1/32; 0: no values. */
uint64_t histogram_quantile(const struct histogram *h, double share);

/* How many values lie in [2^log2, 2^(log2+1)) ns; 0 and 1 ns both belong to log2 0. */
uint64_t histogram_log2(const struct histogram *h, unsigned log2);

#endif
