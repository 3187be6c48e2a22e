/* SPDX-License-Identifier: MIT
 *
 * The switch itself, between contexts that no scheduler knows: every register
 * the ABI calls preserved, the control words, alignment, vector state.  And
 * preemption: a signal interrupts a computing context, which switches away and
 * notices nothing.
 */
#include "harness.h"

#include "arch/switch.h"

#include <cpuid.h>
#include <fenv.h>
#include <signal.h>
#include <sys/time.h>

#if defined(__x86_64__)

#define STACK_BYTES (256 * 1024)

struct context {
	void *sp;
	char *stack;
	void *area; /* for switch_full() */
};

static void make(struct context *c, void (*entry)(void *), void *arg)
{
	c->stack = aligned_alloc(64, STACK_BYTES);
	c->area = aligned_alloc(64, switch_area_size());
	REQUIRE(c->stack && c->area);
	c->sp = switch_prepare(c->stack + STACK_BYTES, entry, arg);
}

static void destroy(struct context *c)
{
	free(c->stack);
	free(c->area);
}

static struct context main_context, contexts[8];

/* The sanitizers would have to be told of each switch: see sched.c. */
static void skip_under_sanitizers(void)
{
#if defined(GREEN_ASAN) || defined(GREEN_TSAN)
	SKIP("the sanitizers do not know these contexts");
#endif
}

/* ---- first entry ---------------------------------------------------------------- */

static struct {
	uint64_t sp, flags;
	uint32_t mxcsr;
	uint16_t x87;
	void *arg;
} seen;

__attribute__((naked)) static void entry_state(HARNESS_UNUSED void *arg)
{
	__asm__("mov %rsp, seen_sp(%rip)\n\t"
	        "pushfq\n\t"
	        "pop seen_flags(%rip)\n\t"
	        "jmp entry_state_c");
}
uint64_t seen_sp, seen_flags;
void entry_state_c(void *arg);

__attribute__((used)) void entry_state_c(void *arg)
{
	seen.arg = arg;
	__asm__ volatile("stmxcsr %0" : "=m"(seen.mxcsr));
	__asm__ volatile("fnstcw %0" : "=m"(seen.x87));
	switch_stacks(&contexts[0].sp, main_context.sp);
	abort();
}

TEST(state_at_entry)
{
	uint32_t mxcsr;

	skip_under_sanitizers();
	for (size_t colour = 0; colour < 4096; colour += 16) {
		make(&contexts[0], entry_state, (void *)0x1234);
		contexts[0].sp = switch_prepare(contexts[0].stack + STACK_BYTES - colour,
		                                entry_state, (void *)(0x1234 + colour));
		switch_stacks(&main_context.sp, contexts[0].sp);
		/* As after a call: 8 above a multiple of 16. */
		CHECK_EQ(seen_sp % 16, 8);
		CHECK_EQ(seen_flags & 0x400, 0); /* direction: up */
		CHECK_EQ((uintptr_t)seen.arg, 0x1234 + colour);
		__asm__ volatile("stmxcsr %0" : "=m"(mxcsr));
		CHECK_EQ(seen.mxcsr & ~63u, mxcsr & ~63u);
		destroy(&contexts[0]);
	}
}

/* ---- preserved registers and control words ---------------------------------------- */

/* Loads the six registers, switches, and stores what is in them afterwards. */
uint64_t switch_with_registers(uint64_t *values, void **save, void *load);
__asm__(".text\n"
        ".globl switch_with_registers\n"
        ".type switch_with_registers, @function\n"
        "switch_with_registers:\n"
        "	push %rbp; push %rbx; push %r12; push %r13; push %r14; push %r15\n"
        "	push %rdi\n"
        "	mov 0(%rdi), %rbp\n"
        "	mov 8(%rdi), %rbx\n"
        "	mov 16(%rdi), %r12\n"
        "	mov 24(%rdi), %r13\n"
        "	mov 32(%rdi), %r14\n"
        "	mov 40(%rdi), %r15\n"
        "	mov %rsi, %rdi\n"
        "	mov %rdx, %rsi\n"
        "	call switch_stacks\n"
        "	mov (%rsp), %rdi\n"
        "	mov %rbp, 0(%rdi)\n"
        "	mov %rbx, 8(%rdi)\n"
        "	mov %r12, 16(%rdi)\n"
        "	mov %r13, 24(%rdi)\n"
        "	mov %r14, 32(%rdi)\n"
        "	mov %r15, 40(%rdi)\n"
        "	mov %rsp, %rax\n"
        "	pop %rdi\n"
        "	pop %r15; pop %r14; pop %r13; pop %r12; pop %rbx; pop %rbp\n"
        "	ret\n"
        ".size switch_with_registers, . - switch_with_registers\n");

