/* SPDX-License-Identifier: MIT
 *
 * Descriptors, the rarer ways: what is closed or replaced while somebody waits, limits of
 * time on calls that have none of their own.
 */
#include "conform.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pty.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <termios.h>
#include <unistd.h>

static int pair[2];
static void *volatile nowhere = (void *)8; /* not to be seen through by the compiler */

static bool open_pair(int type)
{
	return socketpair(AF_UNIX, type, 0, pair) == 0;
}

static void close_pair(void)
{
	close(pair[0]);
	close(pair[1]);
}

/* What somebody does a little later, when the check already waits. */
static void *writes_later(void *argument)
{
	sleep_ms(30);
	return (void *)(intptr_t)write(*(int *)argument, "hello", 5);
}

static void *reads_one(void *argument)
{
	static __thread char bytes[16];
	ssize_t n = read(*(int *)argument, bytes, sizeof(bytes));

	return (void *)(intptr_t)(n < 0 ? -errno : n);
}

/* ---- closed while somebody waits ------------------------------------------------- */

CHECK(close_leaves_what_comes_later)
{
	int fd;

	EXPECT(open_pair(SOCK_STREAM));
	fd = pair[0];
	pthread_t t = started(reads_one, &fd);
	let_block();
	EXPECT(close(pair[0]) == 0);
	sleep_ms(10);
	EXPECT(write(pair[1], "late", 4) == 4);
	EXPECT(joined(t) == (void *)4L);
	/* The reader was the last who had it. */
	sleep_ms(10);
	EXPECT(send(pair[1], "x", 1, MSG_NOSIGNAL) == -1 && errno == EPIPE);
	close(pair[1]);
	return true;
}

CHECK(number_is_used_again_while_somebody_waits)
{
	int fd, other[2];

	EXPECT(open_pair(SOCK_STREAM));
	fd = pair[0];
	pthread_t t = started(reads_one, &fd);
	let_block();
	EXPECT(pipe(other) == 0 && dup2(other[0], fd) == fd);
	pthread_t u = started(reads_one, &fd);
	let_block();
	EXPECT(write(pair[1], "sock", 4) == 4);
	EXPECT(joined(t) == (void *)4L);
	EXPECT(write(other[1], "pipe!", 5) == 5);
	EXPECT(joined(u) == (void *)5L);
	close(other[0]);
	close(other[1]);
	close_pair();
	return true;
}

static void *accepts_one(void *argument)
{
	int fd = accept(*(int *)argument, NULL, NULL);

	return (void *)(intptr_t)(fd < 0 ? -errno : fd);
}

static int listening(struct sockaddr_in *address, int backlog)
{
	socklen_t size = sizeof(*address);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	*address = (struct sockaddr_in){ .sin_family = AF_INET,
		                         .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	if (fd < 0 || bind(fd, (struct sockaddr *)address, sizeof(*address)) < 0 ||
	    listen(fd, backlog) < 0 || getsockname(fd, (struct sockaddr *)address, &size) < 0)
		return -1;
	return fd;
}

CHECK(shutdown_ends_an_accept)
{
	struct sockaddr_in address;
	int fd = listening(&address, 5);

	EXPECT(fd >= 0);
	pthread_t t = started(accepts_one, &fd);
	let_block();
	EXPECT(shutdown(fd, SHUT_RD) == 0);
	EXPECT(joined(t) == (void *)(intptr_t)-EINVAL);
	close(fd);
	return true;
}

CHECK(accept_has_a_limit)
{
	struct timeval limit = { 0, 30000 };
	struct sockaddr_in address;
	int fd = listening(&address, 5);

	EXPECT(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) == 0);
	uint64_t since = now_ms();
	EXPECT(accept(fd, NULL, NULL) == -1 && errno == EAGAIN);
	EXPECT(now_ms() - since >= 25);
	close(fd);
	return true;
}

