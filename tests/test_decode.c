/* SPDX-License-Identifier: MIT
 *
 * The instruction decoder: lengths of chosen instructions, what it says of branches and
 * addresses, and that it agrees with objdump on every instruction of whole libraries.
 * No runtime is started.
 */
#include "harness.h"

#include "intercept/decode.h"

#include <ctype.h>

#define BYTES(...) (const uint8_t[]){ __VA_ARGS__ }, sizeof((const uint8_t[]){ __VA_ARGS__ })

static struct insn last;

static unsigned length(const uint8_t *code, size_t size)
{
	return insn_decode(code, size, &last);
}

TEST(lengths)
{
	CHECK_EQ(length(BYTES(0x90)), 1);
	CHECK_EQ(length(BYTES(0x0f, 0x05)), 2);
	CHECK_EQ(last.flow, FLOW_SYSCALL);
	CHECK_EQ(length(BYTES(0xb8, 1, 0, 0, 0)), 5);
	CHECK_EQ(length(BYTES(0x66, 0xb8, 1, 0)), 4);
	CHECK_EQ(length(BYTES(0x48, 0xb8, 1, 2, 3, 4, 5, 6, 7, 8)), 10);
	CHECK_EQ(length(BYTES(0x48, 0xc7, 0xc0, 0x0f, 0, 0, 0)), 7);
	CHECK_EQ(length(BYTES(0xf6, 0x04, 0x24, 1)), 4);    /* testb $1, (%rsp) */
	CHECK_EQ(length(BYTES(0xf6, 0x14, 0x24)), 3);       /* notb (%rsp) */
	CHECK_EQ(length(BYTES(0x66, 0xf7, 0xc0, 1, 0)), 5); /* test $1, %ax */
	CHECK_EQ(length(BYTES(0xc8, 1, 0, 0)), 4);          /* enter */
	CHECK_EQ(length(BYTES(0xa1, 1, 2, 3, 4, 5, 6, 7, 8)), 9);
	CHECK_EQ(length(BYTES(0x67, 0xa1, 1, 2, 3, 4)), 6);
	CHECK_EQ(length(BYTES(0xc5, 0xf8, 0x77)), 3); /* vzeroupper */
	CHECK_EQ(length(BYTES(0x62, 0xf1, 0x7c, 0x48, 0x10, 0x44, 0x24, 0x01)), 8);
	CHECK_EQ(length(BYTES(0x66, 0x66, 0x48, 0xe8, 0, 0, 0, 0)), 8);
	CHECK_EQ(length(BYTES(0x43, 0x42, 0x8d, 0x04, 0xa5, 1, 2, 3, 4)), 9);
}

TEST(what_is_not_there_or_unknown)
{
	static const uint8_t long_one[16] = { 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66,
		                              0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x90 };
	static const uint8_t jump[] = { 0xe9, 1, 2, 3, 4 };

	for (unsigned size = 0; size < sizeof(jump); size++)
		CHECK_EQ(length(jump, size), 0);
	CHECK_EQ(length(jump, sizeof(jump)), 5);
	CHECK_EQ(length(long_one, sizeof(long_one)), 0);
	CHECK_EQ(length(long_one + 1, 15), 15);
	CHECK_EQ(length(BYTES(0x06)), 0);
	CHECK_EQ(length(BYTES(0x0f, 0x04)), 0);
	CHECK_EQ(length(BYTES(0xc4)), 0);
	CHECK_EQ(length(BYTES(0x0f, 0x38)), 0);
}

TEST(where_it_goes)
{
	static const uint8_t back[] = { 0xeb, 0xfe }, far[] = { 0x0f, 0x85, 0, 1, 0, 0 };
	static const uint8_t load[] = { 0x8b, 0x05, 1, 2, 3, 4 },
			     begin[] = { 0xc7, 0xf8, 8, 0, 0, 0 };

	REQUIRE_EQ(length(back, 2), 2);
	CHECK(last.relative && last.flow == FLOW_JUMP);
	CHECK_EQ(insn_target(back, &last, 0x1000), 0x1000);
	REQUIRE_EQ(length(far, 6), 6);
	CHECK(last.relative && last.flow == FLOW_BRANCH);
	CHECK_EQ(insn_target(far, &last, 0x1000), 0x1106);
	REQUIRE_EQ(length(begin, 6), 6);
	CHECK(last.relative && last.flow == FLOW_BRANCH);
	CHECK_EQ(insn_target(begin, &last, 0x1000), 0x100e);
	REQUIRE_EQ(length(load, 6), 6);
	CHECK(last.rip_relative && !last.relative && last.flow == FLOW_NEXT);
	CHECK_EQ(last.disp_at, 2);
	CHECK_EQ(last.disp_size, 4);
	CHECK_EQ(length(BYTES(0xff, 0x15, 0, 0, 0, 0)), 6);
	CHECK_EQ(last.flow, FLOW_CALL);
	CHECK_EQ(length(BYTES(0x3e, 0xff, 0xe0)), 3);
	CHECK_EQ(last.flow, FLOW_INDIRECT);
	CHECK_EQ(length(BYTES(0xf3, 0xc3)), 2);
	CHECK_EQ(last.flow, FLOW_END);
}

