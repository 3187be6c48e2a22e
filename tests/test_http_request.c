/* SPDX-License-Identifier: MIT
 *
 * The HTTP request parser: what it accepts and refuses, that it finds the right
 * parts, and that it does so however the bytes arrive.
 */
#include "request.h"
#include "harness.h"

#define H "Host: a\r\n"

static const struct request_limits limits = {
	.head_max = 512,
	.target_max = 64,
	.fields_max = 8,
};

struct sample {
	const char *name;
	const char *text;
	int status; /* 0: accepted; -1: more is needed */
};

/* Parses the first cut bytes and then all of them, each time from a heap block
 * of just that size so that a sanitizer sees a read too far. */
static int parse_cut(struct request *r, const char *text, size_t len, size_t cut)
{
	const size_t steps[] = { cut, len };
	int result = 0;

	request_init(r, &limits);
	for (int i = 0; i < 2 && result == 0; i++) {
		char *copy = malloc(steps[i] + 1);

		REQUIRE(copy);
		/* At the end of the block, so that one byte more is outside. */
		memcpy(copy + 1, text, steps[i]);
		result = request_parse(r, copy + 1, steps[i]);
		free(copy);
	}
	return result;
}

static int parse_bytewise(struct request *r, const char *text, size_t len)
{
	int result = 0;

	request_init(r, &limits);
	for (size_t n = 0; n <= len && result == 0; n++)
		result = request_parse(r, text, n);
	return result;
}

/* The result is the same for every way to cut the text in two, and bytewise. */
static void check_sample(const struct sample *sample)
{
	size_t len = strlen(sample->text);
	struct request whole, cut;
	int result = parse_cut(&whole, sample->text, len, len);

	if (result < 0 ? result != -sample->status : sample->status != (result == 0 ? -1 : 0))
		FAIL("%s: result %d, expected status %d", sample->name, result, sample->status);
	for (size_t at = 0; at < len; at++) {
		int again = parse_cut(&cut, sample->text, len, at);

		if (again != result)
			FAIL("%s: cut at %zu: %d instead of %d", sample->name, at, again, result);
		if (result > 0)
			CHECK(memcmp(&cut, &whole, sizeof(whole)) == 0);
	}
	CHECK_EQ(parse_bytewise(&cut, sample->text, len), result);
	if (result > 0)
		CHECK(memcmp(&cut, &whole, sizeof(whole)) == 0);
	/* An error stays one. */
	if (result < 0)
		CHECK_EQ(request_parse(&cut, sample->text, len), result);
}

static void check_samples(const struct sample *samples, size_t count)
{
	for (size_t i = 0; i < count; i++)
		check_sample(&samples[i]);
}

#define CHECK_SAMPLES(samples) check_samples(samples, sizeof(samples) / sizeof((samples)[0]))