CHECK(accept_by_many)
{
	struct sockaddr_in address;
	int fd = listening(&address, 50), clients[8];
	pthread_t t[8];

	for (int i = 0; i < 8; i++)
		t[i] = started(accepts_one, &fd);
	sleep_ms(20);
	for (int i = 0; i < 8; i++) {
		clients[i] = socket(AF_INET, SOCK_STREAM, 0);
		EXPECT(connect(clients[i], (struct sockaddr *)&address, sizeof(address)) == 0);
	}
	for (int i = 0; i < 8; i++) {
		int got = (int)(intptr_t)joined(t[i]);
		EXPECT(got >= 0 && close(got) == 0 && close(clients[i]) == 0);
	}
	close(fd);
	return true;
}

static void *accepts_later(void *argument)
{
	int fd = *(int *)argument;

	sleep_ms(30);
	for (int i = 0; i < 3; i++)
		close(accept(fd, NULL, NULL));
	return NULL;
}

CHECK(connect_waits_for_room)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	socklen_t size = sizeof(sa_family_t);
	int fd = socket(AF_UNIX, SOCK_STREAM, 0), clients[3];

	/* An abstract name of the kernel's choice. */
	EXPECT(bind(fd, (struct sockaddr *)&address, size) == 0 && listen(fd, 0) == 0);
	size = sizeof(address);
	EXPECT(getsockname(fd, (struct sockaddr *)&address, &size) == 0);
	pthread_t t = started(accepts_later, &fd);
	for (int i = 0; i < 3; i++) {
		clients[i] = socket(AF_UNIX, SOCK_STREAM, 0);
		EXPECT(connect(clients[i], (struct sockaddr *)&address, size) == 0);
	}
	joined(t);
	for (int i = 0; i < 3; i++)
		close(clients[i]);
	close(fd);
	return true;
}

/* ---- receiving and sending ---------------------------------------------------------- */

static void *receives_later(void *argument)
{
	char bytes[256];
	intptr_t all = 0;
	ssize_t n;

	sleep_ms(30);
	/* All: the kernel calls the sender when most of its room is free again. */
	while ((n = recv(*(int *)argument, bytes, sizeof(bytes), MSG_DONTWAIT)) > 0)
		all += n;
	return (void *)all;
}

CHECK(datagram_waits_for_room)
{
	char bytes[100] = { 0 };
	int sent = 0;

	EXPECT(open_pair(SOCK_DGRAM));
	while (send(pair[0], bytes, sizeof(bytes), MSG_DONTWAIT) == sizeof(bytes))
		sent++;
	EXPECT(errno == EAGAIN && sent > 0);
	pthread_t t = started(receives_later, &pair[1]);
	EXPECT(send(pair[0], bytes, sizeof(bytes), 0) == sizeof(bytes));
	EXPECT((intptr_t)joined(t) >= sent * 100);
	close_pair();
	return true;
}

/* A connection by TCP, which knows things that a pair of sockets does not. */
static bool open_connection(void)
{
	struct sockaddr_in address;
	int fd = listening(&address, 1);

	pair[0] = socket(AF_INET, SOCK_STREAM, 0);
	if (connect(pair[0], (struct sockaddr *)&address, sizeof(address)) < 0)
		return false;
	pair[1] = accept(fd, NULL, NULL);
	close(fd);
	return pair[1] >= 0;
}

CHECK(peek_waits_for_all)
{
	char bytes[16];

	EXPECT(open_connection());
	EXPECT(write(pair[1], "abc", 3) == 3);
	pthread_t t = started(writes_later, &pair[1]);
	EXPECT(recv(pair[0], bytes, 8, MSG_PEEK | MSG_WAITALL) == 8);
	EXPECT(memcmp(bytes, "abchello", 8) == 0);
	EXPECT(recv(pair[0], bytes, 8, 0) == 8);
	joined(t);
	close_pair();
	/* But not on a local pair. */
	EXPECT(open_pair(SOCK_STREAM));
	EXPECT(write(pair[1], "abc", 3) == 3);
	EXPECT(recv(pair[0], bytes, 8, MSG_PEEK | MSG_WAITALL) == 3);
	close_pair();
	return true;
}

