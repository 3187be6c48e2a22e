/* SPDX-License-Identifier: MIT
 *
 * green_poll() and green_wait_fd(): what they report, and everything that ends
 * them.
 */
#define _GNU_SOURCE
#include "sockets.h"
#include "worker.h"

#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>

/* ---- poll ------------------------------------------------------------------------------ */

GREEN_TEST(poll_as_poll_does)
{
	struct pair p = new_pair(SOCK_STREAM), q = new_pair(SOCK_STREAM);
	struct pollfd fds[4] = { { p.a, POLLIN, -1 },
		                 { -1, POLLIN, -1 },
		                 { q.a, POLLIN | POLLOUT, -1 },
		                 { p.a, POLLIN, -1 } };

	CHECK_EQ(green_poll(fds, 4, -1), 1);
	CHECK_EQ(fds[0].revents, 0);
	CHECK_EQ(fds[1].revents, 0);
	CHECK_EQ(fds[2].revents, POLLOUT);
	fds[2].events = POLLIN;
	int64_t start = green_now();
	CHECK_EQ(green_poll(fds, 4, 20), 0);
	CHECK_GE(green_now() - start, GREEN_MS(20));
	CHECK_EQ(green_poll(fds, 4, 0), 0);
	CHECK_EQ(green_poll(fds, 0, 10), 0);
	CHECK_EQ(green_poll(NULL, 0, 10), 0);
	CHECK_EQ(green_poll(&fds[1], 1, 10), 0);
	CHECK_EQ(green_send(p.b, "x", 1, 0), 1);
	CHECK_EQ(green_poll(fds, 4, -1), 2); /* one descriptor, named twice */
	CHECK_EQ(fds[0].revents, POLLIN);
	CHECK_EQ(fds[3].revents, POLLIN);
	fds[1].fd = 999;
	CHECK_EQ(green_poll(fds, 4, -1), 3);
	CHECK_EQ(fds[1].revents, POLLNVAL);
	CHECK_EQ(green_poll(fds, (nfds_t)1 << 30, -1), -EINVAL);
	close_pair(&p);
	close_pair(&q);
}

static void *poll_pair(void *arg)
{
	struct pair *p = arg;
	struct pollfd fds[3] = { { p->a, POLLIN, 0 }, { p->b, POLLIN, 0 }, { p->a, POLLPRI, 0 } };

	p->result = green_poll(fds, 3, -1);
	p->flags = fds[0].revents | fds[1].revents << 16;
	return NULL;
}

GREEN_TEST(poll_waits_for_the_first)
{
	struct pair p = new_pair(SOCK_STREAM);

	for (unsigned i = 0; i < scaled(500); i++) {
		green_t t = i % 2 ? start_green(poll_pair, &p) : start_migratable(poll_pair, &p);
		if (i % 3)
			await_parked(t);
		CHECK_EQ(green_send(i % 4 ? p.a : p.b, "x", 1, 0), 1);
		if (i % 5 == 0)
			green_cancel(t);
		join_green(t);
		CHECK(p.result == 1 || (i % 5 == 0 && p.result == -ECANCELED));
		CHECK_EQ(green_recv(i % 4 ? p.b : p.a, p.buf, 1, 0), 1);
	}
	close_pair(&p);
}

static uint64_t switches(void)
{
	return atomic_load_explicit(&worker_self()->switches, memory_order_relaxed);
}

static void *send_one(void *arg)
{
	const struct pair *p = arg;

	CHECK_EQ(green_send(p->b, "x", 1, 0), 1);
	return NULL;
}

static int by_poll(int fd)
{
	struct pollfd pfd = { fd, POLLIN, 0 };

	return green_poll(&pfd, 1, -1);
}

static int by_wait_fd(int fd)
{
	return green_wait_fd(fd, POLLIN, GREEN_FOREVER);
}

/* A short receive says that a stream is empty for now, and the next one would wait before
 * it tries: not when somebody has asked, and been told that there is something, at once
 * or after waiting. */
GREEN_TEST(poll_was_right_about_the_next_receive)
{
	for (int i = 0; i < 16; i++) {
		struct pair p = new_pair(SOCK_STREAM);
		int (*ask)(int fd) = i & 1 ? by_wait_fd : by_poll;
		green_t t = GREEN_NONE;

		/* The first one comes out short. */
		CHECK_EQ(green_send(p.b, "x", 1, 0), 1);
		CHECK_EQ(green_recv(p.a, p.buf, sizeof(p.buf), 0), 1);
		if (i & 2)
			CHECK_EQ(green_send(p.b, "x", 1, 0), 1);
		else
			t = start_green(send_one, &p);
		CHECK_EQ(ask(p.a), POLLIN);
		uint64_t before = switches();
		CHECK_EQ(green_recv(p.a, p.buf, sizeof(p.buf), 0), 1);
		CHECK_EQ(switches(), before);
		if (!(i & 2))
			join_green(t);
		close_pair(&p);
	}
}

