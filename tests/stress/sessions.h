/* SPDX-License-Identifier: MIT
 *
 * The sessions that stress_mix is made of.  Each is run by one green thread,
 * starts others, checks what they did, and ends by itself: every wait in it that
 * has no deadline is one that somebody must end, so that a lost wake-up is a
 * hang.
 */
#ifndef STRESS_SESSIONS_H
#define STRESS_SESSIONS_H

#include "harness.h"

#include <sys/socket.h>

#define CREW 8 /* helpers of one session, at most */

struct session {
	struct rng rng;
	green_mutex_t mutex;
	green_cond_t cond;
	green_sem_t sem, back;
	green_wg_t wg;
	green_chan_t *chans[3];
	struct green_serial *serial;
	int fds[2];
	unsigned crew, items, next;
	uint64_t plain; /* guarded by mutex, or by the serial group */
	_Atomic uint64_t in, out, ended;
	green_t threads[CREW];
};

static inline unsigned below(struct session *s, unsigned limit)
{
	return (unsigned)rng_below(&s->rng, limit);
}

/* A random number for helpers, who may run at the same time. */
static inline uint64_t dice(const void *salt)
{
	struct rng rng = rng_seed((uint64_t)green_now() ^ (uint64_t)(uintptr_t)salt);

	return rng_next(&rng) >> 8;
}

static inline void stagger(const void *salt)
{
	uint64_t n = dice(salt) % 16;

	if (n < 6)
		green_yield();
	else if (n < 8)
		green_sleep((int64_t)(dice(salt) % 50000));
}

/* A helper with random attributes. */
static inline green_t helper(struct session *s, green_fn fn, void *arg)
{
	static const size_t sizes[] = { 0, 0, 0, 100000, 1 << 20 };
	struct green_attr attr = { .migratable = below(s, 2),
		                   .stack_size = sizes[below(s, 5)],
		                   .name = below(s, 4) ? NULL : "helper" };

	return start_with(&attr, fn, arg);
}

static inline void start_crew(struct session *s, green_fn fn)
{
	for (unsigned i = 0; i < s->crew; i++)
		s->threads[i] = helper(s, fn, s);
}

static inline void join_crew(struct session *s)
{
	for (unsigned i = 0; i < s->crew; i++)
		join_green(s->threads[i]);
}

static inline void *as_os_thread(green_fn fn, void *arg)
{
	pthread_t thread = start_os(fn, arg);

	while (pthread_tryjoin_np(thread, NULL) == EBUSY)
		green_sleep(GREEN_US(300));
	return NULL;
}

/* ---- mutex, condition variable, semaphore ------------------------------------------ */

static void *count_locked(void *arg)
{
	struct session *s = arg;

	for (unsigned i = 0; i < s->items; i++) {
		CHECK_EQ(green_mutex_lock(&s->mutex), 0);
		uint64_t seen = s->plain;
		if (i % 8 == 0)
			stagger(&seen);
		s->plain = seen + 1;
		CHECK_EQ(green_mutex_unlock(&s->mutex), 0);
	}
	return NULL;
}

static inline void session_mutex(struct session *s)
{
	bool os = below(s, 8) == 0;

	start_crew(s, count_locked);
	if (os)
		as_os_thread(count_locked, s);
	join_crew(s);
	CHECK_EQ(s->plain, (s->crew + os) * s->items);
}

static void *take_turns(void *arg)
{
	struct session *s = arg;

	CHECK_EQ(green_mutex_lock(&s->mutex), 0);
	unsigned me = s->next++;
	for (unsigned i = 0; i < s->items; i++) {
		while (s->plain % s->crew != me)
			CHECK_EQ(green_cond_wait(&s->cond, &s->mutex), 0);
		s->plain++;
		CHECK_EQ(green_cond_broadcast(&s->cond), 0);
	}
	CHECK_EQ(green_mutex_unlock(&s->mutex), 0);
	return NULL;
}

static inline void session_cond(struct session *s)
{
	s->items = s->items / 4 + 1;
	start_crew(s, take_turns);
	join_crew(s);
	CHECK_EQ(s->plain, s->crew * s->items);
}

