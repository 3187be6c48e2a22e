/* SPDX-License-Identifier: MIT
 *
 * Where intercepted system calls arrive: call.h says how the two stages differ.
 *
 * On entry all registers are as at the syscall instruction, but that rcx holds where
 * to go on: it and r11 are what a system call destroys.  The stack pointer is the
 * caller's, with a red zone of 128 bytes below.  No flag is kept: inline assembly
 * destroys them as compilers see it, and libc's own compares afterwards.
 *
 *	rbp -> struct call, 16-aligned; rbp and pc first, as in any frame
 *	below: in the full stage the vector state, 64-aligned, then C's frames
 *
 * The frame's place depends on alignment, so CFI finds the caller through it:
 * CFA = *(rbp + CALL_SP), rip at rbp + 8, rbp at rbp.
 */
#include "intercept/call.h"

#include <asm/unistd.h>

/* Components of XSAVE by their bits (Intel SDM volume 1, 13.1), and its header. */
#define XSAVE_X87 0x01
#define XSAVE_OPMASK 0x20
#define XSAVE_HI16 0x80
#define XSAVE_SELDOM 0x45	/* x87, the upper halves of ymm and of zmm */
#define XSAVE_BV 512

/* What is kept by hand: as far down as it has to be, and no further, for a page of a
 * stack that is touched while the thread waits is one that it costs.  64-aligned. */
#define HAND_BV 0		/* which components were in use */
#define HAND_MXCSR 8
#define HAND_MXCSR_NOW 12
#define HAND_OWNER 16		/* in a room: where its thread says that it is taken */
#define HAND_XMM 64
#define HAND_SIZE (HAND_XMM + 16 * 16)
#define HAND_OPMASK HAND_SIZE
#define HAND_HI16 (HAND_OPMASK + 8 * 8)
#define HAND_SIZE_ALL (HAND_HI16 + 16 * 64)

/* What C's frames down to a switch take, as a rule. */
#define FRAMES_TO_SWITCH 400
#define PAGE 4096

	.macro	movaps_to n
	movaps	%xmm\n, HAND_XMM+16*\n(%rcx)
	.endm
	.macro	movaps_from n
	movaps	HAND_XMM+16*\n(%rcx), %xmm\n
	.endm
	.macro	zmm_to n
	vmovdqa64 %zmm\n, HAND_HI16+64*(\n-16)(%rcx)
	.endm
	.macro	zmm_from n
	vmovdqa64 HAND_HI16+64*(\n-16)(%rcx), %zmm\n
	.endm
	.macro	zmm_zero n
	vpxord	%zmm\n, %zmm\n, %zmm\n
	.endm
	.macro	kmovq_to n
	kmovq	%k\n, HAND_OPMASK+8*\n(%rcx)
	.endm
	.macro	kmovq_from n
	kmovq	HAND_OPMASK+8*\n(%rcx), %k\n
	.endm
	.macro	kmovq_zero n
	kxorq	%k\n, %k\n, %k\n
	.endm
	.macro	each_of_8 what
	.irp	n, 0, 1, 2, 3, 4, 5, 6, 7
	\what	\n
	.endr
	.endm
	.macro	each_of_16 from, what
	.if	\from
	.irp	n, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
	\what	\n
	.endr
	.else
	.irp	n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
	\what	\n
	.endr
	.endif
	.endm

	.text

/* DW_CFA_def_cfa_expression: breg6 CALL_SP, deref; DW_CFA_expression: rip (16) lies
 * at breg6 CALL_PC; DW_CFA_expression: rbp (6) lies at breg6 CALL_RBP. */
	.macro	cfi_in_frame
	.cfi_escape 0x0f, 0x03, 0x76, CALL_SP, 0x06
	.cfi_escape 0x10, 0x10, 0x02, 0x76, CALL_PC
	.cfi_escape 0x10, 0x06, 0x02, 0x76, CALL_RBP
	.endm

	/* The frame.  vector: see .Lfull. */
	.macro	make_frame vector
	.cfi_def_cfa rsp, 0
	.cfi_register rip, rcx
	endbr64
	mov	%rsp, %r11
	.cfi_def_cfa_register r11
	sub	$(CALL_RED_ZONE + CALL_SIZE), %rsp
	and	$-16, %rsp
	mov	%rbp, CALL_RBP(%rsp)
	mov	%rcx, CALL_PC(%rsp)
	mov	%r11, CALL_SP(%rsp)
	mov	%rsp, %rbp
	cfi_in_frame
	movq	$\vector, CALL_VECTOR(%rbp)
	.endm

	.macro	make_call
	mov	CALL_NR(%rbp), %rax
	mov	CALL_ARG+0(%rbp), %rdi
	mov	CALL_ARG+8(%rbp), %rsi
	mov	CALL_ARG+16(%rbp), %rdx
	mov	CALL_ARG+24(%rbp), %r10
	mov	CALL_ARG+32(%rbp), %r8
	mov	CALL_ARG+40(%rbp), %r9
	syscall
	.endm

	/* As the caller has them, but for those in the frame already. */
	.macro	keep_registers
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
	.endm

	/* The caller keeps nothing but what functions keep (entry.h), so a switch saves all
	 * that there is to be saved: here, as switch_stacks() does, below the frame.
	 *
	 *	rsp +  0   control words
	 *	rsp +  8   r15, r14, r13, r12, rbx, rbp
	 *	rsp + 56   .Lyield_back
	 *	rbp        struct call
	 *
	 * wrfsbase waits for all before it, and what is behind it waits for that: next to
	 * stmxcsr, which is no better, it costs the least. */
	.globl	intercept_yield_entry
	.hidden	intercept_yield_entry
	.type	intercept_yield_entry, @function
	.p2align 4
