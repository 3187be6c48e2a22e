/* SPDX-License-Identifier: MIT
 *
 * What only the epoll engine has: registrations that go stale, and system
 * calls that fail or are missing.
 */
#include "engine_fixture.h"

#include <sys/epoll.h>

static struct {
	long nr;
	int error, every, calls;
} fault;

static long fail_every(long nr, long a, long b, long c, long d, long e, long f)
{
	if (nr == fault.nr && ++fault.calls % fault.every == 0)
		return -fault.error;
	return sys_raw(nr, a, b, c, d, e, f);
}

static void inject(long nr, int error, int every)
{
	fault.nr = nr;
	fault.error = error;
	fault.every = every;
	fault.calls = 0;
	sys.call = fail_every;
}

EPOLL_TEST(waits_are_interrupted)
{
	for (int every = 2; every <= 5; every++) {
		inject(SYS_epoll_pwait2, EINTR, every);
		mixed_traffic(50);
		inject(SYS_epoll_pwait, EINTR, every);
		mixed_traffic(50);
	}
}

EPOLL_TEST(sleep_without_pwait2)
{
	static const int errors[] = { ENOSYS, EPERM };

	for (unsigned i = 0; i < 2; i++) {
		inject(SYS_epoll_pwait2, errors[i], 1);
		mixed_traffic(20);
		int64_t before = sys.now();
		REQUIRE_EQ(engine->poll(worker, 3 * MS + 1), 0);
		REQUIRE(sys.now() - before >= 3 * MS + 1); /* rounded up */
		engine_end();
		engine_begin();
	}
}

EPOLL_TEST(pwait2_switched_off)
{
	char why[64];

	engine_end();
	feature_parse("-epoll_pwait2", why, sizeof(why));
	REQUIRE_EQ(engine->probe(why, sizeof(why)), 0);
	engine_begin();
	inject(SYS_epoll_pwait2, EBADF, 1);
	mixed_traffic(20);
	REQUIRE_EQ(engine->poll(worker, MS), 0);
	feature_reset();
}

/* A registration that cannot be made is that operation's result, and nobody
 * else's. */
EPOLL_TEST(control_fails)
{
	struct counted first, second;
	int fd = new_eventfd(0);

	wait_for(&first, fd, POLLIN);
	inject(SYS_epoll_ctl, ENOMEM, 1);
	wait_for(&second, fd, POLLIN);
	sys.call = sys_raw;
	REQUIRE_EQ(result_of(&second), -ENOMEM);
	REQUIRE_EQ(first.completions, 0);
	ring_eventfd(fd);
	REQUIRE_EQ(result_of(&first), POLLIN);

	/* The rest of a list that cannot be armed again is not left to hang. */
	int fds[2];
	REQUIRE_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	wait_for(&first, fds[0], POLLIN);
	wait_for(&second, fds[0], POLLOUT);
	inject(SYS_epoll_ctl, ENOMEM, 1);
	REQUIRE_EQ(result_of(&second), POLLOUT);
	REQUIRE_EQ(result_of(&first), -ENOMEM);
	close(fds[0]);
	close(fds[1]);
	close(fd);
}

EPOLL_TEST(poll_fails_for_good)
{
	inject(SYS_epoll_pwait2, EBADF, 1);
	REQUIRE_EQ(engine->poll(worker, MS), -EBADF);
	inject(SYS_epoll_pwait2, EINVAL, 1); /* the number is another file's */
	REQUIRE_EQ(engine->poll(worker, MS), -EBADF);
	inject(SYS_epoll_pwait, EBADF, 1);
	REQUIRE_EQ(engine->poll(worker, 0), -EBADF);
}

