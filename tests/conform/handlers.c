/* SPDX-License-Identifier: MIT
 *
 * Handlers: their stacks, jumping out of them, faults, timers.
 */
#include "conform.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

static int handled;
static char *handler_frame;
static void *fault_address;
static sigjmp_buf jump;

static void notes_frame(int number)
{
	char here;

	(void)number;
	__atomic_store_n(&handler_frame, &here, __ATOMIC_SEQ_CST);
	add_one(&handled);
}

static bool within(const char *p, const char *low, size_t size)
{
	return p >= low && p < low + size;
}

/* A handler runs on the alternate stack of the thread that it was made for. */
static void *has_alternate_stack(void *argument)
{
	const size_t size = 64 * 1024;
	stack_t s = { .ss_size = size }, found, none = { .ss_flags = SS_DISABLE };
	bool good;

	(void)argument;
	s.ss_sp = malloc(size);
	if (sigaltstack(&s, NULL) || sigaltstack(NULL, &found) || found.ss_sp != s.ss_sp)
		return NULL;
	raise(SIGUSR1);
	good = within(handler_frame, s.ss_sp, size);
	sleep_ms(5);
	raise(SIGUSR1);
	good = good && within(handler_frame, s.ss_sp, size);
	good = good && sigaltstack(&none, NULL) == 0;
	free(s.ss_sp);
	return good ? (void *)1L : NULL;
}

CHECK(handler_on_alternate_stack)
{
	struct sigaction action = { .sa_handler = notes_frame, .sa_flags = SA_ONSTACK }, old;

	EXPECT(sigaction(SIGUSR1, &action, &old) == 0);
	EXPECT(in_thread(has_alternate_stack, NULL));
	EXPECT(has_alternate_stack(NULL));
	EXPECT(sigaction(SIGUSR1, &old, NULL) == 0);
	return true;
}

static void *handler_is_near(void *argument)
{
	char here;
	intptr_t distance;

	(void)argument;
	raise(SIGUSR1);
	distance = &here - handler_frame;
	return distance > 0 && distance < 65536 ? (void *)1L : NULL;
}

CHECK(handler_on_own_stack)
{
	struct sigaction action = { .sa_handler = notes_frame }, old;

	EXPECT(sigaction(SIGUSR1, &action, &old) == 0);
	EXPECT(in_thread(handler_is_near, NULL));
	EXPECT(sigaction(SIGUSR1, &old, NULL) == 0);
	return true;
}

static __thread volatile int own = 3;

static void uses_tls(int number)
{
	(void)number;
	own++;
	errno = EDOM;
}

static void *handler_sees_its_tls(void *argument)
{
	(void)argument;
	own = 10;
	raise(SIGUSR1);
	return (void *)(intptr_t)(own == 11);
}

CHECK(handler_uses_the_threads_tls)
{
	struct sigaction action = { .sa_handler = uses_tls }, old;

	EXPECT(sigaction(SIGUSR1, &action, &old) == 0);
	EXPECT(in_thread(handler_sees_its_tls, NULL));
	EXPECT(own == 3);
	EXPECT(sigaction(SIGUSR1, &old, NULL) == 0);
	return true;
}

static void waits_in_handler(int number)
{
	(void)number;
	sleep_ms(20);
	add_one(&handled);
}

static void *raises(void *argument)
{
	raise(SIGUSR1);
	return argument;
}

CHECK(handler_may_wait)
{
	struct sigaction action = { .sa_handler = waits_in_handler }, old;
	pthread_t t[4];

	handled = 0;
	EXPECT(sigaction(SIGUSR1, &action, &old) == 0);
	for (int i = 0; i < 4; i++)
		t[i] = started(raises, (void *)1L);
	for (int i = 0; i < 4; i++)
		EXPECT(joined(t[i]));
	EXPECT(handled == 4);
	EXPECT(sigaction(SIGUSR1, &old, NULL) == 0);
	return true;
}

/* ---- jumping out ------------------------------------------------------------ */

static void jumps(int number)
{
	siglongjmp(jump, number);
}

static void *jumps_out(void *argument)
{
	volatile int rounds = 0;

	(void)argument;
	for (; rounds < 5; rounds++) {
		sigset_t set;
		if (sigsetjmp(jump, 1) == 0) {
			raise(SIGUSR1);
			return NULL;
		}
		if (pthread_sigmask(SIG_BLOCK, NULL, &set) || sigismember(&set, SIGUSR1))
			return NULL;
		sleep_ms(1);
	}
	return (void *)1L;
}

CHECK(handler_jumps_out)
{
	struct sigaction action = { .sa_handler = jumps }, old;

	EXPECT(sigaction(SIGUSR1, &action, &old) == 0);
	EXPECT(in_thread(jumps_out, NULL));
	EXPECT(jumps_out(NULL));
	EXPECT(sigaction(SIGUSR1, &old, NULL) == 0);
	return true;
}

static void *kills_after(void *argument)
{
	let_block();
	pthread_kill(*(pthread_t *)argument, SIGUSR1);
	return NULL;
}

