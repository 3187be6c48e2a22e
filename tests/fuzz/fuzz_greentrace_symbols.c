/* SPDX-License-Identifier: MIT
 *
 * Fuzzes the symbol reader: files with symbols, line tables and unwind tables, as they are
 * found mapped in a process.  Who owns that process makes them as he likes, and whoever
 * traces it may be root.
 *
 * An input is 16 bytes of questions, and the file.  The kernel's part is played here: the
 * process is this one, has mapped that file, and its stack is made of those bytes.  How the
 * file is opened and read is as ever, through libdwfl.
 *
 * Beyond not crashing: texts end where they may, and a path is no longer than there is room.
 *
 * libdw is the system's, so that its branches are not seen.  What it answers is counted in
 * their place: inputs with answers that are new are kept.
 */
#include "escape.h"
#include "quiet_tool.h"
#include "symbols.h"

#include <elfutils/libdwfl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define QUESTIONS 16
#define BASE ((uint64_t)0x7f0000000000)
#define SPAN ((uint64_t)65536) /* mapped */
#define STACK ((uint64_t)0x7e0000000000)
#define STACK_WORDS 64
#define FILE_MAX_BYTES 32768u

/* ---- the process ------------------------------------------------------------------ */

static int file = -1;
static char path[64];

/* As memory_limit() does: what is too much, malloc() refuses. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
	return "max_allocation_size_mb=64:allocator_may_return_null=1";
}

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	unsetenv("DEBUGINFOD_URLS"); /* nothing is to be fetched */
	file = memfd_create("input", MFD_CLOEXEC);
	if (file < 0)
		abort();
	snprintf(path, sizeof(path), "/proc/self/fd/%d", file);
	return 0;
}

/* What libdwfl would read from /proc/PID/maps. */
int dwfl_linux_proc_report(Dwfl *dwfl, pid_t pid)
{
	(void)pid;
	return dwfl_report_module(dwfl, path, BASE, BASE + SPAN) ? 0 : -1;
}

/* Over the last one, so that its pages stay. */
static bool write_file(const uint8_t *bytes, size_t size)
{
	return pwrite(file, bytes, size, 0) == (ssize_t)size && ftruncate(file, (off_t)size) == 0;
}

/* ---- answers ------------------------------------------------------------------------- */

#define ANSWERS 4096

/* libFuzzer looks here, and clears them before each input. */
__attribute__((section("__libfuzzer_extra_counters"), used)) static uint8_t answers[ANSWERS];

static void note(uint32_t kind, uint64_t answer)
{
	answers[((answer * 8 + kind) * 0x9e3779b97f4a7c15u) >> 52] = 1;
}

static uint64_t hash_of(const char *text)
{
	uint64_t hash = 5381;

	while (*text)
		hash = hash * 33 + (unsigned char)*text++;
	return hash;
}

/* ---- questions ---------------------------------------------------------------------- */

static void check_text(const char *text, size_t size)
{
	if (!memchr(text, 0, size))
		abort();
}

static void ask(struct symbols *y, uint64_t pc, bool is_return)
{
	const struct symbol *s = symbol_at(y, pc, is_return);

	check_text(s->function, sizeof(s->function));
	check_text(s->file, sizeof(s->file));
	check_text(s->source, sizeof(s->source));
	/* Names and lines are as many as bytes can make: their lengths are not. */
	note(1, strlen(s->function) * 256 + strlen(s->source));
	note(2, hash_of(strchr(s->source, ':') ? strchr(s->source, ':') : "") & 63);
	note(3, (uint64_t)dwfl_errno());
}

/* Words that are addresses in the file, near what was asked for, or on the stack. */
static void walk(struct symbols *y, const uint8_t *questions)
{
	uint64_t registers[LAYOUT_REGISTERS], stack[STACK_WORDS];
	struct frame frames[FRAMES_MAX];

	for (size_t i = 0; i < STACK_WORDS; i++) {
		uint64_t n = questions[i % QUESTIONS] + i / QUESTIONS;
		stack[i] = i % 2 ? BASE + n * 16 : STACK + n * 8 % sizeof(stack);
	}
	for (size_t i = 0; i < LAYOUT_REGISTERS; i++)
		registers[i] = STACK + questions[i % QUESTIONS] * 8;
	registers[7] = STACK;
	registers[LAYOUT_REGISTERS - 1] = BASE + questions[0] * 16;
	size_t depth = stack_walk_copy(y, registers, (const char *)stack, sizeof(stack), frames);
	if (depth > FRAMES_MAX)
		abort();
	for (size_t i = 0; i < depth; i++)
		ask(y, frames[i].pc, frames[i].is_return);
	note(4, depth);
	note(5, (uint64_t)dwfl_errno());
}

static void look_at(const uint8_t *questions)
{
	struct mapping mapping = { BASE, BASE + SPAN, 0, path };
	struct target target = {
		.pid = getpid(), .mappings = &mapping, .mappings_count = 1, .memory = -1
	};
	struct snapshot snapshot = { .t = &target };
	struct symbols *y = symbols_open(&snapshot);
	uint64_t start, end;

	if (!y)
		return;
	for (size_t i = 0; i < QUESTIONS / 2; i++)
		ask(y, BASE + questions[i] * 16 + i, i % 2);
	symbol_find(y, "add", &start, &end);
	walk(y, questions);
	symbols_close(y);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size <= QUESTIONS || size > FILE_MAX_BYTES)
		return 0;
	if (write_file(data + QUESTIONS, size - QUESTIONS))
		look_at(data);
	return 0;
}

/* ---- making inputs -------------------------------------------------------------------- */

static uint32_t next(uint32_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 17;
	*state ^= *state << 5;
	return *state;
}

/* One place of a file, in which all else stays where it is. */
static void change(uint8_t *data, size_t size, uint32_t *state)
{
	static const uint64_t odd[] = { 0,          1,          2,      4,       8,
		                        0x7f,       0x80,       0xff,   0x7fff,  0x8000,
		                        0x7fffffff, 0x80000000, ~0ull,  ~7ull,   16,
		                        24,         64,         0x1000, 0x10000, 1ull << 63 };
	size_t width = (size_t)1 << next(state) % 4, at = next(state) % size;
	uint64_t value = odd[next(state) % (sizeof(odd) / sizeof(odd[0]))];

	if (width > size - at)
		width = 1;
	switch (next(state) % 4) {
	case 0:
		data[at] = (uint8_t)next(state);
		break;
	case 1: /* a number that is there, a little larger or smaller */
		data[at] = (uint8_t)(data[at] + next(state) % 9 - 4);
		break;
	case 2:
		memcpy(data + at, &value, width);
		break;
	default: /* one from elsewhere */
		memmove(data + at, data + next(state) % (size - width + 1), width);
	}
}

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed)
{
	uint32_t state = seed * 2654435761u | 1;

	/* What is moved no longer lies where the headers say: mostly that ends early. */
	if (size <= QUESTIONS || next(&state) % 16 == 0)
		return LLVMFuzzerMutate(data, size, max);
	if (next(&state) % 16 == 0) /* cut short */
		return QUESTIONS + 1 + next(&state) % (size - QUESTIONS);
	for (uint32_t n = next(&state) % 8 + 1; n > 0; n--)
		change(data, size, &state);
	return size;
}
