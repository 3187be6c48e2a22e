/* SPDX-License-Identifier: MIT
 *
 * The decoder: what follows an opcode is looked up in a map of 256 letters.
 */
#include "intercept/decode.h"

#include <string.h>

/* What an opcode is followed by:
 *	.  nothing              m  ModRM
 *	b  1 byte               B  ModRM, 1 byte
 *	z  2 or 4 bytes         Z  ModRM, 2 or 4 bytes (by operand size)
 *	w  2 bytes              W  ModRM, 2 bytes
 *	v  2, 4 or 8 bytes      o  an address
 *	e  3 bytes              r  1 byte, relative target
 *	R  4 bytes, relative    t  ModRM, 1 byte if its reg field is 0 or 1
 *	T  ModRM, 2 or 4 bytes if its reg field is 0 or 1
 *	-  invalid, a prefix or an escape */
static const char one_byte[] = "mmmmbz--mmmmbz--" /* 00 add, or */
			       "mmmmbz--mmmmbz--" /* 10 adc, sbb */
			       "mmmmbz--mmmmbz--" /* 20 and, sub */
			       "mmmmbz--mmmmbz--" /* 30 xor, cmp */
			       "----------------" /* 40 REX */
			       "................" /* 50 push, pop */
			       "---m----zZbB...." /* 60 movsxd, push, imul */
			       "rrrrrrrrrrrrrrrr" /* 70 jcc */
			       "BZ-Bmmmmmmmmmmmm" /* 80 group 1, test, xchg, mov, lea */
			       "..........-....." /* 90 xchg, cwde, fwait, flags */
			       "oooo....bz......" /* A0 mov, string operations */
			       "bbbbbbbbvvvvvvvv" /* B0 mov */
			       "BBw.--BZe.w..b-." /* C0 shifts, ret, mov, enter, leave, int */
			       "mmmm---.mmmmmmmm" /* D0 shifts, xlat, x87 */
			       "rrrrbbbbRR-r...." /* E0 loop, in, out, call, jmp */
			       "-.--..tT......mm" /* F0 test, not, neg, inc, call, jmp */;

static const char two_byte[] = "mmmm-.....-.-m.B" /* 00 system, syscall, ud2, prefetch, 3DNow! */
			       "mmmmmmmmmmmmmmmm" /* 10 mov, hint nops */
			       "mmmm----mmmmmmmm" /* 20 control registers, convert, compare */
			       "......-.--------" /* 30 msr, rdtsc, sysenter, escapes */
			       "mmmmmmmmmmmmmmmm" /* 40 cmov */
			       "mmmmmmmmmmmmmmmm" /* 50 */
			       "mmmmmmmmmmmmmmmm" /* 60 */
			       "BBBBmmm.mm--mmmm" /* 70 shuffles, shifts, emms, vmread */
			       "RRRRRRRRRRRRRRRR" /* 80 jcc */
			       "mmmmmmmmmmmmmmmm" /* 90 setcc */
			       "...mBmmm...mBmmm" /* A0 bt, shld, group 15, imul */
			       "mmmmmmmmmmBmmmmm" /* B0 cmpxchg, movzx, popcnt, bsf */
			       "mmBmBBBm........" /* C0 xadd, cmpps, pinsrw, group 9, bswap */
			       "mmmmmmmmmmmmmmmm" /* D0 */
			       "mmmmmmmmmmmmmmmm" /* E0 */
			       "mmmmmmmmmmmmmmmm" /* F0 */;

enum map { MAP_ONE, MAP_0F, MAP_0F38, MAP_0F3A, MAP_XOP8, MAP_XOP9, MAP_XOPA, MAP_NONE };

struct cursor {
	const uint8_t *code;
	size_t at;
	bool operand_16, address_32, wide, repne; /* 66, 67, REX.W, F2 */
	bool vector;                              /* VEX, EVEX or XOP */
};

/* Prefixes, a ModRM, a SIB and everything between are read without looking where the
 * memory ends: this far at most. */
#define READ_AHEAD (INSN_MAX + 8)

