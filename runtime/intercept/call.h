/* SPDX-License-Identifier: MIT
 *
 * struct call: one intercepted system call, as its handlers see it; and the table
 * of what is done with which.
 *
 * Both interceptors (rewritten libc sites and Syscall User Dispatch) arrive at
 * intercept_entry with the registers of the system call and the address to go on at
 * in rcx.  It keeps them in a struct call on the caller's stack, below the red zone,
 * and handles the call in two stages:
 *
 *   fast   May change no vector register, for a system call changes none: compiled
 *          with -mgeneral-regs-only (files fast*.c), calls only such code, does not
 *          switch.  Returns the result, or CALL_MORE.
 *   full   Vector state has been saved: any code of the runtime, may park and go on on
 *          another worker.  Never malloc, stdio or a pthread lock: the caller may hold
 *          the allocator's lock or be inside the dynamic linker.
 *
 * Results are the kernel's: >= 0 or -errno.  CALL_PASS: make the real call, with nr
 * and arg as they are now (the caller's registers are kept apart from those).
 */
#ifndef INTERCEPT_CALL_H
#define INTERCEPT_CALL_H

/* Offsets for entry_x86_64.S. */
#define CALL_RBP 0
#define CALL_PC 8
#define CALL_SP 16
#define CALL_VECTOR 24
#define CALL_NR 32
#define CALL_ARG 40
#define CALL_RAX 88
#define CALL_RDI 96
#define CALL_RSI 104
#define CALL_RDX 112
#define CALL_R10 120
#define CALL_R8 128
#define CALL_R9 136
#define CALL_RBX 144
#define CALL_R12 152
#define CALL_R13 160
#define CALL_R14 168
#define CALL_R15 176
#define CALL_RESULT 184
#define CALL_SIZE 192
#define CALL_RED_ZONE 128
/* In struct worker, struct gt and struct thread. */
#define WORKER_CURRENT 0
#define GT_SIZE 128
#define THREAD_SIZE 256
#define THREAD_DETAINED 5
#define THREAD_ROOM_CALL 8
#define GT_LOOK_AT 31
#define GT_LOOK_SIGNALLED 2

/* Added to the address at CALL_VECTOR, which is a multiple of 64: the vector state there is
 * not as XSAVE leaves it but as the entry does. */
#define CALL_VECTOR_BY_HAND 2
#define CALL_VECTOR_IN_ROOM 4 /* and not on the stack (entry.h) */

/* Below every errno: no result of the kernel's. */
#define CALL_MORE (-0x10000)
#define CALL_PASS (-0x10001)
/* The kernel's own codes for a call that a signal has ended.  The end of the call makes
 * it anew with what the handler left in arg, or makes it -EINTR if one of the program's
 * handlers has run: RESTARTSYS only if that has no SA_RESTART. */
#define CALL_RESTARTSYS (-512)
#define CALL_RESTARTNOINTR (-513)
#define CALL_RESTARTNOHAND (-514)
#define CALL_RESTART_BLOCK (-516)
/* Between fast_entry.c and the entry: the real call, made where it needs no stack.  A
 * child that begins on another one cannot come back through a frame on this one. */
#define CALL_STACKLESS (-0x10002)
/* Only from the fast stage: as CALL_PASS, made by the entry itself, which has no frames of
 * C's to come back through.  (The kernel leaves nothing of what the CPU knew of their
 * return addresses.)  Not for calls that pass_on() has more to do for. */
#define CALL_REAL (-0x10003)
/* Likewise, but only an attempt: what its result means says the function that the fast
 * handler has put into result.  CALL_TRY_ALL: unless it is arg[2], all of the bytes. */
#define CALL_TRY (-0x10004)
#define CALL_TRY_ALL (-0x10005)
/* No call of the kernel's: the entry makes it, of a green thread that has just made a
 * process that way; r9 holds the result. */
#define CALL_NR_BORN 511

#ifndef __ASSEMBLER__
#include "arch/cpu.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>

struct call {
	/* These two as any function with a frame pointer has them, so that whoever
	 * follows frame pointers gets past the entry. */
	uintptr_t rbp;
	uintptr_t pc; /* where the caller goes on */
	uintptr_t sp; /* the caller's stack pointer */
	void *vector; /* in the full stage: its vector state, for the entry; NULL: it has none */
	long nr;      /* what handlers read and may change, for CALL_PASS */
	long arg[6];
	/* The caller's registers, put back when the call returns; those from rbx on only
	 * after the full stage. */
	uintptr_t rax, rdi, rsi, rdx, r10, r8, r9;
	uintptr_t rbx, r12, r13, r14, r15;
	long result; /* of the full stage, when its vector state is put back; see CALL_TRY */
};
#define CALL_AT(field, offset) \
	_Static_assert(offsetof(struct call, field) == (offset), "as entry_x86_64.S has it");
CALL_AT(rbp, CALL_RBP)
CALL_AT(pc, CALL_PC)
CALL_AT(sp, CALL_SP)
CALL_AT(vector, CALL_VECTOR)
CALL_AT(nr, CALL_NR)
CALL_AT(arg, CALL_ARG)
CALL_AT(rax, CALL_RAX)
CALL_AT(rdi, CALL_RDI)
CALL_AT(r9, CALL_R9)
CALL_AT(rbx, CALL_RBX)
CALL_AT(r15, CALL_R15)
CALL_AT(result, CALL_RESULT)
_Static_assert(sizeof(struct call) == CALL_SIZE, "as entry_x86_64.S has it");

typedef long call_fn(struct call *c);

typedef long call_tried_fn(struct call *c, long result);

/* What a program may ask to have intercepted, in link mode. */
enum call_group {
	CALL_NONE,
	CALL_SOCKETS,
	CALL_READINESS, /* poll, select, epoll … */
	CALL_TIME,
	CALL_FILES,
	CALL_THREADS, /* and futexes, and the memory of their stacks */
	CALL_SIGNALS,
	CALL_PROCESSES,
	CALL_GROUP_COUNT,
};

struct call_entry {
	const char *name; /* NULL: passes through */
	call_fn *fast;    /* NULL, as name: passes through */
	call_fn *full;    /* NULL: passes through when fast says CALL_MORE */
	const char *what; /* is done with it, for reports */
	uint8_t group;    /* enum call_group */
};

#define CALL_NR_MAX 512
extern internal struct call_entry calls[CALL_NR_MAX]; /* calls.c, call_list.h */

/* The handlers: fast_NAME() and call_NAME(), as call_list.h names them. */
#define FAST(name, group, what) call_fn fast_##name;
#define FULL(name, group, what) call_fn call_##name;
#define BOTH(name, group, what) call_fn fast_##name, call_##name;
#include "intercept/call_list.h"
call_fn fast_born, fast_more;
#undef FAST
#undef FULL
#undef BOTH

/* The real call, in any stage and on any OS thread. */
static inline long call_raw(long nr, long a, long b, long c, long d, long e, long f)
{
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;
	long result;

	__asm__ volatile("syscall"
	                 : "=a"(result)
	                 : "0"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
	                 : "rcx", "r11", "memory");
	return result;
}

/* As it stands in nr and arg. */
static inline long call_real(const struct call *c)
{
	return call_raw(c->nr, c->arg[0], c->arg[1], c->arg[2], c->arg[3], c->arg[4], c->arg[5]);
}
#endif

#endif
