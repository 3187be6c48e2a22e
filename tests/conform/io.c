/* SPDX-License-Identifier: MIT
 *
 * Descriptors: blocking, what they say when asked not to block, time limits, what
 * closing does, the calls with many buffers.
 */
#include "conform.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/select.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <unistd.h>

static int pair[2];

static bool open_pair(void)
{
	return socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0;
}

static void close_pair(void)
{
	close(pair[0]);
	close(pair[1]);
}

static void *writes_later(void *argument)
{
	sleep_ms(30);
	return (void *)(intptr_t)write(*(int *)argument, "hello", 5);
}

CHECK(pipe_read_waits)
{
	char bytes[16];
	int p[2];
	pthread_t t;

	EXPECT(pipe(p) == 0);
	t = started(writes_later, &p[1]);
	EXPECT(read(p[0], bytes, sizeof(bytes)) == 5); /* short: what is there */
	EXPECT(joined(t) == (void *)5L);
	EXPECT(close(p[1]) == 0 && read(p[0], bytes, 1) == 0);
	close(p[0]);
	return true;
}

static void *drains_later(void *argument)
{
	static char bytes[1 << 20];
	size_t n = 0;

	sleep_ms(30);
	while (n < sizeof(bytes)) {
		ssize_t r = read(*(int *)argument, bytes, sizeof(bytes) - n);
		if (r <= 0)
			return NULL;
		n += (size_t)r;
	}
	return (void *)1L;
}

CHECK(pipe_write_waits_for_all)
{
	static char bytes[1 << 20];
	int p[2];
	pthread_t t;

	EXPECT(pipe(p) == 0);
	t = started(drains_later, &p[0]);
	EXPECT(write(p[1], bytes, sizeof(bytes)) == sizeof(bytes));
	EXPECT(joined(t));
	close(p[0]);
	close(p[1]);
	return true;
}

CHECK(nonblocking_is_respected)
{
	char bytes[4096] = { 0 };

	EXPECT(open_pair());
	EXPECT(fcntl(pair[0], F_SETFL, O_NONBLOCK) == 0);
	EXPECT(read(pair[0], bytes, 1) == -1 && errno == EAGAIN);
	while (write(pair[0], bytes, sizeof(bytes)) > 0)
		;
	EXPECT(errno == EAGAIN);
	EXPECT(recv(pair[0], bytes, 1, 0) == -1 && errno == EAGAIN);
	EXPECT(!(fcntl(pair[1], F_GETFL) & O_NONBLOCK));
	EXPECT(fcntl(pair[0], F_GETFL) & O_NONBLOCK);
	close_pair();
	return true;
}

CHECK(dontwait_is_respected)
{
	char byte;

	EXPECT(open_pair());
	EXPECT(recv(pair[0], &byte, 1, MSG_DONTWAIT) == -1 && errno == EAGAIN);
	EXPECT(!(fcntl(pair[0], F_GETFL) & O_NONBLOCK));
	close_pair();
	return true;
}

CHECK(receive_timeout)
{
	struct timeval limit = { 0, 50000 };
	uint64_t before = now_ms();
	char byte;

	EXPECT(open_pair());
	EXPECT(setsockopt(pair[0], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) == 0);
	EXPECT(recv(pair[0], &byte, 1, 0) == -1 && errno == EAGAIN);
	EXPECT(now_ms() - before >= 45);
	EXPECT(read(pair[0], &byte, 1) == -1 && errno == EAGAIN);
	close_pair();
	return true;
}

CHECK(send_timeout)
{
	struct timeval limit = { 0, 50000 };
	static char bytes[1 << 22];
	ssize_t n;

	EXPECT(open_pair());
	EXPECT(setsockopt(pair[0], SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)) == 0);
	n = send(pair[0], bytes, sizeof(bytes), 0);
	EXPECT(n > 0 && n < (ssize_t)sizeof(bytes)); /* what went before it was full */
	EXPECT(send(pair[0], bytes, 1000000, 0) == -1 && errno == EAGAIN);
	close_pair();
	return true;
}

static void *writes_in_parts(void *argument)
{
	for (int i = 0; i < 5; i++) {
		sleep_ms(5);
		if (write(*(int *)argument, "0123456789", 10) != 10)
			return NULL;
	}
	return (void *)1L;
}

