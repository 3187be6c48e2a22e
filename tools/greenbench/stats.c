/* SPDX-License-Identifier: MIT
 *
 * Medians over rounds, and percentiles of histograms.
 */
#include "stats.h"

#include <math.h>
#include <stdalign.h>
#include <stdlib.h>
#include <sys/mman.h>

double hist_value(unsigned index)
{
	if (index < HIST_SUB)
		return index;
	unsigned shift = index / HIST_SUB - 1;
	uint64_t low = (uint64_t)(HIST_SUB + index % HIST_SUB) << shift;
	return (double)low + (double)(1ull << shift) / 2;
}

struct hist_set *hist_set_new(unsigned count)
{
	size_t bytes = sizeof(struct hist_set) + count * sizeof(struct hist) + alignof(struct hist);
	struct hist_set *set =
		mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (set == MAP_FAILED)
		return NULL;
	set->count = count;
	uintptr_t each = (uintptr_t)(set + 1), align = alignof(struct hist);
	set->each = (struct hist *)((each + align - 1) / align * align);
	return set;
}

void hist_set_free(struct hist_set *set)
{
	if (set)
		munmap(set, sizeof(*set) + set->count * sizeof(struct hist) + alignof(struct hist));
}

void hist_set_look(struct hist_set *set)
{
	set->total = 0;
	for (unsigned i = 0; i < HIST_BUCKETS; i++) {
		uint64_t sum = 0;
		for (unsigned k = 0; k < set->count; k++)
			sum += atomic_load_explicit(&set->each[k].bucket[i], memory_order_relaxed);
		set->window[i] = sum - set->seen[i];
		set->total += set->window[i];
		set->seen[i] = sum;
	}
}

double hist_set_us(const struct hist_set *set, double share)
{
	double rank = share * (double)set->total;
	uint64_t seen = 0;
	for (unsigned i = 0; i < HIST_BUCKETS; i++) {
		seen += set->window[i];
		if (seen && (double)seen >= rank)
			return hist_value(i) / 1e3;
	}
	return NAN;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

/* Rounds without a value (NAN) do not count. */
static size_t known(const double *values, size_t count, double *out)
{
	size_t n = 0;
	for (size_t i = 0; i < count; i++)
		if (!isnan(values[i]))
			out[n++] = values[i];
	qsort(out, n, sizeof(*out), compare);
	return n;
}

static double pick(const double *values, size_t count, double share)
{
	double *sorted = calloc(count ? count : 1, sizeof(*sorted));
	if (!sorted)
		return NAN;
	size_t n = known(values, count, sorted);
	double result = NAN;
	if (n) {
		double place = share * (double)(n - 1);
		size_t low = (size_t)place;
		size_t high = low + 1 < n ? low + 1 : low;
		result = sorted[low] + (sorted[high] - sorted[low]) * (place - (double)low);
	}
	free(sorted);
	return result;
}

double stats_median(const double *values, size_t count)
{
	return pick(values, count, 0.5);
}

double stats_min(const double *values, size_t count)
{
	return pick(values, count, 0);
}

double stats_max(const double *values, size_t count)
{
	return pick(values, count, 1);
}
