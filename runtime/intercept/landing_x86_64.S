/* SPDX-License-Identifier: MIT
 *
 * landing.h on x86-64.
 */
#include "intercept/landing.h"
#include "intercept/call.h"

#include <asm/unistd.h>

/* Order of the general registers in a ucontext_t (sys/ucontext.h), and their DWARF
 * numbers. */
	.macro	cfi_saved dwarf, greg
	/* DW_CFA_expression: it lies at breg3 (rbx) + the offset, a signed LEB128 of two
	 * bytes. */
	.cfi_escape 0x10, \dwarf, 0x03, 0x73, \
		((LANDING_GREGS + 8 * \greg) & 0x7f) | 0x80, (LANDING_GREGS + 8 * \greg) >> 7
	.endm

	.text

	.globl	signal_landing
	.hidden	signal_landing
	.type	signal_landing, @function
	/* Unwinders look up return addresses less one, and take the function of a signal
	 * frame from there as it is: the nop belongs to it. */
	.p2align 4
	.cfi_startproc
	.cfi_signal_frame
	/* CFA = what rsp was: DW_CFA_def_cfa_expression breg3 offset, deref */
	.cfi_escape 0x0f, 0x04, 0x73, ((LANDING_GREGS + 8 * 15) & 0x7f) | 0x80, \
		(LANDING_GREGS + 8 * 15) >> 7, 0x06
	cfi_saved 8, 0
	cfi_saved 9, 1
	cfi_saved 10, 2
	cfi_saved 11, 3
	cfi_saved 12, 4
	cfi_saved 13, 5
	cfi_saved 14, 6
	cfi_saved 15, 7
	cfi_saved 5, 8		/* rdi */
	cfi_saved 4, 9		/* rsi */
	cfi_saved 6, 10		/* rbp */
	cfi_saved 3, 11		/* rbx */
	cfi_saved 1, 12		/* rdx */
	cfi_saved 0, 13		/* rax */
	cfi_saved 2, 14		/* rcx */
	cfi_saved 7, 15		/* rsp */
	cfi_saved 16, 16	/* rip */
	nop
signal_landing:
	endbr64
	/* rbx: struct landing; rsp: the same, 16-aligned */
	mov	%rbx, %rsp
	cld
	mov	%rbx, %rdi
	call	signal_landed
	movb	$0, (%rax)
	.globl	signal_landing_tail
	.hidden	signal_landing_tail
signal_landing_tail:
	testb	$GT_LOOK_SIGNALLED, (%rdx)
	jne	signal_landing
	lea	LANDING_CONTEXT(%rbx), %rsp
	mov	$__NR_rt_sigreturn, %eax
	syscall
	ud2
	.globl	signal_landing_end
	.hidden	signal_landing_end
signal_landing_end:
	.cfi_endproc
	.size	signal_landing, . - signal_landing

/* void signal_call(handler: rdi, sig: esi, info: rdx, context: rcx, stack: r8) */
	.globl	signal_call
	.hidden	signal_call
	.type	signal_call, @function
	.p2align 4
signal_call:
	.cfi_startproc
	endbr64
	push	%rbp
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset rbp, 0
	mov	%rsp, %rbp
	.cfi_def_cfa_register rbp
	sub	$16, %rsp
	fnstcw	(%rsp)
	stmxcsr	4(%rsp)
	movl	$0x1f80, 8(%rsp)
	fninit
	ldmxcsr	8(%rsp)
	test	%r8, %r8
	jz	1f
	mov	%r8, %rsp
	and	$-16, %rsp
1:	mov	%rdi, %rax
	mov	%esi, %edi
	mov	%rdx, %rsi
	mov	%rcx, %rdx
	call	*%rax
	fldcw	-16(%rbp)
	ldmxcsr	-12(%rbp)
	leave
	.cfi_def_cfa rsp, 8
	.cfi_restore rbp
	ret
	.cfi_endproc
	.size	signal_call, . - signal_call

/* Debuggers know it by these very bytes. */
	.globl	signal_restorer
	.hidden	signal_restorer
	.type	signal_restorer, @function
	.p2align 4
	nop
signal_restorer:
	mov	$__NR_rt_sigreturn, %rax
	syscall
	.size	signal_restorer, . - signal_restorer

#include "arch/notes_x86_64.inc"
