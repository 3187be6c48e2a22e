/* SPDX-License-Identifier: MIT
 *
 * Stacks: overflown ones, alternate ones, those that a program makes itself.
 */
#include "hostile.h"

#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <ucontext.h>
#include <unistd.h>

#define ALTERNATE 65536
#ifndef AT_MINSIGSTKSZ
#define AT_MINSIGSTKSZ 51
#endif
#ifndef SS_AUTODISARM
#define SS_AUTODISARM (int)(1u << 31)
#endif

static __thread sigjmp_buf jump;
static __thread char *alternate;
static __thread int volatile rounds;

static __attribute__((noinline)) int digs(int volatile *depth)
{
	volatile char frame[4096];

	frame[0] = (char)*depth;
	*depth += 1;
	if (*depth < 0)
		return 0;
	return digs(depth) + frame[0];
}

static void *overflows(void *unused)
{
	int volatile depth = 0;

	setrlimit(RLIMIT_CORE, &(struct rlimit){ 0, 0 });
	say("%d", digs(&depth));
	return unused;
}

CASE(overflow_of_a_thread)
{
	in_thread(overflows, NULL);
}

CASE(overflow_of_a_small_thread)
{
	pthread_attr_t a;
	pthread_t t;

	pthread_attr_init(&a);
	pthread_attr_setstacksize(&a, 65536);
	if (pthread_create(&t, &a, overflows, NULL) == 0)
		joined(t);
}

static void hears(int sig)
{
	(void)sig;
}

static struct {
	char *low; /* of its stack */
	size_t left;
} fills;

static void *fills_its_stack(void *argument)
{
	char here;
	volatile char *most = __builtin_alloca((size_t)(&here - fills.low) - fills.left);

	most[0] = here = 1;
	raise(SIGUSR1);
	return argument;
}

/* A call from a stack that has no room for the signal's frame, nor for greenrun's. */
static void raises_with(size_t left)
{
	const size_t page = 4096, size = 4 * page;
	const int flags = MAP_PRIVATE | MAP_ANONYMOUS;
	char *low = mmap(NULL, page + size, PROT_READ | PROT_WRITE, flags, -1, 0);
	pthread_attr_t a;
	pthread_t t;

	setrlimit(RLIMIT_CORE, &(struct rlimit){ 0, 0 });
	signal(SIGUSR1, hears);
	raise(SIGUSR1); /* the linker has done its part, which needs as much */
	mprotect(low, page, PROT_NONE);
	fills.low = low + page;
	fills.left = left;
	pthread_attr_init(&a);
	pthread_attr_setstack(&a, low + page, size);
	if (pthread_create(&t, &a, fills_its_stack, NULL) == 0)
		joined(t);
}

CASE(overflow_in_a_call)
{
	raises_with(getauxval(AT_MINSIGSTKSZ) * 5 / 8);
}

CASE(overflow_at_the_end_of_a_call)
{
	raises_with(getauxval(AT_MINSIGSTKSZ) * 7 / 8);
}

/* ---- their memory --------------------------------------------------------------- */

#define STACK ((size_t)256 << 10)

static char *stack_mapped(void)
{
	char *at = mmap(NULL, STACK, PROT_READ | PROT_WRITE,
	                MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);

	if (at == MAP_FAILED)
		say_result("mmap", -1);
	return at;
}

CASE(a_stack_with_a_hole_is_nobody_elses)
{
	for (int i = 0; i < 3; i++) {
		char *at = stack_mapped();
		say_result("part", munmap(at + (size_t)i * 4096, 4096));
		say_result("all", munmap(at, STACK));
		at = stack_mapped();
		memset(at, 1, STACK);
		say("all of it is there");
		munmap(at, STACK);
	}
}

CASE(closed_memory_keeps_what_is_in_it)
{
	char *at = stack_mapped();

	for (int i = 0; i < 2; i++) {
		at[100] = 42;
		say_result("close", mprotect(at, 8192, PROT_NONE));
		say_result("open", mprotect(at, 8192, PROT_READ | PROT_WRITE));
		say("%d", at[100]);
	}
	munmap(at, STACK);
}

CASE(overflow_of_main)
{
	overflows(NULL);
}

