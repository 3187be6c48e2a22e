/* SPDX-License-Identifier: MIT
 *
 * Who hibernates and when: by option, by attribute, early when memory is short;
 * spawns stop at stack_bytes_max; what a stack once used is given back.
 */
#include "harness.h"
#include "green_sync.h"
#include "hibernate.h"
#include "sweep.h"
#include "arch/sys.h"

#include <fcntl.h>
#include <sys/mman.h>

#define HOUR GREEN_S(3600)
#define LONG GREEN_S(64) /* a 64th of it is bearable */
#define PAGE ((size_t)4096)
#define COUNT 200

static green_sem_t sem;
static _Atomic unsigned waiting;

static size_t hibernated(void)
{
	struct green_info info;

	REQUIRE_EQ(green_info(&info), 0);
	return info.stacks_hibernated;
}

static void wait_hibernated(size_t count)
{
	while (hibernated() < count)
		green_sleep(GREEN_MS(2));
}

static void run_with(const struct green_options *options, green_fn fn)
{
	struct green_info info;

	unsetenv("GREEN_HIBERNATE_MS");
	REQUIRE_EQ(green_init(options), 0);
	REQUIRE_EQ(green_info(&info), 0);
	REQUIRE_EQ(green_fini(), 0);
	if (!strstr(info.features, "+uffd_wp"))
		SKIP("no userfaultfd");
	CHECK_EQ(run_green_with(options, fn, NULL, NULL), 0);
}

static void *wait_once(void *unused)
{
	(void)unused;
	atomic_fetch_add(&waiting, 1);
	return (void *)(intptr_t)green_sem_wait(&sem);
}

static void start_waiting(green_t *threads, unsigned count, const struct green_attr *attr)
{
	unsigned before = atomic_load(&waiting);

	for (unsigned i = 0; i < count; i++)
		threads[i] = start_with(attr, wait_once, NULL);
	while (atomic_load(&waiting) < before + count)
		green_sleep(GREEN_MS(1));
}

static void end_waiting(green_t *threads, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		green_sem_post(&sem);
	for (unsigned i = 0; i < count; i++)
		CHECK_EQ((intptr_t)join_green(threads[i]), 0);
}

/* ---- attributes ---------------------------------------------------------------- */