static void *answer(void *arg)
{
	struct session *s = arg;

	for (unsigned i = 0; i < s->items; i++) {
		CHECK_EQ(green_sem_wait(&s->sem), 0);
		CHECK_EQ(green_sem_post(&s->back), 0);
	}
	return NULL;
}

static inline void session_ping_pong(struct session *s)
{
	bool os = below(s, 8) == 0;
	pthread_t thread = 0; /* gcc 13 does not see that it is set where it is read */

	s->crew = 1;
	if (os)
		thread = start_os(answer, s);
	else
		start_crew(s, answer);
	for (unsigned i = 0; i < s->items; i++) {
		CHECK_EQ(green_sem_post(&s->sem), 0);
		CHECK_EQ(green_sem_wait(&s->back), 0);
	}
	if (os)
		join_os(thread);
	else
		join_crew(s);
}

/* Waits with deadlines against posts: nothing handed over is lost. */
static void *wait_briefly(void *arg)
{
	struct session *s = arg;

	for (unsigned i = 0; i < s->items; i++) {
		struct green_deadline scope;
		green_deadline_begin(&scope, (int64_t)(dice(&scope) % 30000));
		int r = green_sem_wait(&s->sem);
		green_deadline_end(&scope);
		if (r == 0)
			atomic_fetch_add(&s->out, 1);
		else
			CHECK_EQ(r, -ETIMEDOUT);
		CHECK_EQ(green_yield(), 0);
	}
	return NULL;
}

static inline void session_deadlines(struct session *s)
{
	unsigned posts = 0;

	start_crew(s, wait_briefly);
	for (; posts < s->items; posts++) {
		CHECK_EQ(green_sem_post(&s->sem), 0);
		stagger(s);
	}
	join_crew(s);
	while (green_sem_trywait(&s->sem) == 0)
		atomic_fetch_add(&s->out, 1);
	CHECK_EQ(atomic_load(&s->out), posts);
}

static void *be_done(void *arg)
{
	struct session *s = arg;

	stagger(&arg);
	atomic_fetch_add(&s->out, 1);
	CHECK_EQ(green_wg_done(&s->wg), 0);
	return NULL;
}

static inline void session_wait_group(struct session *s)
{
	CHECK_EQ(green_wg_add(&s->wg, (int)s->crew), 0);
	start_crew(s, be_done);
	CHECK_EQ(green_wg_wait(&s->wg), 0);
	CHECK_EQ(atomic_load(&s->out), s->crew);
	join_crew(s);
}

/* ---- channels --------------------------------------------------------------------------- */

static void *produce(void *arg)
{
	struct session *s = arg;

	for (unsigned i = 1; i <= s->items; i++) {
		uint64_t value = dice(&i) % 1000;
		green_chan_t *chan = s->chans[value % 3] ? s->chans[value % 3] : s->chans[0];
		CHECK_EQ(green_chan_send(chan, &value), 0);
		atomic_fetch_add(&s->in, value);
	}
	return NULL;
}

static void *consume(void *arg)
{
	struct session *s = arg;
	uint64_t value;
	int r;

	while ((r = green_chan_recv(s->chans[0], &value)) == 0)
		atomic_fetch_add(&s->out, value);
	CHECK_EQ(r, -EPIPE);
	return NULL;
}

static inline void session_channel(struct session *s)
{
	unsigned producers = 1 + below(s, CREW / 2), consumers = 1 + below(s, CREW / 2);
	bool os = below(s, 8) == 0;

	s->chans[0] = green_chan_new(sizeof(uint64_t), below(s, 4));
	for (unsigned i = 0; i < producers + consumers; i++)
		s->threads[i] = helper(s, i < producers ? produce : consume, s);
	if (os)
		as_os_thread(produce, s);
	for (unsigned i = 0; i < producers; i++)
		join_green(s->threads[i]);
	CHECK_EQ(green_chan_close(s->chans[0]), 0);
	for (unsigned i = producers; i < producers + consumers; i++)
		join_green(s->threads[i]);
	CHECK_EQ(atomic_load(&s->in), atomic_load(&s->out));
}

