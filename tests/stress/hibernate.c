/* SPDX-License-Identifier: MIT
 *
 * Stress of hibernation: parked threads fall asleep all the time while others
 * write to their stacks, and no write may be lost.
 *
 *   hands     OS threads and a green thread add to counters on the stacks
 *   calls     green_read, green_recvmsg, green_pread (of the page cache, and by
 *             O_DIRECT) write there, from green threads and OS threads
 *   plain     read(2) of an OS thread, and pread(2) by O_DIRECT: right, or in user
 *             mode also EFAULT, and then nothing has been taken from the pipe
 *   ring      the same by an io_uring of the program's own: plain, by provided
 *             buffers, and by fixed ones, which may also be refused in user mode
 *   wakers    wake the threads, which look at all that lies on their stacks
 *
 * In each mode of userfaultfd, for --seconds or until there were --count
 * hibernations; --seed makes other random numbers.
 *
 * Its threads yield, and sleep for microseconds, some 100,000 times a second.  The
 * scheduler of Linux 6.18 then leaves other programs hardly any of the CPU that they
 * gather on, whether or not anything hibernates.
 */
#define _GNU_SOURCE
#include "harness.h"

#include "green_io.h"
#include "green_sync.h"
#include "hibernate.h"

#include <fcntl.h>
#include <getopt.h>
#include <liburing.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/socket.h>

#define HOSTS 4096u
#define KINDS 8u       /* of kernel writes: each has a word on each stack */
#define WRITERS 5u     /* of them by threads of their own */
#define DIRECT 512u    /* bytes of an O_DIRECT transfer */
#define DIRECT_EVERY 8 /* hosts that have room for one */
#define WORDS 24u      /* that nobody writes to */

/* On the stack of a host. */
struct room {
	_Atomic uint64_t added;
	uint64_t written[KINDS];
	uint64_t quiet[WORDS];
	char *direct; /* aligned room for one transfer, or NULL */
};

static struct host {
	green_sem_t sem;
	struct room *_Atomic room;
	green_t thread;
	uint64_t expected[KINDS]; /* what the kernel wrote last; its writer's */
	uint64_t expected_direct;
} hosts[HOSTS];

static int64_t run_ns = GREEN_S(2);
static uint64_t seed;  /* of this run's random numbers */
static uint64_t count; /* hibernations wanted; 0: as many as there are in run_ns */
static bool kernel_mode;
static _Atomic bool stop, over; /* for those who write; for the hosts */
static _Atomic uint64_t added, calls, refused, wakes;

static struct room *room_of(unsigned i)
{
	return atomic_load_explicit(&hosts[i].room, memory_order_acquire);
}

/* Each of those who choose by chance has a number. */
static struct rng rng_of(uint64_t number)
{
	return rng_seed(seed * 1000 + number);
}

/* ---- hosts ---------------------------------------------------------------------- */

static void check_quiet(const struct room *room, uint64_t index)
{
	for (unsigned i = 0; i < WORDS; i++)
		if (room->quiet[i] != (index << 32 | i))
			FAIL("host %u: word %u is %llx", (unsigned)index, i,
			     (unsigned long long)room->quiet[i]);
}

static void live(struct host *self, struct room *room)
{
	uint64_t index = (uint64_t)(self - hosts);

	for (unsigned i = 0; i < WORDS; i++)
		room->quiet[i] = index << 32 | i;
	atomic_store_explicit(&self->room, room, memory_order_release);
	do {
		CHECK_EQ(green_sem_wait(&self->sem), 0);
		check_quiet(room, index);
		atomic_fetch_add_explicit(&room->added, 1, memory_order_relaxed);
		atomic_fetch_add_explicit(&wakes, 1, memory_order_relaxed);
	} while (!atomic_load_explicit(&over, memory_order_acquire));
}

static void *host(void *arg)
{
	struct room room = { .direct = NULL };

	live(arg, &room);
	return (void *)(uintptr_t)atomic_load(&room.added);
}