intercept_yield_entry:
	.cfi_startproc
	make_frame 0
	sub	$64, %rsp
	mov	%r15, 8(%rsp)
	mov	%r14, 16(%rsp)
	mov	%r13, 24(%rsp)
	mov	%r12, 32(%rsp)
	mov	%rbx, 40(%rsp)
	mov	%rbp, 48(%rsp)
	lea	.Lyield_back(%rip), %rcx
	mov	%rcx, 56(%rsp)
	/* Where the stack is full, be it here: not in C, for the frame is not whole. */
	movb	$0, -128(%rsp)
	rdgsbase %rdi
	mov	%rsp, %rsi
	call	intercept_yield
	test	%rax, %rax
	jz	.Lyield_fully
	wrfsbase %rdx
	stmxcsr	(%rsp)
	fnstcw	4(%rsp)
	mov	(%rsp), %ecx
	movzwl	4(%rsp), %edx
	mov	%rax, %rsp		/* from here on: the new stack */
	xor	(%rsp), %ecx		/* as in switch_stacks() */
	and	$0xffc0, %ecx
	xor	4(%rsp), %dx
	or	%edx, %ecx
	jnz	.Lyield_control
1:	mov	8(%rsp), %r15
	mov	16(%rsp), %r14
	mov	24(%rsp), %r13
	mov	32(%rsp), %r12
	mov	40(%rsp), %rbx
	lea	.Lyield_back(%rip), %rcx
	cmp	%rcx, 56(%rsp)
	jne	.Lyield_other
	mov	48(%rsp), %rbp
	/* As intercept_leave.  Who gets here by a switch of the entry's, too, does so on the
	 * only worker, which its TLS block knows. */
	.globl	intercept_yield_leave
	.hidden	intercept_yield_leave
intercept_yield_leave:
	mov	%gs:WORKER_CURRENT, %rcx
	testb	$GT_LOOK_SIGNALLED, GT_LOOK_AT(%rcx)
	jne	.Lyield_look
	xor	%eax, %eax
	mov	CALL_PC(%rbp), %rcx
	mov	CALL_SP(%rbp), %r11
	.cfi_remember_state
	mov	CALL_RBP(%rbp), %rbp
	.cfi_def_cfa r11, 0
	.cfi_register rip, rcx
	.cfi_restore rbp
	.globl	intercept_yield_done, intercept_yield_end
	.hidden	intercept_yield_done, intercept_yield_end
intercept_yield_done:
	mov	%r11, %rsp
	jmp	*%rcx
intercept_yield_end:
	.cfi_restore_state

.Lyield_control:
	ldmxcsr	(%rsp)
	fldcw	4(%rsp)
	jmp	1b
	/* One that was left in another way goes on where its switch returns to. */
.Lyield_other:
	mov	48(%rsp), %rbp
	add	$56, %rsp
	ret
	/* And the other way round. */
.Lyield_back:
	rdgsbase %rdi
	call	intercept_yielded
	jmp	intercept_yield_leave
.Lyield_look:
	mov	%rbp, %rsp
	keep_registers
	xor	%eax, %eax
	jmp	.Llook
.Lyield_fully:
	mov	%rbp, %rsp
	mov	$__NR_sched_yield, %eax
	jmp	.Lentered
	.cfi_endproc
	.size	intercept_yield_entry, . - intercept_yield_entry

	.globl	intercept_entry
	.hidden	intercept_entry
	.type	intercept_entry, @function
	.p2align 4
intercept_entry:
	.cfi_startproc
	make_frame 1
