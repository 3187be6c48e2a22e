/* SPDX-License-Identifier: MIT
 *
 * green_read() and its relatives on pipes and whatever else has bytes: the
 * results of their POSIX namesakes, without blocking a worker.
 */
#define _GNU_SOURCE
#include "bytes.h"

#include <limits.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>

/* ---- pipes ------------------------------------------------------------------- */

static void *read_count(void *arg)
{
	struct ends *e = arg;
	unsigned char buf[4096];
	size_t got = 0;
	ssize_t n;

	while (got < e->count && (n = green_read(e->in, buf, sizeof(buf))) > 0) {
		CHECK(is_pattern(buf, (size_t)n, got));
		got += (size_t)n;
	}
	e->result = (ssize_t)got;
	return NULL;
}

static void write_and_read(int flags)
{
	struct ends e = new_pipe();
	unsigned char *data = malloc(MIB);

	fcntl(e.in, F_SETFL, flags);
	fcntl(e.out, F_SETFL, flags);
	fill(data, MIB, 0);
	e.count = MIB;
	green_t reader = start_green(read_count, &e);
	CHECK_EQ(green_write(e.out, data, MIB), (ssize_t)MIB);
	join_green(reader);
	CHECK_EQ(e.result, (ssize_t)MIB);
	close_ends(&e);
	free(data);
}

GREEN_TEST(a_read_waits_and_others_go_on)
{
	struct ends e = new_pipe();
	unsigned char byte = pattern(0);

	e.count = 1;
	green_t reader = start_green(read_count, &e);
	await_parked(reader);
	CHECK_EQ(green_write(e.out, &byte, 1), 1);
	join_green(reader);
	CHECK_EQ(e.result, 1);
	close_ends(&e);
}

GREEN_TEST(the_end_of_a_pipe_is_zero)
{
	struct ends e = new_pipe();
	char buf[8];

	CHECK_EQ(green_write(e.out, "ab", 2), 2);
	CHECK_EQ(green_close(e.out), 0);
	CHECK_EQ(green_read(e.in, buf, sizeof(buf)), 2);
	CHECK_EQ(green_read(e.in, buf, sizeof(buf)), 0);
	CHECK_EQ(green_close(e.in), 0);
}

GREEN_TEST(a_write_to_a_pipe_waits_until_all_is_taken)
{
	write_and_read(0);
}

GREEN_TEST(o_nonblock_makes_no_difference)
{
	write_and_read(O_NONBLOCK);
}

GREEN_TEST(o_nonblock_is_never_set)
{
	struct ends e = new_pipe();
	unsigned char byte = pattern(0);

	e.count = 1;
	green_t reader = start_green(read_count, &e);
	await_parked(reader);
	CHECK_EQ(fcntl(e.in, F_GETFL) & O_NONBLOCK, 0);
	green_write(e.out, &byte, 1);
	join_green(reader);
	CHECK_EQ(fcntl(e.out, F_GETFL) & O_NONBLOCK, 0);
	close_ends(&e);
}

GREEN_TEST(vectors_keep_their_order)
{
	struct ends e = new_pipe();
	unsigned char *data = malloc(MIB);
	struct iovec iov[100];

	fill(data, MIB, 0);
	for (size_t i = 0; i < 100; i++)
		iov[i] = (struct iovec){ data + i * 5000, i % 7 ? 5000 : 0 };
	/* With the empty ones left out, the bytes have gaps: write them densely. */
	size_t total = 0;
	for (size_t i = 0; i < 100; i++) {
		iov[i].iov_base = data + total;
		total += iov[i].iov_len;
	}
	e.count = total;
	green_t reader = start_green(read_count, &e);
	CHECK_EQ(green_writev(e.out, iov, 100), (ssize_t)total);
	join_green(reader);
	CHECK_EQ(e.result, (ssize_t)total);

	char a[3], b[5];
	struct iovec into[2] = { { a, 3 }, { b, 5 } };
	CHECK_EQ(green_write(e.out, "abcdefg", 7), 7);
	CHECK_EQ(green_readv(e.in, into, 2), 7);
	CHECK_EQ(memcmp(a, "abc", 3), 0);
	CHECK_EQ(memcmp(b, "defg", 4), 0);
	close_ends(&e);
	free(data);
}

