/* SPDX-License-Identifier: MIT
 *
 * green_chan: every element arrives once and whole, in order, whatever its
 * size; closing; giving up loses and doubles nothing.
 */
#include "sync.h"

#include "channel.h"

static unsigned waiters(green_chan_t *c, struct green_wait_list *list)
{
	return list_length((uint32_t *)&c->lock, list);
}

/* ---- alone ----------------------------------------------------------------- */

static void *sizes(void *arg)
{
	static const size_t elem_sizes[] = { 0, 1, 7, 8, 31, 32, 33, 1000, 65536 };
	static unsigned char in[65536], out[65536];
	for (unsigned i = 0; i < sizeof(elem_sizes) / sizeof(*elem_sizes); i++) {
		size_t size = elem_sizes[i];
		green_chan_t *c = green_chan_new(size, 3);
		CHECK(c);
		for (int round = 0; round < 5; round++) { /* the ring wraps */
			for (int k = 0; k < 3; k++) {
				memset(in, round * 3 + k + 1, size);
				CHECK_EQ(green_chan_len(c), k);
				CHECK_EQ(green_chan_trysend(c, in), 0);
			}
			CHECK_EQ(green_chan_trysend(c, in), -EAGAIN);
			for (int k = 0; k < 3; k++) {
				memset(in, round * 3 + k + 1, size);
				memset(out, 0, size);
				CHECK_EQ(green_chan_tryrecv(c, out), 0);
				CHECK_EQ(memcmp(in, out, size), 0);
			}
			CHECK_EQ(green_chan_tryrecv(c, out), -EAGAIN);
		}
		green_chan_free(c);
	}
	errno = 0;
	CHECK(!green_chan_new(65537, 1));
	CHECK_EQ(errno, EINVAL);
	CHECK(!green_chan_new(65536, SIZE_MAX / 1024));
	CHECK_EQ(errno, ENOMEM);
	green_chan_free(NULL);
	return arg;
}
BOTH(sizes)

static void *closed(void *arg)
{
	int x = 1;
	green_chan_t *c = green_chan_new(sizeof(x), 2);
	CHECK_EQ(green_chan_send(c, &x), 0);
	CHECK_EQ(green_chan_close(c), 0);
	CHECK_EQ(green_chan_close(c), -EPIPE);
	CHECK_EQ(green_chan_send(c, &x), -EPIPE);
	CHECK_EQ(green_chan_trysend(c, &x), -EPIPE);
	x = 0;
	CHECK_EQ(green_chan_recv(c, &x), 0); /* what it held can still be had */
	CHECK_EQ(x, 1);
	CHECK_EQ(green_chan_recv(c, &x), -EPIPE);
	CHECK_EQ(green_chan_tryrecv(c, &x), -EPIPE);
	green_chan_free(c);
	return arg;
}
BOTH(closed)

/* ---- streams ---------------------------------------------------------------- */

struct stream {
	green_chan_t *c;
	size_t size;
	int items;
	_Atomic uint64_t sum;
};

static void fill(unsigned char *element, size_t size, uint32_t n)
{
	memset(element, (int)(n % 251), size);
	memcpy(element, &n, size < sizeof(n) ? size : sizeof(n));
}

static void *send_all(void *arg)
{
	struct stream *s = arg;
	unsigned char *element = malloc(s->size);
	for (int i = 1; i <= s->items; i++) {
		fill(element, s->size, (uint32_t)i);
		CHECK_EQ(green_chan_send(s->c, element), 0);
	}
	free(element);
	return NULL;
}

static void *recv_all(void *arg)
{
	struct stream *s = arg;
	unsigned char *element = malloc(s->size), *expected = malloc(s->size);
	int error;
	while (!(error = green_chan_recv(s->c, element))) {
		uint32_t n;
		memcpy(&n, element, sizeof(n));
		fill(expected, s->size, n);
		CHECK_EQ(memcmp(element, expected, s->size), 0);
		atomic_fetch_add(&s->sum, n);
	}
	CHECK_EQ(error, -EPIPE);
	free(element);
	free(expected);
	return NULL;
}

