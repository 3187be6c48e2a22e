/* SPDX-License-Identifier: MIT
 *
 * Giving way.  sched_yield(3), a function as others: what they keep is kept, whoever goes on
 * meanwhile, however that one had left, and signals come through.  Sleeps of no time, and
 * threads that never wait in what they call.
 */
#include "conform.h"

#include <errno.h>
#include <fcntl.h>
#include <fenv.h>
#include <sched.h>
#include <signal.h>
#include <threads.h>
#include <unistd.h>

enum { THREADS = 6, ROUNDS = 3000, KEPT = 5, SIGNALS = 120, LIMIT_MS = 20000 };
enum { SLEEPS = 20000, CALLS = 100000 }; /* a second; the other has its turn after few */

static _Thread_local unsigned own;
static const int roundings[] = { FE_TONEAREST, FE_DOWNWARD, FE_UPWARD, FE_TOWARDZERO };

#if defined(__x86_64__)
/* The registers that a function keeps, but the two of frames, hold in[] meanwhile. */
static void yield_with(const uint64_t in[KEPT], uint64_t out[KEPT], int (*yield)(void))
{
	__asm__ volatile("mov %%rsp, %%rax\n"
	                 "sub $128, %%rsp\n" /* the red zone */
	                 "and $-16, %%rsp\n"
	                 "push %%rax\n"
	                 "push %%rax\n"
	                 "push %[out]\n"
	                 "push %[in]\n"
	                 "mov (%[in]), %%rbx\n"
	                 "mov 8(%[in]), %%r12\n"
	                 "mov 16(%[in]), %%r13\n"
	                 "mov 24(%[in]), %%r14\n"
	                 "mov 32(%[in]), %%r15\n"
	                 "call *%[yield]\n"
	                 "pop %%rsi\n"
	                 "pop %%rdi\n"
	                 "pop %%rax\n"
	                 "mov %%rax, %%rsp\n"
	                 "mov %%rbx, (%%rdi)\n"
	                 "mov %%r12, 8(%%rdi)\n"
	                 "mov %%r13, 16(%%rdi)\n"
	                 "mov %%r14, 24(%%rdi)\n"
	                 "mov %%r15, 32(%%rdi)\n"
	                 : [in] "+S"(in), [out] "+D"(out), [yield] "+d"(yield)
	                 :
	                 : "rax", "rbx", "rcx", "r8", "r9", "r10", "r11", "r12", "r13", "r14",
	                   "r15", "memory", "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5",
	                   "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13",
	                   "xmm14", "xmm15");
}
#else
static void yield_with(const uint64_t in[KEPT], uint64_t out[KEPT], int (*yield)(void))
{
	yield();
	for (int i = 0; i < KEPT; i++)
		out[i] = in[i];
}
#endif

static int c11_yield(void)
{
	thrd_yield();
	return 0;
}

/* How others leave, by turns: so each way back meets each way out. */
static void leave_otherwise(unsigned round)
{
	static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
	static const struct timespec moment = { 0, 1000 };

	if (round % 16 == 3) {
		nanosleep(&moment, NULL);
	} else if (round % 4 == 1) {
		pthread_mutex_lock(&mutex);
		sched_yield();
		pthread_mutex_unlock(&mutex);
	}
}

static bool yields_once(unsigned number, unsigned round)
{
	uint64_t in[KEPT], out[KEPT];
	bool same = true;

	for (unsigned i = 0; i < KEPT; i++)
		in[i] = (uint64_t)number << 48 | (uint64_t)round << 8 | i;
	own = errno = (int)(number * ROUNDS + round);
	yield_with(in, out, round % 8 ? sched_yield : c11_yield);
	for (unsigned i = 0; i < KEPT; i++)
		same &= in[i] == out[i];
	return same && own == number * ROUNDS + round && errno == (int)own &&
	       fegetround() == roundings[number % 4];
}

