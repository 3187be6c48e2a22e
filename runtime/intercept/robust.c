/* SPDX-License-Identifier: MIT
 *
 * Robust mutexes: what becomes of those that a thread holds when it ends.
 */
#include "intercept/robust.h"

#include <linux/futex.h>

#define ROBUST_MAX 2048  /* as the kernel: a list that is longer has a circle */
#define PRIORITY_BIT 1ul /* in a link: of a mutex that inherits priority */

static struct robust_list *entry_of(const void *link)
{
	return (struct robust_list *)((uintptr_t)link & ~PRIORITY_BIT);
}

static _Atomic uint32_t *word_of(const struct robust_list_head *head, struct robust_list *entry)
{
	return (_Atomic uint32_t *)((char *)entry + head->futex_offset);
}

/* A mutex whose owner ends says so, and one who waits for it learns of it.  pending: the
 * owner was about to lock or unlock it, and may have unlocked it and waked nobody yet. */
static void robust_death(_Atomic uint32_t *word, uint32_t tid, bool pending, robust_wake *wake)
{
	uint32_t value = atomic_load_explicit(word, memory_order_relaxed);

	if (pending && value == 0)
		wake((const void *)word);
	do
		if ((value & FUTEX_TID_MASK) != tid)
			return;
	while (!atomic_compare_exchange_weak_explicit(word, &value,
	                                              (value & FUTEX_WAITERS) | FUTEX_OWNER_DIED,
	                                              memory_order_seq_cst, memory_order_relaxed));
	if (value & FUTEX_WAITERS)
		wake((const void *)word);
}

void robust_deaths(const struct thread *t, robust_wake *wake)
{
	const struct robust_list_head *head = t->robust_list;
	uint32_t tid = (uint32_t)atomic_load_explicit(&t->tid, memory_order_relaxed);

	if (!head)
		return;
	struct robust_list *pending = entry_of(head->list_op_pending);
	struct robust_list *at = entry_of(head->list.next);
	for (int i = 0; i < ROBUST_MAX && at && at != &head->list; i++) {
		struct robust_list *next = entry_of(at->next);
		if (at != pending)
			robust_death(word_of(head, at), tid, false, wake);
		at = next;
	}
	if (pending)
		robust_death(word_of(head, pending), tid, true, wake);
}
