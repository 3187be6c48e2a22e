/* SPDX-License-Identifier: MIT
 *
 * green_select: exactly one case is done, any that can be; nothing stays
 * behind in the channels of the others.
 */
#include "sync.h"

#include "channel.h"

static bool nobody_in(green_chan_t *c)
{
	return !list_length((uint32_t *)&c->lock, &c->senders) &&
	       !list_length((uint32_t *)&c->lock, &c->receivers);
}

static bool somebody_in(green_chan_t *c)
{
	return !nobody_in(c);
}

static void *without_waiting(void *arg)
{
	int x = 0, y = 7;
	green_chan_t *a = green_chan_new(sizeof(int), 1), *b = green_chan_new(sizeof(int), 1);
	struct green_select cases[] = {
		{ .chan = a, .value = &x },
		{ .chan = b, .value = &x },
		{ .chan = NULL, .value = &x },
	};
	CHECK_EQ(green_select(NULL, 0, true), -EAGAIN);
	CHECK_EQ(green_select(cases, -1, true), -EINVAL);
	CHECK_EQ(green_select(cases, 65536, true), -EINVAL);
	CHECK_EQ(green_select(cases, 3, true), -EAGAIN);
	CHECK_EQ(green_chan_send(b, &y), 0);
	CHECK_EQ(green_select(cases, 3, false), 1);
	CHECK_EQ(cases[1].result, 0);
	CHECK_EQ(x, 7);
	cases[0].send = true;
	CHECK_EQ(green_select(cases, 3, true), 0);
	CHECK_EQ(green_chan_len(a), 1);
	CHECK_EQ(green_select(cases, 3, true), -EAGAIN);
	CHECK_EQ(green_chan_close(b), 0);
	CHECK_EQ(green_select(cases, 3, true), 1);
	CHECK_EQ(cases[1].result, -EPIPE);
	green_chan_free(a);
	green_chan_free(b);
	return arg;
}
BOTH(without_waiting)

/* Each of several ready cases is taken about as often as the others. */
static void *fairness(void *arg)
{
	enum { N = 5, ROUNDS = 5000 };
	struct green_select cases[N + 3];
	int taken[N + 3] = { 0 }, x;
	memset(cases, 0, sizeof(cases));
	/* Cases that are not ready lie between them. */
	for (int i = 0; i < N + 3; i++)
		cases[i] = (struct green_select){ green_chan_new(sizeof(int), 1), false, &x, 0 };
	for (int i = 0; i < N; i++)
		CHECK_EQ(green_chan_send(cases[i].chan, &i), 0);
	for (int round = 0; round < ROUNDS; round++) {
		int i = green_select(cases, N + 3, false);
		CHECK(i >= 0 && i < N);
		CHECK_EQ(x, i);
		taken[i]++;
		CHECK_EQ(green_chan_send(cases[i].chan, &i), 0);
	}
	for (int i = 0; i < N; i++)
		CHECK(taken[i] > ROUNDS / N * 3 / 4 && taken[i] < ROUNDS / N * 5 / 4);
	for (int i = 0; i < N + 3; i++)
		green_chan_free(cases[i].chan);
	return arg;
}
BOTH(fairness)

/* ---- waiting ---------------------------------------------------------------- */

#define BIG 100 /* bytes of an element that does not lie in the wait record */

struct waiting {
	green_chan_t *a, *b, *big;
	int n; /* cases */
	int index, result;
	int value;
	unsigned char large[BIG];
};

static void *select_once(void *arg)
{
	struct waiting *w = arg;
	int zero = 0, in = -1;
	unsigned char large[BIG] = { 0 };
	struct green_select cases[] = {
		{ .chan = w->a, .value = &in },
		{ .chan = w->b, .send = true, .value = &zero },
		{ .chan = w->big, .value = large },
		{ .chan = w->a, .value = &in },
	};
	w->index = green_select(cases, w->n, false);
	if (w->index >= 0)
		w->result = cases[w->index].result;
	w->value = in;
	memcpy(w->large, large, BIG);
	return NULL;
}

static struct thread select_start(struct waiting *w, bool os, int n)
{
	w->a = green_chan_new(sizeof(int), 0);
	w->b = green_chan_new(sizeof(int), 0);
	w->big = green_chan_new(BIG, 0);
	w->n = n;
	struct thread t = thread_start(os, select_once, w);
	WAIT_FOR(somebody_in(w->a) && somebody_in(w->b) && (n < 3 || somebody_in(w->big)));
	return t;
}

static void select_end(struct waiting *w, struct thread *t)
{
	thread_join(t);
	CHECK(nobody_in(w->a) && nobody_in(w->b) && nobody_in(w->big));
	green_chan_free(w->a);
	green_chan_free(w->b);
	green_chan_free(w->big);
}

static void one_case_wins(bool os)
{
	struct waiting w = { 0 };
	struct thread t = select_start(&w, os, 4); /* one channel twice */
	int x = 42;
	CHECK_EQ(green_chan_trysend(w.a, &x), 0);
	/* Nobody else gets it any more. */
	CHECK_EQ(green_chan_tryrecv(w.b, &x), -EAGAIN);
	select_end(&w, &t);
	CHECK(w.index == 0 || w.index == 3);
	CHECK_EQ(w.result, 0);
	CHECK_EQ(w.value, 42);

	t = select_start(&w, os, 2);
	x = -1;
	CHECK_EQ(green_chan_tryrecv(w.b, &x), 0);
	CHECK_EQ(x, 0);
	CHECK_EQ(green_chan_trysend(w.a, &x), -EAGAIN);
	select_end(&w, &t);
	CHECK_EQ(w.index, 1);

	unsigned char large[BIG];
	memset(large, 9, BIG);
	t = select_start(&w, os, 3);
	CHECK_EQ(green_chan_trysend(w.big, large), 0);
	select_end(&w, &t);
	CHECK_EQ(w.index, 2);
	CHECK_EQ(memcmp(w.large, large, BIG), 0);

	t = select_start(&w, os, 3);
	CHECK_EQ(green_chan_close(w.b), 0);
	select_end(&w, &t);
	CHECK_EQ(w.index, 1);
	CHECK_EQ(w.result, -EPIPE);
}

