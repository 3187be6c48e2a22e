/* SPDX-License-Identifier: MIT
 *
 * Faults in green threads: an overflow is reported by name and kills by
 * SIGSEGV, any other fault goes where it would have gone without the runtime.
 */
#include "harness.h"
#include "stack.h"
#include "worker.h"

#include <alloca.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>

#if defined(GREEN_ASAN) || defined(GREEN_TSAN)
#define SANITIZED 1 /* it has a handler of its own, and it exits */
#else
#define SANITIZED 0
#endif

/* ---- a process that dies ----------------------------------------------------- */

struct death {
	int status;
	char text[16384]; /* its standard error */
};

static void child(void (*fn)(void), int out)
{
	struct rlimit no_core = { 0, 0 };

	setrlimit(RLIMIT_CORE, &no_core);
	dup2(out, 2);
	if (!SANITIZED) { /* cmocka's */
		signal(SIGSEGV, SIG_DFL);
		signal(SIGBUS, SIG_DFL);
	}
	signal(SIGABRT, SIG_DFL);
	fn();
	_exit(99);
}

/* Runs fn in a process of its own until that ends. */
static struct death *die(void (*fn)(void))
{
	static struct death death;
	size_t have = 0;
	ssize_t n;
	int ends[2];

	REQUIRE_EQ(pipe(ends), 0);
	fflush(NULL);
	pid_t pid = fork();
	if (pid == 0)
		child(fn, ends[1]);
	close(ends[1]);
	while ((n = read(ends[0], death.text + have, sizeof(death.text) - 1 - have)) > 0)
		have += (size_t)n;
	death.text[have] = 0;
	close(ends[0]);
	REQUIRE_EQ(waitpid(pid, &death.status, 0), pid);
	return &death;
}

static void check_killed_by(const struct death *d, int sig)
{
	if (SANITIZED && sig == SIGSEGV && !strstr(d->text, "libgreen")) {
		CHECK(WIFSIGNALED(d->status) || WEXITSTATUS(d->status) % 99 != 0);
		return;
	}
	if (!CHECK(WIFSIGNALED(d->status)) || !CHECK_EQ(WTERMSIG(d->status), sig))
		fprintf(stderr, "status %x, it said: %s\n", d->status, d->text);
}

static void check_no_report(const struct death *d)
{
	CHECK(!strstr(d->text, "libgreen: stack overflow"));
}

/* A green thread of that name and size runs fn, beside the first one. */
static green_fn victim;
static struct green_attr victim_attr;

static void *run_victim(void *unused)
{
	green_t thread;

	(void)unused;
	REQUIRE_EQ(green_spawn(&thread, &victim_attr, victim, NULL), 0);
	return join_green(thread);
}

static void run_victim_alone(void)
{
	run_green(run_victim, NULL);
}

static struct death *die_in(green_fn fn, const char *name, size_t stack_size)
{
	skip_without_guards();
	victim = fn;
	victim_attr = (struct green_attr){ .name = name, .stack_size = stack_size };
	return die(run_victim_alone);
}

/* ---- overflows --------------------------------------------------------------- */

static volatile int sink;

/* Keeps the compiler from making memory smaller than it is said to be. */
static void escape(void *memory)
{
	__asm__ volatile("" : : "r"(memory) : "memory");
}

__attribute__((noinline)) static int recurse(int depth)
{
	volatile char frame[200];

	frame[0] = (char)depth;
	if (depth < 0)
		return 0;
	return recurse(depth + 1) + frame[0];
}

static void *deep(void *arg)
{
	sink = recurse(0);
	return arg;
}

static void *large(void *arg)
{
	char *room = alloca((size_t)1 << 20);

	escape(room);
	memset(room, 1, (size_t)1 << 20);
	escape(room);
	return arg;
}

__attribute__((noinline)) static int big_frame(void)
{
	char frame[300000];

	frame[0] = 1;
	escape(frame);
	return frame[0];
}

static void *wide(void *arg)
{
	sink = big_frame();
	return arg;
}

static void check_report(const struct death *d, const char *name, const char *size)
{
	check_killed_by(d, SIGSEGV);
	CHECK_HAS(d->text, "libgreen: stack overflow: green thread ");
	CHECK_HAS(d->text, name);
	CHECK_HAS(d->text, size);
	CHECK_HAS(d->text, "spawned at run_victim+0x");
	CHECK_HAS(d->text, "remedy: ");
	/* Once. */
	const char *first = strstr(d->text, "libgreen:");
	CHECK(first && !strstr(first + 1, "libgreen:"));
}