CHECK(message_waits_for_all)
{
	char head[4], tail[4];
	struct iovec iov[2] = { { head, 4 }, { tail, 4 } };
	struct msghdr message = { .msg_iov = iov, .msg_iovlen = 2 };

	EXPECT(open_pair(SOCK_STREAM));
	EXPECT(write(pair[1], "abc", 3) == 3);
	pthread_t t = started(writes_later, &pair[1]);
	EXPECT(recvmsg(pair[0], &message, MSG_WAITALL) == 8);
	EXPECT(memcmp(head, "abch", 4) == 0 && memcmp(tail, "ello", 4) == 0);
	joined(t);
	close_pair();
	return true;
}

static void *drains(void *argument)
{
	static char bytes[65536];
	size_t all = 0;
	ssize_t n;

	sleep_ms(20);
	while ((n = read(*(int *)argument, bytes, sizeof(bytes))) > 0)
		all += (size_t)n;
	return (void *)all;
}

CHECK(messages_are_sent_whole)
{
	static char bytes[700000];
	struct iovec iov = { bytes, sizeof(bytes) };
	struct mmsghdr messages[2] = { { .msg_hdr = { .msg_iov = &iov, .msg_iovlen = 1 } },
		                       { .msg_hdr = { .msg_iov = &iov, .msg_iovlen = 1 } } };

	EXPECT(open_pair(SOCK_STREAM));
	pthread_t t = started(drains, &pair[1]);
	EXPECT(sendmmsg(pair[0], messages, 2, 0) == 2);
	EXPECT(messages[0].msg_len == sizeof(bytes) && messages[1].msg_len == sizeof(bytes));
	shutdown(pair[0], SHUT_WR);
	EXPECT(joined(t) == (void *)(2 * sizeof(bytes)));
	close_pair();
	return true;
}

CHECK(vector_is_written_whole)
{
	static char bytes[700000];
	struct iovec iov[3] = { { bytes, 1 }, { bytes, sizeof(bytes) }, { bytes, 7 } };

	EXPECT(open_pair(SOCK_STREAM));
	pthread_t t = started(drains, &pair[1]);
	EXPECT(writev(pair[0], iov, 3) == (ssize_t)sizeof(bytes) + 8);
	shutdown(pair[0], SHUT_WR);
	EXPECT(joined(t) == (void *)(sizeof(bytes) + 8));
	close_pair();
	return true;
}

CHECK(many_messages_with_a_limit)
{
	char bytes[2][16];
	struct iovec iov[2] = { { bytes[0], 16 }, { bytes[1], 16 } };
	struct mmsghdr messages[2] = { { .msg_hdr = { .msg_iov = &iov[0], .msg_iovlen = 1 } },
		                       { .msg_hdr = { .msg_iov = &iov[1], .msg_iovlen = 1 } } };
	struct timespec limit = { 0, 10000000 };

	EXPECT(open_pair(SOCK_DGRAM));
	pthread_t t = started(writes_later, &pair[1]);
	/* The limit is looked at after a message alone. */
	EXPECT(recvmmsg(pair[0], messages, 2, 0, &limit) == 1);
	EXPECT(messages[0].msg_len == 5 && limit.tv_sec == 0 && limit.tv_nsec == 0);
	joined(t);
	t = started(writes_later, &pair[1]);
	EXPECT(recvmmsg(pair[0], messages, 2, MSG_WAITFORONE, NULL) == 1);
	joined(t);
	close_pair();
	return true;
}

CHECK(many_writers_of_a_pipe_do_not_mix)
{
	char bytes[64];
	int p[2];

	EXPECT(pipe(p) == 0);
	fcntl(p[1], F_SETPIPE_SZ, 4096);
	pthread_t t[4];
	for (int i = 0; i < 4; i++)
		t[i] = started(writes_later, &p[1]);
	for (int i = 0; i < 20;) {
		ssize_t n = read(p[0], bytes, sizeof(bytes));
		EXPECT(n > 0 && n % 5 == 0 && memcmp(bytes, "hello", 5) == 0);
		i += (int)n;
	}
	for (int i = 0; i < 4; i++)
		EXPECT(joined(t[i]) == (void *)5L);
	close(p[0]);
	close(p[1]);
	return true;
}