CHECK(waitall_waits_for_all)
{
	char bytes[50];
	pthread_t t;

	EXPECT(open_pair());
	t = started(writes_in_parts, &pair[1]);
	EXPECT(recv(pair[0], bytes, sizeof(bytes), MSG_WAITALL) == 50);
	EXPECT(joined(t) && bytes[49] == '9');
	t = started(writes_in_parts, &pair[1]);
	EXPECT(recv(pair[0], bytes, sizeof(bytes), 0) == 10);
	EXPECT(joined(t));
	close_pair();
	return true;
}

CHECK(peek_leaves_the_bytes)
{
	char bytes[8];
	pthread_t t;

	EXPECT(open_pair());
	t = started(writes_later, &pair[1]);
	EXPECT(recv(pair[0], bytes, 8, MSG_PEEK) == 5);
	EXPECT(recv(pair[0], bytes, 8, 0) == 5);
	joined(t);
	close_pair();
	return true;
}

static void *shuts_down_later(void *argument)
{
	sleep_ms(30);
	shutdown(*(int *)argument, SHUT_RDWR);
	return NULL;
}

CHECK(shutdown_ends_a_read)
{
	pthread_t t;
	char byte;

	EXPECT(open_pair());
	t = started(shuts_down_later, &pair[0]);
	EXPECT(read(pair[0], &byte, 1) == 0);
	joined(t);
	close_pair();
	return true;
}

static int reading;

static void *reads_one(void *argument)
{
	char byte;

	add_one(&reading);
	return (void *)(intptr_t)read(*(int *)argument, &byte, 1);
}

/* Linux: closing a descriptor does not end a call that has it open already. */
CHECK(close_leaves_a_read)
{
	int copy;
	pthread_t t;

	EXPECT(open_pair());
	copy = pair[0];
	reading = 0;
	t = started(reads_one, &pair[0]);
	EXPECT(reaches(&reading, 1));
	let_block();
	EXPECT(close(copy) == 0);
	EXPECT(write(pair[1], "x", 1) == 1);
	EXPECT(joined(t) == (void *)1L);
	EXPECT(read(copy, &(char){ 0 }, 1) == -1 && errno == EBADF);
	close(pair[1]);
	return true;
}

static int broken_pipes;

static void counts_broken(int number)
{
	(void)number;
	add_one(&broken_pipes);
}

static void *writes_to_nobody(void *argument)
{
	char byte = 0;

	return (void *)(intptr_t)(write(*(int *)argument, &byte, 1) == -1 && errno == EPIPE);
}

CHECK(broken_pipe_is_signalled)
{
	struct sigaction action = { .sa_handler = counts_broken }, old;

	broken_pipes = 0;
	EXPECT(sigaction(SIGPIPE, &action, &old) == 0);
	EXPECT(open_pair() && close(pair[0]) == 0);
	EXPECT(in_thread(writes_to_nobody, &pair[1]) && broken_pipes == 1);
	EXPECT(send(pair[1], "x", 1, MSG_NOSIGNAL) == -1 && errno == EPIPE && broken_pipes == 1);
	close(pair[1]);
	EXPECT(pipe(pair) == 0 && close(pair[0]) == 0);
	EXPECT(in_thread(writes_to_nobody, &pair[1]) && broken_pipes == 2);
	close(pair[1]);
	EXPECT(sigaction(SIGPIPE, &old, NULL) == 0);
	return true;
}

/* ---- connections ------------------------------------------------------------ */

