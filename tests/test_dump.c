/* SPDX-License-Identifier: MIT
 *
 * green_dump() shows every green thread with its name, state and place, and the
 * report of a deadlock says who waits for what; names cannot forge lines.
 */
#include "harness.h"

#include "dump.h"
#include "report.h"
#include "symbol.h"
#include "sync.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>

/* What green_dump() writes. */
static const char *dump(void)
{
	static char text[1 << 20];
	int fd = memfd_create("dump", 0);

	REQUIRE(fd >= 0);
	CHECK_EQ(green_dump(fd), 0);
	ssize_t n = pread(fd, text, sizeof(text) - 1, 0);
	close(fd);
	text[n > 0 ? n : 0] = 0;
	return text;
}

/* The line with this in it, "" if there is none. */
static const char *line_with(const char *text, const char *needle)
{
	static char line[2048];
	const char *at = strstr(text, needle);

	line[0] = 0;
	if (!at)
		return line;
	while (at > text && at[-1] != '\n')
		at--;
	snprintf(line, sizeof(line), "%.*s", (int)strcspn(at, "\n"), at);
	return line;
}

static green_mutex_t mutex = GREEN_MUTEX_INIT;
static green_sem_t never;
static int ends[2];

static void *sleeper(void *arg)
{
	green_sleep(GREEN_S(100));
	return arg;
}

static void *locker(void *arg)
{
	if (green_mutex_lock(&mutex) == 0)
		green_mutex_unlock(&mutex);
	return arg;
}

static void *reader(void *arg)
{
	char c;

	green_read(ends[0], &c, 1);
	return arg;
}

static void *joiner(void *arg)
{
	green_join(*(green_t *)arg, NULL);
	return arg;
}

GREEN_TEST(each_thread_has_its_line)
{
	green_t threads[4];

	REQUIRE_EQ(pipe(ends), 0);
	CHECK_EQ(green_mutex_lock(&mutex), 0);
	threads[0] = start_with(&(struct green_attr){ .name = "the sleeper" }, sleeper, NULL);
	threads[1] = start_green(locker, NULL);
	threads[2] = start_green(reader, NULL);
	threads[3] = start_green(joiner, &threads[0]);
	for (int i = 0; i < 4; i++)
		await_parked(threads[i]);

	const char *text = dump(), *line = line_with(text, "\"the sleeper\"");
	CHECK_HAS(line, "waits: sleep for 0.");
	CHECK_HAS(line, "at sleeper+0x");
	CHECK_HAS(line, "spawned at ");
	CHECK_HAS(line, ", worker ");
	char handle[40];
	snprintf(handle, sizeof(handle), "green thread %llu ", (unsigned long long)threads[0]);
	CHECK_HAS(line, handle);
	line = line_with(text, "\"locker\"");
	CHECK_HAS(line, "waits: mutex 0x");
	CHECK_HAS(line, "at locker+0x");
	line = line_with(text, "\"reader\"");
	char wanted[40];
	snprintf(wanted, sizeof(wanted), "waits: io on descriptor %d for", ends[0]);
	CHECK_HAS(line, wanted);
	CHECK_HAS(line, "at reader+0x");
	line = line_with(text, "\"joiner\"");
	CHECK_HAS(line, "waits: join of ");
	CHECK_HAS(line, "\"the sleeper\" for");
	CHECK_HAS(line_with(text, "\"main\": "), ": running");
	CHECK_HAS(line_with(text, "worker 0 ("), " switches");

	CHECK_EQ(green_mutex_unlock(&mutex), 0);
	CHECK_EQ(write(ends[1], "x", 1), 1);
	CHECK_EQ(green_cancel(threads[0]), 0);
	for (int i = 1; i < 4; i++)
		join_green(threads[i]);
}

/* Threads that begin in a function of the runtime's are shown by the user's. */
static void *pool_worker(void *arg)
{
	green_sem_wait(&never);
	return arg;
}

static void *mapped_item(void *arg)
{
	green_sem_wait(&never);
	return arg;
}

static int one_item(void *left, void **item)
{
	*item = NULL;
	return (*(int *)left)-- > 0;
}

static void *ask_for_result(void *imap)
{
	CHECK_EQ(green_imap_next(imap, NULL), 1);
	return NULL;
}

static void connection(int fd, void *arg)
{
	(void)fd, (void)arg;
	green_sem_wait(&never);
}

static void *serve_one(void *fd)
{
	CHECK_EQ(green_serve((int)(intptr_t)fd, connection, NULL, NULL), -ECANCELED);
	return NULL;
}

static void await_waiters(unsigned n)
{
	while (list_length(&never.lock, &never.waiters) < n)
		green_sleep(GREEN_MS(1));
}

