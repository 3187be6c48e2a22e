/* SPDX-License-Identifier: MIT
 *
 * The program's own io_uring and native AIO: waiting for completions.
 */
#include "conform.h"

#include <errno.h>
#include <linux/aio_abi.h>
#include <linux/io_uring.h>
#include <poll.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static void *writes_later(void *argument)
{
	sleep_ms(30);
	return (void *)(intptr_t)write(*(int *)argument, "hello", 5);
}

struct small_ring {
	int fd;
	unsigned char *memory, *entries;
	struct io_uring_params p;
};

static bool ring_open(struct small_ring *r, unsigned flags)
{
	r->p = (struct io_uring_params){ .flags = flags };
	r->fd = (int)syscall(SYS_io_uring_setup, 8, &r->p);
	if (r->fd < 0)
		return false;
	r->memory =
		mmap(NULL, 4096 * 4, PROT_READ | PROT_WRITE, MAP_SHARED, r->fd, IORING_OFF_SQ_RING);
	r->entries = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, r->fd, IORING_OFF_SQES);
	return r->memory != MAP_FAILED && r->entries != MAP_FAILED;
}

static unsigned *ring_word(struct small_ring *r, unsigned offset)
{
	return (unsigned *)(void *)(r->memory + offset);
}

/* Puts in a read of 16 bytes. */
static void ring_read(struct small_ring *r, int fd, char *bytes)
{
	struct io_uring_sqe *sqe = (void *)r->entries;
	unsigned tail = *ring_word(r, r->p.sq_off.tail), at = tail & (r->p.sq_entries - 1);

	memset(&sqe[at], 0, sizeof(*sqe));
	sqe[at].opcode = IORING_OP_READ;
	sqe[at].fd = fd;
	sqe[at].addr = (uintptr_t)bytes;
	sqe[at].len = 16;
	ring_word(r, r->p.sq_off.array)[at] = at;
	__atomic_store_n(ring_word(r, r->p.sq_off.tail), tail + 1, __ATOMIC_RELEASE);
}

static unsigned ring_completed(struct small_ring *r)
{
	return __atomic_load_n(ring_word(r, r->p.cq_off.tail), __ATOMIC_ACQUIRE);
}

CHECK(ring_waits_for_completions)
{
	struct small_ring r;
	char bytes[2][16];
	int p[2];

	if (!ring_open(&r, 0))
		SKIP("io_uring is not allowed");
	EXPECT(pipe(p) == 0);
	pthread_t t = started(writes_later, &p[1]);
	ring_read(&r, p[0], bytes[0]);
	EXPECT(syscall(SYS_io_uring_enter, r.fd, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0) == 1);
	EXPECT(ring_completed(&r) == 1);
	joined(t);
	/* Two at once. */
	t = started(writes_later, &p[1]);
	ring_read(&r, p[0], bytes[0]);
	ring_read(&r, p[0], bytes[1]);
	EXPECT(syscall(SYS_io_uring_enter, r.fd, 2, 1, IORING_ENTER_GETEVENTS, NULL, 0) == 2);
	joined(t);
	t = started(writes_later, &p[1]);
	EXPECT(syscall(SYS_io_uring_enter, r.fd, 0, 3, IORING_ENTER_GETEVENTS, NULL, 0) == 0 ||
	       ring_completed(&r) == 3);
	EXPECT(ring_completed(&r) == 3);
	joined(t);
	close(r.fd);
	close(p[0]);
	close(p[1]);
	return true;
}

CHECK(ring_of_one_thread)
{
	struct small_ring r;
	char bytes[16];
	int p[2];

	if (!ring_open(&r, IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN))
		SKIP("io_uring is not allowed");
	EXPECT(pipe(p) == 0);
	pthread_t t = started(writes_later, &p[1]);
	ring_read(&r, p[0], bytes);
	sleep_ms(1);
	EXPECT(syscall(SYS_io_uring_enter, r.fd, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0) == 1);
	EXPECT(ring_completed(&r) == 1);
	joined(t);
	close(r.fd);
	close(p[0]);
	close(p[1]);
	return true;
}

CHECK(native_aio_waits)
{
	aio_context_t context = 0;
	struct iocb poll_in = { .aio_lio_opcode = IOCB_CMD_POLL, .aio_buf = POLLIN };
	struct iocb *list[1] = { &poll_in };
	struct io_event events[2];
	struct timespec soon = { 0, 20000000 };
	int p[2];

	if (syscall(SYS_io_setup, 8, &context) < 0)
		SKIP("native AIO is not allowed");
	EXPECT(pipe(p) == 0);
	poll_in.aio_fildes = (uint32_t)p[0];
	EXPECT(syscall(SYS_io_submit, context, 1, list) == 1);
	EXPECT(syscall(SYS_io_getevents, context, 1, 2, events, &soon) == 0);
	pthread_t t = started(writes_later, &p[1]);
	EXPECT(syscall(SYS_io_getevents, context, 1, 2, events, NULL) == 1);
	joined(t);
	EXPECT(syscall(SYS_io_destroy, context) == 0);
	close(p[0]);
	close(p[1]);
	return true;
}
