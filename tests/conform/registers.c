/* SPDX-License-Identifier: MIT
 *
 * What neither a system call nor a signal's handler changes: all registers but the result,
 * rcx and r11, the carry flag of code in between, and the 128 bytes below the stack pointer;
 * while signals come without an end and other threads do the same with other contents.
 */
#include "conform.h"

#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__x86_64__)

enum { THREADS = 6, SIGNALS = 1000, LIMIT_MS = 1500, RED_ZONE_WORDS = 16, VECTORS = 16 };

/* As the assembly below has it. */
struct state {
	uint64_t rax, rdi, rsi, rdx, r10, r8, r9;
	uint64_t rbx, rbp, r12, r13, r14, r15;
	uint64_t carry;
	uint64_t red_zone[RED_ZONE_WORDS];
	uint64_t vector[VECTORS][2];
};

_Static_assert(offsetof(struct state, carry) == 104, "as the assembly has it");
_Static_assert(offsetof(struct state, red_zone) == 112, "as the assembly has it");
_Static_assert(offsetof(struct state, vector) == 240, "as the assembly has it");

/* Loads all of *in, makes the call or spins, and stores all into *out. */
void registers_call(const struct state *in, struct state *out);
void registers_spin(const struct state *in, struct state *out);

#define EACH_16(X) \
	X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14) X(15)
#define VECTOR_LOAD(n) "movups 240+16*" #n "(%rdi), %xmm" #n "\n"
#define VECTOR_STORE(n) "movups %xmm" #n ", 240+16*" #n "(%rcx)\n"
#define RED_LOAD(n) "mov 112+8*" #n "(%rdi), %rax\n mov %rax, -8-8*" #n "(%rsp)\n"
#define RED_STORE(n) "mov -8-8*" #n "(%rsp), %r11\n mov %r11, 112+8*" #n "(%rcx)\n"
#define PUSH "push %rbx\n push %rbp\n push %r12\n push %r13\n push %r14\n push %r15\n push %rsi\n"
#define POP "pop %rsi\n pop %r15\n pop %r14\n pop %r13\n pop %r12\n pop %rbp\n pop %rbx\n"
#define GENERAL_LOAD                                                     \
	"mov 0(%rdi), %rax\n mov 16(%rdi), %rsi\n mov 24(%rdi), %rdx\n"  \
	"mov 32(%rdi), %r10\n mov 40(%rdi), %r8\n mov 48(%rdi), %r9\n"   \
	"mov 56(%rdi), %rbx\n mov 64(%rdi), %rbp\n mov 72(%rdi), %r12\n" \
	"mov 80(%rdi), %r13\n mov 88(%rdi), %r14\n mov 96(%rdi), %r15\n" \
	"mov 8(%rdi), %rdi\n"
#define GENERAL_STORE                                                    \
	"mov (%rsp), %rcx\n"                                             \
	"mov %rax, 0(%rcx)\n mov %rdi, 8(%rcx)\n mov %rsi, 16(%rcx)\n"   \
	"mov %rdx, 24(%rcx)\n mov %r10, 32(%rcx)\n mov %r8, 40(%rcx)\n"  \
	"mov %r9, 48(%rcx)\n mov %rbx, 56(%rcx)\n mov %rbp, 64(%rcx)\n"  \
	"mov %r12, 72(%rcx)\n mov %r13, 80(%rcx)\n mov %r14, 88(%rcx)\n" \
	"mov %r15, 96(%rcx)\n mov %r11, 104(%rcx)\n"
#define LOAD PUSH EACH_16(VECTOR_LOAD) EACH_16(RED_LOAD) GENERAL_LOAD
#define STORE GENERAL_STORE EACH_16(VECTOR_STORE) EACH_16(RED_STORE) POP "ret\n"

__asm__(".text\n"
        ".globl registers_call\n"
        ".type registers_call, @function\n"
        "registers_call:\n" LOAD "syscall\n xor %r11d, %r11d\n" STORE
        ".size registers_call, . - registers_call\n"
        ".globl registers_spin\n"
        ".type registers_spin, @function\n"
        "registers_spin:\n" LOAD "mov $2000, %ecx\n stc\n"
        "1: dec %ecx\n jnz 1b\n" /* which keeps the carry */
        "sbb %r11, %r11\n" STORE ".size registers_spin, . - registers_spin\n");

static int handled, ended, sockets[2], null_fd;

/* As much as a handler may: all vector registers, and the stack below. */
static void handles(int number)
{
	volatile char below[512];

	(void)number;
	add_one(&handled);
	for (size_t i = 0; i < sizeof(below); i++)
		below[i] = (char)0xa5;
	__asm__ volatile("pcmpeqd %%xmm0, %%xmm0\n"
	                 "movaps %%xmm0, %%xmm1\n movaps %%xmm0, %%xmm7\n"
	                 "movaps %%xmm0, %%xmm8\n movaps %%xmm0, %%xmm15"
	                 :
	                 :
	                 : "xmm0", "xmm1", "xmm7", "xmm8", "xmm15");
}

