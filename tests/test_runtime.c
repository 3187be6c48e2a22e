/* SPDX-License-Identifier: MIT
 *
 * The runtime's life: init, run, fini in every order, errors of each, what
 * happens when the system refuses what it asks for.
 */
#include "harness.h"

#include "arch/compat.h"
#include "engine_uring.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/resource.h>

static void *nothing(void *arg)
{
	return arg;
}

/* ---- order ------------------------------------------------------------------------ */

TEST(before_init)
{
	struct green_info info;

	CHECK_EQ(green_fini(), -ENXIO);
	CHECK_EQ(green_info(&info), -ENXIO);
	CHECK_STR(green_error(), "");
	CHECK_EQ(green_go(nothing, NULL), -ENXIO);
	green_t t;
	CHECK_EQ(green_spawn(&t, NULL, nothing, NULL), -ENXIO);
}

static void *other_run(void *arg)
{
	*(int *)arg = green_run(nothing, NULL, NULL);
	return NULL;
}

static void *inside(void *arg)
{
	struct green_info info;
	int *other = malloc(sizeof(*other));

	CHECK_EQ(green_init(NULL), -EALREADY);
	CHECK_EQ(green_run(nothing, NULL, NULL), -EPERM);
	CHECK_EQ(green_fini(), -EBUSY);
	CHECK_EQ(green_info(&info), 0);
	CHECK_GE(info.threads, 1);
	pthread_t os = start_os(other_run, other);
	while (pthread_tryjoin_np(os, NULL) == EBUSY)
		green_sleep(GREEN_MS(1));
	CHECK_EQ(*other, -EBUSY);
	free(other);
	return arg;
}

TEST(init_run_fini)
{
	struct green_info info;

	CHECK_EQ(green_init(NULL), 0);
	CHECK_EQ(green_init(NULL), -EALREADY);
	CHECK_EQ(green_go(nothing, NULL), -ENXIO); /* not running */
	CHECK_EQ(green_run(inside, NULL, NULL), 0);
	CHECK_EQ(green_go(nothing, NULL), -ENXIO);
	CHECK_EQ(green_info(&info), 0);
	CHECK_EQ(info.threads, 0);
	CHECK_EQ(green_run(NULL, NULL, NULL), -EINVAL);
	CHECK_EQ(green_fini(), 0);
	CHECK_EQ(green_fini(), -ENXIO);
	CHECK_EQ(green_go(nothing, NULL), -ENXIO);
	/* green_run() initialises by itself. */
	CHECK_EQ(green_run(inside, NULL, NULL), 0);
	CHECK_EQ(green_init(NULL), -EALREADY);
	CHECK_EQ(green_fini(), 0);
}

static void *spawn_some(void *arg)
{
	for (uintptr_t i = 0; i < 200; i++)
		CHECK_EQ(green_go(nothing, NULL), 0);
	join_green(start_green(nothing, NULL));
	green_sleep(GREEN_US(100));
	return arg;
}

