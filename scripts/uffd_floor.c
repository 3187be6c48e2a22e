/* SPDX-License-Identifier: MIT
 *
 * What the kernel takes for the calls of which hibernation consists, with nothing around
 * them: over as many slots as a run of greenbench park begins with, the CPU time of a slot.
 *
 *	cc -O2 -pthread -o /tmp/uffd_floor scripts/uffd_floor.c
 *	/tmp/uffd_floor [THREADS]
 *
 * Each thread has slots of its own; they go through the steps side by side.  Needs a
 * userfaultfd in kernel mode (root).  Medians of five rounds, the mean of the threads.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define PAGE ((size_t)4096)
#define SLOT ((size_t)64 << 10)
#define CHUNK ((size_t)2 << 20)
#define CHUNKS ((size_t)16 << 20) /* that are taken together at most */
#define SLOTS ((size_t)16384)
#define THREADS_MAX 16
#define ROUNDS 5

static int uffd, threads;
static pthread_barrier_t together;
static _Alignas(4096) char zeroes[PAGE];
static _Thread_local char *aside; /* room for as many chunks, that nobody watches */

static _Noreturn void fail(const char *what)
{
	perror(what);
	exit(1);
}

/* Whatever else the other threads do to the mapping, it is tried again. */
static void ask(unsigned long request, void *argument, const char *what)
{
	while (ioctl(uffd, request, argument))
		if (errno != EAGAIN)
			fail(what);
}

/* ---- the calls, each for one slot or, at its first slot, for a chunk ------------------- */

static char *top_page(char *slot)
{
	return slot + SLOT - PAGE;
}

static int begins(const char *slot, size_t size)
{
	return (uintptr_t)slot % size == 0;
}

static void touch(char *slot)
{
	*(volatile char *)top_page(slot) = 1;
}

static void copy(char *slot)
{
	struct uffdio_copy c = { .dst = (uintptr_t)top_page(slot),
		                 .src = (uintptr_t)zeroes,
		                 .len = PAGE };

	ask(UFFDIO_COPY, &c, "UFFDIO_COPY");
}

static void zero(char *slot)
{
	uintptr_t at = (uintptr_t)slot + PAGE, end = (uintptr_t)top_page(slot);

	while (at < end) {
		struct uffdio_zeropage z = { .range = { at, end - at } };
		if (ioctl(uffd, UFFDIO_ZEROPAGE, &z) == 0)
			return;
		if (errno != EAGAIN)
			fail("UFFDIO_ZEROPAGE");
		at += z.zeropage > 0 ? (uintptr_t)z.zeropage : 0;
	}
}

static void protect_bytes(char *from, size_t size)
{
	struct uffdio_writeprotect w = { .range = { (uintptr_t)from, size },
		                         .mode = UFFDIO_WRITEPROTECT_MODE_WP };

	ask(UFFDIO_WRITEPROTECT, &w, "UFFDIO_WRITEPROTECT");
}

static void drop_bytes(char *from, size_t size)
{
	if (madvise(from, size, MADV_DONTNEED))
		fail("MADV_DONTNEED");
}

static void protect_chunk(char *slot)
{
	if (begins(slot, CHUNK))
		protect_bytes(slot, CHUNK);
}

static void drop_chunk(char *slot)
{
	if (begins(slot, CHUNK))
		drop_bytes(slot, CHUNK);
}

static void protect_chunks(char *slot)
{
	if (begins(slot, CHUNKS))
		protect_bytes(slot, CHUNKS);
}

static void drop_chunks(char *slot)
{
	if (begins(slot, CHUNKS))
		drop_bytes(slot, CHUNKS);
}

/* What the last one has moved there goes. */
static void move_chunks(char *slot)
{
	int how = MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP;

	if (begins(slot, CHUNKS) && mremap(slot, CHUNKS, CHUNKS, how, aside) == MAP_FAILED)
		fail("mremap");
}

static void protect_top(char *slot)
{
	protect_bytes(top_page(slot), PAGE);
}

static void drop_top(char *slot)
{
	drop_bytes(top_page(slot), PAGE);
}

/* ---- the steps ------------------------------------------------------------------------- */

