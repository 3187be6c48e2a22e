/* SPDX-License-Identifier: MIT
 *
 * Waiting until descriptors are ready, and for time: poll, select, epoll, timers, sleeps.
 */
#include "conform.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <unistd.h>

static int pipes[2];

static bool open_pipe(void)
{
	return pipe(pipes) == 0;
}

static void close_pipe(void)
{
	close(pipes[0]);
	close(pipes[1]);
}

static void *writes_later(void *argument)
{
	sleep_ms(30);
	return write(*(int *)argument, "x", 1) == 1 ? argument : NULL;
}

/* ---- time ------------------------------------------------------------------- */

CHECK(sleep_takes_its_time)
{
	uint64_t before = now_ms();

	EXPECT(usleep(30000) == 0);
	EXPECT(now_ms() - before >= 29);
	before = now_ms();
	EXPECT(sleep(1) == 0);
	EXPECT(now_ms() - before >= 999);
	return true;
}

CHECK(sleep_until)
{
	struct timespec until = in_ms(CLOCK_MONOTONIC, 40), past = in_ms(CLOCK_MONOTONIC, -40);
	struct timespec wall = in_ms(CLOCK_REALTIME, 30), bad = { 0, 1000000000 };
	uint64_t before = now_ms();

	EXPECT(clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &past, NULL) == 0);
	EXPECT(clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) == 0);
	EXPECT(now_ms() - before >= 39);
	EXPECT(clock_nanosleep(CLOCK_REALTIME, TIMER_ABSTIME, &wall, NULL) == 0);
	EXPECT(clock_nanosleep(CLOCK_MONOTONIC, 0, &bad, NULL) == EINVAL);
	EXPECT(nanosleep(&bad, NULL) == -1 && errno == EINVAL);
	return true;
}

CHECK(timerfd_fires)
{
	struct itimerspec each = { { 0, 10000000 }, { 0, 20000000 } };
	uint64_t count = 0, sum = 0, before = now_ms();
	int fd = timerfd_create(CLOCK_MONOTONIC, 0);

	EXPECT(fd >= 0 && timerfd_settime(fd, 0, &each, NULL) == 0);
	while (sum < 4) {
		EXPECT(read(fd, &count, sizeof(count)) == sizeof(count) && count > 0);
		sum += count;
	}
	EXPECT(now_ms() - before >= 49);
	close(fd);
	return true;
}

static void *volatile nowhere = (void *)8; /* not to be seen through by the compiler */

static void *counts_up(void *argument)
{
	uint64_t most = UINT64_MAX - 1;

	return (void *)(intptr_t)write(*(int *)argument, &most, sizeof(most));
}

CHECK(eventfd_write_waits)
{
	uint64_t value = 1;
	int fd = eventfd(1, 0);

	pthread_t t = started(counts_up, &fd);
	sleep_ms(30);
	EXPECT(read(fd, &value, sizeof(value)) == 8 && value == 1);
	EXPECT(joined(t) == (void *)8L);
	EXPECT(read(fd, &value, sizeof(value)) == 8 && value == UINT64_MAX - 1);
	close(fd);
	return true;
}

static void *adds_one(void *argument)
{
	uint64_t one = 1;

	return (void *)(intptr_t)write(*(int *)argument, &one, sizeof(one));
}

/* How programs tell events: one that is full has no room for another. */
CHECK(eventfd_adds_one)
{
	uint64_t most = UINT64_MAX - 1, value = 0;
	int fd = eventfd(0, 0), busy = eventfd(0, EFD_NONBLOCK);

	for (int i = 0; i < 999; i++) {
		EXPECT(adds_one(&fd) == (void *)8L && adds_one(&busy) == (void *)8L);
		if (i % 3 == 2)
			EXPECT(read(fd, &value, sizeof(value)) == 8 && value == 3);
	}
	EXPECT(write(fd, nowhere, sizeof(value)) == -1 && errno == EFAULT);
	EXPECT(read(busy, &value, sizeof(value)) == 8 && value == 999);
	EXPECT(write(busy, &most, sizeof(most)) == 8);
	EXPECT(adds_one(&busy) == (void *)-1L && errno == EAGAIN);
	EXPECT(write(fd, &most, sizeof(most)) == 8);
	pthread_t t = started(adds_one, &fd);
	sleep_ms(30);
	EXPECT(read(fd, &value, sizeof(value)) == 8 && value == most);
	EXPECT(joined(t) == (void *)8L);
	EXPECT(read(fd, &value, sizeof(value)) == 8 && value == 1);
	close(busy);
	close(fd);
	return true;
}