/* Without an alternate stack no handler can run. */
static void reports(int sig)
{
	say("reporting %s", sigabbrev_np(sig));
	_exit(1);
}

CASE(overflow_with_a_handler_on_that_stack)
{
	handle(SIGSEGV, reports, 0);
	in_thread(overflows, NULL);
}

static bool on_alternate(const void *p)
{
	return (const char *)p >= alternate && (const char *)p < alternate + ALTERNATE;
}

static void has_overflown(int sig, siginfo_t *info, void *context)
{
	char *sp = (char *)((ucontext_t *)context)->uc_mcontext.gregs[REG_RSP];
	long distance = (char *)info->si_addr - sp;
	int here;

	if (rounds == 0)
		say("SIG%s, code %d, %s, on the alternate stack: %d", sigabbrev_np(sig),
		    info->si_code,
		    distance > -70000 && distance < 70000 ? "near the stack pointer" : "elsewhere",
		    on_alternate(&here));
	siglongjmp(jump, 1);
}

static void set_alternate(void)
{
	stack_t s = { .ss_size = ALTERNATE };

	s.ss_sp = alternate = malloc(ALTERNATE);
	if (sigaltstack(&s, NULL))
		say_result("sigaltstack", -1);
}

/* As libsigsegv and language runtimes do. */
static void *survives_overflows(void *unused)
{
	int volatile depth;

	set_alternate();
	for (rounds = 0; rounds < 3; rounds++) {
		depth = 0;
		if (sigsetjmp(jump, 1) == 0)
			say("%d", digs(&depth));
		else
			sleep_ms(1);
	}
	say("survived %d", rounds);
	sigaltstack(&(stack_t){ .ss_flags = SS_DISABLE }, NULL);
	free(alternate);
	return unused;
}

static void handle_overflow(void)
{
	struct sigaction action = { .sa_sigaction = has_overflown,
		                    .sa_flags = SA_SIGINFO | SA_ONSTACK };

	sigaction(SIGSEGV, &action, NULL);
}

CASE(overflow_survived)
{
	handle_overflow();
	in_thread(survives_overflows, NULL);
	survives_overflows(NULL);
	in_thread(survives_overflows, NULL);
	say_threads_work();
}

static void *survives_on_a_small_stack(void *size)
{
	pthread_attr_t a;
	pthread_t t;

	pthread_attr_init(&a);
	pthread_attr_setstacksize(&a, (size_t)size);
	if (pthread_create(&t, &a, survives_overflows, NULL) == 0)
		joined(t);
	return NULL;
}

CASE(overflow_survived_on_small_stacks)
{
	handle_overflow();
	survives_on_a_small_stack((void *)65536);
	survives_on_a_small_stack((void *)300000);
	say_threads_work();
}

/* ---- sigaltstack ----------------------------------------------------------------------- */

static void looks_at_its_stack(int sig)
{
	stack_t s;
	int here;

	sigaltstack(NULL, &s);
	say("handler of SIG%s: on the alternate stack %d, flags %d", sigabbrev_np(sig),
	    on_alternate(&here), s.ss_flags);
	s.ss_flags = 0;
	say_result("changed in there", sigaltstack(&s, NULL));
	if (sig == SIGUSR1)
		raise(SIGUSR2);
	sleep_ms(1); /* others run, on this worker too */
	say("and still: %d", on_alternate(&here));
}

static void *uses_alternate(void *unused)
{
	stack_t s;

	set_alternate();
	raise(SIGUSR1);
	sigaltstack(NULL, &s);
	say("outside: flags %d, its own %d", s.ss_flags, s.ss_sp == alternate);
	s.ss_size = 100;
	say_result("too small", sigaltstack(&s, NULL));
	s.ss_flags = 77;
	say_result("bad flags", sigaltstack(&s, NULL));
	sigaltstack(&(stack_t){ .ss_flags = SS_DISABLE }, NULL);
	raise(SIGUSR2);
	free(alternate);
	return unused;
}

CASE(alternate_stacks)
{
	handle(SIGUSR1, looks_at_its_stack, SA_ONSTACK);
	handle(SIGUSR2, looks_at_its_stack, SA_ONSTACK);
	uses_alternate(NULL);
	in_thread(uses_alternate, NULL);
}

static void jumps(int sig)
{
	siglongjmp(jump, sig);
}

