/* SPDX-License-Identifier: MIT
 *
 * What a system call does not change: vector registers, masks, the x87 stack, and the
 * control words of both, while other threads fill them with theirs.
 */
#include "conform.h"

#include <alloca.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>

#if defined(__x86_64__)
#include <immintrin.h>

enum { THREADS = 8, ROUNDS = 300, REGISTERS = 32, WIDTH = 64, MASKS = 8 };

struct state {
	unsigned char vector[REGISTERS][WIDTH];
	uint64_t mask[MASKS];
};

#define ALL_8(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7)
#define LOW_16(X) ALL_8(X) X(8) X(9) X(10) X(11) X(12) X(13) X(14) X(15)
#define HIGH_16(X) \
	X(16)      \
	X(17) X(18) X(19) X(20) X(21) X(22) X(23) X(24) X(25) X(26) X(27) X(28) X(29) X(30) X(31)
#define XMM_LOAD(n) "movups " #n "*64(%[in]), %%xmm" #n "\n"
#define XMM_STORE(n) "movups %%xmm" #n ", " #n "*64(%[out])\n"
#define YMM_LOAD(n) "vmovups " #n "*64(%[in]), %%ymm" #n "\n"
#define YMM_STORE(n) "vmovups %%ymm" #n ", " #n "*64(%[out])\n"
#define ZMM_LOAD(n) "vmovups " #n "*64(%[in]), %%zmm" #n "\n"
#define ZMM_STORE(n) "vmovups %%zmm" #n ", " #n "*64(%[out])\n"
#define MASK_LOAD(n) "kmovq 2048+" #n "*8(%[in]), %%k" #n "\n"
#define MASK_STORE(n) "kmovq %%k" #n ", 2048+" #n "*8(%[out])\n"
#define XMM_NAME(n) , "xmm" #n
#define CLOBBERED "rcx", "r11", "memory" LOW_16(XMM_NAME)
#define YIELD(before, after, ...)                               \
	do {                                                    \
		long result = SYS_sched_yield;                  \
		__asm__ volatile(before "syscall\n" after       \
		                 : "+a"(result)                 \
		                 : [in] "r"(in), [out] "r"(out) \
		                 : CLOBBERED __VA_ARGS__);      \
	} while (0)

static void yield_sse(const struct state *in, struct state *out)
{
	YIELD(LOW_16(XMM_LOAD), LOW_16(XMM_STORE));
}

__attribute__((target("avx2"))) static void yield_avx(const struct state *in, struct state *out)
{
	YIELD(LOW_16(YMM_LOAD), LOW_16(YMM_STORE) "vzeroupper");
}

__attribute__((target("avx512f,avx512bw"))) static void yield_zmm(const struct state *in,
                                                                  struct state *out)
{
	YIELD(LOW_16(ZMM_LOAD) HIGH_16(ZMM_LOAD) ALL_8(MASK_LOAD),
	      LOW_16(ZMM_STORE) HIGH_16(ZMM_STORE) ALL_8(MASK_STORE) "vzeroupper",
	      HIGH_16(XMM_NAME));
}

/* As the string functions of libc leave them: the lower sixteen unused. */
__attribute__((target("avx512f,avx512bw"))) static void yield_high(const struct state *in,
                                                                   struct state *out)
{
	YIELD(HIGH_16(ZMM_LOAD) ALL_8(MASK_LOAD), HIGH_16(ZMM_STORE) ALL_8(MASK_STORE),
	      HIGH_16(XMM_NAME));
}

struct kind {
	void (*yield)(const struct state *in, struct state *out);
	int from, to, width; /* registers, bytes of each */
	bool masks;
};

static bool kept(const struct kind *k, const struct state *in, const struct state *out)
{
	for (int i = k->from; i < k->to; i++)
		if (memcmp(in->vector[i], out->vector[i], (size_t)k->width) != 0)
			return false;
	return !k->masks || memcmp(in->mask, out->mask, sizeof(in->mask)) == 0;
}