static unsigned count_files(void)
{
	unsigned n = 0;

	for (int fd = 0; fd < 4096; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	struct rlimit limit;
	REQUIRE_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
	for (rlim_t fd = limit.rlim_cur > 8192 ? limit.rlim_cur - 4096 : 4096; fd < limit.rlim_cur;
	     fd++)
		n += fcntl((int)fd, F_GETFD) >= 0;
	return n;
}

/* Again and again: nothing piles up. */
TEST(many_lives)
{
	unsigned files = 0, mappings = 0;

	for (int life = 0; life < 20; life++) {
		CHECK_EQ(green_init(NULL), 0);
		for (int run = 0; run < 5; run++)
			CHECK_EQ(green_run(spawn_some, NULL, NULL), 0);
		CHECK_EQ(green_fini(), 0);
		if (life == 3) { /* what is made once a process is there by now */
			files = count_files();
			mappings = count_mappings();
		}
	}
	CHECK_EQ(count_files(), files);
#if defined(GREEN_TSAN)
	(void)mappings; /* TSan maps shadow memory of its own as stacks are touched */
#else
	CHECK_LE(count_mappings(), mappings + 20);
#endif
}

/* ---- counts ----------------------------------------------------------------------- */

static void *spawn_counted(void *count)
{
	struct green_info info;

	CHECK_EQ(green_info(&info), 0);
	CHECK_EQ(info.spawns, 1);
	CHECK_LT(info.switches, 1000); /* not those of an earlier run */
	CHECK_LE(info.threads_peak, 2);
	CHECK_EQ(info.stuck, 0);
	for (intptr_t i = 0; i < (intptr_t)count; i++)
		join_green(start_green(nothing, NULL));
	CHECK_EQ(green_info(&info), 0);
	CHECK_EQ(info.spawns, 1 + (uint64_t)count);
	CHECK_GE(info.switches, (uint64_t)count);
	return count;
}

static void *take_long(void *count)
{
	green_t all[50];
	struct green_info info;

	spawn_counted(count);
	for (int i = 0; i < 50; i++)
		all[i] = start_green(nothing, NULL);
	do {
		spin_for(GREEN_MS(10));
		CHECK_EQ(green_info(&info), 0);
	} while (info.stuck == 0 || info.threads_peak < 50);
	for (int i = 0; i < 50; i++)
		join_green(all[i]);
	return NULL;
}

TEST(counts_are_of_one_run)
{
	struct green_options one = { .workers = 1 };
	struct green_info info;

	unsetenv("GREEN_WORKERS");
	CHECK_EQ(green_init(&one), 0);
	CHECK_EQ(green_info(&info), 0);
	CHECK_EQ(info.spawns, 0);
	CHECK_EQ(green_run(take_long, (void *)5000, NULL), 0);
	CHECK_EQ(green_info(&info), 0); /* the last run's, until the next */
	CHECK_EQ(info.spawns, 5051);
	CHECK_GE(info.stuck, 1);
	CHECK_EQ(green_run(spawn_counted, (void *)7, NULL), 0);
	CHECK_EQ(green_info(&info), 0);
	CHECK_EQ(info.spawns, 8);
	CHECK_LT(info.switches, 1000);
	CHECK_EQ(info.steals, 0);
	CHECK_EQ(info.stuck, 0);
	CHECK_LE(info.threads_peak, 8);
	CHECK_EQ(green_fini(), 0);
	CHECK_EQ(green_init(&one), 0);
	CHECK_EQ(green_info(&info), 0);
	CHECK_EQ(info.spawns, 0);
	CHECK_EQ(info.threads_peak, 0);
	CHECK_EQ(green_fini(), 0);
}

/* ---- OS threads beside it ------------------------------------------------------------- */

static struct {
	_Atomic bool stop;
	_Atomic uint64_t started, ran, refused;
} outside;

static void *count_ran(void *arg)
{
	atomic_fetch_add(&outside.ran, 1);
	return arg;
}

static void *spawn_always(void *arg)
{
	while (!atomic_load(&outside.stop)) {
		int r = green_go(count_ran, NULL);
		if (r == 0)
			atomic_fetch_add(&outside.started, 1);
		else if (CHECK_EQ(r, -ENXIO))
			atomic_fetch_add(&outside.refused, 1);
	}
	return arg;
}

/* OS threads spawn all the while as runs begin and end: whatever was accepted
 * has run when green_run() returns. */
TEST(spawned_around_the_end_of_runs)
{
	struct green_options options = { .workers = 2 };
	pthread_t threads[2];

	unsetenv("GREEN_WORKERS"); /* a ring for each, 200 times: see uring_setup.c */
	CHECK_EQ(green_init(&options), 0);
	for (int i = 0; i < 2; i++)
		threads[i] = start_os(spawn_always, NULL);
	for (unsigned run = 0; run < scaled(200); run++)
		CHECK_EQ(green_run(nothing, NULL, NULL), 0);
	atomic_store(&outside.stop, true);
	for (int i = 0; i < 2; i++)
		join_os(threads[i]);
	CHECK_EQ(atomic_load(&outside.ran), atomic_load(&outside.started));
	CHECK_EQ(green_fini(), 0);
}

/* A run that ends while an OS thread spawns without pause refuses it, long before
 * the last green thread is gone: here that one waits for the refusal. */
static _Atomic int refusal;

static void *spawn_until_refused(void *arg)
{
	int r;

	do
		r = green_go(nothing, NULL);
	while (r == 0 || r == -EAGAIN);
	atomic_store(&refusal, r);
	return arg;
}

static void *outlast_the_spawner(void *arg)
{
	struct green_shield shield;

	green_shield_begin(&shield);
	WAIT_FOR(atomic_load(&refusal) != 0);
	green_shield_end(&shield);
	return arg;
}

static void *leave_a_spawner(void *os)
{
	CHECK_EQ(green_go(outlast_the_spawner, NULL), 0);
	*(pthread_t *)os = start_os(spawn_until_refused, NULL);
	green_sleep(GREEN_MS(5));
	return NULL;
}

TEST(an_ending_run_takes_no_more_from_outside)
{
	pthread_t os;

	for (int i = 0; i < 20; i++) {
		atomic_store(&refusal, 0);
		CHECK_EQ(green_run(leave_a_spawner, &os, NULL), 0);
		join_os(os);
		CHECK_EQ(atomic_load(&refusal), -ENXIO);
	}
	CHECK_EQ(green_fini(), 0);
}

/* The count of those spawned outside is not carried into the next life. */
static void *spawn_one_outside(void *arg)
{
	REQUIRE_EQ(green_go(count_ran, NULL), 0);
	return arg;
}

static void *with_outsider(void *arg)
{
	join_os(start_os(spawn_one_outside, NULL));
	return arg;
}

TEST(outsiders_in_several_lives)
{
	for (int life = 0; life < 3; life++) {
		CHECK_EQ(green_run(with_outsider, NULL, NULL), 0);
		CHECK_EQ(green_fini(), 0);
	}
	CHECK_EQ(atomic_load(&outside.ran), 3);
}

/* An OS thread's last act in the runtime is what ends it. */
static void *post_and_leave(void *arg)
{
	green_sem_post(arg);
	return NULL;
}

static void *wait_for_post(void *arg)
{
	CHECK_EQ(green_sem_wait(arg), 0);
	return NULL;
}

TEST(fini_while_a_visitor_leaves)
{
	for (unsigned i = 0; i < scaled(200); i++) {
		green_sem_t sem = GREEN_SEM_INIT(0);
		pthread_t os = start_os(post_and_leave, &sem);
		CHECK_EQ(green_run(wait_for_post, &sem, NULL), 0);
		CHECK_EQ(green_fini(), 0);
		join_os(os);
	}
}

static void *init_and_fini(void *arg)
{
	for (int i = 0; i < 50; i++) {
		int r = green_init(NULL);
		CHECK(r == 0 || r == -EALREADY);
		r = green_run(nothing, NULL, NULL);
		CHECK(r == 0 || r == -EBUSY);
		r = green_fini();
		CHECK(r == 0 || r == -EBUSY || r == -ENXIO);
	}
	return arg;
}

TEST(several_threads_init_and_fini)
{
	pthread_t threads[4];

	for (int i = 0; i < 4; i++)
		threads[i] = start_os(init_and_fini, NULL);
	for (int i = 0; i < 4; i++)
		join_os(threads[i]);
	int r = green_fini();
	CHECK(r == 0 || r == -ENXIO);
	CHECK_EQ(green_run(spawn_some, NULL, NULL), 0);
}

/* ---- what the system refuses ------------------------------------------------------------ */

static void limit(int resource, rlim_t value)
{
	struct rlimit l;

	REQUIRE_EQ(getrlimit(resource, &l), 0);
	l.rlim_cur = value < l.rlim_max ? value : l.rlim_max;
	REQUIRE_EQ(setrlimit(resource, &l), 0);
}

/* Either it works or it says what is missing, and works once that is there. */
static void check_either(int r, int error, const char *remedy)
{
	if (r == 0)
		return;
	CHECK_EQ(r, error);
	CHECK_HAS(green_error(), remedy);
}

TEST(few_descriptors)
{
	static const rlim_t limits[] = { 4, 5, 6, 8, 12, 16, 32, 64 };
	struct green_options options = { .workers = 4 };
	int r = -1;

	unsetenv("GREEN_WORKERS");
	for (size_t i = 0; i < sizeof(limits) / sizeof(*limits); i++) {
		limit(RLIMIT_NOFILE, limits[i]);
		r = green_init(&options);
		if (r == 0) {
			r = green_run(spawn_some, NULL, NULL);
			CHECK_EQ(green_fini(), 0);
		}
		CHECK(r == 0 || r == -EMFILE);
		CHECK(r == 0 || strlen(green_error()) > 0);
	}
	CHECK_EQ(r, 0); /* 64 are enough for four workers */
}

TEST(little_address_space)
{
	uring_release_ns = 0;
#if defined(GREEN_ASAN) || defined(GREEN_TSAN)
	SKIP("the sanitizer needs the address space");
#endif
	struct green_options options = { .workers = 2 };
	struct rlimit before;
	bool worked = false, failed = false;

	unsetenv("GREEN_WORKERS");
	REQUIRE_EQ(getrlimit(RLIMIT_AS, &before), 0);
	for (rlim_t megabytes = 1; megabytes <= 16384; megabytes *= 2) {
		limit(RLIMIT_AS, megabytes << 20);
		int r = green_init(&options);
		if (r == 0) {
			/* The stacks of the workers are libc's to make. */
			r = green_run(spawn_some, NULL, NULL);
			CHECK(r == 0 || r == -EAGAIN || r == -ENOMEM);
			CHECK_EQ(green_fini(), 0);
		} else {
			CHECK_EQ(r, -ENOMEM);
			CHECK_GT(strlen(green_error()), 0);
		}
		worked |= r == 0;
		failed |= r < 0;
		REQUIRE_EQ(setrlimit(RLIMIT_AS, &before), 0);
	}
	CHECK(worked);
	CHECK(failed);
	CHECK_EQ(green_run(spawn_some, NULL, NULL), 0);
}

static void *fill_up(void *arg)
{
	struct green_info info;
	size_t n = 0;
	int r;

	CHECK_EQ(green_info(&info), 0);
	/* Each waits for the end: more than there are stacks for must be refused. */
	while ((r = green_go(sleep_for, (void *)GREEN_FOREVER)) == 0)
		if (++n > info.threads_max)
			break;
	CHECK(r == -EAGAIN || r == -ENOMEM);
	CHECK_LE(n, info.threads_max);
	CHECK_EQ(green_sleep(GREEN_MS(5)), 0); /* all of them get a stack */
	return arg;
}

TEST(few_stacks)
{
#if defined(GREEN_ASAN) || defined(GREEN_TSAN)
	SKIP("the sanitizer needs the address space");
#endif
	limit(RLIMIT_AS, (rlim_t)512 << 20);
	int r = green_init(NULL);
	check_either(r, -ENOMEM, "RLIMIT_AS");
	if (r == 0) {
		CHECK_EQ(green_run(fill_up, NULL, NULL), 0);
		CHECK_EQ(green_fini(), 0);
	}
}

TEST(no_more_processes)
{
	struct green_options options = { .workers = 4 };

	if (geteuid() == 0) {
		/* The limit does not hold for root. */
		REQUIRE_EQ(setgid(65534), 0);
		if (setuid(65534) < 0)
			SKIP("cannot become an ordinary user");
	}
	unsetenv("GREEN_WORKERS");
	CHECK_EQ(green_init(&options), 0);
	limit(RLIMIT_NPROC, 1);
	int r = green_run(nothing, NULL, NULL);
	CHECK_EQ(r, -EAGAIN);
	CHECK_HAS(green_error(), "worker");
	CHECK_HAS(green_error(), "GREEN_WORKERS");
	struct rlimit l;
	REQUIRE_EQ(getrlimit(RLIMIT_NPROC, &l), 0);
	limit(RLIMIT_NPROC, l.rlim_max);
	CHECK_EQ(green_run(spawn_some, NULL, NULL), 0);
	CHECK_EQ(green_fini(), 0);
}

/* The n-th worker cannot be started, n = 1, 2, …: nothing is run, all is undone. */
static void *must_not_run(void *arg)
{
	FAIL("ran although a worker could not be started");
	return arg;
}

TEST(thread_creation_fails_half_way)
{
	struct green_options options = { .workers = 8 };

	unsetenv("GREEN_WORKERS");
	for (unsigned n = 0; n < 7; n++) {
		CHECK_EQ(green_init(&options), 0);
		unsigned files = count_files();
		fault_inject(SYS_clone, n, 0, EAGAIN);
		CHECK_EQ(green_run(must_not_run, NULL, NULL), -EAGAIN);
		CHECK_HAS(green_error(), "GREEN_WORKERS");
		fault_clear();
		CHECK_EQ(count_files(), files);
		CHECK_EQ(green_run(spawn_some, NULL, NULL), 0);
		CHECK_EQ(green_fini(), 0);
	}
}

/* The n-th call of a kind fails, n = 1, 2, … until none is left to fail, once
 * and for good: an error that is documented, nothing left behind, and another
 * attempt works. */
static void fail_each(long nr, int error, bool for_good)
{
	uring_release_ns = 0;
	struct green_options options = { .workers = 3 };
	unsigned hits, n = 0;

	unsetenv("GREEN_WORKERS");
	do {
		unsigned before = fault_hits();
		fault_inject(nr, n++, for_good ? 0 : 1, error);
		int r = green_init(&options);
		if (r == 0) {
			r = green_run(spawn_some, NULL, NULL);
			CHECK_EQ(green_fini(), 0);
		}
		hits = fault_hits() - before;
		fault_clear();
		if (r < 0 && r != -error && r != -ENOMEM && r != -EAGAIN && r != -EMFILE)
			FAIL("call %ld number %u failing with %d: %d (%s)", nr, n, error, r,
			     green_error());
		CHECK(r == 0 || strlen(green_error()) > 0);
		CHECK_EQ(green_run(nothing, NULL, NULL), 0);
		CHECK_EQ(green_fini(), 0);
	} while (hits && n < 400);
}

TEST(no_memory_at_each_point)
{
	fail_each(SYS_mmap, ENOMEM, false);
	fail_each(SYS_mmap, ENOMEM, true);
}

TEST(no_guards_at_each_point)
{
	fail_each(SYS_madvise, EINVAL, false);
	fail_each(SYS_madvise, EINVAL, true);
}

TEST(no_descriptor_at_each_point)
{
	fail_each(SYS_eventfd2, EMFILE, false);
	fail_each(SYS_eventfd2, EMFILE, true);
	fail_each(SYS_epoll_create1, EMFILE, true);
}

TEST(no_io_uring_at_each_point)
{
	static const int errors[] = { EPERM, ENOSYS, ENOMEM };

	for (size_t i = 0; i < sizeof(errors) / sizeof(*errors); i++)
		fail_each(SYS_io_uring_setup, errors[i], true);
}

TEST(nothing_else_is_allowed)
{
	fail_each(SYS_sched_setaffinity, EPERM, true);
	fail_each(SYS_prctl, EINVAL, true);
	fail_each(SYS_sched_getaffinity, ENOSYS, true);
}