static const struct step {
	const char *what;
	void (*call)(char *slot);
	int plain; /* memory that no userfaultfd watches */
} steps[] = {
	{ "fault of a plain page", touch, 1 },
	{ "MADV_DONTNEED of 2 MiB with these", drop_chunk, 1 },
	{ "UFFDIO_COPY of the top page", copy, 0 },
	{ "UFFDIO_WRITEPROTECT of 2 MiB", protect_chunk, 0 },
	{ "MADV_DONTNEED of 2 MiB", drop_chunk, 0 },
	{ "UFFDIO_COPY of the top page, again", copy, 0 },
	{ "UFFDIO_WRITEPROTECT of 16 MiB", protect_chunks, 0 },
	{ "MADV_DONTNEED of 16 MiB", drop_chunks, 0 },
	{ "UFFDIO_COPY of the top page, again", copy, 0 },
	{ "mremap of 16 MiB aside", move_chunks, 0 },
	{ "MADV_DONTNEED of the page tables it leaves", drop_chunks, 0 },
	{ "UFFDIO_ZEROPAGE of the 14 below", zero, 0 },
	{ "UFFDIO_COPY above them", copy, 0 },
	{ "UFFDIO_WRITEPROTECT of 2 MiB with zeroes", protect_chunk, 0 },
	{ "MADV_DONTNEED of 2 MiB with zeroes", drop_chunk, 0 },
	{ "UFFDIO_COPY of the top page, again", copy, 0 },
	{ "UFFDIO_WRITEPROTECT, each slot's page", protect_top, 0 },
	{ "MADV_DONTNEED, each slot's page", drop_top, 0 },
};
#define STEPS (sizeof(steps) / sizeof(steps[0]))

static struct worker {
	char *plain, *watched, *aside;
	double ns[STEPS][ROUNDS];
} workers[THREADS_MAX];

static int64_t cpu_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

static void *work(void *arg)
{
	struct worker *w = arg;

	aside = w->aside;
	for (unsigned round = 0; round < ROUNDS; round++)
		for (size_t i = 0; i < STEPS; i++) {
			char *base = steps[i].plain ? w->plain : w->watched;
			pthread_barrier_wait(&together);
			int64_t before = cpu_ns();
			for (size_t slot = 0; slot < SLOTS; slot++)
				steps[i].call(base + slot * SLOT);
			w->ns[i][round] = (double)(cpu_ns() - before) / (double)SLOTS;
		}
	return NULL;
}

/* ---- setting up --------------------------------------------------------------------------- */

static char *map(size_t size)
{
	char *p = mmap(NULL, size + CHUNKS, PROT_READ | PROT_WRITE,
	               MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		fail("mmap");
	p += CHUNKS - (uintptr_t)p % CHUNKS;
	madvise(p, size, MADV_NOHUGEPAGE);
	return p;
}

static void watch(char *from, size_t size)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register r = { .range = { (uintptr_t)from, size },
		                     .mode = UFFDIO_REGISTER_MODE_MISSING |
		                             UFFDIO_REGISTER_MODE_WP };

	uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC);
	if (uffd < 0 || ioctl(uffd, UFFDIO_API, &api) || ioctl(uffd, UFFDIO_REGISTER, &r))
		fail("userfaultfd");
}

static int by_size(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static void print(void)
{
	for (size_t i = 0; i < STEPS; i++) {
		double sum = 0;
		for (int t = 0; t < threads; t++) {
			qsort(workers[t].ns[i], ROUNDS, sizeof(double), by_size);
			sum += workers[t].ns[i][ROUNDS / 2];
		}
		printf("%-42s %6.0f ns\n", steps[i].what, sum / threads);
	}
}

int main(int argc, char **argv)
{
	const size_t size = SLOTS * SLOT;
	pthread_t handles[THREADS_MAX];

	threads = argc > 1 ? atoi(argv[1]) : 1;
	if (argc > 2 || threads < 1 || threads > THREADS_MAX)
		return fprintf(stderr, "usage: uffd_floor [1 to %d threads]\n", THREADS_MAX), 2;
	char *plain = map((size_t)threads * size), *watched = map((size_t)threads * size);
	watch(watched, (size_t)threads * size);
	pthread_barrier_init(&together, NULL, (unsigned)threads);
	for (int i = 0; i < threads; i++) {
		workers[i].plain = plain + (size_t)i * size;
		workers[i].watched = watched + (size_t)i * size;
		workers[i].aside = map(CHUNKS);
		if (pthread_create(&handles[i], NULL, work, &workers[i]))
			fail("pthread_create");
	}
	for (int i = 0; i < threads; i++)
		pthread_join(handles[i], NULL);
	print();
	return 0;
}
