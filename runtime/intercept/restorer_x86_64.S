/* SPDX-License-Identifier: MIT
 *
 * dispatch_restorer: what signal handlers return to.
 *
 * The stack pointer is at the frame's struct ucontext.  gdb and libgcc know such a place
 * by these very bytes; libdw and others by the CFI, which finds each register of the
 * interrupted code in the frame.
 */
#include "intercept/ucontext_x86_64.inc"

#include <asm/unistd.h>

#define RSP 7 /* by its DWARF number */

	.text

	.globl	dispatch_restorer
	.hidden	dispatch_restorer
	.type	dispatch_restorer, @function
	.p2align 4
	.cfi_startproc
	.cfi_signal_frame
	CFA_IN_FRAME(RSP)
	IN_FRAME(RSP, 8, 0)
	IN_FRAME(RSP, 9, 1)
	IN_FRAME(RSP, 10, 2)
	IN_FRAME(RSP, 11, 3)
	IN_FRAME(RSP, 12, 4)
	IN_FRAME(RSP, 13, 5)
	IN_FRAME(RSP, 14, 6)
	IN_FRAME(RSP, 15, 7)
	IN_FRAME(RSP, 5, 8)			/* rdi */
	IN_FRAME(RSP, 4, 9)			/* rsi */
	IN_FRAME(RSP, 6, 10)			/* rbp */
	IN_FRAME(RSP, 3, 11)			/* rbx */
	IN_FRAME(RSP, 1, 12)			/* rdx */
	IN_FRAME(RSP, 0, 13)			/* rax */
	IN_FRAME(RSP, 2, 14)			/* rcx */
	IN_FRAME(RSP, 16, 16)		/* rip */
	nop				/* unwinders look up return addresses less one */
dispatch_restorer:
	movq	$__NR_rt_sigreturn, %rax
	syscall
	.cfi_endproc
	.size	dispatch_restorer, . - dispatch_restorer

#include "arch/notes_x86_64.inc"
