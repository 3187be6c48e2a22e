/* SPDX-License-Identifier: MIT
 *
 * Syscall User Dispatch: calls of libc's and of inline assembly arrive and do what they
 * did, with masks, signals, processes and the calls of 32-bit code; SIGSYS that is no
 * dispatch goes to the program.
 */
#include "harness.h"

#include "intercept/dispatch.h"

#include <signal.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <ucontext.h>

static void arm(void)
{
	const char *why = "?";
	int r = dispatch_start(&why);

	if (r == -EINVAL || r == -EPERM)
		SKIP("%s", why);
	REQUIRE_EQ(r, 0);
	REQUIRE_EQ(dispatch_arm(), 0);
}

static long call_inline(long nr, long a)
{
	long result;

	__asm__ volatile("syscall" : "=a"(result) : "0"(nr), "D"(a) : "rcx", "r11", "memory");
	return result;
}

static uint64_t count_at_sites(uint32_t nr)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < DISPATCH_SITES; i++)
		if (dispatch_sites()[i].nr == nr && dispatch_sites()[i].pc)
			sum += dispatch_sites()[i].count;
	return sum;
}

TEST(calls_arrive)
{
	pid_t parent = getppid();

	arm();
	uint64_t start = dispatch_count();
	for (unsigned i = 0; i < 10; i++)
		CHECK_EQ(getppid(), parent);
	for (unsigned i = 0; i < 5; i++)
		CHECK_EQ(call_inline(SYS_getppid, 0), parent);
	CHECK_EQ(dispatch_count() - start, 15);
	CHECK_EQ(count_at_sites(SYS_getppid), 15);
	errno = 0;
	CHECK_EQ(close(-1), -1);
	CHECK_EQ(errno, EBADF);
	CHECK_EQ(call_inline(SYS_close, -1), -EBADF);
	dispatch_disarm();
	start = dispatch_count();
	getppid();
	CHECK_EQ(dispatch_count(), start);
}

/* What the test below gives and gets, at the offsets that it uses. */
static struct {
	uint64_t in[6], out[6]; /* 0, 48 */
	double vector[2];       /* 96 */
	double back[2];         /* 112 */
	uint8_t below[128];     /* 128: the red zone */
} state = { .in = { 11, 22, 33, 44, 55, 66 }, .vector = { 1.5, -2.5 } };

/* All registers but the three that a system call destroys are the caller's again, and its
 * red zone is as it was. */
TEST(registers_are_kept)
{
	arm();
	memset(state.below, 0xa5, sizeof(state.below));
	__asm__ volatile("lea	128(%%rbx), %%rsi\n\t"
	                 "lea	-128(%%rsp), %%rdi\n\t"
	                 "mov	$128, %%ecx\n\t"
	                 "rep movsb\n\t"
	                 "movupd 96(%%rbx), %%xmm7\n\t"
	                 "mov	(%%rbx), %%rdi\n\t"
	                 "mov	8(%%rbx), %%rsi\n\t"
	                 "mov	16(%%rbx), %%rdx\n\t"
	                 "mov	24(%%rbx), %%r10\n\t"
	                 "mov	32(%%rbx), %%r8\n\t"
	                 "mov	40(%%rbx), %%r9\n\t"
	                 "mov	%[nr], %%eax\n\t"
	                 "syscall\n\t"
	                 "mov	%%rdi, 48(%%rbx)\n\t"
	                 "mov	%%rsi, 56(%%rbx)\n\t"
	                 "mov	%%rdx, 64(%%rbx)\n\t"
	                 "mov	%%r10, 72(%%rbx)\n\t"
	                 "mov	%%r8, 80(%%rbx)\n\t"
	                 "mov	%%r9, 88(%%rbx)\n\t"
	                 "movupd %%xmm7, 112(%%rbx)\n\t"
	                 "lea	-128(%%rsp), %%rsi\n\t"
	                 "lea	128(%%rbx), %%rdi\n\t"
	                 "mov	$128, %%ecx\n\t"
	                 "rep movsb\n\t"
	                 :
	                 : "b"(&state), [nr] "i"(SYS_getppid)
	                 : "rax", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "xmm7",
	                   "memory");
	for (unsigned i = 0; i < 6; i++)
		CHECK_EQ(state.out[i], state.in[i]);
	CHECK(state.back[0] == state.vector[0] && state.back[1] == state.vector[1]);
	for (unsigned i = 0; i < sizeof(state.below); i++)
		CHECK_EQ(state.below[i], 0xa5);
}

