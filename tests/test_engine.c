/* SPDX-License-Identifier: MIT
 *
 * Both engines, driven directly, behave as engine.h says and alike.
 */
#include "engine_fixture.h"

#include <netinet/in.h>
#include <pthread.h>
#include <sys/resource.h>

ENGINE_TEST(ready_at_once)
{
	struct counted in, out;
	int fds[2];

	REQUIRE_EQ(pipe(fds), 0);
	REQUIRE_EQ(write(fds[1], "x", 1), 1);
	wait_for(&in, fds[0], POLLIN);
	wait_for(&out, fds[1], POLLOUT);
	REQUIRE_EQ(result_of(&in), POLLIN);
	REQUIRE_EQ(result_of(&out), POLLOUT);
	close(fds[0]);
	close(fds[1]);
}

ENGINE_TEST(ready_later)
{
	struct counted in;
	int fds[2];

	REQUIRE_EQ(pipe(fds), 0);
	for (int round = 0; round < 3; round++) {
		char byte;
		wait_for(&in, fds[0], POLLIN);
		expect_nothing(10 * MS);
		REQUIRE_EQ(in.completions, 0);
		REQUIRE_EQ(write(fds[1], "x", 1), 1);
		REQUIRE_EQ(result_of(&in), POLLIN);
		REQUIRE_EQ(read(fds[0], &byte, 1), 1);
	}
	close(fds[0]);
	close(fds[1]);
}

ENGINE_TEST(hangup_is_always_reported)
{
	struct counted none, in;
	int fds[2];

	REQUIRE_EQ(pipe(fds), 0);
	wait_for(&none, fds[0], 0);
	wait_for(&in, fds[0], POLLIN);
	expect_nothing(5 * MS);
	close(fds[1]);
	REQUIRE_EQ(result_of(&none), POLLHUP);
	REQUIRE(result_of(&in) & POLLHUP);
	close(fds[0]);
}

ENGINE_TEST(error_is_always_reported)
{
	struct counted out;
	int fds[2];

	REQUIRE_EQ(pipe(fds), 0);
	close(fds[0]);
	wait_for(&out, fds[1], POLLIN);
	REQUIRE_EQ(result_of(&out), POLLERR);
	close(fds[1]);
}

ENGINE_TEST(several_on_one_descriptor)
{
	struct counted in1, in2, out, hup;
	int fds[2];

	REQUIRE_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	wait_for(&in1, fds[0], POLLIN);
	wait_for(&hup, fds[0], POLLRDHUP);
	wait_for(&in2, fds[0], POLLIN | POLLPRI);
	wait_for(&out, fds[0], POLLOUT);
	REQUIRE_EQ(result_of(&out), POLLOUT);
	expect_nothing(5 * MS);
	REQUIRE_EQ(write(fds[1], "x", 1), 1);
	REQUIRE_EQ(result_of(&in1), POLLIN);
	REQUIRE_EQ(result_of(&in2), POLLIN);
	REQUIRE_EQ(hup.completions, 0);
	REQUIRE_EQ(shutdown(fds[1], SHUT_WR), 0);
	REQUIRE_EQ(result_of(&hup), POLLRDHUP);
	close(fds[0]);
	close(fds[1]);
}

/* A socket hints at urgent data whenever data comes: that is no readiness. */
ENGINE_TEST(hints_are_not_readiness)
{
	struct sockaddr_in address = { .sin_family = AF_INET,
		                       .sin_addr = { htonl(INADDR_LOOPBACK) } };
	socklen_t size = sizeof(address);
	int listener = socket(AF_INET, SOCK_STREAM, 0), out = socket(AF_INET, SOCK_STREAM, 0);
	struct counted urgent, cancelled;

	REQUIRE_EQ(bind(listener, (struct sockaddr *)&address, size), 0);
	REQUIRE_EQ(listen(listener, 1), 0);
	REQUIRE_EQ(getsockname(listener, (struct sockaddr *)&address, &size), 0);
	REQUIRE_EQ(connect(out, (struct sockaddr *)&address, size), 0);
	int in = accept(listener, NULL, NULL);
	wait_for(&urgent, in, POLLPRI);
	wait_for(&cancelled, in, POLLPRI);
	expect_nothing(2 * MS);
	for (int i = 0; i < 3; i++) {
		REQUIRE_EQ(send(out, "x", 1, 0), 1);
		expect_nothing(2 * MS);
	}
	engine->cancel(worker, &cancelled.op);
	REQUIRE_EQ(result_of(&cancelled), -ECANCELED);
	REQUIRE_EQ(send(out, "y", 1, MSG_OOB), 1);
	REQUIRE_EQ(result_of(&urgent), POLLPRI);
	close(in);
	close(out);
	close(listener);
}

