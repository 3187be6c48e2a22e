/* SPDX-License-Identifier: MIT
 *
 * Fuzzes what the HTTP server reads from clients: the request parser, the
 * chunked decoder, and the readers of paths, ranges and dates.
 *
 * Beyond not crashing: a request cut anywhere gives what it gives whole; what
 * is consumed is there; what is accepted keeps the rules that the rest of the
 * server builds on.
 */
#include "chunk.h"
#include "date.h"
#include "log.h"
#include "path.h"
#include "range.h"
#include "request.h"

#include <stdint.h>
#include <stdlib.h>

#define CHECK(condition)          \
	do {                      \
		if (!(condition)) \
			abort();  \
	} while (0)

static const struct request_limits limits = {
	.head_max = 1024,
	.target_max = 256,
	.fields_max = 16,
};

/* ---- requests ------------------------------------------------------------ */

/* Lets the parser have the text in steps of step bytes. */
static int parse_in_steps(struct request *r, const char *text, size_t len, size_t step)
{
	int result = 0;
	size_t there = 0;

	request_init(r, &limits);
	while (result == 0 && there < len) {
		there = len - there > step ? there + step : len;
		result = request_parse(r, text, there);
	}
	return result;
}

static void check_span(const char *text, struct span span, int head)
{
	CHECK(span.start + span.len <= (uint32_t)head);
	for (uint32_t i = 0; i < span.len; i++) {
		unsigned char byte = (unsigned char)text[span.start + i];

		CHECK((byte >= 0x20 || byte == '\t') && byte != 0x7f);
	}
}

static void check_values(const struct request *r, const char *text)
{
	char path[512], line[64];
	uint64_t first = 0, last = 0, number;
	int len = path_decode(span_slice(text, r->path), path, sizeof(path));

	CHECK(len < 0 || strlen(path) == (size_t)len);
	CHECK(len < 0 || (path[0] != '/' && !strstr(path, "/..") && strncmp(path, "..", 2) != 0));
	if (range_parse(span_slice(text, r->range), 1000, &first, &last) == RANGE_PART)
		CHECK(first <= last && last < 1000);
	date_parse(span_slice(text, r->if_modified_since));
	query_number(span_slice(text, r->query), SLICE("ms"), &number);
	CHECK(log_escape(line, sizeof(line), span_slice(text, r->start_line)) <= sizeof(line));
}

static void check_accepted(const struct request *r, const char *text, int head)
{
	CHECK(head <= (int)limits.head_max && r->fields <= limits.fields_max);
	CHECK(memcmp(text + head - 4, "\r\n\r\n", 4) == 0);
	CHECK(!(r->chunked && (r->has_length || r->minor == 0)));
	CHECK(r->minor == 0 || r->has_host);
	CHECK(r->path.len <= limits.target_max && r->query.len <= limits.target_max);
	check_span(text, r->start_line, head);
	check_span(text, r->path, head);
	check_span(text, r->query, head);
	check_span(text, r->host, head);
	check_span(text, r->range, head);
	check_span(text, r->if_range, head);
	check_span(text, r->if_modified_since, head);
	check_span(text, r->if_none_match, head);
	check_span(text, r->user_agent, head);
	check_span(text, r->referer, head);
	check_values(r, text);
}

static void fuzz_request(const char *text, size_t len, size_t step)
{
	struct request whole, stepped;
	int result = parse_in_steps(&whole, text, len, SIZE_MAX);

	CHECK(result <= (int)len);
	CHECK(result >= 0 || (result <= -400 && result >= -505));
	CHECK(parse_in_steps(&stepped, text, len, step) == result);
	CHECK(result <= 0 || memcmp(&whole, &stepped, sizeof(whole)) == 0);
	CHECK(parse_in_steps(&stepped, text, len, 1) == result);
	CHECK(result <= 0 || memcmp(&whole, &stepped, sizeof(whole)) == 0);
	if (result > 0)
		check_accepted(&whole, text, result);
}

/* ---- bodies -------------------------------------------------------------- */

struct decoded {
	uint64_t hash, len, consumed;
	bool done, failed;
};

static struct decoded decode_in_steps(const char *text, size_t len, size_t step)
{
	struct chunked chunked = { 0 };
	struct decoded out = { .hash = 14695981039346656037u };

	while (out.consumed < len && !chunked.done) {
		size_t left = len - out.consumed;
		size_t there = left < step ? left : step;
		struct slice data;
		ssize_t n = chunked_parse(&chunked, text + out.consumed, there, &data);

		if (n < 0)
			return (struct decoded){ .failed = true };
		CHECK(n > 0 && (size_t)n <= there && data.len <= (size_t)n);
		for (size_t i = 0; i < data.len; i++)
			out.hash = (out.hash ^ (unsigned char)data.ptr[i]) * 1099511628211u;
		out.len += data.len;
		out.consumed += (size_t)n;
	}
	out.done = chunked.done;
	return out;
}

static void fuzz_body(const char *text, size_t len, size_t step)
{
	struct decoded whole = decode_in_steps(text, len, SIZE_MAX);
	struct decoded stepped = decode_in_steps(text, len, step);

	CHECK(whole.failed == stepped.failed && whole.done == stepped.done);
	CHECK(whole.hash == stepped.hash && whole.len == stepped.len);
	CHECK(whole.consumed == stepped.consumed);
}

/* ---- values -------------------------------------------------------------- */

static void fuzz_values(const char *text, size_t len)
{
	struct slice all = { text, len };
	uint64_t first = 0, last = 0;
	char *path = malloc(len + 1);

	CHECK(path);
	CHECK(path_decode(all, path, len + 1) <= (int)len);
	free(path);
	if (range_parse(all, 77, &first, &last) == RANGE_PART)
		CHECK(first <= last && last < 77);
	int64_t seconds = date_parse(all);
	if (seconds >= 0) {
		char date[DATE_LEN];

		date_format(date, seconds);
		CHECK(date_parse((struct slice){ date, DATE_LEN }) == seconds);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The first byte chooses the step, the second what is fuzzed. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 2)
		return 0;
	const char *text = (const char *)data + 2;
	size_t step = (size_t)data[0] + 1;

	size -= 2;
	switch (data[1] % 4) {
	case 0:
		fuzz_body(text, size, step);
		break;
	case 1:
		fuzz_values(text, size);
		break;
	default:
		fuzz_request(text, size, step);
	}
	return 0;
}