#define RING 4
static unsigned switches_left;
static bool ring_done[RING];

static uint32_t get_mxcsr(void)
{
	uint32_t value;

	__asm__ volatile("stmxcsr %0" : "=m"(value));
	return value;
}

static uint16_t get_x87(void)
{
	uint16_t value;

	__asm__ volatile("fnstcw %0" : "=m"(value));
	return value;
}

/* Random control words with all exceptions masked, so that nothing traps. */
static void set_control(uint32_t random, uint32_t *mxcsr, uint16_t *x87)
{
	*mxcsr = 0x1f80 | (random & 0xe040);                       /* rounding, flush, denormals */
	*x87 = (uint16_t)(0x37f & ~0xf00) | (random >> 8 & 0xf00); /* rounding, precision */
	if ((*x87 & 0x300) == 0x100)
		*x87 |= 0x200; /* the reserved precision */
	__asm__ volatile("ldmxcsr %0" ::"m"(*mxcsr));
	__asm__ volatile("fldcw %0" ::"m"(*x87));
}

static void rotate(void *arg)
{
	uintptr_t me = (uintptr_t)arg;
	struct context *next = me + 1 < RING ? &contexts[me + 1] : &main_context;
	struct rng rng = rng_seed(me);
	uint64_t values[6], expected[6];
	uint32_t mxcsr;
	uint16_t x87;

	while (switches_left) {
		for (int i = 0; i < 6; i++)
			values[i] = expected[i] = rng_next(&rng);
		/* Sometimes the same for all, so that the quick way is taken too. */
		set_control(rng_below(&rng, 2) ? (uint32_t)rng_next(&rng) : 0, &mxcsr, &x87);
		uint64_t sp = switch_with_registers(values, &contexts[me].sp, next->sp);
		for (int i = 0; i < 6; i++)
			CHECK_EQ(values[i], expected[i]);
		CHECK_EQ(get_mxcsr() & ~63u, mxcsr);
		CHECK_EQ(get_x87(), x87);
		CHECK(sp > (uintptr_t)contexts[me].stack &&
		      sp < (uintptr_t)contexts[me].stack + STACK_BYTES);
	}
	ring_done[me] = true;
	switch_stacks(&contexts[me].sp, next->sp);
	abort();
}

TEST(registers_and_control_words)
{
	uint32_t mxcsr = get_mxcsr();
	uint16_t x87 = get_x87();

	skip_under_sanitizers();
	for (uintptr_t i = 0; i < RING; i++)
		make(&contexts[i], rotate, (void *)i);
	switches_left = scaled(1000000) / RING;
	while (switches_left > 1) { /* at 0 they end */
		switches_left--;
		switch_stacks(&main_context.sp, contexts[0].sp);
		if (!CHECK_EQ(get_mxcsr() & ~63u, mxcsr & ~63u) || !CHECK_EQ(get_x87(), x87))
			break;
	}
	switches_left = 0;
	switch_stacks(&main_context.sp, contexts[0].sp);
	for (int i = 0; i < RING; i++) {
		CHECK(ring_done[i]);
		destroy(&contexts[i]);
	}
}

