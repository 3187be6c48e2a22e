/* SPDX-License-Identifier: MIT
 *
 * What only the io_uring engine has: rings that run full, a kernel that refuses
 * entries, features that are missing, and operations that carry data.
 */
#include "engine_fixture.h"

#include <limits.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <sys/un.h>

/* ---- tiny rings ------------------------------------------------------------- */

static void begin_tiny(void)
{
	engine_end();
	uring_sq_entries = 2;
	uring_cq_entries = 2;
	engine_begin();
}

#define MANY 10000
#define MANY_FDS 100

URING_TEST(overflow)
{
	begin_tiny();
	struct counted *ops = calloc(MANY, sizeof(*ops));
	int fds[MANY_FDS], done = 0;

	REQUIRE(ops);
	for (int i = 0; i < MANY_FDS; i++)
		fds[i] = new_eventfd(0);
	for (int i = 0; i < MANY; i++)
		wait_for(&ops[i], fds[i % MANY_FDS], POLLIN);
	for (int i = 0; i < MANY; i += 10)
		engine->cancel(worker, &ops[i].op);
	for (int i = 0; i < MANY_FDS; i++)
		ring_eventfd(fds[i]);
	engine->doorbell(worker); /* its polling may end for want of room, too */
	while (done < MANY) {
		int r = engine->poll(worker, -1);
		REQUIRE(r >= 0);
		done += r;
	}
	for (int i = 0; i < MANY; i++)
		REQUIRE_EQ(ops[i].completions, 1);
	for (int i = 0; i < 10; i++) { /* the doorbell still works */
		while (engine->busy(worker))
			REQUIRE_EQ(engine->poll(worker, 0), 0);
		engine->doorbell(worker);
		REQUIRE_EQ(engine->poll(worker, -1), 0);
	}
	for (int i = 0; i < MANY_FDS; i++)
		close(fds[i]);
	free(ops);
}

URING_TEST(tiny_traffic)
{
	begin_tiny();
	mixed_traffic(300);
}

/* ---- faults ----------------------------------------------------------------- */

static struct {
	long nr;
	int error, every, calls, left;
} fault;

static long fail_every(long nr, long a, long b, long c, long d, long e, long f)
{
	if (nr == fault.nr && ++fault.calls % fault.every == 0)
		return -fault.error;
	return sys_raw(nr, a, b, c, d, e, f);
}

static long fault_for_a_while(long nr)
{
	if (nr != fault.nr || !fault.left)
		return 0;
	fault.left--;
	return -fault.error;
}

static long fail_a_while(long nr, long a, long b, long c, long d, long e, long f)
{
	long r = fault_for_a_while(nr);

	return r ? r : sys_raw(nr, a, b, c, d, e, f);
}

URING_TEST(enter_fails_every_kth_time)
{
	static const int errors[] = { EINTR, EBUSY, EAGAIN, ENOMEM };

	fault.nr = SYS_io_uring_enter;
	sys.call = fail_every;
	for (unsigned e = 0; e < sizeof(errors) / sizeof(errors[0]); e++)
		for (fault.every = 2; fault.every <= 7; fault.every++) {
			fault.error = errors[e];
			mixed_traffic(20);
		}
}

/* Nothing can be handed over for long: all of it waits, cancels act at once. */
URING_TEST(enter_fails_for_a_while)
{
	struct counted *ops = calloc(1000, sizeof(*ops));
	int fd = new_eventfd(1);

	REQUIRE(ops);
	fault.nr = SYS_io_uring_enter;
	fault.error = EBUSY;
	fault.left = 1000000;
	sys.call = fail_a_while;
	for (int i = 0; i < 1000; i++)
		wait_for(&ops[i], fd, POLLIN);
	for (int i = 500; i < 1000; i++)
		engine->cancel(worker, &ops[i].op);
	for (int i = 0; i < 10; i++)
		REQUIRE(engine->poll(worker, -1) >= 0);
	for (int i = 0; i < 1000; i++) {
		REQUIRE_EQ(ops[i].completions, i >= 500);
		if (i >= 500)
			REQUIRE_EQ(ops[i].op.res, -ECANCELED);
	}
	for (int i = 100; i < 200; i++)
		engine->cancel(worker, &ops[i].op);
	fault.left = 0;
	for (int i = 0; i < 500; i++) {
		int32_t res = result_of(&ops[i]);
		REQUIRE(res == POLLIN || (res == -ECANCELED && i >= 100 && i < 200));
	}
	close(fd);
	free(ops);
}