TEST(recursion_is_reported_by_name)
{
	struct death *d = die_in(deep, "digger", 0);

	check_report(d, "\"digger\"", "stack: 64 KiB");
	CHECK_HAS(d->text, "GREEN_STACK_SIZE");
	if (SANITIZED && strstr(d->text, "running _ZN6__tsan"))
		return; /* its code keeps no frame pointer to find the callers by */
	CHECK(SANITIZED || strstr(d->text, "running recurse+0x"));
	CHECK_HAS(d->text, "called by recurse+0x");
	CHECK_HAS(d->text, " times");
	CHECK_HAS(d->text, "called by deep+0x");
}

TEST(a_nameless_thread_goes_by_its_function)
{
	check_report(die_in(deep, NULL, 0), "\"deep\"", "stack: 64 KiB");
}

TEST(a_large_alloca_is_reported)
{
	check_report(die_in(large, "alloca", 0), "\"alloca\"", "stack: 64 KiB");
}

TEST(a_large_frame_is_reported)
{
	check_report(die_in(wide, "frame", 0), "\"frame\"", "running big_frame+0x");
}

TEST(larger_stacks_overflow_later)
{
	check_report(die_in(deep, "middle", 100000), "\"middle\"", "stack: 256 KiB");
	struct death *d = die_in(deep, "most", STACK_SIZE_MAX);
	check_report(d, "\"most\"", "stack: 1 MiB");
	CHECK_HAS(d->text, "largest stack");
	/* What kills a small one fits here. */
	d = die_in(wide, "fits", STACK_SIZE_MAX);
	CHECK(WIFEXITED(d->status) && WEXITSTATUS(d->status) == 99);
}

TEST(a_name_cannot_forge_lines)
{
	struct death *d = die_in(deep, "a\nb\033[31m\"c\\", 0);

	check_report(d, "\"a\\x0ab\\x1b[31m\\\"c\\\\\"", "stack: 64 KiB");
	CHECK(!strchr(d->text, '\033'));
}

static void *beside(void *unused)
{
	for (int i = 0; i < 50; i++)
		CHECK_EQ(green_go(victim, NULL), 0);
	green_sleep(GREEN_S(10));
	return unused;
}

static void *sleep_or_dig(void *arg)
{
	static _Atomic int count;

	if (atomic_fetch_add(&count, 1) == 30)
		sink = recurse(0);
	green_sleep(GREEN_S(10));
	return arg;
}

static void run_beside(void)
{
	run_green(beside, NULL);
}

TEST(one_of_many_is_reported)
{
	skip_without_guards();
	victim = sleep_or_dig;
	victim_attr = (struct green_attr){ 0 };
	struct death *d = die(run_beside);
	check_killed_by(d, SIGSEGV);
	CHECK_HAS(d->text, "\"sleep_or_dig\"");
	CHECK_HAS(d->text, "spawned at beside+0x");
}

static char *own_bottom(void)
{
	return stack_bottom(gt_self()->stack);
}

#if defined(__x86_64__)
/* A frame that touches nothing until it is below the guard: what code without
 * stack probes does.  It lands in the guard of the stack below. */
static void *jump(void *arg)
{
	char *sp = own_bottom() - stacks_guard_size() - ((size_t)64 << 10) + 2048;

	__asm__ volatile("mov %%rsp, %%rbx\n\tmov %0, %%rsp\n\tpush $0\n\tmov %%rbx, %%rsp"
	                 :
	                 : "r"(sp)
	                 : "rbx", "memory");
	return arg;
}

TEST(a_frame_that_jumps_the_guard_is_reported)
{
	check_report(die_in(jump, "jumper", 0), "\"jumper\"", "larger than what was left");
}
#endif

static void on_usr1(int sig)
{
	(void)sig;
}

static void *interrupted(void *arg)
{
	char here;
	size_t room = (size_t)(&here - own_bottom()) - 1500;
	char *frame = alloca(room);

	escape(frame);
	signal(SIGUSR1, on_usr1); /* without SA_ONSTACK */
	syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), SIGUSR1);
	return arg;
}

TEST(a_signal_without_room_is_reported)
{
	if (SANITIZED)
		SKIP("the sanitizer's frames need the room");
	check_report(die_in(interrupted, "signalled", 0), "\"signalled\"",
	             "no room left for a signal handler's frame");
}