static void *keeps(void *argument)
{
	unsigned number = (unsigned)(uintptr_t)argument;
	bool all = fesetround(roundings[number % 4]) == 0;

	for (unsigned round = 0; all && round < ROUNDS; round++) {
		all = yields_once(number, round);
		leave_otherwise(round + number);
	}
	return all ? argument : NULL;
}

CHECK(yield_keeps_what_functions_keep)
{
	pthread_t t[THREADS];
	bool all = true;

	for (intptr_t i = 0; i < THREADS; i++)
		t[i] = started(keeps, (void *)(i + 1));
	for (int i = 0; i < THREADS; i++)
		all &= joined(t[i]) != NULL;
	EXPECT(all);
	return true;
}

/* ---- signals ---------------------------------------------------------------------- */

static int handled, ended;
static _Thread_local int handled_here;

static void handles(int sig)
{
	(void)sig;
	handled_here++;
	add_one(&handled);
	sched_yield();
}

/* As long as there are signals to come, nothing but yields. */
static void *yields_on(void *argument)
{
	uint64_t in[KEPT] = { 1, 2, 3, 4, 5 }, out[KEPT];
	bool all = true;

	while (all && value_of(&ended) == 0) {
		yield_with(in, out, sched_yield);
		for (unsigned i = 0; i < KEPT; i++)
			all &= in[i] == out[i];
	}
	return all && handled_here ? argument : NULL;
}

CHECK(yield_takes_signals)
{
	struct sigaction old, action = { .sa_handler = handles };
	uint64_t limit = now_ms() + LIMIT_MS;
	pthread_t t[THREADS];
	int sent = 0;
	bool all = true;

	handled = ended = 0;
	EXPECT(sigaction(SIGUSR1, &action, &old) == 0);
	for (intptr_t i = 0; i < THREADS; i++)
		t[i] = started(yields_on, (void *)(i + 1));
	for (; sent < SIGNALS && now_ms() < limit; sent++) {
		all &= pthread_kill(t[sent % THREADS], SIGUSR1) == 0;
		/* One at a time: two of a kind would be one. */
		all &= reaches(&handled, sent + 1);
	}
	add_one(&ended);
	for (int i = 0; i < THREADS; i++)
		all &= joined(t[i]) != NULL;
	EXPECT(sigaction(SIGUSR1, &old, NULL) == 0);
	EXPECT(all && sent == SIGNALS && value_of(&handled) == SIGNALS);
	return true;
}

/* ---- threads that wait for another, and for nothing else ----------------------------- */

static int turn; /* the other has had one */

static void *polls_by_sleeps(void *argument)
{
	static const struct timespec moment = { 0, 0 };

	for (int i = 0; i < SLEEPS; i++) {
		if (value_of(&turn))
			return argument;
		nanosleep(&moment, NULL);
	}
	return NULL;
}

/* The kernel takes longer for each call than the thread does between them. */
static void *polls_by_calls(void *argument)
{
	for (int i = 0; i < CALLS; i++) {
		if (value_of(&turn))
			return argument;
		int fd = open("/proc/self/status", O_RDONLY);
		if (fd < 0 || close(fd) || access("/proc/self/cwd/", F_OK))
			return NULL;
	}
	return NULL;
}

static bool lets_others_run(void *(*polls)(void *))
{
	pthread_t t[THREADS];
	bool all = true;

	turn = 0;
	for (int i = 0; i < THREADS; i++)
		t[i] = started(polls, (void *)1L);
	sleep_ms(1);
	add_one(&turn);
	for (int i = 0; i < THREADS; i++)
		all &= joined(t[i]) != NULL;
	return all;
}

CHECK(sleeps_of_no_time_let_others_run)
{
	EXPECT(lets_others_run(polls_by_sleeps));
	return true;
}

CHECK(calls_let_others_run)
{
	EXPECT(lets_others_run(polls_by_calls));
	return true;
}