GREEN_TEST(the_users_function_is_shown)
{
	int items = 1, fd = green_listen("127.0.0.1:0", 0);
	char address[40];

	green_pool_t *pool = green_pool_new(2);
	green_imap_t *imap = green_pool_imap(pool, mapped_item, one_item, &items);
	CHECK_EQ(green_pool_spawn(pool, pool_worker, NULL), 0);
	green_t asker = start_green(ask_for_result, imap);
	green_t server = start_green(serve_one, (void *)(intptr_t)fd);
	snprintf(address, sizeof(address), "127.0.0.1:%d", green_port(fd));
	int client = green_connect_host(address);
	CHECK_GE(client, 0);
	await_waiters(3);

	const char *text = dump();
	CHECK_HAS(line_with(text, "\"pool_worker\": "), "spawned at the_users_function_is_shown");
	CHECK_HAS(line_with(text, "\"mapped_item\": "), "spawned at ask_for_result");
	CHECK_HAS(line_with(text, "\"connection\": "), "spawned at green_serve");
	CHECK_HAS(line_with(text, "\"green_serve\": "), "spawned at serve_one");
	CHECK(!strstr(text, "member_main") && !strstr(text, "item_main"));

	for (int i = 0; i < 3; i++)
		green_sem_post(&never);
	join_green(asker);
	green_pool_waitall(pool);
	green_imap_delete(imap);
	green_pool_delete(pool);
	green_cancel(server);
	join_green(server);
	green_close(client);
	green_close(fd);
}

GREEN_TEST(names_cannot_forge_lines)
{
	green_t thread = start_with(&(struct green_attr){ .name = "x\ngreen thread 1 \033[2J" },
	                            sleeper, NULL);

	await_parked(thread);
	const char *text = dump();
	CHECK_HAS(text, "\"x\\x0agreen thread 1 \\x1b[2J\"");
	CHECK(!strchr(text, '\033'));
	CHECK_EQ(green_cancel(thread), 0);
	join_green(thread);
}

/* Goes on waiting when it is cancelled. */
static void *shielded(void *arg)
{
	struct green_shield shield;

	green_shield_begin(&shield);
	CHECK_EQ(green_sem_wait(&never), 0);
	green_shield_end(&shield);
	return arg;
}

GREEN_TEST(a_cancelled_and_a_migratable_thread_are_marked)
{
	green_t thread = start_migratable(shielded, NULL);

	await_parked(thread);
	CHECK_HAS(line_with(dump(), "\"shielded\""), ", any worker");
	CHECK_EQ(green_cancel(thread), 0);
	CHECK_HAS(line_with(dump(), "\"shielded\""), ", cancelled");
	green_sem_post(&never);
	join_green(thread);
}

GREEN_TEST(a_bad_descriptor_is_an_error)
{
	CHECK_EQ(green_dump(-1), -EBADF);
	int fd = open("/dev/null", O_RDONLY);
	CHECK_EQ(green_dump(fd), -EBADF);
	close(fd);
	fd = open("/dev/full", O_WRONLY);
	CHECK_EQ(green_dump(fd), -ENOSPC);
	close(fd);
}

TEST(without_a_runtime_it_says_so)
{
	CHECK_STR(dump(), "libgreen: not running\n");
	CHECK_EQ(green_init(NULL), 0);
	CHECK_STR(dump(), "libgreen: not running\n");
	CHECK_EQ(green_fini(), 0);
	CHECK_STR(dump(), "libgreen: not running\n");
}

/* ---- while everything moves --------------------------------------------------- */

static _Atomic bool churn_on;

static void *brief(void *arg)
{
	green_yield();
	return arg;
}

static void *churner(void *arg)
{
	while (churn_on) {
		green_t thread = start_with(&(struct green_attr){ .name = "brief" }, brief, NULL);
		join_green(thread);
	}
	return arg;
}

GREEN_TEST(it_may_be_called_while_threads_come_and_go)
{
	green_t threads[4];

	churn_on = true;
	for (int i = 0; i < 4; i++)
		threads[i] = start_green(churner, NULL);
	for (unsigned i = 0; i < scaled(300); i++) {
		CHECK_HAS(dump(), "worker 0 (");
		green_yield();
	}
	churn_on = false;
	for (int i = 0; i < 4; i++)
		join_green(threads[i]);
}

GREEN_TEST(thousands_of_threads_are_shown_quickly)
{
	enum { COUNT = 5000 };
	green_t *threads = calloc(COUNT, sizeof(*threads));

	for (int i = 0; i < COUNT; i++)
		threads[i] = start_green(sleeper, NULL);
	await_parked(threads[0]);
	int64_t before = green_now();
	const char *text = dump();
	CHECK_LT(green_now() - before, GREEN_S(10));
	size_t lines = 0;
	for (const char *at = text; (at = strstr(at, "green thread ")); at++)
		lines++;
	CHECK_GE(lines, COUNT);
	for (int i = 0; i < COUNT; i++)
		green_cancel(threads[i]);
	for (int i = 0; i < COUNT; i++)
		join_green(threads[i]);
	free(threads);
}

/* ---- deadlock ----------------------------------------------------------------- */

static void *holder(void *arg)
{
	green_mutex_lock(&mutex);
	green_sem_wait(&never);
	green_mutex_unlock(&mutex);
	return arg;
}

static void *tangle(void *arg)
{
	green_t thread = start_with(&(struct green_attr){ .name = "holder" }, holder, NULL);

	await_parked(thread);
	CHECK_EQ(green_mutex_lock(&mutex), -ECANCELED);
	return arg;
}

