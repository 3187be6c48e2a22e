/* SPDX-License-Identifier: MIT
 *
 * The request parser: line by line, each line judged when its LF is there.
 *
 * Whatever is decided about an unfinished line must be what would be decided
 * about it once finished; the tests and the fuzzer cut requests at every byte
 * to hold the parser to that.
 */
#include "request.h"

#include <assert.h>

enum { STATE_START_LINE, STATE_FIELDS, STATE_DONE, STATE_FAILED };

/* What a byte may be part of. */
enum { TOKEN = 1, VALUE = 2, TARGET = 4 };

#define TVU (TOKEN | VALUE | TARGET)
#define VU (VALUE | TARGET)

static const uint8_t byte_class[256] = {
	['\t'] = VALUE,
	[' '] = VALUE,
	['!'] = TVU,
	['"'] = VU,
	['#'] = TOKEN | VALUE,
	['$' ... '\''] = TVU,
	['(' ... ')'] = VU,
	['*' ... '+'] = TVU,
	[','] = VU,
	['-' ... '.'] = TVU,
	['/'] = VU,
	['0' ... '9'] = TVU,
	[':' ... '@'] = VU,
	['A' ... 'Z'] = TVU,
	['[' ... ']'] = VU,
	['^' ... 'z'] = TVU,
	['{'] = VU,
	['|'] = TVU,
	['}'] = VU,
	['~'] = TVU,
	[0x80 ... 0xff] = VALUE,
};

static bool all_of(struct slice s, uint8_t class)
{
	for (size_t i = 0; i < s.len; i++)
		if (!(byte_class[(unsigned char)s.ptr[i]] & class))
			return false;
	return true;
}

static struct span span_of(const char *buf, struct slice s)
{
	return (struct span){ (uint32_t)(s.ptr - buf), (uint32_t)s.len };
}

/* ---- the request line ---------------------------------------------------- */

/* Longest request line: what is no target in it is below 64 bytes. */
static uint32_t start_line_max(const struct request *r)
{
	return r->limits->target_max + 64;
}

static enum method method_of(struct slice name)
{
	static const struct slice names[] = {
		[METHOD_OTHER] = { "", 0 },          [METHOD_GET] = { "GET", 3 },
		[METHOD_HEAD] = { "HEAD", 4 },       [METHOD_POST] = { "POST", 4 },
		[METHOD_PUT] = { "PUT", 3 },         [METHOD_DELETE] = { "DELETE", 6 },
		[METHOD_CONNECT] = { "CONNECT", 7 }, [METHOD_OPTIONS] = { "OPTIONS", 7 },
		[METHOD_TRACE] = { "TRACE", 5 },     [METHOD_PATCH] = { "PATCH", 5 },
	};

	for (size_t i = METHOD_GET; i < sizeof(names) / sizeof(names[0]); i++)
		if (slice_equal(name, names[i]))
			return (enum method)i;
	return METHOD_OTHER;
}

/* Cuts what stands before the first space off *rest, and the space. */
static struct slice cut_word(struct slice *rest)
{
	const char *space = memchr(rest->ptr, ' ', rest->len);
	size_t len = space ? (size_t)(space - rest->ptr) : rest->len;
	struct slice word = { rest->ptr, len };
	size_t skip = space ? len + 1 : len;

	rest->ptr += skip;
	rest->len -= skip;
	return word;
}

/* Leaves the path and query of http://authority/path?query in *target. */
static bool strip_authority(struct slice *target)
{
	size_t scheme = 0;

	if (target->len >= 7 && strncasecmp(target->ptr, "http://", 7) == 0)
		scheme = 7;
	else if (target->len >= 8 && strncasecmp(target->ptr, "https://", 8) == 0)
		scheme = 8;
	if (scheme == 0)
		return false;
	size_t end = scheme;
	while (end < target->len && target->ptr[end] != '/' && target->ptr[end] != '?')
		end++;
	if (end == scheme)
		return false;
	target->ptr += end;
	target->len -= end;
	return true;
}

