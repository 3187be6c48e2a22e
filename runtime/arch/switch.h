/* SPDX-License-Identifier: MIT
 *
 * The switch: leaving one stack and going on on another.  One .S file per CPU
 * implements it; nothing else in the project knows a register.
 *
 * Three entries:
 *   switch_stacks   cooperative: the caller made a function call, so only the
 *                   callee-saved registers and the FP control words matter
 *   switch_full     also keeps every vector register (a call that promised
 *                   its caller to change none, as an intercepted system call)
 *   switch_landing  where a signal handler sends an interrupted green thread
 *                   (preemption): keeps the whole machine state, calls
 *                   switch_preempted(), puts everything back
 *
 * The sanitizers' and valgrind's view of stacks is told around switch_stacks()
 * in sched.c, not here.
 */
#ifndef ARCH_SWITCH_H
#define ARCH_SWITCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Saves the caller's context, stores its stack pointer in *save and goes on
 * with the context that was saved as load.  Returns when somebody switches
 * back.  MXCSR and the x87 control word belong to each context; they are loaded
 * only where their control bits differ (a load costs some 70 ns then). */
void switch_stacks(void **save, void *load);

/* As switch_stacks(), and all vector state is as before when it returns. area
 * is switch_area_size() bytes, 64-aligned, and stays the context's own until
 * then. */
void switch_full(void **save, void *load, void *area);
size_t switch_area_size(void);

/* Prepares a context on a new stack: the first switch to the result calls
 * entry(arg) there; entry must not return.  top: 16-aligned, highest address.
 * Control words are those of the calling thread. */
void *switch_prepare(void *top, void (*entry)(void *), void *arg);

/* In a signal handler: changes the interrupted context (ucontext_t *) so that when
 * the handler returns, entry(arg) is called on that stack, empty again up to top,
 * as on a new one.  What was interrupted is lost.  Control words are the default. */
void switch_restart(void *ucontext, void *top, void (*entry)(void *), void *arg);

/* Replaces a return address on a stack: who returns by it calls switch_returned_to()
 * there instead, which must not return.  False: it has been replaced already. */
bool switch_divert(uintptr_t *place);
bool switch_is_diverted(const uintptr_t *place);
extern void (*switch_returned_to)(void);

/* In a signal handler: changes the interrupted context (ucontext_t *) so that
 * when the handler returns, switch_preempted() is called on the interrupted
 * stack, below its red zone, with everything preserved around it.  The signal
 * frame is gone by then, so that the thread may switch.  The stack needs about
 * switch_area_size() + 512 bytes. */
void switch_interrupt(void *ucontext);

/* What an interrupted thread calls; set by the scheduler. */
extern void (*switch_preempted)(void);

#endif
