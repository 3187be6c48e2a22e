/* SPDX-License-Identifier: MIT
 *
 * green_close(): whatever waits on a descriptor ends before it is gone, on
 * every worker; and the runtime's own descriptors stay out of the way.
 */
#define _GNU_SOURCE
#include "harness.h"

#include "fdtab.h"

#include <dirent.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>

struct waiter {
	int fd;
	int how;
	ssize_t result;
	_Atomic bool waiting;
};

static void new_pair(int *sv)
{
	REQUIRE_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv), 0);
}

static void *wait_somehow(void *arg)
{
	struct waiter *w = arg;
	char buf[4];
	struct iovec iov = { buf, 4 };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	struct pollfd pfd = { w->fd, POLLIN, 0 };

	atomic_store(&w->waiting, true);
	switch (w->how % 6) {
	case 0:
		w->result = green_recv(w->fd, buf, 4, 0);
		break;
	case 1:
		w->result = green_read(w->fd, buf, 4);
		break;
	case 2:
		w->result = green_recvmsg(w->fd, &msg, MSG_WAITALL);
		break;
	case 3:
		w->result = green_poll(&pfd, 1, -1);
		break;
	case 4:
		w->result = green_wait_fd(w->fd, POLLIN, GREEN_FOREVER);
		break;
	default:
		w->result = green_readv(w->fd, &iov, 1);
	}
	return NULL;
}

GREEN_TEST(close_ends_every_wait)
{
	struct waiter w[24];
	green_t t[24];
	int sv[2];

	new_pair(sv);
	for (int i = 0; i < 24; i++) {
		w[i] = (struct waiter){ .fd = sv[0], .how = i };
		t[i] = i % 2 ? start_green(wait_somehow, &w[i])
		             : start_migratable(wait_somehow, &w[i]);
	}
	for (int i = 0; i < 24; i++)
		await_parked(t[i]);
	CHECK_EQ(green_close(sv[0]), 0);
	for (int i = 0; i < 24; i++) {
		join_green(t[i]);
		CHECK_EQ(w[i].result, -ECANCELED);
	}
	CHECK_EQ(fcntl(sv[0], F_GETFD), -1);
	CHECK_EQ(green_close(sv[0]), -EBADF);
	CHECK_EQ(green_close(sv[1]), 0);
}

static void *close_it(void *arg)
{
	return (void *)(intptr_t)green_close(*(int *)arg);
}

GREEN_TEST(close_from_an_os_thread)
{
	struct waiter w = { 0 };
	int sv[2];

	new_pair(sv);
	w.fd = sv[0];
	green_t t = start_green(wait_somehow, &w);
	await_parked(t);
	pthread_t os = start_os(close_it, &sv[0]);
	join_green(t);
	CHECK_EQ(w.result, -ECANCELED);
	CHECK_EQ((int)(intptr_t)join_os(os), 0);
	CHECK_EQ(green_close(sv[1]), 0);
}

/* The worker of the one that waits is busy: the closer waits for it. */
GREEN_TEST(close_waits_for_a_busy_worker)
{
	struct waiter w = { 0 };
	int sv[2];

	new_pair(sv);
	w.fd = sv[0];
	green_t t = start_green(wait_somehow, &w);
	await_parked(t);
	green_t closer = start_green(close_it, &sv[0]);
	green_yield();
	spin_for(GREEN_MS(20));
	CHECK_EQ((int)(intptr_t)join_green(closer), 0);
	join_green(t);
	CHECK_EQ(w.result, -ECANCELED);
	CHECK_EQ(green_close(sv[1]), 0);
}

