/* SPDX-License-Identifier: MIT
 *
 * Finding system calls and room for jumps: in functions made up for it, each way in which
 * room is made or must not be; in libc, that every one is found that objdump shows, and
 * that nothing objdump knows to be jumped to is overwritten.
 */
#include "image_fixture.h"

#define CODE(...) (const uint8_t[]){ __VA_ARGS__ }, sizeof((const uint8_t[]){ __VA_ARGS__ })

#define MOV_NR 0xb8, 0x27, 0, 0, 0 /* mov $39, %eax */
#define MOV_EDX 0x89, 0xd0         /* mov %edx, %eax */
#define SYSCALL 0x0f, 0x05
#define RET 0xc3
#define RETS RET, RET, RET, RET, RET, RET, RET, RET, RET, RET, RET, RET, RET, RET, RET, RET
#define PADDING 0x66, 0x0f, 0x1f, 0x44, 0x00, 0x00 /* nopw 0(%rax,%rax) */

static struct site sites[4096];
static unsigned left;

static unsigned find(struct made *m)
{
	made_end(m);
	return sites_find(&m->image, m->scratch, sites, 4096, &left);
}

TEST(takes_the_instructions_before_it_along)
{
	struct made *m = made_begin();
	uintptr_t f = made_function(m, CODE(0x55, MOV_NR, SYSCALL, 0x5d, RET), false);
	uintptr_t g = made_function(m, CODE(0x90, 0x4d, 0x89, 0xc2, SYSCALL, RET), false);

	CHECK_EQ(find(m), 2);
	CHECK_EQ(left, 0);
	CHECK_EQ(sites[0].at, f + 6);
	CHECK_EQ(sites[0].window, f + 1);
	CHECK_EQ(sites[0].pad, 0);
	CHECK_EQ(sites[1].window, g + 1);
	CHECK_EQ(sites[1].at, g + 4);
}

TEST(not_across_a_jump_target)
{
	struct made *m = made_begin();
	/* 0: test; 2: je 9; 4: mov $39, %eax; 9: syscall; ret; padding */
	uintptr_t f = made_function(m, CODE(0x85, 0xff, 0x74, 0x05, MOV_NR, SYSCALL, RET, PADDING),
	                            false);

	CHECK_EQ(find(m), 1);
	CHECK_EQ(sites[0].at, f + 9);
	CHECK_EQ(sites[0].window, f + 9);
	CHECK_EQ(sites[0].pad, f + 12);
}

TEST(a_jump_target_may_be_the_first_byte)
{
	struct made *m = made_begin();
	/* 0: test; 2: je 5; 4: nop; 5: mov $39, %eax; syscall; ret */
	uintptr_t f =
		made_function(m, CODE(0x85, 0xff, 0x74, 0x01, 0x90, MOV_NR, SYSCALL, RET), false);

	CHECK_EQ(find(m), 1);
	CHECK_EQ(sites[0].window, f + 5);
	CHECK_EQ(sites[0].pad, 0);
}

TEST(left_where_there_is_no_room)
{
	struct made *m = made_begin();

	/* A call before it, no padding anywhere; the next function starts at once. */
	made_function(m,
	              CODE(0xe8, 0, 0, 0, 0, MOV_EDX, SYSCALL, RET, 0x48, 0x89, 0xf8, RET, RET,
	                   RET),
	              false);
	CHECK_EQ(find(m), 0);
	CHECK_EQ(left, 1);
}

TEST(padding_is_given_away_once)
{
	struct made *m = made_begin();
	/* 0: call; 5: mov %edx, %eax; 7: syscall; 9: call; 14: mov %edx, %eax; 16: syscall;
	 * 18: ret; 19: padding */
	uintptr_t f = made_function(m,
	                            CODE(0xe8, 0, 0, 0, 0, MOV_EDX, SYSCALL, 0xe8, 0, 0, 0, 0,
	                                 MOV_EDX, SYSCALL, RET, PADDING),
	                            false);

	/* What follows up to the next function is three more: not enough for another. */
	made_function(m, CODE(RETS), false);
	for (unsigned i = 0; i < 7; i++)
		m->memory[MADE_TEXT_AT + 25 + i] = i < 3 ? 0x90 : RET;
	CHECK_EQ(find(m), 1);
	CHECK_EQ(left, 1);
	CHECK_EQ(sites[0].pad, f + 19);
}

