/* SPDX-License-Identifier: MIT
 *
 * Parking of an OS thread, which sleeps in a futex: no wake-up is lost, also
 * when its time is up at that moment; and since it may go on, end and leave its
 * descriptor to a green thread before its waker has called it, the waker knows
 * what it is waking.
 */
#include "shim.h"

#include "park.c"

#include <string.h>

struct runtime rt;
struct sys_table sys;
static struct gt descriptors[2]; /* 0 is nobody, 1 is the OS thread */
static struct gt *const parker = &descriptors[1];

static _Atomic uint64_t board; /* the wait's sequence, for wakers */
static struct model_cell gift;
static unsigned calls, wins;
static bool impatient;
static enum wake_reason reason;

/* ---- the world around ------------------------------------------------------- */

struct worker *worker_self(void)
{
	model_fail("an OS thread is no worker");
	return NULL;
}

void sched_ready(struct gt *gt)
{
	(void)gt;
	model_fail("an OS thread is on no queue");
}

void sched_switch(struct gt *self, enum post post)
{
	(void)self, (void)post;
	model_fail("an OS thread does not switch");
}

void sched_attention(struct gt *gt)
{
	(void)gt;
	model_fail("no operation is in flight here");
}

static bool was_called(const void *before)
{
	return calls != *(const unsigned *)before;
}

/* Looks and lies down in one step, as the kernel does. */
long sys_futex_wait(const uint32_t *word, uint32_t value, int64_t deadline_ns)
{
	unsigned before = calls;

	(void)deadline_ns;
	if (atomic_load_explicit((_Atomic uint32_t *)(uintptr_t)word, memory_order_seq_cst) !=
	    value)
		return -EAGAIN;
	if (impatient) {
		impatient = false;
		return -ETIMEDOUT;
	}
	model_wait(was_called, &before);
	return 0;
}

long sys_futex_wake(const uint32_t *word, int count)
{
	model_check(word == (const uint32_t *)&parker->park && count == 1);
	atomic_thread_fence(memory_order_seq_cst); /* a system call */
	calls++;
	return 0;
}

static long call(long nr, long a, long b, long c, long d, long e, long f)
{
	(void)a, (void)b, (void)c, (void)d, (void)e, (void)f;
	model_check(nr == SYS_sched_yield);
	model_pause();
	return 0;
}

static void setup(void)
{
	memset(descriptors, 0, sizeof(descriptors));
	memset(&gift, 0, sizeof(gift));
	gt_table = descriptors;
	sys.call = call;
	atomic_init(&parker->id, (uint64_t)1 << GT_INDEX_BITS | GT_LIVE | GT_FOREIGN);
	atomic_init(&parker->kind, GT_KIND_FOREIGN);
	atomic_init(&board, 0);
	calls = wins = 0;
	impatient = false;
	reason = WAKE_NONE;
}

static void setup_impatient(void)
{
	setup();
	impatient = true;
}

/* ---- who takes part ----------------------------------------------------------- */

static void park(void)
{
	struct park_ticket ticket = park_begin(parker, PARK_SEM, NULL, NULL);

	atomic_store_explicit(&board, ticket.seq, memory_order_release);
	reason = park_commit(ticket, 0, impatient ? 1000 : GREEN_FOREVER);
	if (reason == WAKE_PEER)
		model_check(model_read(&gift) == 7);
	/* The thread ends, and a green thread gets its descriptor. */
	atomic_store_explicit(&parker->kind, 0, memory_order_relaxed);
}

static bool is_open(const void *unused)
{
	(void)unused;
	return board != 0;
}

static struct park_ticket take_ticket(void)
{
	model_wait(is_open, NULL);
	return (struct park_ticket){ parker, atomic_load_explicit(&board, memory_order_acquire) };
}

static void wake(void)
{
	struct park_ticket ticket = take_ticket();

	if (!park_claim(ticket, WAKE_PEER))
		return;
	wins++;
	model_write(&gift, 7);
	park_finish(parker);
}

static void close_it(void)
{
	wins += park_wake(take_ticket(), WAKE_CLOSED);
}

/* ---- scenes ------------------------------------------------------------------- */

static void one_waker(unsigned number)
{
	if (number == 0)
		park();
	else
		wake();
}

static void one_closer(unsigned number)
{
	if (number == 0)
		park();
	else
		close_it();
}

static void two_wakers(unsigned number)
{
	if (number == 0)
		park();
	else if (number == 1)
		wake();
	else
		close_it();
}

static void somebody_won(void)
{
	model_check(wins == (reason != WAKE_TIMEOUT));
	model_check(reason == WAKE_PEER || reason == WAKE_CLOSED || reason == WAKE_TIMEOUT);
}

static const struct model models[] = {
	{ "one waker", 2, 4, 0, setup, one_waker, somebody_won, NULL },
	{ "one waker, store buffers", 2, 2, 1, setup, one_waker, somebody_won, NULL },
	{ "one step", 2, 4, 0, setup, one_closer, somebody_won, NULL },
	{ "two wakers", 3, 3, 0, setup, two_wakers, somebody_won, NULL },
	{ "time is up", 2, 4, 0, setup_impatient, one_waker, somebody_won, NULL },
	{ "time is up, one step", 2, 4, 0, setup_impatient, one_closer, somebody_won, NULL },
};
MODEL_SUITE("foreign", models)