TEST(a_deadlock_says_who_waits_for_what)
{
	CHECK_EQ(green_init(NULL), 0);
	capture_begin();
	int r = green_run(tangle, NULL, NULL);
	const char *text = capture_end();
	CHECK_EQ(r, -EDEADLK);
	CHECK_HAS(text, "libgreen: deadlock: ");
	CHECK_HAS(line_with(text, "\"holder\": waits"), "waits: semaphore 0x");
	CHECK_HAS(line_with(text, "\"main\": waits"), "waits: mutex 0x");
	CHECK_HAS(line_with(text, "\"main\": waits"), "\"holder\" for ");
	CHECK_HAS(line_with(text, "\"main\": waits"), "at tangle+0x");
	CHECK_EQ(green_fini(), 0);
}

/* ---- the parts ---------------------------------------------------------------- */

static const char *collect(void (*fill)(struct report *))
{
	static char text[8192];
	struct report r;
	int fd = memfd_create("report", 0);

	report_begin(&r, fd);
	fill(&r);
	CHECK_EQ(report_end(&r), 0);
	ssize_t n = pread(fd, text, sizeof(text) - 1, 0);
	text[n > 0 ? n : 0] = 0;
	close(fd);
	return text;
}

static void fill_numbers(struct report *r)
{
	static const int64_t numbers[] = { 0, 7, -1, INT64_MAX, INT64_MIN };
	static const size_t sizes[] = { 0, 512, 1024, 65536, 60416, 1 << 20, 3 << 19 };

	for (size_t i = 0; i < 5; i++) {
		report_number(r, numbers[i]);
		report_str(r, " ");
	}
	report_handle(r, UINT64_MAX);
	report_str(r, " ");
	report_hex(r, NULL);
	report_str(r, " ");
	report_hex(r, (void *)UINTPTR_MAX);
	for (size_t i = 0; i < 7; i++) {
		report_str(r, ", ");
		report_kib(r, sizes[i]);
	}
	report_str(r, ", ");
	report_since(r, 1234567890);
	report_since(r, -5);
}

static void fill_long(struct report *r)
{
	for (int i = 0; i < 1000; i++)
		report_str(r, "12345");
}

TEST(reports_are_put_together_right)
{
	CHECK_STR(collect(fill_numbers),
	          "0 7 -1 9223372036854775807 -9223372036854775808 18446744073709551615 0x0 "
	          "0xffffffffffffffff, 0 KiB, 0.5 KiB, 1 KiB, 64 KiB, 59 KiB, 1 MiB, 1536 KiB, "
	          "1.234 s0.000 s");
	CHECK_EQ(strlen(collect(fill_long)), 5000);
}

static int slow_pipe[2];

static void *read_slowly(void *arg)
{
	char buf[4096];
	size_t sum = 0;
	ssize_t n;

	usleep(50000);
	while ((n = read(slow_pipe[0], buf, sizeof(buf))) > 0)
		sum += (size_t)n;
	*(size_t *)arg = sum;
	return arg;
}

TEST(a_slow_reader_of_a_nonblocking_pipe_gets_everything)
{
	struct report r;
	size_t sum = 0;

	REQUIRE_EQ(pipe2(slow_pipe, O_NONBLOCK), 0);
	fcntl(slow_pipe[0], F_SETFL, 0);
	fcntl(slow_pipe[1], F_SETPIPE_SZ, 4096);
	pthread_t thread = start_os(read_slowly, &sum);
	report_begin(&r, slow_pipe[1]);
	for (int i = 0; i < 10; i++)
		fill_long(&r);
	CHECK_EQ(report_end(&r), 0);
	close(slow_pipe[1]);
	join_os(thread);
	CHECK_EQ(sum, 50000);
}

__attribute__((noinline)) static void *named_function(void *arg)
{
	__asm__ volatile("");
	return arg;
}

TEST(addresses_have_names)
{
	struct symbols symbols;
	char name[64];

	symbols_begin(&symbols);
	CHECK(symbol_name(&symbols, (void *)(uintptr_t)named_function, name, sizeof(name)));
	CHECK_STR(name, "named_function"); /* static: dladdr() would not know */
	CHECK(symbol_name(&symbols, (void *)(uintptr_t)green_dump, name, sizeof(name)));
	CHECK_STR(name, "green_dump");
	CHECK(symbol_name(&symbols, (void *)(uintptr_t)named_function, name, 6));
	CHECK_STR(name, "named");
	CHECK(!symbol_name(&symbols, name, name, sizeof(name)));
	CHECK(!symbol_name(&symbols, (void *)16, name, sizeof(name)));
	symbols_end(&symbols);
}

TEST(without_descriptors_addresses_stay_numbers)
{
	struct symbols symbols;
	struct report r;

	report_begin(&r, -1);
	symbols_begin(&symbols);
	fault_inject(SYS_openat, 0, 0, EMFILE);
	symbol_report(&symbols, &r, (void *)0x1234, true);
	fault_clear();
	symbols_end(&symbols);
	r.text[r.used] = 0;
	CHECK_STR(r.text, "0x1234");
}