/* A status bit that is set is not a difference of control: it stays as it is. */
TEST(status_bits_do_not_travel_back)
{
	skip_under_sanitizers();
	feclearexcept(FE_ALL_EXCEPT);
	make(&contexts[0], entry_state, NULL);
	volatile double zero = 0, one = 1;
	volatile double infinite = one / zero;
	CHECK(infinite > 1);
	CHECK(fetestexcept(FE_DIVBYZERO));
	switch_stacks(&main_context.sp, contexts[0].sp);
	CHECK(fetestexcept(FE_DIVBYZERO));
	destroy(&contexts[0]);
}

/* ---- vector state ------------------------------------------------------------------------ */

/* Which registers there are: 0 SSE, 1 AVX, 2 AVX-512. */
static int vector_level(void)
{
	__builtin_cpu_init();
	if (__builtin_cpu_supports("avx512f"))
		return 2;
	return __builtin_cpu_supports("avx") ? 1 : 0;
}

typedef uint8_t vectors[32][64];

#define EACH16(X) \
	X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14) X(15)
#define EACH_HIGH(X) \
	X(16)        \
	X(17) X(18) X(19) X(20) X(21) X(22) X(23) X(24) X(25) X(26) X(27) X(28) X(29) X(30) X(31)

__attribute__((noinline)) static void load_vectors(const vectors v, int level)
{
#define LOAD_X(n) __asm__ volatile("movdqu %0, %%xmm" #n ::"m"(v[n]));
#define LOAD_Y(n) __asm__ volatile("vmovdqu %0, %%ymm" #n ::"m"(v[n]));
#define LOAD_Z(n) __asm__ volatile("vmovdqu64 %0, %%zmm" #n ::"m"(v[n]));
	if (level == 2) {
		EACH16(LOAD_Z)
		EACH_HIGH(LOAD_Z)
	} else if (level == 1) {
		EACH16(LOAD_Y)
	} else {
		EACH16(LOAD_X)
	}
}

__attribute__((noinline)) static void store_vectors(vectors v, int level)
{
#define STORE_X(n) __asm__ volatile("movdqu %%xmm" #n ", %0" : "=m"(v[n]));
#define STORE_Y(n) __asm__ volatile("vmovdqu %%ymm" #n ", %0" : "=m"(v[n]));
#define STORE_Z(n) __asm__ volatile("vmovdqu64 %%zmm" #n ", %0" : "=m"(v[n]));
	if (level == 2) {
		EACH16(STORE_Z)
		EACH_HIGH(STORE_Z)
	} else if (level == 1) {
		EACH16(STORE_Y)
	} else {
		EACH16(STORE_X)
	}
}

static void randomise(vectors v, struct rng *rng)
{
	for (size_t i = 0; i < sizeof(vectors); i++)
		((uint8_t *)v)[i] = (uint8_t)rng_next(rng);
}

/* Bytes of a register that count at a level, and how many registers. */
static size_t vector_bytes(int level)
{
	return level == 2 ? 64 : level == 1 ? 32 : 16;
}

static void check_vectors(const vectors got, const vectors expected, int level)
{
	for (int i = 0; i < (level == 2 ? 32 : 16); i++)
		if (memcmp(got[i], expected[i], vector_bytes(level)) != 0)
			FAIL("vector register %d is not what it was", i);
}

/* Load, switch and store follow one another without a call of anything else. */
__attribute__((noinline)) static void switch_between(vectors v, int level, struct context *from,
                                                     struct context *to)
{
	load_vectors(v, level);
	switch_full(&from->sp, to->sp, from->area);
	store_vectors(v, level);
}

static void keep_vectors(void *arg)
{
	struct context *me = arg;
	struct rng rng = rng_seed((uintptr_t)(me - contexts));
	int level = vector_level();
	vectors v, expected;

	for (;;) {
		randomise(v, &rng);
		memcpy(expected, v, sizeof(v));
		switch_between(v, level, me, &main_context);
		check_vectors(v, expected, level);
	}
}

