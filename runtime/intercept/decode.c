/* SPDX-License-Identifier: MIT
 *
 * The decoder: what follows an opcode is looked up in two maps of 256 letters.
 */
#include "intercept/decode.h"
#include "arch/cpu.h"

#include <string.h>

/* What an opcode is followed by, and where the instruction goes. */
#define FORM_FLOW_AT 11
enum form {
	FORM_BYTES = 0x0f,     /* of the immediate */
	FORM_OPERAND = 1 << 4, /* 2 with 66 */
	FORM_WIDE = 1 << 5,    /* 8 with REX.W */
	FORM_ADDRESS = 1 << 6, /* 4 with 67 */
	FORM_GROUP = 1 << 7,   /* none, unless the ModRM's reg field is 0 or 1 */
	FORM_MODRM = 1 << 8,
	FORM_REGISTER = 1 << 9,  /* the ModRM names one, always */
	FORM_RELATIVE = 1 << 10, /* the immediate is a target */
	FORM_FLOW = 7,           /* shifted: enum insn_flow */
	FORM_DEPENDS = 1 << 14,  /* where it goes, on the ModRM */
	FORM_NONE = 1 << 15,     /* a prefix, an escape, or no instruction */
};
#define FLOW(flow) (FLOW_##flow << FORM_FLOW_AT)

/* One letter each, for the two maps below. */
#define n 0
#define b 1
#define w 2
#define e 3
#define z (4 | FORM_OPERAND)
#define v (z | FORM_WIDE)
#define o (8 | FORM_ADDRESS)
#define m FORM_MODRM
#define c (m | FORM_REGISTER)
#define B (m | b)
#define W (m | w)
#define Z (m | z)
#define t (B | FORM_GROUP)
#define T (Z | FORM_GROUP)
#define r (1 | FORM_RELATIVE | FLOW(BRANCH))
#define j (1 | FORM_RELATIVE | FLOW(JUMP))
#define R (4 | FORM_RELATIVE | FLOW(BRANCH))
#define J (4 | FORM_RELATIVE | FLOW(JUMP))
#define C (4 | FORM_RELATIVE | FLOW(CALL))
#define g (m | FORM_DEPENDS)
#define G (Z | FORM_DEPENDS)
#define q FLOW(END)
#define f (w | FLOW(END))
#define s FLOW(SYSCALL)
#define x FORM_NONE
/* clang-format off */
static const uint16_t forms[2][256] = {
	{ /* one byte */
		m, m, m, m, b, z, x, x, m, m, m, m, b, z, x, x, /* 00 add, or */
		m, m, m, m, b, z, x, x, m, m, m, m, b, z, x, x, /* 10 adc, sbb */
		m, m, m, m, b, z, x, x, m, m, m, m, b, z, x, x, /* 20 and, sub */
		m, m, m, m, b, z, x, x, m, m, m, m, b, z, x, x, /* 30 xor, cmp */
		x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, /* 40 REX */
		n, n, n, n, n, n, n, n, n, n, n, n, n, n, n, n, /* 50 push, pop */
		x, x, x, m, x, x, x, x, z, Z, b, B, n, n, n, n, /* 60 movsxd, push, imul */
		r, r, r, r, r, r, r, r, r, r, r, r, r, r, r, r, /* 70 jcc */
		B, Z, x, B, m, m, m, m, m, m, m, m, m, m, m, x, /* 80 group 1, test, xchg, mov, lea */
		n, n, n, n, n, n, n, n, n, n, x, n, n, n, n, n, /* 90 xchg, cwde, fwait, flags */
		o, o, o, o, n, n, n, n, b, z, n, n, n, n, n, n, /* A0 mov, string operations */
		b, b, b, b, b, b, b, b, v, v, v, v, v, v, v, v, /* B0 mov */
		B, B, f, q, x, x, B, G, e, n, f, q, n, b, x, q, /* C0 shifts, ret, mov, enter, leave, int */
		m, m, m, m, x, x, x, n, m, m, m, m, m, m, m, m, /* D0 shifts, xlat, x87 */
		r, r, r, r, b, b, b, b, C, J, x, j, n, n, n, n, /* E0 loop, in, out, call, jmp */
		x, n, x, x, q, n, t, T, n, n, n, n, n, n, m, g, /* F0 test, not, neg, inc, call, jmp */
	},
	{ /* 0F */
		m, m, m, m, x, s, n, n, n, n, x, q, x, m, n, B, /* 00 system, syscall, ud2, prefetch, 3DNow! */
		m, m, m, m, m, m, m, m, m, m, m, m, m, m, m, m, /* 10 mov, hint nops */
		c, c, c, c, x, x, x, x, m, m, m, m, m, m, m, m, /* 20 control registers, convert, compare */
		n, n, n, n, n, n, x, n, x, x, x, x, x, x, x, x, /* 30 msr, rdtsc, sysenter, escapes */
		m, m, m, m, m, m, m, m, m, m, m, m, m, m, m, m, /* 40 cmov */
		m, m, m, m, m, m, m, m, m, m, m, m, m, m, m, m, /* 50 */
		m, m, m, m, m, m, m, m, m, m, m, m, m, m, m, m, /* 60 */
		B, B, B, B, m, m, m, n, m, m, x, x, m, m, m, m, /* 70 shuffles, shifts, emms, vmread */
		R, R, R, R, R, R, R, R, R, R, R, R, R, R, R, R, /* 80 jcc */
		m, m, m, m, m, m, m, m, m, m, m, m, m, m, m, m, /* 90 setcc */
		n, n, n, m, B, m, m, m, n, n, n, m, B, m, m, m, /* A0 bt, shld, group 15, imul */
		m, m, m, m, m, m, m, m, m, m, B, m, m, m, m, m, /* B0 cmpxchg, movzx, popcnt, bsf */
		m, m, B, m, B, B, B, m, n, n, n, n, n, n, n, n, /* C0 xadd, cmpps, pinsrw, group 9, bswap */
		m, m, m, m, m, m, m, m, m, m, m, m, m, m, m, m, /* D0 */
		m, m, m, m, m, m, m, m, m, m, m, m, m, m, m, m, /* E0 */
		m, m, m, m, m, m, m, m, m, m, m, m, m, m, m, m, /* F0 */
	},
};
/* clang-format on */
#undef n
#undef b
#undef w
#undef e
#undef z
#undef v
#undef o
#undef m
#undef c
#undef B
#undef W
#undef Z
#undef t
#undef T
#undef r
#undef j
#undef R
#undef J
#undef C
#undef g
#undef G
#undef q
#undef f
#undef s
#undef x

