/* SPDX-License-Identifier: MIT
 *
 * Locked memory: after mlockall(MCL_FUTURE) what the runtime reserves is not
 * filled, with and without a limit; rings count against the limit.
 */
#include "harness.h"

#include <linux/capability.h>
#include <sys/mman.h>
#include <sys/resource.h>

static void *use_stack(void *arg)
{
	volatile char frame[20000];

	for (size_t i = 0; i < sizeof(frame); i += 4096)
		frame[i] = 1;
	green_yield();
	return arg;
}

static void *use_stacks(void *arg)
{
	static const size_t sizes[] = { 65536, 1 << 18, 1 << 20 };
	green_t threads[100];

	for (int i = 0; i < 100; i++)
		threads[i] = start_with(&(struct green_attr){ .stack_size = sizes[i % 3] },
		                        use_stack, NULL);
	for (int i = 0; i < 100; i++)
		join_green(threads[i]);
	return arg;
}

static long locked_kb(void)
{
	char line[200];
	long kb = -1;
	FILE *status = fopen("/proc/self/status", "re");

	REQUIRE(status != NULL);
	while (fgets(line, sizeof(line), status))
		sscanf(line, "VmLck: %ld kB", &kb);
	fclose(status);
	return kb;
}

/* What may be locked when limit is asked for; whole: everything.  Thread stacks,
 * which glibc lets the kernel fill, are made small. */
static void lock_future(rlim_t limit, bool whole)
{
	struct rlimit memlock;
	pthread_attr_t attr;

#if defined(GREEN_TSAN) || defined(GREEN_ASAN)
	SKIP("the sanitizers' own memory would be locked");
#endif
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 256 << 10);
	CHECK_EQ(pthread_setattr_default_np(&attr), 0);
	CHECK_EQ(getrlimit(RLIMIT_MEMLOCK, &memlock), 0);
	if (whole || memlock.rlim_max > limit)
		memlock.rlim_cur = memlock.rlim_max = limit;
	else
		memlock.rlim_cur = memlock.rlim_max;
	if (setrlimit(RLIMIT_MEMLOCK, &memlock) < 0 && !whole)
		SKIP("RLIMIT_MEMLOCK cannot be set");
	if (memlock.rlim_cur < 4 << 20)
		SKIP("RLIMIT_MEMLOCK is below 4 MiB");
	if (!whole && geteuid() == 0 && setuid(65534) < 0)
		SKIP("root may lock what it likes");
	if (mlockall(MCL_FUTURE) < 0)
		SKIP("this process may not lock memory");
	if (!whole)
		return;
	void *large = mmap(NULL, 100 << 20, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (large == MAP_FAILED)
		SKIP("RLIMIT_MEMLOCK is too low and cannot be raised");
	munmap(large, 100 << 20);
}

/* No terabyte is filled, however much may be locked. */
static void with_future_locked(rlim_t limit, bool whole)
{
	struct green_options two = { .workers = 2 };

	lock_future(limit, whole);
	CHECK_EQ(green_init(&two), 0);
	CHECK_STR(green_error(), "");
	CHECK_EQ(green_run(use_stacks, NULL, NULL), 0);
	CHECK_LT(locked_kb(), 200000);
	CHECK_EQ(green_fini(), 0);
}

TEST(all_memory_locked)
{
	with_future_locked(RLIM_INFINITY, true);
}

TEST(some_memory_locked)
{
	with_future_locked((rlim_t)64 << 20, false);
}

/* Too little for anything: an error that says what to raise. */
TEST(hardly_any_memory_locked)
{
	lock_future((rlim_t)64 << 20, false);
	CHECK_EQ(setrlimit(RLIMIT_MEMLOCK, &(struct rlimit){ 4096, 4096 }), 0);
	CHECK_LT(green_init(NULL), 0);
	CHECK_HAS(green_error(), "RLIMIT_MEMLOCK");
	CHECK_EQ(green_fini(), -ENXIO);
}

/* ---- rings ----------------------------------------------------------------- */

/* RLIMIT_MEMLOCK does not hold for who may lock memory without limit. */
static void drop_ipc_lock(void)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];

	REQUIRE_EQ(syscall(SYS_capget, &head, data), 0);
	data[0].effective &= ~(1u << CAP_IPC_LOCK);
	data[0].permitted &= ~(1u << CAP_IPC_LOCK);
	REQUIRE_EQ(syscall(SYS_capset, &head, data), 0);
}

static void limit_locked(rlim_t bytes)
{
	struct rlimit l;

	REQUIRE_EQ(getrlimit(RLIMIT_MEMLOCK, &l), 0);
	l.rlim_cur = bytes < l.rlim_max ? bytes : l.rlim_max;
	REQUIRE_EQ(setrlimit(RLIMIT_MEMLOCK, &l), 0);
}

/* Rings count against the limit since Linux 6.14.  None at all, one for the probe
 * and few of the workers', all of them but small ones, all. */
static void lock_little(enum green_engine engine)
{
	static const rlim_t kib[] = { 0, 8, 40, 100, 400, 8192 };
	struct green_options options = { .workers = 8, .engine = engine };
	struct green_info info;

	drop_ipc_lock();
	unsetenv("GREEN_ENGINE");
	unsetenv("GREEN_WORKERS");
	for (size_t i = 0; i < sizeof(kib) / sizeof(*kib); i++) {
		limit_locked(kib[i] << 10);
		int r = green_init(&options);
		if (r == 0) {
			r = green_run(use_stacks, NULL, NULL);
			CHECK_EQ(green_info(&info), 0);
			CHECK_EQ(green_fini(), 0);
		}
		if (engine == GREEN_ENGINE_AUTO) {
			CHECK_EQ(r, 0);
			if (strcmp(info.engine, "epoll") == 0)
				CHECK(info.engine_reason[0] != 0);
		} else if (r != 0) {
			CHECK_EQ(r, -ENOMEM);
			CHECK(strstr(green_error(), "RLIMIT_MEMLOCK") ||
			      strstr(green_error(), "ulimit -l"));
		}
	}
}

TEST(little_locked_memory)
{
	lock_little(GREEN_ENGINE_AUTO);
}

TEST(little_locked_memory_for_io_uring)
{
	lock_little(GREEN_ENGINE_URING);
}
