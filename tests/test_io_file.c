/* SPDX-License-Identifier: MIT
 *
 * Files: reading and writing them whole, opening, and green_sendfile().
 */
#define _GNU_SOURCE
#include "bytes.h"

#include "worker.h"

#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>

/* ---- files -------------------------------------------------------------------- */

GREEN_TEST(a_file_is_read_and_written_whole)
{
	int fd = new_file();
	unsigned char *data = malloc(3 * MIB), *back = malloc(3 * MIB + 1);

	fill(data, 3 * MIB, 0);
	CHECK_EQ(green_write(fd, data, 3 * MIB), (ssize_t)(3 * MIB));
	CHECK_EQ(lseek(fd, 0, SEEK_CUR), (off_t)(3 * MIB));
	CHECK_EQ(green_fsync(fd), 0);
	CHECK_EQ(green_fdatasync(fd), 0);
	/* Out of the page cache, as far as the file system does it: read(2) does
	 * not come out short then. */
	posix_fadvise(fd, MIB, MIB, POSIX_FADV_DONTNEED);
	CHECK_EQ(lseek(fd, 0, SEEK_SET), 0);
	CHECK_EQ(green_read(fd, back, 3 * MIB + 1), (ssize_t)(3 * MIB));
	CHECK(is_pattern(back, 3 * MIB, 0));
	CHECK_EQ(green_read(fd, back, 10), 0);
	posix_fadvise(fd, MIB, MIB, POSIX_FADV_DONTNEED);
	memset(back, 0, 3 * MIB);
	CHECK_EQ(green_pread(fd, back, 3 * MIB, 100), (ssize_t)(3 * MIB - 100));
	CHECK(is_pattern(back, 3 * MIB - 100, 100));
	CHECK_EQ(green_pwrite(fd, "xyz", 3, 10), 3);
	CHECK_EQ(green_pread(fd, back, 5, 9), 5);
	CHECK_EQ(memcmp(back + 1, "xyz", 3), 0);
	CHECK_EQ(green_pread(fd, back, 5, 3 * MIB), 0);
	CHECK_EQ(lseek(fd, 0, SEEK_CUR), (off_t)(3 * MIB));
	CHECK_EQ(green_close(fd), 0);
	free(data);
	free(back);
}

GREEN_TEST(positioned_vectors)
{
	int fd = new_file();
	char a[4] = "", b[4] = "";
	char abc[] = "abc", def[] = "def";
	struct iovec out[2] = { { abc, 3 }, { def, 3 } }, in[2] = { { a, 3 }, { b, 3 } };

	CHECK_EQ(green_pwritev(fd, out, 2, 5), 6);
	CHECK_EQ(green_preadv(fd, in, 2, 5), 6);
	CHECK_STR(a, "abc");
	CHECK_STR(b, "def");
	CHECK_EQ(green_preadv(fd, in, 2, 8), 3);
	CHECK_EQ(green_preadv(fd, in, 2, -1), -EINVAL);
	CHECK_EQ(green_close(fd), 0);
}

GREEN_TEST(o_append_appends)
{
	char name[] = "/tmp/green-io-XXXXXX", buf[8] = "";
	close(mkstemp(name));

	int fd = green_open(name, O_RDWR | O_APPEND | O_CLOEXEC, 0);
	CHECK_GE(fd, 0);
	CHECK_EQ(green_write(fd, "ab", 2), 2);
	CHECK_EQ(lseek(fd, 0, SEEK_SET), 0);
	CHECK_EQ(green_write(fd, "cd", 2), 2);
	CHECK_EQ(green_pread(fd, buf, 8, 0), 4);
	CHECK_STR(buf, "abcd");
	CHECK_EQ(green_close(fd), 0);
	unlink(name);
}