/* ---- against objdump ---------------------------------------------------------- */

/* Of APX: after the prefixes a REX2, or an EVEX of which CPUs without it say that it is none. */
static bool is_apx(const uint8_t *bytes, unsigned n)
{
	unsigned at = 0;

	while (at + 1 < n &&
	       ((bytes[at] & 0xf0) == 0x40 ||
	        memchr("\x66\x67\xf0\xf2\xf3\x26\x2e\x36\x3e\x64\x65", bytes[at], 11)))
		at++;
	return bytes[at] == 0xd5 || (at + 1 < n && bytes[at] == 0x62 && bytes[at + 1] & 8);
}

/* The bytes of a line "  addr:\tNN NN NN \tmnemonic"; 0: it is none, or objdump does not
 * know them either, or takes them for an instruction of APX.  Tables between functions look like
 * those to binutils 2.42; to the decoder they are none, which is what CPUs without APX say. */
static unsigned line_bytes(const char *line, uint8_t *bytes, const char **text)
{
	const char *at = strchr(line, '\t');
	unsigned n = 0;

	if (line[0] != ' ' || !at)
		return 0;
	for (at++; isxdigit((unsigned char)at[0]) && isxdigit((unsigned char)at[1]) && n < 32;
	     at += 3)
		bytes[n++] = (uint8_t)strtoul((char[]){ at[0], at[1], 0 }, NULL, 16);
	*text = strchr(at, '\t');
	if (!*text || strstr(*text, "(bad)") || strstr(*text, ".byte"))
		return 0;
	return is_apx(bytes, n) ? 0 : n;
}

/* objdump shows two instructions as one: a wait, and the x87 one behind it. */
static unsigned length_with_wait(const uint8_t *bytes, unsigned size)
{
	unsigned n = length(bytes, size);

	return n == 1 && bytes[0] == 0x9b && size > 1 ? 1 + length(bytes + 1, size - 1) : n;
}

/* A prefix without an instruction: objdump gives up at it, or shows it alone. */
static bool only_prefixes(const char *text)
{
	static const char *const words[] = { "rex", "data16", "addr32", "cs",   "ds",    "es",
		                             "fs",  "gs",     "ss",     "repz", "repnz", "lock" };
	size_t n = 0;

	for (text++; *text && *text != '\n'; text += n + strspn(text + n, " ")) {
		bool known = false;

		n = strcspn(text, " .\n");
		for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
			known |= strlen(words[i]) == n && memcmp(words[i], text, n) == 0;
		if (!known)
			return false;
		n = strcspn(text, " \n");
	}
	return true;
}

static void compare(const char *path)
{
	char command[256], line[512];
	unsigned compared = 0, wrong = 0;

	if (access(path, R_OK) < 0) {
		printf("no %s here\n", path);
		return;
	}
	snprintf(command, sizeof(command), "objdump -d -w -M intel64 '%s' 2>/dev/null", path);
	FILE *dump = popen(command, "r");
	REQUIRE(dump);
	while (fgets(line, sizeof(line), dump)) {
		uint8_t bytes[32];
		const char *text;
		unsigned n = line_bytes(line, bytes, &text);

		if (!n || only_prefixes(text))
			continue;
		compared++;
		if (length_with_wait(bytes, n) != n && wrong++ < 20)
			FAIL("%s: %u instead of %u: %s", path, length_with_wait(bytes, n), n, line);
	}
	pclose(dump);
	printf("%s: %u instructions, %u differ\n", path, compared, wrong);
	if (!compared)
		SKIP("no objdump");
	CHECK_EQ(wrong, 0);
}

TEST(agrees_with_objdump_on_libc)
{
	compare("/lib/x86_64-linux-gnu/libc.so.6");
	compare("/lib64/ld-linux-x86-64.so.2");
}

TEST(agrees_with_objdump_on_cpp_and_crypto)
{
	test_limit(240);
	compare("/lib/x86_64-linux-gnu/libstdc++.so.6");
	compare("/lib/x86_64-linux-gnu/libcrypto.so.3");
}

/* Libraries of other systems, where somebody has some: GREEN_DECODE_FILES, by colons. */
TEST(agrees_with_objdump_on_files_named)
{
	char *files = getenv("GREEN_DECODE_FILES"), *save;

	if (!files)
		SKIP("GREEN_DECODE_FILES names none");
	test_limit(600);
	files = strdup(files);
	REQUIRE(files);
	for (char *f = strtok_r(files, ":", &save); f; f = strtok_r(NULL, ":", &save))
		compare(f);
	free(files);
}