.Lentered:
	mov	%rax, CALL_NR(%rbp)
	mov	%rdi, CALL_ARG+0(%rbp)
	mov	%rsi, CALL_ARG+8(%rbp)
	mov	%rdx, CALL_ARG+16(%rbp)
	mov	%r10, CALL_ARG+24(%rbp)
	mov	%r8, CALL_ARG+32(%rbp)
	mov	%r9, CALL_ARG+40(%rbp)
	mov	%rax, CALL_RAX(%rbp)
	keep_registers
	cld
	mov	%rbp, %rdi
	call	intercept_fast
.Ljudge:
	lea	-CALL_TRY_ALL(%rax), %rcx
	cmp	$(CALL_MORE - CALL_TRY_ALL), %rcx
	jbe	.Lno_result
	/* The last look at what has come for the green thread: from here to the jump back
	 * an interrupted one is sent back to here (kick.c).  rax holds the result. */
	.globl	intercept_leave
	.hidden	intercept_leave
.Lreturn:
intercept_leave:
	rdgsbase %rcx
	test	%rcx, %rcx
	jz	.Lleave
	mov	WORKER_CURRENT(%rcx), %rcx
	test	%rcx, %rcx
	jz	.Lleave
	testb	$GT_LOOK_SIGNALLED, GT_LOOK_AT(%rcx)
	jne	.Llook
.Lleave:
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
	.globl	intercept_leave_done, intercept_leave_end
	.hidden	intercept_leave_done, intercept_leave_end
intercept_leave_done:
	mov	%r11, %rsp
	jmp	*%rcx
intercept_leave_end:
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
	test	%rax, %rax
	jz	2f
	rdgsbase %rcx
	test	%rcx, %rcx
	jz	3f
	/* The green thread that made it: fast_born() */
	mov	%r9, %rcx
	mov	%rax, %r9
	mov	$CALL_NR_BORN, %eax
	jmp	intercept_entry
	/* The child is no worker. */
2:	xor	%ecx, %ecx
	wrgsbase %rcx
3:	jmp	*%r9
	.cfi_restore_state

	/* One of call.h's codes; below them there is nothing. */
.Lno_result:
	cmp	$CALL_TRY_ALL, %rax
	je	.Ltry_all
	cmp	$CALL_MORE, %rax
	je	.Lfull
	cmp	$CALL_TRY, %rax
	je	.Ltry
	cmp	$CALL_REAL, %rax
	je	.Lreal
	cmp	$CALL_STACKLESS, %rax
	je	.Lstackless
	mov	%rbp, %rdi
	call	intercept_pass
	jmp	.Ljudge
.Lreal:
	make_call
	jmp	.Lreturn
.Ltry_all:
	make_call
	cmp	CALL_ARG+16(%rbp), %rax
	je	.Lreturn
.Ltried:
	mov	%rbp, %rdi
	mov	%rax, %rsi
	call	*CALL_RESULT(%rbp)
	jmp	.Ljudge
.Ltry:
	make_call
	jmp	.Ltried

	/* Not in a call that the runtime has made within another one: that looks. */
.Llook:
	rdgsbase %rcx
	mov	WORKER_CURRENT(%rcx), %rcx
	sub	gt_table(%rip), %rcx	/* index * GT_SIZE */
	lea	(%rcx,%rcx), %rcx	/* index * THREAD_SIZE */
	add	threads(%rip), %rcx
	cmpb	$0, THREAD_DETAINED(%rcx)
	jne	.Lleave
	mov	%rax, CALL_RESULT(%rbp)
	lea	intercept_look(%rip), %rbx
	mov	%rbp, %rsp
	jmp	.Lsave

	/* As a rule no more vector state is in use than SSE, and of AVX-512 what the
	 * string functions of libc use: then moving it by hand takes 40 ns, and XSAVEC
	 * with XRSTOR 155. */
.Lfull:
	lea	intercept_full(%rip), %rbx
.Lsave:
	cmpq	$0, CALL_VECTOR(%rbp)
	je	.Lcall_full
	cmpb	$0, intercept_vector_by_hand(%rip)
	je	.Lxsave
	mov	$1, %ecx
	xgetbv				/* what is in use */
	test	$XSAVE_SELDOM, %al
	jnz	.Lxsave
	and	intercept_vector_mask(%rip), %rax
	mov	$HAND_SIZE, %edx
	test	$(XSAVE_OPMASK | XSAVE_HI16), %al
	jz	1f
	mov	$HAND_SIZE_ALL, %edx
	/* On the stack, unless that alone makes it reach into another page. */
1:	cmpq	$0, intercept_rooms(%rip)
	je	.Lon_stack
	mov	%esp, %ecx
	and	$(PAGE - 1), %ecx
	sub	$FRAMES_TO_SWITCH, %ecx
	jb	.Lon_stack
	cmp	%edx, %ecx
	jb	.Lin_room
.Lon_stack:
	sub	%rdx, %rsp
	and	$-64, %rsp
	mov	%rsp, %rcx
	lea	CALL_VECTOR_BY_HAND(%rcx), %rdx
