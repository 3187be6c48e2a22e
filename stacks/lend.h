/* SPDX-License-Identifier: MIT
 *
 * struct stack_loan: stacks of parked threads that lie under memory which
 * somebody else is handing to the kernel.
 *
 * A call of one green thread may be given a buffer on the stack of another,
 * parked one.  Nobody but the kernel may touch it then: in user mode of
 * userfaultfd it would get EFAULT (and lose the datagram) if that stack slept,
 * and in both modes it would write to a page that nobody reads any more if the
 * stack fell asleep under an operation.  So who hands memory to the kernel
 * lends it first: the stack is pinned, then roused.
 *
 * A thread's own stack needs no loan: it cannot sleep while its thread runs,
 * and is pinned while an operation with a pointer into it is in flight.
 *
 * All calls may be made by any OS thread; a loan belongs to one.
 */
#ifndef STACKS_LEND_H
#define STACKS_LEND_H

#include "stack.h"

#define LOAN_STACKS 2 /* a third one: no stack at all falls asleep meanwhile */

struct stack_loan {
	stack_id stacks[LOAN_STACKS]; /* zero-initialised */
};

/* If memory lies on a stack other than own: that stack is resident until
 * stack_loan_end().  0, or -ENOMEM (nothing was added to the loan). */
int stack_lend(struct stack_loan *loan, const void *memory, stack_id own);

void stack_loan_end_slow(struct stack_loan *loan);

static inline void stack_loan_end(struct stack_loan *loan)
{
	if (__builtin_expect(loan->stacks[0] != STACK_NONE, 0))
		stack_loan_end_slow(loan);
}

#endif
