/* SPDX-License-Identifier: MIT
 *
 * Options and the GREEN_* variables: what they do, what bad values do, that a
 * privileged program ignores them, and that features can be switched off.
 */
#include "harness.h"

#include "feature.h"
#include "options.h"
#include "stack.h"
#include "worker.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/auxv.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* Tests that set variables themselves want none from outside. */
static void plain_environment(void)
{
	static const char *const names[] = { "GREEN_WORKERS",      "GREEN_ENGINE",
		                             "GREEN_STACK_SIZE",   "GREEN_THREADS_MAX",
		                             "GREEN_FEATURES",     "GREEN_OFFLOAD_MAX",
		                             "GREEN_STUCK_MS",     "GREEN_PIN",
		                             "GREEN_HIBERNATE_MS", "GREEN_STACK_BYTES_MAX",
		                             "GREEN_DEBUG",        "GREEN_GUARD_SIZE",
		                             "GREEN_OVERFLOW",     "GREEN_SCRUB" };

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		unsetenv(names[i]);
}

static struct green_info init_info(const struct green_options *options)
{
	struct green_info info;

	REQUIRE_EQ(green_init(options), 0);
	CHECK_STR(green_error(), "");
	REQUIRE_EQ(green_info(&info), 0);
	CHECK_EQ(green_fini(), 0);
	return info;
}

/* ---- bad values ---------------------------------------------------------------- */

static const struct bad_value {
	const char *name, *value;
} bad_values[] = {
	{ "GREEN_WORKERS", "" },
	{ "GREEN_WORKERS", "0" },
	{ "GREEN_WORKERS", "-1" },
	{ "GREEN_WORKERS", "+1" },
	{ "GREEN_WORKERS", " 1" },
	{ "GREEN_WORKERS", "1 " },
	{ "GREEN_WORKERS", "1025" },
	{ "GREEN_WORKERS", "0x10" },
	{ "GREEN_WORKERS", "2K" },
	{ "GREEN_WORKERS", "two" },
	{ "GREEN_WORKERS", "1.5" },
	{ "GREEN_WORKERS", "18446744073709551616" },
	{ "GREEN_WORKERS", "18446744073709551617" },
	{ "GREEN_WORKERS", "99999999999999999999999999999999999" },
	{ "GREEN_WORKERS", "1\n" },
	{ "GREEN_GUARD_SIZE", "" },
	{ "GREEN_GUARD_SIZE", "0" },
	{ "GREEN_GUARD_SIZE", "-1" },
	{ "GREEN_GUARD_SIZE", "49153" },
	{ "GREEN_GUARD_SIZE", "49K" },
	{ "GREEN_GUARD_SIZE", "1G" },
	{ "GREEN_GUARD_SIZE", "page" },
	{ "GREEN_OVERFLOW", "" },
	{ "GREEN_OVERFLOW", "End" },
	{ "GREEN_OVERFLOW", "ends" },
	{ "GREEN_OVERFLOW", "1" },
	{ "GREEN_SCRUB", "" },
	{ "GREEN_SCRUB", "0" },
	{ "GREEN_SCRUB", "DIRTY" },
	{ "GREEN_SCRUB", "dirty," },
	{ "GREEN_STACK_SIZE", "" },
	{ "GREEN_STACK_SIZE", "0" },
	{ "GREEN_STACK_SIZE", "-4096" },
	{ "GREEN_STACK_SIZE", "1048577" },
	{ "GREEN_STACK_SIZE", "1025K" },
	{ "GREEN_STACK_SIZE", "2M" },
	{ "GREEN_STACK_SIZE", "1G" },
	{ "GREEN_STACK_SIZE", "K" },
	{ "GREEN_STACK_SIZE", "64KB" },
	{ "GREEN_STACK_SIZE", "64T" },
	{ "GREEN_STACK_SIZE", "18446744073709551615G" },
	{ "GREEN_STACK_SIZE", "17179869184G" }, /* wraps to 0 in 64 bits */
	{ "GREEN_THREADS_MAX", "" },
	{ "GREEN_THREADS_MAX", "0" },
	{ "GREEN_THREADS_MAX", "-1" },
	{ "GREEN_THREADS_MAX", "16777217" },
	{ "GREEN_THREADS_MAX", "17M" },
	{ "GREEN_THREADS_MAX", "18446744073709551616" },
	{ "GREEN_OFFLOAD_MAX", "" },
	{ "GREEN_OFFLOAD_MAX", "0" },
	{ "GREEN_OFFLOAD_MAX", "4097" },
	{ "GREEN_STUCK_MS", "" },
	{ "GREEN_STUCK_MS", "0" },
	{ "GREEN_STUCK_MS", "-100" },
	{ "GREEN_STUCK_MS", "3600001" },
	{ "GREEN_HIBERNATE_MS", "" },
	{ "GREEN_HIBERNATE_MS", "-1" },
	{ "GREEN_HIBERNATE_MS", "3600001" },
	{ "GREEN_STACK_BYTES_MAX", "" },
	{ "GREEN_STACK_BYTES_MAX", "0" },
	{ "GREEN_STACK_BYTES_MAX", "1T" },
	{ "GREEN_STACK_BYTES_MAX", "17179869184G" },
	{ "GREEN_PIN", "" },
	{ "GREEN_PIN", "2" },
	{ "GREEN_PIN", "yes" },
	{ "GREEN_ENGINE", "" },
	{ "GREEN_ENGINE", "EPOLL" },
	{ "GREEN_ENGINE", "uring" },
	{ "GREEN_ENGINE", "select" },
	{ "GREEN_ENGINE", "epoll,io_uring" },
	{ "GREEN_FEATURES", "io_uring" },
	{ "GREEN_FEATURES", "+io_uring" },
	{ "GREEN_FEATURES", "-" },
	{ "GREEN_FEATURES", "-io_urin" },
	{ "GREEN_FEATURES", "-io_uringx" },
	{ "GREEN_FEATURES", "-io_uring;-rwf_nowait" },
	{ "GREEN_FEATURES", ",-io_uring" },
	{ "GREEN_FEATURES", "-io_uring,,-rwf_nowait" },
	{ "GREEN_FEATURES", "\033[31m" },
	{ "GREEN_DEBUG", "engines" },
	{ "GREEN_DEBUG", "stuck;engine" },
	{ "GREEN_DEBUG", "engine,,stuck" },
	{ "GREEN_DEBUG", " all" },
	{ "GREEN_DEBUG", "ALL" },
	{ "GREEN_DEBUG", "1" },
};

