/* SPDX-License-Identifier: MIT
 *
 * Sections in which nothing may switch: each call that may is found out, whether it
 * would wait or not, with both places; and where there are none, nothing happens.
 */
#include "harness.h"

#include "trace.h"
#include "worker.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>

never_inline static uint64_t violations(void)
{
	struct green_info info;

	REQUIRE_EQ(green_info(&info), 0);
	return info.noswitch;
}

static const struct green_options counting = { .noswitch = GREEN_NOSWITCH_COUNT };
static const struct green_options logging = { .noswitch = GREEN_NOSWITCH_LOG };

/* ---- each call ----------------------------------------------------------------------- */

/* Counted once at least, although none of these has to wait. */
#define MAY_SWITCH(call)                                                                    \
	do {                                                                                \
		uint64_t before_ = violations();                                            \
		(void)(call);                                                               \
		check_that(violations() > before_, false, __FILE__, __LINE__, "%s", #call); \
	} while (0)
#define NEVER_SWITCHES(call)                                                                 \
	do {                                                                                 \
		uint64_t before_ = violations();                                             \
		(void)(call);                                                                \
		check_that(violations() == before_, false, __FILE__, __LINE__, "%s", #call); \
	} while (0)

static void *nothing(void *arg)
{
	return arg;
}

static int one_item(void *arg, void **value)
{
	*value = arg;
	return 0;
}

never_inline static void check_threads(void)
{
	green_t t = start_green(nothing, NULL);

	NEVER_SWITCHES(green_self());
	NEVER_SWITCHES(green_go(nothing, NULL));
	NEVER_SWITCHES(green_now());
	MAY_SWITCH(green_yield());
	MAY_SWITCH(green_sleep(0));
	MAY_SWITCH(green_sleep(1));
	MAY_SWITCH(green_join(t, NULL));
	MAY_SWITCH(green_join(t, NULL)); /* -ESRCH */
	MAY_SWITCH(green_offload(nothing, NULL, NULL));
}

never_inline static void check_sync(void)
{
	green_mutex_t mutex = { 0 };
	green_sem_t sem = { 0 };
	green_cond_t cond = { 0 };
	green_wg_t wg = { 0 };
	green_chan_t *chan = green_chan_new(sizeof(int), 2);
	green_pool_t *pool = green_pool_new(4);
	int value = 1;
	struct green_select one = { .chan = chan, .send = true, .value = &value };

	REQUIRE(chan && pool);
	MAY_SWITCH(green_mutex_lock(&mutex));
	NEVER_SWITCHES(green_mutex_unlock(&mutex));
	NEVER_SWITCHES(green_mutex_trylock(&mutex));
	green_mutex_unlock(&mutex);
	MAY_SWITCH(green_cond_wait(&cond, &mutex)); /* -EPERM */
	NEVER_SWITCHES(green_sem_post(&sem));
	MAY_SWITCH(green_sem_wait(&sem));
	MAY_SWITCH(green_wg_wait(&wg));
	MAY_SWITCH(green_chan_send(chan, &value));
	NEVER_SWITCHES(green_chan_trysend(chan, &value));
	MAY_SWITCH(green_chan_recv(chan, &value));
	MAY_SWITCH(green_select(&one, 1, false));
	NEVER_SWITCHES(green_select(&one, 1, true));
	MAY_SWITCH(green_pool_spawn(pool, nothing, NULL));
	MAY_SWITCH(green_pool_waitall(pool));
	green_imap_t *imap = green_pool_imap(pool, nothing, one_item, NULL);
	REQUIRE(imap != NULL);
	MAY_SWITCH(green_imap_next(imap, NULL));
	MAY_SWITCH(green_imap_delete(imap));
	MAY_SWITCH(green_pool_delete(pool));
	green_chan_free(chan);
}

never_inline static void check_io(void)
{
	struct pollfd pfd = { .events = POLLIN };
	struct iovec iov = { .iov_base = &(char){ 'x' }, .iov_len = 1 };
	int ends[2], pair[2];
	char c;

	REQUIRE_EQ(pipe2(ends, O_CLOEXEC), 0);
	REQUIRE_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	MAY_SWITCH(green_write(ends[1], "xyz", 3));
	MAY_SWITCH(green_read(ends[0], &c, 1));
	MAY_SWITCH(green_readv(ends[0], &iov, 1));
	MAY_SWITCH(green_writev(ends[1], &iov, 1));
	MAY_SWITCH(green_send(pair[0], "xyz", 3, 0));
	MAY_SWITCH(green_recv(pair[1], &c, 1, 0));
	MAY_SWITCH(green_wait_fd(pair[1], POLLIN, GREEN_S(1)));
	pfd.fd = pair[1];
	MAY_SWITCH(green_poll(&pfd, 1, 0));
	MAY_SWITCH(green_accept(pair[0], NULL, NULL, 0)); /* -EINVAL */
	MAY_SWITCH(green_connect(pair[0], NULL, 0));      /* an error */
	MAY_SWITCH(green_fsync(ends[0]));                 /* -EINVAL */
	MAY_SWITCH(green_pread(ends[0], &c, 1, 0));       /* -ESPIPE */
	MAY_SWITCH(green_sendfile(pair[0], ends[0], NULL, 0));
	int fd = -1;
	MAY_SWITCH(fd = green_open("/dev/null", O_RDONLY | O_CLOEXEC, 0));
	MAY_SWITCH(green_close(fd));
	MAY_SWITCH(fd = green_listen("127.0.0.1:0", 1));
	close(fd);
	MAY_SWITCH(green_connect_host("127.0.0.1:notaport"));
	MAY_SWITCH(green_close(ends[0]));
	close(ends[1]);
	close(pair[0]);
	close(pair[1]);
}

static void *all_calls(void *arg)
{
	struct green_noswitch section;

	green_noswitch_begin(&section);
	check_threads();
	check_sync();
	check_io();
	green_noswitch_end(&section);
	NEVER_SWITCHES(green_yield());
	return arg;
}

TEST(each_call_that_may_switch_is_found_out)
{
	run_green_with(&counting, all_calls, NULL, NULL);
}

/* ---- sections ------------------------------------------------------------------------ */

static void *yield_once(void *arg)
{
	green_yield();
	return arg;
}

static void *nested(void *arg)
{
	struct green_noswitch outer, inner;

	green_noswitch_begin(&outer);
	green_noswitch_begin(&inner);
	MAY_SWITCH(green_yield());
	green_noswitch_end(&inner);
	MAY_SWITCH(green_yield());
	/* Another thread is in none. */
	green_t t = start_green(yield_once, NULL);
	uint64_t before = violations();
	join_green(t); /* ours */
	CHECK_EQ(violations(), before + 1);
	green_noswitch_end(&outer);
	NEVER_SWITCHES(green_yield());
	return arg;
}

TEST(sections_nest_and_are_the_threads_own)
{
	run_green_with(&counting, nested, NULL, NULL);
}

static void *forgets_to_end(void *arg)
{
	struct green_noswitch *section = arg;

	green_noswitch_begin(section);
	return NULL;
}

static void *reused(void *arg)
{
	static struct green_noswitch section;

	join_green(start_green(forgets_to_end, &section));
	uint64_t before = violations();
	for (int i = 0; i < 100; i++)
		join_green(start_green(yield_once, NULL));
	CHECK_EQ(violations(), before);
	return arg;
}

TEST(a_section_ends_with_its_thread)
{
	run_green_with(&counting, reused, NULL, NULL);
}

static void *off(void *arg)
{
	struct green_noswitch section;

	green_noswitch_begin(&section);
	NEVER_SWITCHES(green_yield());
	green_noswitch_end(&section);
	CHECK_EQ(atomic_load(&trace_sections), 0);
	return arg;
}

TEST(off_is_off)
{
	static const struct green_options options = { .noswitch = GREEN_NOSWITCH_OFF };

	run_green_with(&options, off, NULL, NULL);
}

TEST(an_os_thread_has_none)
{
	struct green_noswitch section;

	REQUIRE_EQ(green_init(&counting), 0);
	green_noswitch_begin(&section);
	NEVER_SWITCHES(green_yield());
	NEVER_SWITCHES(green_sleep(1));
	green_noswitch_end(&section);
	CHECK_EQ(green_fini(), 0);
}

/* ---- what is said ----------------------------------------------------------------------- */

never_inline static void begins_here(struct green_noswitch *section)
{
	green_noswitch_begin(section);
	__asm__ volatile("" : : : "memory");
}

never_inline static void switches_here(void)
{
	green_yield();
	__asm__ volatile("" : : : "memory");
}

static unsigned lines_of(const char *text, const char *what)
{
	unsigned n = 0;

	for (const char *at = text; (at = strstr(at, what)); at++)
		n++;
	return n;
}

static void *says_so(void *arg)
{
	struct green_noswitch section;

	capture_begin();
	for (int i = 0; i < 5; i++) {
		begins_here(&section);
		switches_here();
		green_noswitch_end(&section);
	}
	const char *text = capture_end();
	CHECK_EQ(lines_of(text, "libgreen: noswitch: "), 1);
	CHECK_HAS(text, "green thread ");
	CHECK_HAS(text, "(yield) at switches_here+");
	CHECK_HAS(text, "begun at begins_here+");
	CHECK_EQ(violations(), 5);
	return arg;
}

TEST(both_places_are_named_once)
{
	run_green_with(&logging, says_so, NULL, NULL);
}

TEST(the_environment_counts)
{
	setenv("GREEN_NOSWITCH", "perhaps", 1);
	CHECK_EQ(green_init(NULL), -EINVAL);
	CHECK_HAS(green_error(), "GREEN_NOSWITCH=perhaps");
	setenv("GREEN_NOSWITCH", "off", 1);
	run_green_with(&counting, off, NULL, NULL);
}

static void *dies(void *arg)
{
	struct green_noswitch section;

	begins_here(&section);
	switches_here();
	return arg;
}

TEST(abort_ends_the_process_and_says_why)
{
	static const struct green_options options = { .noswitch = GREEN_NOSWITCH_ABORT };

	capture_begin();
	int status = run_to_death(&options, dies);
	const char *text = capture_end();
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
	CHECK_HAS(text, "at switches_here+");
	CHECK_HAS(text, "begun at begins_here+");
}