/* Wherever in its page the stack pointer is. */
static void yield_at(const struct kind *k, const struct state *in, struct state *out, int round)
{
	char *deeper = alloca(64 + 64 * (size_t)(round & 63));

	__asm__ volatile("" : : "r"(deeper) : "memory");
	k->yield(in, out);
}

/* Round by round other contents, other control bits and flags of SSE. */
static bool keeps(const struct kind *k, unsigned seed)
{
	struct state in, out;

	for (int round = 0; round < ROUNDS; round++) {
		unsigned control = 0x1f80 | (rand_r(&seed) & 0x3f) | (seed >> 8 & 3) << 13;
		for (size_t i = 0; i < sizeof(in); i++)
			((unsigned char *)&in)[i] = (unsigned char)rand_r(&seed);
		memset(&out, 0, sizeof(out));
		_mm_setcsr(control);
		yield_at(k, &in, &out, round);
		unsigned after = _mm_getcsr();
		_mm_setcsr(0x1f80);
		if (after != control || !kept(k, &in, &out))
			return false;
	}
	return true;
}

static void *keeps_kind(void *kind)
{
	return (void *)(uintptr_t)keeps(kind, (unsigned)(uintptr_t)pthread_self());
}

static void *keeps_x87(void *unused)
{
	bool same = true;

	(void)unused;
	for (int round = 0; round < ROUNDS && same; round++) {
		unsigned short control = (unsigned short)(0x27f | (round & 3) << 10), after, before;
		long double in = round + 0.5L, out;
		long result = SYS_sched_yield;
		__asm__ volatile("fnstcw %0" : "=m"(before));
		__asm__ volatile("fldcw %[control]\nfldt %[in]\nsyscall\nfstpt %[out]"
		                 : [out] "=m"(out), "+a"(result)
		                 : [in] "m"(in), [control] "m"(control)
		                 : "rcx", "r11", "memory", "st", "st(1)", "st(2)", "st(3)", "st(4)",
		                   "st(5)", "st(6)", "st(7)");
		__asm__ volatile("fnstcw %0\nfldcw %1" : "=m"(after) : "m"(before));
		same = in == out && after == control;
	}
	return (void *)(uintptr_t)same;
}

static struct kind sse = { yield_sse, 0, 16, 16, false };
static struct kind avx = { yield_avx, 0, 16, 32, false };
static struct kind zmm = { yield_zmm, 0, 32, 64, true };
static struct kind high = { yield_high, 16, 32, 64, true };

/* What libraries leave in use as a rule: none of the upper halves. */
CHECK(vector_registers_kept_in_common_use)
{
	struct kind *kinds[] = { &sse, __builtin_cpu_supports("avx512bw") ? &high : &sse };
	pthread_t t[THREADS];
	bool all = true;

	for (int i = 0; i < THREADS; i++)
		t[i] = started(keeps_kind, kinds[i % 2]);
	for (int i = 0; i < THREADS; i++)
		all &= joined(t[i]) != NULL;
	EXPECT(all);
	return true;
}

CHECK(vector_registers_kept)
{
	bool has_avx = __builtin_cpu_supports("avx2");
	bool has_zmm = __builtin_cpu_supports("avx512bw");
	struct kind *kinds[] = { &sse, has_avx ? &avx : &sse, has_zmm ? &zmm : &sse,
		                 has_zmm ? &high : &sse };
	pthread_t t[THREADS], x87[2];
	bool all = true;

	for (int i = 0; i < THREADS; i++)
		t[i] = started(keeps_kind, kinds[i % 4]);
	for (int i = 0; i < 2; i++)
		x87[i] = started(keeps_x87, NULL);
	for (int i = 0; i < THREADS; i++)
		all &= joined(t[i]) != NULL;
	for (int i = 0; i < 2; i++)
		all &= joined(x87[i]) != NULL;
	EXPECT(all);
	return true;
}
#endif
