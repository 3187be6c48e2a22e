/* SPDX-License-Identifier: MIT
 *
 * green_serve(): connections are handled on all workers, limits hold, and every
 * way to end it ends everything.
 */
#define _GNU_SOURCE
#include "harness.h"

#include "worker.h"

#include <dirent.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>

static _Atomic int handled, present, present_most, cancelled;
static _Atomic unsigned workers_seen;

struct server {
	int fd;
	char address[64];
	green_serve_fn handler;
	struct green_serve_options options;
	struct green_serve *handle;
	green_t thread;
	_Atomic int result;
};

static void *serve(void *arg)
{
	struct server *s = arg;

	atomic_store(&s->result, green_serve(s->fd, s->handler, s, &s->options));
	return NULL;
}

static void start_on(struct server *s, int fd, green_serve_fn handler)
{
	s->fd = fd;
	CHECK_GE(s->fd, 0);
	snprintf(s->address, sizeof(s->address), "127.0.0.1:%d", green_port(s->fd));
	s->handler = handler;
	s->handle = NULL;
	s->options.handle = &s->handle;
	atomic_store(&s->result, 1);
	s->thread = start_green(serve, s);
	WAIT_FOR(__atomic_load_n(&s->handle, __ATOMIC_ACQUIRE));
}

static void start(struct server *s, green_serve_fn handler)
{
	start_on(s, green_listen("127.0.0.1:0", 0), handler);
}

static void stop(struct server *s)
{
	CHECK_EQ(green_serve_stop(s->handle, GREEN_S(10)), 0);
	join_green(s->thread);
	CHECK_EQ(atomic_load(&s->result), 0);
	CHECK_EQ(green_close(s->fd), 0);
}

static void enter(void)
{
	int now = atomic_fetch_add(&present, 1) + 1, most = atomic_load(&present_most);

	while (now > most && !atomic_compare_exchange_weak(&present_most, &most, now))
		;
	atomic_fetch_or(&workers_seen, 1u << (green_worker() & 31));
	atomic_fetch_add(&handled, 1);
}

static void leave(void)
{
	atomic_fetch_sub(&present, 1);
}

/* Echoes until the peer is done. */
static void echo(int fd, void *arg)
{
	char buf[256];
	ssize_t n;

	(void)arg;
	enter();
	while ((n = green_recv(fd, buf, sizeof(buf), 0)) > 0)
		if (green_send(fd, buf, (size_t)n, 0) != n)
			break;
	if (n == -ECANCELED)
		atomic_fetch_add(&cancelled, 1);
	leave();
}

static int ask(const struct server *s)
{
	return green_connect_host(s->address);
}

static bool answers(int fd)
{
	char buf[4];

	return green_send(fd, "ping", 4, 0) == 4 && green_recv(fd, buf, 4, MSG_WAITALL) == 4 &&
	       memcmp(buf, "ping", 4) == 0;
}

static void *client(void *arg)
{
	int fd = ask(arg);

	if (CHECK_GE(fd, 0)) {
		for (int i = 0; i < 5; i++)
			CHECK(answers(fd));
		CHECK_EQ(green_close(fd), 0);
	}
	return NULL;
}

static void many_clients(struct server *s, int n)
{
	green_t t[200];

	for (int i = 0; i < n; i++)
		t[i] = start_green(client, s);
	for (int i = 0; i < n; i++)
		join_green(t[i]);
}

/* ---- serving ----------------------------------------------------------------------- */

static void serve_two_hundred(int fd)
{
	struct server s = { 0 };

	start_on(&s, fd, echo);
	many_clients(&s, 200);
	stop(&s);
	CHECK_EQ(atomic_load(&handled), 200);
	CHECK_EQ(atomic_load(&present), 0);
}

GREEN_TEST(two_hundred_connections)
{
	serve_two_hundred(green_listen("127.0.0.1:0", 0));
}

static void connect_all(struct server *s, int *fds, int n)
{
	for (int i = 0; i < n; i++)
		fds[i] = ask(s);
	for (int i = 0; i < n; i++)
		CHECK(answers(fds[i]));
}

static void close_all(int *fds, int n)
{
	for (int i = 0; i < n; i++)
		CHECK_EQ(green_close(fds[i]), 0);
}

