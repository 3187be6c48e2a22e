/* SPDX-License-Identifier: MIT
 *
 * green_read() and green_write() on FIFOs, which know no RWF_NOWAIT (before
 * Linux 6.4 no pipe does): no call waits past a cancel or a deadline, and what
 * can be done at once is.
 */
#define _GNU_SOURCE
#include "harness.h"

#include <fcntl.h>
#include <limits.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/uio.h>

#define MIB ((size_t)1 << 20)

struct ends {
	int in, out; /* read from in, write to out */
	ssize_t result;
};

/* Both ends of a FIFO. */
static struct ends new_fifo(void)
{
	char dir[] = "/tmp/green-fifo-XXXXXX", path[64];
	struct ends e = { 0 };

	REQUIRE(mkdtemp(dir) != NULL);
	snprintf(path, sizeof(path), "%s/fifo", dir);
	REQUIRE_EQ(mkfifo(path, 0600), 0);
	e.in = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	e.out = open(path, O_WRONLY | O_CLOEXEC);
	REQUIRE(e.in >= 0 && e.out >= 0);
	REQUIRE_EQ(fcntl(e.in, F_SETFL, 0), 0);
	unlink(path);
	rmdir(dir);
	return e;
}

static void close_ends(struct ends *e)
{
	CHECK_EQ(green_close(e->in), 0);
	CHECK_EQ(green_close(e->out), 0);
}

/* A byte that depends on its place, so that lost and doubled ones show. */
static unsigned char pattern(size_t at)
{
	return (unsigned char)(at * 131 + at / 251);
}

static unsigned char *new_data(void)
{
	unsigned char *data = malloc(MIB);

	REQUIRE(data != NULL);
	for (size_t i = 0; i < MIB; i++)
		data[i] = pattern(i);
	return data;
}

static int bytes_in(const struct ends *e)
{
	int n = -1;

	ioctl(e->in, FIONREAD, &n);
	return n;
}

static void *read_mib(void *arg)
{
	struct ends *e = arg;
	unsigned char buf[5000];
	size_t got = 0;
	ssize_t n;

	while ((n = green_read(e->in, buf, sizeof(buf))) > 0)
		for (ssize_t i = 0; i < n; i++, got++)
			if (buf[i] != pattern(got))
				FAIL("byte %zu is wrong", got);
	CHECK_EQ(n, 0);
	e->result = (ssize_t)got;
	return NULL;
}

GREEN_TEST(a_large_write_arrives_whole)
{
	struct ends e = new_fifo();
	unsigned char *data = new_data();
	/* Pieces on either side of what a pipe takes at once. */
	struct iovec iov[] = { { data, 0 },
		               { data, 1 },
		               { data + 1, 3 * PIPE_BUF },
		               { NULL, 0 },
		               { data + 1 + 3 * PIPE_BUF, MIB - 1 - 3 * PIPE_BUF } };

	for (int round = 0; round < 2; round++) {
		green_t reader = start_green(read_mib, &e);
		ssize_t n = round ? green_writev(e.out, iov, 5) : green_write(e.out, data, MIB);
		CHECK_EQ(n, MIB);
		CHECK_EQ(green_close(e.out), 0);
		join_green(reader);
		CHECK_EQ(e.result, MIB);
		CHECK_EQ(green_close(e.in), 0);
		e = new_fifo();
	}
	close_ends(&e);
	free(data);
}

static void *write_mib(void *arg)
{
	struct ends *e = arg;
	unsigned char *data = new_data();

	e->result = green_write(e->out, data, MIB);
	free(data);
	return NULL;
}

GREEN_TEST(a_cancel_ends_a_write)
{
	struct ends e = new_fifo();
	int size = fcntl(e.out, F_GETPIPE_SZ);

	green_t writer = start_green(write_mib, &e);
	WAIT_FOR(bytes_in(&e) == size);
	CHECK_EQ(green_cancel(writer), 0);
	join_green(writer);
	CHECK_EQ(e.result, size);
	close_ends(&e);
}

GREEN_TEST(closing_ends_a_write)
{
	struct ends e = new_fifo();
	int size = fcntl(e.out, F_GETPIPE_SZ);

	green_t writer = start_green(write_mib, &e);
	WAIT_FOR(bytes_in(&e) == size);
	await_parked(writer);
	CHECK_EQ(green_close(e.out), 0);
	join_green(writer);
	CHECK_EQ(e.result, size);
	CHECK_EQ(green_close(e.in), 0);
}

static void *read_byte(void *arg)
{
	struct ends *e = arg;
	char byte;

	e->result = green_read(e->in, &byte, 1);
	return NULL;
}

