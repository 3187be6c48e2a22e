/* SPDX-License-Identifier: MIT
 *
 * The scenes of stress_mix: each uses one kind of thing, alone or with partners
 * that it starts and awaits, and returns 0, -ECANCELED or -ETIMEDOUT.  Part of
 * mix.c, which says what they have in common.
 */
#ifndef MIX_SCENES_H
#define MIX_SCENES_H

/* ---- starting and joining partners --------------------------------------------- */

static struct green_attr random_attr(uint64_t *random)
{
	static const size_t sizes[] = { 0, 0, 0, 1, 65536, 100000, 262144, 1 << 20 };
	struct green_attr attr = {
		.name = below(random, 3) ? NULL : "a name that is too long for a green thread",
		.stack_size = sizes[below(random, 8)],
		.migratable = below(random, 2),
	};
	return attr;
}

/* Spawns a joinable one that may be cancelled by anybody.  False when the run
 * that this OS thread has outlived is over. */
static bool start(struct actor *a, green_t *thread, struct green_attr attr, green_fn fn, void *arg)
{
	int error = green_spawn(thread, &attr, fn, arg);
	if (error == -ENXIO && a->os)
		return false;
	must("spawn", error);
	atomic_fetch_add(&world.spawned, 1);
	atomic_store(&world.targets[below(&a->random, TARGETS)], *thread);
	return true;
}

static void *role_ends(void *result)
{
	atomic_fetch_add(&world.ended, 1);
	return result;
}

/* Waits whatever happens: the partner uses what lies in the caller's frame. */
static void await(green_t thread, void *expected)
{
	struct green_shield shield;
	void *result = NULL;
	green_shield_begin(&shield);
	must("shielded join", green_join(thread, &result));
	green_shield_end(&shield);
	if (result != expected)
		fail("a join gave the wrong result");
	if (green_join(thread, NULL) != -ESRCH)
		fail("a second join found something");
}

/* ---- scenes with shared objects -------------------------------------------------- */

static int use_mutex(struct actor *a)
{
	int error = outcome("lock", green_mutex_lock(&world.mutex));
	if (error)
		return error;
	uint64_t before = world.locked;
	pause_sometimes(&a->random);
	if (world.locked != before)
		fail("two threads hold the mutex");
	world.locked++;
	atomic_fetch_add(&world.locks, 1);
	must("unlock", green_mutex_unlock(&world.mutex));
	return 0;
}

static int use_sem(struct actor *a)
{
	int error = outcome("semaphore", green_sem_wait(&world.sem));
	if (error)
		return error;
	if (atomic_fetch_add(&world.sem_inside, 1) >= world.sem_tokens)
		fail("more inside than the semaphore allows");
	pause_sometimes(&a->random);
	atomic_fetch_sub(&world.sem_inside, 1);
	must("post", green_sem_post(&world.sem));
	return 0;
}

static int use_cond(struct actor *a)
{
	struct green_shield shield;
	int error = outcome("lock", green_mutex_lock(&world.monitor));
	if (error)
		return error;
	while (!world.free && !error)
		error = outcome("cond", green_cond_wait(&world.freed, &world.monitor));
	if (!error)
		world.free--;
	must("unlock after a wait", green_mutex_unlock(&world.monitor));
	if (error)
		return error;
	pause_sometimes(&a->random);
	green_shield_begin(&shield);
	must("shielded lock", green_mutex_lock(&world.monitor));
	world.free++;
	if (below(&a->random, 4))
		green_cond_signal(&world.freed);
	else
		green_cond_broadcast(&world.freed);
	must("unlock", green_mutex_unlock(&world.monitor));
	green_shield_end(&shield);
	return 0;
}

/* ---- scene: a channel, or two that are selected from ------------------------------ */

#define ELEMENT 48

struct trade {
	green_chan_t *chan[2];
	unsigned count, producers;
	uint64_t random;
	_Atomic uint64_t sent, received;
	_Atomic unsigned producers_left;
};

static void trade_close(struct trade *t)
{
	for (int c = 0; c < 2; c++)
		green_chan_close(t->chan[c]);
}

static void *produce(void *arg)
{
	struct trade *t = arg;
	unsigned char element[ELEMENT];
	uint64_t random = t->random + (uintptr_t)green_self();
	for (unsigned i = 0; i < t->count; i++) {
		uint64_t value = next(&random) >> 8;
		memset(element, (int)(value & 0xff), sizeof(element));
		memcpy(element, &value, sizeof(value));
		int error = green_chan_send(t->chan[below(&random, 2)], element);
		if (error == -EPIPE)
			break;
		if (outcome("send", error))
			break;
		atomic_fetch_add(&t->sent, value);
		pause_sometimes(&random);
	}
	if (atomic_fetch_sub(&t->producers_left, 1) == 1)
		trade_close(t);
	return role_ends(t);
}

static void received(struct trade *t, const unsigned char *element)
{
	uint64_t value;
	memcpy(&value, element, sizeof(value));
	for (size_t i = sizeof(value); i < ELEMENT; i++)
		if (element[i] != (value & 0xff))
			fail("an element is torn");
	atomic_fetch_add(&t->received, value);
}

