/* SPDX-License-Identifier: MIT
 *
 * Fuzzes greentrace's reader of recordings, and all views that are made from them.
 *
 * An input is a recording, or says in few bytes what is in one: parts that are whole, with
 * numbers that fit each other as a rule.  Nobody finds those by changing bytes of a file.
 *
 * Beyond not crashing: nothing that a recording has in it reaches the output raw.
 */
#include "present.h"
#include "quiet_tool.h"
#include "recording.h"
#include "timeline.h"
#include "view.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#define FILE_MAX_BYTES 65536u
#define TEXT_MAX 24u

/* What the first bytes of the input choose. */
enum { JSON = 1, MAP = 2, STACKS = 4, RAW = 128, FILES = 3 };

/* ---- making a recording --------------------------------------------------------- */

struct maker {
	const uint8_t *at, *end;
	uint8_t file[FILE_MAX_BYTES];
	size_t size;
};

static uint8_t next(struct maker *m)
{
	return m->at < m->end ? *m->at++ : 0;
}

/* Small ones are a byte, and so meet again; any other takes five. */
static uint32_t next_number(struct maker *m)
{
	uint32_t n = next(m);

	if (n < 0xe0)
		return n;
	n = 0;
	for (unsigned i = 0; i < sizeof(n); i++)
		n = n << 8 | next(m);
	return n;
}

static void next_text(struct maker *m, char *to)
{
	for (unsigned n = next(m) % TEXT_MAX; n > 0; n--)
		*to++ = (char)next(m);
}

static void put(struct maker *m, const void *bytes, size_t size)
{
	if (size > sizeof(m->file) - m->size)
		return;
	memcpy(m->file + m->size, bytes, size);
	m->size += size;
}

static void put_part(struct maker *m, uint32_t kind, const void *part, size_t size)
{
	const struct recording_part head = { kind, (uint32_t)size };

	if (sizeof(head) + size > sizeof(m->file) - m->size)
		return;
	put(m, &head, sizeof(head));
	put(m, part, size);
}

static void put_process(struct maker *m, uint32_t flags)
{
	static struct part_process p;

	memset(&p, 0, sizeof(p));
	p.started_ns = 1;
	p.flags = flags;
	next_text(m, p.program);
	for (unsigned i = 0; i < 4; i++)
		next_text(m, p.whys[next(m)]);
	put_part(m, PART_PROCESS, &p, sizeof(p));
}

static void put_clock(struct maker *m)
{
	const struct part_clock c = {
		.ns_per_tick = 1 + (double)next(m) / 7,
		.ticks = next_number(m),
		.ns = next_number(m),
	};

	put_part(m, PART_CLOCK, &c, sizeof(c));
}

static void put_symbol(struct maker *m)
{
	struct part_symbol s = { .pc = next_number(m), .is_return = next(m) & 1 };

	s.symbol.into = next(m);
	next_text(m, s.symbol.function);
	next_text(m, s.symbol.file);
	next_text(m, s.symbol.source);
	put_part(m, PART_SYMBOL, &s, sizeof(s));
}

static void put_descriptor(struct maker *m)
{
	struct part_descriptor d = { .site = next_number(m), .why = next_number(m) };

	next_text(m, d.text);
	put_part(m, PART_DESCRIPTOR, &d, sizeof(d));
}

static void put_records(struct maker *m)
{
	static uint32_t part[1024];
	struct part_records head = { .count = next(m) % 16 + 1, .functions = next(m) % 4 };
	size_t size = sizeof(head) + head.count * sizeof(struct trace_record) +
	              head.functions * sizeof(struct part_function);
	uint32_t *numbers = part + sizeof(head) / sizeof(part[0]);

	head.time_ns = next_number(m);
	head.ticks = next_number(m);
	head.tid = next(m) & 3;
	memcpy(part, &head, sizeof(head));
	for (size_t i = 0; i < (size - sizeof(head)) / sizeof(part[0]); i++)
		numbers[i] = next_number(m);
	/* A site is above the why and the flags. */
	for (size_t i = 0; i < head.count; i++)
		numbers[8 * i + 2] = numbers[8 * i + 2] << 16 | (numbers[8 * i + 3] & 0xffff);
	put_part(m, PART_RECORDS, part, size);
}

