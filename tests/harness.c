/* SPDX-License-Identifier: MIT
 *
 * The test harness of harness.h: checks, one child process a test, helpers.
 */
#include "harness.h"
#include "park.h"
#include "worker.h"

#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>

#include <setjmp.h>

#include <cmocka.h>

#if defined(GREEN_ASAN) || defined(GREEN_TSAN) || defined(GREEN_COVERAGE)
#define SLOWNESS 3
#else
#define SLOWNESS 1
#endif
#define LIMIT_S 60
#define EXIT_SKIPPED 77

#if defined(GREEN_ASAN)
/* Locals are to lie on the stacks that are tested: since clang 15 they otherwise do not. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
	return "detect_stack_use_after_return=0";
}
#endif

/* What parent and child share. */
struct shared {
	_Atomic int64_t deadline_ns;
	_Atomic unsigned failed;
	_Atomic(const char *) waiting_for; /* same addresses in both: a fork */
	_Atomic(const char *) waiting_file;
	_Atomic int waiting_line;
};
static struct shared *shared;
static struct test *tests;
static const char *running = "";

static int64_t clock_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

/* Before main(), since a stress program has one of its own. */
__attribute__((constructor)) static void shared_make(void)
{
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
	              0);
	if (shared == MAP_FAILED)
		abort();
}

/* ---- checks --------------------------------------------------------------- */

/* One write(2), so that lines of several threads do not mix. */
static void say(const char *prefix, const char *file, int line, const char *format, va_list args)
{
	char text[1024];
	int n = snprintf(text, sizeof(text), "%s", prefix);

	if (file)
		n += snprintf(text + n, sizeof(text) - (size_t)n, "%s:%d: ", file, line);
	n += vsnprintf(text + n, sizeof(text) - (size_t)n - 1, format, args);
	if (n > (int)sizeof(text) - 2)
		n = (int)sizeof(text) - 2;
	text[n++] = '\n';
	for (int at = 0; at < n;) {
		ssize_t r = write(STDOUT_FILENO, text + at, (size_t)(n - at));
		if (r <= 0)
			break;
		at += (int)r;
	}
}

bool check_that(bool holds, bool fatal, const char *file, int line, const char *format, ...)
{
	va_list args;

	if (holds)
		return true;
	va_start(args, format);
	/* The first hundred tell enough. */
	if (atomic_fetch_add_explicit(&shared->failed, 1, memory_order_relaxed) < 100)
		say("error: ", file, line, format, args);
	va_end(args);
	if (fatal)
		_exit(1);
	return false;
}

bool check_string(const char *value, const char *expected, const char *what, const char *file,
                  int line)
{
	return check_that(value && strcmp(value, expected) == 0, false, file, line,
	                  "%s is \"%.300s\", not \"%.300s\"", what, value ? value : "(null)",
	                  expected);
}

bool check_has(const char *haystack, const char *needle, const char *what, const char *file,
               int line)
{
	return check_that(haystack && strstr(haystack, needle), false, file, line,
	                  "%s has no \"%.200s\": \"%.600s\"", what, needle,
	                  haystack ? haystack : "(null)");
}

unsigned checks_failed(void)
{
	return atomic_load_explicit(&shared->failed, memory_order_relaxed);
}

void test_skip(const char *format, ...)
{
	char prefix[128];
	va_list args;

	snprintf(prefix, sizeof(prefix), "SKIP: %s: ", running);
	va_start(args, format);
	say(prefix, NULL, 0, format, args);
	va_end(args);
	_exit(EXIT_SKIPPED);
}

/* ---- one test --------------------------------------------------------------- */

void test_register(struct test *test)
{
	struct test **end = &tests;

	while (*end)
		end = &(*end)->next;
	*end = test;
}

void test_limit(unsigned seconds)
{
	const char *slowness = getenv("TEST_SLOWNESS");
	int64_t limit_ns = (int64_t)seconds * (slowness ? atoi(slowness) : SLOWNESS) * 1000000000;

	atomic_store(&shared->deadline_ns, clock_ns() + limit_ns);
}

unsigned scaled(unsigned n)
{
	return SLOWNESS > 1 && n > 20 ? n / 10 : n;
}

/* The time limit expired: who waits for what helps to see why. */
static void on_terminate(int sig)
{
	char text[4096];
	int fd = memfd_create("dump", MFD_CLOEXEC);

	(void)sig;
	if (fd >= 0 && green_dump(fd) == 0) {
		ssize_t n = pread(fd, text, sizeof(text), 0);
		if (n > 0 && write(STDOUT_FILENO, text, (size_t)n) < n)
			_exit(2);
	}
	_exit(1);
}

static _Noreturn void child_main(const struct test *test)
{
	static const int crashes[] = { SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT };

	for (unsigned i = 0; i < sizeof(crashes) / sizeof(*crashes); i++)
		signal(crashes[i], SIG_DFL); /* cmocka's would jump into the parent's frames */
	signal(SIGTERM, on_terminate);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	test->fn();
	exit(checks_failed() ? 1 : 0); /* not _exit: leak checks and coverage come with it */
}