/* The classic of alarm() and longjmp(): out of a call that waits. */
CHECK(handler_jumps_out_of_a_wait)
{
	struct sigaction action = { .sa_handler = jumps }, old;
	pthread_t self = pthread_self(), t;
	volatile bool jumped = false;

	EXPECT(sigaction(SIGUSR1, &action, &old) == 0);
	t = started(kills_after, &self);
	if (sigsetjmp(jump, 1) == 0)
		sleep_ms(5000);
	else
		jumped = true;
	EXPECT(jumped);
	joined(t);
	sleep_ms(5); /* waiting still works */
	EXPECT(sigaction(SIGUSR1, &old, NULL) == 0);
	return true;
}

static void *jumps_within(void *argument)
{
	jmp_buf buffer;
	volatile intptr_t rounds = 0;

	if (setjmp(buffer) < 3) {
		rounds++;
		sleep_ms(1);
		longjmp(buffer, (int)rounds);
	}
	return rounds == 3 ? argument : NULL;
}

CHECK(longjmp_in_threads)
{
	pthread_t t[4];

	for (int i = 0; i < 4; i++)
		t[i] = started(jumps_within, (void *)1L);
	for (int i = 0; i < 4; i++)
		EXPECT(joined(t[i]));
	return true;
}

/* ---- faults ----------------------------------------------------------------- */

static void notes_fault(int number, siginfo_t *info, void *context)
{
	(void)context;
	fault_address = info->si_addr;
	siglongjmp(jump, number);
}

static void *faults(void *argument)
{
	if (sigsetjmp(jump, 1) == 0) {
		*(volatile char *)argument = 1;
		return NULL;
	}
	return fault_address == argument ? (void *)1L : NULL;
}

CHECK(fault_is_handled)
{
	struct sigaction action = { .sa_sigaction = notes_fault, .sa_flags = SA_SIGINFO }, old;
	char *page = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	EXPECT(page != MAP_FAILED);
	EXPECT(sigaction(SIGSEGV, &action, &old) == 0);
	for (int i = 0; i < 3; i++) {
		EXPECT(in_thread(faults, page + 100));
		EXPECT(faults(page + 200));
	}
	EXPECT(sigaction(SIGSEGV, &old, NULL) == 0);
	EXPECT(munmap(page, 4096) == 0);
	return true;
}

/* As Java's virtual machine does: fresh memory at the low end of the thread's own stack,
 * and a guard there, part of which is taken away and put back. */
static void *guards_itself(void *argument)
{
	const size_t size = 4 * 4096;
	const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;
	pthread_attr_t a;
	char *low;
	size_t stack_size;
	bool good;

	if (pthread_getattr_np(pthread_self(), &a) ||
	    pthread_attr_getstack(&a, (void **)&low, &stack_size) || pthread_attr_destroy(&a))
		return NULL;
	good = mmap(low, size, PROT_READ | PROT_WRITE, flags, -1, 0) == low &&
	       mprotect(low, size, PROT_NONE) == 0 && faults(low + size - 1);
	good = good && mprotect(low + 4096, size - 4096, PROT_READ | PROT_WRITE) == 0 &&
	       !faults(low + size - 1) && faults(low) &&
	       mprotect(low + 4096, size - 4096, PROT_NONE) == 0 && faults(low + size - 1);
	good = good && mmap(low, size, PROT_NONE, flags | MAP_NORESERVE, -1, 0) == low;
	return good && faults(low + size - 1) ? argument : NULL;
}

CHECK(fault_in_own_guard)
{
	struct sigaction action = { .sa_sigaction = notes_fault, .sa_flags = SA_SIGINFO }, old;
	pthread_attr_t a;
	pthread_t t;

	EXPECT(sigaction(SIGSEGV, &action, &old) == 0);
	EXPECT(pthread_attr_init(&a) == 0 && pthread_attr_setguardsize(&a, 0) == 0);
	/* The second one gets the stack of the first. */
	for (int i = 0; i < 2; i++) {
		EXPECT(pthread_create(&t, &a, guards_itself, &old) == 0);
		EXPECT(joined(t) == &old);
	}
	pthread_attr_destroy(&a);
	EXPECT(sigaction(SIGSEGV, &old, NULL) == 0);
	return true;
}

static char *fault_page;

static void repairs(int number, siginfo_t *info, void *context)
{
	(void)number;
	(void)context;
	if ((char *)info->si_addr >= fault_page && (char *)info->si_addr < fault_page + 4096)
		mprotect(fault_page, 4096, PROT_READ | PROT_WRITE);
	else
		_exit(99);
}

static void *faults_and_goes_on(void *argument)
{
	*(volatile char *)argument = 7;
	return (void *)(intptr_t)(*(volatile char *)argument == 7);
}

CHECK(fault_is_repaired)
{
	struct sigaction action = { .sa_sigaction = repairs, .sa_flags = SA_SIGINFO }, old;

	fault_page = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	EXPECT(fault_page != MAP_FAILED);
	EXPECT(sigaction(SIGSEGV, &action, &old) == 0);
	EXPECT(in_thread(faults_and_goes_on, fault_page + 10));
	EXPECT(sigaction(SIGSEGV, &old, NULL) == 0);
	EXPECT(munmap(fault_page, 4096) == 0);
	return true;
}

