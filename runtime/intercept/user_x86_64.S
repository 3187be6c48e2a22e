/* SPDX-License-Identifier: MIT
 *
 * Touching memory of the program (user.h).  A fault in here goes on at user_failed.
 */
#include <asm/errno.h>

	.text

	.globl	user_begin, user_end, user_failed
	.hidden	user_begin, user_end, user_failed

	.macro	function name
	.globl	\name
	.hidden	\name
	.type	\name, @function
	.p2align 4
\name:
	.cfi_startproc
	endbr64
	.endm

/* int user_load(const void *at: rdi, uint32_t *value: rsi) */
	function user_load
user_begin:
	mov	(%rdi), %eax
	mov	%eax, (%rsi)
	xor	%eax, %eax
	ret
	.cfi_endproc
	.size	user_load, . - user_load

/* int user_store(void *at: rdi, uint32_t value: esi) */
	function user_store
	xchg	%esi, (%rdi)		/* sequentially consistent */
	xor	%eax, %eax
	ret
	.cfi_endproc
	.size	user_store, . - user_store
user_end:

	function user_failed
	mov	$-EFAULT, %eax
	ret
	.cfi_endproc
	.size	user_failed, . - user_failed

#include "arch/notes_x86_64.inc"