static void random_state(struct state *s, unsigned *seed)
{
	uint64_t words[sizeof(*s) / sizeof(uint64_t)];

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		words[i] = (uint64_t)rand_r(seed) << 33 ^ (uint64_t)rand_r(seed) << 11 ^
		           (uint64_t)rand_r(seed);
	memcpy(s, words, sizeof(words));
}

static void call_is(struct state *s, long nr, uintptr_t a, uintptr_t b, uintptr_t c)
{
	s->rax = (uint64_t)nr;
	s->rdi = a;
	s->rsi = b;
	s->rdx = c;
}

/* What a thread has for its calls. */
struct means {
	int own[2]; /* a pair of sockets */
	_Alignas(struct pollfd) char buffer[64];
};

/* One that does not wait for long natively, each handled in a way of its own. */
static void random_call(struct state *s, unsigned *seed, struct means *m)
{
	static const struct timespec moment = { 0, 1000 };
	static uint32_t word = 1;
	struct pollfd *poll = (void *)m->buffer;
	uintptr_t buffer = (uintptr_t)m->buffer;

	switch (rand_r(seed) % 10) {
	case 0:
		call_is(s, SYS_getppid, s->rdi, s->rsi, s->rdx);
		break;
	case 1:
		call_is(s, SYS_sched_yield, s->rdi, s->rsi, s->rdx);
		break;
	case 2: /* as a rule without data, of all threads */
		call_is(s, SYS_recvfrom, (uintptr_t)sockets[0], buffer, 1 + rand_r(seed) % 8u);
		s->r10 = MSG_DONTWAIT;
		s->r8 = s->r9 = 0;
		break;
	case 3: /* all that is there, or more than is */
		if (send(m->own[1], m->buffer, 8, 0) != 8)
			abort();
		call_is(s, SYS_read, (uintptr_t)m->own[0], buffer, 8u << rand_r(seed) % 2);
		break;
	case 4:
		call_is(s, SYS_sendto, (uintptr_t)sockets[1], buffer, rand_r(seed) % 3u);
		s->r10 = s->r8 = s->r9 = 0;
		break;
	case 5:
	case 6:
		*poll = (struct pollfd){ .fd = sockets[0], .events = POLLPRI };
		call_is(s, SYS_poll, (uintptr_t)poll, 1, (uintptr_t)rand_r(seed) % 50 == 0);
		break;
	case 7:
		call_is(s, SYS_nanosleep, (uintptr_t)&moment, 0, s->rdx);
		break;
	case 8:
		call_is(s, SYS_write, (uintptr_t)null_fd, buffer, 8);
		break;
	default:
		call_is(s, SYS_futex, (uintptr_t)&word, FUTEX_WAIT_PRIVATE, 0);
		break;
	}
}

/* All but what is a result. */
static bool same(const struct state *in, struct state *out, bool call)
{
	if (call)
		out->rax = in->rax;
	else if (out->carry != ~(uint64_t)0)
		return false;
	out->carry = in->carry;
	return memcmp(in, out, sizeof(*in)) == 0;
}

static void *keeps(void *number)
{
	unsigned seed = 1 + (unsigned)(uintptr_t)number;
	struct state in, out;
	struct means m;
	bool kept = socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, m.own) == 0;

	for (int round = 0; kept && value_of(&ended) == 0; round++) {
		bool call = round % 4 != 3;
		random_state(&in, &seed);
		if (call)
			random_call(&in, &seed, &m);
		(call ? registers_call : registers_spin)(&in, &out);
		kept = same(&in, &out, call);
	}
	close(m.own[0]);
	close(m.own[1]);
	return kept ? number : NULL;
}

CHECK(registers_and_red_zone_kept)
{
	struct sigaction old, action = { .sa_handler = handles, .sa_flags = SA_RESTART };
	pthread_t t[THREADS];
	uint64_t limit = now_ms() + LIMIT_MS;
	bool all = true;

	handled = ended = 0;
	null_fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
	EXPECT(null_fd >= 0 && socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets) == 0);
	EXPECT(sigaction(SIGUSR1, &action, &old) == 0);
	for (intptr_t i = 0; i < THREADS; i++)
		t[i] = started(keeps, (void *)(i + 1));
	for (unsigned i = 0; value_of(&handled) < SIGNALS && now_ms() < limit; i++) {
		pthread_kill(t[i % THREADS], SIGUSR1);
		if (i % 8 == 0)
			sched_yield();
	}
	add_one(&ended);
	for (int i = 0; i < THREADS; i++)
		all &= joined(t[i]) != NULL;
	EXPECT(sigaction(SIGUSR1, &old, NULL) == 0);
	close(null_fd);
	close(sockets[0]);
	close(sockets[1]);
	EXPECT(handled > 0);
	EXPECT(all);
	return true;
}
#endif
