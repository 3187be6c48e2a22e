/* SPDX-License-Identifier: MIT
 *
 * The kernel writes to stack memory that nobody has touched yet, at every depth
 * of each stack class: plain system calls, io_uring, signal frames.  Whatever
 * lies in the slots (the rung), it finds memory there; and none in the guard.
 */
#include "harness.h"

#include "arch/switch.h"
#include "checker.h"
#include "green_io.h"
#include "green_sync.h"
#include "hibernate.h"
#include "stack.h"
#include "worker.h"

#include <fcntl.h>
#include <liburing.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>

#define PAGE ((size_t)4096)
#define NEAR (8 * PAGE) /* below the caller's frame: in use */

static int ends[2], packets[2];
static _Atomic unsigned signals;

static char *own_bottom(void)
{
	return stack_bottom(gt_self()->stack);
}

/* Page number n of the stack, from below, and whether it is still far below all
 * frames. */
static char *page(size_t n)
{
	char *at = own_bottom() + n * PAGE;

	return at + NEAR < (char *)__builtin_frame_address(0) ? at : NULL;
}

/* ---- what the kernel does ----------------------------------------------------------- */

/* Over a border of pages, where there is one above. */
static void by_read(char *at, int fd)
{
	char *to = page((size_t)(at - own_bottom()) / PAGE + 1) ? at + PAGE - 4 : at;

	(void)fd;
	CHECK_EQ(write(ends[1], "8 bytes", 8), 8);
	CHECK_EQ(read(ends[0], to, 8), 8);
	CHECK_STR(to, "8 bytes");
}

static void by_recv(char *at, int fd)
{
	(void)fd;
	CHECK_EQ(write(packets[1], "datagram", 9), 9);
	CHECK_EQ(recv(packets[0], at + 100, 100, 0), 9);
	CHECK_STR(at + 100, "datagram");
}

static void by_name(char *at, int fd)
{
	(void)fd;
	CHECK_GT(syscall(SYS_getcwd, at, PAGE), 0);
	CHECK_EQ(at[0], '/');
	CHECK_EQ(syscall(SYS_fstat, ends[0], at + 1024), 0);
	CHECK(S_ISFIFO(((struct stat *)(at + 1024))->st_mode));
}

static void by_green_calls(char *at, int fd)
{
	(void)fd;
	CHECK_EQ(green_write(ends[1], "8 bytes", 8), 8);
	CHECK_EQ(green_read(ends[0], at, 8), 8);
	CHECK_EQ(green_send(packets[1], "datagram", 9, 0), 9);
	CHECK_EQ(green_recv(packets[0], at + 64, 64, 0), 9);
	CHECK_STR(at + 64, "datagram");
}

/* What the engine and the offload pool are handed. */
static void by_file(char *at, int fd)
{
	posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
	CHECK_EQ(green_pread(fd, at, 512, 0), 512);
	CHECK_EQ(memcmp(at, "a file", 6), 0);
}

static void (*const deeds[])(char *at, int fd) = { by_read, by_recv, by_name, by_green_calls,
	                                           by_file };
#define DEEDS (sizeof(deeds) / sizeof(deeds[0]))

static int a_file(void)
{
	char path[] = "test-untouched-XXXXXX", block[512] = "a file";
	int fd = mkstemp(path);

	REQUIRE_GE(fd, 0);
	unlink(path);
	CHECK_EQ(write(fd, block, sizeof(block)), sizeof(block));
	fsync(fd);
	return fd;
}

/* Where stacks hibernate, this one and the joiner's have when it returns. */
static void sleep_once(void)
{
	uint64_t before = stacks_hibernations();

	/* Longer each time: GREEN_HIBERNATE_MS may ask for any patience. */
	for (int64_t ns = GREEN_MS(1); hibernate_is_ready() && stacks_hibernations() - before < 2;
	     ns *= 2)
		green_sleep(ns);
}

static void *at_every_depth(void *deed)
{
	int fd = a_file();
	char *at;

	sleep_once();
	for (size_t n = 0; (at = page(n)); n++)
		deeds[(uintptr_t)deed](at, fd);
	CHECK_EQ(close(fd), 0);
	return NULL;
}

static void in_every_class(green_fn fn, void *arg)
{
	for (unsigned class = 0; class < STACK_CLASSES; class ++) {
		struct green_attr attr = { .stack_size = stack_class_size(class) };
		join_green(start_with(&attr, fn, arg));
	}
}

static void *one_deed(void *deed)
{
	in_every_class(at_every_depth, deed);
	return NULL;
}

/* ---- io_uring ------------------------------------------------------------------------ */

static long one(struct io_uring *ring)
{
	struct io_uring_cqe *cqe = NULL;

	int r = io_uring_submit_and_wait(ring, 1);
	if (r < 0 || (r = io_uring_peek_cqe(ring, &cqe)) < 0)
		return r;
	long res = cqe->res;
	io_uring_cqe_seen(ring, cqe);
	return res;
}