ENGINE_TEST(cancel_in_each_state)
{
	struct counted before, waiting, ready, over;
	int fd = new_eventfd(0), other = new_eventfd(0);

	wait_for(&before, fd, POLLIN); /* the kernel may not have seen it */
	engine->cancel(worker, &before.op);
	engine->cancel(worker, &before.op);
	REQUIRE_EQ(before.completions, 0); /* never from within cancel */
	REQUIRE_EQ(result_of(&before), -ECANCELED);

	wait_for(&waiting, fd, POLLIN);
	expect_nothing(5 * MS);
	engine->cancel(worker, &waiting.op);
	engine->cancel(worker, &waiting.op);
	REQUIRE_EQ(waiting.completions, 0);
	REQUIRE_EQ(result_of(&waiting), -ECANCELED);

	wait_for(&ready, other, POLLIN);
	expect_nothing(5 * MS);
	ring_eventfd(other); /* it happens, but nobody has looked */
	engine->cancel(worker, &ready.op);
	int32_t res = result_of(&ready);
	REQUIRE(res == -ECANCELED || res == POLLIN);

	wait_for(&over, other, POLLIN);
	REQUIRE_EQ(result_of(&over), POLLIN);
	engine->cancel(worker, &over.op);
	engine->poll(worker, 0);
	REQUIRE_EQ(over.completions, 1);
	REQUIRE_EQ(before.completions, 1);

	ring_eventfd(fd); /* cancelled waits leave the descriptor usable */
	wait_for(&over, fd, POLLIN);
	REQUIRE_EQ(result_of(&over), POLLIN);
	close(fd);
	close(other);
}

ENGINE_TEST(cancel_one_of_several)
{
	struct counted ops[3];
	int fd = new_eventfd(0);

	for (int victim = 0; victim < 3; victim++) {
		for (int i = 0; i < 3; i++)
			wait_for(&ops[i], fd, POLLIN);
		engine->cancel(worker, &ops[victim].op);
		REQUIRE_EQ(result_of(&ops[victim]), -ECANCELED);
		ring_eventfd(fd);
		for (int i = 0; i < 3; i++)
			REQUIRE_EQ(result_of(&ops[i]), i == victim ? -ECANCELED : POLLIN);
		drain_eventfd(fd);
	}
	close(fd);
}

/* A cancel must never hit the next life of the record it was meant for. */
ENGINE_TEST(cancel_and_reuse)
{
	struct counted ops[8];
	int fds[8];
	unsigned seed = 1;

	for (int i = 0; i < 8; i++) {
		fds[i] = new_eventfd(0);
		wait_for(&ops[i], fds[i], POLLIN);
	}
	for (int round = 0; round < 20000; round++) {
		int i = rand_r(&seed) % 8;
		switch (rand_r(&seed) % 4) {
		case 0:
			ring_eventfd(fds[i]);
			engine->cancel(worker, &ops[i].op);
			break;
		case 1:
			engine->cancel(worker, &ops[i].op);
			ring_eventfd(fds[i]);
			break;
		case 2:
			ring_eventfd(fds[i]);
			break;
		default:
			ring_eventfd(fds[i]);
			REQUIRE(engine->poll(worker, 0) >= 0);
			engine->cancel(worker, &ops[i].op);
			break;
		}
		int32_t res = result_of(&ops[i]);
		REQUIRE(res == POLLIN || res == -ECANCELED);
		drain_eventfd(fds[i]);
		wait_for(&ops[i], fds[i], POLLIN); /* at once, on the same record */
	}
	expect_nothing(20 * MS); /* nobody else was hit */
	for (int i = 0; i < 8; i++) {
		engine->cancel(worker, &ops[i].op);
		REQUIRE_EQ(result_of(&ops[i]), -ECANCELED);
		close(fds[i]);
	}
}

ENGINE_TEST(bad_descriptors)
{
	struct counted negative, high, closed;
	int fd = new_eventfd(1);

	close(fd);
	wait_for(&negative, -1, POLLIN);
	wait_for(&high, 987654, POLLIN);
	wait_for(&closed, fd, POLLIN);
	REQUIRE_EQ(result_of(&negative), -EBADF);
	REQUIRE_EQ(result_of(&high), -EBADF);
	REQUIRE_EQ(result_of(&closed), -EBADF);
	wait_for(&high, INT32_MAX, POLLIN);
	REQUIRE_EQ(result_of(&high), -EBADF);
}

ENGINE_TEST(regular_file_is_always_ready)
{
	struct counted both, in, urgent;
	FILE *file = tmpfile();

	REQUIRE(file);
	wait_for(&both, fileno(file), POLLIN | POLLOUT);
	wait_for(&in, fileno(file), POLLIN);
	wait_for(&urgent, fileno(file), POLLPRI);
	REQUIRE_EQ(result_of(&both), POLLIN | POLLOUT);
	REQUIRE_EQ(result_of(&in), POLLIN);
	REQUIRE_EQ(result_of(&urgent), -EINVAL);
	fclose(file);
}