GREEN_TEST(nothing_to_transfer_does_not_wait)
{
	struct ends e = new_pipe();
	struct iovec none = { NULL, 0 };

	CHECK_EQ(green_read(e.in, NULL, 0), 0);
	CHECK_EQ(green_write(e.out, NULL, 0), 0);
	CHECK_EQ(green_readv(e.in, &none, 1), 0);
	CHECK_EQ(green_writev(e.out, &none, 1), 0);
	CHECK_EQ(green_readv(e.in, NULL, 0), 0);
	CHECK_EQ(green_readv(e.in, &none, -1), -EINVAL);
	CHECK_EQ(green_writev(e.out, &none, IOV_MAX + 1), -EINVAL);
	close_ends(&e);
}

GREEN_TEST(bad_descriptors)
{
	char byte;
	struct ends e = new_pipe();

	CHECK_EQ(green_read(-1, &byte, 1), -EBADF);
	CHECK_EQ(green_write(-1, &byte, 1), -EBADF);
	CHECK_EQ(green_read(999, &byte, 1), -EBADF);
	CHECK_EQ(green_read(INT_MAX, &byte, 1), -EBADF);
	CHECK_EQ(green_pread(-1, &byte, 1, 0), -EBADF);
	CHECK_EQ(green_fsync(-1), -EBADF);
	CHECK_EQ(green_close(-1), -EBADF);
	CHECK_EQ(green_close(999), -EBADF);
	CHECK_EQ(green_read(e.out, &byte, 1), -EBADF);
	CHECK_EQ(green_write(e.in, &byte, 1), -EBADF);
	CHECK_EQ(green_pread(e.in, &byte, 1, 0), -ESPIPE);
	CHECK_EQ(green_pread(e.in, &byte, 1, -1), -EINVAL);
	close_ends(&e);
}

static void *write_much(void *arg)
{
	struct ends *e = arg;
	unsigned char *data = malloc(MIB);

	fill(data, MIB, 0);
	e->result = green_write(e->out, data, MIB);
	free(data);
	return NULL;
}

/* The part that was taken is reported, the error comes with the next call. */
GREEN_TEST(a_cancelled_write_returns_what_was_taken)
{
	struct ends e = new_pipe();

	green_t writer = start_green(write_much, &e);
	await_parked(writer);
	CHECK_EQ(green_cancel(writer), 0);
	join_green(writer);
	CHECK_EQ(e.result, fcntl(e.out, F_GETPIPE_SZ));
	close_ends(&e);
}

GREEN_TEST(the_reader_of_a_pipe_is_gone)
{
	struct ends e = new_pipe();

	signal(SIGPIPE, SIG_IGN);
	CHECK_EQ(green_close(e.in), 0);
	CHECK_EQ(green_write(e.out, "x", 1), -EPIPE);
	CHECK_EQ(green_close(e.out), 0);
}

/* ---- cancel and deadline ------------------------------------------------------ */

static void *read_one(void *arg)
{
	struct ends *e = arg;
	char byte;

	e->result = green_read(e->in, &byte, 1);
	return NULL;
}

GREEN_TEST(a_cancel_ends_a_read)
{
	struct ends e = new_pipe();

	green_t reader = start_green(read_one, &e);
	await_parked(reader);
	CHECK_EQ(green_cancel(reader), 0);
	join_green(reader);
	CHECK_EQ(e.result, -ECANCELED);
	close_ends(&e);
}

