/* SPDX-License-Identifier: MIT
 *
 * dispatch_handler: what the kernel calls for SIGSYS, and how it goes on at the entry.
 *
 * As a rule not by rt_sigreturn(2), which takes as long as four plain system calls: the
 * kernel's own bookkeeping of a signal is a mask, which this one leaves as it is
 * (dispatch.c), and a stack of its own, which it does not use.  What is left are registers,
 * put back here from the frame, and that is nobody's from the moment the stack pointer is
 * the caller's again.
 */
#include "intercept/dispatch.h"
#include "intercept/ucontext_x86_64.inc"

#define FPREGS 224 /* in struct ucontext */
#define R11 11 /* by its DWARF number */

	.text

/* (int sig: edi, siginfo_t *info: rsi, struct ucontext *context: rdx) */
	.globl	dispatch_handler
	.hidden	dispatch_handler
	.type	dispatch_handler, @function
	.p2align 4
dispatch_handler:
	.cfi_startproc
	endbr64
	push	%rbx
	.cfi_def_cfa_offset 16
	.cfi_offset rbx, -16
	mov	%rdx, %rbx
	call	dispatch_signal
	test	%al, %al
	jnz	1f
	pop	%rbx
	.cfi_remember_state
	.cfi_def_cfa_offset 8
	.cfi_restore rbx
	ret				/* to dispatch_restorer */
	.cfi_restore_state
1:	mov	%rbx, %r11
	/* From here on unwinders see the caller; r11 is its own no more, as behind any system
	 * call. */
	CFA_IN_FRAME(R11)
	IN_FRAME(R11, 12, 4)
	IN_FRAME(R11, 13, 5)
	IN_FRAME(R11, 14, 6)
	IN_FRAME(R11, 15, 7)
	IN_FRAME(R11, 6, 10)			/* rbp */
	IN_FRAME(R11, 3, 11)			/* rbx */
	IN_FRAME(R11, 16, 16)		/* rip */
	mov	FPREGS(%r11), %rcx
	mov	FX_XFEATURES(%rcx), %eax
	mov	FX_XFEATURES+4(%rcx), %edx
	xrstor64 (%rcx)
	mov	GREG(0)(%r11), %r8
	mov	GREG(1)(%r11), %r9
	mov	GREG(2)(%r11), %r10
	mov	GREG(4)(%r11), %r12
	mov	GREG(5)(%r11), %r13
	mov	GREG(6)(%r11), %r14
	mov	GREG(7)(%r11), %r15
	mov	GREG(8)(%r11), %rdi
	mov	GREG(9)(%r11), %rsi
	mov	GREG(10)(%r11), %rbp
	mov	GREG(11)(%r11), %rbx
	mov	GREG(12)(%r11), %rdx
	mov	GREG(13)(%r11), %rax
	mov	GREG_RIP(%r11), %rcx
	mov	GREG_RSP(%r11), %rsp
	/* Below it may be anybody's: the next signal's. */
	.cfi_def_cfa rsp, 0
	.cfi_same_value r12
	.cfi_same_value r13
	.cfi_same_value r14
	.cfi_same_value r15
	.cfi_same_value rbp
	.cfi_same_value rbx
	.cfi_register rip, rcx
	jmp	intercept_entry
	.cfi_endproc
	.size	dispatch_handler, . - dispatch_handler

#include "arch/notes_x86_64.inc"