TEST(padding_that_is_executed_is_none)
{
	struct made *m = made_begin();

	/* The nop lies behind a call that returns. */
	made_function(m,
	              CODE(0xe8, 0, 0, 0, 0, PADDING, 0xe8, 0, 0, 0, 0, MOV_EDX, SYSCALL, 0x5d,
	                   0x5d, 0x5d, 0x5d, 0xeb, 0xe6),
	              false);
	made_function(m, CODE(RETS), false);
	for (size_t i = MADE_TEXT_AT + 26; i < MADE_TEXT_AT + 32; i++)
		m->memory[i] = 0x06;
	CHECK_EQ(find(m), 0);
	CHECK_EQ(left, 1);
}

TEST(jumps_from_other_functions)
{
	struct made *m = made_begin();
	/* A far jump and a short one, each to the syscall of another function. */
	uintptr_t f = made_function(m, CODE(MOV_NR, SYSCALL, RET, PADDING), false);
	uintptr_t g = made_function(m, CODE(MOV_NR, SYSCALL, RET, PADDING), false);

	made_function(m, CODE(0xe9, 0xff - 32 - 5 + 5 + 1, 0xff, 0xff, 0xff), false);
	made_function(m, CODE(0xeb, (uint8_t)(5 + 16 - 48 - 2)), false);
	CHECK_EQ(find(m), 2);
	CHECK_EQ(sites[0].at, f + 5);
	CHECK_EQ(sites[0].pad, f + 8);
	CHECK_EQ(sites[1].at, g + 5);
	CHECK_EQ(sites[1].pad, g + 8);
}

TEST(tables_of_a_switch)
{
	struct made *m = made_begin();
	/* 0: lea table(%rip), %rax; 7: mov $39, %eax; 12: syscall */
	uintptr_t f =
		made_function(m, CODE(0x48, 0x8d, 0x05, 0, 0, 0, 0, MOV_NR, SYSCALL, RET, PADDING),
	                      false);

	made_put32(m, MADE_TEXT_AT + 3, (uint32_t)(MADE_TABLES - (MADE_TEXT_AT + 7)));
	made_put32(m, MADE_TABLES, (uint32_t)(MADE_TEXT_AT + 7 - MADE_TABLES));
	made_put32(m, MADE_TABLES + 4, (uint32_t)(MADE_TEXT_AT + 12 - MADE_TABLES));
	CHECK_EQ(find(m), 1);
	CHECK_EQ(sites[0].pad, f + 15);
}

TEST(what_is_no_system_call)
{
	struct made *m = made_begin();

	/* The two bytes inside of an immediate; the return of signal handlers; data between
	 * functions. */
	made_function(m, CODE(0x48, 0xb8, 0x90, SYSCALL, 0x90, 0x90, 0x90, 0x90, 0x90, RET), false);
	made_function(m, CODE(0x48, 0xc7, 0xc0, 0x0f, 0, 0, 0, SYSCALL), true);
	made_function(m, CODE(RET), false);
	memcpy(m->memory + MADE_TEXT_AT + m->text_used - 12,
	       (uint8_t[]){ 0x48, 0x89, 0xc1, SYSCALL }, 5);
	CHECK_EQ(find(m), 0);
	CHECK_LE(left, 1);
}

TEST(calls_that_no_function_has)
{
	struct made *m = made_begin();
	uintptr_t f = made_function(m, CODE(0x48, 0x89, 0xf7), false);

	/* As in libc's clone(): the entry of the function ends before the call. */
	made_function(m, CODE(RET), false);
	memcpy((void *)(f + 3), (uint8_t[]){ MOV_NR, SYSCALL, RET }, 8);
	CHECK_EQ(find(m), 1);
	CHECK_EQ(sites[0].at, f + 8);
	CHECK_EQ(sites[0].window, f + 3);
}