/* Leaves the cursor at the opcode, or at its first escape. */
static void take_prefixes(struct cursor *c)
{
	for (; c->at < INSN_MAX; c->at++) {
		uint8_t b = c->code[c->at];

		if (one_byte[b] != '-')
			return;
		if ((b & 0xf0) == 0x40) { /* counts only as the last one */
			c->wide = b & 8;
			continue;
		}
		if (b == 0x66)
			c->operand_16 = true;
		else if (b == 0x67)
			c->address_32 = true;
		else if (b == 0xf2)
			c->repne = true;
		else if (b != 0xf0 && b != 0xf3 && (b | 0x18) != 0x3e && b != 0x64 && b != 0x65)
			return;
		c->wide = false;
	}
}

/* VEX, EVEX and XOP name the map in their first byte after the escape. */
static enum map take_vector_prefix(struct cursor *c, uint8_t escape)
{
	static const uint8_t vex[] = { MAP_NONE, MAP_0F, MAP_0F38, MAP_0F3A };
	static const uint8_t evex[] = { MAP_NONE, MAP_0F,   MAP_0F38, MAP_0F3A,
		                        MAP_NONE, MAP_0F38, MAP_0F38, MAP_NONE };
	uint8_t first = c->code[c->at + 1];

	c->vector = true;
	c->wide = false;
	if (escape == 0xc5) {
		c->at += 2;
		return MAP_0F;
	}
	c->at += escape == 0x62 ? 4 : 3;
	if (escape == 0x62)
		return first & 8 ? MAP_NONE : evex[first & 7];
	if (escape == 0xc4)
		return (first & 31) < 4 ? vex[first & 31] : MAP_NONE;
	return (first & 31) < 11 ? MAP_XOP8 + (first & 31) - 8 : MAP_NONE;
}

/* Leaves the cursor at the last byte of the opcode. */
static enum map take_escapes(struct cursor *c)
{
	uint8_t b = c->code[c->at], next = c->code[c->at + 1];

	if (b == 0xc4 || b == 0xc5 || b == 0x62 || (b == 0x8f && (next & 31) >= 8))
		return take_vector_prefix(c, b);
	if (b != 0x0f)
		return MAP_ONE;
	c->at++;
	if (next != 0x38 && next != 0x3a)
		return MAP_0F;
	c->at++;
	return next == 0x38 ? MAP_0F38 : MAP_0F3A;
}

static char form_of(const struct cursor *c, enum map map, uint8_t opcode)
{
	switch (map) {
	case MAP_ONE:
		return one_byte[opcode];
	case MAP_0F:
		if (c->vector) /* of the legacy forms it has those of xmm registers */
			return opcode == 0x77 ? '.'
			       : two_byte[opcode] == 'B' && opcode != 0xa4 && opcode != 0xac &&
			                       opcode != 0xba && opcode != 0x0f
			               ? 'B'
			               : 'm';
		if (opcode == 0x78 && (c->operand_16 || c->repne)) /* SSE4a */
			return 'W';
		return two_byte[opcode];
	case MAP_0F38:
	case MAP_XOP9:
		return 'm';
	case MAP_0F3A:
	case MAP_XOP8:
		return 'B';
	case MAP_XOPA:
		return 'Z';
	default:
		return '-';
	}
}

/* ModRM, SIB and displacement; the cursor is at ModRM. */
static void take_modrm(struct cursor *c, struct insn *insn)
{
	uint8_t modrm = c->code[c->at++];
	unsigned mod = modrm >> 6, rm = modrm & 7;

	if (mod == 3)
		return;
	if (rm == 4) {
		if ((c->code[c->at++] & 7) == 5 && mod == 0)
			mod = 2;
	} else if (rm == 5 && mod == 0) {
		insn->rip_relative = true;
		mod = 2;
	}
	if (mod) {
		insn->disp_at = (uint8_t)c->at;
		insn->disp_size = mod == 1 ? 1 : 4;
		c->at += insn->disp_size;
	}
}

