/* SPDX-License-Identifier: MIT
 *
 * A green thread that runs out of its stack and ends alone: who joins it is told, what
 * the runtime owes others is paid, everybody else goes on.
 */
#include "harness.h"

#include "arch/sys.h"
#include "green_sync.h"
#include "hibernate.h"
#include "overflows.h"

#include <fenv.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>

static const struct green_attr ends = { .name = "victim", .overflow = GREEN_OVERFLOW_END };
static struct green_options options_end = { .overflow = GREEN_OVERFLOW_END };

/* ---- who is told ------------------------------------------------------------- */

static void *join_victims(void *unused)
{
	void *result = unused;

	for (unsigned kind = 0; kind < OVERFLOWS; kind++) {
		green_t thread = start_green(overflows[kind].fn, NULL);
		result = &result;
		CHECK_EQ(green_join(thread, &result), -EOVERFLOW);
		CHECK(!result);
		CHECK_EQ(green_join(thread, &result), -ESRCH);
	}
	return (void *)1;
}

TEST(the_joiner_is_told)
{
	skip_without_guards();
	void *result;
	reports_begin();
	CHECK_EQ(run_green_with(&options_end, join_victims, NULL, &result), 0);
	CHECK(result == (void *)1);
	const char *text = reports_end();
	CHECK_EQ(count_of(text, "libgreen: stack overflow: green thread "), OVERFLOWS);
	CHECK_EQ(count_of(text, "it ends, the process goes on"), OVERFLOWS - OVERFLOWS_IN_RUNTIME);
	CHECK_EQ(count_of(text, "it ends when this call returns"), OVERFLOWS_IN_RUNTIME);
	CHECK_EQ(count_of(text, "spawned at "), OVERFLOWS);
}

static void *join_by_attribute(void *unused)
{
	green_t thread;

	CHECK_EQ(green_spawn(&thread, &ends, overflows[0].fn, NULL), 0);
	CHECK_EQ(green_join(thread, NULL), -EOVERFLOW);
	return unused;
}

TEST(an_attribute_will_do)
{
	skip_without_guards();
	reports_begin();
	CHECK_EQ(run_green_with(NULL, join_by_attribute, NULL, NULL), 0);
	CHECK_HAS(reports_end(), "\"victim\"");
}

TEST(the_environment_will_do)
{
	skip_without_guards();
	setenv("GREEN_OVERFLOW", "end", 1);
	reports_begin();
	CHECK_EQ(run_green_with(NULL, join_victims, NULL, NULL), 0);
	reports_end();
}

static void *wait_for_victim(void *arg)
{
	CHECK_EQ(green_join(*(green_t *)arg, NULL), -EOVERFLOW);
	return NULL;
}

static void *sleep_and_dig(void *arg)
{
	green_sleep(GREEN_MS(20));
	return overflows[0].fn(arg);
}

static void *join_before(void *unused)
{
	green_t victim = start_green(sleep_and_dig, NULL);
	green_t joiner = start_green(wait_for_victim, &victim);

	join_green(joiner);
	/* Ended long before it is asked for; and nobody asks. */
	victim = start_green(overflows[0].fn, NULL);
	green_sleep(GREEN_MS(20));
	CHECK_EQ(green_join(victim, NULL), -EOVERFLOW);
	CHECK_EQ(green_go(overflows[0].fn, NULL), 0);
	green_sleep(GREEN_MS(20));
	return unused;
}

TEST(whoever_comes_first)
{
	skip_without_guards();
	reports_begin();
	CHECK_EQ(run_green_with(&options_end, join_before, NULL, NULL), 0);
	CHECK_EQ(count_of(reports_end(), "it ends, the process goes on"), 3);
}

static void *dig_if_odd(void *arg)
{
	if ((uintptr_t)arg % 2)
		return overflows[0].fn(arg);
	return arg;
}

TEST(the_first_thread_ends_the_run)
{
	skip_without_guards();
	void *result = NULL;
	reports_begin();
	CHECK_EQ(run_green_with(&options_end, overflows[0].fn, NULL, &result), -EOVERFLOW);
	reports_end();
	CHECK(!result);
	CHECK_HAS(green_error(), "first green thread");
	/* The next run knows nothing of it. */
	CHECK_EQ(run_green_with(NULL, dig_if_odd, (void *)2, &result), 0);
	CHECK(result == (void *)2);
}

/* ---- the guard ---------------------------------------------------------------- */

