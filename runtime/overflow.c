/* SPDX-License-Identifier: MIT
 *
 * What is known when a green thread has run out of its stack.
 */
#include "overflow.h"
#include "arch/regs.h"
#include "fatal.h"
#include "flight.h"
#include "frames.h"
#include "symbol.h"
#include "worker.h"

#include <sys/auxv.h>

#ifndef AT_MINSIGSTKSZ
#define AT_MINSIGSTKSZ 51
#endif

/* How far above the lowest usable byte the stack pointer can be when the next
 * frame overflows: red zone, one call, and some. */
#define OVERFLOW_NEAR ((uintptr_t)512)
/* How far below it a frame may reach that touched nothing on its way. */
#define OVERFLOW_FAR ((uintptr_t)64 << 20)
#define OVERFLOW_LINES 16 /* of the backtrace */
#define OVERFLOW_FRAMES_MAX 100000

struct overflow {
	struct gt *gt;
	struct worker *w;
	struct regs regs;
	uintptr_t bottom, top, address;
};

static enum overflow_kind classify(const struct overflow *o, const siginfo_t *info)
{
	uintptr_t sp = o->regs.sp, guard = o->bottom - stacks_guard_size();

	/* No place for the frame of a signal handler: the kernel names no address. */
	if (info->si_code == SI_KERNEL)
		return sp >= guard && sp < o->bottom + getauxval(AT_MINSIGSTKSZ) + OVERFLOW_NEAR
		               ? OVERFLOW_SIGNAL
		               : OVERFLOW_NONE;
	if (o->address >= guard && o->address < o->bottom && sp < o->bottom + OVERFLOW_NEAR &&
	    sp >= o->bottom - OVERFLOW_FAR)
		return sp >= guard ? OVERFLOW_FRAME : OVERFLOW_BIG_FRAME;
	/* A big frame that jumped over the guard and was touched below it. */
	if (sp < guard && sp >= o->bottom - OVERFLOW_FAR && o->address >= sp - OVERFLOW_NEAR &&
	    o->address < o->bottom)
		return OVERFLOW_BIG_FRAME;
	return OVERFLOW_NONE;
}

static void report_stack(struct report *r, const struct overflow *o)
{
	report_str(r, "  stack: ");
	report_kib(r, stack_class_size(stack_class_of(o->gt->stack)));
	report_str(r, ", of which ");
	report_kib(r, o->top - o->bottom);
	report_str(r, " usable; the stack pointer is ");
	report_kib(r, o->top - o->regs.sp);
	report_str(r, " deep");
	if (o->address) {
		report_str(r, ", touched ");
		report_hex(r, (const void *)o->address);
	}
	report_str(r, "\n");
}

static void report_who(struct report *r, struct symbols *s, const struct overflow *o,
                       enum overflow_kind kind)
{
	report_str(r, "libgreen: stack overflow: ");
	fatal_report_thread(r, s, o->gt);
	report_str(r, " on worker ");
	report_number(r, o->w->id);
	report_str(r, kind == OVERFLOW_SIGNAL ? " had no room left for a signal handler's frame\n"
	              : kind == OVERFLOW_BIG_FRAME ? " entered a frame larger than what was left\n"
	                                           : " ran out of its stack\n");
	report_stack(r, o);
	report_str(r, "  ");
	fatal_report_origin(r, s, o->gt);
	report_str(r, "\n  running ");
	symbol_report(s, r, (const void *)o->regs.pc, false);
	report_str(r, "\n");
}

static void report_frame(struct report *r, struct symbols *s, uintptr_t pc, unsigned times)
{
	report_str(r, "  called by ");
	symbol_report(s, r, (const void *)pc, true);
	if (times > 1) {
		report_str(r, ", ");
		report_number(r, times);
		report_str(r, " times");
	}
	report_str(r, "\n");
}

/* By frame pointers; a call that repeats itself takes one line. */
static void report_callers(struct report *r, struct symbols *s, const struct overflow *o)
{
	struct bounds bounds = { o->bottom, o->top };
	uintptr_t fp = o->regs.fp, last = frames_up(&bounds, &fp);
	unsigned times = 1, lines = 0;

	for (unsigned n = 0; last && n < OVERFLOW_FRAMES_MAX; n++) {
		uintptr_t pc = frames_up(&bounds, &fp);
		if (pc == last) {
			times++;
			continue;
		}
		report_frame(r, s, last, times);
		if (++lines == OVERFLOW_LINES)
			break;
		last = pc;
		times = 1;
	}
}

static void report_remedy(struct report *r, const struct overflow *o)
{
	size_t size = stack_class_size(stack_class_of(o->gt->stack));

	report_str(r, "  remedy: ");
	if (size < STACK_SIZE_MAX) {
		report_str(r, "spawn it with a larger stack_size (");
		report_kib(r, size);
		report_str(r, " now, at most ");
		report_kib(r, STACK_SIZE_MAX);
		report_str(r, "), or set GREEN_STACK_SIZE for all\n");
	} else {
		report_str(r,
		           "it has the largest stack there is: bound the recursion, or move large "
		           "variables to the heap\n");
	}
}

enum overflow_kind overflow_report(const siginfo_t *info, const void *context)
{
	struct worker *w = worker_self();
	struct gt *gt = gt_self();
	struct symbols symbols;
	struct report r;

	if (!w || !gt || gt->stack == STACK_NONE)
		return OVERFLOW_NONE;
	struct overflow o = {
		.gt = gt,
		.w = w,
		.regs = regs_of(context),
		.bottom = (uintptr_t)stack_bottom(gt->stack),
		.top = (uintptr_t)stack_top(gt->stack),
		.address = (uintptr_t)info->si_addr,
	};
	enum overflow_kind kind = classify(&o, info);
	if (kind == OVERFLOW_NONE)
		return kind;
	report_begin(&r, 2);
	symbols_begin(&symbols);
	report_who(&r, &symbols, &o, kind);
	report_callers(&r, &symbols, &o);
	report_remedy(&r, &o);
	flight_report(&r, &symbols, w);
	symbols_end(&symbols);
	report_end(&r);
	return kind;
}