/* The program closes a descriptor without telling, and gets its number again. */
ENGINE_TEST(number_is_reused)
{
	struct counted first, second;

	for (int round = 0; round < 50; round++) {
		int fd = new_eventfd(0);
		wait_for(&first, fd, POLLIN);
		expect_nothing(MS / 2);
		engine->cancel(worker, &first.op);
		REQUIRE_EQ(result_of(&first), -ECANCELED);
		close(fd);
		REQUIRE_EQ(new_eventfd(0), fd);
		wait_for(&second, fd, POLLIN);
		expect_nothing(MS / 2);
		ring_eventfd(fd);
		REQUIRE_EQ(result_of(&second), POLLIN);
		close(fd);
	}
}

/* The old file lives on under another number: what happens to it is no news
 * for those who wait on the new one. */
ENGINE_TEST(old_file_lives_on)
{
	struct counted first, second;
	int fd = new_eventfd(0), copy = dup(fd);

	wait_for(&first, fd, POLLIN);
	expect_nothing(MS);
	engine->cancel(worker, &first.op);
	REQUIRE_EQ(result_of(&first), -ECANCELED);
	close(fd);
	REQUIRE_EQ(new_eventfd(0), fd);
	wait_for(&second, fd, POLLIN);
	expect_nothing(MS);
	ring_eventfd(copy);
	expect_nothing(10 * MS);
	REQUIRE_EQ(second.completions, 0);
	ring_eventfd(fd);
	REQUIRE_EQ(result_of(&second), POLLIN);
	close(fd);
	close(copy);
}

ENGINE_TEST(timeout_is_no_shorter)
{
	static const int64_t waits[] = { 1, 1000, 100000, MS, 3 * MS + 1, 20 * MS };

	for (unsigned i = 0; i < sizeof(waits) / sizeof(waits[0]); i++) {
		int64_t before = sys.now();
		REQUIRE_EQ(engine->poll(worker, waits[i]), 0);
		int64_t slept = sys.now() - before;
		REQUIRE(slept >= waits[i]);
		REQUIRE(slept < 2000 * MS);
	}
	int64_t before = sys.now();
	for (int i = 0; i < 100; i++)
		REQUIRE_EQ(engine->poll(worker, 0), 0);
	REQUIRE(sys.now() - before < 500 * MS);
}

struct ringer {
	pthread_t thread;
	_Atomic int asked, rung;
	int rounds;
};

static void *ring_when_asked(void *arg)
{
	struct ringer *r = arg;

	for (int i = 1; i <= r->rounds; i++) {
		while (atomic_load(&r->asked) < i)
			usleep(i % 8 ? 0 : 2000); /* now and then when it sleeps already */
		atomic_store(&r->rung, i);
		engine->doorbell(worker);
	}
	return NULL;
}

ENGINE_TEST(doorbell_ends_a_sleep)
{
	struct ringer r = { .rounds = 2000 };

	engine->doorbell(worker); /* before the sleep: ends it, too */
	engine->doorbell(worker);
	REQUIRE_EQ(engine->poll(worker, -1), 0);
	REQUIRE_EQ(pthread_create(&r.thread, NULL, ring_when_asked, &r), 0);
	for (int i = 1; i <= r.rounds; i++) {
		atomic_store(&r.asked, i);
		while (atomic_load(&r.rung) < i)
			REQUIRE_EQ(engine->poll(worker, -1), 0);
	}
	pthread_join(r.thread, NULL);
}

/* Sleeping without end, nothing but an operation can end it. */
static void *write_later(void *arg)
{
	usleep(10000);
	ring_eventfd(*(int *)arg);
	return NULL;
}

ENGINE_TEST(completion_ends_a_sleep)
{
	struct counted in;
	int fd = new_eventfd(0);
	pthread_t thread;

	wait_for(&in, fd, POLLIN);
	REQUIRE_EQ(pthread_create(&thread, NULL, write_later, &fd), 0);
	while (!in.completions)
		REQUIRE(engine->poll(worker, -1) >= 0);
	REQUIRE_EQ(in.op.res, POLLIN);
	pthread_join(thread, NULL);
	close(fd);
}

ENGINE_TEST(busy_tells)
{
	struct counted in, cancelled;
	int fd = new_eventfd(0), quiet = new_eventfd(0);

	wait_for(&in, fd, POLLIN);
	wait_for(&cancelled, quiet, POLLIN);
	while (engine->busy(worker)) /* handing over */
		REQUIRE_EQ(engine->poll(worker, 0), 0);
	expect_nothing(5 * MS);
	REQUIRE(!(engine->busy(worker)));
	ring_eventfd(fd);
	REQUIRE(engine->busy(worker));
	REQUIRE(engine->busy(worker));
	REQUIRE_EQ(engine->poll(worker, 0), 1);
	REQUIRE_EQ(in.completions, 1);
	REQUIRE(!(engine->busy(worker)));
	engine->cancel(worker, &cancelled.op);
	REQUIRE(engine->busy(worker));
	REQUIRE_EQ(result_of(&cancelled), -ECANCELED);
	close(fd);
	close(quiet);
}