GREEN_TEST(open_as_open_does)
{
	char name[] = "/tmp/green-io-XXXXXX", text[64];
	struct stat st;

	int fd = mkstemp(name);
	REQUIRE(fd >= 0);
	close(fd);
	CHECK_EQ(green_open(name, O_RDWR | O_CREAT | O_EXCL, 0600), -EEXIST);
	unlink(name);
	CHECK_EQ(green_open(name, O_RDONLY, 0), -ENOENT);
	CHECK_EQ(green_open(name, O_RDONLY, 0), -ENOENT);
	fd = green_open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0640);
	CHECK_GE(fd, 0);
	CHECK_EQ(fstat(fd, &st), 0);
	CHECK_EQ(st.st_mode & 0137, 0);
	CHECK_EQ(fcntl(fd, F_GETFL) & (O_ACCMODE | O_NONBLOCK), O_RDWR);
	CHECK_EQ(fcntl(fd, F_GETFD), FD_CLOEXEC);
	CHECK_EQ(green_close(fd), 0);
	for (int i = 0; i < 2; i++) {
		fd = green_open(name, O_RDONLY, 0);
		CHECK_GE(fd, 0);
		CHECK_EQ(fcntl(fd, F_GETFL) & (O_ACCMODE | O_NONBLOCK), O_RDONLY);
		CHECK_EQ(fcntl(fd, F_GETFD), 0);
		CHECK_EQ(green_close(fd), 0);
	}
	CHECK_EQ(green_open(name, O_RDONLY | O_DIRECTORY, 0), -ENOTDIR);
	snprintf(text, sizeof(text), "%s/x", name);
	CHECK_EQ(green_open(text, O_RDONLY, 0), -ENOTDIR);
	int dir = green_open("/tmp", O_RDONLY | O_DIRECTORY, 0);
	CHECK_GE(dir, 0);
	fd = green_openat(dir, strrchr(name, '/') + 1, O_WRONLY, 0);
	CHECK_GE(fd, 0);
	CHECK_EQ(green_close(fd), 0);
	char byte;
	CHECK_EQ(green_read(dir, &byte, 1), -EISDIR);
	CHECK_EQ(green_close(dir), 0);
	CHECK_EQ(green_open("", O_RDONLY, 0), -ENOENT);
	unlink(name);
}

static void *open_fifo_to_read(void *arg)
{
	return (void *)(intptr_t)green_open(arg, O_RDONLY, 0);
}

/* A FIFO's open waits for the other side, as open(2) says; only its thread. */
GREEN_TEST(opening_a_fifo_waits_for_its_writer)
{
	char name[] = "/tmp/green-fifo-XXXXXX", buf[4];

	REQUIRE(mkdtemp(name) != NULL);
	char path[64];
	snprintf(path, sizeof(path), "%s/fifo", name);
	REQUIRE_EQ(mkfifo(path, 0600), 0);
	green_t reader = start_green(open_fifo_to_read, path);
	await_parked(reader);
	green_sleep(GREEN_MS(5));
	int out = green_open(path, O_WRONLY, 0);
	CHECK_GE(out, 0);
	int in = (int)(intptr_t)join_green(reader);
	CHECK_GE(in, 0);
	CHECK_EQ(green_write(out, "abc", 3), 3);
	CHECK_EQ(green_read(in, buf, 4), 3);
	CHECK_EQ(green_close(out), 0);
	CHECK_EQ(green_read(in, buf, 4), 0);
	CHECK_EQ(green_close(in), 0);
	unlink(path);
	rmdir(name);
}

GREEN_TEST(opening_a_fifo_can_be_cancelled)
{
	char name[] = "/tmp/green-fifo-XXXXXX", path[64];

	REQUIRE(mkdtemp(name) != NULL);
	snprintf(path, sizeof(path), "%s/fifo", name);
	REQUIRE_EQ(mkfifo(path, 0600), 0);
	green_t reader = start_green(open_fifo_to_read, path);
	await_parked(reader);
	green_sleep(GREEN_MS(5));
	green_cancel(reader);
	CHECK_EQ((int)(intptr_t)join_green(reader), -ECANCELED);
	/* The one left behind on the pool ends, and what it opened is closed.  (On a
	 * busy machine it may not have begun, and then never does.) */
	int out;
	while ((out = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC)) < 0 &&
	       atomic_load(&rt.offloads))
		green_sleep(GREEN_MS(1));
	WAIT_FOR(atomic_load(&rt.offloads) == 0);
	signal(SIGPIPE, SIG_IGN);
	if (out >= 0) {
		CHECK_EQ(green_write(out, "x", 1), -EPIPE);
		green_close(out);
	}
	unlink(path);
	rmdir(name);
}

/* ---- sendfile ---------------------------------------------------------------------- */