/* Until both channels are closed and empty, or an error. */
static int consume(struct actor *a, struct trade *t)
{
	unsigned char in[2][ELEMENT];
	struct green_select cases[2] = { { t->chan[0], false, in[0], 1 },
		                         { t->chan[1], false, in[1], 1 } };
	while (cases[0].chan || cases[1].chan) {
		int k = outcome("select", green_select(cases, 2, false));
		if (k < 0)
			return k;
		if (cases[k].result == -EPIPE) {
			cases[k].chan = NULL;
			continue;
		}
		must("receive", cases[k].result);
		received(t, in[k]);
		pause_sometimes(&a->random);
	}
	return 0;
}

static int use_chan(struct actor *a)
{
	green_t partners[PARTNERS_MAX];
	unsigned char element[ELEMENT];
	struct trade t = { .count = below(&a->random, 30), .random = next(&a->random) };
	unsigned n = below(&a->random, PARTNERS_MAX) + 1, started = 0;
	for (int c = 0; c < 2; c++)
		if (!(t.chan[c] = green_chan_new(ELEMENT, below(&a->random, 4))))
			fail("no channel");
	t.producers_left = n;
	while (started < n && start(a, &partners[started], random_attr(&a->random), produce, &t))
		started++;
	if (started < n && atomic_fetch_sub(&t.producers_left, n - started) == n - started)
		trade_close(&t);
	int error = consume(a, &t);
	trade_close(&t);
	while (started > 0)
		await(partners[--started], &t);
	for (int c = 0; c < 2; c++) {
		while (!green_chan_tryrecv(t.chan[c], element))
			received(&t, element);
		green_chan_free(t.chan[c]);
	}
	if (t.sent != t.received)
		fail("channel: what was sent and what was received differ");
	return error;
}

/* ---- scene: a pool and a wait group ------------------------------------------------ */

struct crew {
	_Atomic unsigned members;
	green_wg_t wg;
	uint64_t random;
};

static void *crew_member(void *arg)
{
	struct crew *crew = arg;
	uint64_t random = crew->random + (uintptr_t)green_self();
	pause_sometimes(&random);
	atomic_fetch_add(&crew->members, 1);
	must("done", green_wg_done(&crew->wg));
	return NULL;
}

static int use_pool(struct actor *a)
{
	struct crew crew = { .wg = GREEN_WG_INIT, .random = next(&a->random) };
	unsigned started = 0, n = below(&a->random, 12);
	int error = 0;
	if (a->os)
		return 0;
	green_pool_t *pool = green_pool_new(below(&a->random, 4) + 1);
	if (!pool)
		fail("no pool");
	for (; started < n && !error; started += !error) {
		green_wg_add(&crew.wg, 1);
		error = outcome("pool", green_pool_spawn(pool, crew_member, &crew));
		if (error)
			green_wg_done(&crew.wg);
	}
	if (!error)
		error = outcome("wait group", green_wg_wait(&crew.wg));
	if (!error && below(&a->random, 2))
		error = outcome("waitall", green_pool_waitall(pool));
	green_pool_delete(pool);
	if (crew.members != started || crew.wg.count)
		fail("pool: %u members of %u", crew.members, started);
	return error;
}

/* ---- scene: bytes through a pipe or a pair of sockets -------------------------------- */

struct stream {
	int fds[2]; /* the reader's, the writer's */
	bool socket;
	uint64_t key, random;
	size_t length, written;
};

static unsigned char stream_byte(uint64_t key, size_t at)
{
	return (unsigned char)((key ^ at * 0x9e3779b97f4a7c15) >> 24);
}

static void *write_stream(void *arg)
{
	struct stream *s = arg;
	unsigned char buf[3000];
	while (s->written < s->length) {
		size_t n = below(&s->random, sizeof(buf)) + 1;
		if (n > s->length - s->written)
			n = s->length - s->written;
		for (size_t i = 0; i < n; i++)
			buf[i] = stream_byte(s->key, s->written + i);
		ssize_t r = s->socket && below(&s->random, 2) ? green_send(s->fds[1], buf, n, 0)
		                                              : green_write(s->fds[1], buf, n);
		if (r == -EPIPE || r == -ECONNRESET || gave_up((int)r))
			break;
		if (r <= 0 || (size_t)r > n)
			fail("write: %zd of %zu", r, n);
		s->written += (size_t)r;
		pause_sometimes(&s->random);
	}
	must("close of the writer's end", green_close(s->fds[1]));
	return role_ends(s);
}