/* ---- signals -------------------------------------------------------------------------- */

static volatile sig_atomic_t signals, others;
static volatile pid_t parent_in_handler;

static void on_signal(int sig)
{
	(void)sig;
	parent_in_handler = getppid();
	signals++;
}

TEST(masks_leave_dispatch_open)
{
	sigset_t all, old;

	arm();
	sigfillset(&all);
	CHECK_EQ(pthread_sigmask(SIG_SETMASK, &all, &old), 0);
	CHECK_GT(getppid(), 0);
	CHECK_EQ(pthread_sigmask(SIG_BLOCK, &all, NULL), 0);
	CHECK_GT(getppid(), 0);
	CHECK_EQ(pthread_sigmask(SIG_SETMASK, NULL, &all), 0);
	CHECK_EQ(sigismember(&all, SIGUSR1), 1);
	CHECK_EQ(sigismember(&all, SIGSYS), 0);
	CHECK_EQ(pthread_sigmask(SIG_SETMASK, &old, NULL), 0);
	CHECK_EQ(sigprocmask(99, &all, NULL), -1);
	CHECK_EQ(errno, EINVAL);
}

/* libc's restorer lies where calls are dispatched: its frame is found all the same. */
TEST(handlers_return)
{
	struct sigaction action = { .sa_handler = on_signal };
	sigset_t mask;

	arm();
	sigemptyset(&action.sa_mask);
	sigaddset(&action.sa_mask, SIGUSR2);
	REQUIRE_EQ(sigaction(SIGUSR1, &action, NULL), 0);
	for (unsigned i = 1; i <= 3; i++) {
		CHECK_EQ(raise(SIGUSR1), 0);
		CHECK_EQ(signals, i);
		CHECK_EQ(parent_in_handler, getppid());
	}
	CHECK_EQ(pthread_sigmask(SIG_SETMASK, NULL, &mask), 0);
	CHECK_EQ(sigismember(&mask, SIGUSR2), 0);
}

/* No signal is blocked while a call is on its way: they come anywhere there, in the middle
 * of what puts the caller's registers back as well, and make calls of their own. */
TEST(calls_interrupted_anywhere)
{
	struct itimerval soon = { { 0, 50 }, { 0, 50 } }, never = { 0 };
	struct sigaction action = { .sa_handler = on_signal, .sa_flags = SA_RESTART };
	pid_t parent = getppid();
	double third = 1.0 / 3;
	unsigned wrong = 0;

	arm();
	REQUIRE_EQ(sigaction(SIGALRM, &action, NULL), 0);
	REQUIRE_EQ(setitimer(ITIMER_REAL, &soon, NULL), 0);
	for (unsigned i = 0; signals < 2000 && i < 5000000; i++) {
		double kept = third;
		long result;

		__asm__ volatile("movsd %[kept], %%xmm15\n\t"
		                 "syscall\n\t"
		                 "movsd %%xmm15, %[kept]"
		                 : "=a"(result), [kept] "+m"(kept)
		                 : "0"(SYS_getppid)
		                 : "rcx", "r11", "xmm15", "memory");
		wrong += result != parent || kept != third;
	}
	REQUIRE_EQ(setitimer(ITIMER_REAL, &never, NULL), 0);
	CHECK_EQ(wrong, 0);
	CHECK_GE(signals, 2000);
	CHECK_EQ(parent_in_handler, parent);
}

