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

/* Where the return address of the innermost function is.  Code with frame pointers
 * that touches its stack has one of its own, unless it is just about to save its
 * caller's.  *fp becomes the caller's frame pointer. */
#if defined(__x86_64__)
__attribute__((no_sanitize("address"))) static inline uintptr_t *return_place(const struct regs *r,
                                                                              uintptr_t *fp)
{
	const unsigned char push_rbp = 0x55;

	*fp = r->fp;
	if (*(const unsigned char *)r->pc == push_rbp)
		return (uintptr_t *)r->sp;
	*fp = *(uintptr_t *)r->fp;
	return (uintptr_t *)r->fp + 1;
}
#endif

/* Does the frame that the kernel made for a signal handler begin at this word of a
 * stack that ends at top?  That is a return address, then the interrupted context
 * (struct rt_sigframe, arch/x86/include/asm/sigframe.h in Linux), which has lain
 * above on the same stack. */
#if defined(__x86_64__)
__attribute__((no_sanitize("address"))) static inline bool is_signal_frame(uintptr_t word,
                                                                           uintptr_t top)
{
	const ucontext_t *uc = (const ucontext_t *)(word + 8);
	const uintptr_t user_code_segment = 0x33;

	if ((uintptr_t)&uc->uc_mcontext.gregs[NGREG] > top)
		return false;
	uintptr_t sp = (uintptr_t)uc->uc_mcontext.gregs[REG_RSP];
	return uc->uc_flags - 1 < 7 && !uc->uc_link && sp > word && sp <= top &&
	       (uc->uc_mcontext.gregs[REG_CSGSFS] & 0xffff) == user_code_segment;
}
#endif

/* For readers outside the process: bytes from the saved stack pointer.  Registers go
 * by their DWARF numbers; X(number, offset). */
#if defined(__x86_64__)
#define SWITCH_FRAME_SIZE 64
#define SWITCH_FRAME_PC 56
#define SWITCH_FRAME_FP 48
#define SWITCH_SP_NUMBER 7
#define SWITCH_FRAME_REGISTERS(X) \
	X(6, SWITCH_FRAME_FP)     \
	X(3, 40)                  \
	X(12, 32)                 \
	X(13, 24)                 \
	X(14, 16)                 \
	X(15, 8)
#endif

#endif