static void *look_at_guard(void *size)
{
	char *bottom = stack_bottom(gt_self()->stack);

	CHECK_EQ(stacks_guard_size(), (size_t)size);
	CHECK_EQ((uintptr_t)bottom % 65536, (size_t)size);
	return NULL;
}

TEST(the_guard_is_as_large_as_asked_for)
{
	struct green_options options = { .guard_size = 8192 };

	run_green_with(&options, look_at_guard, (void *)8192, NULL);
	setenv("GREEN_GUARD_SIZE", "20k", 1);
	run_green_with(&options, look_at_guard, (void *)(5 * 4096), NULL);
	setenv("GREEN_GUARD_SIZE", "48K", 1);
	run_green_with(NULL, look_at_guard, (void *)(12 * 4096), NULL);
	unsetenv("GREEN_GUARD_SIZE");
	run_green_with(NULL, look_at_guard, (void *)4096, NULL);
	run_green_with(&options_end, look_at_guard, (void *)(3 * 4096), NULL);
}

/* ---- what is owed to others --------------------------------------------------- */

static void *in_a_pool(void *unused)
{
	green_pool_t *pool = green_pool_new(2);

	for (uintptr_t i = 0; i < 10; i++)
		CHECK_EQ(green_pool_spawn(pool, dig_if_odd, (void *)i), 0);
	CHECK_EQ(green_pool_waitall(pool), 0);
	CHECK_EQ(green_pool_running(pool), 0);
	green_pool_delete(pool);
	return unused;
}

TEST(a_place_in_a_pool_is_given_up)
{
	skip_without_guards();
	reports_begin();
	CHECK_EQ(run_green_with(&options_end, in_a_pool, NULL, NULL), 0);
	CHECK_EQ(count_of(reports_end(), "it ends, the process goes on"), 5);
}

static int next_item(void *arg, void **item)
{
	uintptr_t *n = arg;

	*item = (void *)++*n;
	return *n <= 6;
}

static void *in_an_imap(void *unused)
{
	green_pool_t *pool = green_pool_new(3);
	uintptr_t n = 0;
	green_imap_t *imap = green_pool_imap(pool, dig_if_odd, next_item, &n);

	for (uintptr_t i = 1; i <= 6; i++) {
		void *result = &n;
		CHECK_GE(green_imap_next(imap, &result), 0);
		CHECK(result == (i % 2 ? NULL : (void *)i));
	}
	green_imap_delete(imap);
	green_pool_delete(pool);
	return unused;
}

TEST(the_result_of_an_item_is_null)
{
	skip_without_guards();
	reports_begin();
	CHECK_EQ(run_green_with(&options_end, in_an_imap, NULL, NULL), 0);
	reports_end();
}

static void dig(int fd, void *arg)
{
	(void)fd;
	overflows[0].fn(arg);
}

static struct green_serve *server;
static _Atomic int listener = -1;

static void *serve(void *unused)
{
	struct green_serve_options options = { .handle = &server };
	int fd = green_listen("127.0.0.1:0", 0);

	CHECK_GE(fd, 0);
	atomic_store(&listener, fd);
	CHECK_EQ(green_serve(fd, dig, NULL, &options), 0);
	CHECK_EQ(green_close(fd), 0);
	return unused;
}

static void *connect_some(void *unused)
{
	green_t thread = start_green(serve, NULL);
	char address[64], byte;

	WAIT_FOR(atomic_load(&listener) >= 0 && __atomic_load_n(&server, __ATOMIC_ACQUIRE));
	snprintf(address, sizeof(address), "127.0.0.1:%d", green_port(listener));
	for (int i = 0; i < 5; i++) {
		int fd = green_connect_host(address);
		CHECK_GE(fd, 0);
		CHECK_EQ(green_recv(fd, &byte, 1, 0), 0);
		CHECK_EQ(green_close(fd), 0);
	}
	WAIT_FOR(green_serve_connections(server) == 0);
	CHECK_EQ(green_serve_stop(server, GREEN_S(10)), 0);
	join_green(thread);
	return unused;
}

TEST(the_connection_is_closed)
{
	skip_without_guards();
	reports_begin();
	CHECK_EQ(run_green_with(&options_end, connect_some, NULL, NULL), 0);
	CHECK_EQ(count_of(reports_end(), "it ends, the process goes on"), 5);
}

/* ---- what is left behind ------------------------------------------------------ */