static void on_other(int sig, siginfo_t *info, void *context)
{
	(void)context;
	others += sig == SIGSYS && info->si_code != 2;
}

TEST(the_programs_own_sigsys)
{
	arm();
	dispatch_other = on_other;
	CHECK_EQ(kill(getpid(), SIGSYS), 0);
	CHECK_EQ(others, 1);
	CHECK_GT(getppid(), 0);
}

TEST(a_sigsys_that_nobody_wants)
{
	int status;
	pid_t pid;

	arm();
	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		kill(getpid(), SIGSYS);
		_exit(0);
	}
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS);
}

static void on_sigsys(int sig)
{
	others += sig;
}

TEST(stopping_puts_back_what_was_there)
{
	struct sigaction now;

	signal(SIGSYS, on_sigsys);
	arm();
	dispatch_stop();
	CHECK_EQ(sigaction(SIGSYS, NULL, &now), 0);
	CHECK(now.sa_handler == on_sigsys);
	raise(SIGSYS);
	CHECK_EQ(others, SIGSYS);
}

/* ---- processes ------------------------------------------------------------------------ */

TEST(processes)
{
	char *const argv[] = { (char *)(uintptr_t) "true", NULL };
	int status = -1;
	pid_t pid;

	arm();
	pid = fork();
	if (pid == 0) {
		/* Disarmed in a child; a worker there arms itself again. */
		uint64_t start = dispatch_count();
		getppid();
		if (dispatch_count() != start || dispatch_arm() < 0)
			_exit(1);
		getppid();
		_exit(dispatch_count() == start + 1 ? 0 : 2);
	}
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK_EQ(status, 0);
	pid = vfork();
	if (pid == 0) {
		execvp("true", argv);
		_exit(1);
	}
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK_EQ(status, 0);
	CHECK_EQ(posix_spawnp(&pid, "true", NULL, NULL, argv, environ), 0);
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK_EQ(status, 0);
	CHECK_EQ(system("exit 5"), 5 << 8);
	CHECK_GT(getppid(), 0);
}

static void *in_thread(void *arg)
{
	uint64_t start = dispatch_count();

	/* Not armed: a new thread is not, nor need it be, if it is no worker. */
	getppid();
	return (void *)(uintptr_t)(arg && dispatch_count() == start);
}

TEST(other_threads_are_not_armed)
{
	arm();
	/* Nobody else makes calls meanwhile: this one waits in its join. */
	pthread_t thread = start_os(in_thread, &state);
	CHECK_EQ((uintptr_t)join_os(thread), 1);
}

/* ---- other ways into the kernel ------------------------------------------------------- */

TEST(calls_of_32_bit_code)
{
	long result = 20; /* getpid */

	arm();
	uint64_t start = dispatch_count();
	__asm__ volatile("int $0x80" : "+a"(result) : : "memory", "r8", "r9", "r10", "r11");
	if (result == -ENOSYS)
		SKIP("this kernel has no 32-bit calls");
	CHECK_EQ(result, getpid());
	CHECK_GT(dispatch_count(), start);
	/* close(-1), with an argument. */
	result = 6;
	__asm__ volatile("int $0x80"
	                 : "+a"(result)
	                 : "b"(-1L)
	                 : "memory", "r8", "r9", "r10", "r11");
	CHECK_EQ((int)result, -EBADF);
}

TEST(code_made_at_run_time)
{
	static const uint8_t code[] = { 0xb8, SYS_getppid, 0, 0, 0, 0x0f, 0x05, 0xc3 };
	long (*made)(void);
	void *memory = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	REQUIRE(memory != MAP_FAILED);
	memcpy(memory, code, sizeof(code));
	REQUIRE_EQ(mprotect(memory, 4096, PROT_READ | PROT_EXEC), 0);
	memcpy(&made, &memory, sizeof(made));
	arm();
	uint64_t start = dispatch_count();
	CHECK_EQ(made(), getppid());
	CHECK_EQ(dispatch_count() - start, 2);
}
