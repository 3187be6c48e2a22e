/* SPDX-License-Identifier: MIT
 *
 * Lengths of x86-64 instructions, and what somebody who moves or overwrites one must know:
 * where it may go next, and which of its bytes depend on where it lies.
 *
 * It knows the forms of the opcode maps (prefixes, ModRM, displacement, immediate), not
 * what instructions mean: all of the one-byte map, 0F, 0F 38, 0F 3A, VEX, EVEX and XOP.
 * What it does not know has no length, and nobody touches what comes after it.
 */
#ifndef INTERCEPT_DECODE_H
#define INTERCEPT_DECODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define INSN_MAX 15 /* bytes of an instruction */

enum insn_flow {
	FLOW_NEXT,     /* goes on after it */
	FLOW_JUMP,     /* to its target only */
	FLOW_BRANCH,   /* to its target or on */
	FLOW_CALL,     /* calls its target, or one that it computes */
	FLOW_INDIRECT, /* jumps to where it computes */
	FLOW_END,      /* returns, or traps for good */
	FLOW_SYSCALL,
};

struct insn {
	uint8_t length;
	uint8_t flow;      /* enum insn_flow */
	uint8_t opcode_at; /* of the last byte of the opcode */
	uint8_t disp_at, disp_size;
	uint8_t imm_at, imm_size; /* a relative target is one, too */
	bool rip_relative;        /* its displacement counts from the instruction's end */
	bool relative;            /* its immediate does, and is a target */
};

/* The instruction at code, of which size bytes may be read.  Its length; 0: unknown, or not
 * all of it is there. */
unsigned insn_decode(const uint8_t *code, size_t size, struct insn *insn);

/* Where a relative branch at address goes. */
uintptr_t insn_target(const uint8_t *code, const struct insn *insn, uintptr_t address);

#endif