GREEN_TEST(poll_is_ended_by_cancel_deadline_and_close)
{
	struct pair p = new_pair(SOCK_STREAM);
	struct pollfd pfd = { p.a, POLLIN, 0 };
	struct green_deadline scope;

	green_t t = start_green(poll_pair, &p);
	await_parked(t);
	green_cancel(t);
	join_green(t);
	CHECK_EQ(p.result, -ECANCELED);

	green_deadline_begin(&scope, GREEN_MS(10));
	CHECK_EQ(green_poll(&pfd, 1, -1), -ETIMEDOUT);
	CHECK_EQ(green_poll(&pfd, 1, 1000), -ETIMEDOUT);
	CHECK_EQ(green_poll(NULL, 0, 1000), -ETIMEDOUT);
	CHECK(green_deadline_end(&scope));

	t = start_green(poll_pair, &p);
	await_parked(t);
	CHECK_EQ(green_close(p.b), 0);
	join_green(t);
	CHECK_EQ(p.result, -ECANCELED);
	CHECK_EQ(green_close(p.a), 0);
}

GREEN_TEST(poll_of_a_thousand)
{
	enum { PAIRS = 100 };
	static struct pair p[PAIRS];
	static struct pollfd fds[1000];

	for (int i = 0; i < PAIRS; i++)
		p[i] = new_pair(SOCK_STREAM);
	for (int i = 0; i < 1000; i++)
		fds[i] = (struct pollfd){ p[i % PAIRS].a, POLLIN, 0 };
	for (int round = 0; round < 20; round++) {
		CHECK_EQ(green_poll(fds, 1000, 1), 0);
		green_t t = start_green(send_slowly, &(struct pair){ .a = p[round].b });
		CHECK_EQ(green_poll(fds, 1000, -1), 10);
		CHECK_EQ(fds[round].revents, POLLIN);
		join_green(t);
		CHECK_EQ(green_recv(p[round].a, p[0].buf, 64, 0), 8);
	}
	for (int i = 0; i < PAIRS; i++)
		close_pair(&p[i]);
}

/* io_uring reports a half-closed peer to everybody, asked for or not. */
GREEN_TEST(a_half_closed_peer_is_no_room_to_write)
{
	struct pair p = new_pair(SOCK_STREAM), q = new_pair(SOCK_STREAM);
	struct pollfd fds[2] = { { p.a, POLLOUT, 0 }, { q.a, POLLIN, 0 } };

	CHECK_EQ(shutdown(p.b, SHUT_WR), 0);
	fill_up(p.a);
	CHECK_EQ(green_wait_fd(p.a, POLLOUT, GREEN_MS(20)), -ETIMEDOUT);
	struct green_info before, after;
	green_info(&before);
	CHECK_EQ(green_poll(fds, 2, 100), 0);
	green_info(&after);
	CHECK_LT(after.switches - before.switches, 50);
	green_t t = start_green(send_much, &p);
	await_parked(t);
	CHECK_EQ(green_send(q.b, "x", 1, 0), 1);
	CHECK_EQ(green_poll(fds, 2, -1), 1);
	CHECK_EQ(fds[1].revents, POLLIN);
	struct pair reader = { .b = p.b };
	green_t d = start_green(drain, &reader);
	join_green(t);
	CHECK_EQ(p.result, (ssize_t)(16 * MIB));
	CHECK_EQ(green_wait_fd(p.a, POLLOUT, GREEN_FOREVER), POLLOUT);
	CHECK_EQ(green_close(p.a), 0);
	join_green(d);
	CHECK_EQ(green_close(p.b), 0);
	close_pair(&q);
}

static void *wait_for_room(void *arg)
{
	struct pair *p = arg;

	p->result = green_wait_fd(p->a, POLLOUT, GREEN_FOREVER);
	return NULL;
}

GREEN_TEST(a_wait_for_room_beside_a_half_closed_peer_is_ended)
{
	for (int i = 0; i < 2; i++) {
		struct pair p = new_pair(SOCK_STREAM);
		CHECK_EQ(shutdown(p.b, SHUT_WR), 0);
		fill_up(p.a);
		green_t t = start_green(wait_for_room, &p);
		green_sleep(GREEN_MS(5));
		await_parked(t);
		if (i)
			green_cancel(t);
		else
			CHECK_EQ(green_close(p.a), 0);
		join_green(t);
		CHECK_EQ(p.result, -ECANCELED);
		if (i)
			CHECK_EQ(green_close(p.a), 0);
		CHECK_EQ(green_close(p.b), 0);
	}
}

GREEN_TEST(wait_fd)
{
	struct pair p = new_pair(SOCK_STREAM);
	struct green_deadline scope;

	CHECK_EQ(green_wait_fd(p.a, POLLOUT, GREEN_FOREVER), POLLOUT);
	CHECK_EQ(green_wait_fd(p.a, POLLIN, 0), -ETIMEDOUT);
	CHECK_EQ(green_wait_fd(p.a, POLLIN, GREEN_MS(10)), -ETIMEDOUT);
	green_deadline_begin(&scope, GREEN_MS(10));
	CHECK_EQ(green_wait_fd(p.a, POLLIN, GREEN_S(10)), -ETIMEDOUT);
	CHECK(green_deadline_end(&scope));
	CHECK_EQ(green_wait_fd(-1, POLLIN, 0), -EBADF);
	CHECK_EQ(green_wait_fd(999, POLLIN, GREEN_FOREVER), -EBADF);
	CHECK_EQ(green_close(p.b), 0);
	CHECK_EQ(green_wait_fd(p.a, POLLIN, GREEN_FOREVER), POLLIN | POLLHUP);
	CHECK_EQ(green_close(p.a), 0);
}

