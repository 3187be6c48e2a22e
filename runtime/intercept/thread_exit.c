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
#include "intercept/robust.h"
#include "intercept/signal.h"
#include "intercept/tally.h"
#include "intercept/thread.h"
#include "intercept/user.h"
#include "scheduler.h"

#include <errno.h>
#include <linux/futex.h>
#include <stdlib.h>

static void wake_one(const void *word)
{
	futex_wake(word, 1, FUTEX_BITSET_MATCH_ANY, true);
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
	robust_deaths(t, wake_one);
	void *word = t->clear_tid;
	/* From here on nobody finds it. */
	atomic_store_explicit(&t->tid, 0, memory_order_release);
	spawn_lent_ends(self, word);
}