static void *host_with_direct(void *arg)
{
	_Alignas(DIRECT) char direct[DIRECT] = "";
	struct room room = { .direct = direct };

	live(arg, &room);
	return (void *)(uintptr_t)atomic_load(&room.added);
}

/* ---- hands ---------------------------------------------------------------------- */

static void *add(void *number)
{
	struct rng rng = rng_of((uintptr_t)number);
	uint64_t mine = 0;

	while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
		atomic_fetch_add_explicit(&room_of(rng_below(&rng, HOSTS))->added, 1,
		                          memory_order_relaxed);
		if (++mine % 16 == 0)
			sched_yield();
	}
	atomic_fetch_add(&added, mine);
	return NULL;
}

static void *add_green(void *number)
{
	struct rng rng = rng_of((uintptr_t)number);
	uint64_t mine = 0;

	while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
		atomic_fetch_add_explicit(&room_of(rng_below(&rng, HOSTS))->added, 1,
		                          memory_order_relaxed);
		if (++mine % 64 == 0)
			green_sleep(GREEN_US(200));
	}
	atomic_fetch_add(&added, mine);
	return NULL;
}

/* ---- the kernel ------------------------------------------------------------------ */

enum kind { READ, RECVMSG, PREAD, OS_READ, PLAIN, RING, RING_FIXED, RING_PROVIDED };

/* Has the value written where the last one must still be. */
static void write_by(enum kind kind, unsigned i, uint64_t value, long (*call)(void *to, void *of),
                     void *of)
{
	uint64_t *word = &room_of(i)->written[kind];

	if (*word != hosts[i].expected[kind])
		FAIL("host %u: what the kernel wrote is lost: %llu, not %llu (kind %u)", i,
		     (unsigned long long)*word, (unsigned long long)hosts[i].expected[kind], kind);
	long n = call(word, of);
	CHECK_EQ(n, 8);
	hosts[i].expected[kind] = value;
	atomic_fetch_add_explicit(&calls, 1, memory_order_relaxed);
}

static void check_written(unsigned i)
{
	const struct room *room = room_of(i);

	for (unsigned kind = 0; kind < KINDS; kind++)
		if (room->written[kind] != hosts[i].expected[kind])
			FAIL("host %u: what the kernel wrote is lost at the end (kind %u)", i,
			     kind);
	if (room->direct)
		CHECK_EQ(memcmp(room->direct, &hosts[i].expected_direct, 8), 0);
}

static long call_read(void *to, void *of)
{
	return green_read(*(int *)of, to, 8);
}

static long call_recvmsg(void *to, void *of)
{
	struct iovec iov = { to, 8 };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };

	return green_recvmsg(*(int *)of, &msg, 0);
}

static long call_pread(void *to, void *of)
{
	return green_pread(*(int *)of, to, 8, 0);
}

static void touch(void *to)
{
	atomic_fetch_add_explicit(&refused, 1, memory_order_relaxed);
	*(volatile char *)to = *(volatile char *)to;
}

static long call_plain(void *to, void *of)
{
	long n;

	/* A pipe keeps what it could not deliver. */
	while ((n = read(*(int *)of, to, 8)) < 0 && errno == EFAULT && !kernel_mode)
		touch(to);
	return n;
}

/* Writes by one kind of call, to one host after the other at random. */
struct writer {
	enum kind kind;
	long (*call)(void *to, void *of);
	int from, to;
	bool green;
};

static void *keep_writing(void *arg)
{
	struct writer *w = arg;
	struct rng rng = rng_of(77 + w->kind);

	for (uint64_t value = 1; !atomic_load_explicit(&stop, memory_order_relaxed); value++) {
		if (w->kind == PREAD)
			CHECK_EQ(pwrite(w->to, &value, 8, 0), 8);
		else
			CHECK_EQ(write(w->to, &value, 8), 8);
		write_by(w->kind, (unsigned)rng_below(&rng, HOSTS), value, w->call, &w->from);
		if (value % 16)
			continue;
		if (w->green)
			green_sleep(GREEN_US(100));
		else
			sched_yield();
	}
	return NULL;
}