enum map { MAP_ONE, MAP_0F, MAP_0F38, MAP_0F3A, MAP_XOP8, MAP_XOP9, MAP_XOPA, MAP_NONE };

/* What stands before the last byte of an opcode. */
struct head {
	uint8_t at;    /* of that byte */
	uint8_t map;   /* enum map */
	uint8_t flags; /* enum prefix */
};

enum prefix {
	PREFIX_OPERAND_16 = 1, /* 66 */
	PREFIX_ADDRESS_32 = 2, /* 67 */
	PREFIX_REPNE = 4,      /* F2 */
	PREFIX_WIDE = 8,       /* REX.W, as it lies in a REX */
	PREFIX_VECTOR = 16,    /* VEX, EVEX or XOP */
};

/* Prefixes, a ModRM, a SIB and everything between are read without looking where the
 * memory ends: this far at most. */
#define READ_AHEAD (INSN_MAX + 8)

/* ---- prefixes and escapes --------------------------------------------------------- */

/* Leaves the head at the opcode, or at its first escape. */
static void take_prefixes(const uint8_t *code, struct head *h)
{
	for (; h->at < INSN_MAX; h->at++) {
		uint8_t b = code[h->at];

		if (!(forms[0][b] & FORM_NONE))
			return;
		if ((b & 0xf0) == 0x40) { /* counts only as the last one */
			h->flags = (h->flags & (uint8_t)~PREFIX_WIDE) | (b & PREFIX_WIDE);
			continue;
		}
		if (b == 0x66)
			h->flags |= PREFIX_OPERAND_16;
		else if (b == 0x67)
			h->flags |= PREFIX_ADDRESS_32;
		else if (b == 0xf2)
			h->flags |= PREFIX_REPNE;
		else if (b != 0xf0 && b != 0xf3 && (b | 0x18) != 0x3e && b != 0x64 && b != 0x65)
			return;
		h->flags &= (uint8_t)~PREFIX_WIDE;
	}
}