GREEN_TEST(connections_spread_over_the_workers)
{
	struct server s = { 0 };
	int fds[64], seen = 0, wanted = rt.workers_count > 1 ? 2 : 1;

	start(&s, echo);
	/* Where CPUs are short, one worker may take everything for a while. */
	while (seen < wanted) {
		unsigned total = 0;
		connect_all(&s, fds, 64);
		for (unsigned i = 0; i < rt.workers_count; i++)
			total += atomic_load(&worker_at(i)->load);
		CHECK_GE(total, 64); /* those of the last round may still be ending */
		seen = __builtin_popcount(atomic_load(&workers_seen));
		close_all(fds, 64);
	}
	stop(&s);
	for (unsigned i = 0; i < rt.workers_count; i++)
		CHECK_EQ(atomic_load(&worker_at(i)->load), 0);
}

/* A listener that the program made: blocking, and it stays so. */
GREEN_TEST(a_blocking_listener)
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	REQUIRE_EQ(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	REQUIRE_EQ(listen(fd, 100), 0);
	serve_two_hundred(fd);
}

static void look_at_socket(int fd, void *arg)
{
	int on = 0;
	socklen_t size = sizeof(on);

	(void)arg;
	CHECK_EQ(getsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, &size), 0);
	atomic_store(&handled, on ? 2 : 1);
	CHECK_EQ(fcntl(fd, F_GETFD), FD_CLOEXEC);
	CHECK_EQ(fcntl(fd, F_GETFL) & O_NONBLOCK, 0);
}

GREEN_TEST(nodelay_unless_not_wanted)
{
	for (int i = 0; i < 2; i++) {
		struct server s = { .options = { .no_nodelay = i } };
		char byte;
		start(&s, look_at_socket);
		int fd = ask(&s);
		CHECK_EQ(green_recv(fd, &byte, 1, 0), 0); /* closed after the handler */
		green_close(fd);
		stop(&s);
		CHECK_EQ(atomic_load(&handled), i ? 1 : 2);
	}
}

static void *close_later(void *arg)
{
	green_sleep(GREEN_MS(10));
	CHECK_EQ(green_send((int)(intptr_t)arg, "late", 4, 0), 4);
	CHECK_EQ(green_close((int)(intptr_t)arg), 0);
	return NULL;
}

static void hand_over(int fd, void *arg)
{
	(void)arg;
	green_go(close_later, (void *)(intptr_t)fd);
}

GREEN_TEST(keep_open)
{
	struct server s = { .options = { .keep_open = true } };
	char buf[8];

	start(&s, hand_over);
	int fd = ask(&s);
	CHECK_EQ(green_recv(fd, buf, 8, MSG_WAITALL), 4);
	green_close(fd);
	stop(&s);
}

static void handle_slowly(int fd, void *arg)
{
	(void)fd;
	(void)arg;
	enter();
	green_sleep(GREEN_MS(3));
	leave();
}

static void *connect_and_wait(void *arg)
{
	char byte;
	int fd = ask(arg);

	CHECK_EQ(green_recv(fd, &byte, 1, 0), 0);
	green_close(fd);
	return NULL;
}

static void with_concurrency(unsigned limit)
{
	struct server s = { .options = { .concurrency = limit } };
	green_t t[30];

	atomic_store(&handled, 0);
	atomic_store(&present_most, 0);
	start(&s, handle_slowly);
	for (int i = 0; i < 30; i++)
		t[i] = start_green(connect_and_wait, &s);
	for (int i = 0; i < 30; i++)
		join_green(t[i]);
	CHECK_EQ(atomic_load(&handled), 30);
	CHECK_LE(atomic_load(&present_most), (int)limit);
	CHECK_GT(atomic_load(&present_most), 0);
	stop(&s);
}

GREEN_TEST(concurrency_is_limited)
{
	with_concurrency(1);
	with_concurrency(3);
	with_concurrency(10);
}

/* ---- ending ----------------------------------------------------------------------------- */

GREEN_TEST(stop_waits_for_handlers)
{
	struct server s = { 0 };

	start(&s, echo);
	int fd = ask(&s);
	CHECK(answers(fd));
	CHECK_EQ(green_serve_connections(s.handle), 1);
	green_t t = start_green(close_later, (void *)(intptr_t)fd);
	int64_t begin = green_now();
	CHECK_EQ(green_serve_stop(s.handle, GREEN_S(10)), 0);
	CHECK_GE(green_now() - begin, GREEN_MS(5));
	join_green(t);
	join_green(s.thread);
	CHECK_EQ(atomic_load(&s.result), 0);
	CHECK_EQ(atomic_load(&cancelled), 0);
	green_close(s.fd);
}

