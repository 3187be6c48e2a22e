/* SPDX-License-Identifier: MIT
 *
 * The program's own io_uring writes to the stacks of parked threads: what it
 * says is there is there, by fixed and provided buffers and plain reads, with
 * memory that the kernel holds and memory that it looks up, in both modes.
 */
#include "harness.h"
#include "green_io.h"
#include "green_sync.h"
#include "hibernate.h"

#include <liburing.h>
#include <sys/socket.h>

#define AFTER GREEN_MS(1)
#define ROUNDS 20

static bool kernel_mode; /* of the present run */
static struct io_uring ring;
static int ends[2]; /* written to [1], read from [0] */

/* A thread that parks with room for the kernel on its stack. */
static struct host {
	green_sem_t sem;
	char *_Atomic room; /* of 64 bytes, eight of them zeroes */
	green_t thread;
} host;

static void *hold_room(void *unused)
{
	char room[64] = "";

	atomic_store(&host.room, room);
	CHECK_EQ(green_sem_wait(&host.sem), 0);
	return memcmp(room, "arrived", 8) ? unused : (void *)1;
}

/* With so much on its stack that a block of a disk might be. */
static void *hold_much(void *unused)
{
	char much[512];

	__asm__ volatile("" : : "r"(much) : "memory");
	void *result = hold_room(unused);
	__asm__ volatile("" : : "r"(much) : "memory");
	return result;
}

static void start_host(green_fn fn)
{
	host.sem = (green_sem_t)GREEN_SEM_INIT(0);
	atomic_store(&host.room, NULL);
	host.thread = start_green(fn, NULL);
	while (!atomic_load(&host.room))
		green_sleep(GREEN_MS(1));
	await_parked(host.thread);
}

static void end_host(void)
{
	green_sem_post(&host.sem);
	CHECK_EQ((uintptr_t)join_green(host.thread), 1);
}

static bool is_asleep(void)
{
	stack_id stack;

	CHECK_EQ(stack_find(atomic_load(&host.room), &stack), STACK_PART_FRAMES);
	return stack_is_hibernated(stack);
}

static void wait_asleep(void)
{
	while (!is_asleep())
		green_sleep(GREEN_MS(1));
}

static int complete(void)
{
	struct io_uring_cqe *cqe;

	CHECK_EQ(io_uring_wait_cqe(&ring, &cqe), 0);
	int r = cqe->res;
	io_uring_cqe_seen(&ring, cqe);
	return r;
}

static void touch(void)
{
	*(volatile char *)atomic_load(&host.room) = 0;
}

/* ---- held ------------------------------------------------------------------------ */

static void read_fixed(void)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);

	io_uring_prep_read_fixed(sqe, ends[0], atomic_load(&host.room), 8, 0, 0);
	CHECK_EQ(io_uring_submit(&ring), 1);
	CHECK_EQ(write(ends[1], "arrived", 8), 8);
	CHECK_EQ(complete(), 8);
}

static void register_room(int expected)
{
	struct iovec buffer = { atomic_load(&host.room), 64 };

	CHECK_EQ(io_uring_register_buffers(&ring, &buffer, 1), expected);
}

/* The stack cannot fall asleep in between. */
static void register_awake(void)
{
	stack_id stack;

	CHECK_EQ(stack_find(atomic_load(&host.room), &stack), STACK_PART_FRAMES);
	stack_pin(stack);
	touch();
	register_room(0);
	stack_unpin(stack);
}

/* It stays awake for as long as that. */
static void *held(void *fn)
{
	start_host((green_fn)(uintptr_t)fn);
	register_awake();
	green_sleep(50 * AFTER);
	CHECK(!is_asleep());
	read_fixed();
	CHECK_EQ(io_uring_unregister_buffers(&ring), 0);
	wait_asleep();
	end_host();
	return NULL;
}

/* Registered while it sleeps: that wakes it, or is refused. */
static void *held_late(void *fn)
{
	start_host((green_fn)(uintptr_t)fn);
	wait_asleep();
	register_room(kernel_mode ? 0 : -EFAULT);
	if (!kernel_mode)
		register_awake();
	green_sleep(50 * AFTER);
	CHECK(!is_asleep());
	read_fixed();
	CHECK_EQ(io_uring_unregister_buffers(&ring), 0);
	end_host();
	return NULL;
}

/* ---- looked up when the bytes come ------------------------------------------------ */

static void prepare_read(struct io_uring_sqe *sqe)
{
	io_uring_prep_read(sqe, ends[0], atomic_load(&host.room), 8, 0);
}

static void prepare_recv(struct io_uring_sqe *sqe)
{
	io_uring_prep_recv(sqe, ends[0], atomic_load(&host.room), 8, 0);
}

