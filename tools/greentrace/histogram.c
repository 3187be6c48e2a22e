/* SPDX-License-Identifier: MIT
 *
 * Histograms with logarithmic and, between powers of two, linear buckets.
 */
#include "histogram.h"

/* Below 2^PARTS_SHIFT each value has a bucket of its own; above, the leading one says
 * which power of two, and the bits behind it which part of that. */
static unsigned bucket_of(uint64_t ns)
{
	if (ns < HISTOGRAM_PARTS)
		return (unsigned)ns;
	unsigned log2 = 63 - (unsigned)__builtin_clzll(ns);
	if (log2 >= HISTOGRAM_LOG2_MAX)
		return HISTOGRAM_BUCKETS - 1;
	unsigned shift = log2 - HISTOGRAM_PARTS_SHIFT;
	return (shift + 1) * HISTOGRAM_PARTS + (unsigned)(ns >> shift) - HISTOGRAM_PARTS;
}

/* The middle of a bucket. */
static uint64_t value_of(unsigned bucket)
{
	if (bucket < 2 * HISTOGRAM_PARTS)
		return bucket;
	unsigned shift = bucket / HISTOGRAM_PARTS - 1;
	uint64_t low = (uint64_t)(bucket % HISTOGRAM_PARTS + HISTOGRAM_PARTS) << shift;
	return low + ((uint64_t)1 << shift) / 2;
}

void histogram_add(struct histogram *h, uint64_t ns)
{
	h->count++;
	h->total_ns += ns;
	if (ns > h->max_ns)
		h->max_ns = ns;
	h->buckets[bucket_of(ns)]++;
}

void histogram_grow(struct histogram *h, uint64_t from, uint64_t to)
{
	unsigned bucket = bucket_of(from);

	if (h->buckets[bucket]) {
		h->count--;
		h->total_ns -= from;
		h->buckets[bucket]--;
	}
	histogram_add(h, to);
}

void histogram_merge(struct histogram *to, const struct histogram *from)
{
	to->count += from->count;
	to->total_ns += from->total_ns;
	if (from->max_ns > to->max_ns)
		to->max_ns = from->max_ns;
	for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++)
		to->buckets[i] += from->buckets[i];
}

uint64_t histogram_quantile(const struct histogram *h, double share)
{
	uint64_t wanted = (uint64_t)(share * (double)h->count), seen = 0;

	if (wanted >= h->count)
		return h->max_ns;
	for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
		seen += h->buckets[i];
		if (seen > wanted)
			return value_of(i) < h->max_ns ? value_of(i) : h->max_ns;
	}
	return h->max_ns;
}

uint64_t histogram_log2(const struct histogram *h, unsigned log2)
{
	uint64_t sum = 0;
	unsigned low = log2 ? bucket_of((uint64_t)1 << log2) : 0;
	unsigned high = bucket_of((uint64_t)2 << log2);

	if (log2 >= HISTOGRAM_LOG2_MAX)
		return 0;
	/* What is too large for all of them stands in the last one. */
	if (log2 == HISTOGRAM_LOG2_MAX - 1)
		high = HISTOGRAM_BUCKETS;
	for (unsigned i = low; i < high; i++)
		sum += h->buckets[i];
	return sum;
}