static void say_line(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	say("", NULL, 0, format, args);
	va_end(args);
}

static void timed_out(const struct test *test, pid_t pid, int *status)
{
	say_line("error: %s: timed out", test->name);
	if (atomic_load(&shared->waiting_for))
		say_line("error: %s:%d: was waiting for %s", atomic_load(&shared->waiting_file),
		         atomic_load(&shared->waiting_line), atomic_load(&shared->waiting_for));
	kill(pid, SIGTERM);
	for (int i = 0; i < 300; i++) {
		if (waitpid(pid, status, WNOHANG) == pid)
			return;
		usleep(10000);
	}
	kill(pid, SIGKILL);
	waitpid(pid, status, 0);
}

/* The child's wait status; -1: timed out. */
static int await_child(const struct test *test, pid_t pid)
{
	int status;
	unsigned pause_us = 200;

	for (;;) {
		pid_t r = waitpid(pid, &status, WNOHANG);
		if (r == pid)
			return status;
		if (r < 0 && errno != EINTR)
			return -1;
		if (clock_ns() > atomic_load(&shared->deadline_ns)) {
			timed_out(test, pid, &status);
			return -1;
		}
		usleep(pause_us);
		if (pause_us < 20000)
			pause_us *= 2;
	}
}

static void run_unit(void **test_state)
{
	const struct test *test = *test_state;

	fflush(NULL);
	memset(shared, 0, sizeof(*shared));
	running = test->name;
	test_limit(LIMIT_S);
	pid_t pid = fork();
	if (pid < 0)
		fail_msg("fork: %s", strerror(errno));
	if (pid == 0)
		child_main(test);
	int status = await_child(test, pid);
	if (status == -1)
		fail_msg("timed out");
	if (WIFSIGNALED(status))
		fail_msg("killed by signal %d (%s)", WTERMSIG(status), strsignal(WTERMSIG(status)));
	if (WEXITSTATUS(status) == EXIT_SKIPPED && !checks_failed())
		skip();
	if (WEXITSTATUS(status) || checks_failed())
		fail_msg("%u failed checks, exit status %d", checks_failed(), WEXITSTATUS(status));
}

/* ---- all tests ---------------------------------------------------------------- */

static bool wanted(const char *name, int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		size_t n = strcspn(argv[i], "*");
		if (strncmp(name, argv[i], n) == 0 && (argv[i][n] || !name[n]))
			return true;
	}
	return argc < 2;
}

static int run_here(const char *name)
{
	for (struct test *t = tests; t; t = t->next)
		if (strcmp(t->name, name) == 0) {
			running = name;
			t->fn();
			return checks_failed() ? 1 : 0;
		}
	fprintf(stderr, "no test %s\n", name);
	return 2;
}

int harness_main(int argc, char **argv)
{
	struct CMUnitTest units[512];
	size_t count = 0;

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc == 3 && strcmp(argv[1], "--here") == 0)
		return run_here(argv[2]);
	if (argc == 2 && strcmp(argv[1], "--list") == 0) {
		for (struct test *t = tests; t; t = t->next)
			puts(t->name);
		return 0;
	}
	for (struct test *t = tests; t && count < 512; t = t->next)
		if (wanted(t->name, argc, argv))
			units[count++] = (struct CMUnitTest){ .name = t->name,
				                              .test_func = run_unit,
				                              .initial_state = t };
	const char *suite = strrchr(argv[0], '/');
	return _cmocka_run_group_tests(suite ? suite + 1 : argv[0], units, count, NULL, NULL) != 0;
}

/* Weak: a program with a main() of its own may link the helpers. */
int main(int argc, char **argv) __attribute__((weak));
int main(int argc, char **argv)
{
	return harness_main(argc, argv);
}

/* ---- helpers --------------------------------------------------------------- */

void *run_green(green_fn fn, void *arg)
{
	void *result = NULL;
	int r = green_run(fn, arg, &result);

	check_that(r == 0, true, __FILE__, __LINE__, "green_run: %s (%s)", strerror(-r),
	           green_error());
	return result;
}

static void *call_body(void *body)
{
	(*(void (**)(void))body)();
	return NULL;
}

void run_green_body(void (*body)(void))
{
	run_green(call_body, &body);
	CHECK_EQ(green_fini(), 0);
}

int run_green_with(const struct green_options *options, green_fn fn, void *arg, void **result)
{
	if (options && options->workers)
		unsetenv("GREEN_WORKERS");
	if (options && options->engine)
		unsetenv("GREEN_ENGINE");
	int r = green_init(options);
	check_that(r == 0, true, __FILE__, __LINE__, "green_init: %s (%s)", strerror(-r),
	           green_error());
	r = green_run(fn, arg, result);
	CHECK_EQ(green_fini(), 0);
	return r;
}