static void *consume_any(void *arg)
{
	struct session *s = arg;
	unsigned open = 3;
	uint64_t values[3];
	struct green_select cases[3];

	for (int i = 0; i < 3; i++)
		cases[i] = (struct green_select){ .chan = s->chans[i], .value = &values[i] };
	while (open > 0) {
		int i = green_select(cases, 3, false);
		if (!CHECK(i >= 0 && i < 3))
			break;
		if (cases[i].result == 0) {
			atomic_fetch_add(&s->out, values[i]);
		} else {
			cases[i].chan = NULL;
			open--;
		}
	}
	return NULL;
}

static inline void session_select(struct session *s)
{
	green_t consumers[2];

	for (int i = 0; i < 3; i++)
		s->chans[i] = green_chan_new(sizeof(uint64_t), below(s, 3));
	for (int i = 0; i < 2; i++)
		consumers[i] = helper(s, consume_any, s);
	start_crew(s, produce);
	join_crew(s);
	for (int i = 0; i < 3; i++)
		CHECK_EQ(green_chan_close(s->chans[i]), 0);
	for (int i = 0; i < 2; i++)
		join_green(consumers[i]);
	CHECK_EQ(atomic_load(&s->in), atomic_load(&s->out));
}

/* ---- spawn and join ------------------------------------------------------------------------ */

static void *grow_tree(void *arg)
{
	uintptr_t depth = (uintptr_t)arg, sum = 1;
	green_t children[3];

	if (depth == 0)
		return (void *)sum;
	for (int i = 0; i < 3; i++) {
		struct green_attr attr = { .migratable = dice(&i) % 2 };
		children[i] = start_with(&attr, grow_tree, (void *)(depth - 1));
	}
	if (dice(&sum) % 2)
		green_yield();
	for (int i = 0; i < 3; i++)
		sum += (uintptr_t)join_green(children[i]);
	return (void *)sum;
}

static inline void session_tree(struct session *s)
{
	static const uintptr_t sizes[] = { 1, 4, 13, 40, 121 };
	unsigned depth = below(s, 5);

	CHECK_EQ((uintptr_t)join_green(helper(s, grow_tree, (void *)(uintptr_t)depth)),
	         sizes[depth]);
}

static void *sleep_at_least(void *arg)
{
	int64_t duration = (int64_t)(dice(&arg) % 500000), begin = green_now();

	CHECK_EQ(green_sleep(duration), 0);
	CHECK_GE(green_now() - begin, duration);
	return NULL;
}

static inline void session_sleep(struct session *s)
{
	start_crew(s, sleep_at_least);
	join_crew(s);
}

static void *count_serially(void *arg)
{
	struct session *s = arg;

	for (unsigned i = 0; i < s->items; i++) {
		uint64_t seen = s->plain;
		cpu_pause();
		s->plain = seen + 1;
		stagger(s);
	}
	return NULL;
}

static inline void session_serial(struct session *s)
{
	struct green_attr attr = { 0 };

	s->items = s->items / 4 + 1;
	REQUIRE((attr.serial = green_serial_new()) != NULL);
	for (unsigned i = 0; i < s->crew; i++)
		s->threads[i] = start_with(&attr, count_serially, s);
	green_serial_free(attr.serial);
	join_crew(s);
	CHECK_EQ(s->plain, s->crew * s->items);
}

static void *square(void *arg)
{
	uintptr_t n = (uintptr_t)arg;

	return (void *)(n * n);
}

static inline void session_offload(struct session *s)
{
	for (uintptr_t i = 0; i < 1 + below(s, 4); i++) {
		void *result = NULL;
		CHECK_EQ(green_offload(square, (void *)i, &result), 0);
		CHECK_EQ((uintptr_t)result, i * i);
	}
}

/* ---- cancellation ---------------------------------------------------------------------------- */

/* Waits for what never happens, each time in another way, until cancelled. */
static void *wait_until_cancelled(void *arg)
{
	struct session *s = arg;
	uint64_t value;
	char byte;
	int r = 0;

	while (r == 0) {
		switch (dice(&r) % 7) {
		case 0:
			r = green_sleep(GREEN_FOREVER);
			break;
		case 1:
			r = green_sem_wait(&s->sem);
			break;
		case 2:
			r = green_chan_recv(s->chans[0], &value);
			break;
		case 3:
			r = (int)green_read(s->fds[0], &byte, 1);
			break;
		case 4:
			r = green_wg_wait(&s->wg);
			break;
		case 5:
			r = green_yield();
			break;
		case 6:
			r = green_sleep((int64_t)(dice(&value) % 20000));
			break;
		}
	}
	CHECK_EQ(r, -ECANCELED);
	CHECK_EQ(green_yield(), -ECANCELED);
	atomic_fetch_add(&s->ended, 1);
	return NULL;
}

