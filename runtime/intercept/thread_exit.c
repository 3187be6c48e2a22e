/* SPDX-License-Identifier: MIT
 *
 * The end of a thread of the program: exit(2), what the kernel does then, and in which
 * order.
 *
 * Who joins the thread frees its stack when the word that it waits at is 0, and that
 * stack is what the end runs on.  So the word is set by the next context.
 */
#include "intercept/thread_exit.h"
#include "intercept/call.h"
#include "intercept/futex.h"
#include "intercept/signal.h"
#include "intercept/tally.h"
#include "intercept/thread.h"
#include "intercept/user.h"
#include "scheduler.h"

#include <errno.h>
#include <linux/futex.h>
#include <stdlib.h>

#define ROBUST_MAX 2048 /* as the kernel: a list that is longer has a circle */
#define PRIORITY_BIT 1ul

struct robust {
	struct robust_list *entry;
	bool priority; /* of a mutex with priority inheritance: the kernel's own */
};

static struct robust robust_of(const void *link)
{
	uintptr_t value = (uintptr_t)link;

	return (struct robust){ (struct robust_list *)(value & ~PRIORITY_BIT),
		                value & PRIORITY_BIT };
}

/* A mutex whose owner ends says so, and one who waits for it learns of it. */
static void robust_death(_Atomic uint32_t *word, uint32_t tid)
{
	uint32_t value = atomic_load_explicit(word, memory_order_relaxed);

	do
		if ((value & FUTEX_TID_MASK) != tid)
			return;
	while (!atomic_compare_exchange_weak_explicit(word, &value,
	                                              (value & FUTEX_WAITERS) | FUTEX_OWNER_DIED,
	                                              memory_order_seq_cst, memory_order_relaxed));
	if (value & FUTEX_WAITERS)
		futex_wake((const void *)word, 1, FUTEX_BITSET_MATCH_ANY, true);
}

static void robust_deaths(struct thread *t, uint32_t tid)
{
	struct robust_list_head *head = t->robust_list;

	if (!head)
		return;
	struct robust pending = robust_of(head->list_op_pending), at = robust_of(head->list.next);
	for (int i = 0; i < ROBUST_MAX && at.entry && at.entry != &head->list; i++) {
		struct robust next = robust_of(at.entry->next);
		if (at.entry != pending.entry && !at.priority)
			robust_death((_Atomic uint32_t *)((char *)at.entry + head->futex_offset),
			             tid);
		at = next;
	}
	if (pending.entry && !pending.priority)
		robust_death((_Atomic uint32_t *)((char *)pending.entry + head->futex_offset), tid);
}

/* The next context, on another stack: the joiner may come. */
static void left_stack(void *word)
{
	if (!word)
		return;
	if (user_store(word, 0) == 0)
		futex_wake(word, 1, FUTEX_BITSET_MATCH_ANY, true);
}

void thread_exit_init(void)
{
	sched_lent_ended = left_stack;
}

/* libc would have called exit(3) had it not counted the runtime's own OS threads as
 * threads of the program. */
static long last_ends(struct call *c)
{
	if (c->arg[0] != 0) {
		tally_end();
		sys1(SYS_exit_group, c->arg[0]);
	}
	signal_set_mask(thread_self(), thread_self()->sigmask_open);
	c->pc = (uintptr_t)exit;
	c->rdi = 0;
	c->sp = (c->sp & ~(uintptr_t)15) - 8; /* as behind a call */
	return 0;
}

long call_exit(struct call *c)
{
	struct gt *self = gt_self();
	struct thread *t = thread_of(self);

	/* Relaxed: only the last one acts on it. */
	if (atomic_fetch_sub_explicit(&threads_alive, 1, memory_order_acq_rel) == 1)
		return last_ends(c);
	robust_deaths(t, (uint32_t)atomic_load_explicit(&t->tid, memory_order_relaxed));
	void *word = t->clear_tid;
	/* From here on nobody finds it. */
	atomic_store_explicit(&t->tid, 0, memory_order_release);
	spawn_lent_ends(self, word);
}