static void by_ring(struct io_uring *ring, char *at)
{
	struct iovec iov = { at, PAGE };

	CHECK_EQ(write(ends[1], "8 bytes", 8), 8);
	io_uring_prep_read(io_uring_get_sqe(ring), ends[0], at, 8, 0);
	CHECK_EQ(one(ring), 8);
	CHECK_EQ(write(packets[1], "datagram", 9), 9);
	io_uring_prep_recv(io_uring_get_sqe(ring), packets[0], at + 64, 64, 0);
	CHECK_EQ(one(ring), 9);
	CHECK_STR(at + 64, "datagram");
	if (io_uring_register_buffers(ring, &iov, 1) < 0)
		return; /* RLIMIT_MEMLOCK */
	CHECK_EQ(write(ends[1], "fixed..", 8), 8);
	io_uring_prep_read_fixed(io_uring_get_sqe(ring), ends[0], at + 256, 8, 0, 0);
	CHECK_EQ(one(ring), 8);
	CHECK_STR(at + 256, "fixed..");
	CHECK_EQ(io_uring_unregister_buffers(ring), 0);
}

static void *ring_at_every_depth(void *arg)
{
	struct io_uring *ring = arg;
	char *at;

	sleep_once();
	for (size_t n = 0; (at = page(n)); n++)
		by_ring(ring, at);
	return NULL;
}

static void *with_ring(void *unused)
{
	static struct io_uring ring;

	REQUIRE_EQ(pipe(ends), 0);
	REQUIRE_EQ(socketpair(AF_UNIX, SOCK_DGRAM, 0, packets), 0);
	if (io_uring_queue_init(8, &ring, 0) < 0)
		SKIP("no io_uring");
	in_every_class(ring_at_every_depth, &ring);
	io_uring_queue_exit(&ring);
	return unused;
}

/* ---- signals --------------------------------------------------------------------------- */

static void on_signal(int sig)
{
	(void)sig;
	atomic_fetch_add(&signals, 1);
}

static void *left, *entered;

/* Here the stack pointer lies deep, and below it nothing has been touched. */
static void raise_there(void *sig)
{
	syscall(SYS_tgkill, getpid(), (int)syscall(SYS_gettid), (int)(uintptr_t)sig);
	switch_stacks(&entered, left);
}

/* Without SA_ONSTACK the frame goes on the green stack; up to three pages, so
 * that those just above the guard are left out. */
static void *signals_at_every_depth(void *sig)
{
	char *at;

	sleep_once();
	for (size_t n = 4; (at = page(n)); n++)
		switch_stacks(&left, switch_prepare(at, raise_there, sig));
	return NULL;
}

static void *all_signals(void *unused)
{
	struct sigaction here = { .sa_handler = on_signal };
	struct sigaction there = { .sa_handler = on_signal, .sa_flags = SA_ONSTACK };

	CHECK_EQ(sigaction(SIGUSR1, &here, NULL), 0);
	CHECK_EQ(sigaction(SIGUSR2, &there, NULL), 0);
	in_every_class(signals_at_every_depth, (void *)(uintptr_t)SIGUSR1);
	in_every_class(signals_at_every_depth, (void *)(uintptr_t)SIGUSR2);
	CHECK_GT(atomic_load(&signals), 2 * 3 * 8);
	return unused;
}

/* ---- the guard -------------------------------------------------------------------------- */

static void *read_into_guard(void *unused)
{
	char *bottom = own_bottom();

	CHECK_EQ(write(ends[1], "8 bytes", 8), 8);
	CHECK_EQ(read(ends[0], bottom - 8, 8), -1);
	CHECK_EQ(errno, EFAULT);
	CHECK_EQ(read(ends[0], bottom, 8), 8);
	return unused;
}

static void *guards(void *unused)
{
	if (stacks_rung() == STACK_RUNG_NONE) /* by GREEN_FEATURES */
		return unused;
	REQUIRE_EQ(pipe(ends), 0);
	in_every_class(read_into_guard, NULL);
	return unused;
}

/* ---- rungs ------------------------------------------------------------------------------ */

static const char *const rungs[] = { "", "-userfaultfd_kernel", "-userfaultfd",
	                             "-userfaultfd,-guard_install",
	                             "-userfaultfd,-guard_install,-mprotect_guard" };

/* With hibernation too, which leaves its own kind of pages. */
static void on_every_rung(green_fn fn, void *arg, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		for (int hibernate = 0; hibernate < 2; hibernate++) {
			struct green_options options = { .features = rungs[i],
				                         .hibernate_after_ns =
				                                 hibernate ? 1 : GREEN_FOREVER };
			CHECK_EQ(run_green_with(&options, fn, arg, NULL), 0);
		}
}

TEST(system_calls_find_memory)
{
	REQUIRE_EQ(pipe(ends), 0);
	REQUIRE_EQ(socketpair(AF_UNIX, SOCK_DGRAM, 0, packets), 0);
	/* A run for each: the stacks of the last one have been touched. */
	for (uintptr_t deed = 0; deed < DEEDS; deed++)
		on_every_rung(one_deed, (void *)deed, 5);
}

TEST(io_uring_finds_memory)
{
	on_every_rung(with_ring, NULL, 5);
}

TEST(signal_frames_find_memory)
{
#if defined(GREEN_ASAN) || defined(GREEN_TSAN)
	SKIP("the sanitizer has to be told of a switch");
#endif
	if (checker_is_valgrind())
		SKIP("valgrind has to be told of a stack");
	on_every_rung(all_signals, NULL, 5);
}

TEST(the_guard_is_none)
{
	if (checker_is_valgrind())
		SKIP("valgrind has guards of its own");
	on_every_rung(guards, NULL, 4);
}