TEST(accepts)
{
	static const struct sample samples[] = {
		{ "simple", "GET / HTTP/1.1\r\n" H "\r\n", 0 },
		{ "HTTP/1.0 needs no host", "GET / HTTP/1.0\r\n\r\n", 0 },
		{ "later minor version", "GET / HTTP/1.7\r\n" H "\r\n", 0 },
		{ "empty lines before", "\r\n\r\nGET / HTTP/1.1\r\n" H "\r\n", 0 },
		{ "unknown method", "BREW /pot HTTP/1.1\r\n" H "\r\n", 0 },
		{ "absolute form", "GET http://a:80/x?y HTTP/1.1\r\n" H "\r\n", 0 },
		{ "absolute form, no path", "GET HTTPS://a HTTP/1.1\r\n" H "\r\n", 0 },
		{ "asterisk", "OPTIONS * HTTP/1.1\r\n" H "\r\n", 0 },
		{ "authority", "CONNECT a:443 HTTP/1.1\r\n" H "\r\n", 0 },
		{ "empty value", "GET / HTTP/1.1\r\n" H "X:\r\n\r\n", 0 },
		{ "empty host", "GET / HTTP/1.1\r\nHost:\r\n\r\n", 0 },
		{ "host with port", "GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", 0 },
		{ "tabs around a value", "GET / HTTP/1.1\r\n" H "X:\t a \tb\t\r\n\r\n", 0 },
		{ "bytes above 127 in a value", "GET / HTTP/1.1\r\n" H "X: \xc3\xa9\r\n\r\n", 0 },
		{ "same length twice",
		  "POST / HTTP/1.1\r\n" H "Content-Length: 5\r\nContent-Length: 5\r\n\r\n", 0 },
		{ "length with zeros", "POST / HTTP/1.1\r\n" H "Content-Length: 0005\r\n\r\n", 0 },
		{ "chunked", "POST / HTTP/1.1\r\n" H "Transfer-Encoding: Chunked\r\n\r\n", 0 },
		{ "pipelined", "GET / HTTP/1.1\r\n" H "\r\nGET /2 HTTP/1.1\r\n" H "\r\n", 0 },
		{ "garbage after the head", "GET / HTTP/1.1\r\n" H "\r\n\x01\x02\n\n", 0 },
	};

	CHECK_SAMPLES(samples);
}