/* The kernel takes one entry less than offered, and does not wait then. */
static long short_submit(long nr, long a, long b, long c, long d, long e, long f)
{
	if (nr == SYS_io_uring_enter && b > 1)
		return sys_raw(nr, a, b - 1, 0, d, e, f);
	return sys_raw(nr, a, b, c, d, e, f);
}

URING_TEST(submits_are_short)
{
	sys.call = short_submit;
	mixed_traffic(100);
	begin_tiny();
	sys.call = short_submit;
	mixed_traffic(100);
}

/* Points the next cancel request at nothing, as if its target were just then
 * between two arms of an internal poll. */
static int misdirected;

static long misdirect(long nr, long a, long b, long c, long d, long e, long f)
{
	struct uring *u = worker->engine;

	for (long i = 0; nr == SYS_io_uring_enter && i < b; i++) {
		unsigned at = (*u->ring.sq.khead + (unsigned)i) & *u->ring.sq.kring_mask;
		struct io_uring_sqe *sqe = &u->ring.sq.sqes[at];
		if (sqe->opcode == IORING_OP_ASYNC_CANCEL && misdirected) {
			misdirected--;
			sqe->addr = 8;
		}
	}
	return sys_raw(nr, a, b, c, d, e, f);
}

URING_TEST(cancel_that_misses_is_made_again)
{
	struct counted cancelled, landed;
	int fd = new_eventfd(0);

	sys.call = misdirect;
	misdirected = 3;
	wait_for(&cancelled, fd, POLLIN);
	expect_nothing(MS);
	int64_t before = sys.now();
	engine->cancel(worker, &cancelled.op);
	engine->cancel(worker, &cancelled.op);
	REQUIRE_EQ(result_of(&cancelled), -ECANCELED);
	CHECK_EQ(misdirected, 0);
	CHECK_GE(sys.now() - before, 3 * MS); /* not all at once */

	misdirected = 1000;
	wait_for(&landed, fd, POLLIN);
	engine->cancel(worker, &landed.op);
	expect_nothing(5 * MS);
	ring_eventfd(fd);
	REQUIRE_EQ(result_of(&landed), POLLIN);
	misdirected = 0;
	wait_for(&landed, fd, POLLIN); /* no request is left for the next life */
	REQUIRE_EQ(result_of(&landed), POLLIN);
	close(fd);
}

URING_TEST(enter_fails_for_good)
{
	static const int errors[] = { EBADF, ENXIO, EBADR };

	fault.nr = SYS_io_uring_enter;
	sys.call = fail_a_while;
	for (unsigned e = 0; e < sizeof(errors) / sizeof(errors[0]); e++) {
		fault.error = errors[e];
		fault.left = 1;
		REQUIRE_EQ(engine->poll(worker, 10 * MS), -errors[e]);
	}
}

static int fail_nth;

static long fail_one(long nr)
{
	bool counts = nr == SYS_io_uring_setup || nr == SYS_io_uring_register;

	return counts && --fail_nth == 0 ? -ENOMEM : 0;
}

URING_TEST(start_fails_at_each_step)
{
	struct worker *other = new_worker();
	int fds = count_fds(), failures = 0;

	for (int nth = 1; nth < 10; nth++) {
		fail_nth = nth;
		sys_fault_hook = fail_one;
		int r = engine->start(other);
		bool injected = fail_nth <= 0;
		sys_fault_hook = NULL;
		if (r == 0)
			engine->stop(other);
		else
			REQUIRE_EQ(r, -ENOMEM);
		failures += r != 0;
		REQUIRE_EQ(count_fds(), fds);
		if (!injected)
			break;
	}
	REQUIRE(failures >= 1);
	free(other);
}