/* ---- other faults ------------------------------------------------------------ */

static void *null_reader(void *arg)
{
	sink = *(volatile int *)arg;
	return arg;
}

TEST(a_null_pointer_is_not_an_overflow)
{
	struct death *d = die_in(null_reader, "null", 0);

	check_killed_by(d, SIGSEGV);
	check_no_report(d);
}

static void *guard_writer(void *arg)
{
	own_bottom()[-8] = 1;
	return arg;
}

TEST(a_stray_write_is_not_an_overflow)
{
	struct death *d = die_in(guard_writer, "stray", 0);

	check_killed_by(d, SIGSEGV);
	check_no_report(d);
}

#if defined(__x86_64__)
/* On a full stack of the program's own: the kernel sends this instead, and only once. */
static void *no_room(void *arg)
{
	const long size = sysconf(_SC_PAGESIZE);
	char *page = mmap(NULL, 2 * (size_t)size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	long nr = SYS_tgkill;

	REQUIRE_EQ(mprotect(page + size, (size_t)size, PROT_READ | PROT_WRITE), 0);
	signal(SIGUSR1, on_usr1); /* without SA_ONSTACK */
	__asm__ volatile("mov %%rsp, %%rbx\n\tmov %4, %%rsp\n\tsyscall\n\tmov %%rbx, %%rsp"
	                 : "+a"(nr)
	                 : "D"(getpid()), "S"(syscall(SYS_gettid)), "d"(SIGUSR1),
	                   "r"(page + size + 512)
	                 : "rbx", "rcx", "r11", "memory");
	return arg;
}

TEST(a_signal_without_room_elsewhere_kills)
{
	check_killed_by(die_in(no_room, "elsewhere", 0), SIGSEGV);
}
#endif

static void *sender(void *arg)
{
	syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), SIGSEGV);
	return arg;
}

TEST(a_sent_signal_kills_as_before)
{
	struct death *d = die_in(sender, "sent", 0);

	check_killed_by(d, SIGSEGV);
	check_no_report(d);
}

static void *fault_outside(void *arg)
{
	sink = *(volatile int *)arg;
	return arg;
}

static void *with_os_thread(void *unused)
{
	join_os(start_os(fault_outside, NULL));
	return unused;
}

TEST(a_fault_in_an_os_thread_kills_as_before)
{
	struct death *d = die_in(with_os_thread, "starter", 0);

	check_killed_by(d, SIGSEGV);
	check_no_report(d);
}

/* ---- the program's own handlers ---------------------------------------------- */

static sigjmp_buf back;
static void *volatile seen_address;
static volatile int seen_sig, seen_code, blocked_self, blocked_usr2;
static char *closed_page;

static void note_mask(void)
{
	sigset_t now;

	sigprocmask(SIG_BLOCK, NULL, &now);
	blocked_self = sigismember(&now, SIGSEGV);
	blocked_usr2 = sigismember(&now, SIGUSR2);
}

static void on_segv_info(int sig, siginfo_t *info, void *context)
{
	(void)context;
	seen_sig = sig;
	seen_code = info->si_code;
	seen_address = info->si_addr;
	note_mask();
	siglongjmp(back, 1);
}

static void on_segv_plain(int sig)
{
	seen_sig = sig;
	note_mask();
	siglongjmp(back, 1);
}

static void on_segv_repair(int sig, siginfo_t *info, void *context)
{
	(void)sig, (void)context;
	seen_address = info->si_addr;
	mprotect(closed_page, 4096, PROT_READ | PROT_WRITE);
}

static void on_segv_count(int sig)
{
	(void)sig;
	seen_sig++;
}

static void set_action(struct sigaction action)
{
	sigemptyset(&action.sa_mask);
	sigaddset(&action.sa_mask, SIGUSR2);
	CHECK_EQ(sigaction(SIGSEGV, &action, NULL), 0);
}