static void prepare_provided(struct io_uring_sqe *sqe)
{
	/* What was not used stays provided. */
	io_uring_prep_remove_buffers(sqe, 1, 1);
	CHECK_EQ(io_uring_submit(&ring), 1);
	complete();
	sqe = io_uring_get_sqe(&ring);
	io_uring_prep_provide_buffers(sqe, atomic_load(&host.room), 8, 1, 1, 0);
	CHECK_EQ(io_uring_submit(&ring), 1);
	CHECK_EQ(complete(), 0);
	sqe = io_uring_get_sqe(&ring);
	io_uring_prep_recv(sqe, ends[0], NULL, 8, 0);
	sqe->flags |= IOSQE_BUFFER_SELECT;
	sqe->buf_group = 1;
}

/* Refused, the bytes are where they were; they are had once the stack is there. */
static void arrive(void (*prepare)(struct io_uring_sqe *sqe))
{
	int r;

	prepare(io_uring_get_sqe(&ring));
	CHECK_EQ(io_uring_submit(&ring), 1);
	wait_asleep(); /* a wait of the kernel's does not hold it */
	CHECK_EQ(write(ends[1], "arrived", 8), 8);
	while ((r = complete()) == -EFAULT && !kernel_mode) {
		touch();
		prepare(io_uring_get_sqe(&ring));
		CHECK_EQ(io_uring_submit(&ring), 1);
	}
	CHECK_EQ(r, 8);
}

static void *looked_up(void *fn)
{
	static void (*const ways[])(struct io_uring_sqe * sqe) = { prepare_read, prepare_recv,
		                                                   prepare_provided };

	for (unsigned way = 0; way < 3; way++)
		for (int round = 0; round < ROUNDS; round++) {
			start_host((green_fn)(uintptr_t)fn);
			wait_asleep();
			arrive(ways[way]);
			end_host();
		}
	return NULL;
}

/* ---- modes ------------------------------------------------------------------------ */

static void in_modes(green_fn fn, green_fn of)
{
	static const char *const modes[] = { "-userfaultfd_kernel", "" };
	unsigned runs = 0;

	REQUIRE_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
	if (io_uring_queue_init(8, &ring, 0) < 0)
		SKIP("no io_uring");
	for (unsigned i = 0; i < 2; i++) {
		struct green_options options = { .features = modes[i],
			                         .hibernate_after_ns = AFTER };
		struct green_info info;
		REQUIRE_EQ(green_init(&options), 0);
		REQUIRE_EQ(green_info(&info), 0);
		REQUIRE_EQ(green_fini(), 0);
		kernel_mode = !strcmp(info.stacks, "userfaultfd-kernel");
		if (!strstr(info.features, "+uffd_wp") || (i == 1 && !kernel_mode) ||
		    (of == hold_much && !strstr(info.features, "+uffd_move")))
			continue;
		CHECK_EQ(run_green_with(&options, fn, (void *)(uintptr_t)of, NULL), 0);
		runs++;
	}
	io_uring_queue_exit(&ring);
	close(ends[0]);
	close(ends[1]);
	if (!runs)
		SKIP("no userfaultfd, or none that moves pages");
}

TEST(memory_that_the_kernel_holds_stays)
{
	in_modes(held, hold_room);
}

TEST(much_memory_that_the_kernel_holds_stays)
{
	in_modes(held, hold_much);
}

TEST(memory_may_become_held_while_it_sleeps)
{
	in_modes(held_late, hold_room);
}

TEST(memory_that_is_looked_up_may_sleep)
{
	in_modes(looked_up, hold_room);
}

TEST(much_memory_that_is_looked_up_may_sleep)
{
	in_modes(looked_up, hold_much);
}

/* Where nobody can tell whether it is held, what might be stays. */
static void *stays(void *unused)
{
	start_host(hold_much);
	green_sleep(50 * AFTER);
	CHECK(!is_asleep());
	memcpy(atomic_load(&host.room), "arrived", 8);
	end_host();
	start_host(hold_room);
	wait_asleep();
	memcpy(atomic_load(&host.room), "arrived", 8);
	end_host();
	return unused;
}

TEST(without_moving_pages_only_small_stacks_sleep)
{
	struct green_options options = { .features = "-uffd_move", .hibernate_after_ns = AFTER };
	struct green_info info;

	REQUIRE_EQ(green_init(&options), 0);
	REQUIRE_EQ(green_info(&info), 0);
	REQUIRE_EQ(green_fini(), 0);
	if (!strstr(info.features, "+uffd_wp"))
		SKIP("no userfaultfd");
	CHECK_EQ(run_green_with(&options, stays, NULL, NULL), 0);
}
