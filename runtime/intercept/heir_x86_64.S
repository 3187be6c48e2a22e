/* SPDX-License-Identifier: MIT
 *
 * The beginning of the process of heir.h.
 */
#include <asm/unistd.h>

	.text

/* long heir_clone(long flags: rdi, void *stack_top: rsi, void (*run)(void): rdx) */
	.globl	heir_clone
	.hidden	heir_clone
	.type	heir_clone, @function
	.p2align 4
heir_clone:
	.cfi_startproc
	endbr64
	mov	%rdx, %r9		/* the call keeps it, and takes five arguments */
	xor	%edx, %edx
	xor	%r10d, %r10d
	xor	%r8d, %r8d
	mov	$__NR_clone, %eax
	syscall
	test	%rax, %rax
	jz	1f
	ret
1:	.cfi_undefined rip		/* the child: nobody has called it */
	xor	%ebp, %ebp
	call	*%r9
	hlt				/* it ends by exit_group(2) */
	.cfi_endproc
	.size	heir_clone, . - heir_clone

#include "arch/notes_x86_64.inc"
