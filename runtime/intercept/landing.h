/* SPDX-License-Identifier: MIT
 *
 * The landing: where an interrupted green thread goes on, on its own stack, when the
 * runtime wants something of it.
 *
 * The handler of the real signal runs on the worker's alternate stack.  It copies what
 * it was given into a frame on the thread's stack, as the kernel would have laid one
 * out there, and returns to signal_landing, which calls signal_landed() and then
 * leaves by rt_sigreturn(2) with that frame.  In between is plain code of the runtime:
 * it may switch, and run handlers of the program.
 *
 *	interrupted rsp
 *	  - 128           red zone
 *	  floating point  as the kernel wrote it, 64-aligned
 *	  struct landing  rbx points here
 *	  C's frames
 */
#ifndef INTERCEPT_LANDING_H
#define INTERCEPT_LANDING_H

/* Of the general registers in a ucontext_t. */
#define LANDING_CONTEXT 8
#define LANDING_GREGS (LANDING_CONTEXT + 40)

#ifndef __ASSEMBLER__
#include <stdbool.h>
#include <stdint.h>
#include <ucontext.h>

struct landing {
	uintptr_t unused; /* the kernel has the handler's return address here */
	ucontext_t context;
};

/* Where the code is: an interrupted thread in [tail, end) is sent back to the start. */
void signal_landing(void);
extern const char signal_landing_tail[], signal_landing_end[];

/* What the landing calls (signal_deliver.c).  It then lets the thread be interrupted
 * again, looks once more, and begins anew if there is something. */
struct landing_look {
	bool *detained;
	_Atomic uint8_t *look;
};
struct landing_look signal_landed(struct landing *landing);

/* Calls handler(sig, info, context) with the floating point environment that a handler
 * begins with; stack: its top, NULL: the present one. */
void signal_call(void (*handler)(int, siginfo_t *, void *), int sig, siginfo_t *info, void *context,
                 void *stack);

/* The restorer of real handlers: returning through libc's would be intercepted. */
void signal_restorer(void);
#endif

#endif