static int listener(struct sockaddr_in *a)
{
	socklen_t size = sizeof(*a);
	int s = socket(AF_INET, SOCK_STREAM, 0);

	*a = (struct sockaddr_in){ .sin_family = AF_INET,
		                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	if (s < 0 || bind(s, (struct sockaddr *)a, sizeof(*a)) || listen(s, 100) ||
	    getsockname(s, (struct sockaddr *)a, &size))
		return -1;
	return s;
}

static void *connects_later(void *argument)
{
	int s = socket(AF_INET, SOCK_STREAM, 0);
	char bytes[8] = "";
	bool good;

	sleep_ms(20);
	good = connect(s, argument, sizeof(struct sockaddr_in)) == 0 &&
	       send(s, "ping", 4, 0) == 4 && recv(s, bytes, 4, MSG_WAITALL) == 4 &&
	       strcmp(bytes, "pong") == 0;
	close(s);
	return (void *)(intptr_t)good;
}

CHECK(accept_and_connect)
{
	enum { COUNT = 20 };
	struct sockaddr_in address;
	pthread_t t[COUNT];
	int s = listener(&address);

	EXPECT(s >= 0);
	for (int i = 0; i < COUNT; i++)
		t[i] = started(connects_later, &address);
	for (int i = 0; i < COUNT; i++) {
		char bytes[4];
		int c = accept4(s, NULL, NULL, SOCK_CLOEXEC);
		EXPECT(c >= 0);
		EXPECT(recv(c, bytes, 4, MSG_WAITALL) == 4 && send(c, "pong", 4, 0) == 4);
		close(c);
	}
	for (int i = 0; i < COUNT; i++)
		EXPECT(joined(t[i]));
	close(s);
	return true;
}

CHECK(accept_nonblocking)
{
	struct sockaddr_in address;
	int s = listener(&address);

	EXPECT(s >= 0 && fcntl(s, F_SETFL, O_NONBLOCK) == 0);
	EXPECT(accept(s, NULL, NULL) == -1 && errno == EAGAIN);
	close(s);
	return true;
}

CHECK(connect_refused)
{
	struct sockaddr_in address;
	int s = listener(&address), c = socket(AF_INET, SOCK_STREAM, 0);

	EXPECT(s >= 0 && close(s) == 0);
	EXPECT(connect(c, (struct sockaddr *)&address, sizeof(address)) == -1);
	EXPECT(errno == ECONNREFUSED);
	close(c);
	return true;
}

CHECK(connect_nonblocking)
{
	struct sockaddr_in address;
	int s = listener(&address), c = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), error = 1;
	socklen_t size = sizeof(error);
	struct pollfd p = { .fd = c, .events = POLLOUT };

	EXPECT(s >= 0 && c >= 0);
	EXPECT(connect(c, (struct sockaddr *)&address, sizeof(address)) == 0 ||
	       errno == EINPROGRESS);
	EXPECT(poll(&p, 1, 5000) == 1 && (p.revents & POLLOUT));
	EXPECT(getsockopt(c, SOL_SOCKET, SO_ERROR, &error, &size) == 0 && error == 0);
	close(c);
	close(s);
	return true;
}

CHECK(datagrams)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct sockaddr_in from;
	socklen_t size = sizeof(a);
	int s = socket(AF_INET, SOCK_DGRAM, 0), c = socket(AF_INET, SOCK_DGRAM, 0);
	char bytes[4];

	EXPECT(bind(s, (struct sockaddr *)&a, size) == 0);
	EXPECT(getsockname(s, (struct sockaddr *)&a, &size) == 0);
	EXPECT(sendto(c, "12345678", 8, 0, (struct sockaddr *)&a, size) == 8);
	EXPECT(recvfrom(s, bytes, 4, MSG_TRUNC, (struct sockaddr *)&from, &size) == 8);
	EXPECT(from.sin_addr.s_addr == htonl(INADDR_LOOPBACK));
	EXPECT(recvfrom(s, bytes, 4, MSG_DONTWAIT, NULL, NULL) == -1 && errno == EAGAIN);
	close(s);
	close(c);
	return true;
}

/* ---- many buffers ----------------------------------------------------------- */

CHECK(vectors)
{
	char a[3], b[2];
	struct iovec out[2] = { { "hel", 3 }, { "lo", 2 } }, in[2] = { { a, 3 }, { b, 2 } };
	struct msghdr m = { .msg_iov = in, .msg_iovlen = 2 };

	EXPECT(open_pair());
	EXPECT(writev(pair[0], out, 2) == 5 && readv(pair[1], in, 2) == 5);
	EXPECT(memcmp(a, "hel", 3) == 0 && memcmp(b, "lo", 2) == 0);
	EXPECT(writev(pair[0], out, 2) == 5 && recvmsg(pair[1], &m, 0) == 5);
	m.msg_iov = out;
	EXPECT(sendmsg(pair[0], &m, 0) == 5 && read(pair[1], a, 3) == 3);
	close_pair();
	return true;
}

