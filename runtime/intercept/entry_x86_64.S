/* SPDX-License-Identifier: MIT
 *
 * Where intercepted system calls arrive: call.h says how the two stages differ.
 *
 * On entry all registers are as at the syscall instruction, but that rcx holds where
 * to go on: it and r11 are what a system call destroys.  The stack pointer is the
 * caller's, with a red zone of 128 bytes below.  No flag is kept: inline assembly
 * destroys them as compilers see it, and libc's own compares afterwards.
 *
 *	rbp -> struct call, 64-aligned; rbp and pc first, as in any frame
 *	below: in the full stage the vector state, 64-aligned, then C's frames
 *
 * The frame's place depends on alignment, so CFI finds the caller through it:
 * CFA = *(rbp + CALL_SP), rip at rbp + 8, rbp at rbp.
 */
#include "intercept/call.h"

	.text

/* DW_CFA_def_cfa_expression: breg6 CALL_SP, deref; DW_CFA_expression: rip (16) lies
 * at breg6 CALL_PC; DW_CFA_expression: rbp (6) lies at breg6 CALL_RBP. */
	.macro	cfi_in_frame
	.cfi_escape 0x0f, 0x03, 0x76, CALL_SP, 0x06
	.cfi_escape 0x10, 0x10, 0x02, 0x76, CALL_PC
	.cfi_escape 0x10, 0x06, 0x02, 0x76, CALL_RBP
	.endm

	.globl	intercept_entry
	.hidden	intercept_entry
	.type	intercept_entry, @function
	.p2align 4
intercept_entry:
	.cfi_startproc
	.cfi_def_cfa rsp, 0
	.cfi_register rip, rcx
	endbr64
	mov	%rsp, %r11
	.cfi_def_cfa_register r11
	sub	$(CALL_RED_ZONE + CALL_SIZE), %rsp
	and	$-64, %rsp
	mov	%rbp, CALL_RBP(%rsp)
	mov	%rcx, CALL_PC(%rsp)
	mov	%r11, CALL_SP(%rsp)
	mov	%rsp, %rbp
	cfi_in_frame
	mov	%rax, CALL_NR(%rbp)
	mov	%rdi, CALL_ARG+0(%rbp)
	mov	%rsi, CALL_ARG+8(%rbp)
	mov	%rdx, CALL_ARG+16(%rbp)
	mov	%r10, CALL_ARG+24(%rbp)
	mov	%r8, CALL_ARG+32(%rbp)
	mov	%r9, CALL_ARG+40(%rbp)
	mov	%rax, CALL_RAX(%rbp)
	mov	%rdi, CALL_RDI(%rbp)
	mov	%rsi, CALL_RSI(%rbp)
	mov	%rdx, CALL_RDX(%rbp)
	mov	%r10, CALL_R10(%rbp)
	mov	%r8, CALL_R8(%rbp)
	mov	%r9, CALL_R9(%rbp)
	mov	%rbx, CALL_RBX(%rbp)
	mov	%r12, CALL_R12(%rbp)
	mov	%r13, CALL_R13(%rbp)
	mov	%r14, CALL_R14(%rbp)
	mov	%r15, CALL_R15(%rbp)
	cld
	mov	%rbp, %rdi
	call	intercept_fast
	cmp	$CALL_MORE, %rax
	je	.Lfull
	cmp	$CALL_STACKLESS, %rax
	je	.Lstackless
.Lreturn:
	mov	CALL_RDI(%rbp), %rdi
	mov	CALL_RSI(%rbp), %rsi
	mov	CALL_RDX(%rbp), %rdx
	mov	CALL_R10(%rbp), %r10
	mov	CALL_R8(%rbp), %r8
	mov	CALL_R9(%rbp), %r9
	mov	CALL_PC(%rbp), %rcx
	mov	CALL_SP(%rbp), %r11
	/* Nothing is read below the stack pointer: a signal may come at any moment. */
	.cfi_remember_state
	mov	CALL_RBP(%rbp), %rbp
	.cfi_def_cfa r11, 0
	.cfi_register rip, rcx
	.cfi_restore rbp
	mov	%r11, %rsp
	jmp	*%rcx
	.cfi_restore_state

	/* clone3, clone and vfork: parent and child both come back by r9, which none of
	 * them takes, the child perhaps on another stack. */
.Lstackless:
	mov	CALL_RAX(%rbp), %rax
	mov	CALL_RDI(%rbp), %rdi
	mov	CALL_RSI(%rbp), %rsi
	mov	CALL_RDX(%rbp), %rdx
	mov	CALL_R10(%rbp), %r10
	mov	CALL_R8(%rbp), %r8
	mov	CALL_PC(%rbp), %r9
	mov	CALL_SP(%rbp), %r11
	.cfi_remember_state
	mov	CALL_RBP(%rbp), %rbp
	.cfi_def_cfa r11, 0
	.cfi_register rip, r9
	.cfi_restore rbp
	mov	%r11, %rsp
	.cfi_def_cfa_register rsp
	syscall
	jmp	*%r9
	.cfi_restore_state

.Lfull:
	sub	intercept_vector_bytes(%rip), %rsp
	mov	%rsp, CALL_VECTOR(%rbp)
	xor	%eax, %eax		/* the header, which XSAVEC writes in part */
	mov	%rax, 512(%rsp)
	mov	%rax, 520(%rsp)
	mov	%rax, 528(%rsp)
	mov	%rax, 536(%rsp)
	mov	%rax, 544(%rsp)
	mov	%rax, 552(%rsp)
	mov	%rax, 560(%rsp)
	mov	%rax, 568(%rsp)
	mov	intercept_vector_mask(%rip), %eax
	xor	%edx, %edx
	xsavec64 (%rsp)
	mov	%rbp, %rdi
	call	intercept_full
	mov	%rax, CALL_RESULT(%rbp)
.Lrestore:
	mov	CALL_VECTOR(%rbp), %rcx
	mov	intercept_vector_mask(%rip), %eax
	xor	%edx, %edx
	xrstor64 (%rcx)
.Lregisters:
	mov	CALL_RBX(%rbp), %rbx
	mov	CALL_R12(%rbp), %r12
	mov	CALL_R13(%rbp), %r13
	mov	CALL_R14(%rbp), %r14
	mov	CALL_R15(%rbp), %r15
	mov	CALL_RESULT(%rbp), %rax
	jmp	.Lreturn
	.cfi_endproc
	.size	intercept_entry, . - intercept_entry

/* _Noreturn void intercept_resume(struct call *c: rdi, long result: rsi) */
	.globl	intercept_resume
	.hidden	intercept_resume
	.type	intercept_resume, @function
	.p2align 4
intercept_resume:
	.cfi_startproc
	.cfi_undefined rip
	endbr64
	mov	%rdi, %rbp
	mov	%rsi, CALL_RESULT(%rbp)
	cmpq	$0, CALL_VECTOR(%rbp)
	je	.Lregisters
	jmp	.Lrestore
	.cfi_endproc
	.size	intercept_resume, . - intercept_resume

	.section .note.GNU-stack, "", @progbits

/* Landing pads, no shadow stacks: as switch_x86_64.S. */
	.section .note.gnu.property, "a"
	.p2align 3
	.long	4			/* name size */
	.long	16			/* description size */
	.long	5			/* NT_GNU_PROPERTY_TYPE_0 */
	.asciz	"GNU"
	.long	0xc0000002		/* GNU_PROPERTY_X86_FEATURE_1_AND */
	.long	4
	.long	1			/* IBT */
	.long	0