static void check_refused(const char *name)
{
	CHECK_EQ(green_init(NULL), -EINVAL);
	CHECK_HAS(green_error(), name);
	CHECK_LT(strlen(green_error()), 512);
	/* Nothing is half made. */
	CHECK_EQ(green_fini(), -ENXIO);
	CHECK_EQ(green_run(NULL, NULL, NULL), -EINVAL);
}

TEST(bad_values_name_their_variable)
{
	plain_environment();
	for (size_t i = 0; i < sizeof(bad_values) / sizeof(*bad_values); i++) {
		setenv(bad_values[i].name, bad_values[i].value, 1);
		if (green_init(NULL) != -EINVAL) {
			FAIL("%s=%s was accepted", bad_values[i].name, bad_values[i].value);
			green_fini();
		}
		check_refused(bad_values[i].name);
		unsetenv(bad_values[i].name);
	}
	init_info(NULL); /* and afterwards all is well */
}

TEST(megabytes_of_junk)
{
	static const char *const names[] = { "GREEN_WORKERS", "GREEN_ENGINE", "GREEN_STACK_SIZE",
		                             "GREEN_FEATURES", "GREEN_DEBUG" };
	const size_t size = 1 << 20;
	char *junk = malloc(size + 1);

	plain_environment();
	REQUIRE(junk != NULL);
	for (int kind = 0; kind < 3; kind++) {
		memset(junk, "x1,"[kind], size);
		junk[size] = 0;
		for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
			setenv(names[i], junk, 1);
			check_refused(names[i]);
			unsetenv(names[i]);
		}
	}
	free(junk);
}

TEST(debug_topics)
{
	plain_environment();
	setenv("GREEN_DEBUG", "stuck,nonsense", 1);
	CHECK_EQ(green_init(NULL), -EINVAL);
	CHECK_HAS(green_error(), "GREEN_DEBUG");
	CHECK_HAS(green_error(), "nonsense");
	CHECK_HAS(green_error(), "engine, stuck, flight or all");

	static const struct {
		const char *value;
		bool engine, stuck;
	} good[] = { { "", false, false },
		     { "engine", true, false },
		     { "stuck", false, true },
		     { "stuck,engine", true, true },
		     { "all", true, true } };
	for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++) {
		setenv("GREEN_DEBUG", good[i].value, 1);
		capture_begin();
		init_info(NULL);
		CHECK(!strstr(capture_end(), "libgreen: engine") == !good[i].engine);
		CHECK_EQ(debug_has("engine"), good[i].engine);
		CHECK_EQ(debug_has("stuck"), good[i].stuck);
	}
}

static void *never_run(void *arg)
{
	FAIL("the runtime was started");
	return arg;
}

TEST(run_refuses_too)
{
	plain_environment();
	setenv("GREEN_WORKERS", "none", 1);
	CHECK_EQ(green_run(never_run, NULL, NULL), -EINVAL);
	CHECK_HAS(green_error(), "GREEN_WORKERS");
}

