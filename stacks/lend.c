/* SPDX-License-Identifier: MIT
 *
 * Lending and giving back.
 */
#include "lend.h"
#include "hibernate.h"

#define EVERYTHING (~(stack_id)0) /* no stack has this name */

static bool is_lent(const struct stack_loan *loan, stack_id stack)
{
	for (int i = 0; i < LOAN_STACKS; i++)
		if (loan->stacks[i] == stack || loan->stacks[i] == EVERYTHING)
			return true;
	return false;
}

/* Nobody puts the stack to sleep from here on (but one may be about to). */
static void add(struct stack_loan *loan, stack_id stack)
{
	for (int i = 0; i < LOAN_STACKS; i++)
		if (loan->stacks[i] == STACK_NONE) {
			stack_pin(stack);
			loan->stacks[i] = stack;
			return;
		}
	stack_pin_all();
	stack_unpin(loan->stacks[LOAN_STACKS - 1]);
	loan->stacks[LOAN_STACKS - 1] = EVERYTHING;
}

int stack_lend(struct stack_loan *loan, const void *memory, stack_id own)
{
	stack_id stack;

	if (!hibernate_is_ready() || stack_find(memory, &stack) != STACK_PART_FRAMES ||
	    stack == own)
		return 0;
	if (!is_lent(loan, stack))
		add(loan, stack);
	/* In this order: see stack_is_pinned(). */
	return stack_rouse(stack);
}

void stack_loan_end_slow(struct stack_loan *loan)
{
	for (int i = 0; i < LOAN_STACKS; i++) {
		if (loan->stacks[i] == EVERYTHING)
			stack_unpin_all();
		else if (loan->stacks[i] != STACK_NONE)
			stack_unpin(loan->stacks[i]);
		loan->stacks[i] = STACK_NONE;
	}
}