static void *adds_later(void *argument)
{
	sleep_ms(20);
	return (void *)(intptr_t)eventfd_write(*(int *)argument, 5);
}

CHECK(eventfd_wakes)
{
	int fd = eventfd(0, 0);
	pthread_t t;
	eventfd_t value;

	EXPECT(fd >= 0);
	t = started(adds_later, &fd);
	EXPECT(eventfd_read(fd, &value) == 0 && value == 5);
	EXPECT(joined(t) == NULL);
	close(fd);
	return true;
}

/* ---- poll and select -------------------------------------------------------- */

CHECK(poll_times_out)
{
	struct pollfd p = { .events = POLLIN };
	uint64_t before = now_ms();

	EXPECT(open_pipe());
	p.fd = pipes[0];
	EXPECT(poll(&p, 1, 0) == 0);
	EXPECT(poll(&p, 1, 50) == 0 && now_ms() - before >= 49);
	EXPECT(poll(NULL, 0, 20) == 0);
	close_pipe();
	return true;
}

CHECK(poll_is_woken)
{
	struct pollfd p[3] = { { .fd = -1, .revents = 7 },
		               { .events = POLLIN },
		               { .events = POLLIN } };
	pthread_t t;

	EXPECT(open_pipe());
	p[1].fd = pipes[0];
	p[2].fd = 1000;
	EXPECT(poll(p, 3, -1) == 1 && p[2].revents == POLLNVAL && !p[0].revents);
	p[2].fd = -1;
	t = started(writes_later, &pipes[1]);
	EXPECT(poll(p, 3, 5000) == 1 && p[1].revents == POLLIN);
	joined(t);
	close(pipes[1]);
	EXPECT(poll(p, 2, -1) == 1 && (p[1].revents & POLLHUP));
	close(pipes[0]);
	return true;
}

CHECK(poll_many_descriptors)
{
	enum { COUNT = 200 };
	struct pollfd p[COUNT];
	int fds[COUNT][2];
	pthread_t t;

	for (int i = 0; i < COUNT; i++) {
		EXPECT(pipe(fds[i]) == 0);
		p[i] = (struct pollfd){ .fd = fds[i][0], .events = POLLIN };
	}
	t = started(writes_later, &fds[150][1]);
	EXPECT(poll(p, COUNT, 5000) == 1 && p[150].revents == POLLIN);
	joined(t);
	for (int i = 0; i < COUNT; i++) {
		close(fds[i][0]);
		close(fds[i][1]);
	}
	return true;
}

CHECK(select_is_woken)
{
	struct timeval limit = { 1000, 0 };
	fd_set in, out;
	pthread_t t;

	EXPECT(open_pipe());
	FD_ZERO(&in);
	FD_ZERO(&out);
	FD_SET(pipes[0], &in);
	t = started(writes_later, &pipes[1]);
	EXPECT(select(pipes[1] + 1, &in, &out, NULL, &limit) == 1 && FD_ISSET(pipes[0], &in));
	/* Linux says what is left. */
	EXPECT(limit.tv_sec > 900 && limit.tv_sec < 1000);
	joined(t);
	FD_SET(pipes[1], &out);
	EXPECT(select(pipes[1] + 1, &in, &out, NULL, NULL) == 2 && FD_ISSET(pipes[1], &out));
	close_pipe();
	return true;
}

CHECK(select_times_out)
{
	struct timeval limit = { 0, 50000 };
	struct timespec short_limit = { 0, 20000000 };
	uint64_t before = now_ms();
	fd_set in;

	EXPECT(open_pipe());
	FD_ZERO(&in);
	FD_SET(pipes[0], &in);
	EXPECT(select(pipes[0] + 1, &in, NULL, NULL, &limit) == 0 && !FD_ISSET(pipes[0], &in));
	EXPECT(now_ms() - before >= 49);
	FD_SET(pipes[0], &in);
	EXPECT(pselect(pipes[0] + 1, &in, NULL, NULL, &short_limit, NULL) == 0);
	FD_SET(pipes[0], &in);
	close_pipe();
	EXPECT(select(pipes[0] + 1, &in, NULL, NULL, NULL) == -1 && errno == EBADF);
	return true;
}

/* ---- epoll ------------------------------------------------------------------ */

static bool watch(int epoll, int fd, unsigned events)
{
	struct epoll_event e = { .events = events, .data.fd = fd };

	return epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &e) == 0;
}