static green_mutex_t held = GREEN_MUTEX_INIT;

static void *dig_with_mutex(void *arg)
{
	struct green_deadline scope;

	green_deadline_begin(&scope, GREEN_S(100));
	CHECK_EQ(green_mutex_lock(&held), 0);
	return overflows[0].fn(arg);
}

static void *leave_mutex(void *unused)
{
	struct green_deadline scope;

	CHECK_EQ(green_join(start_green(dig_with_mutex, NULL), NULL), -EOVERFLOW);
	CHECK_EQ(green_mutex_trylock(&held), -EBUSY);
	green_deadline_begin(&scope, GREEN_MS(20));
	CHECK_EQ(green_mutex_lock(&held), -ETIMEDOUT);
	green_deadline_end(&scope);
	return unused;
}

TEST(a_mutex_stays_held)
{
	skip_without_guards();
	reports_begin();
	CHECK_EQ(run_green_with(&options_end, leave_mutex, NULL, NULL), 0);
	reports_end();
}

#if defined(__x86_64__)
/* Overflows with the direction flag set, two numbers on the register stack, other
 * rounding: what no function may be entered with. */
static void *dig_oddly(void *arg)
{
	char *low = stack_bottom(gt_self()->stack);

	fesetround(FE_UPWARD);
	__asm__ volatile("fld1\n\tfld1\n\tstd\n\tmov %0, %%rsp\n1:\tpush $0\n\tjmp 1b"
	                 :
	                 : "r"(low + 256)
	                 : "memory");
	return arg;
}

static void *look_at_state(void *unused)
{
	unsigned long flags;
	unsigned short environment[14];

	for (int i = 0; i < 20; i++) {
		CHECK_EQ(green_join(start_green(dig_oddly, NULL), NULL), -EOVERFLOW);
		__asm__ volatile("pushf\n\tpop %0" : "=r"(flags));
		CHECK(!(flags & 0x400));
		__asm__ volatile("fnstenv %0" : "=m"(environment));
		__asm__ volatile("fldenv %0" : : "m"(environment));
		CHECK_EQ(environment[4], 0xffff); /* all empty */
		CHECK_EQ(fegetround(), FE_TONEAREST);
	}
	return unused;
}

TEST(the_cpu_is_left_as_a_function_expects_it)
{
	skip_without_guards();
	reports_begin();
	CHECK_EQ(run_green_with(&options_end, look_at_state, NULL, NULL), 0);
	reports_end();
}
#endif

/* ---- what ends the process all the same ----------------------------------------- */

static void on_usr1(int sig)
{
	overflow_sink = overflow_recurse(sig);
}

static void *dig_in_handler(void *arg)
{
	signal(SIGUSR1, on_usr1); /* without SA_ONSTACK */
	syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), SIGUSR1);
	return arg;
}

static void *in_handler(void *unused)
{
	green_join(start_green(dig_in_handler, NULL), NULL);
	return unused;
}

TEST(in_a_signal_handler_it_kills)
{
	skip_without_guards();
#if defined(GREEN_TSAN)
	SKIP("the sanitizer calls handlers when it likes");
#endif
	reports_begin();
	int status = run_to_death(&options_end, in_handler);
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
	CHECK_HAS(reports_end(), "it was in a signal handler");
}

/* ---- what the runtime calls ------------------------------------------------------- */

/* While it changes from one thread to the next: for a stack that starts cold, or comes
 * back, it asks the kernel. */
static _Atomic uintptr_t dig_to; /* an address on the stack; 0: not now */

__attribute__((noinline)) static int reach(uintptr_t address)
{
	volatile char frame[100];

	frame[0] = (char)address;
	return (uintptr_t)frame < address ? 0 : reach(address) + frame[0];
}

static long dig_in_call(long nr, long a, long b, long c, long d, long e, long f)
{
	uintptr_t address = dig_to, here = (uintptr_t)__builtin_frame_address(0);

	/* Others make such calls too, the worker on its own stack among them, and the handler. */
	if ((nr == SYS_madvise || nr == SYS_process_madvise || nr == SYS_ioctl) && address &&
	    here > address && here - address < (2 << 20)) {
		dig_to = 0;
		overflow_sink = reach(address);
	}
	return sys_raw(nr, a, b, c, d, e, f);
}

static _Atomic bool rested;

static void *rest(void *unused)
{
	rested = true;
	return unused;
}