static void close_page(void)
{
	if (closed_page)
		munmap(closed_page, 4096);
	closed_page = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

/* Faults and comes back by siglongjmp, three times, with switches between. */
static void *stumble(void *info)
{
	for (int i = 0; i < 3; i++) {
		seen_sig = 0;
		seen_address = NULL;
		if (!sigsetjmp(back, 1)) {
			closed_page[i] = 1;
			FAIL("the write went through");
		}
		CHECK_EQ(seen_sig, SIGSEGV);
		CHECK(!info || (seen_address == closed_page + i && seen_code == SEGV_ACCERR));
		CHECK(blocked_self);
		CHECK(blocked_usr2);
		sigset_t now;
		sigprocmask(SIG_BLOCK, NULL, &now);
		CHECK(!sigismember(&now, SIGSEGV) && !sigismember(&now, SIGUSR2));
		CHECK_EQ(green_yield(), 0);
	}
	return NULL;
}

TEST(a_handler_with_siginfo_goes_on_working)
{
	close_page();
	set_action((struct sigaction){ .sa_sigaction = on_segv_info, .sa_flags = SA_SIGINFO });
	run_green(stumble, (void *)1);
}

TEST(a_plain_handler_goes_on_working)
{
	close_page();
	set_action((struct sigaction){ .sa_handler = on_segv_plain });
	run_green(stumble, NULL);
}

static void *write_closed(void *unused)
{
	closed_page[5] = 7;
	CHECK_EQ(closed_page[5], 7);
	CHECK(seen_address == closed_page + 5);
	return unused;
}

TEST(a_handler_may_repair_and_return)
{
	close_page();
	set_action((struct sigaction){ .sa_sigaction = on_segv_repair, .sa_flags = SA_SIGINFO });
	run_green(write_closed, NULL);
}

static void *send_twice(void *unused)
{
	seen_sig = 0;
	sender(NULL);
	sender(NULL);
	return unused;
}

TEST(a_sent_signal_reaches_the_handler)
{
	set_action((struct sigaction){ .sa_handler = on_segv_count });
	run_green(send_twice, NULL);
	CHECK_EQ(seen_sig, 2);
}

TEST(an_ignored_sent_signal_stays_ignored)
{
	signal(SIGSEGV, SIG_IGN);
	run_green(send_twice, NULL);
}

static void once_only(void)
{
	set_action((struct sigaction){ .sa_handler = on_segv_count, .sa_flags = SA_RESETHAND });
	run_green(send_twice, NULL);
}

static void ignored_null(void)
{
	signal(SIGSEGV, SIG_IGN);
	run_green(null_reader, NULL);
}

TEST(a_handler_for_once_is_called_once)
{
	check_killed_by(die(once_only), SIGSEGV);
}

TEST(a_fault_cannot_be_ignored)
{
	check_killed_by(die(ignored_null), SIGSEGV);
}

/* ---- what is put back -------------------------------------------------------- */

static void *look_at_signal_stack(void *unused)
{
	stack_t own;

	CHECK_EQ(sigaltstack(NULL, &own), 0);
	CHECK(!(own.ss_flags & SS_DISABLE));
	CHECK_GE(own.ss_size, 60000);
	return unused;
}

TEST(handlers_and_signal_stacks_are_put_back)
{
	struct sigaction action;
	stack_t before, after;
	static char mine[65536];

	set_action((struct sigaction){ .sa_handler = on_segv_count });
	before = (stack_t){ .ss_sp = mine, .ss_size = sizeof(mine) };
	CHECK_EQ(sigaltstack(&before, NULL), 0);
	for (int i = 0; i < 3; i++) {
		CHECK_EQ(green_init(NULL), 0);
		CHECK_EQ(green_run(look_at_signal_stack, NULL, NULL), 0);
		CHECK_EQ(green_fini(), 0);
		CHECK_EQ(sigaction(SIGSEGV, NULL, &action), 0);
		CHECK(action.sa_handler == on_segv_count);
		CHECK_EQ(sigaltstack(NULL, &after), 0);
		CHECK(after.ss_sp == mine && after.ss_size == sizeof(mine));
	}
}

TEST(a_handler_installed_later_is_left_alone)
{
	struct sigaction action;

	CHECK_EQ(green_init(NULL), 0);
	set_action((struct sigaction){ .sa_handler = on_segv_count });
	CHECK_EQ(green_fini(), 0);
	CHECK_EQ(sigaction(SIGSEGV, NULL, &action), 0);
	CHECK(action.sa_handler == on_segv_count);
}

TEST(a_refused_signal_stack_fails_the_run)
{
	CHECK_EQ(green_init(NULL), 0);
	fault_inject(SYS_sigaltstack, 0, 1, EPERM);
	CHECK_EQ(green_run(look_at_signal_stack, NULL, NULL), -EPERM);
	CHECK_EQ(fault_hits(), 1);
	fault_clear();
	CHECK_EQ(green_run(look_at_signal_stack, NULL, NULL), 0);
	CHECK_EQ(green_fini(), 0);
}
