/* SPDX-License-Identifier: MIT
 *
 * Parking: one thread that waits, and two that may wake or cancel it.  It is
 * made ready exactly once, by whoever won, not before its registers are saved,
 * and sees what it was handed; a cancel is never missed.
 */
#include "shim.h"

#include "park.c"
#include "cancel.c"
#include "gt.c"

struct runtime rt;
struct sys_table sys;
static struct gt descriptors[2]; /* 0 is nobody, 1 waits */
static struct gt *const parker = &descriptors[1];
static struct worker worker;

static _Atomic uint64_t board; /* the wait's sequence, for wakers */
static struct model_cell registers, gift;
static unsigned readied, wins, flags;
static bool aborts;
static _Atomic unsigned mail; /* what a signal is about */
static unsigned read_mail;
static enum wake_reason reason, winner;

/* ---- the world around ------------------------------------------------------- */

struct worker *worker_self(void)
{
	return &worker;
}

static bool is_ready(const void *unused)
{
	(void)unused;
	return readied > 0;
}

void sched_ready(struct gt *gt)
{
	model_check(gt == parker);
	model_check(model_read(&registers) == 1);
	readied++;
	model_check(readied == 1);
}

/* The next context runs on the same OS thread. */
void sched_switch(struct gt *self, enum post post)
{
	model_check(post == POST_PARK);
	model_write(&registers, 1);
	park_saved(self);
	model_wait(is_ready, NULL);
}

void sched_attention(struct gt *gt)
{
	(void)gt;
	model_fail("no operation is in flight here");
}

static void setup(void)
{
	memset(descriptors, 0, sizeof(descriptors));
	memset(&worker, 0, sizeof(worker));
	memset(&registers, 0, sizeof(registers));
	memset(&gift, 0, sizeof(gift));
	gt_table = descriptors;
	atomic_init(&gt_table_high, 2);
	atomic_init(&parker->id, (uint64_t)1 << GT_INDEX_BITS | GT_LIVE);
	atomic_init(&board, 0);
	readied = wins = flags = 0;
	aborts = false;
	atomic_init(&mail, 0);
	read_mail = 0;
	reason = winner = WAKE_NONE;
}

static void setup_shielded(void)
{
	setup();
	flags = PARK_SHIELDED;
}

static void setup_aborting(void)
{
	setup();
	aborts = true;
}

/* ---- who takes part ----------------------------------------------------------- */

static void park(void)
{
	struct park_ticket ticket = park_begin(parker, PARK_SEM, NULL, NULL);

	atomic_store_explicit(&board, ticket.seq, memory_order_release);
	if (aborts && park_abort(ticket)) {
		wins++;
		return;
	}
	reason = park_commit(ticket, flags, GREEN_FOREVER);
	model_check(wins == 0 || reason == winner);
	if (reason == WAKE_PEER)
		model_check(model_read(&gift) == 7);
}

static bool is_open(const void *unused)
{
	(void)unused;
	return board != 0;
}

/* In two steps, with something to hand over. */
static void wake(void)
{
	model_wait(is_open, NULL);
	struct park_ticket ticket = { parker, atomic_load_explicit(&board, memory_order_acquire) };
	if (!park_claim(ticket, WAKE_PEER))
		return;
	wins++;
	winner = WAKE_PEER;
	model_write(&gift, 7);
	park_finish(parker);
}

static void close_it(void)
{
	model_wait(is_open, NULL);
	struct park_ticket ticket = { parker, atomic_load_explicit(&board, memory_order_acquire) };
	if (park_wake(ticket, WAKE_CLOSED)) {
		wins++;
		model_check(readied == 0 || reason == WAKE_NONE || reason == WAKE_CLOSED);
		winner = WAKE_CLOSED;
	}
}

/* A ticket of another wait. */
static void wake_stale(void)
{
	model_check(!park_wake((struct park_ticket){ parker, 0 }, WAKE_CLOSED));
}

static void cancel(void)
{
	model_check(green_cancel(gt_handle(parker)) == 0);
}

static void signal_it(void)
{
	atomic_store_explicit(&mail, 1, memory_order_release);
	model_check(park_signal(gt_handle(parker)) == 0);
}

static bool take(void)
{
	if (!park_take_signal(parker))
		return false;
	read_mail = atomic_load_explicit(&mail, memory_order_acquire);
	return true;
}

/* ---- scenes ------------------------------------------------------------------- */

static void two_wakers(unsigned number)
{
	if (number == 0)
		park();
	else if (number == 1)
		wake();
	else
		close_it();
}

static void stale(unsigned number)
{
	if (number == 0)
		park();
	else if (number == 1)
		wake();
	else
		wake_stale();
}

static void cancelled(unsigned number)
{
	if (number == 0)
		park();
	else
		cancel();
}

static void cancelled_and_woken(unsigned number)
{
	if (number == 0)
		park();
	else if (number == 1)
		wake();
	else
		cancel();
}

static void signalled(unsigned number)
{
	if (number == 0) {
		park();
		model_check(take());
	} else {
		signal_it();
	}
}

static void signalled_and_woken(unsigned number)
{
	if (number == 0)
		park();
	else if (number == 1)
		wake();
	else
		signal_it();
}

/* It comes while the thread looks at an earlier one. */
static void signalled_again(unsigned number)
{
	if (number == 0) {
		if (take())
			return;
		park();
		model_check(take());
	} else {
		signal_it();
	}
}

static void by_signal(void)
{
	model_check(reason == WAKE_SIGNAL && read_mail == 1);
}

static void by_signal_or_peer(void)
{
	model_check(reason == (wins ? WAKE_PEER : WAKE_SIGNAL));
}

/* Nothing is left that the hint does not say. */
static void mail_read(void)
{
	model_check(read_mail == 1);
	model_check(!gt_has(parker, GT_SIGNALLED) || parker->look);
}

static void hint_stands(void)
{
	model_check(!gt_has(parker, GT_SIGNALLED) || parker->look);
}

static void one_takes(unsigned number)
{
	if (number == 0)
		take();
	else
		signal_it();
}

static void one_won(void)
{
	model_check(wins == 1);
}

static void by_cancel(void)
{
	model_check(reason == WAKE_CANCEL);
}

static void by_either(void)
{
	model_check(reason == (wins ? WAKE_PEER : WAKE_CANCEL));
}

static void by_peer(void)
{
	model_check(reason == WAKE_PEER);
}

static const struct model models[] = {
	{ "two wakers", 3, 3, 0, setup, two_wakers, one_won, NULL },
	{ "abort", 3, 3, 0, setup_aborting, two_wakers, one_won, NULL },
	{ "stale ticket", 3, 2, 0, setup, stale, by_peer, NULL },
	{ "cancel", 2, 2, 0, setup, cancelled, by_cancel, NULL },
	{ "cancel, store buffers", 2, 1, 1, setup, cancelled, by_cancel, NULL },
	{ "cancel and wake", 3, 2, 0, setup, cancelled_and_woken, by_either, NULL },
	{ "signal", 2, 2, 0, setup, signalled, by_signal, NULL },
	{ "signal, store buffers", 2, 1, 1, setup, signalled, by_signal, NULL },
	{ "signal and wake", 3, 2, 0, setup, signalled_and_woken, by_signal_or_peer, NULL },
	{ "signal during a look", 2, 2, 0, setup, signalled_again, mail_read, NULL },
	{ "signal's hint", 2, 2, 0, setup, one_takes, hint_stands, NULL },
	{ "shielded", 3, 2, 0, setup_shielded, cancelled_and_woken, by_peer, NULL },
};
MODEL_SUITE("park", models)