int run_to_death(const struct green_options *options, green_fn fn)
{
	struct rlimit no_core = { 0, 0 };
	int status = 0;

	fflush(NULL);
	pid_t pid = fork();
	if (pid == 0) {
		setrlimit(RLIMIT_CORE, &no_core);
		run_green_with(options, fn, NULL, NULL);
		_exit(0);
	}
	REQUIRE_EQ(waitpid(pid, &status, 0), pid);
	return status;
}

unsigned count_mappings(void)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	unsigned lines = 0;
	int c;

	REQUIRE(maps != NULL);
	while ((c = getc(maps)) != EOF)
		lines += c == '\n';
	fclose(maps);
	return lines;
}

void skip_without_guards(void)
{
	struct green_info info;

	REQUIRE_EQ(green_init(NULL), 0);
	REQUIRE_EQ(green_info(&info), 0);
	REQUIRE_EQ(green_fini(), 0);
	if (!strcmp(info.stacks, "none"))
		SKIP("no guards below the stacks");
}

green_t start_with(const struct green_attr *attr, green_fn fn, void *arg)
{
	green_t thread = GREEN_NONE;

	REQUIRE_EQ(green_spawn(&thread, attr, fn, arg), 0);
	return thread;
}

green_t start_green(green_fn fn, void *arg)
{
	return start_with(NULL, fn, arg);
}

green_t start_migratable(green_fn fn, void *arg)
{
	struct green_attr attr = { .migratable = true };

	return start_with(&attr, fn, arg);
}

void *join_green(green_t thread)
{
	void *result = NULL;

	REQUIRE_EQ(green_join(thread, &result), 0);
	return result;
}

pthread_t start_os(void *(*fn)(void *), void *arg)
{
	pthread_t thread;

	REQUIRE_EQ(pthread_create(&thread, NULL, fn, arg), 0);
	return thread;
}

void *join_os(pthread_t thread)
{
	void *result;

	REQUIRE_EQ(pthread_join(thread, &result), 0);
	return result;
}

void *sleep_for(void *ns)
{
	green_sleep((int64_t)(intptr_t)ns);
	return NULL;
}

void harness_pause(const char *what, const char *file, int line)
{
	struct shared *s = shared;

	atomic_store(&s->waiting_line, line);
	atomic_store(&s->waiting_file, file);
	atomic_store(&s->waiting_for, what);
	if (!what)
		return;
	if (gt_self()) {
		/* A cancelled thread may wait for something, too. */
		struct green_shield shield;
		green_shield_begin(&shield);
		green_sleep(GREEN_US(200));
		green_shield_end(&shield);
	} else {
		usleep(200);
	}
}

void await_parked(green_t thread)
{
	struct gt *gt = gt_lookup(thread);
	const uint64_t waits = PARK_ARMED | PARK_SAVED;

	REQUIRE(gt != NULL);
	WAIT_FOR((atomic_load(&gt->park) & (waits | PARK_CLAIMED)) == waits);
}

void spin_for(int64_t ns)
{
	int64_t end = clock_ns() + ns;

	while (clock_ns() < end)
		cpu_pause();
}

static struct {
	int fd, saved;
	char *text;
} captured;

void capture_begin(void)
{
	captured.fd = memfd_create("stderr", MFD_CLOEXEC);
	REQUIRE(captured.fd >= 0);
	captured.saved = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
	REQUIRE(dup2(captured.fd, STDERR_FILENO) >= 0);
}

const char *capture_end(void)
{
	off_t size = lseek(captured.fd, 0, SEEK_END);

	dup2(captured.saved, STDERR_FILENO);
	close(captured.saved);
	free(captured.text);
	captured.text = calloc(1, (size_t)size + 1);
	REQUIRE(captured.text && pread(captured.fd, captured.text, (size_t)size, 0) == size);
	close(captured.fd);
	if (strstr(captured.text, "Sanitizer"))
		fputs(captured.text, stdout); /* it was not for the test to read */
	return captured.text;
}

struct rng rng_seed(uint64_t seed)
{
	struct rng rng = { seed * 0x9e3779b97f4a7c15u + 0xbf58476d1ce4e5b9u };

	if (!rng.state)
		rng.state = 1;
	for (int i = 0; i < 4; i++)
		rng_next(&rng);
	return rng;
}

uint64_t rng_next(struct rng *rng)
{
	rng->state ^= rng->state >> 12;
	rng->state ^= rng->state << 25;
	rng->state ^= rng->state >> 27;
	return rng->state * 0x2545f4914f6cdd1du;
}

uint64_t rng_below(struct rng *rng, uint64_t limit)
{
	return limit ? (rng_next(rng) >> 11) % limit : 0;
}

bool localhost_known(void)
{
	char *text = calloc(1, 4096);
	int fd = open("/etc/hosts", O_RDONLY | O_CLOEXEC);
	bool known = text && fd >= 0 && read(fd, text, 4095) > 0 && strstr(text, "localhost");

	if (fd >= 0)
		close(fd);
	free(text);
	return known;
}
