/* SPDX-License-Identifier: MIT
 *
 * Syscall User Dispatch: the kernel turns each system call of an armed OS thread into a
 * signal, unless its instruction lies in the runtime's own text.  So calls are seen that
 * nobody could rewrite: in libraries loaded later, in code made at run time, inline
 * assembly.
 *
 * The handler of SIGSYS does nothing but send the interrupted thread to the entry of
 * intercepted calls (entry_x86_64.S) with the address it would have gone on at: the
 * signal's frame is gone before anything blocks or switches, and the signal mask that the
 * call leaves is not undone by a return from a handler.  It blocks no signal: so there is
 * no mask to put back, and it goes there without rt_sigreturn(2), which took a fifth of the
 * whole way (dispatch_x86_64.S).
 *
 * What that rests on:
 *  - SIGSYS is never blocked in an armed thread: the kernel would kill the process.  Every
 *    mask that the program sets loses it (DISPATCH_SIGNAL).
 *  - A handler of the program's returns through a restorer in the runtime's text
 *    (dispatch_restorer): libc's own would be dispatched, too, which works, but costs a
 *    second signal frame for each signal.
 *  - The kernel disarms a child and a new thread: who makes one arms it again.
 */
#ifndef INTERCEPT_DISPATCH_H
#define INTERCEPT_DISPATCH_H

/* In what a signal frame has of the floating point state (struct _fpx_sw_bytes), the
 * components that were kept. */
#define FX_XFEATURES 472

#ifndef __ASSEMBLER__
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The bit of SIGSYS in a kernel's signal mask: stripped from each that is set. */
#define DISPATCH_SIGNAL ((uint64_t)1 << 30)

/* Installs the handler and tries whether calls arrive at it; the calling OS thread is not
 * armed afterwards.  0, or -errno with why (a sentence's end, static) in *why.  Before
 * there are workers. */
int dispatch_start(const char **why);
/* Puts back the action that was there before. */
void dispatch_stop(void);

/* The calling OS thread, if dispatch was started: each worker when it starts, and the one
 * thread of a forked child.  0 or -errno. */
int dispatch_arm(void);
void dispatch_disarm(void);

/* Whether dispatch was started: SIGSYS is ours then.  Written before there are workers. */
extern __attribute__((visibility("hidden"))) bool dispatch_started;

/* The program's SIGSYS: one that was no dispatch (a seccomp filter's trap, kill(2)) goes
 * there, with the handler's arguments.  NULL: the default action. */
extern __attribute__((visibility("hidden"))) void (*dispatch_other)(int sig, siginfo_t *info,
                                                                    void *context);

/* The action of SIGSYS, as rt_sigaction(2) has it, that was there before dispatch. */
extern __attribute__((visibility("hidden"))) const void *const dispatch_replaced;

/* The handler of SIGSYS (dispatch_x86_64.S), and what it asks: shall the caller go on at
 * the entry, with the registers of *context, whose rip becomes rcx?  Else by what the
 * kernel makes of *context. */
void dispatch_handler(int sig, siginfo_t *info, void *context);
bool dispatch_signal(int sig, siginfo_t *info, void *context);

/* For SA_RESTORER: returns from a signal handler; debuggers and unwinders know it by its
 * bytes and by its CFI. */
void dispatch_restorer(void);

/* ---- for reports ------------------------------------------------------------- */

#define DISPATCH_SITES 512

/* Where calls came from that only dispatch saw. */
struct dispatch_site {
	_Atomic uintptr_t pc; /* after the instruction; 0: free */
	_Atomic uint32_t nr;  /* the last call made there */
	_Atomic uint64_t count;
};
/* The table, of DISPATCH_SITES; full, further sites are only counted. */
const struct dispatch_site *dispatch_sites(void);
uint64_t dispatch_count(void);
#endif

#endif