CHECK(epoll_is_woken)
{
	int epoll = epoll_create1(EPOLL_CLOEXEC);
	struct epoll_event e;
	pthread_t t;

	EXPECT(epoll >= 0 && open_pipe() && watch(epoll, pipes[0], EPOLLIN));
	EXPECT(epoll_wait(epoll, &e, 1, 0) == 0);
	t = started(writes_later, &pipes[1]);
	EXPECT(epoll_wait(epoll, &e, 1, -1) == 1 && e.data.fd == pipes[0] && e.events == EPOLLIN);
	EXPECT(epoll_pwait(epoll, &e, 1, 0, NULL) == 1);
	joined(t);
	close(epoll);
	close_pipe();
	return true;
}

CHECK(epoll_times_out)
{
	int epoll = epoll_create1(0);
	struct timespec limit = { 0, 20000000 };
	uint64_t before = now_ms();
	struct epoll_event e;

	EXPECT(epoll >= 0);
	EXPECT(epoll_wait(epoll, &e, 1, 50) == 0 && now_ms() - before >= 49);
	EXPECT(epoll_pwait2(epoll, &e, 1, &limit, NULL) == 0 || errno == ENOSYS);
	EXPECT(now_ms() - before >= 69 || errno == ENOSYS);
	EXPECT(epoll_wait(epoll, &e, 0, 0) == -1 && errno == EINVAL);
	close(epoll);
	return true;
}

CHECK(epoll_edges)
{
	int epoll = epoll_create1(0);
	struct epoll_event e;

	EXPECT(open_pipe() && watch(epoll, pipes[0], EPOLLIN | EPOLLET));
	EXPECT(write(pipes[1], "x", 1) == 1);
	EXPECT(epoll_wait(epoll, &e, 1, 1000) == 1);
	EXPECT(epoll_wait(epoll, &e, 1, 20) == 0); /* still readable: no new edge */
	EXPECT(write(pipes[1], "x", 1) == 1);
	EXPECT(epoll_wait(epoll, &e, 1, 1000) == 1);
	close(epoll);
	close_pipe();
	return true;
}

static int events_seen;

static void *waits_at_epoll(void *argument)
{
	struct epoll_event e;
	char byte;

	while (epoll_wait(*(int *)argument, &e, 1, 5000) == 1) {
		if (read(e.data.fd, &byte, 1) != 1 || byte == 'q')
			break;
		add_one(&events_seen);
	}
	return NULL;
}

CHECK(epoll_shared_by_threads)
{
	int epoll = epoll_create1(0), fds[8][2];
	pthread_t t[4];

	events_seen = 0;
	for (int i = 0; i < 8; i++)
		EXPECT(pipe(fds[i]) == 0 && watch(epoll, fds[i][0], EPOLLIN | EPOLLET));
	for (int i = 0; i < 4; i++)
		t[i] = started(waits_at_epoll, &epoll);
	for (int round = 1; round <= 20; round++) {
		for (int i = 0; i < 8; i++)
			EXPECT(write(fds[i][1], "x", 1) == 1);
		EXPECT(reaches(&events_seen, round * 8));
	}
	for (int i = 0; i < 4; i++) /* each ends one */
		EXPECT(write(fds[i][1], "q", 1) == 1);
	for (int i = 0; i < 4; i++)
		joined(t[i]);
	for (int i = 0; i < 8; i++) {
		close(fds[i][0]);
		close(fds[i][1]);
	}
	close(epoll);
	return true;
}

static void *watches_later(void *argument)
{
	sleep_ms(20);
	return watch(*(int *)argument, pipes[0], EPOLLIN) && write(pipes[1], "x", 1) == 1 ? argument
	                                                                                  : NULL;
}

CHECK(epoll_changed_while_waiting)
{
	int epoll = epoll_create1(0);
	struct epoll_event e;
	pthread_t t;

	EXPECT(open_pipe());
	t = started(watches_later, &epoll);
	EXPECT(epoll_wait(epoll, &e, 1, 5000) == 1 && e.data.fd == pipes[0]);
	EXPECT(joined(t));
	close(epoll);
	close_pipe();
	return true;
}

CHECK(epoll_in_epoll)
{
	int inner = epoll_create1(0), outer = epoll_create1(0);
	struct epoll_event e;
	pthread_t t;

	EXPECT(open_pipe() && watch(inner, pipes[0], EPOLLIN) && watch(outer, inner, EPOLLIN));
	t = started(writes_later, &pipes[1]);
	EXPECT(epoll_wait(outer, &e, 1, 5000) == 1 && e.data.fd == inner);
	EXPECT(epoll_wait(inner, &e, 1, 0) == 1);
	EXPECT(joined(t));
	close(inner);
	close(outer);
	close_pipe();
	return true;
}
