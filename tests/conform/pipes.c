/* SPDX-License-Identifier: MIT
 *
 * tee(2), splice(2), vmsplice(2): they wait for both ends.
 */
#include "conform.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

static int pair[2];

static void *writes_later(void *argument)
{
	sleep_ms(30);
	return (void *)(intptr_t)write(*(int *)argument, "hello", 5);
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

CHECK(tee_waits)
{
	char bytes[16];
	int a[2], b[2];

	EXPECT(pipe(a) == 0 && pipe(b) == 0);
	pthread_t t = started(writes_later, &a[1]);
	EXPECT(tee(a[0], b[1], 16, 0) == 5);
	EXPECT(read(a[0], bytes, 16) == 5 && read(b[0], bytes, 16) == 5);
	EXPECT(tee(a[0], b[1], 16, SPLICE_F_NONBLOCK) == -1 && errno == EAGAIN);
	joined(t);
	for (int i = 0; i < 2; i++) {
		close(a[i]);
		close(b[i]);
	}
	return true;
}

CHECK(splice_from_a_socket)
{
	char bytes[16];
	int p[2];

	EXPECT(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0 && pipe(p) == 0);
	pthread_t t = started(writes_later, &pair[1]);
	EXPECT(splice(pair[0], NULL, p[1], NULL, 16, 0) == 5);
	EXPECT(splice(p[0], NULL, pair[0], NULL, 5, 0) == 5);
	EXPECT(read(pair[1], bytes, 16) == 5);
	joined(t);
	close(p[0]);
	close(p[1]);
	close(pair[0]);
	close(pair[1]);
	return true;
}

CHECK(vmsplice_waits_for_room)
{
	static char bytes[1 << 20];
	struct iovec iov = { bytes, sizeof(bytes) };
	int p[2];

	EXPECT(pipe(p) == 0);
	pthread_t t = started(drains, &p[0]);
	size_t all = 0;
	while (all < sizeof(bytes)) {
		ssize_t n = vmsplice(p[1], &iov, 1, 0);
		EXPECT(n > 0);
		all += (size_t)n;
		iov.iov_base = bytes + all;
		iov.iov_len = sizeof(bytes) - all;
	}
	close(p[1]);
	EXPECT(joined(t) == (void *)all);
	close(p[0]);
	return true;
}
