/* SPDX-License-Identifier: MIT
 *
 * dispatch_restorer: what signal handlers return to.
 *
 * The stack pointer is at the frame's struct ucontext.  gdb and libgcc know such a place
 * by these very bytes; libdw and others by the CFI, which finds each register of the
 * interrupted code in the frame.
 */
#include <asm/unistd.h>

/* Offset in struct ucontext of a register in its mcontext, by its place there. */
#define GREG(n) (40 + 8 * (n))

/* The register with DWARF number reg is at rsp + GREG(n). */
#define IN_FRAME(reg, n) \
	.cfi_escape 0x10, reg, 3, 0x77, 0x80 | (GREG(n) & 0x7f), GREG(n) >> 7

	.text

	.globl	dispatch_restorer
	.hidden	dispatch_restorer
	.type	dispatch_restorer, @function
	.p2align 4
	.cfi_startproc
	.cfi_signal_frame
	/* The CFA is the interrupted rsp: DW_CFA_def_cfa_expression, breg7, deref. */
	.cfi_escape 0x0f, 4, 0x77, 0x80 | (GREG(15) & 0x7f), GREG(15) >> 7, 0x06
	IN_FRAME(8, 0)
	IN_FRAME(9, 1)
	IN_FRAME(10, 2)
	IN_FRAME(11, 3)
	IN_FRAME(12, 4)
	IN_FRAME(13, 5)
	IN_FRAME(14, 6)
	IN_FRAME(15, 7)
	IN_FRAME(5, 8)			/* rdi */
	IN_FRAME(4, 9)			/* rsi */
	IN_FRAME(6, 10)			/* rbp */
	IN_FRAME(3, 11)			/* rbx */
	IN_FRAME(1, 12)			/* rdx */
	IN_FRAME(0, 13)			/* rax */
	IN_FRAME(2, 14)			/* rcx */
	IN_FRAME(16, 16)		/* rip */
	nop				/* unwinders look up return addresses less one */
dispatch_restorer:
	movq	$__NR_rt_sigreturn, %rax
	syscall
	.cfi_endproc
	.size	dispatch_restorer, . - dispatch_restorer

#include "arch/notes_x86_64.inc"