GREEN_TEST(a_cancel_ends_a_read)
{
	struct ends e = new_fifo();

	green_t reader = start_green(read_byte, &e);
	await_parked(reader);
	CHECK_EQ(green_cancel(reader), 0);
	join_green(reader);
	CHECK_EQ(e.result, -ECANCELED);
	close_ends(&e);
}

/* Of two readers one gets the byte, and the other can still be cancelled. */
GREEN_TEST(two_readers_of_one_byte)
{
	struct ends e = new_fifo(), other = e;

	for (unsigned i = scaled(200); i > 0; i--) {
		green_t a = start_green(read_byte, &e), b = start_green(read_byte, &other);
		await_parked(a);
		await_parked(b);
		CHECK_EQ(green_write(e.out, "x", 1), 1);
		WAIT_FOR(bytes_in(&e) == 0);
		green_cancel(a);
		green_cancel(b);
		join_green(a);
		join_green(b);
		CHECK(e.result == 1 || e.result == -ECANCELED);
		CHECK_EQ(other.result, e.result == 1 ? -ECANCELED : 1);
	}
	close_ends(&e);
}

static void deadlines_are_obeyed(void)
{
	struct ends e = new_fifo();
	struct green_deadline scope;
	unsigned char *data = new_data();
	char byte;

	/* What can be done at once is, deadline or not. */
	CHECK_EQ(green_write(e.out, "x", 1), 1);
	green_deadline_begin(&scope, 0);
	CHECK_EQ(green_read(e.in, &byte, 1), 1);
	CHECK_EQ(green_read(e.in, &byte, 1), -ETIMEDOUT);
	CHECK(green_deadline_end(&scope));
	CHECK_EQ(green_pread(e.in, &byte, 1, 0), -ESPIPE);

	green_deadline_begin(&scope, GREEN_MS(30));
	CHECK_EQ(green_read(e.in, &byte, 1), -ETIMEDOUT);
	CHECK(green_deadline_end(&scope));
	green_deadline_begin(&scope, GREEN_S(1));
	CHECK_EQ(green_write(e.out, data, MIB), fcntl(e.out, F_GETPIPE_SZ));
	CHECK(green_deadline_end(&scope));
	close_ends(&e);
	free(data);
}

GREEN_TEST(deadlines_are_obeyed_by_a_green_thread)
{
	deadlines_are_obeyed();
}

TEST(deadlines_are_obeyed_by_an_os_thread)
{
	deadlines_are_obeyed();
}

/* Opened for reading and writing. */
GREEN_TEST(both_ends_in_one_descriptor)
{
	char dir[] = "/tmp/green-fifo-XXXXXX", path[64], buf[8];

	REQUIRE(mkdtemp(dir) != NULL);
	snprintf(path, sizeof(path), "%s/fifo", dir);
	REQUIRE_EQ(mkfifo(path, 0600), 0);
	int fd = open(path, O_RDWR | O_CLOEXEC);
	REQUIRE(fd >= 0);
	unlink(path);
	rmdir(dir);
	CHECK_EQ(green_write(fd, "abc", 3), 3);
	CHECK_EQ(green_read(fd, buf, sizeof(buf)), 3);
	CHECK(memcmp(buf, "abc", 3) == 0);
	CHECK_EQ(green_close(fd), 0);
}

/* A packet is read whole, and only one. */
GREEN_TEST(packets_stay_apart)
{
	int fds[2];
	char buf[8];

	REQUIRE_EQ(pipe2(fds, O_CLOEXEC | O_DIRECT), 0);
	CHECK_EQ(green_write(fds[1], "abc", 3), 3);
	CHECK_EQ(green_write(fds[1], "de", 2), 2);
	CHECK_EQ(green_read(fds[0], buf, sizeof(buf)), 3);
	CHECK_EQ(green_read(fds[0], buf, sizeof(buf)), 2);
	CHECK_EQ(green_close(fds[0]), 0);
	CHECK_EQ(green_close(fds[1]), 0);
}

GREEN_TEST(nonblocking_descriptors)
{
	struct ends e = new_fifo();
	struct green_deadline scope;
	unsigned char *data = new_data();

	REQUIRE_EQ(fcntl(e.in, F_SETFL, O_NONBLOCK), 0);
	REQUIRE_EQ(fcntl(e.out, F_SETFL, O_NONBLOCK), 0);
	green_deadline_begin(&scope, 0);
	CHECK_EQ(green_write(e.out, data, 100), 100);
	CHECK_EQ(green_read(e.in, data, 100), 100);
	CHECK_EQ(green_read(e.in, data, 100), -ETIMEDOUT);
	CHECK_EQ(green_write(e.out, data, MIB), fcntl(e.out, F_GETPIPE_SZ));
	green_deadline_end(&scope);
	close_ends(&e);
	free(data);
}