/* Closed and reused while something waits: the wait was for the old file. */
EPOLL_TEST(number_is_reused_under_a_wait)
{
	struct counted old, new;
	int fd = new_eventfd(0);

	wait_for(&old, fd, POLLIN);
	close(fd);
	REQUIRE_EQ(new_eventfd(0), fd);
	wait_for(&new, fd, POLLIN);
	REQUIRE_EQ(result_of(&old), -EBADF);
	expect_nothing(5 * MS);
	ring_eventfd(fd);
	REQUIRE_EQ(result_of(&new), POLLIN);

	wait_for(&old, fd, POLLIN);
	drain_eventfd(fd);
	close(fd);
	wait_for(&new, fd, POLLIN);
	REQUIRE_EQ(result_of(&old), -EBADF);
	REQUIRE_EQ(result_of(&new), -EBADF);

	fd = new_eventfd(0);
	wait_for(&old, fd, POLLIN);
	FILE *file = tmpfile();
	REQUIRE_EQ(dup2(fileno(file), fd), fd); /* now a file without readiness */
	wait_for(&new, fd, POLLIN);
	REQUIRE_EQ(result_of(&old), -EBADF);
	REQUIRE_EQ(result_of(&new), POLLIN);
	fclose(file);
	close(fd);
}

/* The registration of a file that has got the number back already exists. */
EPOLL_TEST(file_comes_back)
{
	struct counted c;
	int fd = new_eventfd(0), keep = dup(fd);

	wait_for(&c, fd, POLLIN);
	expect_nothing(MS);
	engine->cancel(worker, &c.op);
	REQUIRE_EQ(result_of(&c), -ECANCELED);
	close(fd);
	REQUIRE_EQ(new_eventfd(0), fd);
	wait_for(&c, fd, POLLIN); /* another file: registered anew */
	ring_eventfd(fd);
	REQUIRE_EQ(result_of(&c), POLLIN);
	FILE *file = tmpfile();
	dup2(fileno(file), fd);
	wait_for(&c, fd, POLLIN); /* no registration at all */
	REQUIRE_EQ(result_of(&c), POLLIN);
	REQUIRE_EQ(dup2(keep, fd), fd);
	wait_for(&c, fd, POLLIN); /* the first registration: EEXIST */
	expect_nothing(5 * MS);
	ring_eventfd(keep);
	REQUIRE_EQ(result_of(&c), POLLIN);
	fclose(file);
	close(fd);
	close(keep);
}

EPOLL_TEST(data_needs_another_way)
{
	struct counted c;
	char byte;

	for (enum io_kind kind = IO_READ; kind <= IO_FSYNC; kind++) {
		prepare(&c, kind, 0, 0);
		c.op.addr = &byte;
		REQUIRE_EQ(engine->submit(worker, &c.op), -EOPNOTSUPP);
		REQUIRE_EQ(c.op.in_flight, 0);
	}
}

EPOLL_TEST(descriptors_stay_as_they_are)
{
	struct counted c;
	int fds[2];

	REQUIRE_EQ(pipe(fds), 0);
	wait_for(&c, fds[1], POLLOUT);
	REQUIRE_EQ(result_of(&c), POLLOUT);
	REQUIRE(!(fcntl(fds[1], F_GETFL) & O_NONBLOCK));
	close(fds[0]);
	close(fds[1]);
}

static int fail_nth;

static long fail_one(long nr, long a, long b, long c, long d, long e, long f)
{
	bool counts = nr == SYS_epoll_create1 || nr == SYS_eventfd2 || nr == SYS_epoll_ctl ||
	              nr == SYS_mmap;

	return counts && --fail_nth == 0 ? -ENOMEM : sys_raw(nr, a, b, c, d, e, f);
}

EPOLL_TEST(start_fails_at_each_step)
{
	struct worker *other = new_worker();
	int fds = count_fds(), failures = 0;

	for (int nth = 1; nth < 10; nth++) {
		fail_nth = nth;
		sys.call = fail_one;
		int r = engine->start(other);
		sys.call = sys_raw;
		if (r == 0) {
			engine->stop(other);
			REQUIRE_EQ(count_fds(), fds);
			break;
		}
		REQUIRE_EQ(r, -ENOMEM);
		REQUIRE_EQ(count_fds(), fds);
		failures++;
	}
	REQUIRE(failures >= 3);
	free(other);
}