TEST(patience_is_rounded_up)
{
	static const struct {
		int64_t after_ns;
		uint8_t patience;
	} cases[] = {
		{ GREEN_FOREVER, 1 }, { 1, 2 },
		{ GREEN_MS(1), 2 },   { GREEN_MS(1) + 1, 3 },
		{ GREEN_MS(2), 3 },   { GREEN_MS(3), 4 },
		{ HOUR, 24 },         { INT64_MAX - 1, 31 },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		CHECK_EQ(sweep_patience(cases[i].after_ns), cases[i].patience);
}

static void *some_hibernate(void *unused)
{
	struct green_attr soon = { .hibernate_after_ns = 1 };
	struct green_attr never = { .hibernate_after_ns = GREEN_FOREVER };
	green_t threads[3 * COUNT];

	(void)unused;
	start_waiting(threads, COUNT, &never);
	start_waiting(threads + COUNT, COUNT, NULL);
	start_waiting(threads + 2 * COUNT, COUNT, &soon);
	wait_hibernated(COUNT);
	green_sleep(GREEN_MS(100)); /* several passes more */
	CHECK_EQ(hibernated(), COUNT);
	end_waiting(threads, 3 * COUNT);
	return NULL;
}

TEST(an_attribute_comes_before_the_option)
{
	struct green_options options = { .hibernate_after_ns = HOUR };

	run_with(&options, some_hibernate);
}

static void *all_but_some(void *unused)
{
	struct green_attr never = { .hibernate_after_ns = GREEN_FOREVER };
	green_t threads[2 * COUNT];

	(void)unused;
	start_waiting(threads, COUNT, &never);
	start_waiting(threads + COUNT, COUNT, NULL);
	wait_hibernated(COUNT);
	green_sleep(GREEN_MS(50));
	CHECK_LE(hibernated(), COUNT + 1); /* this thread may have been */
	end_waiting(threads, 2 * COUNT);
	return NULL;
}

TEST(an_attribute_says_never)
{
	struct green_options options = { .hibernate_after_ns = GREEN_MS(1) };

	run_with(&options, all_but_some);
}

static void *none_hibernate(void *unused)
{
	struct green_attr soon = { .hibernate_after_ns = 1 };
	green_t threads[COUNT], thread;

	(void)unused;
	start_waiting(threads, COUNT, &soon);
	green_sleep(GREEN_MS(100));
	CHECK_EQ(hibernated(), 0);
	end_waiting(threads, COUNT);
	soon.hibernate_after_ns = -1;
	CHECK_EQ(green_spawn(&thread, &soon, wait_once, NULL), -EINVAL);
	return NULL;
}

TEST(where_the_option_says_never_nobody_does)
{
	struct green_options options = { .hibernate_after_ns = GREEN_FOREVER };

	unsetenv("GREEN_HIBERNATE_MS");
	CHECK_EQ(run_green_with(&options, none_hibernate, NULL, NULL), 0);
}

/* ---- by default ---------------------------------------------------------------- */

#define FEW 900u /* less than a thousand */
#define MORE 200u

static void *many_hibernate(void *unused)
{
	static green_t threads[FEW + MORE];

	(void)unused;
	start_waiting(threads, FEW, NULL);
	green_sleep(GREEN_MS(1600)); /* more than is usual, and the pass that follows */
	CHECK_EQ(hibernated(), 0);
	start_waiting(threads + FEW, MORE, NULL);
	wait_hibernated(FEW + MORE);
	end_waiting(threads, FEW + MORE);
	return NULL;
}

TEST(by_default_a_thousand_do)
{
	struct green_options options = { .workers = 0 };

	run_with(&options, many_hibernate);
}

/* An attribute asks for it. */
static void *one_hibernates(void *unused)
{
	struct green_attr soon = { .hibernate_after_ns = 1 };
	green_t thread;

	(void)unused;
	start_waiting(&thread, 1, &soon);
	wait_hibernated(1);
	end_waiting(&thread, 1);
	return NULL;
}

TEST(by_default_those_do_that_ask)
{
	struct green_options options = { .workers = 0 };

	run_with(&options, one_hibernates);
}

#define RESTLESS 10000u

static _Atomic bool stop;

static void *sleep_on(void *unused)
{
	(void)unused;
	while (!atomic_load(&stop))
		green_sleep(GREEN_MS(1200));
	return NULL;
}

static void *are_left_alone(void *unused)
{
	static green_t threads[RESTLESS];

	(void)unused;
	atomic_store(&stop, false);
	for (unsigned i = 0; i < RESTLESS; i++)
		threads[i] = start_green(sleep_on, NULL);
	while (stacks_hibernations() < RESTLESS / 2)
		green_sleep(GREEN_MS(10));
	/* They come back, and are given longer; otherwise this never ends. */
	uint64_t before;
	do {
		before = stacks_hibernations();
		green_sleep(GREEN_S(4));
	} while (stacks_hibernations() - before >= RESTLESS / 2);
	atomic_store(&stop, true);
	for (unsigned i = 0; i < RESTLESS; i++)
		join_green(threads[i]);
	return NULL;
}

TEST(by_default_those_that_come_back_soon_stay)
{
	struct green_options options = { .workers = 0 };

	run_with(&options, are_left_alone);
}

/* ---- short of memory ------------------------------------------------------------ */

static const char *figures; /* a file in place of the kernel's */

static long give_figures(long nr, long a, long b, long c, long d, long e, long f)
{
	if (nr == SYS_open && figures && strcmp((const char *)a, "/proc/pressure/memory") == 0)
		a = (long)figures;
	return sys_raw(nr, a, b, c, d, e, f);
}

static void write_figures(const char *text)
{
	int fd = open(figures, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	REQUIRE_EQ(write(fd, text, strlen(text)), strlen(text));
	close(fd);
}

static void *hurries(void *unused)
{
	green_t threads[COUNT];
	int64_t begin = green_now();

	(void)unused;
	write_figures("some avg10=0.99 avg60=50.00 avg300=0.00 total=1\n"
	              "full avg10=9.99 avg60=0.00 avg300=0.00 total=1\n");
	start_waiting(threads, COUNT, NULL);
	green_sleep(LONG / 32); /* twice a 64th */
	CHECK_EQ(hibernated(), 0);
	write_figures("some avg10=1.00 avg60=0.00 avg300=0.00 total=1\n");
	wait_hibernated(COUNT);
	CHECK_LT(green_now() - begin, LONG);
	end_waiting(threads, COUNT);
	return NULL;
}

TEST(pressure_makes_eager)
{
	struct green_options options = { .hibernate_after_ns = LONG };
	char path[] = "/tmp/green-pressure-XXXXXX";

	close(mkstemp(path));
	figures = path;
	sys.call = give_figures;
	run_with(&options, hurries);
	unlink(path);
}

#define BUDGET (100 * PAGE)

/* As many as there is room for. */
static unsigned fill_budget(green_t *threads)
{
	unsigned n = 0;
	int r;

	while ((r = green_spawn(&threads[n], NULL, wait_once, NULL)) == 0 && n < 1000)
		n++;
	CHECK_EQ(r, -ENOMEM);
	return n;
}

static void *is_bounded(void *unused)
{
	static green_t threads[2000];
	struct green_info info;
	int64_t begin = green_now();

	(void)unused;
	unsigned n = fill_budget(threads), all = n;
	CHECK_GE(n, 90);
	CHECK_LE(n, 100);
	/* They hibernate until a quarter is free again, which makes room for others. */
	wait_hibernated(n / 4);
	CHECK_LT(green_now() - begin, LONG);
	REQUIRE_EQ(green_info(&info), 0);
	CHECK_LT(info.hibernated_bytes, BUDGET / 2);
	all += fill_budget(threads + all);
	CHECK_GT(all, n);
	end_waiting(threads, all);
	return NULL;
}

TEST(spawns_stop_at_the_budget)
{
	struct green_options options = { .hibernate_after_ns = LONG, .stack_bytes_max = BUDGET };

	run_with(&options, is_bounded);
}

/* ---- what was used once ----------------------------------------------------------- */

static struct deep {
	char *_Atomic used; /* on its stack, far below */
	green_sem_t sem;
} deep[50];

/* Pages among the 16 from there that have memory of their own. */
static unsigned pages_used(char *from)
{
	uint64_t entries[16];
	unsigned n = 0;
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);

	REQUIRE_EQ(pread(fd, entries, sizeof(entries), (off_t)((uintptr_t)from / PAGE * 8)),
	           sizeof(entries));
	close(fd);
	for (unsigned i = 0; i < 16; i++) /* bit 61: the kernel's page of zeroes is a file's */
		n += entries[i] >> 63 && (entries[i] >> 56 & 1);
	return n;
}

__attribute__((noinline)) static void go_deep(struct deep *self)
{
	volatile char frame[100 << 10];

	for (size_t i = 0; i < sizeof(frame); i += PAGE)
		frame[i] = 1;
	self->used = (char *)(((uintptr_t)frame + PAGE) & ~(PAGE - 1));
	CHECK_EQ(pages_used(self->used), 16);
}

static void *once_deep(void *arg)
{
	struct deep *self = arg;

	go_deep(self);
	CHECK_EQ(green_sem_wait(&self->sem), 0);
	return NULL;
}

/* With more on its stack than is put into the slab. */
static void *once_deep_and_full(void *arg)
{
	volatile char frame[3 * PAGE];

	frame[0] = 7;
	once_deep(arg);
	CHECK_EQ(frame[0], 7);
	return NULL;
}

static void *are_trimmed(void *fn)
{
	struct green_attr attr = { .stack_size = 256 << 10 };
	enum { DEEP = sizeof(deep) / sizeof(deep[0]) };
	green_t threads[DEEP];

	for (unsigned i = 0; i < DEEP; i++) {
		atomic_store(&deep[i].used, NULL);
		deep[i].sem = (green_sem_t)GREEN_SEM_INIT(0);
		threads[i] = start_with(&attr, (green_fn)fn, &deep[i]);
	}
	for (unsigned i = 0; i < DEEP; i++)
		while (!deep[i].used || pages_used(deep[i].used))
			green_sleep(GREEN_MS(2));
	for (unsigned i = 0; i < DEEP; i++)
		green_sem_post(&deep[i].sem);
	for (unsigned i = 0; i < DEEP; i++)
		join_green(threads[i]);
	return NULL;
}

static void *both_are_trimmed(void *unused)
{
	(void)unused;
	are_trimmed((void *)once_deep);
	are_trimmed((void *)once_deep_and_full);
	return NULL;
}

TEST(deep_stacks_are_trimmed)
{
	struct green_options options = { .hibernate_after_ns = GREEN_MS(1) };

	run_with(&options, both_are_trimmed);
}