TEST(refuses_request_lines)
{
	static const struct sample samples[] = {
		{ "HTTP/0.9", "GET /\r\n", 400 },
		{ "no method", " / HTTP/1.1\r\n" H "\r\n", 400 },
		{ "method is no token", "G(T / HTTP/1.1\r\n" H "\r\n", 400 },
		{ "two spaces", "GET  / HTTP/1.1\r\n" H "\r\n", 400 },
		{ "space at the end", "GET / HTTP/1.1 \r\n" H "\r\n", 400 },
		{ "tab as a space", "GET\t/ HTTP/1.1\r\n" H "\r\n", 400 },
		{ "space in the target", "GET /a b HTTP/1.1\r\n" H "\r\n", 400 },
		{ "fragment", "GET /a#b HTTP/1.1\r\n" H "\r\n", 400 },
		{ "control byte in the target", "GET /\x01 HTTP/1.1\r\n" H "\r\n", 400 },
		{ "byte above 127 in the target", "GET /\xff HTTP/1.1\r\n" H "\r\n", 400 },
		{ "relative target", "GET a HTTP/1.1\r\n" H "\r\n", 400 },
		{ "other scheme", "GET ftp://a/ HTTP/1.1\r\n" H "\r\n", 400 },
		{ "no authority", "GET http:///a HTTP/1.1\r\n" H "\r\n", 400 },
		{ "asterisk with GET", "GET * HTTP/1.1\r\n" H "\r\n", 400 },
		{ "version in small letters", "GET / http/1.1\r\n" H "\r\n", 400 },
		{ "version too long", "GET / HTTP/1.11\r\n" H "\r\n", 400 },
		{ "version 2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505 },
		{ "version 0.9", "GET / HTTP/0.9\r\n\r\n", 505 },
		{ "TLS", "\x16\x03\x01\x02\x01\x01\xfc\x03", 400 },
		{ "bare LF", "GET / HTTP/1.1\n" H "\r\n", 400 },
		{ "bare CR", "GET /\r HTTP/1.1\r\n" H "\r\n", 400 },
		{ "two CRs", "GET / HTTP/1.1\r\r\n" H "\r\n", 400 },
		{ "bare LF before", "\nGET / HTTP/1.1\r\n" H "\r\n", 400 },
	};

	CHECK_SAMPLES(samples);
}

TEST(refuses_fields)
{
	static const struct sample samples[] = {
		{ "no host", "GET / HTTP/1.1\r\n\r\n", 400 },
		{ "two hosts", "GET / HTTP/1.1\r\n" H H "\r\n", 400 },
		{ "host with a slash", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400 },
		{ "host with a space", "GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400 },
		{ "host with user", "GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", 400 },
		{ "folded line", "GET / HTTP/1.1\r\n" H "X: a\r\n b\r\n\r\n", 400 },
		{ "folded by a tab", "GET / HTTP/1.1\r\n" H "X: a\r\n\tb\r\n\r\n", 400 },
		{ "folded first line", "GET / HTTP/1.1\r\n " H "\r\n", 400 },
		{ "space before the colon", "GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400 },
		{ "no colon", "GET / HTTP/1.1\r\n" H "X\r\n\r\n", 400 },
		{ "no name", "GET / HTTP/1.1\r\n" H ": x\r\n\r\n", 400 },
		{ "name is no token", "GET / HTTP/1.1\r\n" H "X(: a\r\n\r\n", 400 },
		{ "control byte in a value", "GET / HTTP/1.1\r\n" H "X: \x01\r\n\r\n", 400 },
		{ "DEL in a value", "GET / HTTP/1.1\r\n" H "X: \x7f\r\n\r\n", 400 },
		{ "bare CR in a value", "GET / HTTP/1.1\r\n" H "X: a\rb\r\n\r\n", 400 },
		{ "bare LF after a field", "GET / HTTP/1.1\r\n" H "X: a\n\r\n", 400 },
		{ "bare LF at the end", "GET / HTTP/1.1\r\n" H "\n", 400 },
		{ "unknown expectation", "GET / HTTP/1.1\r\n" H "Expect: 200-ok\r\n\r\n", 417 },
		{ "too many fields",
		  "GET / HTTP/1.1\r\n" H "1:\r\n2:\r\n3:\r\n4:\r\n5:\r\n6:\r\n7:\r\n8:\r\n\r\n",
		  431 },
	};

	CHECK_SAMPLES(samples);
}

/* What could make us and a proxy in front of us see different bodies. */
TEST(refuses_smuggling)
{
#define POST "POST / HTTP/1.1\r\n" H
#define CL "Content-Length: "
#define TE "Transfer-Encoding: "
	static const struct sample samples[] = {
		{ "both", POST CL "5\r\n" TE "chunked\r\n\r\n", 400 },
		{ "both the other way", POST TE "chunked\r\n" CL "5\r\n\r\n", 400 },
		{ "two lengths", POST CL "5\r\n" CL "6\r\n\r\n", 400 },
		{ "length as a list", POST CL "5, 5\r\n\r\n", 400 },
		{ "length with a sign", POST CL "+5\r\n\r\n", 400 },
		{ "negative length", POST CL "-5\r\n\r\n", 400 },
		{ "length in hexadecimal", POST CL "0x5\r\n\r\n", 400 },
		{ "empty length", POST CL "\r\n\r\n", 400 },
		{ "length with a space", POST CL "5 5\r\n\r\n", 400 },
		{ "chunked twice", POST TE "chunked\r\n" TE "chunked\r\n\r\n", 400 },
		{ "chunked listed twice", POST TE "chunked, chunked\r\n\r\n", 501 },
		{ "other coding", POST TE "gzip, chunked\r\n\r\n", 501 },
		{ "identity", POST TE "identity\r\n\r\n", 501 },
		{ "chunked with a parameter", POST TE "chunked;a=b\r\n\r\n", 501 },
		{ "chunked with a vertical tab",
		  POST TE "\x0b"
		          "chunked\r\n\r\n",
		  400 },
		{ "chunked in HTTP/1.0", "POST / HTTP/1.0\r\n" TE "chunked\r\n\r\n", 400 },
		{ "hidden by a space", POST TE "chunked\r\nContent-Length : 5\r\n\r\n", 400 },
	};

	CHECK_SAMPLES(samples);
}

/* A request of exactly len bytes, padded in its target or in a field. */
static char *padded(const char *before, const char *after, size_t len)
{
	size_t fixed = strlen(before) + strlen(after);
	char *text = malloc(len + 1);

	REQUIRE(text);
	CHECK(len >= fixed);
	strcpy(text, before);
	memset(text + strlen(before), 'x', len - fixed);
	strcpy(text + strlen(before) + len - fixed, after);
	return text;
}

static void check_padded(const char *before, const char *after, size_t len, int status)
{
	struct sample sample = { .name = before, .status = status };
	char *text = padded(before, after, len);

	sample.text = text;
	check_sample(&sample);
	free(text);
}

TEST(size_limits)
{
	static const char start[] = "GET / HTTP/1.1\r\n" H "X: ";
	static const char target_after[] = " HTTP/1.0\r\n\r\n";
	size_t target_fixed = strlen("GET /") + strlen(target_after);

	check_padded(start, "\r\n\r\n", limits.head_max, 0);
	check_padded(start, "\r\n\r\n", limits.head_max + 1, 431);
	check_padded(start, "", limits.head_max - 1, -1);
	check_padded(start, "", limits.head_max, 431);
	check_padded(start, "", 20000, 431);
	check_padded("GET /", target_after, target_fixed + limits.target_max - 1, 0);
	check_padded("GET /", target_after, target_fixed + limits.target_max, 414);
	check_padded("GET /", "", 20000, 414);
	check_padded("M", "", 200, 414);
}

/* A part of the request is what we think it is. */
static void check_span(const char *text, struct span span, const char *expected)
{
	struct slice found = span_slice(text, span);

	CHECK_EQ(found.len, strlen(expected));
	CHECK(memcmp(found.ptr, expected, found.len) == 0);
}

TEST(parts)
{
	static const char text[] = "POST http://h:1/a%20b?c=d&e HTTP/1.1\r\nhOST: \t h:1 \r\n"
				   "User-Agent: u a\r\nReferer: r\r\nRange: bytes=0-1\r\n"
				   "If-Range: \"x\"\r\nIf-None-Match: *\r\n"
				   "Content-Length: 12\r\nExpect: 100-Continue\r\n\r\nrest";
	struct request r;

	CHECK_EQ(parse_cut(&r, text, sizeof(text) - 1, 20), sizeof(text) - 1 - 4);
	CHECK_EQ(r.method, METHOD_POST);
	CHECK_EQ(r.minor, 1);
	check_span(text, r.start_line, "POST http://h:1/a%20b?c=d&e HTTP/1.1");
	check_span(text, r.path, "/a%20b");
	check_span(text, r.query, "c=d&e");
	check_span(text, r.host, "h:1");
	check_span(text, r.user_agent, "u a");
	check_span(text, r.referer, "r");
	check_span(text, r.range, "bytes=0-1");
	check_span(text, r.if_range, "\"x\"");
	check_span(text, r.if_none_match, "*");
	check_span(text, r.if_modified_since, "");
	CHECK(r.has_length && r.expect_continue && r.keep_alive && !r.chunked);
	CHECK_EQ(r.content_length, 12);
}

TEST(huge_length_sticks_at_the_maximum)
{
	static const char text[] = POST CL "99999999999999999999999999\r\n\r\n";
	struct request r;

	CHECK_EQ(parse_cut(&r, text, sizeof(text) - 1, 0), sizeof(text) - 1);
	CHECK(r.content_length == UINT64_MAX);
}

static void check_keep_alive(const char *text, bool expected)
{
	struct request r;

	CHECK_EQ(parse_cut(&r, text, strlen(text), 0), strlen(text));
	CHECK_EQ(r.keep_alive, expected);
}

TEST(keep_alive)
{
	check_keep_alive("GET / HTTP/1.1\r\n" H "\r\n", true);
	check_keep_alive("GET / HTTP/1.1\r\n" H "Connection: x, Close\r\n\r\n", false);
	check_keep_alive("GET / HTTP/1.1\r\n" H "Connection: closed\r\n\r\n", true);
	check_keep_alive("GET / HTTP/1.0\r\n\r\n", false);
	check_keep_alive("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", true);
	check_keep_alive("GET / HTTP/1.0\r\nConnection: keep-alive\r\nConnection: close\r\n\r\n",
	                 false);
}