TEST(full_switch_keeps_vectors)
{
	struct rng rng = rng_seed(99);
	int level = vector_level();
	vectors v, expected;

	skip_under_sanitizers();
	CHECK_GE(switch_area_size(), 576);
	CHECK_EQ(switch_area_size() % 64, 0);
	main_context.area = aligned_alloc(64, switch_area_size());
	memset(main_context.area, 0xff, switch_area_size()); /* garbage must not matter */
	for (int i = 0; i < 3; i++) {
		make(&contexts[i], keep_vectors, &contexts[i]);
		memset(contexts[i].area, 0xff, switch_area_size());
	}
	for (unsigned i = 0; i < scaled(20000); i++) {
		randomise(v, &rng);
		memcpy(expected, v, sizeof(v));
		switch_between(v, level, &main_context, &contexts[rng_below(&rng, 3)]);
		check_vectors(v, expected, level);
		if (checks_failed() > 10)
			break;
	}
	for (int i = 0; i < 3; i++)
		destroy(&contexts[i]);
	free(main_context.area);
}

/* ---- preemption ---------------------------------------------------------------------------- */

static volatile sig_atomic_t preemptible;
static volatile unsigned preemptions;

static void on_timer(int sig, siginfo_t *info, void *ucontext)
{
	(void)sig, (void)info;
	if (preemptible)
		switch_interrupt(ucontext);
}

/* On the interrupted stack: clobbers everything, goes elsewhere, comes back. */
static void preempted(void)
{
	static const vectors zero;

	preemptible = 0;
	preemptions++;
	load_vectors(zero, vector_level());
	switch_stacks(&contexts[0].sp, main_context.sp);
	load_vectors(zero, vector_level());
	preemptible = 1;
}

/* Computes with all general registers, flags and the red zone, for `rounds`
 * rounds, from a seed in rdi; the result depends on all of them.  The same
 * computation without interruption gives what it must be. */
uint64_t churn(uint64_t seed, uint64_t rounds);
__asm__(".text\n"
        ".globl churn\n"
        ".type churn, @function\n"
        "churn:\n"
        "	push %rbp; push %rbx; push %r12; push %r13; push %r14; push %r15\n"
        "	mov %rdi, %rax; lea 1(%rdi), %rbx; lea 2(%rdi), %rcx; lea 3(%rdi), %rdx\n"
        "	lea 4(%rdi), %r8; lea 5(%rdi), %r9; lea 6(%rdi), %r10; lea 7(%rdi), %r11\n"
        "	lea 8(%rdi), %r12; lea 9(%rdi), %r13; lea 10(%rdi), %r14; lea 11(%rdi), %r15\n"
        "	lea 12(%rdi), %rbp\n"
        "	movq %rdi, %xmm0; movq %rdi, %xmm15\n"
        "1:	add %rbx, %rax\n" /* each add and adc passes the carry on */
        "	adc %rcx, %rbx\n"
        "	adc %rdx, %rcx\n"
        "	adc %r8, %rdx\n"
        "	adc %r9, %r8\n"
        "	adc %r10, %r9\n"
        "	adc %r11, %r10\n"
        "	mov %rax, -8(%rsp)\n" /* the red zone, both ends */
        "	mov %rbx, -128(%rsp)\n"
        "	adc %r12, %r11\n"
        "	adc %r13, %r12\n"
        "	adc %r14, %r13\n"
        "	adc %r15, %r14\n"
        "	adc %rbp, %r15\n"
        "	adc -8(%rsp), %rbp\n"
        "	adc -128(%rsp), %rax\n"
        "	paddq %xmm15, %xmm0\n"
        "	pxor %xmm0, %xmm15\n"
        "	ror $7, %rax\n"
        "	dec %rsi\n"
        "	jnz 1b\n"
        "	xor %rbx, %rax; xor %rcx, %rax; xor %rdx, %rax; xor %r8, %rax\n"
        "	xor %r9, %rax; xor %r10, %rax; xor %r11, %rax; xor %r12, %rax\n"
        "	xor %r13, %rax; xor %r14, %rax; xor %r15, %rax; xor %rbp, %rax\n"
        "	movq %xmm0, %rbx; xor %rbx, %rax\n"
        "	movq %xmm15, %rbx; xor %rbx, %rax\n"
        "	pop %r15; pop %r14; pop %r13; pop %r12; pop %rbx; pop %rbp\n"
        "	ret\n"
        ".size churn, . - churn\n");