/* A block of the file for each value, so that the disk writes each. */
static void read_directly(int fd, unsigned i, struct rng *rng,
                          ssize_t (*call)(int fd, void *to, size_t size, off_t at))
{
	uint64_t block = rng_below(rng, 64);

	CHECK_EQ(memcmp(room_of(i)->direct, &hosts[i].expected_direct, 8), 0);
	CHECK_EQ(call(fd, room_of(i)->direct, DIRECT, (off_t)(block * DIRECT)), DIRECT);
	hosts[i].expected_direct = block + 1;
	atomic_fetch_add_explicit(&calls, 1, memory_order_relaxed);
}

static void *keep_reading_directly(void *fd)
{
	struct rng rng = rng_of(99);

	while (!atomic_load_explicit(&stop, memory_order_relaxed))
		read_directly(*(int *)fd,
		              (unsigned)rng_below(&rng, HOSTS / DIRECT_EVERY / 2) * 2 *
		                      DIRECT_EVERY,
		              &rng, green_pread);
	return NULL;
}

static ssize_t plain_pread(int fd, void *to, size_t size, off_t at)
{
	ssize_t n;

	while ((n = pread(fd, to, size, at)) < 0 && errno == EFAULT && !kernel_mode)
		touch(to);
	return n;
}

/* The kernel may hold the page when its stack is swept. */
static void *keep_reading_directly_plain(void *fd)
{
	struct rng rng = rng_of(98);

	while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
		unsigned i = (unsigned)rng_below(&rng, HOSTS / DIRECT_EVERY / 2) * 2 + 1;
		read_directly(*(int *)fd, i * DIRECT_EVERY, &rng, plain_pread);
	}
	return NULL;
}

/* ---- a ring ----------------------------------------------------------------------- */

struct ring {
	struct io_uring ring;
	int ends[2];
};

static int submit_and_wait(struct ring *r)
{
	struct io_uring_cqe *cqe;

	CHECK_EQ(io_uring_submit(&r->ring), 1);
	CHECK_EQ(io_uring_wait_cqe(&r->ring, &cqe), 0);
	int n = cqe->res;
	io_uring_cqe_seen(&r->ring, cqe);
	return n;
}

static long call_ring(void *to, void *of)
{
	struct ring *r = of;
	int n;

	do {
		io_uring_prep_read(io_uring_get_sqe(&r->ring), r->ends[0], to, 8, 0);
		n = submit_and_wait(r);
		if (n == -EFAULT)
			touch(to);
	} while (n == -EFAULT && !kernel_mode);
	return n;
}

static long call_provided(void *to, void *of)
{
	struct ring *r = of;
	int n;

	do {
		/* What was not used stays provided. */
		io_uring_prep_remove_buffers(io_uring_get_sqe(&r->ring), 1, 1);
		submit_and_wait(r);
		io_uring_prep_provide_buffers(io_uring_get_sqe(&r->ring), to, 8, 1, 1, 0);
		CHECK_EQ(submit_and_wait(r), 0);
		struct io_uring_sqe *sqe = io_uring_get_sqe(&r->ring);
		io_uring_prep_recv(sqe, r->ends[0], NULL, 8, 0);
		sqe->flags |= IOSQE_BUFFER_SELECT;
		sqe->buf_group = 1;
		n = submit_and_wait(r);
		if (n == -EFAULT)
			touch(to);
	} while (n == -EFAULT && !kernel_mode);
	return n;
}