static unsigned immediate_size(const struct cursor *c, char form, uint8_t modrm)
{
	unsigned by_operand = c->operand_16 && !c->wide && !c->vector ? 2 : 4;

	switch (form) {
	case 'b':
	case 'B':
	case 'r':
		return 1;
	case 'w':
	case 'W':
		return 2;
	case 'e':
		return 3;
	case 'z':
	case 'Z':
		return by_operand;
	case 'v':
		return c->wide ? 8 : by_operand;
	case 'o':
		return c->address_32 ? 4 : 8;
	case 'R':
		return 4;
	case 't':
		return (modrm >> 3 & 7) < 2 ? 1 : 0;
	case 'T':
		return (modrm >> 3 & 7) < 2 ? by_operand : 0;
	default:
		return 0;
	}
}

static enum insn_flow flow_of(enum map map, uint8_t opcode, uint8_t modrm)
{
	int reg = modrm >> 3 & 7;

	if (map == MAP_0F)
		return opcode == 0x05            ? FLOW_SYSCALL
		       : opcode == 0x0b          ? FLOW_END
		       : (opcode & 0xf0) == 0x80 ? FLOW_BRANCH
		                                 : FLOW_NEXT;
	if (map != MAP_ONE)
		return FLOW_NEXT;
	if ((opcode & 0xf0) == 0x70 || (opcode >= 0xe0 && opcode <= 0xe3) ||
	    (opcode == 0xc7 && modrm == 0xf8)) /* jcc, loop, xbegin */
		return FLOW_BRANCH;
	if (opcode == 0xe9 || opcode == 0xeb)
		return FLOW_JUMP;
	if (opcode == 0xe8 || (opcode == 0xff && (reg == 2 || reg == 3)))
		return FLOW_CALL;
	if (opcode == 0xff && (reg == 4 || reg == 5))
		return FLOW_INDIRECT;
	if (opcode == 0xc2 || opcode == 0xc3 || opcode == 0xca || opcode == 0xcb ||
	    opcode == 0xcf || opcode == 0xf4)
		return FLOW_END;
	return FLOW_NEXT;
}

/* At least READ_AHEAD bytes of code may be read, not all of which need be there. */
static unsigned decode(const uint8_t *code, struct insn *insn)
{
	struct cursor c = { .code = code };
	enum map map;
	uint8_t opcode, modrm = 0;
	char form;

	take_prefixes(&c);
	if (c.at == INSN_MAX)
		return 0;
	map = take_escapes(&c);
	opcode = code[c.at];
	form = form_of(&c, map, opcode);
	if (form == '-')
		return 0;
	insn->opcode_at = (uint8_t)c.at++;
	if (form == 'm' || form == 't' || (form >= 'A' && form <= 'Z' && form != 'R')) {
		modrm = code[c.at];
		/* Moves to and from control registers take it for a register always. */
		if (map == MAP_0F && !c.vector && opcode >= 0x20 && opcode <= 0x23)
			c.at++;
		else
			take_modrm(&c, insn);
	}
	insn->imm_at = (uint8_t)c.at;
	insn->imm_size = (uint8_t)immediate_size(&c, form, modrm);
	c.at += insn->imm_size;
	if (!c.vector)
		insn->flow = (uint8_t)flow_of(map, opcode, modrm);
	insn->relative = form == 'r' || form == 'R' || (insn->flow == FLOW_BRANCH && form == 'Z');
	return (unsigned)c.at;
}

unsigned insn_decode(const uint8_t *code, size_t size, struct insn *insn)
{
	uint8_t copy[READ_AHEAD] = { 0 };
	unsigned length;

	*insn = (struct insn){ 0 };
	if (size < READ_AHEAD) {
		memcpy(copy, code, size);
		code = copy;
	}
	length = decode(code, insn);
	if (length > INSN_MAX || length > size)
		length = 0;
	insn->length = (uint8_t)length;
	return length;
}

uintptr_t insn_target(const uint8_t *code, const struct insn *insn, uintptr_t address)
{
	const uint8_t *at = code + insn->imm_at;
	uint32_t value = 0;

	for (unsigned i = insn->imm_size; i-- > 0;)
		value = value << 8 | at[i];
	int64_t offset = insn->imm_size == 1   ? (int8_t)value
	                 : insn->imm_size == 2 ? (int16_t)value
	                                       : (int32_t)value;
	return address + insn->length + (uintptr_t)offset;
}