static inline void session_cancel(struct session *s)
{
	s->chans[0] = green_chan_new(sizeof(uint64_t), 0);
	green_wg_add(&s->wg, 1);
	REQUIRE_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, s->fds), 0);
	start_crew(s, wait_until_cancelled);
	for (unsigned i = 0; i < s->crew; i++) {
		stagger(s);
		CHECK_EQ(green_cancel(s->threads[i]), 0);
	}
	join_crew(s);
	CHECK_EQ(atomic_load(&s->ended), s->crew);
	for (int i = 0; i < 2; i++)
		CHECK_EQ(green_close(s->fds[i]), 0);
}

/* Joins somebody, gives up, comes back. */
static void *join_impatiently(void *arg)
{
	struct session *s = arg;
	green_t t = start_green(sleep_at_least, NULL);
	int r;

	do {
		struct green_deadline scope;
		green_deadline_begin(&scope, (int64_t)(dice(&scope) % 100000));
		r = green_join(t, NULL);
		green_deadline_end(&scope);
	} while (r == -ETIMEDOUT && dice(&r) % 4);
	if (r == -ETIMEDOUT)
		r = green_join(t, NULL);
	CHECK_EQ(r, 0);
	atomic_fetch_add(&s->ended, 1);
	return NULL;
}

static inline void session_join(struct session *s)
{
	start_crew(s, join_impatiently);
	join_crew(s);
	CHECK_EQ(atomic_load(&s->ended), s->crew);
}

/* ---- input and output
 * ---------------------------------------------------------------------------- */

static void *send_all(void *arg)
{
	struct session *s = arg;
	unsigned char *buffer = malloc(20000);
	size_t left = (size_t)s->items * 1000;
	uint64_t sum = 0;

	while (left > 0) {
		size_t n = 1 + dice(&left) % 20000;
		n = n < left ? n : left;
		for (size_t i = 0; i < n; i++)
			sum += buffer[i] = (unsigned char)(left + i);
		CHECK_EQ(green_send(s->fds[0], buffer, n, 0), n);
		left -= n;
		stagger(&sum);
	}
	atomic_store(&s->in, sum);
	CHECK_EQ(shutdown(s->fds[0], SHUT_WR), 0);
	free(buffer);
	return NULL;
}

static void *receive_all(void *arg)
{
	struct session *s = arg;
	unsigned char *buffer = malloc(20000);
	uint64_t sum = 0;
	ssize_t n;

	while ((n = green_recv(s->fds[1], buffer, 1 + dice(&n) % 20000, 0)) > 0)
		for (ssize_t i = 0; i < n; i++)
			sum += buffer[i];
	CHECK_EQ(n, 0);
	atomic_store(&s->out, sum);
	free(buffer);
	return NULL;
}

static inline void session_socket(struct session *s)
{
	REQUIRE_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, s->fds), 0);
	green_t sender = helper(s, send_all, s), receiver = helper(s, receive_all, s);
	join_green(sender);
	join_green(receiver);
	CHECK_EQ(atomic_load(&s->in), atomic_load(&s->out));
	for (int i = 0; i < 2; i++)
		CHECK_EQ(green_close(s->fds[i]), 0);
}

static void *read_until_closed(void *arg)
{
	struct session *s = arg;
	char byte;
	ssize_t n = green_read(s->fds[0], &byte, 1);

	CHECK(n == -ECANCELED || n == -EBADF);
	atomic_fetch_add(&s->ended, 1);
	return NULL;
}

/* Another one's descriptor must not get the closed one's number meanwhile. */
static inline void session_close(struct session *s)
{
	REQUIRE_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, s->fds), 0);
	start_crew(s, read_until_closed);
	for (unsigned i = 0; i < s->crew; i++)
		await_parked(s->threads[i]);
	CHECK_EQ(green_close(s->fds[0]), 0);
	join_crew(s);
	CHECK_EQ(atomic_load(&s->ended), s->crew);
	CHECK_EQ(green_close(s->fds[1]), 0);
}

#endif