static void *sends_three(void *argument)
{
	struct iovec v[3] = { { "a", 1 }, { "bb", 2 }, { "ccc", 3 } };
	struct mmsghdr m[3] = { 0 };

	sleep_ms(20);
	for (int i = 0; i < 3; i++)
		m[i].msg_hdr = (struct msghdr){ .msg_iov = &v[i], .msg_iovlen = 1 };
	return (void *)(intptr_t)sendmmsg(*(int *)argument, m, 3, 0);
}

CHECK(many_messages)
{
	char bytes[3][8];
	struct iovec v[3];
	struct mmsghdr m[3] = { 0 };
	pthread_t t;

	EXPECT(socketpair(AF_UNIX, SOCK_DGRAM, 0, pair) == 0);
	for (int i = 0; i < 3; i++) {
		v[i] = (struct iovec){ bytes[i], 8 };
		m[i].msg_hdr = (struct msghdr){ .msg_iov = &v[i], .msg_iovlen = 1 };
	}
	t = started(sends_three, &pair[0]);
	EXPECT(recvmmsg(pair[1], m, 3, 0, NULL) == 3);
	EXPECT(m[0].msg_len == 1 && m[1].msg_len == 2 && m[2].msg_len == 3);
	EXPECT(joined(t) == (void *)3L);
	EXPECT(recvmmsg(pair[1], m, 3, MSG_DONTWAIT, NULL) == -1 && errno == EAGAIN);
	close_pair();
	return true;
}

CHECK(descriptor_is_passed)
{
	char control[CMSG_SPACE(sizeof(int))] = { 0 }, byte = 'x';
	struct iovec v = { &byte, 1 };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = control };
	struct cmsghdr *c;
	int null = open("/dev/null", O_RDWR), got;

	EXPECT(null >= 0 && open_pair());
	m.msg_controllen = sizeof(control);
	c = CMSG_FIRSTHDR(&m);
	*c = (struct cmsghdr){ CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS };
	memcpy(CMSG_DATA(c), &null, sizeof(null));
	EXPECT(sendmsg(pair[0], &m, 0) == 1);
	m.msg_controllen = sizeof(control);
	EXPECT(recvmsg(pair[1], &m, 0) == 1 && (c = CMSG_FIRSTHDR(&m)));
	memcpy(&got, CMSG_DATA(c), sizeof(got));
	EXPECT(got != null && write(got, "x", 1) == 1);
	close(got);
	close(null);
	close_pair();
	return true;
}

static void *splices(void *argument)
{
	int *fds = argument;

	return (void *)(intptr_t)splice(fds[0], NULL, fds[1], NULL, 100, 0);
}

CHECK(splice_waits)
{
	int a[2], b[2], ends[2];
	char bytes[8];
	pthread_t t;

	EXPECT(pipe(a) == 0 && pipe(b) == 0);
	ends[0] = a[0];
	ends[1] = b[1];
	t = started(splices, ends);
	sleep_ms(20);
	EXPECT(write(a[1], "hello", 5) == 5);
	EXPECT(joined(t) == (void *)5L);
	EXPECT(read(b[0], bytes, 8) == 5);
	for (int i = 0; i < 2; i++) {
		close(a[i]);
		close(b[i]);
	}
	return true;
}

static void *drains_slowly(void *argument)
{
	char bytes[65536];
	size_t sum = 0;
	ssize_t n;

	while ((n = read(*(int *)argument, bytes, sizeof(bytes))) > 0) {
		sum += (size_t)n;
		if (sum % 7 == 0)
			sleep_ms(1);
	}
	return (void *)sum;
}

CHECK(sendfile_waits)
{
	enum { SIZE = 3 << 20 };
	FILE *f = tmpfile();
	off_t offset = 0;
	pthread_t t;

	EXPECT(f && ftruncate(fileno(f), SIZE) == 0 && open_pair());
	t = started(drains_slowly, &pair[1]);
	while (offset < SIZE)
		EXPECT(sendfile(pair[0], fileno(f), &offset, (size_t)(SIZE - offset)) > 0);
	shutdown(pair[0], SHUT_WR);
	EXPECT(joined(t) == (void *)(intptr_t)SIZE);
	fclose(f);
	close_pair();
	return true;
}