static int reads_done;

static void *reads_one_and_says_so(void *argument)
{
	void *result = reads_one(argument);

	add_one(&reads_done);
	return result;
}

CHECK(terminal_read_by_two)
{
	struct termios raw;
	int host, fd;

	EXPECT(openpty(&host, &fd, NULL, NULL, NULL) == 0);
	tcgetattr(fd, &raw);
	cfmakeraw(&raw);
	tcsetattr(fd, TCSANOW, &raw);
	for (int i = 0; i < 10; i++) {
		reads_done = 0;
		pthread_t t = started(reads_one_and_says_so, &fd);
		pthread_t u = started(reads_one_and_says_so, &fd);
		let_block();
		EXPECT(write(host, "a", 1) == 1);
		EXPECT(reaches(&reads_done, 1));
		EXPECT(write(host, "b", 1) == 1);
		EXPECT(joined(t) == (void *)1L && joined(u) == (void *)1L);
	}
	EXPECT(write(fd, "out", 3) == 3);
	char bytes[8];
	EXPECT(read(host, bytes, sizeof(bytes)) == 3);
	close(fd);
	close(host);
	return true;
}

/* ---- files and sockets -------------------------------------------------- */

CHECK(sendfile_of_much)
{
	char name[] = "/tmp/conform.XXXXXX";
	int file = mkstemp(name);
	off_t offset = 3, size = 600000;

	EXPECT(file >= 0 && unlink(name) == 0 && ftruncate(file, size) == 0);
	EXPECT(open_pair(SOCK_STREAM));
	pthread_t t = started(drains, &pair[1]);
	EXPECT(sendfile(pair[0], file, &offset, 1 << 30) == size - 3 && offset == size);
	EXPECT(lseek(file, 0, SEEK_CUR) == 0);
	EXPECT(sendfile(pair[0], file, NULL, 10) == 10 && lseek(file, 0, SEEK_CUR) == 10);
	shutdown(pair[0], SHUT_WR);
	EXPECT(joined(t) == (void *)(size - 3 + 10));
	close(file);
	close_pair();
	return true;
}

CHECK(file_calls_agree)
{
	char name[] = "/tmp/conform.XXXXXX", bytes[32] = { 0 };
	int file = mkstemp(name), copy = open("/tmp", O_TMPFILE | O_RDWR, 0600);
	struct iovec iov[2] = { { "one", 3 }, { "two", 3 } };
	struct iovec into[2] = { { bytes, 4 }, { bytes + 4, 20 } };

	EXPECT(file >= 0 && unlink(name) == 0);
	EXPECT(writev(file, iov, 2) == 6 && pwrite(file, "X", 1, 3) == 1);
	EXPECT(preadv2(file, into, 2, 0, 0) == 6 && memcmp(bytes, "oneXwo", 6) == 0);
	EXPECT(pread(file, bytes, 32, 6) == 0 && pread(file, bytes, 1, -1) == -1);
	EXPECT(errno == EINVAL);
	EXPECT(pwritev(file, iov, 1, 100) == 3 && read(file, bytes, 32) == 32);
	EXPECT(fsync(file) == 0 && fdatasync(file) == 0);
	if (copy >= 0) {
		off_t from = 0;
		EXPECT(copy_file_range(file, &from, copy, NULL, 6, 0) == 6 && from == 6);
		close(copy);
	}
	EXPECT(fallocate(file, 0, 0, 4096) == 0 || errno == EOPNOTSUPP);
	EXPECT(write(file, NULL, 0) == 0 && write(file, nowhere, 4) == -1 && errno == EFAULT);
	close(file);
	return true;
}