GREEN_TEST(two_close_at_once)
{
	struct waiter w = { 0 };
	int sv[2], ok = 0, bad = 0;
	green_t t[4];

	new_pair(sv);
	w.fd = sv[0];
	green_t waiter = start_green(wait_somehow, &w);
	await_parked(waiter);
	for (int i = 0; i < 4; i++)
		t[i] = start_green(close_it, &sv[0]);
	for (int i = 0; i < 4; i++) {
		int r = (int)(intptr_t)join_green(t[i]);
		ok += r == 0;
		bad += r == -EBADF;
	}
	CHECK_EQ(ok, 1);
	CHECK_EQ(bad, 3);
	join_green(waiter);
	CHECK_EQ(green_close(sv[1]), 0);
}

/* A cancelled thread can still close: it is shielded. */
static void *close_cancelled(void *arg)
{
	green_cancel(green_self());
	CHECK_EQ(green_yield(), -ECANCELED);
	return close_it(arg);
}

GREEN_TEST(close_is_shielded)
{
	struct waiter w = { 0 };
	int sv[2];

	new_pair(sv);
	w.fd = sv[0];
	green_t waiter = start_green(wait_somehow, &w);
	await_parked(waiter);
	CHECK_EQ((int)(intptr_t)join_green(start_green(close_cancelled, &sv[0])), 0);
	join_green(waiter);
	CHECK_EQ(w.result, -ECANCELED);
	CHECK_EQ(green_close(sv[1]), 0);
}

/* Data, cancels and closes come at random: what was received stays received,
 * and no wait outlives its descriptor. */
static void *close_or_send(void *arg)
{
	struct waiter *w = arg;
	struct rng rng = rng_seed((uint64_t)w->how);

	WAIT_FOR(atomic_load(&w->waiting));
	for (uint64_t n = rng_below(&rng, 30); n > 0; n--)
		green_yield();
	if (rng_below(&rng, 2))
		CHECK_GE(green_send(w->fd, "abcd", 4, 0), -EPIPE);
	return NULL;
}

GREEN_TEST(close_against_completions)
{
	unsigned rounds = scaled(1500);

	for (unsigned i = 0; i < rounds; i++) {
		int sv[2];
		new_pair(sv);
		struct waiter w = { .fd = sv[0], .how = (int)i },
			      s = { .fd = sv[1], .how = (int)i };
		green_t t =
			i % 3 ? start_migratable(wait_somehow, &w) : start_green(wait_somehow, &w);
		atomic_store(&s.waiting, true);
		green_t sender = start_migratable(close_or_send, &s);
		WAIT_FOR(atomic_load(&w.waiting));
		for (unsigned n = i * 7 % 31; n > 0; n--)
			green_yield();
		CHECK_EQ(green_close(sv[0]), 0);
		join_green(t);
		CHECK(w.result == -ECANCELED || w.result > 0 || w.result == -EBADF);
		join_green(sender);
		CHECK_EQ(green_close(sv[1]), 0);
	}
}

/* The number comes back at once as another descriptor: nothing old waits on it. */
GREEN_TEST(a_reused_number_is_a_new_descriptor)
{
	for (int i = 0; i < 200; i++) {
		struct waiter w = { .how = i };
		int sv[2], other[2];
		char byte;
		new_pair(sv);
		w.fd = sv[0];
		green_t t = start_green(wait_somehow, &w);
		await_parked(t);
		CHECK_EQ(green_close(sv[0]), 0);
		new_pair(other);
		CHECK_EQ(other[0], sv[0]);
		CHECK_EQ(send(other[1], "x", 1, 0), 1);
		join_green(t);
		CHECK_EQ(w.result, -ECANCELED);
		CHECK_EQ(green_recv(other[0], &byte, 1, 0), 1);
		CHECK_EQ(green_close(other[0]), 0);
		CHECK_EQ(green_close(other[1]), 0);
		CHECK_EQ(green_close(sv[1]), 0);
	}
}

