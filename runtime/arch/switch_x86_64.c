/* SPDX-License-Identifier: MIT
 *
 * The parts of the x86-64 switch that need no assembly: preparing a first
 * frame, redirecting an interrupted one.
 */
#if defined(__x86_64__)
#include "arch/switch.h"
#include "arch/regs.h"

#include <cpuid.h>
#include <string.h>
#include <ucontext.h>

void switch_boot(void);
void switch_landing(void);
void switch_returned(void);

/* Bytes that XSAVE needs for all state the kernel enabled, and a little. */
size_t switch_area_bytes = 4096;
void (*switch_preempted)(void);
void (*switch_returned_to)(void);

#define DIRECTION_FLAG 0x400

struct context { /* as in switch_x86_64.S */
	uint32_t mxcsr;
	uint16_t x87_control;
	uint16_t unused;
	uint64_t r15, r14, r13, r12, rbx, rbp;
	uint64_t rip;
};
_Static_assert(sizeof(struct context) == SWITCH_FRAME_SIZE, "as regs.h says");
_Static_assert(offsetof(struct context, rip) == SWITCH_FRAME_PC, "as regs.h says");

/* DWARF numbers (System V ABI, figure 3.36). */
#define CONTEXT_3 rbx
#define CONTEXT_6 rbp
#define CONTEXT_12 r12
#define CONTEXT_13 r13
#define CONTEXT_14 r14
#define CONTEXT_15 r15
#define AS_REGS_SAYS(number, offset) \
	_Static_assert(offsetof(struct context, CONTEXT_##number) == (offset), "as regs.h says");
SWITCH_FRAME_REGISTERS(AS_REGS_SAYS)

void *switch_prepare(void *top, void (*entry)(void *), void *arg)
{
	/* switch_boot starts with rsp 16-aligned, as before a call; two zero
	 * words above it end any walk that got so far. */
	uint64_t *end = (uint64_t *)top - 2;
	struct context *c = (struct context *)((char *)end - sizeof(*c));

	__asm__ volatile("stmxcsr %0" : "=m"(c->mxcsr));
	__asm__ volatile("fnstcw %0" : "=m"(c->x87_control));
	end[0] = end[1] = 0;
	c->unused = 0;
	c->r15 = c->r14 = c->r13 = c->rbp = 0;
	c->r12 = (uint64_t)arg;
	c->rbx = (uint64_t)entry;
	c->rip = (uint64_t)switch_boot + 1; /* behind the nop */
	return c;
}

/* What XRSTOR takes for "as after FNINIT": no number on the register stack that a
 * long double was on its way through. */
static void reset_fpu(struct _libc_fpstate *fpu)
{
	fpu->cwd = 0x037f;
	fpu->swd = 0;
	fpu->ftw = 0;
	fpu->mxcsr = 0x1f80;
}

void switch_restart(void *ucontext, void *top, void (*entry)(void *), void *arg)
{
	mcontext_t *m = &((ucontext_t *)ucontext)->uc_mcontext;
	uint64_t *end = (uint64_t *)top - 2; /* as in switch_prepare() */

	end[0] = end[1] = 0;
	m->gregs[REG_RSP] = (greg_t)end;
	m->gregs[REG_RBX] = (greg_t)entry;
	m->gregs[REG_R12] = (greg_t)arg;
	m->gregs[REG_RIP] = (greg_t)switch_boot;
	m->gregs[REG_EFL] &= ~(greg_t)DIRECTION_FLAG;
	if (m->fpregs)
		reset_fpu(m->fpregs);
}

#define RETURNED ((uintptr_t)switch_returned + 1) /* behind the nop */

__attribute__((no_sanitize("address"))) bool switch_is_diverted(const uintptr_t *place)
{
	return *place == RETURNED;
}

__attribute__((no_sanitize("address"))) bool switch_divert(uintptr_t *place)
{
	bool first = !switch_is_diverted(place);

	*place = RETURNED;
	return first;
}

size_t switch_area_size(void)
{
	unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;

	if (__get_cpuid_count(0xd, 0, &eax, &ebx, &ecx, &edx) && ebx)
		switch_area_bytes = (ebx + 63u) & ~63u;
	return switch_area_bytes;
}

void switch_interrupt(void *ucontext)
{
	greg_t *r = ((ucontext_t *)ucontext)->uc_mcontext.gregs;

	r[REG_RSP] -= 128 + 8; /* the red zone, and room for the return address */
	memcpy((void *)r[REG_RSP], &r[REG_RIP], 8);
	r[REG_RIP] = (greg_t)switch_landing;
}
#endif