static void *waiting(void *arg)
{
	for (int os = !green_self(); os < 2; os++)
		one_case_wins(os);
	return arg;
}
BOTH(waiting)

static void *select_in_time(void *arg)
{
	struct green_deadline scope;
	green_deadline_begin(&scope, GREEN_MS(10));
	select_once(arg);
	CHECK(green_deadline_end(&scope));
	return NULL;
}

static void *giving_up(void *arg)
{
	struct waiting w = { 0 };
	for (int os = !green_self(); os < 2; os++) {
		w.a = green_chan_new(sizeof(int), 0);
		w.b = green_chan_new(sizeof(int), 0);
		w.big = green_chan_new(BIG, 0);
		w.n = 4;
		struct thread t = thread_start(os, select_in_time, &w);
		select_end(&w, &t);
		CHECK_EQ(w.index, -ETIMEDOUT);
	}
	if (green_self()) {
		struct thread t = select_start(&w, false, 3);
		CHECK_EQ(green_cancel(t.green), 0);
		select_end(&w, &t);
		CHECK_EQ(w.index, -ECANCELED);
	}
	return arg;
}
BOTH(giving_up)

static void *select_nothing(void *arg)
{
	struct green_select none = { .chan = NULL };
	struct green_deadline scope;
	green_deadline_begin(&scope, GREEN_MS(5));
	CHECK_EQ(green_select(&none, 1, false), -ETIMEDOUT);
	CHECK_EQ(green_select(NULL, 0, false), -ETIMEDOUT);
	green_deadline_end(&scope);
	return arg;
}
BOTH(select_nothing)

/* ---- many ------------------------------------------------------------------ */

static void *send_late(void *arg)
{
	int x = 77;
	green_sleep(GREEN_MS(1));
	CHECK_EQ(green_chan_send(arg, &x), 0);
	return NULL;
}

static void *many_cases(void *arg)
{
	enum { N = 65535, CHANNELS = 300 };
	green_chan_t *channels[CHANNELS];
	struct green_select *cases = calloc(N, sizeof(*cases));
	int x = 0;
	for (int i = 0; i < CHANNELS; i++)
		channels[i] = green_chan_new(sizeof(int), 0);
	for (int i = 0; i < N; i++)
		cases[i] = (struct green_select){ channels[i * 7 % CHANNELS], false, &x, 0 };
	CHECK_EQ(green_select(cases, N, true), -EAGAIN);
	struct thread t = thread_start(!green_self(), send_late, channels[CHANNELS - 1]);
	int i = green_select(cases, N, false);
	CHECK(i >= 0 && cases[i].chan == channels[CHANNELS - 1]);
	CHECK_EQ(x, 77);
	thread_join(&t);
	for (i = 0; i < CHANNELS; i++) {
		CHECK(nobody_in(channels[i]));
		green_chan_free(channels[i]);
	}
	free(cases);
	return arg;
}
BOTH(many_cases)

/* Selecting senders and receivers meet on both of two channels, each thread on
 * both sides: every element sent is received once. */
static struct {
	green_chan_t *c[2];
	_Atomic long sent, received;
	_Atomic int left;
} fair;

static void *trade(void *arg)
{
	long mine = (long)(intptr_t)arg;
	for (int i = 0; i < 400; i++) {
		long in[2], out = mine * 1000 + i;
		struct green_select cases[] = {
			{ .chan = fair.c[i % 2], .send = true, .value = &out },
			{ .chan = fair.c[!(i % 2)], .value = &in[0] },
			{ .chan = fair.c[i % 2], .value = &in[1] },
		};
		int k = green_select(cases, 3, false);
		if (k < 0 || cases[k].result)
			break;
		if (k)
			atomic_fetch_add(&fair.received, in[k - 1]);
		else
			atomic_fetch_add(&fair.sent, out);
	}
	/* The last one alone has nobody to trade with. */
	if (atomic_fetch_sub(&fair.left, 1) == 2) {
		green_chan_close(fair.c[0]);
		green_chan_close(fair.c[1]);
	}
	return NULL;
}

static void *market(void *arg)
{
	struct thread threads[10];
	bool plain = !green_self();
	fair.c[0] = green_chan_new(sizeof(long), 0);
	fair.c[1] = green_chan_new(sizeof(long), 0);
	fair.sent = fair.received = 0;
	fair.left = 10;
	for (int i = 0; i < 10; i++)
		threads[i] = thread_start(plain || i % 5 == 0, trade, (void *)(intptr_t)(i + 1));
	for (int i = 0; i < 10; i++)
		thread_join(&threads[i]);
	CHECK_EQ(fair.received, fair.sent);
	CHECK(fair.sent > 0);
	CHECK(nobody_in(fair.c[0]) && nobody_in(fair.c[1]));
	green_chan_free(fair.c[0]);
	green_chan_free(fair.c[1]);
	return arg;
}
BOTH(market)