.Lby_hand:
	mov	%rdx, CALL_VECTOR(%rbp)
	mov	%rax, HAND_BV(%rcx)
	stmxcsr	HAND_MXCSR(%rcx)
	each_of_16 0, movaps_to
	test	$XSAVE_OPMASK, %al
	jz	2f
	each_of_8 kmovq_to
2:	test	$XSAVE_HI16, %al
	jz	.Lcall_full
	each_of_16 16, zmm_to
	jmp	.Lcall_full

	/* The thread's room, at its index in a table: unless an outer call of its has it. */
.Lin_room:
	rdgsbase %rcx
	test	%rcx, %rcx
	jz	.Lon_stack
	mov	WORKER_CURRENT(%rcx), %rcx
	test	%rcx, %rcx
	jz	.Lon_stack
	sub	gt_table(%rip), %rcx	/* index * GT_SIZE */
	lea	(%rcx,%rcx), %r8	/* index * THREAD_SIZE */
	add	threads(%rip), %r8
	cmpq	$0, THREAD_ROOM_CALL(%r8)
	jne	.Lon_stack
	mov	%rbp, THREAD_ROOM_CALL(%r8)
	shr	$1, %rcx		/* index * 64 */
	imul	intercept_room_lines(%rip), %rcx
	add	intercept_rooms(%rip), %rcx
	lea	THREAD_ROOM_CALL(%r8), %r8
	mov	%r8, HAND_OWNER(%rcx)
	lea	(CALL_VECTOR_BY_HAND + CALL_VECTOR_IN_ROOM)(%rcx), %rdx
	jmp	.Lby_hand

.Lxsave:
	sub	intercept_vector_bytes(%rip), %rsp
	and	$-64, %rsp
	mov	%rsp, CALL_VECTOR(%rbp)
	xor	%eax, %eax		/* the header, which is written in part */
	mov	%rax, XSAVE_BV(%rsp)
	mov	%rax, XSAVE_BV+8(%rsp)
	mov	%rax, XSAVE_BV+16(%rsp)
	mov	%rax, XSAVE_BV+24(%rsp)
	mov	%rax, XSAVE_BV+32(%rsp)
	mov	%rax, XSAVE_BV+40(%rsp)
	mov	%rax, XSAVE_BV+48(%rsp)
	mov	%rax, XSAVE_BV+56(%rsp)
	mov	intercept_vector_mask(%rip), %eax
	xor	%edx, %edx
	cmpb	$0, intercept_vector_compact(%rip)
	je	1f
	xsavec64 (%rsp)
	jmp	2f
1:	xsave64	(%rsp)
2:	testb	$XSAVE_X87, XSAVE_BV(%rsp)
	jz	.Lcall_full
	fninit				/* whoever comes next finds it empty */
.Lcall_full:
	mov	%rbp, %rdi
	call	*%rbx
	mov	%rax, CALL_RESULT(%rbp)
.Lrestore:
	mov	CALL_VECTOR(%rbp), %rcx
	test	%rcx, %rcx
	jz	.Lregisters
	test	$CALL_VECTOR_BY_HAND, %cl
	jz	.Lxrstor
	test	$CALL_VECTOR_IN_ROOM, %cl
	jz	1f
	sub	$CALL_VECTOR_IN_ROOM, %rcx
	mov	(HAND_OWNER - CALL_VECTOR_BY_HAND)(%rcx), %rdx
	movq	$0, (%rdx)
1:	sub	$CALL_VECTOR_BY_HAND, %rcx
	mov	HAND_BV(%rcx), %rdx
	vzeroupper			/* as it was, but others may have run */
	each_of_16 0, movaps_from
	stmxcsr	HAND_MXCSR_NOW(%rcx)
	mov	HAND_MXCSR_NOW(%rcx), %eax
	cmp	HAND_MXCSR(%rcx), %eax
	je	1f
	ldmxcsr	HAND_MXCSR(%rcx)	/* dear: see switch_x86_64.S */
1:	testb	$XSAVE_HI16, intercept_vector_mask(%rip)
	jz	.Lregisters
	test	$XSAVE_OPMASK, %dl
	jz	2f
	each_of_8 kmovq_from
	jmp	3f
2:	each_of_8 kmovq_zero
3:	test	$XSAVE_HI16, %dl
	jz	4f
	each_of_16 16, zmm_from
	jmp	.Lregisters
4:	each_of_16 16, zmm_zero
	jmp	.Lregisters

.Lxrstor:
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
	.globl	intercept_entry_end
	.hidden	intercept_entry_end
intercept_entry_end:
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
	jmp	.Lrestore
	.cfi_endproc
	.size	intercept_resume, . - intercept_resume

#include "arch/notes_x86_64.inc"