/* Long enough for the sweeper to pass by while the kernel holds the page. */
static long call_fixed(void *to, void *of)
{
	struct ring *r = of;
	struct iovec buffer = { to, 8 };
	int n;

	while ((n = io_uring_register_buffers(&r->ring, &buffer, 1)) == -EFAULT && !kernel_mode)
		touch(to);
	CHECK_EQ(n, 0);
	usleep(500);
	io_uring_prep_read_fixed(io_uring_get_sqe(&r->ring), r->ends[0], to, 8, 0, 0);
	n = submit_and_wait(r);
	CHECK_EQ(io_uring_unregister_buffers(&r->ring), 0);
	return n;
}

static void *keep_writing_by_ring(void *unused)
{
	static long (*const ways[])(void *to, void *of) = { call_ring, call_fixed, call_provided };
	struct rng rng = rng_of(66);
	struct ring ring;

	REQUIRE_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, ring.ends), 0);
	if (io_uring_queue_init(8, &ring.ring, 0) < 0) {
		printf("no io_uring here\n");
		return unused;
	}
	for (uint64_t value = 1; !atomic_load_explicit(&stop, memory_order_relaxed); value++) {
		CHECK_EQ(write(ring.ends[1], &value, 8), 8);
		write_by(RING + value % 3, (unsigned)rng_below(&rng, HOSTS), value, ways[value % 3],
		         &ring);
	}
	io_uring_queue_exit(&ring.ring);
	close(ring.ends[0]);
	close(ring.ends[1]);
	return unused;
}

/* A file that O_DIRECT reads; -1: nowhere here. */
static int open_direct(void)
{
	_Alignas(4096) static char block[DIRECT];
	char path[] = "stress-hibernate-XXXXXX";
	int fd = mkstemp(path);

	if (fd < 0)
		return -1;
	for (uint64_t i = 0; i < 64; i++) {
		uint64_t value = i + 1;
		memcpy(block, &value, 8);
		if (pwrite(fd, block, DIRECT, (off_t)(i * DIRECT)) != DIRECT)
			break;
	}
	fsync(fd);
	close(fd);
	fd = open(path, O_RDONLY | O_DIRECT | O_CLOEXEC);
	unlink(path);
	if (fd >= 0 && pread(fd, block, DIRECT, 0) == DIRECT)
		return fd;
	printf("no O_DIRECT in this directory\n");
	close(fd);
	return -1;
}

/* ---- a run ------------------------------------------------------------------------ */

static void start_hosts(void)
{
	for (unsigned i = 0; i < HOSTS; i++) {
		memset(&hosts[i], 0, sizeof(hosts[i]));
		hosts[i].thread =
			start_green(i % DIRECT_EVERY ? host : host_with_direct, &hosts[i]);
	}
	for (unsigned i = 0; i < HOSTS; i++)
		while (!room_of(i))
			green_sleep(GREEN_MS(1));
}

static void wake_until_over(uint64_t before)
{
	struct rng rng = rng_of(5);
	int64_t end = green_now() + run_ns;

	while (count ? stacks_hibernations() - before < count : green_now() < end) {
		for (int i = 0; i < 50; i++)
			green_sem_post(&hosts[rng_below(&rng, HOSTS)].sem);
		green_sleep(GREEN_MS(1));
	}
}

static void end_hosts(void)
{
	uint64_t found = 0;

	for (unsigned i = 0; i < HOSTS; i++)
		check_written(i);
	atomic_store_explicit(&over, true, memory_order_release);
	for (unsigned i = 0; i < HOSTS; i++)
		green_sem_post(&hosts[i].sem);
	for (unsigned i = 0; i < HOSTS; i++)
		found += (uintptr_t)join_green(hosts[i].thread);
	CHECK_EQ(found, atomic_load(&added) + atomic_load(&wakes));
}

static void new_writer(struct writer *w, int ends[2])
{
	w->from = ends[0];
	w->to = ends[1];
}

