/* SPDX-License-Identifier: MIT
 *
 * Frames of a stack whose owner may be running.
 */
#include "frames.h"
#include "arch/cpu.h"
#include "arch/sys.h"

#include <stdbool.h>
#include <sys/uio.h>

#define SEARCH_BYTES ((uintptr_t)4096)

static bool is_inside(const struct bounds *b, uintptr_t address)
{
	return address >= b->bottom && address <= b->top - 2 * sizeof(uintptr_t) &&
	       address % sizeof(uintptr_t) == 0;
}

RACY NO_ASAN uintptr_t frames_up(const struct bounds *b, uintptr_t *fp)
{
	const volatile uintptr_t *frame = (const uintptr_t *)*fp;

	if (!*fp || !is_inside(b, *fp))
		return 0;
	uintptr_t above = frame[0], pc = frame[1];
	*fp = above <= *fp ? 0 : above; /* 0: the outermost, or no frame pointer */
	return pc;
}

/* pc, and the callers that a frame pointer leads to. */
static unsigned walk(const struct bounds *b, uintptr_t pc, uintptr_t fp, uintptr_t *pcs,
                     unsigned max)
{
	unsigned n = 0;

	while (pc && n < max) {
		pcs[n++] = pc;
		pc = frames_up(b, &fp);
	}
	return n;
}

/* Read by the kernel, for it may be no address at all. */
static bool is_after_call(uintptr_t address)
{
	unsigned char code[REGS_CALL_BYTES];
	struct iovec to = { code, sizeof(code) };
	struct iovec from = { (void *)(address - sizeof(code)), sizeof(code) };

	if (address < 65536 || address >> 47)
		return false;
	return sys6(SYS_process_vm_readv, sys0(SYS_getpid), &to, 1, &from, 1, 0) ==
	               (long)sizeof(code) &&
	       regs_end_with_call(code);
}

RACY NO_ASAN static uintptr_t word_at(uintptr_t address)
{
	return *(const volatile uintptr_t *)address;
}

unsigned frames_walk(const struct bounds *b, struct regs regs, uintptr_t *pcs, unsigned max)
{
	unsigned n = 0;
	uintptr_t back = is_inside(b, regs.sp) ? word_at(regs.sp) : 0;

	if (!is_after_call(back))
		return walk(b, regs.pc, regs.fp, pcs, max);
	pcs[n++] = regs.pc;
	return n + walk(b, back, regs.fp, pcs + n, max - n);
}

unsigned frames_search(const struct bounds *b, uintptr_t pc, uintptr_t sp, uintptr_t *pcs,
                       unsigned max)
{
	unsigned n = 0;

	pcs[n++] = pc;
	for (uintptr_t at = sp; is_inside(b, at) && at < sp + SEARCH_BYTES && n < max;
	     at += sizeof(uintptr_t)) {
		uintptr_t word = word_at(at), below = at - sizeof(uintptr_t);
		if (word >= b->bottom && word < b->top)
			continue; /* a pointer into the stack */
		if (!is_after_call(word))
			continue;
		uintptr_t fp = at > sp ? word_at(below) : 0;
		if (fp > at && is_inside(b, fp))
			return n + walk(b, word, fp, pcs + n, max - n);
		pcs[n++] = word;
	}
	return n;
}