static void stream(size_t size, size_t capacity, int items)
{
	bool plain = !green_self();
	struct stream s = { green_chan_new(size, capacity), size, items, 0 };
	struct thread senders[4], receivers[3];
	for (int i = 0; i < 4; i++)
		senders[i] = thread_start(plain || i == 1, send_all, &s);
	for (int i = 0; i < 3; i++)
		receivers[i] = thread_start(plain || i == 1, recv_all, &s);
	for (int i = 0; i < 4; i++)
		thread_join(&senders[i]);
	CHECK_EQ(green_chan_close(s.c), 0);
	for (int i = 0; i < 3; i++)
		thread_join(&receivers[i]);
	CHECK_EQ(s.sum, 4ul * (unsigned long)items * (unsigned long)(items + 1) / 2);
	green_chan_free(s.c);
}

static void *streams(void *arg)
{
	stream(4, 0, 1000);
	stream(8, 1, 1000);
	stream(32, 7, 1000);
	stream(33, 0, 500);
	stream(5000, 0, 300);
	stream(5000, 3, 300);
	stream(65536, 2, 50);
	return arg;
}
BOTH(streams)

static void *in_order_from_one_sender(void *arg)
{
	for (size_t capacity = 0; capacity < 4; capacity++) {
		struct stream s = { green_chan_new(4, capacity), 4, 500, 0 };
		struct thread t = thread_start(!green_self(), send_all, &s);
		for (int i = 1; i <= 500; i++) {
			int x = 0;
			CHECK_EQ(green_chan_recv(s.c, &x), 0);
			CHECK_EQ(x, i);
		}
		thread_join(&t);
		green_chan_free(s.c);
	}
	return arg;
}
BOTH(in_order_from_one_sender)

/* ---- waiting ---------------------------------------------------------------- */

#define MEMBERS 16

struct user {
	green_chan_t *c;
	int value, result;
};

static void *send_one(void *arg)
{
	struct user *u = arg;
	u->result = green_chan_send(u->c, &u->value);
	return NULL;
}

static void *recv_one(void *arg)
{
	struct user *u = arg;
	u->value = 0;
	u->result = green_chan_recv(u->c, &u->value);
	return NULL;
}

static void *waiters_in_order(void *arg)
{
	struct thread threads[MEMBERS];
	struct user users[MEMBERS];
	green_chan_t *c = green_chan_new(sizeof(int), 0);
	for (int i = 0; i < MEMBERS; i++) {
		users[i] = (struct user){ c, i + 1, 1 };
		threads[i] = thread_start(!green_self() || i == 3, send_one, &users[i]);
		WAIT_FOR(waiters(c, &c->senders) == (unsigned)i + 1);
	}
	for (int i = 0, x; i < MEMBERS; i++) {
		CHECK_EQ(green_chan_tryrecv(c, &x), 0);
		CHECK_EQ(x, i + 1);
	}
	for (int i = 0; i < MEMBERS; i++)
		thread_join(&threads[i]);
	for (int i = 0; i < MEMBERS; i++) {
		threads[i] = thread_start(!green_self() || i == 3, recv_one, &users[i]);
		WAIT_FOR(waiters(c, &c->receivers) == (unsigned)i + 1);
	}
	for (int i = 0; i < MEMBERS; i++) {
		int x = i + 100;
		CHECK_EQ(green_chan_trysend(c, &x), 0);
	}
	for (int i = 0; i < MEMBERS; i++) {
		thread_join(&threads[i]);
		CHECK_EQ(users[i].value, i + 100);
		CHECK_EQ(users[i].result, 0);
	}
	green_chan_free(c);
	return arg;
}
BOTH(waiters_in_order)

static void *close_wakes_all(void *arg)
{
	for (int senders = 0; senders < 2; senders++) {
		struct thread threads[MEMBERS];
		struct user users[MEMBERS];
		green_chan_t *c = green_chan_new(sizeof(int), 0);
		for (int i = 0; i < MEMBERS; i++) {
			users[i] = (struct user){ c, i, 1 };
			threads[i] = thread_start(!green_self() || i == 3,
			                          senders ? send_one : recv_one, &users[i]);
		}
		WAIT_FOR(waiters(c, senders ? &c->senders : &c->receivers) == MEMBERS);
		CHECK_EQ(green_chan_close(c), 0);
		for (int i = 0; i < MEMBERS; i++) {
			thread_join(&threads[i]);
			CHECK_EQ(users[i].result, -EPIPE);
		}
		green_chan_free(c);
	}
	return arg;
}
BOTH(close_wakes_all)

