/* SPDX-License-Identifier: MIT
 *
 * Hibernated stacks: what lay on them is there when their thread goes on, or
 * when anybody touches it; no write is lost, whenever it comes; what must not
 * be moved is not.
 */
#include "harness.h"
#include "green_sync.h"
#include "hibernate.h"
#include "stack.h"
#include "worker.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

#define AFTER GREEN_MS(1)

/* The two modes of the kernel, and what is expected of it. */
static const char *const modes[] = { "-userfaultfd_kernel", NULL };
static bool kernel_mode; /* of the present run */

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

/* Runs it in each mode that is there. */
static void in_modes(green_fn fn)
{
	unsigned runs = 0;

	for (unsigned i = 0; i < 2; i++) {
		struct green_options options = { .features = modes[i],
			                         .hibernate_after_ns = AFTER };
		struct green_info info;
		REQUIRE_EQ(green_init(&options), 0);
		REQUIRE_EQ(green_info(&info), 0);
		REQUIRE_EQ(green_fini(), 0);
		kernel_mode = !strcmp(info.stacks, "userfaultfd-kernel");
		if (!strstr(info.features, "+uffd_wp") || (i == 1 && !kernel_mode))
			continue;
		CHECK_EQ(run_green_with(&options, fn, NULL, NULL), 0);
		runs++;
	}
	if (!runs)
		SKIP("no userfaultfd");
}

#define COUNT 500

static struct parked {
	green_sem_t sem;
	_Atomic uint64_t *_Atomic counter; /* on its stack */
	green_t thread;
} parked[2048];

static void start_all(green_fn fn, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		parked[i].sem = (green_sem_t)GREEN_SEM_INIT(0);
		atomic_store(&parked[i].counter, NULL);
		parked[i].thread = start_green(fn, &parked[i]);
	}
	for (unsigned i = 0; i < count; i++)
		while (!atomic_load(&parked[i].counter))
			green_sleep(GREEN_MS(1));
}

/* Ends them; the sum of what they return. */
static uint64_t end_all(unsigned count)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < count; i++)
		green_sem_post(&parked[i].sem);
	for (unsigned i = 0; i < count; i++)
		sum += (uintptr_t)join_green(parked[i].thread);
	return sum;
}

/* Parks with known bytes on its stack. */
static void *hold(void *arg)
{
	struct parked *self = arg;
	uint64_t index = (uint64_t)(self - parked), bytes[40];
	_Atomic uint64_t counter = 0;

	for (unsigned i = 0; i < 40; i++)
		bytes[i] = index * 1000 + i;
	__asm__ volatile("" : : "r"(bytes) : "memory");
	atomic_store(&self->counter, &counter);
	CHECK_EQ(green_sem_wait(&self->sem), 0);
	for (unsigned i = 0; i < 40; i++)
		if (bytes[i] != index * 1000 + i)
			FAIL("thread %u: byte %u is wrong", (unsigned)index, i);
	return (void *)(uintptr_t)atomic_load(&counter);
}

static void *resumed(void *unused)
{
	(void)unused;
	for (int round = 0; round < 3; round++) {
		start_all(hold, COUNT);
		wait_hibernated(COUNT);
		CHECK_EQ(end_all(COUNT), 0);
		CHECK_LE(hibernated(), 2); /* the joiner may have slept */
	}
	return NULL;
}

TEST(what_was_on_a_stack_is_there_again)
{
	in_modes(resumed);
}

static void *touch_all(void *unused)
{
	(void)unused;
	for (unsigned i = 0; i < COUNT; i++)
		atomic_fetch_add(parked[i].counter, 1);
	return NULL;
}

static void *touched(void *unused)
{
	(void)unused;
	start_all(hold, COUNT);
	for (int round = 0; round < 3; round++) {
		wait_hibernated(COUNT);
		touch_all(NULL); /* a green thread */
		wait_hibernated(COUNT);
		join_os(start_os(touch_all, NULL));
	}
	CHECK_EQ(end_all(COUNT), 6 * COUNT);
	return NULL;
}

TEST(a_touch_brings_a_stack_back)
{
	in_modes(touched);
}

/* ---- at the same time --------------------------------------------------------- */

static _Atomic bool stop, over; /* for those who add; for those who are added to */
static _Atomic uint64_t added;

static void *add_at_random(void *seed)
{
	uint64_t x = 88172645463325252u + (uintptr_t)seed * 7919, mine = 0;

	while (!atomic_load(&stop)) {
		x ^= x << 13, x ^= x >> 7, x ^= x << 17;
		atomic_fetch_add(parked[x % 2048].counter, 1);
		mine++;
		if (mine % 16 == 0)
			sched_yield();
	}
	atomic_fetch_add(&added, mine);
	return NULL;
}