/* Closed by plain close(2) and made again: hints of the old one do no harm. */
GREEN_TEST(hints_of_another_file_do_no_harm)
{
	char buf[16];

	for (int i = 0; i < 20; i++) {
		int sv[2], fds[2];
		new_pair(sv);
		CHECK_EQ(green_send(sv[1], "abc", 3, 0), 3);
		CHECK_EQ(green_recv(sv[0], buf, 16, 0), 3); /* came out short */
		close(sv[0]);
		close(sv[1]);
		REQUIRE_EQ(pipe(fds), 0);
		CHECK_EQ(green_write(fds[1], "hello", 5), 5);
		CHECK_EQ(green_read(fds[0], buf, 16), 5);
		close(fds[0]);
		close(fds[1]);
		int file = open("/proc/self/cmdline", O_RDONLY);
		CHECK_GT(green_read(file, buf, 4), 0);
		close(file);
		new_pair(sv);
		CHECK_EQ(green_send(sv[1], "abc", 3, 0), 3);
		CHECK_EQ(green_read(sv[0], buf, 16), 3);
		close(sv[0]);
		close(sv[1]);
	}
}

/* ---- the runtime's own --------------------------------------------------------- */

static int open_descriptors(int *privates, int max)
{
	DIR *dir = opendir("/proc/self/fd");
	struct dirent *e;
	int n = 0;

	while ((e = readdir(dir))) {
		int fd = atoi(e->d_name);
		if (e->d_name[0] != '.' && fd_is_private(fd) && n < max)
			privates[n++] = fd;
	}
	closedir(dir);
	return n;
}

GREEN_TEST(own_descriptors_are_high_and_guarded)
{
	int fds[64];
	char byte;

	int n = open_descriptors(fds, 64);
	CHECK_GT(n, 0);
	for (int i = 0; i < n; i++) {
		struct pollfd pfd = { fds[i], POLLIN, 0 };
		CHECK_GE(fds[i], 256);
		CHECK_EQ(fcntl(fds[i], F_GETFD), FD_CLOEXEC);
		CHECK_EQ(green_close(fds[i]), -EBADF);
		CHECK_EQ(green_read(fds[i], &byte, 1), -EBADF);
		CHECK_EQ(green_write(fds[i], "12345678", 8), -EBADF);
		CHECK_EQ(green_recv(fds[i], &byte, 1, 0), -EBADF);
		CHECK_EQ(green_send(fds[i], &byte, 1, 0), -EBADF);
		CHECK_EQ(green_accept(fds[i], NULL, NULL, 0), -EBADF);
		CHECK_EQ(green_fsync(fds[i]), -EBADF);
		CHECK_EQ(green_wait_fd(fds[i], POLLIN, 0), -EBADF);
		CHECK_EQ(green_sendfile(fds[i], 0, NULL, 1), -EBADF);
		CHECK_EQ(green_poll(&pfd, 1, -1), 1);
		CHECK_EQ(pfd.revents, POLLNVAL);
	}
}

static void *pass_a_byte(void *arg)
{
	struct waiter w = { 0 };
	int sv[2];

	(void)arg;
	new_pair(sv);
	w.fd = sv[0];
	green_t t = start_green(wait_somehow, &w);
	await_parked(t);
	CHECK_EQ(green_send(sv[1], "x", 1, 0), 1);
	join_green(t);
	CHECK_EQ(w.result, 1);
	green_close(sv[0]);
	green_close(sv[1]);
	return NULL;
}

TEST(sixty_four_descriptors_suffice)
{
	struct rlimit limit = { 64, 64 };
	struct green_options options = { .workers = 2 };

	REQUIRE_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
	CHECK_EQ(run_green_with(&options, pass_a_byte, NULL, NULL), 0);
}

