/* SPDX-License-Identifier: MIT
 *
 * The chunked decoder: the data comes out byte for byte however it is cut, and
 * what is no chunked body is refused.
 */
#include "chunk.h"
#include "harness.h"

/* What decoding a text gives. */
struct outcome {
	char data[256];
	size_t len;
	size_t consumed;
	bool failed, done;
};

static void feed(struct chunked *chunked, struct outcome *out, const char *text, size_t len)
{
	char *copy = malloc(len + 1);
	size_t at = 0;

	REQUIRE(copy);
	memcpy(copy + 1, text, len);
	while (at < len && !chunked->done && !out->failed) {
		struct slice data;
		ssize_t n = chunked_parse(chunked, copy + 1 + at, len - at, &data);

		out->failed = n < 0;
		if (n < 0)
			break;
		CHECK(n > 0 && (size_t)n <= len - at);
		CHECK(data.len <= (size_t)n && out->len + data.len <= sizeof(out->data));
		memcpy(out->data + out->len, data.ptr, data.len);
		out->len += data.len;
		at += (size_t)n;
	}
	out->consumed += at;
	out->done = chunked->done;
	free(copy);
}

static void decode_cut(struct outcome *out, const char *text, size_t len, size_t cut)
{
	struct chunked chunked = { 0 };

	memset(out, 0, sizeof(*out));
	feed(&chunked, out, text, cut);
	feed(&chunked, out, text + cut, len - cut);
}

struct sample {
	const char *text;
	const char *data; /* NULL: refused */
	const char *rest; /* behind the body */
};

static void check_sample(const struct sample *sample)
{
	size_t len = strlen(sample->text);

	for (size_t cut = 0; cut <= len; cut++) {
		struct outcome out;

		decode_cut(&out, sample->text, len, cut);
		if (out.failed != !sample->data)
			FAIL("'%s' cut at %zu: %s", sample->text, cut,
			     out.failed ? "refused" : "accepted");
		if (out.failed)
			continue;
		CHECK(out.done);
		CHECK_EQ(out.len, strlen(sample->data));
		CHECK(memcmp(out.data, sample->data, out.len) == 0);
		CHECK_EQ(out.consumed, len - strlen(sample->rest));
	}
}

TEST(accepts)
{
	static const struct sample samples[] = {
		{ "0\r\n\r\n", "", "" },
		{ "5\r\nhello\r\n0\r\n\r\n", "hello", "" },
		{ "5\r\nhello\r\n1\r\n!\r\n0\r\n\r\nGET /", "hello!", "GET /" },
		{ "00000000000000a\r\n0123456789\r\n000\r\n\r\n", "0123456789", "" },
		{ "A;x=y;z=\"q\tq\"\r\n0123456789\r\n0;last\r\n\r\n", "0123456789", "" },
		{ "2\r\n\r\n\r\n0\r\n\r\n", "\r\n", "" },
		{ "1\r\nx\r\n0\r\nA: b\r\nC: d\r\n\r\nrest", "x", "rest" },
	};

	for (size_t i = 0; i < sizeof(samples) / sizeof(samples[0]); i++)
		check_sample(&samples[i]);
}

TEST(refuses)
{
	static const char *const texts[] = {
		"\r\n0\r\n\r\n",
		"x\r\n",
		"-1\r\n",
		"+1\r\n",
		"0x1\r\n",
		" 1\r\n",
		"1 \r\nx\r\n",
		"1\nx\r\n",
		"1\rx\r\n",
		"1\r\nxy\r\n",
		"1\r\nx\n0\r\n\r\n",
		"1\r\nx\r0\r\n\r\n",
		"1;\x01\r\nx\r\n",
		"1;\n\r\nx\r\n",
		"0000000000000001\r\nx\r\n",
		"fffffffffffffffff\r\n",
		"0\r\n folded: x\r\n\r\n",
		"0\r\nA: \x7f\r\n\r\n",
		"0\r\nA: b\n\r\n",
		"0\r\n\rX",
	};

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		check_sample(&(struct sample){ .text = texts[i] });
}

/* Extensions and trailers cannot keep us busy for ever. */
TEST(bounds_what_is_thrown_away)
{
	struct chunked chunked = { 0 };
	struct outcome out = { 0 };

	for (int i = 0; i < 200 && !out.failed; i++)
		feed(&chunked, &out,
		     i == 0 ? "0\r\nA: b\r\n" : "Another: one of too many, sent\r\n",
		     i == 0 ? 9 : 32);
	CHECK(out.failed);

	memset(&chunked, 0, sizeof(chunked));
	memset(&out, 0, sizeof(out));
	feed(&chunked, &out, "1;", 2);
	for (int i = 0; i < 5000 && !out.failed; i++)
		feed(&chunked, &out, "x", 1);
	CHECK(out.failed);
}