static void *jumps_off(void *unused)
{
	stack_t s;

	set_alternate();
	for (rounds = 0; rounds < 100; rounds++) {
		int sig = sigsetjmp(jump, 1);
		if (sig == 0)
			raise(SIGUSR1);
		sigaltstack(NULL, &s);
		if (s.ss_flags)
			say("flags %d", s.ss_flags);
	}
	say("jumped %d", rounds);
	return unused;
}

CASE(alternate_stack_left_by_jumps)
{
	pthread_t t[4];

	handle(SIGUSR1, jumps, SA_ONSTACK);
	jumps_off(NULL);
	for (int i = 0; i < 4; i++)
		t[i] = started(jumps_off, NULL);
	for (int i = 0; i < 4; i++)
		joined(t[i]);
}

static void *disarms(void *unused)
{
	stack_t s = { .ss_size = ALTERNATE, .ss_flags = SS_AUTODISARM };

	s.ss_sp = alternate = malloc(ALTERNATE);
	say_result("sigaltstack", sigaltstack(&s, NULL));
	raise(SIGUSR2);
	sigaltstack(NULL, &s);
	say("armed again: %d", s.ss_sp == alternate);
	return unused;
}

static void moves_on(int sig)
{
	stack_t s;
	int here;

	(void)sig;
	sigaltstack(NULL, &s);
	say("disarmed: %d, on it: %d", s.ss_flags, on_alternate(&here));
}

CASE(alternate_stack_disarmed)
{
	handle(SIGUSR2, moves_on, SA_ONSTACK);
	disarms(NULL);
	in_thread(disarms, NULL);
}

/* ---- stacks of the program's own --------------------------------------------------------- */

struct ring {
	ucontext_t main, part[3];
	int steps;
};

static void takes_part(unsigned high, unsigned low, int which)
{
	struct ring *r = (struct ring *)((uintptr_t)high << 32 | low);

	for (;;) {
		r->steps++;
		if (r->steps % 10 == 0)
			sleep_ms(1); /* a call that waits, on that stack */
		ucontext_t *next = r->steps >= 60 ? &r->main : &r->part[(which + 1) % 3];
		swapcontext(&r->part[which], next);
	}
}

static void *has_coroutines(void *unused)
{
	struct ring r = { .steps = 0 };
	char *stacks = malloc(3 * ALTERNATE);

	for (int i = 0; i < 3; i++) {
		getcontext(&r.part[i]);
		r.part[i].uc_stack.ss_sp = stacks + i * ALTERNATE;
		r.part[i].uc_stack.ss_size = ALTERNATE;
		r.part[i].uc_link = NULL;
		makecontext(&r.part[i], (void (*)(void))takes_part, 3,
		            (unsigned)((uintptr_t)&r >> 32), (unsigned)(uintptr_t)&r, i);
	}
	swapcontext(&r.main, &r.part[0]);
	say("steps %d", r.steps);
	free(stacks);
	return unused;
}

static void signalled(int sig)
{
	(void)sig;
	rounds++;
}

static void *signals_main(void *thread)
{
	for (int i = 0; i < 20; i++) {
		pthread_kill(*(pthread_t *)thread, SIGUSR1);
		sleep_ms(1);
	}
	return NULL;
}

CASE(coroutines_of_its_own)
{
	pthread_t self = pthread_self(), t[5];

	handle(SIGUSR1, signalled, SA_RESTART);
	t[4] = started(signals_main, &self);
	for (int i = 0; i < 4; i++)
		t[i] = started(has_coroutines, NULL);
	has_coroutines(NULL);
	for (int i = 0; i < 5; i++)
		joined(t[i]);
}

/* A first thread whose stack may grow no further than its limit says. */
CASE(limit_of_the_stack_raised)
{
	struct rlimit l;

	getrlimit(RLIMIT_STACK, &l);
	l.rlim_cur = 16 << 20;
	say_result("setrlimit", setrlimit(RLIMIT_STACK, &l));
	for (int volatile i = 0; i < 3; i++) {
		char volatile *low = __builtin_alloca(1 << 20);
		for (int j = (1 << 20) - 1; j >= 0; j -= 1024)
			low[j] = 1;
	}
	sleep_ms(1);
	say_threads_work();
}