URING_TEST(start_and_stop_leak_nothing)
{
	struct worker *other = new_worker();
	int fds = count_fds();

	/* A thread may register 16 rings: slots are given back, too. */
	for (int i = 0; i < 40; i++) {
		REQUIRE_EQ(engine->start(other), 0);
		bool registered = ((struct uring *)other->engine)->ring_registered;
		bool before = ((struct uring *)worker->engine)->ring_registered;
		REQUIRE_EQ(registered, before);
		engine->stop(other);
	}
	REQUIRE_EQ(count_fds(), fds);
	free(other);
}

/* ---- probing and features --------------------------------------------------- */

static void refused(int error, const char *expected)
{
	char why[128] = "", features[512];

	feature_reset();
	fault.nr = SYS_io_uring_setup;
	fault.error = error;
	fault.left = 1000;
	sys_fault_hook = fault_for_a_while;
	REQUIRE_EQ(engine->probe(why, sizeof(why)), -error);
	sys_fault_hook = NULL;
	REQUIRE(strstr(why, expected));
	feature_list(features, sizeof(features));
	REQUIRE(strstr(features, "-io_uring"));
}

URING_TEST(probe_says_why)
{
	char why[128] = "";
	int fds = count_fds();

	refused(EPERM, "not permitted");
	refused(ENOSYS, "no io_uring");
	refused(ENOMEM, "no memory");
	refused(EINVAL, "too old");
	refused(EMFILE, "descriptor");
	feature_reset();
	REQUIRE_EQ(feature_parse("-io_uring", why, sizeof(why)), 0);
	REQUIRE(engine->probe(why, sizeof(why)) < 0);
	REQUIRE(strstr(why, "GREEN_FEATURES"));
	feature_reset();
	REQUIRE_EQ(engine->probe(why, sizeof(why)), 0);
	REQUIRE_EQ(count_fds(), fds);
}

/* As on kernels that do not have all of them. */
URING_TEST(features_are_found_one_by_one_as_well)
{
	char why[128] = "", at_once[512], one_by_one[512];

	feature_reset();
	REQUIRE_EQ(engine->probe(why, sizeof(why)), 0);
	feature_list(at_once, sizeof(at_once));
	feature_reset();
	fault.nr = SYS_io_uring_setup;
	fault.error = EINVAL;
	fault.left = 1;
	sys_fault_hook = fault_for_a_while;
	REQUIRE_EQ(engine->probe(why, sizeof(why)), 0);
	sys_fault_hook = NULL;
	REQUIRE_EQ(fault.left, 0);
	feature_list(one_by_one, sizeof(one_by_one));
	REQUIRE_EQ(strcmp(at_once, one_by_one), 0);
}

static const struct {
	enum feature feature;
	const char *off;
} optional[] = {
	{ FEATURE_SINGLE_ISSUER, "-single_issuer" },
	{ FEATURE_DEFER_TASKRUN, "-defer_taskrun" },
	{ FEATURE_RING_FD, "-ring_fd" },
	{ FEATURE_RESTRICTIONS, "-restrictions" },
	{ FEATURE_MULTISHOT_POLL, "-multishot_poll" },
	{ FEATURE_URING_FUTEX, "-uring_futex" },
};
#define OPTIONAL_COUNT (sizeof(optional) / sizeof(optional[0]))

static void check_flags(const struct uring *u)
{
	unsigned flags = u->ring.flags;

	if (!feature_on(FEATURE_SINGLE_ISSUER))
		REQUIRE(!(flags & (IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN)));
	if (!feature_on(FEATURE_DEFER_TASKRUN))
		REQUIRE(!(flags & IORING_SETUP_DEFER_TASKRUN));
	char features[512];
	feature_list(features, sizeof(features));
	REQUIRE_EQ(u->ring_registered, strstr(features, "+ring_fd") != NULL);
	if (!feature_on(FEATURE_RESTRICTIONS))
		REQUIRE(!(flags & IORING_SETUP_R_DISABLED));
	if (!feature_on(FEATURE_MULTISHOT_POLL))
		REQUIRE(!(u->bell_multishot));
	REQUIRE_EQ(u->bell_futex, strstr(features, "+uring_futex") != NULL);
	REQUIRE_EQ(u->bell < 0, u->bell_futex);
}

