/* SPDX-License-Identifier: MIT
 *
 * The switch on x86-64 (System V ABI).
 *
 * A saved context, from the saved stack pointer up:
 *
 *	sp +  0   mxcsr (4 bytes), x87 control word (2 bytes), 2 unused
 *	sp +  8   r15
 *	sp + 16   r14
 *	sp + 24   r13
 *	sp + 32   r12
 *	sp + 40   rbx
 *	sp + 48   rbp
 *	sp + 56   return address
 *
 * CFI describes every instruction, so that gdb, perf and libdw can unwind from
 * anywhere.  At the moment rsp is exchanged, old and new frame have the same
 * layout: the same CFI holds for both.
 */
#include <asm/unistd.h>

	.text

/* void switch_stacks(void **save: rdi, void *load: rsi) */
	.globl	switch_stacks
	.hidden	switch_stacks
	.type	switch_stacks, @function
	.p2align 4
switch_stacks:
	.cfi_startproc
	endbr64
	push	%rbp
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset rbp, 0
	push	%rbx
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset rbx, 0
	push	%r12
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset r12, 0
	push	%r13
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset r13, 0
	push	%r14
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset r14, 0
	push	%r15
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset r15, 0
	sub	$8, %rsp
	.cfi_adjust_cfa_offset 8
	stmxcsr	(%rsp)
	fnstcw	4(%rsp)
	mov	%rsp, (%rdi)		/* the old context is whole */
	/* Loaded in the sizes they were stored in, or the CPU could not forward
	 * the stores and would wait for the cache. */
	mov	(%rsp), %eax
	movzwl	4(%rsp), %ecx
	mov	%rsi, %rsp		/* from here on: the new stack */
	/* Control words are loaded only if their control bits differ from those
	 * in force: ldmxcsr of another value is dear, fldcw not cheap.  The six
	 * lowest bits of mxcsr are status. */
	xor	(%rsp), %eax
	and	$0xffc0, %eax
	xor	4(%rsp), %cx
	or	%ecx, %eax
	jnz	2f
1:	add	$8, %rsp
	.cfi_adjust_cfa_offset -8
	pop	%r15
	.cfi_adjust_cfa_offset -8
	.cfi_restore r15
	pop	%r14
	.cfi_adjust_cfa_offset -8
	.cfi_restore r14
	pop	%r13
	.cfi_adjust_cfa_offset -8
	.cfi_restore r13
	pop	%r12
	.cfi_adjust_cfa_offset -8
	.cfi_restore r12
	pop	%rbx
	.cfi_adjust_cfa_offset -8
	.cfi_restore rbx
	pop	%rbp
	.cfi_adjust_cfa_offset -8
	.cfi_restore rbp
	ret
	/* Out of the way; the frame is that of label 1. */
	.cfi_def_cfa_offset 64
	.cfi_rel_offset rbp, 48
	.cfi_rel_offset rbx, 40
	.cfi_rel_offset r12, 32
	.cfi_rel_offset r13, 24
	.cfi_rel_offset r14, 16
	.cfi_rel_offset r15, 8
2:	ldmxcsr	(%rsp)
	fldcw	4(%rsp)
	jmp	1b
	.cfi_endproc
	.size	switch_stacks, . - switch_stacks

/* void switch_full(void **save: rdi, void *load: rsi, void *area: rdx)
 * The area's address is kept in the frame across the switch. */
	.globl	switch_full
	.hidden	switch_full
	.type	switch_full, @function
	.p2align 4
switch_full:
	.cfi_startproc
	endbr64
	push	%rbp
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset rbp, 0
	push	%rdx
	.cfi_adjust_cfa_offset 8
	sub	$8, %rsp
	.cfi_adjust_cfa_offset 8
	mov	%rdx, %rbp
	xor	%eax, %eax		/* the header's second half must be zero */
	mov	%rax, 512(%rbp)
	mov	%rax, 520(%rbp)
	mov	%rax, 528(%rbp)
	mov	%rax, 536(%rbp)
	mov	%rax, 544(%rbp)
	mov	%rax, 552(%rbp)
	mov	%rax, 560(%rbp)
	mov	%rax, 568(%rbp)
	mov	$-1, %eax
	mov	$-1, %edx
	xsave64	(%rbp)
	call	switch_stacks
	mov	$-1, %eax
	mov	$-1, %edx
	xrstor64 (%rbp)
	add	$16, %rsp
	.cfi_adjust_cfa_offset -16
	pop	%rbp
	.cfi_adjust_cfa_offset -8
	.cfi_restore rbp
	ret
	.cfi_endproc
	.size	switch_full, . - switch_full