/* How a child ends in which run() is called; -1 when there is none. */
static int status_of_child(void (*run)(void))
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		run();
		_exit(0);
	}
	return pid > 0 && waitpid(pid, &status, 0) == pid ? status : -1;
}

static __attribute__((noinline)) int recurses(volatile int *depth)
{
	volatile char frame[4096];

	frame[0] = (char)*depth;
	if (*depth < 0)
		return 0;
	*depth += 1;
	return recurses(depth) + frame[0];
}

static void *overflows(void *argument)
{
	volatile int depth = 0;

	(void)argument;
	return (void *)(intptr_t)recurses(&depth);
}

static void overflows_in_thread(void)
{
	in_thread(overflows, NULL);
}

CHECK(overflow_ends_the_process)
{
	int status = status_of_child(overflows_in_thread);

	EXPECT(WIFSIGNALED(status) && (WTERMSIG(status) == SIGSEGV || WTERMSIG(status) == SIGABRT));
	return true;
}

static void *aborts(void *argument)
{
	(void)argument;
	abort();
}

static void aborts_in_thread(void)
{
	in_thread(aborts, NULL);
}

CHECK(abort_ends_the_process)
{
	int status = status_of_child(aborts_in_thread);

	EXPECT(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
	return true;
}

static void is_terminated(void)
{
	pthread_t self = pthread_self(), t = started(kills_after, &self);

	(void)t;
	sleep_ms(5000);
}

CHECK(signal_default_ends_the_process)
{
	int status = status_of_child(is_terminated);

	EXPECT(WIFSIGNALED(status) && WTERMSIG(status) == SIGUSR1);
	return true;
}

/* ---- timers ----------------------------------------------------------------- */

static void counts(int number)
{
	(void)number;
	add_one(&handled);
}

CHECK(alarm_interrupts)
{
	struct sigaction action = { .sa_handler = counts }, old;
	uint64_t before = now_ms();

	handled = 0;
	EXPECT(sigaction(SIGALRM, &action, &old) == 0);
	alarm(1);
	EXPECT(pause() == -1 && errno == EINTR);
	EXPECT(handled == 1 && now_ms() - before >= 900);
	EXPECT(alarm(0) == 0);
	EXPECT(sigaction(SIGALRM, &old, NULL) == 0);
	return true;
}

CHECK(interval_timer)
{
	struct itimerval each = { { 0, 10000 }, { 0, 10000 } }, none = { { 0, 0 }, { 0, 0 } };
	struct sigaction action = { .sa_handler = counts, .sa_flags = SA_RESTART }, old;

	handled = 0;
	EXPECT(sigaction(SIGALRM, &action, &old) == 0);
	EXPECT(setitimer(ITIMER_REAL, &each, NULL) == 0);
	EXPECT(reaches(&handled, 5));
	EXPECT(setitimer(ITIMER_REAL, &none, NULL) == 0);
	EXPECT(sigaction(SIGALRM, &old, NULL) == 0);
	return true;
}

/* What came before the handler was taken away is the handler's. */
CHECK(interval_timers_in_turn)
{
	struct itimerval each = { { 0, 50 }, { 0, 50 } }, none = { { 0, 0 }, { 0, 0 } };
	struct sigaction action = { .sa_handler = counts, .sa_flags = SA_RESTART }, old;

	for (int i = 0; i < 500; i++) {
		handled = 0;
		EXPECT(sigaction(SIGALRM, &action, &old) == 0);
		EXPECT(setitimer(ITIMER_REAL, &each, NULL) == 0);
		EXPECT(reaches(&handled, 2));
		EXPECT(setitimer(ITIMER_REAL, &none, NULL) == 0);
		EXPECT(sigaction(SIGALRM, &old, NULL) == 0);
	}
	return true;
}

static bool timer_fires(struct sigevent *event)
{
	struct itimerspec soon = { { 0, 0 }, { 0, 10000000 } };
	timer_t timer;

	handled = 0;
	EXPECT(timer_create(CLOCK_MONOTONIC, event, &timer) == 0);
	EXPECT(timer_settime(timer, 0, &soon, NULL) == 0);
	EXPECT(reaches(&handled, 1));
	EXPECT(timer_delete(timer) == 0);
	return true;
}

CHECK(timer_by_signal)
{
	struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1 };
	struct sigaction action = { .sa_handler = counts, .sa_flags = SA_RESTART }, old;

	EXPECT(sigaction(SIGUSR1, &action, &old) == 0);
	EXPECT(timer_fires(&event));
	EXPECT(sigaction(SIGUSR1, &old, NULL) == 0);
	return true;
}

static void counts_in_thread(union sigval value)
{
	(void)value;
	add_one(&handled);
}

CHECK(timer_by_thread)
{
	struct sigevent event = { .sigev_notify = SIGEV_THREAD,
		                  .sigev_notify_function = counts_in_thread };

	return timer_fires(&event);
}