GREEN_TEST(too_late_to_wait_fd)
{
	struct pair p = new_pair(SOCK_STREAM);
	struct green_deadline scope;

	green_deadline_begin(&scope, 0);
	CHECK_EQ(green_wait_fd(p.a, POLLIN, GREEN_FOREVER), -ETIMEDOUT);
	CHECK_EQ(green_wait_fd(p.a, POLLOUT, GREEN_FOREVER), POLLOUT);
	CHECK_EQ(green_wait_fd(999, POLLIN, GREEN_FOREVER), -EBADF);
	CHECK(green_deadline_end(&scope));
	green_cancel(green_self());
	CHECK_EQ(green_wait_fd(p.a, POLLOUT, GREEN_FOREVER), POLLOUT);
	CHECK_EQ(green_wait_fd(p.a, POLLIN, GREEN_FOREVER), -ECANCELED);
	CHECK_EQ(green_close(p.a), 0);
	CHECK_EQ(green_close(p.b), 0);
}

/* ---- what green(7) says of processes and signals --------------------------------------- */

GREEN_TEST(the_end_of_a_child)
{
	struct pair p = new_pair(SOCK_STREAM);
	char byte;
	int status = 0;

	pid_t child = fork();
	if (child == 0)
		_exit(read(p.b, &byte, 1) == 1 ? 7 : 8);
	int fd = (int)syscall(SYS_pidfd_open, child, 0);
	REQUIRE(fd >= 0);
	CHECK_EQ(green_wait_fd(fd, POLLIN, GREEN_MS(10)), -ETIMEDOUT);
	CHECK_EQ(waitpid(child, &status, WNOHANG), 0);
	CHECK_EQ(green_send(p.a, "x", 1, 0), 1);
	CHECK_EQ(green_wait_fd(fd, POLLIN, GREEN_FOREVER), POLLIN);
	CHECK_EQ(waitpid(child, &status, WNOHANG), child);
	CHECK_EQ(WEXITSTATUS(status), 7);
	CHECK_EQ(green_close(fd), 0);
	close_pair(&p);
}

static void *read_signal(void *mask)
{
	struct signalfd_siginfo info = { 0 };
	struct green_deadline scope;
	int fd = signalfd(-1, mask, SFD_CLOEXEC);

	REQUIRE(fd >= 0);
	green_deadline_begin(&scope, GREEN_MS(10));
	CHECK_EQ(green_read(fd, &info, sizeof(info)), -ETIMEDOUT);
	green_deadline_end(&scope);
	CHECK_EQ(kill(getpid(), SIGTERM), 0);
	CHECK_EQ(green_read(fd, &info, sizeof(info)), sizeof(info));
	CHECK_EQ(info.ssi_signo, SIGTERM);
	CHECK_EQ(green_close(fd), 0);
	return NULL;
}

TEST(a_signal)
{
	sigset_t mask;

	sigemptyset(&mask);
	sigaddset(&mask, SIGTERM);
	REQUIRE_EQ(sigprocmask(SIG_BLOCK, &mask, NULL), 0);
	CHECK_EQ(run_green_with(NULL, read_signal, &mask, NULL), 0);
}

/* ---- outside green threads ------------------------------------------------------------- */

static void *send_later(void *arg)
{
	usleep(10000);
	CHECK_EQ(green_send(*(int *)arg, "x", 1, 0), 1);
	return NULL;
}

TEST(in_an_os_thread_it_is_poll)
{
	struct pair p = new_pair(SOCK_STREAM);
	struct pollfd pfd = { p.a, POLLIN, 0 };
	struct green_deadline scope;

	CHECK_EQ(green_poll(&pfd, 1, 10), 0);
	CHECK_EQ(green_wait_fd(p.a, POLLIN, GREEN_MS(10)), -ETIMEDOUT);
	CHECK_EQ(green_wait_fd(p.a, POLLOUT, GREEN_FOREVER), POLLOUT);
	green_deadline_begin(&scope, GREEN_MS(10));
	CHECK_EQ(green_poll(&pfd, 1, -1), -ETIMEDOUT);
	CHECK_EQ(green_wait_fd(p.a, POLLIN, GREEN_FOREVER), -ETIMEDOUT);
	CHECK(green_deadline_end(&scope));
	pthread_t t = start_os(send_later, &p.b);
	CHECK_EQ(green_poll(&pfd, 1, -1), 1);
	CHECK_EQ(pfd.revents, POLLIN);
	join_os(t);
	close_pair(&p);
}