/* First code of a new context: switch_prepare() put entry in rbx and arg in
 * r12 of the saved frame.  The unwinder stops here: rip is undefined.  It comes
 * by a ret to the second byte: unwinders look up return addresses less one,
 * and that has to lie in this function, too. */
	.globl	switch_boot
	.hidden	switch_boot
	.type	switch_boot, @function
	.p2align 4
switch_boot:
	.cfi_startproc
	.cfi_undefined rip
	.cfi_undefined rbp
	nop
	xor	%ebp, %ebp		/* the end of the frame pointer chain */
	mov	%r12, %rdi
	call	*%rbx
	ud2				/* entry must not return */
	.cfi_endproc
	.size	switch_boot, . - switch_boot

/* What a return address on a stack is replaced by, so that its thread comes here
 * instead of back to its caller.  The stack above is as the caller left it. */
	.globl	switch_returned
	.hidden	switch_returned
	.type	switch_returned, @function
	.p2align 4
switch_returned:
	.cfi_startproc
	.cfi_undefined rip
	.cfi_undefined rbp
	nop
	and	$-16, %rsp
	xor	%ebp, %ebp		/* the end of the frame pointer chain */
	call	*switch_returned_to(%rip)
	ud2				/* it must not return */
	.cfi_endproc
	.size	switch_returned, . - switch_returned

/* Where switch_interrupt() sends an interrupted thread.  On entry the stack
 * holds the interrupted rip; above it lies the red zone of 128 bytes.  No
 * register may be touched before it is saved.
 *
 *	rbp + 136       interrupted rsp  (CFA)
 *	rbp +   8       interrupted rip
 *	rbp +   0       rbp
 *	below           flags, all other registers, then the xsave area, 64-aligned
 */
	.globl	switch_landing
	.hidden	switch_landing
	.type	switch_landing, @function
	.p2align 4
switch_landing:
	.cfi_startproc
	.cfi_signal_frame
	.cfi_def_cfa rsp, 136
	.cfi_offset rip, -136
	endbr64
	push	%rbp
	.cfi_adjust_cfa_offset 8
	.cfi_offset rbp, -144
	mov	%rsp, %rbp
	.cfi_def_cfa rbp, 144
	pushfq
	push	%rax
	push	%rcx
	push	%rdx
	push	%rbx
	.cfi_offset rbx, -184
	push	%rsi
	push	%rdi
	push	%r8
	push	%r9
	push	%r10
	push	%r11
	push	%r12
	.cfi_offset r12, -240
	push	%r13
	.cfi_offset r13, -248
	push	%r14
	.cfi_offset r14, -256
	push	%r15
	.cfi_offset r15, -264
	cld
	mov	switch_area_bytes(%rip), %rax
	sub	%rax, %rsp
	and	$-64, %rsp
	xor	%eax, %eax
	mov	%rax, 512(%rsp)
	mov	%rax, 520(%rsp)
	mov	%rax, 528(%rsp)
	mov	%rax, 536(%rsp)
	mov	%rax, 544(%rsp)
	mov	%rax, 552(%rsp)
	mov	%rax, 560(%rsp)
	mov	%rax, 568(%rsp)
	mov	$-1, %eax
	mov	$-1, %edx
	xsave64	(%rsp)
	call	*switch_preempted(%rip)
	mov	$-1, %eax
	mov	$-1, %edx
	xrstor64 (%rsp)
	lea	-120(%rbp), %rsp	/* 15 registers below rbp */
	pop	%r15
	pop	%r14
	pop	%r13
	pop	%r12
	pop	%r11
	pop	%r10
	pop	%r9
	pop	%r8
	pop	%rdi
	pop	%rsi
	pop	%rbx
	pop	%rdx
	pop	%rcx
	pop	%rax
	popfq
	pop	%rbp
	.cfi_def_cfa rsp, 136
	.cfi_restore rbp
	ret	$128			/* to the interrupted rip, over the red zone */
	.cfi_endproc
	.size	switch_landing, . - switch_landing

#include "arch/notes_x86_64.inc"
