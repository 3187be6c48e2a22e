/* SPDX-License-Identifier: MIT
 *
 * The three registers that a report about an interrupted context needs, and where
 * a saved one (switch.h) has which.
 */
#ifndef ARCH_REGS_H
#define ARCH_REGS_H

#include <stdbool.h>
#include <stdint.h>
#include <ucontext.h>

struct regs {
	uintptr_t pc, sp, fp;
};

static inline struct regs regs_of(const void *context)
{
	const ucontext_t *uc = context;

#if defined(__x86_64__)
	return (struct regs){ .pc = (uintptr_t)uc->uc_mcontext.gregs[REG_RIP],
		              .sp = (uintptr_t)uc->uc_mcontext.gregs[REG_RSP],
		              .fp = (uintptr_t)uc->uc_mcontext.gregs[REG_RBP] };
#elif defined(__aarch64__)
	return (struct regs){ .pc = uc->uc_mcontext.pc,
		              .sp = uc->uc_mcontext.sp,
		              .fp = uc->uc_mcontext.regs[29] };
#else
#error "which registers are pc, sp and fp here?"
#endif
}

/* Do these bytes of code end with a call? */
#if defined(__x86_64__)
#define REGS_CALL_BYTES 7
static inline bool regs_end_with_call(const unsigned char *code)
{
	/* call rel32; call r/m64 with a register, with memory at a register, and that
	 * with a displacement of one or four bytes, or an index. */
	return code[2] == 0xe8 || (code[5] == 0xff && (code[6] & 0x38) == 0x10) ||
	       (code[4] == 0xff && (code[5] & 0xf8) == 0x50) ||
	       (code[1] == 0xff && ((code[2] & 0xf8) == 0x90 || code[2] == 0x15)) ||
	       (code[3] == 0xff && code[4] == 0x54) || (code[0] == 0xff && code[1] == 0x94);
}
#endif

/* For readers outside the process: bytes from the saved stack pointer.  Registers go
 * by their DWARF numbers; X(number, offset). */
#if defined(__x86_64__)
#define SWITCH_FRAME_SIZE 64
#define SWITCH_FRAME_PC 56
#define SWITCH_SP_NUMBER 7
#define SWITCH_FRAME_REGISTERS(X) \
	X(6, 48)                  \
	X(3, 40)                  \
	X(12, 32)                 \
	X(13, 24)                 \
	X(14, 16)                 \
	X(15, 8)
#endif

#endif