#define CHURN 20000
static volatile unsigned rounds_done;
static bool computing;

static void compute(void *arg)
{
	struct rng rng = rng_seed((uintptr_t)arg);
	uint64_t seeds[16], expected[16];

	preemptible = 0;
	for (int i = 0; i < 16; i++) {
		seeds[i] = rng_next(&rng);
		expected[i] = churn(seeds[i], CHURN);
	}
	while (computing) {
		unsigned i = rounds_done % 16;
		preemptible = 1;
		uint64_t result = churn(seeds[i], CHURN);
		preemptible = 0;
		CHECK_EQ(result, expected[i]);
		rounds_done++;
	}
	switch_stacks(&contexts[0].sp, main_context.sp);
	abort();
}

TEST(preempted_thread_notices_nothing)
{
	struct sigaction action = { .sa_sigaction = on_timer, .sa_flags = SA_SIGINFO | SA_RESTART };
	struct itimerval interval = { { 0, 500 }, { 0, 500 } }, never = { { 0, 0 }, { 0, 0 } };

	skip_under_sanitizers();
	switch_area_size();
	switch_preempted = preempted;
	REQUIRE_EQ(sigaction(SIGALRM, &action, NULL), 0);
	make(&contexts[0], compute, (void *)3);
	computing = true;
	REQUIRE_EQ(setitimer(ITIMER_REAL, &interval, NULL), 0);
	/* Each return from here to there is a preemption. */
	while (preemptions < 500 && !checks_failed())
		switch_stacks(&main_context.sp, contexts[0].sp);
	REQUIRE_EQ(setitimer(ITIMER_REAL, &never, NULL), 0);
	computing = false;
	switch_stacks(&main_context.sp, contexts[0].sp);
	CHECK_GE(preemptions, 500);
	CHECK_GT(rounds_done, 0);
	destroy(&contexts[0]);
}

/* The same in a runtime: green threads that never yield share a worker. */
static _Atomic unsigned computed[4];
static _Atomic bool enough;

static void preempted_green(void)
{
	preemptible = 0;
	preemptions++;
	green_yield();
	preemptible = 1;
}

static void *compute_green(void *arg)
{
	uintptr_t me = (uintptr_t)arg;
	uint64_t expected = churn(me, CHURN);

	while (!atomic_load(&enough)) {
		preemptible = 1;
		uint64_t result = churn(me, CHURN);
		preemptible = 0;
		CHECK_EQ(result, expected);
		atomic_fetch_add(&computed[me], 1);
	}
	return NULL;
}

static void *share_by_force(void *arg)
{
	struct itimerval interval = { { 0, 500 }, { 0, 500 } }, never = { { 0, 0 }, { 0, 0 } };
	green_t threads[4];

	for (uintptr_t i = 0; i < 4; i++)
		threads[i] = start_green(compute_green, (void *)i);
	REQUIRE_EQ(setitimer(ITIMER_REAL, &interval, NULL), 0);
	for (int i = 0; i < 4; i++)
		while (atomic_load(&computed[i]) < 20)
			green_yield();
	atomic_store(&enough, true);
	for (int i = 0; i < 4; i++)
		join_green(threads[i]);
	REQUIRE_EQ(setitimer(ITIMER_REAL, &never, NULL), 0);
	CHECK_GE(preemptions, 20);
	return arg;
}

TEST(preempted_green_threads_share)
{
	struct green_options one = { .workers = 1 };
	struct sigaction action = { .sa_sigaction = on_timer, .sa_flags = SA_SIGINFO | SA_RESTART };

	skip_under_sanitizers();
	switch_preempted = preempted_green;
	REQUIRE_EQ(sigaction(SIGALRM, &action, NULL), 0);
	CHECK_EQ(run_green_with(&one, share_by_force, NULL, NULL), 0);
}

#else

TEST(switch_tests)
{
	SKIP("not written for this CPU yet");
}

#endif