/* Splits the target into path and query.  False when it has no valid form. */
static bool parse_target(struct request *r, const char *buf, struct slice target)
{
	bool asterisk = slice_equal(target, SLICE("*"));

	if (r->method == METHOD_CONNECT || asterisk) {
		r->path = span_of(buf, target);
		return !asterisk || r->method == METHOD_OPTIONS;
	}
	if (target.ptr[0] != '/' && !strip_authority(&target))
		return false;
	const char *mark = target.len > 0 ? memchr(target.ptr, '?', target.len) : NULL;
	size_t len = mark ? (size_t)(mark - target.ptr) : target.len;
	r->path = span_of(buf, (struct slice){ target.ptr, len });
	if (mark)
		r->query = span_of(buf, (struct slice){ mark + 1, target.len - len - 1 });
	return true;
}

static int parse_version(struct request *r, struct slice version)
{
	const char *v = version.ptr;

	if (version.len != 8 || memcmp(v, "HTTP/", 5) != 0 || v[6] != '.')
		return 400;
	if (v[5] < '0' || v[5] > '9' || v[7] < '0' || v[7] > '9')
		return 400;
	if (v[5] != '1')
		return 505;
	r->minor = v[7] == '0' ? 0 : 1;
	return 0;
}

static int parse_start_line(struct request *r, const char *buf, struct slice line)
{
	struct slice rest = line;
	struct slice method = cut_word(&rest);
	struct slice target = cut_word(&rest);

	r->start_line = span_of(buf, line);
	if (method.len == 0 || !all_of(method, TOKEN))
		return 400;
	if (target.len > r->limits->target_max)
		return 414;
	if (target.len == 0 || !all_of(target, TARGET))
		return 400;
	int status = parse_version(r, rest);
	if (status != 0)
		return status;
	r->method = (uint8_t)method_of(method);
	return parse_target(r, buf, target) ? 0 : 400;
}

/* ---- header fields ------------------------------------------------------- */

static int field_host(struct request *r, struct slice value)
{
	if (r->has_host)
		return 400;
	r->has_host = true;
	for (size_t i = 0; i < value.len; i++)
		if (!(byte_class[(unsigned char)value.ptr[i]] & TARGET) ||
		    strchr("/\\?@\"<>^`{|}", value.ptr[i]))
			return 400;
	return 0;
}

static int field_content_length(struct request *r, struct slice value)
{
	uint64_t length = 0;

	if (value.len == 0)
		return 400;
	for (size_t i = 0; i < value.len; i++) {
		if (value.ptr[i] < '0' || value.ptr[i] > '9')
			return 400;
		/* Beyond 64 bits it sticks at the maximum, which is above any limit: 413. */
		if (__builtin_mul_overflow(length, 10, &length) ||
		    __builtin_add_overflow(length, (unsigned)(value.ptr[i] - '0'), &length))
			length = UINT64_MAX;
	}
	if (r->has_length && r->content_length != length)
		return 400;
	r->has_length = true;
	r->content_length = length;
	return 0;
}

static int field_transfer_encoding(struct request *r, struct slice value)
{
	if (r->chunked)
		return 400;
	if (!slice_equal_nocase(value, SLICE("chunked")))
		return 501;
	r->chunked = true;
	return 0;
}

static int field_connection(struct request *r, struct slice value)
{
	struct slice element;

	while (slice_next_element(&value, &element)) {
		if (slice_equal_nocase(element, SLICE("close")))
			r->token_close = true;
		else if (slice_equal_nocase(element, SLICE("keep-alive")))
			r->token_keep_alive = true;
	}
	return 0;
}

static int field_expect(struct request *r, struct slice value)
{
	if (!slice_equal_nocase(value, SLICE("100-continue")))
		return 417;
	r->expect_continue = true;
	return 0;
}

/* The fields we know: what judges their value, where the value is kept. */
static const struct field {
	struct slice name;
	int (*judge)(struct request *r, struct slice value);
	size_t span; /* offset in struct request; 0: not kept */
} known_fields[] = {
	{ { "host", 4 }, field_host, offsetof(struct request, host) },
	{ { "user-agent", 10 }, NULL, offsetof(struct request, user_agent) },
	{ { "connection", 10 }, field_connection, 0 },
	{ { "content-length", 14 }, field_content_length, 0 },
	{ { "transfer-encoding", 17 }, field_transfer_encoding, 0 },
	{ { "expect", 6 }, field_expect, 0 },
	{ { "range", 5 }, NULL, offsetof(struct request, range) },
	{ { "if-range", 8 }, NULL, offsetof(struct request, if_range) },
	{ { "if-modified-since", 17 }, NULL, offsetof(struct request, if_modified_since) },
	{ { "if-none-match", 13 }, NULL, offsetof(struct request, if_none_match) },
	{ { "referer", 7 }, NULL, offsetof(struct request, referer) },
};