/* From now on so many bytes below this thread's stack are wanted.  The next switch leads from
 * thread to thread: the worker has looked around, as it were. */
static void dig_next(void *below)
{
	dig_to = (uintptr_t)stack_bottom(gt_self()->stack) - (uintptr_t)below;
	atomic_store(&worker_self()->tick, SCHED_TICK);
}

/* Joins a thread on a cold stack; so many bytes below its own are wanted meanwhile. */
static void *joins(void *below)
{
	struct green_attr cold = { .stack_size = 256 << 10 };
	green_t thread = start_with(&cold, rest, NULL);

	dig_next(below);
	green_join(thread, NULL);
	FAIL("it went on");
	return NULL;
}

static green_sem_t sem;

static void *hibernate(void *unused)
{
	return green_sem_wait(&sem) == 0 ? rest(unused) : unused;
}

/* The same with one that hibernates.  The worker's current thread is that one by then. */
static void *rouses(void *below)
{
	struct green_attr soon = { .hibernate_after_ns = 1 };
	green_t thread = start_with(&soon, hibernate, NULL);

	while (stacks_hibernated() == 0)
		green_sleep(GREEN_MS(1));
	dig_next(below);
	green_sem_post(&sem);
	green_join(thread, NULL);
	FAIL("it went on");
	return NULL;
}

static void *join_victim(void *fn)
{
	rested = false;
	CHECK_EQ(green_join(start_green((green_fn)fn, (void *)2000), NULL), -EOVERFLOW);
	while (!rested)
		green_sleep(GREEN_MS(1));
	return NULL;
}

static void complete_switch(green_fn fn)
{
	options_end.workers = 1;
	sys.call = dig_in_call;
	reports_begin();
	CHECK_EQ(run_green_with(&options_end, join_victim, (void *)fn, NULL), 0);
	const char *text = reports_end();
	CHECK_EQ(count_of(text, "libgreen: stack overflow: green thread "), 1);
	CHECK_EQ(count_of(text, "it ends when this call returns"), 1);
}

TEST(a_switch_to_a_new_thread_is_completed)
{
	skip_without_guards();
	complete_switch(joins);
}

static bool may_hibernate(void)
{
	struct green_info info;

	REQUIRE_EQ(green_init(&options_end), 0);
	REQUIRE_EQ(green_info(&info), 0);
	REQUIRE_EQ(green_fini(), 0);
	return strstr(info.features, "+uffd_wp") != NULL;
}

TEST(a_switch_to_a_stack_that_comes_back_is_completed)
{
	skip_without_guards();
	if (!may_hibernate())
		SKIP("stacks do not hibernate here");
	complete_switch(rouses);
}

static void *joins_for_ever(void *unused)
{
	return unused ? unused : joins((void *)(1 << 20));
}

static void *rouses_for_ever(void *unused)
{
	return unused ? unused : rouses((void *)(1 << 20));
}

static void die_in_switch(green_fn fn)
{
	struct green_options options_abort = { .workers = 1 };

	options_end.workers = 1;
	sys.call = dig_in_call;
	for (int i = 0; i < 2; i++) {
		reports_begin();
		int status = run_to_death(i ? &options_end : &options_abort, fn);
		const char *text = reports_end();
		CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
		CHECK_EQ(count_of(text, " on worker 0 ran out of its stack"), 1 + i);
		CHECK_EQ(count_of(text, "found no more room in the guard"), i);
	}
}

TEST(in_the_middle_of_a_switch_it_is_said)
{
	skip_without_guards();
	die_in_switch(joins_for_ever);
	if (may_hibernate())
		die_in_switch(rouses_for_ever);
}

/* ---- when it has ended ----------------------------------------------------------- */

/* As a signal handler that interrupts a thread's last steps. */
static void *digs_when_ended(void *unused)
{
	gt_self()->stack = STACK_NONE;
	return overflow_by_recursion(unused);
}

TEST(on_a_stack_that_is_nobodys_it_is_said)
{
	struct green_options options_abort = { .workers = 1 };

	skip_without_guards();
	options_end.workers = 1;
	for (int i = 0; i < 2; i++) {
		reports_begin();
		int status = run_to_death(i ? &options_end : &options_abort, digs_when_ended);
		const char *text = reports_end();
		CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
		CHECK_HAS(text, "a green thread that had ended on worker 0 ran out of its stack");
		CHECK_HAS(text, "SA_ONSTACK");
	}
}