TEST(private_descriptors_by_themselves)
{
	struct rlimit limit = { 40, 4096 };
	int fds[40], n = 0;

	REQUIRE_EQ(fdtab_init(), 0);
	REQUIRE_EQ(fdtab_init(), 0);
	CHECK_GE(fdtab_size, 1024);
	REQUIRE_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
	CHECK_EQ(fd_private(-EMFILE), -EMFILE);
	int a = fd_private(dup(0)), b = fd_private(dup(0));
	CHECK_EQ(a, 39);
	CHECK_EQ(b, 38);
	CHECK(fd_is_private(a) && !fd_is_private(37) && !fd_is_private(-1));
	fd_private_close(a);
	CHECK(!fd_is_private(a));
	a = fd_private(dup(0));
	CHECK_EQ(a, 39);
	/* No room above: it stays where it is, close-on-exec. */
	while (n < 40 && (fds[n] = dup(0)) >= 0)
		n++;
	close(fds[n - 1]);
	int c = fd_private(dup(0));
	CHECK_EQ(c, fds[n - 1]);
	CHECK_EQ(fcntl(c, F_GETFD), FD_CLOEXEC);
	fd_private_close(a);
	fd_private_close(b);
	fd_private_close(c);
	fd_private_close(-1);
}

/* ---- shortage ------------------------------------------------------------------------ */

static bool short_of_memory(ssize_t r)
{
	return r == -ENOMEM || r == -EAGAIN;
}

static void *use_everything(void *arg)
{
	struct waiter w = { 0 };
	int sv[2];
	char buf[16];
	green_t t;

	(void)arg;
	new_pair(sv);
	w.fd = sv[0];
	if (green_spawn(&t, NULL, wait_somehow, &w) == 0) {
		green_sleep(GREEN_MS(1));
		CHECK_EQ(green_send(sv[1], "x", 1, 0), 1);
		green_join(t, NULL);
		CHECK(w.result == 1 || short_of_memory(w.result));
		if (w.result != 1)
			CHECK_EQ(recv(sv[0], buf, 16, 0), 1);
	}
	struct pollfd pfd[2] = { { sv[0], POLLIN, 0 }, { sv[1], POLLIN, 0 } };
	int r = green_poll(pfd, 2, 1);
	CHECK(r == 0 || short_of_memory(r));
	int file = green_open("/proc/self/stat", O_RDONLY, 0);
	if (file >= 0) {
		ssize_t n = green_read(file, buf, 16);
		CHECK(n == 16 || short_of_memory(n));
		n = green_sendfile(sv[1], file, NULL, 8);
		CHECK(n == 8 || short_of_memory(n));
		CHECK_EQ(green_close(file), 0);
	} else {
		CHECK(short_of_memory(file));
	}
	int listener = green_listen(localhost_known() ? "localhost:0" : "127.0.0.1:0", 0);
	if (listener >= 0)
		CHECK_EQ(green_close(listener), 0);
	else
		CHECK(short_of_memory(listener));
	CHECK_EQ(green_close(sv[0]), 0);
	CHECK_EQ(green_close(sv[1]), 0);
	return NULL;
}

/* Each mapping in turn fails, once or from then on: every call says so, and
 * nothing hangs or is lost. */
TEST(every_mapping_may_fail)
{
	struct green_options options = { .workers = 2 };

	for (unsigned round = 0; round < 2; round++)
		for (unsigned n = 0;; n++) {
			unsigned before = fault_hits();
			fault_inject(SYS_mmap, n, round == 0, ENOMEM);
			int r = green_init(&options);
			if (r == 0) {
				r = green_run(use_everything, NULL, NULL);
				CHECK_EQ(green_fini(), 0);
			}
			fault_clear();
			CHECK(r == 0 || short_of_memory(r));
			if (fault_hits() == before)
				break; /* there are no more */
			if (checks_failed())
				FAIL("mapping %u, round %u", n, round);
			REQUIRE_EQ(checks_failed(), 0);
		}
}

/* ---- without a runtime ------------------------------------------------------------ */

TEST(close_outside_of_a_runtime)
{
	int sv[2];

	new_pair(sv);
	CHECK_EQ(green_close(sv[0]), 0);
	CHECK_EQ(green_close(sv[0]), -EBADF);
	CHECK_EQ(green_init(NULL), 0);
	CHECK_EQ(green_close(sv[1]), 0);
	CHECK_EQ(green_close(sv[1]), -EBADF);
	CHECK_EQ(green_fini(), 0);
}
