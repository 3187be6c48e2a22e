/* SPDX-License-Identifier: MIT
 *
 * The parts of greentrace that do sums: histograms, the table of switch points, lockfiles,
 * probe notes, durations as text.  What they say is checked against plain counting.
 */
#include "harness.h"

#include "greenps.h"
#include "histogram.h"
#include "lockfile.h"
#include "notes.h"
#include "sites.h"
#include "time_text.h"

#include <stdarg.h>

const char tool_name[] = "test";
static char complaint[1024];

void complain(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(complaint, sizeof(complaint), format, arguments);
	va_end(arguments);
}

/* xorshift: the same numbers each time. */
static uint64_t next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

/* ---- histograms ------------------------------------------------------------------ */

static int ascending(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

TEST(quantiles_are_within_a_thirtysecond)
{
	enum { STEP = 50, COUNT = 100 * STEP };
	static struct histogram h;
	static uint64_t values[COUNT];
	uint64_t state = 88172645463325252u, total = 0;

	for (int i = 0; i < COUNT; i++) {
		values[i] = next_random(&state) >> (20 + next_random(&state) % 44);
		total += values[i];
		histogram_add(&h, values[i]);
	}
	qsort(values, COUNT, sizeof(values[0]), ascending);
	CHECK_EQ(h.count, COUNT);
	CHECK_EQ(h.total_ns, total);
	CHECK_EQ(h.max_ns, values[COUNT - 1]);
	for (size_t i = 0; i < 100; i++) {
		double truth = (double)values[i * STEP];
		double seen = (double)histogram_quantile(&h, (double)i / 100);
		CHECK(seen >= truth * (1 - 1 / 31.0) - 1 && seen <= truth * (1 + 1 / 31.0) + 1);
	}
	CHECK_EQ(histogram_quantile(&h, 1), h.max_ns);
}

TEST(powers_of_two_hold_what_they_should)
{
	static struct histogram h, other;
	uint64_t state = 2463534242u, counts[64] = { 0 }, sum = 0;

	for (int i = 0; i < 5000; i++) {
		uint64_t ns = next_random(&state) >> (21 + next_random(&state) % 43);
		histogram_add(i % 2 ? &h : &other, ns);
		counts[ns ? 63 - __builtin_clzll(ns) : 0]++;
	}
	histogram_merge(&h, &other);
	for (unsigned i = 0; i < HISTOGRAM_LOG2_MAX; i++) {
		CHECK_EQ(histogram_log2(&h, i), counts[i]);
		sum += histogram_log2(&h, i);
	}
	CHECK_EQ(sum, h.count);
}

TEST(what_is_too_long_is_not_lost)
{
	static struct histogram h;

	CHECK_EQ(histogram_quantile(&h, 0.5), 0);
	histogram_add(&h, UINT64_MAX);
	histogram_add(&h, (uint64_t)1 << HISTOGRAM_LOG2_MAX);
	CHECK_EQ(histogram_log2(&h, HISTOGRAM_LOG2_MAX - 1), 2);
	CHECK_EQ(h.max_ns, UINT64_MAX);
}

TEST(what_goes_on_counts_once)
{
	static struct histogram h;

	histogram_add(&h, 1000);
	histogram_add(&h, 12000);
	histogram_grow(&h, 12000, 20000);
	CHECK_EQ(h.count, 2);
	CHECK_EQ(h.total_ns, 21000);
	CHECK_EQ(h.max_ns, 20000);
	CHECK_EQ(histogram_log2(&h, 13), 0);
	CHECK_EQ(histogram_log2(&h, 14), 1);
	/* The shorter one was counted in an interval before. */
	histogram_grow(&h, 300, 500);
	CHECK_EQ(h.count, 3);
	CHECK_EQ(h.total_ns, 21500);
}

/* ---- the table -------------------------------------------------------------------- */

TEST(a_site_is_a_place_and_a_reason)
{
	struct sites sites = { 0 };

	for (uint64_t pc = 1; pc <= 3000; pc++)
		for (unsigned why = 0; why < 2; why++)
			histogram_add(&sites_get(&sites, pc * 16, why)->parked, pc + why);
	CHECK_EQ(sites.count, 6000);
	for (uint64_t pc = 1; pc <= 3000; pc++)
		for (unsigned why = 0; why < 2; why++) {
			const struct site *site = sites_get(&sites, pc * 16, why);
			CHECK_EQ(site->parked.count, 1);
			CHECK_EQ(site->parked.total_ns, pc + why);
		}
	CHECK_EQ(sites.count, 6000);
	sites_free(&sites);
}

TEST(intervals_begin_anew)
{
	struct sites sites = { 0 };
	struct site *a = sites_get(&sites, 1, 0), *b = sites_get(&sites, 2, 0), **sorted;

	histogram_add(&a->parked, 100);
	histogram_add(&b->parked, 10);
	sites_mark(&sites);
	histogram_add(&b->parked, 20);
	CHECK_EQ(site_parks(a), 0);
	CHECK_EQ(site_total_ns(b), 20);
	sorted = sites_sorted(&sites, BY_TOTAL, true);
	CHECK(sorted[0] == b && sorted[1] == a && !sorted[2]);
	free(sorted);
	sorted = sites_sorted(&sites, BY_TOTAL, false);
	CHECK(sorted[0] == a && sorted[1] == b);
	free(sorted);
	sorted = sites_sorted(&sites, BY_COUNT, false);
	CHECK(sorted[0] == b);
	free(sorted);
	sites_free(&sites);
}

TEST(the_most_frequent_survives_many_others)
{
	struct top top = { 0 };

	CHECK_EQ(top_best(&top), -1);
	for (uint64_t i = 0; i < 10000; i++)
		top_add(&top, i % 4 == 0 ? 7 : 1000 + i);
	CHECK_EQ(top.seen[top_best(&top)].value, 7);
	CHECK(top.seen[top_best(&top)].count >= 2500);
	CHECK(top.overflowed);
}

/* ---- lockfiles --------------------------------------------------------------------- */

static char path[64];

static const char *temporary(void)
{
	snprintf(path, sizeof(path), "/tmp/test_greentrace.%d", (int)getpid());
	return path;
}

TEST(a_lockfile_comes_back_as_it_was)
{
	struct lock lock = { 0 }, back = { 0 }, more = { 0 };

	CHECK(lock_add(&lock, "io", "b", "f"));
	CHECK(lock_add(&lock, "io", "b", "f"));
	CHECK(lock_add(&lock, "io", "a\tx\n\033", "f"));
	CHECK_EQ(lock_write(&lock, temporary()), EXIT_OK);
	CHECK_EQ(lock_read(&back, temporary()), EXIT_OK);
	CHECK_EQ(back.count, 2);
	CHECK_EQ(lock_compare(&back, &lock), 0);
	/* Another call in a known function, and a new function. */
	CHECK(lock_add(&more, "io", "b", "f") && lock_add(&more, "io", "b", "f"));
	CHECK_EQ(lock_compare(&back, &more), 0);
	CHECK(lock_add(&more, "io", "b", "f") && lock_add(&more, "sleep", "b", "f"));
	CHECK_EQ(lock_compare(&back, &more), 2);
	lock_free(&lock);
	lock_free(&back);
	lock_free(&more);
	unlink(path);
}

TEST(damaged_lockfiles_are_refused)
{
	static const char *const damaged[] = { "io\tb\tf\n",       "io\tb\tf\t\n",
		                               "io\tb\tf\tx\n",    "io\tb\tf\t0\n",
		                               "io\tb\tf\t-1\n",   "io\tb\tf\t1x\n",
		                               "a\tio\tb\tf\t1\n", "text\n" };
	struct lock lock = { 0 };

	for (size_t i = 0; i < sizeof(damaged) / sizeof(damaged[0]); i++) {
		FILE *f = fopen(temporary(), "we");
		fprintf(f, "# comment\n\nio\ta\tb\t1\n%s", damaged[i]);
		fclose(f);
		CHECK_EQ(lock_read(&lock, path), EXIT_PROBLEM);
		CHECK_HAS(complaint, "line 4 is not one of a lockfile");
		lock_free(&lock);
	}
	unlink(path);
	CHECK_EQ(lock_read(&lock, path), EXIT_PROBLEM);
	CHECK_HAS(complaint, "No such file");
}

/* ---- notes -------------------------------------------------------------------------- */

static const struct {
	uint64_t address[3];
	char text[26];
} description = { { 0x1000, 0x500, 0x2000 }, "libgreen\0flush\08@%rdi 8@1" };

TEST(a_note_moves_with_its_file)
{
	struct note note;
	const char *bytes = (const char *)&description;

	CHECK(note_parse(&note, bytes, sizeof(description), 0));
	CHECK_EQ(note.location, 0x1000);
	CHECK_STR(note.provider, "libgreen");
	CHECK_STR(note.name, "flush");
	CHECK_STR(note.arguments, "8@%rdi 8@1");
	note_clear(&note);
	CHECK(note_parse(&note, bytes, sizeof(description), 0x600));
	CHECK_EQ(note.location, 0x1100);
	CHECK_EQ(note.semaphore, 0x2100);
	note_clear(&note);
}

/* From a copy of exactly that size, so that the address sanitizer sees each step too far. */
TEST(notes_that_are_cut_are_refused)
{
	struct note note;
	size_t whole = sizeof(description.address) + sizeof("libgreen\0flush\0");

	for (size_t size = 0; size < whole + 10; size++) {
		char *copy = malloc(size ? size : 1);
		memcpy(copy, &description, size);
		CHECK(!note_parse(&note, copy, size, 0));
		free(copy);
	}
}

/* ---- text ----------------------------------------------------------------------------- */

TEST(durations_have_three_digits)
{
	static const struct {
		uint64_t ns;
		const char *text;
	} all[] = {
		{ 0, "0ns" },          { 999, "999ns" },         { 1000, "1.00us" },
		{ 9994, "9.99us" },    { 9995, "10.0us" },       { 99949, "99.9us" },
		{ 99950, "100us" },    { 999499, "999us" },      { 999500, "1.00ms" },
		{ 1234567, "1.23ms" }, { 59999999999, "60.0s" }, { 999500000, "1.00s" },
	};
	char text[16];

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		CHECK_STR(time_text(text, all[i].ns), all[i].text);
}