/* VEX, EVEX and XOP name the map in their first byte after the escape. */
static void take_vector_prefix(const uint8_t *code, struct head *h, uint8_t escape)
{
	static const uint8_t vex[] = { MAP_NONE, MAP_0F, MAP_0F38, MAP_0F3A };
	static const uint8_t evex[] = { MAP_NONE, MAP_0F,   MAP_0F38, MAP_0F3A,
		                        MAP_NONE, MAP_0F38, MAP_0F38, MAP_NONE };
	uint8_t first = code[h->at + 1];

	h->flags = (h->flags & (uint8_t)~PREFIX_WIDE) | PREFIX_VECTOR;
	h->at += escape == 0xc5 ? 2 : escape == 0x62 ? 4 : 3;
	if (escape == 0xc5)
		h->map = MAP_0F;
	else if (escape == 0x62)
		h->map = first & 8 ? MAP_NONE : evex[first & 7];
	else if (escape == 0xc4)
		h->map = (first & 31) < 4 ? vex[first & 31] : MAP_NONE;
	else
		h->map = (first & 31) < 11 ? MAP_XOP8 + (first & 31) - 8 : MAP_NONE;
}

/* MAP_NONE: no instruction. */
static never_inline struct head take_head(const uint8_t *code)
{
	struct head h = { .map = MAP_ONE };
	uint8_t b, next;

	take_prefixes(code, &h);
	b = code[h.at];
	next = code[h.at + 1];
	if (h.at == INSN_MAX) {
		h.map = MAP_NONE;
	} else if (b == 0xc4 || b == 0xc5 || b == 0x62 || (b == 0x8f && (next & 31) >= 8)) {
		take_vector_prefix(code, &h, b);
	} else if (b == 0x0f && next != 0x38 && next != 0x3a) {
		h.map = MAP_0F;
		h.at++;
	} else if (b == 0x0f) {
		h.map = next == 0x38 ? MAP_0F38 : MAP_0F3A;
		h.at += 2;
	}
	return h;
}

/* ---- what an opcode is followed by -------------------------------------------------- */

/* In vector instructions the forms of MAP_0F are those that xmm registers have in others. */
static unsigned form_of_0f(struct head h, uint8_t opcode)
{
	unsigned form = forms[1][opcode];

	if (!(h.flags & PREFIX_VECTOR)) /* 78: SSE4a */
		return opcode == 0x78 && (h.flags & (PREFIX_OPERAND_16 | PREFIX_REPNE))
		               ? FORM_MODRM | 2
		               : form;
	if (opcode == 0x77)
		return 0;
	return form == (FORM_MODRM | 1) && opcode != 0xa4 && opcode != 0xac && opcode != 0xba &&
	                       opcode != 0x0f
	               ? FORM_MODRM | 1
	               : FORM_MODRM;
}

static unsigned form_of(struct head h, uint8_t opcode)
{
	switch (h.map) {
	case MAP_ONE: /* 8F is an escape in some places */
		return opcode == 0x8f ? FORM_MODRM : forms[0][opcode];
	case MAP_0F:
		return form_of_0f(h, opcode);
	case MAP_0F38:
	case MAP_XOP9:
		return FORM_MODRM;
	case MAP_0F3A:
	case MAP_XOP8:
		return FORM_MODRM | 1;
	case MAP_XOPA:
		return FORM_MODRM | FORM_OPERAND | 4;
	default:
		return FORM_NONE;
	}
}

/* By mod and rm of a ModRM: how many bytes of displacement, how many before it with the
 * ModRM itself, and what else. */
enum tail { TAIL_BYTES = 7, TAIL_MODRM = 8, TAIL_SIB = 16, TAIL_RIP = 32 };
#define M TAIL_MODRM
static const uint8_t tails[32] = {
	M | 0, M | 0, M | 0, M | 0, TAIL_SIB | 0, M | 4 | TAIL_RIP,
	M | 0, M | 0, /* 0 */
	M | 1, M | 1, M | 1, M | 1, TAIL_SIB | 1, M | 1,
	M | 1, M | 1, /* 1 */
	M | 4, M | 4, M | 4, M | 4, TAIL_SIB | 4, M | 4,
	M | 4, M | 4, /* 2 */
	M | 0, M | 0, M | 0, M | 0, M | 0,        M | 0,
	M | 0, M | 0, /* 3 */
};
#undef M