GREEN_TEST(a_deadline_ends_a_read)
{
	struct ends e = new_pipe();
	struct green_deadline scope;
	char byte;
	int64_t start = green_now();

	green_deadline_begin(&scope, GREEN_MS(30));
	CHECK_EQ(green_read(e.in, &byte, 1), -ETIMEDOUT);
	CHECK(green_deadline_end(&scope));
	CHECK_GE(green_now() - start, GREEN_MS(30));
	/* What can be satisfied at once is, deadline or not. */
	CHECK_EQ(green_write(e.out, "x", 1), 1);
	green_deadline_begin(&scope, 0);
	CHECK_EQ(green_read(e.in, &byte, 1), 1);
	CHECK_EQ(green_read(e.in, &byte, 1), -ETIMEDOUT);
	CHECK(green_deadline_end(&scope));
	close_ends(&e);
}

/* Random cancels against completions: a byte is returned or stays in the pipe. */
GREEN_TEST(a_cancel_loses_no_byte)
{
	struct ends e = new_pipe();
	struct rng rng = rng_seed(7);
	unsigned rounds = scaled(2000), returned = 0;
	static char buf[65536];

	for (unsigned i = 0; i < rounds; i++) {
		green_t reader = start_green(read_one, &e);
		for (uint64_t n = rng_below(&rng, 4); n > 0; n--)
			green_yield();
		if (rng_below(&rng, 2))
			green_cancel(reader);
		CHECK_EQ(write(e.out, "x", 1), 1);
		if (rng_below(&rng, 2))
			green_cancel(reader);
		join_green(reader);
		CHECK(e.result == 1 || e.result == -ECANCELED);
		returned += e.result == 1;
	}
	fcntl(e.in, F_SETFL, O_NONBLOCK);
	ssize_t left = read(e.in, buf, sizeof(buf));
	CHECK_EQ(returned + (left > 0 ? left : 0), rounds);
	close_ends(&e);
}

/* ---- other things that can be read ---------------------------------------------- */

GREEN_TEST(eventfd_timerfd_and_devices)
{
	uint64_t value = 3;
	struct itimerspec soon = { .it_value = { 0, 20000000 } };
	char buf[16];

	int fd = eventfd(0, EFD_CLOEXEC);
	CHECK_EQ(green_write(fd, &value, 8), 8);
	value = 0;
	CHECK_EQ(green_read(fd, &value, 8), 8);
	CHECK_EQ(value, 3);
	CHECK_EQ(green_close(fd), 0);

	fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
	CHECK_EQ(timerfd_settime(fd, 0, &soon, NULL), 0);
	int64_t start = green_now();
	CHECK_EQ(green_read(fd, &value, 8), 8);
	CHECK_EQ(value, 1);
	CHECK_GE(green_now() - start, GREEN_MS(15));
	CHECK_EQ(green_close(fd), 0);

	fd = green_open("/dev/zero", O_RDWR | O_CLOEXEC, 0);
	memset(buf, 1, sizeof(buf));
	CHECK_EQ(green_read(fd, buf, 16), 16);
	CHECK_EQ(buf[15], 0);
	CHECK_EQ(green_write(fd, buf, 16), 16);
	CHECK_EQ(green_close(fd), 0);

	fd = green_open("/proc/self/stat", O_RDONLY | O_CLOEXEC, 0);
	CHECK_GT(green_read(fd, buf, 16), 0);
	CHECK_EQ(green_pread(fd, buf, 4, 1), 4);
	CHECK_EQ(green_close(fd), 0);

	fd = green_open("/dev/full", O_WRONLY | O_CLOEXEC, 0);
	CHECK_EQ(green_write(fd, buf, 16), -ENOSPC);
	CHECK_EQ(green_close(fd), 0);
}

static void *read_terminal(void *arg)
{
	struct ends *e = arg;
	char line[32];

	e->result = green_read(e->in, line, sizeof(line));
	return NULL;
}