GREEN_TEST(stop_cancels_after_the_time)
{
	struct server s = { 0 };
	int fds[70];

	start(&s, echo);
	for (int i = 0; i < 70; i++)
		fds[i] = ask(&s);
	for (int i = 0; i < 70; i++)
		CHECK(answers(fds[i]));
	CHECK_EQ(green_serve_connections(s.handle), 70);
	int64_t begin = green_now();
	CHECK_EQ(green_serve_stop(s.handle, GREEN_MS(20)), -ETIMEDOUT);
	CHECK_GE(green_now() - begin, GREEN_MS(20));
	CHECK_EQ(atomic_load(&present), 0);
	CHECK_EQ(atomic_load(&cancelled), 70);
	join_green(s.thread);
	CHECK_EQ(atomic_load(&s.result), 0);
	for (int i = 0; i < 70; i++) {
		char byte;
		CHECK_EQ(green_recv(fds[i], &byte, 1, 0), 0);
		green_close(fds[i]);
	}
	green_close(s.fd);
}

GREEN_TEST(a_cancelled_server_cancels_its_handlers)
{
	struct server s = { 0 };

	start(&s, echo);
	int fd = ask(&s);
	CHECK(answers(fd));
	green_cancel(s.thread);
	join_green(s.thread);
	CHECK_EQ(atomic_load(&s.result), -ECANCELED);
	CHECK_EQ(atomic_load(&cancelled), 1);
	CHECK_EQ(atomic_load(&present), 0);
	green_close(fd);
	/* The listener is still the caller's. */
	CHECK_GE(fcntl(s.fd, F_GETFD), 0);
	green_close(s.fd);
}

GREEN_TEST(the_listener_is_closed_under_it)
{
	struct server s = { 0 };

	start(&s, echo);
	int fd = ask(&s);
	CHECK(answers(fd));
	CHECK_EQ(green_close(s.fd), 0);
	CHECK(answers(fd));
	green_close(fd);
	join_green(s.thread);
	CHECK_EQ(atomic_load(&s.result), -EBADF);
}

static _Atomic int stop_result;

static void stop_from_handler(int fd, void *arg)
{
	struct server *s = arg;

	(void)fd;
	atomic_store(&stop_result, green_serve_stop(s->handle, GREEN_S(10)));
}

/* It cannot wait for itself, but nothing further is accepted. */
GREEN_TEST(a_handler_stops_its_server)
{
	struct server s = { 0 };
	char byte;

	start(&s, stop_from_handler);
	int fd = ask(&s);
	CHECK_EQ(green_recv(fd, &byte, 1, 0), 0);
	green_close(fd);
	join_green(s.thread);
	CHECK_EQ(atomic_load(&s.result), 0);
	CHECK_EQ(atomic_load(&stop_result), -EDEADLK);
	green_close(s.fd);
}

static void *stop_in_os_thread(void *arg)
{
	struct server *s = arg;

	CHECK_EQ(green_serve_stop(s->handle, GREEN_S(5)), 0);
	return NULL;
}

GREEN_TEST(stop_from_an_os_thread)
{
	struct server s = { 0 };

	start(&s, echo);
	many_clients(&s, 10);
	pthread_t t = start_os(stop_in_os_thread, &s);
	join_green(s.thread);
	CHECK_EQ(atomic_load(&s.result), 0);
	join_os(t);
	green_close(s.fd);
}

static void *keep_asking(void *arg)
{
	struct server *s = arg;
	char byte;

	for (;;) {
		int fd = ask(s);
		if (fd < 0)
			return NULL;
		/* Connections left in the queue are reset when the listener goes. */
		green_send(fd, "x", 1, 0);
		ssize_t n = green_recv(fd, &byte, 1, 0);
		green_close(fd);
		if (n <= 0)
			return NULL;
	}
}