/* As hold(), but goes round whenever it is woken. */
static void *hold_often(void *arg)
{
	struct parked *self = arg;
	_Atomic uint64_t counter = 0;
	uint64_t mine = 0, canary = (uintptr_t)arg;

	__asm__ volatile("" : : "r"(&canary) : "memory");
	atomic_store(&self->counter, &counter);
	do {
		CHECK_EQ(green_sem_wait(&self->sem), 0);
		CHECK_EQ(canary, (uintptr_t)arg);
		atomic_fetch_add(&counter, 1);
		mine++;
	} while (!atomic_load(&over));
	atomic_fetch_add(&added, mine);
	return (void *)(uintptr_t)atomic_load(&counter);
}

static void *hostile(void *unused)
{
	uint64_t x = 1234567;

	(void)unused;
	atomic_store(&stop, false);
	atomic_store(&over, false);
	atomic_store(&added, 0);
	start_all(hold_often, 2048);
	pthread_t a = start_os(add_at_random, (void *)1), b = start_os(add_at_random, (void *)2);
	int64_t end = green_now() + GREEN_MS(scaled(1500));
	while (green_now() < end) {
		for (int i = 0; i < 50; i++) {
			x ^= x << 13, x ^= x >> 7, x ^= x << 17;
			green_sem_post(&parked[x % 2048].sem);
		}
		green_sleep(GREEN_MS(1));
	}
	atomic_store(&stop, true);
	join_os(a);
	join_os(b);
	atomic_store(&over, true);
	uint64_t found = end_all(2048);
	CHECK_EQ(found, atomic_load(&added));
	return NULL;
}

TEST(no_write_is_lost)
{
	in_modes(hostile);
}

/* ---- the kernel, other processes ---------------------------------------------- */

static int ends[2];

static void *read_into_it(void *unused)
{
	uint64_t value = 77;

	(void)unused;
	CHECK_EQ(write(ends[1], &value, 8), 8);
	long n = read(ends[0], parked[0].counter, 8);
	if (kernel_mode) {
		CHECK_EQ(n, 8);
	} else {
		CHECK(n < 0 && errno == EFAULT);
		CHECK_EQ(read(ends[0], &value, 8), 8); /* nothing is lost of a pipe */
		atomic_store(parked[0].counter, value);
	}
	return NULL;
}

static void *read_by_kernel(void *unused)
{
	(void)unused;
	start_all(hold, 1);
	wait_hibernated(1);
	join_os(start_os(read_into_it, NULL));
	CHECK_EQ(end_all(1), 77);
	return NULL;
}

TEST(the_kernel_writes_or_says_no)
{
	REQUIRE_EQ(pipe(ends), 0);
	in_modes(read_by_kernel);
}

static void *forks(void *unused)
{
	int status = -1;

	(void)unused;
	start_all(hold, COUNT);
	touch_all(NULL);
	wait_hibernated(COUNT);
	pid_t child = fork();
	if (child == 0) {
		for (unsigned i = 0; i < COUNT; i++)
			if (*parked[i].counter != 1)
				_exit(1);
		_exit(0);
	}
	CHECK_EQ(waitpid(child, &status, 0), child);
	CHECK_EQ(status, 0);
	CHECK_EQ(end_all(COUNT), COUNT);
	return NULL;
}

TEST(a_forked_child_sees_them)
{
	in_modes(forks);
}

/* What a child sees of stacks that were falling asleep or waking up at the moment. */
static volatile uint64_t (*_Atomic restless_bytes[COUNT])[40];

static void *restless(void *arg)
{
	uint64_t index = (uint64_t)((struct parked *)arg - parked);
	volatile uint64_t bytes[40];

	for (unsigned i = 0; i < 40; i++)
		bytes[i] = index * 1000 + i;
	atomic_store(&restless_bytes[index], &bytes);
	while (!atomic_load(&over))
		CHECK_EQ(green_sleep(GREEN_US(500 + index % 64 * 100)), 0);
	for (unsigned i = 0; i < 40; i++)
		CHECK_EQ(bytes[i], index * 1000 + i);
	return NULL;
}

static _Noreturn void in_restless_child(void)
{
	unsigned before = checks_failed();
	green_t thread;

	for (uint64_t at = 0; at < COUNT; at++)
		for (unsigned i = 0; i < 40; i++)
			CHECK_EQ((*restless_bytes[at])[i], at * 1000 + i);
	CHECK_EQ(green_spawn(&thread, NULL, restless, NULL), -EOWNERDEAD);
	CHECK_EQ(green_self(), GREEN_NONE);
	CHECK_EQ(green_sleep(GREEN_US(100)), 0);
	_exit(checks_failed() > before);
}