static int known_field(struct request *r, const char *buf, struct slice name, struct slice value)
{
	for (size_t i = 0; i < sizeof(known_fields) / sizeof(known_fields[0]); i++) {
		const struct field *field = &known_fields[i];

		if (!slice_equal_nocase(name, field->name))
			continue;
		if (field->span != 0) {
			struct span *span = (struct span *)((char *)r + field->span);
			/* The first of several counts. */
			if (span->len == 0)
				*span = span_of(buf, value);
		}
		return field->judge ? field->judge(r, value) : 0;
	}
	return 0;
}

static int parse_field(struct request *r, const char *buf, struct slice line)
{
	const char *colon = memchr(line.ptr, ':', line.len);

	if (++r->fields > r->limits->fields_max)
		return 431;
	/* A folded line begins with a space, which is no token: 400, too. */
	if (!colon || colon == line.ptr)
		return 400;
	struct slice name = { line.ptr, (size_t)(colon - line.ptr) };
	struct slice value = { colon + 1, line.len - name.len - 1 };
	if (!all_of(name, TOKEN) || !all_of(value, VALUE))
		return 400;
	return known_field(r, buf, name, slice_trim(value));
}

/* ---- the head as a whole ------------------------------------------------- */

/* What can only be judged when all fields are known. */
static int judge_head(struct request *r)
{
	if (r->minor >= 1 && !r->has_host)
		return 400;
	if (r->chunked && (r->has_length || r->minor == 0))
		return 400;
	if (r->minor == 0)
		r->expect_continue = false;
	r->keep_alive = !r->token_close && (r->minor >= 1 || r->token_keep_alive);
	return 0;
}

/* What is wrong with a line of which at least len bytes are there, its LF not
 * counted; end is where they end. */
static int judge_line_start(const struct request *r, const char *buf, size_t len, size_t end)
{
	bool start_line = r->state == STATE_START_LINE;

	/* Something that is not HTTP is told so without waiting for a line. */
	if (start_line && len > 0 && buf[r->line] != '\r' &&
	    !(byte_class[(unsigned char)buf[r->line]] & TOKEN))
		return 400;
	if (start_line && len > start_line_max(r))
		return 414;
	if (end >= r->limits->head_max)
		return start_line ? 414 : 431;
	return 0;
}

/* The line is complete and ends before lf. */
static int parse_line(struct request *r, const char *buf, size_t lf)
{
	struct slice line = { buf + r->line, lf - r->line };
	int status = judge_line_start(r, buf, line.len, lf);

	if (status != 0)
		return status;
	if (line.len == 0 || line.ptr[line.len - 1] != '\r')
		return 400;
	line.len--;
	if (r->state == STATE_START_LINE) {
		/* Empty lines before a request are left over from sloppy clients. */
		if (line.len == 0)
			return 0;
		status = parse_start_line(r, buf, line);
		r->state = STATE_FIELDS;
		return status;
	}
	if (line.len != 0)
		return parse_field(r, buf, line);
	r->state = STATE_DONE;
	return judge_head(r);
}

static int fail(struct request *r, int status)
{
	r->state = STATE_FAILED;
	r->error = (int16_t)status;
	return -status;
}

void request_init(struct request *r, const struct request_limits *limits)
{
	memset(r, 0, sizeof(*r));
	r->limits = limits;
}

int request_parse(struct request *r, const char *buf, size_t len)
{
	assert(len >= r->scan && r->scan >= r->line);
	if (r->state == STATE_FAILED)
		return -r->error;
	while (r->state != STATE_DONE) {
		const char *lf = memchr(buf + r->scan, '\n', len - r->scan);
		int status;

		if (!lf) {
			r->scan = (uint32_t)len;
			status = judge_line_start(r, buf, len - r->line, len);
			return status != 0 ? fail(r, status) : 0;
		}
		status = parse_line(r, buf, (size_t)(lf - buf));
		if (status != 0)
			return fail(r, status);
		r->line = r->scan = (uint32_t)(lf + 1 - buf);
	}
	return (int)r->line;
}
