/* SPDX-License-Identifier: MIT
 *
 * fork() with a runtime: the child gets clear errors, plain calls and exec work
 * in it, and the parent does not notice.
 */
#include "harness.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

extern char **environ;

static void *nothing(void *arg)
{
	return arg;
}

/* Exit status of the child, or 1000 + its signal. */
static int wait_for(pid_t pid)
{
	int status;

	REQUIRE(pid > 0);
	while (waitpid(pid, &status, WNOHANG) == 0)
		green_sleep(GREEN_MS(1));
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

static green_t parent_thread;

/* What needs records, buffers or descriptors of the runtime's pools. */
static void use_pools(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	green_sem_t sem = GREEN_SEM_INIT(0);
	struct green_deadline scope;
	char text[64];

	/* A name of the abstract kind: nothing to remove. */
	snprintf(address.sun_path + 1, sizeof(address.sun_path) - 1, "green-fork-%d", getpid());
	int listener = green_socket(AF_UNIX, SOCK_STREAM, 0);
	CHECK_EQ(bind(listener, (struct sockaddr *)&address, sizeof(address)), 0);
	CHECK_EQ(listen(listener, 1), 0);
	int client = green_socket(AF_UNIX, SOCK_STREAM, 0);
	CHECK_EQ(green_connect(client, (struct sockaddr *)&address, sizeof(address)), 0);
	int conn = green_accept(listener, NULL, NULL, 0);
	CHECK_GE(conn, 0);
	struct pollfd pfd = { .fd = conn, .events = POLLIN };
	CHECK_EQ(green_poll(&pfd, 1, 1), 0);
	green_close(conn);
	green_close(client);
	green_close(listener);
	CHECK_LT(green_connect_host("127.0.0.1:1"), 0);

	green_deadline_begin(&scope, GREEN_US(10));
	CHECK_EQ(green_sem_wait(&sem), -ETIMEDOUT);
	green_deadline_end(&scope);
	green_chan_t *chan = green_chan_new(sizeof(int), 1);
	CHECK_EQ(green_chan_send(chan, &(int){ 1 }), 0);
	green_chan_free(chan);
	green_pool_t *pool = green_pool_new(1);
	CHECK_EQ(green_pool_spawn(pool, nothing, NULL), -EOWNERDEAD);
	green_pool_delete(pool);

	CHECK_EQ(green_cancel(parent_thread), -ESRCH);
	CHECK_EQ(green_join(parent_thread, NULL), -ESRCH);
	CHECK_EQ(green_get_name(parent_thread, text, sizeof(text)), -ESRCH);
	int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
	CHECK_EQ(green_dump(null), 0);
	close(null);
}

/* What the child finds; its exit status is 0 when all is as promised. */
static _Noreturn void in_child(void)
{
	unsigned before = checks_failed();
	struct green_info info;
	int fds[2];
	char byte = 0, name[32];
	green_t t;

	CHECK_EQ(green_go(nothing, NULL), -EOWNERDEAD);
	CHECK_EQ(green_spawn(&t, NULL, nothing, NULL), -EOWNERDEAD);
	CHECK_EQ(green_init(NULL), -EOWNERDEAD);
	CHECK_EQ(green_run(nothing, NULL, NULL), -EOWNERDEAD);
	CHECK_EQ(green_fini(), -EOWNERDEAD);
	CHECK_LT(green_info(&info), 0);
	CHECK(green_serial_new() == NULL);
	CHECK_EQ(green_self(), GREEN_NONE);
	CHECK_EQ(green_worker(), -1);
	CHECK(!green_cancelled());
	CHECK_EQ(green_yield(), 0);
	CHECK_EQ(green_get_name(GREEN_NONE, name, sizeof(name)), -ESRCH);

	/* As outside a runtime. */
	struct green_deadline scope;
	int64_t begin = green_now();
	CHECK_EQ(green_sleep(GREEN_MS(2)), 0);
	CHECK_GE(green_now() - begin, GREEN_MS(2));
	green_deadline_begin(&scope, GREEN_MS(1));
	CHECK_EQ(green_sleep(GREEN_S(1000)), -ETIMEDOUT);
	CHECK(green_deadline_end(&scope));
	CHECK_EQ(pipe2(fds, O_CLOEXEC), 0);
	CHECK_EQ(green_write(fds[1], "x", 1), 1);
	CHECK_EQ(green_read(fds[0], &byte, 1), 1);
	CHECK_EQ(byte, 'x');
	CHECK_EQ(green_close(fds[1]), 0);
	CHECK_EQ(green_read(fds[0], &byte, 1), 0);
	CHECK_EQ(green_close(fds[0]), 0);
	green_mutex_t mutex = GREEN_MUTEX_INIT;
	CHECK_EQ(green_mutex_lock(&mutex), 0);
	CHECK_EQ(green_mutex_unlock(&mutex), 0);
	void *result = NULL;
	CHECK_EQ(green_offload(nothing, (void *)5, &result), 0);
	CHECK(result == (void *)5);
	use_pools();
	_exit(checks_failed() > before);
}

/* Others keep all workers and rings busy meanwhile. */
static _Atomic bool stop;

static void *traffic(void *arg)
{
	int fds[2];
	char byte;

	REQUIRE_EQ(pipe2(fds, O_CLOEXEC), 0);
	while (!atomic_load(&stop)) {
		CHECK_EQ(green_write(fds[1], "x", 1), 1);
		CHECK_EQ(green_read(fds[0], &byte, 1), 1);
		join_green(start_green(nothing, NULL));
		green_sleep(GREEN_US(50));
	}
	green_close(fds[0]);
	green_close(fds[1]);
	return arg;
}

/* All pools and locks there are, in all workers. */
static struct {
	green_mutex_t mutex;
	green_chan_t *chan;
	green_pool_t *pool;
} shared;

static void *churn(void *arg)
{
	int value = 0;

	while (!atomic_load(&stop)) {
		struct green_deadline scope;
		green_deadline_begin(&scope, GREEN_US(200));
		green_chan_send(shared.chan, &value);
		green_chan_recv(shared.chan, &value);
		green_deadline_end(&scope);
		if (green_mutex_lock(&shared.mutex) == 0) {
			green_yield();
			green_mutex_unlock(&shared.mutex);
		}
		green_pool_spawn(shared.pool, nothing, NULL);
		green_set_name(GREEN_NONE, "churn");
		int fd = green_connect_host("127.0.0.1:1");
		CHECK_LT(fd, 0);
		green_offload(nothing, NULL, NULL);
	}
	return arg;
}

static void *churn_outside(void *arg)
{
	while (!atomic_load(&stop)) {
		green_go(nothing, NULL);
		if (green_mutex_lock(&shared.mutex) == 0)
			green_mutex_unlock(&shared.mutex);
		green_sleep(GREEN_US(20));
	}
	return arg;
}

static void with_traffic(void (*body)(void))
{
	green_t threads[8];

	atomic_store(&stop, false);
	for (int i = 0; i < 8; i++)
		threads[i] = start_green(traffic, NULL);
	body();
	atomic_store(&stop, true);
	for (int i = 0; i < 8; i++)
		join_green(threads[i]);
}

static void fork_often(void)
{
	for (unsigned i = 0; i < scaled(30); i++) {
		pid_t pid = fork();
		if (pid == 0)
			in_child();
		CHECK_EQ(wait_for(pid), 0);
		CHECK(green_self() != GREEN_NONE);
		green_yield();
	}
}

static void fork_500_times(void)
{
	for (unsigned i = 0; i < scaled(500); i++) {
		pid_t pid = fork();
		if (pid == 0)
			in_child();
		CHECK_EQ(wait_for(pid), 0);
	}
}

static void skip_under_tsan(void)
{
#if defined(GREEN_TSAN)
	SKIP("the thread sanitizer stops the child of a program with threads");
#endif
}

GREEN_TEST(fork_in_a_green_thread)
{
	skip_under_tsan();
	with_traffic(fork_often);
}

/* Whatever lock is held by whomever at the moment of the fork. */
GREEN_TEST(fork_while_everything_churns)
{
	green_t threads[16];

	skip_under_tsan();
	shared.chan = green_chan_new(sizeof(int), 0);
	shared.pool = green_pool_new(4);
	atomic_store(&stop, false);
	for (int i = 0; i < 16; i++)
		threads[i] = start_with(&(struct green_attr){ .migratable = i % 2 }, churn, NULL);
	parent_thread = threads[0];
	pthread_t os = start_os(churn_outside, NULL);
	with_traffic(fork_500_times);
	atomic_store(&stop, true);
	for (int i = 0; i < 16; i++)
		join_green(threads[i]);
	join_os(os);
	green_pool_delete(shared.pool);
	green_chan_free(shared.chan);
}

/* In a member of a pool, whose end has more to do. */
static void *fork_and_return(void *arg);

GREEN_TEST(returning_in_the_child_of_a_member)
{
	green_pool_t *pool = green_pool_new(1);

	skip_under_tsan();
	capture_begin();
	CHECK_EQ(green_pool_spawn(pool, fork_and_return, NULL), 0);
	CHECK_EQ(green_pool_waitall(pool), 0);
	CHECK_HAS(capture_end(), "forked child");
	green_pool_delete(pool);
}

static void fork_beside(void)
{
	struct green_info info;
	pid_t pid = fork();

	if (pid == 0)
		in_child();
	CHECK_EQ(wait_for(pid), 0);
	CHECK_EQ(green_info(&info), 0);
}

TEST(fork_in_an_os_thread)
{
	skip_under_tsan();
	/* Before the first init fork is nothing special. */
	pid_t pid = fork();
	if (pid == 0)
		_exit(green_run(nothing, NULL, NULL) != 0);
	CHECK_EQ(wait_for(pid), 0);
	CHECK_EQ(green_init(NULL), 0);
	fork_beside();
	CHECK_EQ(green_run(nothing, NULL, NULL), 0);
	fork_beside();
	CHECK_EQ(green_fini(), 0);
	pid = fork(); /* and after fini it is none again */
	if (pid == 0)
		_exit(green_run(nothing, NULL, NULL) != 0);
	CHECK_EQ(wait_for(pid), 0);
}

static void exec_true(void)
{
	static char name[] = "true", *const argv[] = { name, NULL };

	for (volatile unsigned i = 0; i < scaled(20); i++) {
		pid_t pid = fork();
		if (pid == 0) {
			execv("/bin/true", argv);
			_exit(127);
		}
		CHECK_EQ(wait_for(pid), 0);
		CHECK_EQ(posix_spawn(&pid, "/bin/true", NULL, NULL, argv, environ), 0);
		CHECK_EQ(wait_for(pid), 0);
		pid = vfork(); /* NOLINT(bugprone-unsafe-functions): it is what is tested */
		if (pid == 0) {
			execv("/bin/true", argv);
			_exit(127);
		}
		CHECK_EQ(wait_for(pid), 0);
	}
}

GREEN_TEST(exec_works)
{
	with_traffic(exec_true);
}

/* None of the runtime's descriptors are seen by the program that is run. */
GREEN_TEST(exec_inherits_nothing)
{
	int fds[2];
	char text[256] = "";
	size_t n = 0;
	ssize_t r;

	REQUIRE_EQ(pipe(fds), 0);
	green_sleep(GREEN_MS(1)); /* engines are there */
	pid_t pid = fork();
	if (pid == 0) {
		dup2(fds[1], 1);
		close(fds[0]);
		close(fds[1]);
		execl("/bin/sh", "sh", "-c", "echo /proc/self/fd/* | tr ' ' '\\n' | wc -l", NULL);
		_exit(127);
	}
	close(fds[1]);
	while (n < sizeof(text) - 1 && (r = green_read(fds[0], text + n, sizeof(text) - 1 - n)) > 0)
		n += (size_t)r;
	CHECK_EQ(wait_for(pid), 0);
	close(fds[0]);
	CHECK_GE(atoi(text), 3);
	CHECK_LE(atoi(text), 8); /* 0, 1, 2, the directory and what came with the test */
}

/* A green thread's function that returns in the child has nowhere to go. */
static void *fork_and_return(void *arg)
{
	pid_t pid = fork();

	if (pid == 0)
		return arg;
	CHECK_EQ(wait_for(pid), 70);
	return NULL;
}

GREEN_TEST(returning_in_the_child)
{
	skip_under_tsan();
	capture_begin();
	join_green(start_green(fork_and_return, NULL));
	CHECK_HAS(capture_end(), "forked child");
}

static void *child_of_main(void *arg)
{
	pid_t pid = fork();

	if (pid == 0)
		in_child();
	CHECK_EQ(wait_for(pid), 0);
	return arg;
}

TEST(fork_on_each_worker)
{
	struct green_options four = { .workers = 4 };

	skip_under_tsan();
	for (int i = 0; i < 3; i++)
		CHECK_EQ(run_green_with(&four, child_of_main, NULL, NULL), 0);
}