TEST(bad_options)
{
	struct green_options many = { .workers = 1025 },
			     huge = { .stack_size = STACK_SIZE_MAX + 1 },
			     all = { .stack_size = SIZE_MAX }, engine = { .engine = 3 },
			     negative = { .engine = (enum green_engine) - 1 },
			     past = { .stuck_ns = -1 }, guard = { .guard_size = 1 << 20 },
			     guards = { .guard_size = SIZE_MAX },
			     word = { .features = "-nonsense" };

	plain_environment();
	CHECK_EQ(green_init(&many), -EINVAL);
	CHECK_HAS(green_error(), "workers");
	CHECK_EQ(green_init(&huge), -EINVAL);
	CHECK_HAS(green_error(), "stack_size");
	CHECK_EQ(green_init(&all), -EINVAL);
	CHECK_EQ(green_init(&engine), -EINVAL);
	CHECK_HAS(green_error(), "engine");
	CHECK_EQ(green_init(&negative), -EINVAL);
	CHECK_EQ(green_init(&past), -EINVAL);
	CHECK_HAS(green_error(), "stuck_ns");
	CHECK_EQ(green_init(&guard), -EINVAL);
	CHECK_HAS(green_error(), "guard_size");
	CHECK_EQ(green_init(&guards), -EINVAL);
	CHECK_EQ(green_init(&word), -EINVAL);
	CHECK_HAS(green_error(), "nonsense");
	init_info(NULL);
}

/* ---- good ones ------------------------------------------------------------------- */

TEST(variables_override_options)
{
	struct green_options options = { .workers = 2, .stack_size = 65536, .threads_max = 10 };

	plain_environment();
	struct green_info info = init_info(&options);
	CHECK_EQ(info.workers, 2);
	CHECK_EQ(info.stack_size, 65536);
	CHECK_EQ(info.threads_max, 10);
	setenv("GREEN_WORKERS", "3", 1);
	setenv("GREEN_STACK_SIZE", "100k", 1);
	setenv("GREEN_THREADS_MAX", "1K", 1);
	setenv("GREEN_ENGINE", "epoll", 1);
	info = init_info(&options);
	CHECK_EQ(info.workers, 3);
	CHECK_EQ(info.stack_size, 256 * 1024);
	CHECK_EQ(info.threads_max, 1024);
	CHECK_STR(info.engine, "epoll");
	setenv("GREEN_STACK_SIZE", "1M", 1);
	setenv("GREEN_WORKERS", "1", 1);
	info = init_info(&options);
	CHECK_EQ(info.stack_size, 1 << 20);
	CHECK_EQ(info.workers, 1);
}

TEST(rounded_sizes)
{
	static const struct {
		size_t ask, get;
	} sizes[] = { { 0, 65536 },        { 1, 65536 },       { 65536, 65536 },
		      { 65537, 262144 },   { 262144, 262144 }, { 262145, 1 << 20 },
		      { 1 << 20, 1 << 20 } };

	plain_environment();
	for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
		struct green_options options = { .stack_size = sizes[i].ask };
		CHECK_EQ(init_info(&options).stack_size, sizes[i].get);
	}
}

static void *nothing(void *arg)
{
	return arg;
}

static void *use_a_few(void *arg)
{
	for (int i = 0; i < 100; i++)
		join_green(start_green(nothing, NULL));
	CHECK_EQ(green_sleep(GREEN_MS(1)), 0);
	return arg;
}

TEST(most_workers)
{
	struct green_options options = { .workers = 64 };

	plain_environment();
	CHECK_EQ(run_green_with(&options, use_a_few, NULL, NULL), 0);
}

/* ---- features ---------------------------------------------------------------------- */

/* Each switched off by itself: everything works without it. */
TEST(without_each_feature)
{
	char all[1024] = "", *word, *save;
	struct green_info info;

	plain_environment();
	CHECK_EQ(green_init(NULL), 0);
	CHECK_EQ(green_run(use_a_few, NULL, NULL), 0);
	CHECK_EQ(green_info(&info), 0);
	CHECK_EQ(green_fini(), 0);
	CHECK_GT(strlen(info.features), 0);
	snprintf(all, sizeof(all), "%s", info.features);
	for (word = strtok_r(all, " ", &save); word; word = strtok_r(NULL, " ", &save)) {
		CHECK(*word == '+' || *word == '-');
		*word = '-';
		setenv("GREEN_FEATURES", word, 1);
		CHECK_EQ(green_init(NULL), 0);
		CHECK_EQ(green_run(use_a_few, NULL, NULL), 0);
		CHECK_EQ(green_info(&info), 0);
		CHECK_HAS(info.features, word);
		CHECK_EQ(green_fini(), 0);
		unsetenv("GREEN_FEATURES");
	}
}