/* As its ModRM says, of C7 (xbegin) and FF. */
static never_inline enum insn_flow flow_of(unsigned opcode, unsigned modrm)
{
	static const uint8_t group_5[8] = {
		[2] = FLOW_CALL, [3] = FLOW_CALL, [4] = FLOW_INDIRECT, [5] = FLOW_INDIRECT
	};

	if (opcode == 0xff)
		return group_5[modrm >> 3 & 7];
	return modrm == 0xf8 ? FLOW_BRANCH : FLOW_NEXT;
}

static unsigned immediate_size(unsigned form, unsigned flags, unsigned modrm)
{
	if ((form & FORM_GROUP) && (modrm >> 3 & 7) >= 2)
		return 0;
	if ((form & FORM_WIDE) && (flags & PREFIX_WIDE))
		return 8;
	if ((form & FORM_OPERAND) &&
	    (flags & (PREFIX_OPERAND_16 | PREFIX_WIDE | PREFIX_VECTOR)) == PREFIX_OPERAND_16)
		return 2;
	if ((form & FORM_ADDRESS) && (flags & PREFIX_ADDRESS_32))
		return 4;
	return form & FORM_BYTES;
}

/* What comes from the opcode's last byte on, at `at`; flags: enum prefix.  The length.
 * Which instruction comes next can hardly be foretold: so few branches. */
static inline __attribute__((always_inline)) unsigned
take_rest(const uint8_t *code, unsigned at, unsigned form, unsigned flags, struct insn *insn)
{
	const unsigned modrm = code[at + 1];
	unsigned tail = tails[(modrm >> 3 & 0x18) | (modrm & 7)] & -(form / FORM_MODRM & 1);
	unsigned flow = form >> FORM_FLOW_AT & FORM_FLOW, size = form & FORM_BYTES;
	unsigned disp_size;

	if (unlikely(form & FORM_REGISTER))
		tail = TAIL_MODRM;
	disp_size = tail & TAIL_BYTES;
	insn->opcode_at = (uint8_t)at;
	at += 1 + (tail / TAIL_MODRM & 3);
	if (tail == TAIL_SIB && (code[at - 1] & 7) == 5) /* no base */
		disp_size = 4;
	insn->rip_relative = tail & TAIL_RIP;
	insn->disp_at = (uint8_t)at;
	insn->disp_size = (uint8_t)disp_size;
	at += disp_size;
	if (unlikely((form & (FORM_GROUP | FORM_WIDE | FORM_ADDRESS)) ||
	             (flags & PREFIX_OPERAND_16)))
		size = immediate_size(form, flags, modrm);
	if (unlikely(form & FORM_DEPENDS))
		flow = flow_of(code[insn->opcode_at], modrm);
	insn->flow = (uint8_t)flow;
	insn->imm_at = (uint8_t)at;
	insn->imm_size = (uint8_t)size;
	insn->relative = (form & FORM_RELATIVE) ||
	                 ((form & FORM_DEPENDS) && flow == FLOW_BRANCH); /* xbegin */
	return at + size;
}

/* ---- all of it ------------------------------------------------------------------------- */

static never_inline unsigned decode_any(const uint8_t *code, struct insn *insn)
{
	const struct head h = take_head(code);
	unsigned form = form_of(h, code[h.at]);

	return form & FORM_NONE ? 0 : take_rest(code, h.at, form, h.flags, insn);
}

/* At least READ_AHEAD bytes of code may be read, not all of which need be there.  Most
 * instructions have one prefix at most, a REX, and are of the first two maps. */
static inline unsigned decode(const uint8_t *code, struct insn *insn)
{
	const uint16_t *map = forms[0];
	unsigned at = (code[0] & 0xf0) == 0x40, wide = code[0] & -at & PREFIX_WIDE;

	if (code[at] == 0x0f) {
		map = forms[1];
		at++;
	}
	unsigned form = map[code[at]];
	return unlikely(form & FORM_NONE) ? decode_any(code, insn)
	                                  : take_rest(code, at, form, wide, insn);
}

/* Less than READ_AHEAD. */
static never_inline unsigned decode_copy(const uint8_t *code, size_t size, struct insn *insn)
{
	uint8_t copy[READ_AHEAD] = { 0 };

	memcpy(copy, code, size);
	return decode(copy, insn);
}

unsigned insn_decode(const uint8_t *code, size_t size, struct insn *insn)
{
	unsigned length =
		likely(size >= READ_AHEAD) ? decode(code, insn) : decode_copy(code, size, insn);

	if (unlikely(length - 1 >= INSN_MAX || length > size)) {
		*insn = (struct insn){ 0 };
		return 0;
	}
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