/* Each selection of features that an older kernel may lack. */
URING_TEST(every_selection_of_features_works)
{
	for (unsigned off = 0; off < 1u << OPTIONAL_COUNT; off++) {
		char why[128];
		engine_end();
		feature_reset();
		for (unsigned i = 0; i < OPTIONAL_COUNT; i++)
			if (off & 1u << i)
				feature_parse(optional[i].off, why, sizeof(why));
		REQUIRE_EQ(engine->probe(why, sizeof(why)), 0);
		engine_begin();
		check_flags(worker->engine);
		mixed_traffic(10);
		for (int i = 0; i < 5; i++) {
			while (engine->busy(worker))
				engine->poll(worker, 0);
			engine->doorbell(worker);
			REQUIRE_EQ(engine->poll(worker, -1), 0);
		}
	}
}

URING_TEST(other_opcodes_are_refused)
{
	struct uring u;
	struct io_uring_cqe *cqe = NULL;

	REQUIRE_EQ(uring_open(&u), 0);
	if (!(u.ring.flags & IORING_SETUP_R_DISABLED))
		SKIP("this kernel has no restrictions");
	io_uring_prep_nop(io_uring_get_sqe(&u.ring));
	REQUIRE_EQ(uring_enter(&u, 1, IORING_ENTER_GETEVENTS, 0), 1);
	REQUIRE_EQ(io_uring_peek_cqe(&u.ring, &cqe), 0);
	REQUIRE_EQ(cqe->res, -EACCES);
	uring_close(&u);
}

URING_TEST(rings_are_not_inherited)
{
	const struct uring *u = worker->engine;
	unsigned char resident;
	int status = -1;

	fflush(NULL);
	pid_t pid = fork();
	if (pid == 0) /* ENOMEM: nothing is mapped there */
		_exit(sys3(SYS_mincore, u->ring.cq.ring_ptr, 1, &resident) == -ENOMEM ? 0 : 1);
	REQUIRE_EQ(waitpid(pid, &status, 0), pid);
	REQUIRE_EQ(status, 0);
}

/* The kernel takes rings down when it likes; what lies there by then may be another futex. */
URING_TEST(nobody_waits_for_the_doorbell_of_a_closed_ring)
{
	for (int i = 0; i < 20; i++) {
		struct worker *other = new_worker();
		REQUIRE_EQ(engine->start(other), 0);
		const struct uring *u = other->engine;
		const uint32_t *bell = (const uint32_t *)&u->bell_rings;
		REQUIRE_EQ(engine->poll(other, 1), 0);
		REQUIRE(u->bell_armed);
		engine->stop(other);
		REQUIRE_EQ(sys_futex_wake(bell, INT_MAX), 0);
		free(other);
	}
}

URING_TEST(registered_ring_survives_a_close)
{
	struct uring *u = worker->engine;
	struct counted in;
	int fd = new_eventfd(1), number = u->ring.ring_fd;

	int copy = dup(number);
	close(number);
	if (u->ring_registered) {
		wait_for(&in, fd, POLLIN);
		REQUIRE_EQ(result_of(&in), POLLIN);
	} else {
		REQUIRE_EQ(engine->poll(worker, MS), -EBADF);
	}
	REQUIRE_EQ(dup2(copy, number), number);
	close(copy);
	close(fd);
}

/* ---- operations that carry data --------------------------------------------- */

static int32_t run(struct counted *c, const void *addr, uint64_t len, uint64_t offset)
{
	c->op.addr = (void *)(uintptr_t)addr;
	c->op.len = len;
	c->op.offset = offset;
	REQUIRE_EQ(engine->submit(worker, &c->op), 0);
	return result_of(c);
}