TEST(bytes_the_decoder_does_not_know)
{
	struct made *m = made_begin();

	made_function(m, CODE(0x06, MOV_NR, SYSCALL, RET), false);
	CHECK_EQ(find(m), 0);
	CHECK_EQ(left, 1);
}

TEST(no_more_than_there_is_room_for)
{
	struct made *m = made_begin();

	made_function(m, CODE(MOV_NR, SYSCALL, MOV_NR, SYSCALL, MOV_NR, SYSCALL, RET), false);
	made_end(m);
	CHECK_EQ(sites_find(&m->image, m->scratch, sites, 2, &left), 2);
	CHECK_EQ(left, 1);
}

/* ---- real libraries ---------------------------------------------------------------- */

/* Whether a jump lands where a jump would be written, but at its first byte. */
static bool is_overwritten(uintptr_t target, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		const struct site *s = &sites[i];

		if ((target > s->window && target < s->at + 2) ||
		    (s->pad && target >= s->pad && target < s->pad + 5))
			return true;
	}
	return false;
}

/* "  addr:\tjne    1234 <f+0x12>": the target of a branch; 0: it has none. */
static uintptr_t branch_target(const char *text)
{
	const char *operand = text + strcspn(text, " ");

	if (text[0] != 'j' && strncmp(text, "call", 4) != 0 && strncmp(text, "xbegin", 6) != 0 &&
	    strncmp(text, "loop", 4) != 0)
		return 0;
	operand += strspn(operand, " ");
	return operand[0] == '*' ? 0 : strtoul(operand, NULL, 16);
}

static void compare_with_objdump(const char *path)
{
	struct image image;
	char command[256], line[512];
	unsigned shown = 0, overwritten = 0, count;

	if (!map_file(path, &image)) {
		printf("no %s here\n", path);
		return;
	}
	void *scratch = calloc(1, site_scratch_size(&image));
	REQUIRE(scratch);
	count = sites_find(&image, scratch, sites, 4096, &left);
	free(scratch);
	snprintf(command, sizeof(command), "objdump -d -w --no-show-raw-insn -M intel64 '%s'",
	         path);
	FILE *dump = popen(command, "r");
	REQUIRE(dump);
	while (fgets(line, sizeof(line), dump)) {
		char *text = strchr(line, '\t');

		if (line[0] != ' ' || !text)
			continue;
		text += strspn(text, "\t ");
		shown += strncmp(text, "syscall", 7) == 0;
		uintptr_t target = branch_target(text);
		if (target && is_overwritten(image.bias + target, count) && overwritten++ < 10)
			FAIL("%s: overwritten though jumped to: %s", path, line);
	}
	pclose(dump);
	printf("%s: %u of %u system calls have room, %u left\n", path, count, shown, left);
	if (!shown && !count)
		SKIP("no objdump, or no system calls");
	CHECK_EQ(overwritten, 0);
	/* All but what handlers return to. */
	CHECK_GE(count + left + 1, shown);
	CHECK_LE(left, shown / 50);
}

TEST(libc_has_room_for_all)
{
	compare_with_objdump("/lib/x86_64-linux-gnu/libc.so.6");
	CHECK_EQ(left, 0);
	compare_with_objdump("/lib64/ld-linux-x86-64.so.2");
	CHECK_EQ(left, 0);
}

/* Those of other systems, where somebody has some: GREEN_DECODE_FILES, by colons. */
TEST(files_named)
{
	char *files = getenv("GREEN_DECODE_FILES"), *save;

	if (!files)
		SKIP("GREEN_DECODE_FILES names none");
	test_limit(600);
	files = strdup(files);
	REQUIRE(files);
	for (char *f = strtok_r(files, ":", &save); f; f = strtok_r(NULL, ":", &save))
		compare_with_objdump(f);
	free(files);
}
