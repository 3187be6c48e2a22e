/* SPDX-License-Identifier: MIT
 *
 * The small readers and writers of the HTTP server: dates, ranges, paths, media
 * types, numbers, and what a log line may contain.
 */
#include "date.h"
#include "harness.h"
#include "log.h"
#include "mime.h"
#include "path.h"
#include "range.h"
#include "text.h"

#include <time.h>

static struct slice slice_of(const char *text)
{
	return (struct slice){ text, strlen(text) };
}

/* ---- dates --------------------------------------------------------------- */

static void check_date(int64_t seconds)
{
	char ours[DATE_LEN], theirs[64];
	time_t time = seconds;
	struct tm tm;

	date_format(ours, seconds);
	gmtime_r(&time, &tm);
	CHECK_EQ(strftime(theirs, sizeof(theirs), "%a, %d %b %Y %H:%M:%S GMT", &tm), DATE_LEN);
	CHECK(memcmp(ours, theirs, DATE_LEN) == 0);
	CHECK_EQ(date_parse((struct slice){ ours, DATE_LEN }), seconds);
}

TEST(dates_agree_with_the_c_library)
{
	check_date(0);
	check_date(951782399);  /* before 29 February 2000 */
	check_date(4107542400); /* 1 March 2100, no leap year */
	check_date(253402300799);
	for (int64_t seconds = 0; seconds < 253402300799; seconds += 86400 * 13 + 12345)
		check_date(seconds);
}

TEST(dates_in_three_forms)
{
	CHECK_EQ(date_parse(slice_of("Sun, 06 Nov 1994 08:49:37 GMT")), 784111777);
	CHECK_EQ(date_parse(slice_of("Sunday, 06-Nov-94 08:49:37 GMT")), 784111777);
	CHECK_EQ(date_parse(slice_of("Sun Nov  6 08:49:37 1994")), 784111777);
	CHECK_EQ(date_parse(slice_of("Wed Nov 16 08:49:37 1994")), 784975777);
}

TEST(dates_refused)
{
	static const char *const texts[] = {
		"",
		"now",
		"Sun",
		"Sun, ",
		"Sunday",
		"Sun, 06 Nov 1994 08:49:37",
		"784111777",
		"Sun, 06 Nov 1994 08:49:37 UTC",
		"Sun, 06 Nov 1994 08:49:37 GMT ",
		"Sun, 32 Nov 1994 08:49:37 GMT",
		"Sun, 06 Nov 1994 24:49:37 GMT",
		"Sun, 06 Non 1994 08:49:37 GMT",
		"Sun, 06 Nov 1894 08:49:37 GMT",
		"Sun, 6 Nov 1994 08:49:37 GMT",
		"Sun Nov 6 08:49:37 1994",
	};

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		if (date_parse(slice_of(texts[i])) != -1)
			FAIL("accepted '%s'", texts[i]);
}

/* ---- ranges -------------------------------------------------------------- */

TEST(ranges)
{
	static const struct {
		const char *field;
		uint64_t size;
		enum range_result result;
		uint64_t first, last;
	} samples[] = {
		{ "bytes=0-0", 10, RANGE_PART, 0, 0 },
		{ "bytes=2-5", 10, RANGE_PART, 2, 5 },
		{ "BYTES=2-5", 10, RANGE_PART, 2, 5 },
		{ "bytes=2-", 10, RANGE_PART, 2, 9 },
		{ "bytes=2-99", 10, RANGE_PART, 2, 9 },
		{ "bytes=9-9", 10, RANGE_PART, 9, 9 },
		{ "bytes=-3", 10, RANGE_PART, 7, 9 },
		{ "bytes=-99", 10, RANGE_PART, 0, 9 },
		{ "bytes=0-99999999999999999999999", 10, RANGE_PART, 0, 9 },
		{ "bytes=10-", 10, RANGE_UNSATISFIABLE, 0, 0 },
		{ "bytes=99999999999999999999999-", 10, RANGE_UNSATISFIABLE, 0, 0 },
		{ "bytes=-0", 10, RANGE_UNSATISFIABLE, 0, 0 },
		{ "bytes=0-", 0, RANGE_UNSATISFIABLE, 0, 0 },
		{ "bytes=-1", 0, RANGE_UNSATISFIABLE, 0, 0 },
		{ "bytes=5-2", 10, RANGE_WHOLE, 0, 0 },
		{ "bytes=0-1,3-4", 10, RANGE_WHOLE, 0, 0 },
		{ "bytes=", 10, RANGE_WHOLE, 0, 0 },
		{ "bytes=-", 10, RANGE_WHOLE, 0, 0 },
		{ "bytes=a-b", 10, RANGE_WHOLE, 0, 0 },
		{ "bytes=1", 10, RANGE_WHOLE, 0, 0 },
		{ "lines=1-2", 10, RANGE_WHOLE, 0, 0 },
		{ "", 10, RANGE_WHOLE, 0, 0 },
	};

	for (size_t i = 0; i < sizeof(samples) / sizeof(samples[0]); i++) {
		uint64_t first = 0, last = 0;
		enum range_result result =
			range_parse(slice_of(samples[i].field), samples[i].size, &first, &last);

		if (result != samples[i].result || first != samples[i].first ||
		    last != samples[i].last)
			FAIL("'%s' of %d: %d, %d-%d", samples[i].field, (int)samples[i].size,
			     result, (int)first, (int)last);
	}
}