/* A terminal knows no RWF_NOWAIT: readiness, then the call somewhere else. */
GREEN_TEST(a_terminal_can_be_read_and_cancelled)
{
	struct ends e = { 0 };

	e.out = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (e.out < 0 || grantpt(e.out) < 0 || unlockpt(e.out) < 0)
		SKIP("no pseudo terminals here");
	e.in = open(ptsname(e.out), O_RDWR | O_NOCTTY | O_CLOEXEC);
	REQUIRE(e.in >= 0);
	green_t reader = start_green(read_terminal, &e);
	await_parked(reader);
	CHECK_EQ(green_write(e.out, "hello\n", 6), 6);
	join_green(reader);
	CHECK_EQ(e.result, 6);
	reader = start_green(read_terminal, &e);
	await_parked(reader);
	green_cancel(reader);
	join_green(reader);
	CHECK_EQ(e.result, -ECANCELED);
	close_ends(&e);
}

/* ---- outside green threads ------------------------------------------------------------ */

static void *write_soon(void *arg)
{
	struct ends *e = arg;

	usleep(20000);
	CHECK_EQ(green_write(e->out, "x", 1), 1);
	return NULL;
}

TEST(in_an_os_thread_calls_block)
{
	struct ends e = new_pipe();
	char byte;

	for (int flags = 0; flags < 2; flags++) {
		fcntl(e.in, F_SETFL, flags ? O_NONBLOCK : 0);
		pthread_t writer = start_os(write_soon, &e);
		CHECK_EQ(green_read(e.in, &byte, 1), 1);
		join_os(writer);
	}
	close_ends(&e);
}

TEST(in_an_os_thread_deadlines_are_obeyed)
{
	struct ends e = new_pipe();
	struct green_deadline scope;
	char byte;
	unsigned char *data = malloc(MIB);

	green_deadline_begin(&scope, GREEN_MS(20));
	CHECK_EQ(green_read(e.in, &byte, 1), -ETIMEDOUT);
	CHECK(green_deadline_end(&scope));
	green_deadline_begin(&scope, GREEN_MS(20));
	CHECK_EQ(green_write(e.out, data, MIB), fcntl(e.out, F_GETPIPE_SZ));
	CHECK(green_deadline_end(&scope));
	int fd = new_file();
	green_deadline_begin(&scope, GREEN_S(20));
	CHECK_EQ(green_write(fd, data, MIB), (ssize_t)MIB);
	CHECK_EQ(green_pread(fd, data, MIB, 0), (ssize_t)MIB);
	CHECK(!green_deadline_end(&scope));
	green_close(fd);
	close_ends(&e);
	free(data);
}

static _Atomic int interruptions;

static void count_signal(int sig)
{
	(void)sig;
	atomic_fetch_add(&interruptions, 1);
}

static _Atomic bool enough;

static void *interrupt(void *arg)
{
	while (!atomic_load(&enough)) {
		pthread_kill(*(pthread_t *)arg, SIGUSR1);
		usleep(1000);
	}
	return NULL;
}

static void *write_after_signals(void *arg)
{
	struct ends *e = arg;

	WAIT_FOR(atomic_load(&interruptions) >= 20);
	CHECK_EQ(green_write(e->out, "x", 1), 1);
	return NULL;
}

TEST(an_interrupted_call_goes_on)
{
	struct sigaction action = { .sa_handler = count_signal }; /* no SA_RESTART */
	struct ends e = new_pipe();
	pthread_t self = pthread_self();
	char byte;

#if defined(GREEN_TSAN)
	SKIP("TSan delivers signals only at calls of libc");
#endif
	sigaction(SIGUSR1, &action, NULL);
	pthread_t other = start_os(interrupt, &self);
	pthread_t writer = start_os(write_after_signals, &e);
	CHECK_EQ(green_read(e.in, &byte, 1), 1);
	CHECK_GE(atomic_load(&interruptions), 20);
	atomic_store(&enough, true);
	join_os(writer);
	join_os(other);
	close_ends(&e);
}