/* At any moment of the traffic, without a leak. */
static int open_count(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int n = 0;

	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

GREEN_TEST(stop_at_any_moment)
{
	struct rng rng = rng_seed(11);
	int before = open_count();

	for (unsigned i = 0; i < scaled(60); i++) {
		struct server s = { .options = { .concurrency = rng_below(&rng, 2) ? 3 : 0 } };
		int clients = i % 4 ? 8 : 0; /* with none there is nobody to cancel */
		green_t t[8];
		start(&s, echo);
		for (int k = 0; k < clients; k++)
			t[k] = start_green(keep_asking, &s);
		green_sleep((int64_t)rng_below(&rng, 3000000));
		int r = green_serve_stop(s.handle, clients ? (int64_t)rng_below(&rng, 2000000) : 0);
		CHECK(r == 0 || (clients && r == -ETIMEDOUT));
		join_green(s.thread);
		CHECK_EQ(atomic_load(&s.result), 0);
		CHECK_EQ(atomic_load(&present), 0);
		green_close(s.fd);
		for (int k = 0; k < clients; k++)
			join_green(t[k]);
	}
	CHECK_EQ(open_count(), before);
}

/* ---- what is refused --------------------------------------------------------------------- */

GREEN_TEST(what_cannot_be_served)
{
	int fds[2], fd;

	REQUIRE_EQ(pipe(fds), 0);
	CHECK_EQ(green_serve(fds[0], echo, NULL, NULL), -ENOTSOCK);
	CHECK_EQ(green_serve(-1, echo, NULL, NULL), -EBADF);
	fd = green_socket(AF_INET, SOCK_STREAM, 0);
	CHECK_EQ(green_serve(fd, echo, NULL, NULL), -EINVAL);
	green_close(fd);
	fd = green_listen("127.0.0.1:0", 0);
	CHECK_EQ(green_serve(fd, NULL, NULL, NULL), -EINVAL);
	struct green_serve_options options = { .stack_size = (size_t)1 << 30 };
	CHECK_EQ(green_serve(fd, echo, NULL, &options), -EINVAL);
	green_close(fd);
	close(fds[0]);
	close(fds[1]);
}

TEST(only_green_threads_serve)
{
	CHECK_EQ(green_serve(0, echo, NULL, NULL), -EPERM);
}

/* ---- shortage ------------------------------------------------------------------------------ */

/* Descriptors run out; those that come free are used. */
static void *short_of_descriptors(void *unused)
{
	struct server s = { 0 };
	int fds[20], spare[64], n = 0;

	(void)unused;
	start(&s, echo);
	for (int i = 0; i < 8; i++) {
		fds[i] = ask(&s);
		CHECK_GE(fds[i], 0);
		CHECK(answers(fds[i]));
	}
	/* Room for one client, and none for its other end.  Twice: accept(2) in
	 * vain, as a moment ago perhaps, takes a descriptor and gives it back. */
	for (int i = 0; i < 2; i++) {
		while (n < 64 && (spare[n] = dup(0)) >= 0)
			n++;
		green_sleep(GREEN_MS(20));
	}
	CHECK_GT(n, 2);
	close(spare[--n]);
	fds[8] = ask(&s);
	CHECK_GE(fds[8], 0);
	green_send(fds[8], "ping", 4, 0);
	green_sleep(GREEN_MS(50));
	CHECK_EQ(atomic_load(&handled), 8);
	green_close(fds[0]); /* frees two */
	char buf[4];
	CHECK_EQ(green_recv(fds[8], buf, 4, MSG_WAITALL), 4);
	CHECK(answers(fds[8]));
	for (int i = 1; i < 9; i++)
		green_close(fds[i]);
	while (n > 0)
		close(spare[--n]);
	many_clients(&s, 3);
	stop(&s);
	return NULL;
}

TEST(descriptors_run_out)
{
	struct rlimit limit = { 64, 64 };
	struct green_options options = { .workers = 2 };

	REQUIRE_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
	CHECK_EQ(run_green_with(&options, short_of_descriptors, NULL, NULL), 0);
}

/* Of those who have asked, one that has its answer; -1: none. */
static int answered(const int fds[10])
{
	struct pollfd p[10];
	char buf[4];

	for (int i = 0; i < 10; i++)
		p[i] = (struct pollfd){ .fd = fds[i], .events = POLLIN };
	if (green_poll(p, 10, -1) <= 0)
		return -1;
	for (int i = 0; i < 10; i++)
		if (p[i].revents)
			return green_recv(fds[i], buf, 4, MSG_WAITALL) == 4 ? i : -1;
	return -1;
}

/* threads_max: connections wait for a thread.  Which of two that came together
 * gets the last one is the acceptors' affair. */
static void *short_of_threads(void *unused)
{
	struct server s = { 0 };
	int fds[10];

	(void)unused;
	start(&s, echo);
	for (int i = 0; i < 10; i++) {
		fds[i] = ask(&s);
		CHECK_GE(fds[i], 0);
		CHECK_EQ(green_send(fds[i], "ping", 4, 0), 4);
	}
	/* main, serve, two acceptors: six places for handlers. */
	WAIT_FOR(atomic_load(&handled) == 6);
	green_sleep(GREEN_MS(20));
	CHECK_EQ(atomic_load(&handled), 6);
	for (int next, n = 0; n < 10 && CHECK_GE(next = answered(fds), 0); n++) {
		green_close(fds[next]);
		fds[next] = -1;
	}
	CHECK_LE(atomic_load(&present_most), 6);
	stop(&s);
	return NULL;
}

TEST(threads_run_out)
{
	struct green_options options = { .workers = 2, .threads_max = 10 };

	CHECK_EQ(run_green_with(&options, short_of_threads, NULL, NULL), 0);
	CHECK_EQ(atomic_load(&handled), 10);
}