CHECK(bad_memory_is_refused)
{
	char byte = 'x';

	EXPECT(open_pair(SOCK_STREAM));
	EXPECT(write(pair[0], nowhere, 4) == -1 && errno == EFAULT);
	EXPECT(write(pair[0], &byte, 1) == 1);
	EXPECT(read(pair[1], nowhere, 4) == -1 && errno == EFAULT);
	EXPECT(poll(nowhere, 1, 100) == -1 && errno == EFAULT);
	close_pair();
	EXPECT(read(-1, &byte, 1) == -1 && errno == EBADF);
	EXPECT(read(pair[0], &byte, 1) == -1 && errno == EBADF);
	return true;
}

/* ---- readiness -------------------------------------------------------------------------- */

CHECK(poll_says_what_is_wrong)
{
	EXPECT(open_pair(SOCK_STREAM));
	struct pollfd fds[3] = { { .fd = -1, .events = POLLIN },
		                 { .fd = 9999, .events = POLLIN },
		                 { .fd = pair[0], .events = POLLIN } };
	EXPECT(poll(fds, 3, 1000) == 1);
	EXPECT(fds[0].revents == 0 && fds[1].revents == POLLNVAL && fds[2].revents == 0);
	EXPECT(poll(fds, 1, 20) == 0);
	fds[2].events = POLLRDHUP;
	shutdown(pair[1], SHUT_WR);
	EXPECT(poll(&fds[2], 1, 1000) == 1 && fds[2].revents == POLLRDHUP);
	close(pair[1]);
	EXPECT(poll(&fds[2], 1, 1000) == 1 && (fds[2].revents & POLLHUP));
	close(pair[0]);
	return true;
}

CHECK(select_changes_its_time)
{
	struct timeval limit = { 2, 0 };
	fd_set set, others;

	EXPECT(open_pair(SOCK_STREAM));
	pthread_t t = started(writes_later, &pair[1]);
	FD_ZERO(&set);
	FD_ZERO(&others);
	FD_SET(pair[0], &set);
	FD_SET(pair[0], &others);
	EXPECT(select(pair[0] + 1, &set, NULL, &others, &limit) == 1);
	EXPECT(FD_ISSET(pair[0], &set) && !FD_ISSET(pair[0], &others));
	EXPECT(limit.tv_sec == 1 && limit.tv_usec > 0);
	joined(t);
	close_pair();
	limit = (struct timeval){ 1, 0 };
	EXPECT(select(pair[0] + 1, &set, NULL, NULL, &limit) == -1 && errno == EBADF);
	EXPECT(FD_ISSET(pair[0], &set));
	return true;
}

static void *takes_one(void *argument)
{
	struct epoll_event event;
	int n = epoll_wait(*(int *)argument, &event, 1, 500);

	return (void *)(intptr_t)n;
}

CHECK(epoll_one_shot_wakes_one)
{
	struct epoll_event event = { .events = EPOLLIN | EPOLLONESHOT };
	int fd = epoll_create1(0), woken = 0;
	pthread_t t[4];

	EXPECT(open_pair(SOCK_STREAM));
	EXPECT(epoll_ctl(fd, EPOLL_CTL_ADD, pair[0], &event) == 0);
	for (int i = 0; i < 4; i++)
		t[i] = started(takes_one, &fd);
	sleep_ms(30);
	EXPECT(write(pair[1], "x", 1) == 1);
	for (int i = 0; i < 4; i++)
		woken += (int)(intptr_t)joined(t[i]);
	EXPECT(woken == 1);
	close(fd);
	close_pair();
	return true;
}

/* ---- many descriptors ----------------------------------------------------------------- */

CHECK(ranges_are_closed)
{
	char byte;

	EXPECT(open_pair(SOCK_STREAM));
	int high = fcntl(pair[0], F_DUPFD, 500);
	EXPECT(high >= 500);
	EXPECT(close_range(500, ~0u, 0) == 0);
	EXPECT(read(high, &byte, 1) == -1 && errno == EBADF);
	/* And threads still wait and wake. */
	pthread_t t = started(writes_later, &pair[1]);
	EXPECT(read(pair[0], &byte, 1) == 1);
	joined(t);
	close_pair();
	return true;
}