URING_TEST(files)
{
	static char all[64];
	char path[] = "/tmp/green-test-XXXXXX", a[4] = "", b[4] = "", abc[] = "abc",
	     defg[] = "defg";
	struct iovec out[2] = { { abc, 3 }, { defg, 4 } }, in[2] = { { a, 3 }, { b, 4 } };
	struct counted c;
	int fd = mkstemp(path);

	REQUIRE(fd >= 0);
	close(fd);
	prepare(&c, IO_OPENAT, AT_FDCWD, O_RDWR | O_CLOEXEC);
	fd = run(&c, path, 0, 0600);
	REQUIRE(fd >= 0);
	REQUIRE(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	prepare(&c, IO_WRITEV, fd, 0);
	REQUIRE_EQ(run(&c, out, 2, 0), 7);
	prepare(&c, IO_WRITE, fd, 0);
	REQUIRE_EQ(run(&c, "XY", 2, 7), 2);
	prepare(&c, IO_FSYNC, fd, IORING_FSYNC_DATASYNC);
	REQUIRE_EQ(run(&c, NULL, 0, 0), 0);
	prepare(&c, IO_READV, fd, 0);
	REQUIRE_EQ(run(&c, in, 2, 0), 7);
	REQUIRE_EQ(memcmp(a, "abc", 3), 0);
	REQUIRE_EQ(memcmp(b, "defg", 4), 0);
	prepare(&c, IO_READ, fd, 0);
	REQUIRE_EQ(run(&c, all, (1ull << 32) + 2, 0), 9); /* not cut to 32 bits */
	prepare(&c, IO_READ, fd, 0);
	REQUIRE_EQ(run(&c, a, 4, 7), 2);
	REQUIRE_EQ(memcmp(a, "XY", 2), 0);
	prepare(&c, IO_OPENAT, AT_FDCWD, O_RDONLY);
	REQUIRE_EQ(run(&c, "/does/not/exist", 0, 0), -ENOENT);
	close(fd);
	unlink(path);
}

URING_TEST(sockets)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX, .sun_path = "\0green-test" }, peer;
	socklen_t size = sizeof(peer);
	struct counted acc, con;
	int listener = socket(AF_UNIX, SOCK_STREAM, 0), out = socket(AF_UNIX, SOCK_STREAM, 0);

	snprintf(address.sun_path + 1, 40, "green-test-%d", getpid());
	REQUIRE_EQ(bind(listener, (struct sockaddr *)&address, sizeof(address)), 0);
	REQUIRE_EQ(listen(listener, 1), 0);
	prepare(&acc, IO_ACCEPT, listener, SOCK_CLOEXEC);
	acc.op.addr = &peer;
	acc.op.offset = (uintptr_t)&size;
	REQUIRE_EQ(engine->submit(worker, &acc.op), 0);
	prepare(&con, IO_CONNECT, out, 0);
	REQUIRE_EQ(run(&con, &address, sizeof(address), 0), 0);
	int in = result_of(&acc);
	REQUIRE(in >= 0);
	REQUIRE(fcntl(in, F_GETFD) & FD_CLOEXEC);
	REQUIRE_EQ(peer.sun_family, AF_UNIX);

	prepare(&acc, IO_ACCEPT, listener, 0);
	REQUIRE_EQ(engine->submit(worker, &acc.op), 0);
	REQUIRE_EQ(engine->poll(worker, MS), 0);
	engine->cancel(worker, &acc.op);
	REQUIRE_EQ(result_of(&acc), -ECANCELED);
	close(in);
	close(out);
	close(listener);
}

/* Reads of a pipe are cancelled while data races with the cancel: the data is
 * either delivered or still there. */
URING_TEST(cancelled_reads_lose_nothing)
{
	struct counted c;
	int fds[2];

	REQUIRE_EQ(pipe(fds), 0);
	for (int round = 0; round < 2000; round++) {
		char got = 0, byte = (char)(round | 1);
		prepare(&c, IO_READ, fds[0], 0);
		c.op.addr = &got;
		c.op.len = 1;
		c.op.offset = (uint64_t)-1;
		REQUIRE_EQ(engine->submit(worker, &c.op), 0);
		if (round % 2)
			REQUIRE_EQ(engine->poll(worker, 0), 0);
		if (round % 4 < 2)
			REQUIRE_EQ(write(fds[1], &byte, 1), 1);
		engine->cancel(worker, &c.op);
		if (round % 4 >= 2)
			REQUIRE_EQ(write(fds[1], &byte, 1), 1);
		int32_t res = result_of(&c);
		if (res == -ECANCELED)
			REQUIRE_EQ(read(fds[0], &got, 1), 1);
		else
			REQUIRE_EQ(res, 1);
		REQUIRE_EQ(got, byte);
	}
	close(fds[0]);
	close(fds[1]);
}

URING_TEST(unknown_kind)
{
	struct counted c;

	prepare(&c, (enum io_kind)200, 0, 0);
	REQUIRE_EQ(engine->submit(worker, &c.op), -EOPNOTSUPP);
}