/* Numbers only. */
static void put_numbers(struct maker *m, uint32_t kind)
{
	static const uint16_t sizes[] = {
		[PART_STACK] = sizeof(struct part_stack),
		[PART_SMALL] = sizeof(struct event_small),
		[PART_ENTRY] = sizeof(struct part_entry),
		[PART_REQUEST] = sizeof(struct event_request),
		[PART_SYSCALL] = sizeof(struct part_syscall),
	};
	uint32_t numbers[64];
	size_t size = kind < sizeof(sizes) / sizeof(sizes[0]) ? sizes[kind] : 0;

	if (size == 0) /* a path, or what nobody knows */
		size = (next(m) % 16) * sizeof(numbers[0]);
	for (size_t i = 0; i < size / sizeof(numbers[0]); i++)
		numbers[i] = next_number(m);
	put_part(m, kind, numbers, size);
}

static void put_any(struct maker *m)
{
	uint32_t kind = next(m) % (PART_SYSCALL + 2);

	switch (kind) {
	case PART_PROCESS:
	case PART_END:
		break;
	case PART_CLOCK:
		put_clock(m);
		break;
	case PART_SYMBOL:
		put_symbol(m);
		break;
	case PART_RECORDS:
		put_records(m);
		break;
	case PART_DESCRIPTOR:
		put_descriptor(m);
		break;
	default:
		put_numbers(m, kind);
	}
}

static void make(struct maker *m)
{
	const struct recording_head head = { RECORDING_MAGIC, RECORDING_VERSION, sizeof(head) };
	const struct part_end end = { .stopped_ns = (int64_t)1 << 40 };

	put(m, &head, sizeof(head));
	put_process(m, next(m));
	put_clock(m);
	while (m->at < m->end)
		put_any(m);
	put_part(m, PART_END, &end, sizeof(end));
}

/* ---- looking at it ---------------------------------------------------------------- */

static void check_text(const char *text, size_t size)
{
	for (size_t i = 0; i < size; i++) {
		unsigned char byte = (unsigned char)text[i];
		if ((byte < ' ' && byte != '\n') || byte == 0x7f)
			abort();
	}
}

static void show(struct trace *t)
{
	FILE *before = stdout;
	char *text = NULL;
	size_t size = 0;

	stdout = open_memstream(&text, &size);
	if (stdout) {
		present(t, false);
		fclose(stdout);
		check_text(text, size);
	}
	stdout = before;
	free(text);
}

static void look_at(const uint8_t *file, size_t size, unsigned choice, bool files)
{
	static struct trace t;
	const struct options o = {
		.command = REPORT,
		.map = choice & MAP,
		.json = choice & JSON,
		.stacks = choice & STACKS,
		.histograms = choice & STACKS,
		.wakers = files,
		.requests = files,
		.perfetto = files ? "/dev/null" : NULL,
		.folded = files ? "/dev/null" : NULL,
		.flame = files ? "/dev/null" : NULL,
		.running = files && (choice & JSON),
		.rows = 20,
	};
	struct look look = { .order = (enum sites_order)(choice >> 3) % 5 };
	FILE *f = fmemopen((void *)(uintptr_t)file, size ? size : 1, "r");

	if (!f)
		return;
	memset(&t, 0, sizeof(t));
	t.options = &o;
	t.look = &look;
	int status = recording_read(&t, f, "input");
	if (status == EXIT_OK || status == EXIT_INCOMPLETE) {
		show(&t);
		present_files(&t);
	}
	trace_free(&t);
	fclose(f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct maker m;
	unsigned choice = size > 1 ? data[0] : 0;
	bool files = size > 1 && (data[1] & FILES) == FILES;

	if (size < 2)
		return 0;
	if (choice & RAW) {
		look_at(data + 2, size - 2, choice, files);
		return 0;
	}
	m.at = data + 2;
	m.end = data + size;
	m.size = 0;
	make(&m);
	look_at(m.file, m.size, choice, files);
	return 0;
}