static void submit_again(struct io_op *op)
{
	struct counted *c = (struct counted *)op;

	if (++c->completions < 100)
		REQUIRE_EQ(engine->submit(worker, op), 0);
}

ENGINE_TEST(submit_from_completion)
{
	struct counted always, never;
	FILE *file = tmpfile();
	int fd = new_eventfd(1);

	prepare(&always, IO_POLL, fd, POLLIN);
	prepare(&never, IO_POLL, fileno(file), POLLIN);
	always.op.complete = never.op.complete = submit_again;
	REQUIRE_EQ(engine->submit(worker, &always.op), 0);
	REQUIRE_EQ(engine->submit(worker, &never.op), 0);
	for (int i = 0; i < 1000 && (always.completions < 100 || never.completions < 100); i++)
		REQUIRE(engine->poll(worker, 100 * MS) >= 0);
	REQUIRE_EQ(always.completions, 100);
	REQUIRE_EQ(never.completions, 100);
	fclose(file);
	close(fd);
}

#define MANY 10000
#define MANY_FDS 100

ENGINE_TEST(many_in_flight)
{
	struct counted *ops = calloc(MANY, sizeof(*ops));
	int fds[MANY_FDS], done = 0;

	REQUIRE(ops);
	for (int i = 0; i < MANY_FDS; i++)
		fds[i] = new_eventfd(0);
	for (int i = 0; i < MANY; i++)
		wait_for(&ops[i], fds[i % MANY_FDS], POLLIN);
	expect_nothing(5 * MS);
	for (int i = 0; i < MANY; i += 10)
		engine->cancel(worker, &ops[i].op);
	for (int i = 0; i < MANY_FDS; i++)
		ring_eventfd(fds[i]);
	while (done < MANY) {
		int r = engine->poll(worker, -1);
		REQUIRE(r >= 0);
		done += r;
	}
	for (int i = 0; i < MANY; i++) {
		REQUIRE_EQ(ops[i].completions, 1);
		REQUIRE(ops[i].op.res == POLLIN || (i % 10 == 0 && ops[i].op.res == -ECANCELED));
	}
	expect_nothing(MS);
	for (int i = 0; i < MANY_FDS; i++)
		close(fds[i]);
	free(ops);
}

/* A program closes all that it does not know, in a child: the exit status.  0:
 * nothing was noticed; 50: only poll() has failed. */
static int child_closes_everything(void)
{
	fflush(NULL);
	pid_t pid = fork();
	if (pid == 0) {
		if (engine->start(worker) < 0)
			_exit(0);
		rt.engine = engine; /* which the report names */
		sys3(SYS_close_range, 3, ~0u, 0);
		engine->doorbell(worker);
		_exit(engine->poll(worker, -1) < 0 ? 50 : 0);
	}
	int status = -1;
	REQUIRE_EQ(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* Where neither ring nor doorbell has a number, nothing is lost.  A doorbell that cannot be rung
 * any more is fatal, and says so; that a ring is lost its worker says. */
ENGINE_TEST(loss_of_descriptors_is_noticed)
{
	bool uring = strcmp(engine->name, "io_uring") == 0;
	const struct uring *u = worker->engine;

	if (uring && u->bell_futex)
		REQUIRE_EQ(child_closes_everything(), u->ring_registered ? 0 : 50);
	else
		REQUIRE_EQ(child_closes_everything(), 128 + SIGABRT);
}

ENGINE_TEST(start_fails_without_descriptors)
{
	struct rlimit limit, tight;
	int fds = count_fds(), lowest = dup(0);

	close(lowest);
	REQUIRE_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
	/* A ring whose doorbell is a futex; or one and an eventfd, as epoll. */
	const struct uring *u = worker->engine;
	int needed = strcmp(engine->name, "io_uring") == 0 && u->bell_futex ? 1 : 2;

	for (int room = 0; room < needed; room++) {
		struct worker *other = new_worker();
		tight = limit;
		tight.rlim_cur = (rlim_t)(lowest + room);
		REQUIRE_EQ(setrlimit(RLIMIT_NOFILE, &tight), 0);
		int r = engine->start(other);
		REQUIRE_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
		REQUIRE_EQ(r, -EMFILE);
		REQUIRE_EQ(count_fds(), fds); /* nothing is left behind */
		free(other);
	}
}