static int read_stream(struct actor *a, struct stream *s, size_t *count)
{
	unsigned char buf[4000];
	for (;;) {
		size_t n = below(&a->random, sizeof(buf)) + 1;
		ssize_t r = s->socket && below(&a->random, 2) ? green_recv(s->fds[0], buf, n, 0)
		                                              : green_read(s->fds[0], buf, n);
		if (r == 0 || gave_up((int)r))
			return (int)r;
		if (r < 0 || (size_t)r > n)
			fail("read: %zd of %zu", r, n);
		for (size_t i = 0; i < (size_t)r; i++)
			if (buf[i] != stream_byte(s->key, *count + i))
				fail("byte %zu of a stream is wrong", *count + i);
		*count += (size_t)r;
		pause_sometimes(&a->random);
	}
}

static void open_pair(struct actor *a, int fds[2], bool *socket)
{
	*socket = below(&a->random, 2);
	if (*socket ? socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds)
	            : pipe2(fds, O_CLOEXEC | (below(&a->random, 2) ? O_NONBLOCK : 0)))
		fail("a pair of descriptors: %s", strerror(errno));
}

static int use_stream(struct actor *a)
{
	struct stream s = { .key = next(&a->random), .random = next(&a->random) };
	green_t writer;
	size_t count = 0;
	s.length = below(&a->random, below(&a->random, 4) ? 3000 : 300000);
	if (a->os) /* its plain blocking calls could not wait on O_NONBLOCK */
		s.socket = !socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, s.fds);
	else
		open_pair(a, s.fds, &s.socket);
	if (!start(a, &writer, random_attr(&a->random), write_stream, &s)) {
		close(s.fds[0]);
		close(s.fds[1]);
		return 0;
	}
	int error = read_stream(a, &s, &count);
	must("close of the reader's end", green_close(s.fds[0]));
	await(writer, &s);
	if (!error && count != s.written)
		fail("stream: %zu bytes written, %zu read", s.written, count);
	return error;
}

/* ---- scene: a descriptor is closed while others wait on it ---------------------------- */

struct closing {
	int fd;
	unsigned how;
};

static void *wait_until_closed(void *arg)
{
	const struct closing *c = arg;
	struct pollfd p = { .fd = c->fd, .events = POLLIN };
	char byte;
	long r;
	switch (c->how) {
	case 0:
		r = green_read(c->fd, &byte, 1);
		break;
	case 1:
		r = green_wait_fd(c->fd, POLLIN, GREEN_FOREVER);
		break;
	default:
		r = green_poll(&p, 1, -1);
		if (r == 1 && p.revents & POLLNVAL)
			r = -EBADF;
		break;
	}
	if (r != -ECANCELED && r != -EBADF)
		fail("a wait (%u) on a closed descriptor: %ld", c->how, r);
	return role_ends(arg);
}

/* The descriptor has a number that is not used again in this run, or a waiter that
 * comes too late would wait on somebody else's. */
static int use_close(struct actor *a)
{
	struct closing c[PARTNERS_MAX];
	green_t waiters[PARTNERS_MAX];
	unsigned n = below(&a->random, PARTNERS_MAX) + 1, started = 0;
	int number = atomic_fetch_add(&world.fd_next, 1), fds[2];
	bool socket;
	if (number >= FD_LIMIT)
		return 0;
	open_pair(a, fds, &socket);
	int fd = fcntl(fds[0], F_DUPFD_CLOEXEC, number);
	if (fd < 0)
		fail("F_DUPFD: %s", strerror(errno));
	close(fds[0]);
	for (; started < n; started++) {
		c[started] = (struct closing){ fd, below(&a->random, 3) };
		if (!start(a, &waiters[started], random_attr(&a->random), wait_until_closed,
		           &c[started]))
			break;
	}
	pause_sometimes(&a->random);
	pause_sometimes(&a->random);
	must("close", green_close(fd));
	while (started > 0) {
		started--;
		await(waiters[started], &c[started]);
	}
	must("close of the peer", green_close(fds[1]));
	return 0;
}

/* ---- scenes: offload, a look at the runtime, cancelling -------------------------------- */

static void *block(void *arg)
{
	usleep((useconds_t)((uintptr_t)arg % 500));
	return (void *)((uintptr_t)arg * 3);
}

static int use_offload(struct actor *a)
{
	uintptr_t number = below(&a->random, 1 << 20);
	void *result = NULL;
	int error = outcome("offload", green_offload(block, (void *)number, &result));
	if (!error && result != (void *)(number * 3))
		fail("offload gave the wrong result");
	return error;
}

static int look(struct actor *a)
{
	struct green_info info;
	char name[32];
	if (!below(&a->random, 8))
		green_dump(world.null_fd);
	must("info", green_info(&info));
	green_t other = atomic_load(&world.targets[below(&a->random, TARGETS)]);
	int error = green_get_name(other, name, sizeof(name));
	if (error && error != -ESRCH)
		fail("green_get_name: %d", error);
	if (!a->os)
		must("set_name", green_set_name(GREEN_NONE, "renamed"));
	return 0;
}

static int cancel_somebody(struct actor *a)
{
	green_t other = atomic_load(&world.targets[below(&a->random, TARGETS)]);
	int error = green_cancel(other);
	if (error && error != -ESRCH)
		fail("green_cancel: %d", error);
	return 0;
}

#endif