/* ---- an old kernel ------------------------------------------------------------------------ */

/* Without RWF_NOWAIT and openat2: readiness, the engine and the pool do. */
static void *use_pipes_and_sockets(void *unused)
{
	struct ends e = new_pipe();
	unsigned char *data = malloc(MIB);
	int sv[2];

	(void)unused;
	fill(data, MIB, 0);
	e.count = MIB;
	green_t reader = start_green(read_count, &e);
	CHECK_EQ(green_write(e.out, data, MIB), (ssize_t)MIB);
	join_green(reader);
	CHECK_EQ(e.result, (ssize_t)MIB);
	reader = start_green(read_one, &e);
	await_parked(reader);
	green_cancel(reader);
	join_green(reader);
	CHECK_EQ(e.result, -ECANCELED);
	close_ends(&e);

	REQUIRE_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, sv), 0);
	e = (struct ends){ .in = sv[0], .out = sv[1], .count = MIB };
	reader = start_green(read_count, &e);
	CHECK_EQ(green_write(e.out, data, MIB), (ssize_t)MIB);
	join_green(reader);
	CHECK_EQ(e.result, (ssize_t)MIB);
	close_ends(&e);

	int fd = new_file();
	CHECK_EQ(green_write(fd, data, MIB), (ssize_t)MIB);
	memset(data, 0, MIB);
	CHECK_EQ(green_pread(fd, data, MIB, 0), (ssize_t)MIB);
	CHECK(is_pattern(data, MIB, 0));
	CHECK_EQ(green_close(fd), 0);
	fd = green_open("/dev/zero", O_RDONLY | O_CLOEXEC, 0);
	CHECK_EQ(green_read(fd, data, 16), 16);
	CHECK_EQ(green_close(fd), 0);
	free(data);
	return NULL;
}

TEST(without_nowait)
{
	fault_inject(SYS_preadv2, 0, 0, EOPNOTSUPP);
	fault_inject(SYS_pwritev2, 0, 0, EINVAL);
	fault_inject(SYS_openat2, 0, 0, ENOSYS);
	run_green(use_pipes_and_sockets, NULL);
	CHECK_EQ(green_fini(), 0);
	CHECK_GT(fault_hits(), 0);
	fault_clear();
}

/* ---- many ------------------------------------------------------------------------------- */

static void *copy_on(void *arg)
{
	struct ends *e = arg;
	unsigned char buf[512];
	ssize_t n;

	while ((n = green_read(e->in, buf, sizeof(buf))) > 0)
		if (green_write(e->out, buf, (size_t)n) != n)
			break;
	green_close(e->out);
	return NULL;
}

/* A chain of pipes over all workers. */
GREEN_TEST(a_hundred_pipes_in_a_row)
{
	struct {
		struct ends link;
		green_t thread;
	} chain[100];
	struct ends first = new_pipe(), from = first;
	unsigned char data[20000];

	for (int i = 0; i < 100; i++) {
		struct ends to = new_pipe();
		chain[i].link = (struct ends){ .in = from.in, .out = to.out };
		chain[i].thread = i % 3 ? start_green(copy_on, &chain[i].link)
		                        : start_migratable(copy_on, &chain[i].link);
		from = to;
	}
	struct ends last = { .in = from.in, .count = sizeof(data) };
	green_t reader = start_green(read_count, &last);
	fill(data, sizeof(data), 0);
	CHECK_EQ(green_write(first.out, data, sizeof(data)), (ssize_t)sizeof(data));
	green_close(first.out);
	join_green(reader);
	CHECK_EQ(last.result, (ssize_t)sizeof(data));
	for (int i = 0; i < 100; i++) {
		join_green(chain[i].thread);
		green_close(chain[i].link.in);
	}
	green_close(last.in);
}