/* ---- paths --------------------------------------------------------------- */

TEST(paths)
{
	static const struct {
		const char *raw, *decoded; /* NULL: refused */
		int status;
	} samples[] = {
		{ "/", "", 0 },
		{ "", "", 0 },
		{ "///", "", 0 },
		{ "/a", "a", 0 },
		{ "/a/", "a/", 0 },
		{ "//a//b", "a/b", 0 },
		{ "/a%20b", "a b", 0 },
		{ "/%C3%a9", "\xc3\xa9", 0 },
		{ "/a+b", "a+b", 0 },
		{ "/a..b", "a..b", 0 },
		{ "/.well-known/x", ".well-known/x", 0 },
		{ "/..", NULL, 404 },
		{ "/../etc/passwd", NULL, 404 },
		{ "/a/../../b", NULL, 404 },
		{ "/%2e%2e/b", NULL, 404 },
		{ "/.%2E/b", NULL, 404 },
		{ "/a%2f..%2fb", NULL, 404 },
		{ "/a%2Fb", NULL, 404 },
		{ "/.", NULL, 404 },
		{ "/.git/config", NULL, 404 },
		{ "/a/.htpasswd", NULL, 404 },
		{ "/a%00b", NULL, 400 },
		{ "/a%", NULL, 400 },
		{ "/a%4", NULL, 400 },
		{ "/a%zz", NULL, 400 },
	};
	char out[64];

	for (size_t i = 0; i < sizeof(samples) / sizeof(samples[0]); i++) {
		int len = path_decode(slice_of(samples[i].raw), out, strlen(samples[i].raw) + 1);

		if (!samples[i].decoded) {
			CHECK_EQ(len, -samples[i].status);
			continue;
		}
		CHECK_EQ(len, strlen(samples[i].decoded));
		CHECK_STR(out, samples[i].decoded);
	}
	CHECK_EQ(path_decode(slice_of("/abc"), out, 3), -414);
}

TEST(query_numbers)
{
	uint64_t value = 0;

	CHECK(query_number(slice_of("ms=12"), SLICE("ms"), &value) && value == 12);
	CHECK(query_number(slice_of("a=1&ms=7&b"), SLICE("ms"), &value) && value == 7);
	CHECK(!query_number(slice_of("a=1&xms=7"), SLICE("ms"), &value));
	CHECK(!query_number(slice_of("ms="), SLICE("ms"), &value));
	CHECK(!query_number(slice_of("ms"), SLICE("ms"), &value));
	CHECK(!query_number(slice_of("ms=1x"), SLICE("ms"), &value));
	CHECK(!query_number(slice_of("ms=99999999999999999999"), SLICE("ms"), &value));
	CHECK(!query_number(slice_of(""), SLICE("ms"), &value));
}

/* ---- the rest ------------------------------------------------------------ */

static void check_type(const char *name, const char *expected)
{
	struct slice type = mime_type(name);

	CHECK_EQ(type.len, strlen(expected));
	CHECK(memcmp(type.ptr, expected, type.len) == 0);
}

TEST(media_types)
{
	check_type("index.html", "text/html; charset=utf-8");
	check_type("a.b/c.PNG", "image/png");
	check_type("a.html/c", "application/octet-stream");
	check_type("a.tar.gz", "application/gzip");
	check_type("noending", "application/octet-stream");
	check_type("dot.", "application/octet-stream");
}

TEST(numbers)
{
	char buf[64];
	struct text text = { .buf = buf, .size = sizeof(buf) };

	text_number(&text, 0);
	text_put(&text, SLICE(" "));
	text_number(&text, UINT64_MAX);
	text_put(&text, SLICE(" "));
	text_hex(&text, 0);
	text_put(&text, SLICE(" "));
	text_hex(&text, 0xdeadbeef01);
	CHECK_EQ(text.len, strlen("0 18446744073709551615 0 deadbeef01"));
	CHECK(memcmp(buf, "0 18446744073709551615 0 deadbeef01", text.len) == 0);
}

TEST(log_lines_are_printable)
{
	char out[1024], all[256];
	size_t len;

	for (int i = 0; i < 256; i++)
		all[i] = (char)i;
	len = log_escape(out, sizeof(out), (struct slice){ all, sizeof(all) });
	CHECK(len > 256);
	for (size_t i = 0; i < len; i++)
		CHECK(out[i] >= 0x20 && out[i] < 0x7f && out[i] != '"');
	/* Never more than there is room for. */
	for (size_t size = 0; size < 64; size++)
		CHECK(log_escape(out, size, (struct slice){ all, sizeof(all) }) <= size);
	len = log_escape(out, sizeof(out), slice_of("a\"b\\c\nd"));
	CHECK_EQ(len, strlen("a\\x22b\\x5cc\\x0ad"));
	CHECK(memcmp(out, "a\\x22b\\x5cc\\x0ad", len) == 0);
}