static void *elements_skip_the_cancelled(void *arg)
{
	struct thread threads[MEMBERS];
	struct user users[MEMBERS];
	green_chan_t *c = green_chan_new(sizeof(int), 0);
	for (int i = 0; i < MEMBERS; i++) {
		users[i] = (struct user){ c, i, 1 };
		threads[i] = thread_start(false, recv_one, &users[i]);
		WAIT_FOR(waiters(c, &c->receivers) == (unsigned)i + 1);
	}
	for (int i = 0; i < MEMBERS; i += 2)
		CHECK_EQ(green_cancel(threads[i].green), 0);
	for (int i = 1, x; i < MEMBERS; i += 2) {
		x = i + 1;
		CHECK_EQ(green_chan_trysend(c, &x), 0);
	}
	CHECK_EQ(green_chan_trysend(c, &(int){ 1 }), -EAGAIN);
	for (int i = 0; i < MEMBERS; i++) {
		thread_join(&threads[i]);
		CHECK_EQ(users[i].result, i % 2 ? 0 : -ECANCELED);
		CHECK_EQ(users[i].value, i % 2 ? i + 1 : 0);
	}
	green_chan_free(c);
	return arg;
}
GREEN(elements_skip_the_cancelled)

/* With a full buffer: the senders that were not cancelled move up, in order. */
static void *senders_move_up(void *arg)
{
	struct thread threads[MEMBERS];
	struct user users[MEMBERS];
	green_chan_t *c = green_chan_new(sizeof(int), 2);
	CHECK_EQ(green_chan_send(c, &(int){ -2 }), 0);
	CHECK_EQ(green_chan_send(c, &(int){ -1 }), 0);
	for (int i = 0; i < MEMBERS; i++) {
		users[i] = (struct user){ c, i, 1 };
		threads[i] = thread_start(false, send_one, &users[i]);
		WAIT_FOR(waiters(c, &c->senders) == (unsigned)i + 1);
	}
	for (int i = 0; i < MEMBERS; i += 2)
		CHECK_EQ(green_cancel(threads[i].green), 0);
	int x = 0;
	CHECK_EQ(green_chan_recv(c, &x), 0);
	CHECK_EQ(x, -2);
	CHECK_EQ(green_chan_recv(c, &x), 0);
	CHECK_EQ(x, -1);
	for (int i = 1; i < MEMBERS; i += 2) {
		CHECK_EQ(green_chan_tryrecv(c, &x), 0);
		CHECK_EQ(x, i);
	}
	CHECK_EQ(green_chan_tryrecv(c, &x), -EAGAIN);
	for (int i = 0; i < MEMBERS; i++) {
		thread_join(&threads[i]);
		CHECK_EQ(users[i].result, i % 2 ? 0 : -ECANCELED);
	}
	green_chan_free(c);
	return arg;
}
GREEN(senders_move_up)

static void *recv_in_time(void *arg)
{
	struct green_deadline scope;
	int x = 5;
	green_deadline_begin(&scope, GREEN_MS(10));
	CHECK_EQ(green_chan_recv(arg, &x), -ETIMEDOUT);
	CHECK_EQ(x, 5);
	CHECK_EQ(green_chan_send(arg, &x), -ETIMEDOUT);
	CHECK(green_deadline_end(&scope));
	return NULL;
}

static void *deadline(void *arg)
{
	green_chan_t *c = green_chan_new(sizeof(int), 0);
	for (int os = !green_self(); os < 2; os++) {
		struct thread t = thread_start(os, recv_in_time, c);
		thread_join(&t);
		CHECK(!c->receivers.first && !c->senders.first);
	}
	green_chan_free(c);
	return arg;
}
BOTH(deadline)

/* The receiver frees the channel as soon as it has its element. */
static void *freed_at_once(void *arg)
{
	bool plain = !green_self();
	for (int i = 0; i < (plain ? 200 : 2000); i++) {
		struct user u = { green_chan_new(sizeof(int), (size_t)(i % 2)), i, 1 };
		struct thread t = thread_start(plain || i % 64 == 0, send_one, &u);
		int x = -1;
		if (i % 3 == 0)
			green_yield();
		CHECK_EQ(green_chan_recv(u.c, &x), 0);
		CHECK_EQ(x, i);
		green_chan_free(u.c);
		thread_join(&t);
		CHECK_EQ(u.result, 0);
	}
	return arg;
}
BOTH(freed_at_once)