static void *run(void *unused)
{
	static struct writer writers[WRITERS] = { { READ, call_read, -1, -1, true },
		                                  { RECVMSG, call_recvmsg, -1, -1, true },
		                                  { PREAD, call_pread, -1, -1, true },
		                                  { OS_READ, call_read, -1, -1, false },
		                                  { PLAIN, call_plain, -1, -1, false } };
	uint64_t before = stacks_hibernations();
	int ends[2], file = memfd_create("stress_hibernate", MFD_CLOEXEC), direct = open_direct();
	green_t green[5];
	pthread_t os[5], os_direct = 0;

	atomic_store(&stop, false);
	start_hosts();
	for (unsigned i = 0; i < WRITERS; i++) {
		REQUIRE_EQ(i == RECVMSG ? socketpair(AF_UNIX, SOCK_DGRAM, 0, ends) : pipe(ends), 0);
		new_writer(&writers[i], i == PREAD ? (int[]){ file, file } : ends);
	}
	for (unsigned i = 0; i < 3; i++)
		green[i] = start_green(keep_writing, &writers[i]);
	green[3] = start_green(add_green, (void *)3);
	os[4] = start_os(keep_writing_by_ring, NULL);
	if (direct >= 0) {
		green[4] = start_green(keep_reading_directly, &direct);
		os_direct = start_os(keep_reading_directly_plain, &direct);
	}
	for (unsigned i = 0; i < 2; i++) {
		os[i] = start_os(keep_writing, &writers[3 + i]);
		os[2 + i] = start_os(add, (void *)(uintptr_t)(i + 1));
	}
	wake_until_over(before);
	atomic_store(&stop, true);
	for (unsigned i = 0; i < 4; i++) {
		join_green(green[i]);
		join_os(os[i]);
	}
	join_os(os[4]);
	if (direct >= 0) {
		join_green(green[4]);
		join_os(os_direct);
	}
	end_hosts();
	printf("%llu hibernations, %llu additions, %llu kernel writes, %llu refused\n",
	       (unsigned long long)(stacks_hibernations() - before),
	       (unsigned long long)atomic_load(&added), (unsigned long long)atomic_load(&calls),
	       (unsigned long long)atomic_load(&refused));
	CHECK_GT(stacks_hibernations(), before);
	return unused;
}

static void run_in_mode(const char *features, const char *rung)
{
	struct green_options options = { .features = features, .hibernate_after_ns = 1 };
	struct green_info info;

	REQUIRE_EQ(green_init(&options), 0);
	REQUIRE_EQ(green_info(&info), 0);
	REQUIRE_EQ(green_fini(), 0);
	if (strcmp(info.stacks, rung) != 0 || !strstr(info.features, "+uffd_wp"))
		SKIP("no %s", rung);
	test_limit(count ? 1000000 : 60 + (unsigned)(run_ns / GREEN_S(1)));
	kernel_mode = features[0] == 0;
	CHECK_EQ(run_green_with(&options, run, NULL, NULL), 0);
}

TEST(no_write_is_lost_in_user_mode)
{
	run_in_mode("-userfaultfd_kernel", "userfaultfd");
}

TEST(no_write_is_lost_in_kernel_mode)
{
	run_in_mode("", "userfaultfd-kernel");
}

int main(int argc, char **argv)
{
	static const struct option options[] = { { "count", required_argument, NULL, 'n' },
		                                 { "seconds", required_argument, NULL, 't' },
		                                 { "seed", required_argument, NULL, 's' },
		                                 { NULL, 0, NULL, 0 } };
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1)
		switch (c) {
		case 'n':
			count = strtoull(optarg, NULL, 0);
			break;
		case 's':
			seed = strtoull(optarg, NULL, 0);
			break;
		case 't':
			run_ns = GREEN_S(strtoll(optarg, NULL, 0));
			break;
		default:
			fprintf(stderr,
			        "usage: %s [--seconds EACH] [--count HIBERNATIONS] [--seed N] "
			        "[TEST ...]\n",
			        argv[0]);
			return 2;
		}
	argv[optind - 1] = argv[0];
	return harness_main(argc - optind + 1, argv + optind - 1);
}