static int status_of(pid_t child)
{
	int status = -1;

	REQUIRE(child > 0);
	while (waitpid(child, &status, WNOHANG) == 0)
		green_sleep(GREEN_MS(1));
	return status;
}

static void *forks_meanwhile(void *unused)
{
	uint64_t before = stacks_hibernations();

	(void)unused;
	atomic_store(&over, false);
	for (unsigned i = 0; i < COUNT; i++) {
		atomic_store(&restless_bytes[i], NULL);
		parked[i].thread = start_green(restless, &parked[i]);
	}
	for (unsigned i = 0; i < COUNT; i++)
		while (!atomic_load(&restless_bytes[i]))
			green_sleep(GREEN_MS(1));
	for (volatile unsigned i = 0; i < scaled(20); i++) {
		pid_t child = fork();
		if (child == 0)
			in_restless_child();
		CHECK_EQ(status_of(child), 0);
		child = fork();
		if (child == 0) {
			execl("/bin/true", "true", NULL);
			_exit(127);
		}
		CHECK_EQ(status_of(child), 0);
	}
	while (stacks_hibernations() - before < COUNT)
		green_sleep(GREEN_MS(1));
	atomic_store(&over, true);
	for (unsigned i = 0; i < COUNT; i++)
		join_green(parked[i].thread);
	return NULL;
}

TEST(a_child_of_a_restless_parent_sees_them)
{
	in_modes(forks_meanwhile);
}

static void *closes_all(void *unused)
{
	(void)unused;
	start_all(hold, COUNT);
	touch_all(NULL);
	wait_hibernated(COUNT);
	struct green_info info;
	green_info(&info);
	/* All but the engine's, whose loss is another matter. */
	for (int fd = 3; fd < 1 << 16; fd++) {
		char path[64], target[64] = "";
		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		if (readlink(path, target, sizeof(target) - 1) > 0 && strstr(target, "userfaultfd"))
			close(fd);
	}
	touch_all(NULL);
	wait_hibernated(COUNT);
	CHECK_EQ(end_all(COUNT), 2 * COUNT);
	return NULL;
}

TEST(they_survive_the_loss_of_the_descriptor)
{
	in_modes(closes_all);
}

/* ---- what stays --------------------------------------------------------------- */

static void *hold_deep(void *arg)
{
	char room[4096];

	__asm__ volatile("" : : "r"(room) : "memory");
	void *result = hold(arg);
	__asm__ volatile("" : : "r"(room) : "memory");
	return result;
}

static void *hold_pinned(void *arg)
{
	stack_pin(gt_self()->stack);
	void *result = hold(arg);
	stack_unpin(gt_self()->stack);
	return result;
}

static void *stays(void *unused)
{
	(void)unused;
	start_all(hold_deep, 100);
	green_sleep(GREEN_MS(100));
	CHECK_LE(hibernated(), 1);
	end_all(100);
	start_all(hold_pinned, 100);
	green_sleep(GREEN_MS(100));
	CHECK_LE(hibernated(), 1);
	end_all(100);
	return NULL;
}

TEST(deep_and_pinned_stacks_stay)
{
	in_modes(stays);
}

/* The kernel drops what lies before a page that is locked, then refuses. */
static void *one_locked(void *unused)
{
	start_all(hold, COUNT);
	void *page = (void *)((uintptr_t)atomic_load(&parked[100].counter) & ~(uintptr_t)4095);

	atomic_fetch_add(parked[100].counter, 1);
	if (mlock(page, 4096) < 0)
		SKIP("memory cannot be locked");
	wait_hibernated(COUNT - 1);
	touch_all(NULL);
	wait_hibernated(COUNT - 1);
	CHECK_EQ(munlock(page, 4096), 0);
	wait_hibernated(COUNT);
	CHECK_EQ(end_all(COUNT), COUNT + 1);
	return unused;
}

TEST(a_locked_stack_stays_alone)
{
	in_modes(one_locked);
}

static void *never(void *unused)
{
	(void)unused;
	start_all(hold, 100);
	green_sleep(GREEN_MS(100));
	CHECK_EQ(hibernated(), 0);
	end_all(100);
	return NULL;
}

TEST(other_rungs_do_not)
{
	static const char *const features[] = { "-userfaultfd", "-uffd_wp",
		                                "-userfaultfd,-guard_install" };

	for (unsigned i = 0; i < 3; i++) {
		struct green_options options = { .features = features[i],
			                         .hibernate_after_ns = AFTER };
		CHECK_EQ(run_green_with(&options, never, NULL, NULL), 0);
	}
}