TEST(without_io_uring)
{
	struct green_info info;

	plain_environment();
	setenv("GREEN_FEATURES", "-io_uring", 1);
	info = init_info(NULL);
	CHECK_STR(info.engine, "epoll");
	CHECK_GT(strlen(info.engine_reason), 0);
	setenv("GREEN_ENGINE", "io_uring", 1);
	CHECK_LT(green_init(NULL), 0); /* asked for by name: no silent fall-back */
	CHECK_HAS(green_error(), "io_uring");
}

TEST(option_features_and_variable_add_up)
{
	struct green_options options = { .features = "-userfaultfd,-guard_install" };
	struct green_info info;

	plain_environment();
	setenv("GREEN_FEATURES", "-io_uring", 1);
	info = init_info(&options);
	CHECK_HAS(info.features, "-io_uring");
	CHECK_HAS(info.features, "-guard_install");
	CHECK(strcmp(info.stacks, "guard-install") != 0);
	unsetenv("GREEN_FEATURES");
	options.features = "-io_uring,-userfaultfd,-guard_install,-mprotect_guard";
	info = init_info(&options);
	CHECK_STR(info.stacks, "none");
}

/* ---- CPUs ------------------------------------------------------------------------------ */

TEST(cpus)
{
	int cpus[1024];
	unsigned n = cpus_allowed(cpus, 1024);

	CHECK_GE(n, 1);
	for (unsigned i = 1; i < n; i++)
		CHECK_GT(cpus[i], cpus[i - 1]);
	CHECK_EQ(cpus_allowed(cpus, 1), 1);
	plain_environment();
	unsigned quota = cpus_quota();
	struct green_info info = init_info(NULL);
	CHECK_EQ(info.workers, quota && quota < n ? quota : n);
}

TEST(few_workers_begin_on_the_caller_s_cpu)
{
	int allowed[1024], cpus[1024], here;
	unsigned n = cpus_allowed(allowed, 1024), first = 0;

	do { /* it may be moved */
		here = sched_getcpu();
		CHECK_EQ(cpus_for(cpus, 1), n);
	} while (here != sched_getcpu());
	CHECK_EQ(cpus[0], here);
	while (allowed[first] != here)
		first++;
	for (unsigned i = 0; i < n; i++)
		CHECK_EQ(cpus[i], allowed[(first + i) % n]);
	CHECK_EQ(cpus_for(cpus, n), n);
	for (unsigned i = 0; i < n; i++)
		CHECK_EQ(cpus[i], allowed[i]);
}

/* ---- privileges -------------------------------------------------------------------------- */

/* Copies this program with a set-user-ID bit for another user: run from here it
 * is privileged (AT_SECURE).  False: this cannot be done here. */
static bool privileged_copy(char *path, size_t size)
{
	char buf[65536];
	ssize_t n;

	snprintf(path, size, "/var/tmp/green-test-%d", getpid());
	int in = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	int out = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0700);
	bool done = in >= 0 && out >= 0;
	while (done && (n = read(in, buf, sizeof(buf))) > 0)
		done = write(out, buf, (size_t)n) == n;
	done = done && fchown(out, 65534, 65534) == 0 && fchmod(out, 04755) == 0;
	close(in);
	close(out);
	return done;
}

static int run_copy(const char *path, const char *test)
{
	int status = -1;
	pid_t pid = fork();

	if (pid == 0) {
		execl(path, path, "--here", test, NULL);
		_exit(126);
	}
	REQUIRE(pid > 0);
	REQUIRE_EQ(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

TEST(variables_of_the_privileged_are_ignored)
{
	char path[100];

	if (getenv("GREEN_TEST_PRIVILEGED")) { /* in the copy */
		if (!getauxval(AT_SECURE))
			_exit(77);
		struct green_info info = init_info(&(struct green_options){ .workers = 2 });
		CHECK_EQ(info.workers, 2);
		return;
	}
#if defined(GREEN_ASAN)
	SKIP("the leak sanitizer may not look into a privileged process");
#endif
	if (!privileged_copy(path, sizeof(path))) {
		unlink(path);
		SKIP("only root can make a set-user-ID program of another user");
	}
	plain_environment();
	setenv("GREEN_TEST_PRIVILEGED", "1", 1);
	setenv("GREEN_WORKERS", "junk", 1);
	setenv("GREEN_FEATURES", "junk", 1);
	setenv("GREEN_ENGINE", "junk", 1);
	setenv("GREEN_STACK_SIZE", "junk", 1);
	setenv("GREEN_DEBUG", "all", 1);
	int status = run_copy(path, "variables_of_the_privileged_are_ignored");
	unlink(path);
	if (status == 77)
		SKIP("the file system ignores set-user-ID bits");
	CHECK_EQ(status, 0);
}