static void *receive_count(void *arg)
{
	struct ends *e = arg;
	unsigned char buf[3000];
	size_t got = 0;
	ssize_t n;

	while ((n = green_recv(e->in, buf, sizeof(buf), 0)) > 0) {
		CHECK(is_pattern(buf, (size_t)n, got + 10));
		got += (size_t)n;
	}
	e->result = (ssize_t)got;
	return NULL;
}

/* In a green thread or, outside of green_run(), in an OS thread. */
static void send_a_file(bool nonblocking)
{
	bool green = green_self() != GREEN_NONE;
	int file = new_file(), sv[2];
	green_t reader = GREEN_NONE;
	pthread_t os_reader;
	unsigned char *data = malloc(2 * MIB);
	off_t offset = 10;

	fill(data, 2 * MIB, 0);
	REQUIRE_EQ(green_write(file, data, 2 * MIB), (ssize_t)(2 * MIB));
	REQUIRE_EQ(socketpair(AF_UNIX, SOCK_STREAM | (nonblocking ? SOCK_NONBLOCK : 0), 0, sv), 0);
	struct ends e = { .in = sv[0], .out = sv[1] };
	if (green)
		reader = start_green(receive_count, &e);
	else
		os_reader = start_os(receive_count, &e);
	CHECK_EQ(green_sendfile(e.out, file, &offset, 3 * MIB), (ssize_t)(2 * MIB - 10));
	CHECK_EQ(offset, (off_t)(2 * MIB));
	CHECK_EQ(green_sendfile(e.out, file, &offset, 1), 0);
	CHECK_EQ(green_close(e.out), 0);
	if (green)
		join_green(reader);
	else
		join_os(os_reader);
	CHECK_EQ(e.result, (ssize_t)(2 * MIB - 10));
	CHECK_EQ(green_close(e.in), 0);

	/* Without an offset the file's own position is used and moved. */
	struct ends p = new_pipe();
	CHECK_EQ(lseek(file, 10, SEEK_SET), 10);
	CHECK_EQ(green_sendfile(p.out, file, NULL, 100), 100);
	CHECK_EQ(lseek(file, 0, SEEK_CUR), 110);
	CHECK_EQ(green_read(p.in, data, 200), 100);
	CHECK(is_pattern(data, 100, 10));
	close_ends(&p);
	CHECK_EQ(green_close(file), 0);
	free(data);
}

GREEN_TEST(sendfile_sends_all)
{
	send_a_file(false);
}

GREEN_TEST(sendfile_to_a_nonblocking_socket)
{
	send_a_file(true);
}

GREEN_TEST(sendfile_errors)
{
	int file = new_file(), sv[2];
	off_t offset = -1;

	REQUIRE_EQ(green_write(file, "abc", 3), 3);
	REQUIRE_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, sv), 0);
	CHECK_EQ(green_sendfile(sv[0], file, &offset, 1), -EINVAL);
	offset = 0;
	CHECK_EQ(green_sendfile(-1, file, &offset, 1), -EBADF);
	CHECK_EQ(green_sendfile(sv[0], -1, &offset, 1), -EBADF);
	green_close(sv[1]);
	CHECK_EQ(green_sendfile(sv[0], file, &offset, 3), -EPIPE); /* and no SIGPIPE */
	green_close(sv[0]);
	green_close(file);
}

/* Neither waits for it nor takes from it. */
static void *sendfile_from_a_pipe(void *arg)
{
	struct ends p = new_pipe();
	off_t offset = 0;
	char bytes[4];
	int sv[2];

	REQUIRE_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, sv), 0);
	CHECK_EQ(green_sendfile(sv[0], p.in, &offset, 3), -ESPIPE);
	REQUIRE_EQ(green_write(p.out, "abc", 3), 3);
	CHECK_EQ(green_sendfile(sv[0], p.in, &offset, 3), -ESPIPE);
	CHECK_EQ(green_read(p.in, bytes, sizeof(bytes)), 3);
	close_ends(&p);
	green_close(sv[0]);
	green_close(sv[1]);
	return arg;
}

TEST(sendfile_takes_files)
{
	static const char *const features[] = { NULL, "-rwf_nowait" };

	for (int i = 0; i < 2; i++) {
		struct green_options options = { .features = features[i] };
		CHECK_EQ(run_green_with(&options, sendfile_from_a_pipe, NULL, NULL), 0);
	}
}

TEST(sendfile_in_an_os_thread)
{
	send_a_file(false);
	send_a_file(true);
}
