/* SPDX-License-Identifier: MIT
 *
 * What is known when a green thread has run out of its stack, and what becomes of it.
 */
#include "overflow.h"
#include "arch/regs.h"
#include "arch/switch.h"
#include "fatal.h"
#include "flight.h"
#include "frames.h"
#include "scheduler.h"
#include "symbol.h"
#include "worker.h"

#include <string.h>
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

enum overflow_kind {
	NO_OVERFLOW,
	FRAME,        /* call after call */
	BIG_FRAME,    /* one frame larger than what was left */
	SIGNAL_FRAME, /* that of a signal handler did not fit */
};

enum overflow_end {
	KILLS,
	KILLS_IN_SIGNAL,  /* asked to end alone, and cannot: in a signal handler, */
	KILLS_IN_RUNTIME, /* in the runtime */
	ENDS_ALONE,
	ENDS_LATER, /* when the runtime returns */
	GOES_ON,    /* as the last, and that has been said and seen to */
};

struct overflow {
	struct gt *gt; /* NULL: it has ended, and the worker is about to leave its stack */
	stack_id stack;
	struct worker *w;
	struct regs regs;
	uintptr_t bottom, top, address;
	bool in_switch; /* the worker runs another already */
	enum overflow_kind kind;
	enum overflow_end end;
};

static enum overflow_kind classify(const struct overflow *o, const siginfo_t *info)
{
	uintptr_t sp = o->regs.sp, guard = o->bottom - stacks_guard_size();

	/* No place for the frame of a signal handler: the kernel names no address. */
	if (info->si_code == SI_KERNEL)
		return sp >= guard && sp < o->bottom + getauxval(AT_MINSIGSTKSZ) + OVERFLOW_NEAR
		               ? SIGNAL_FRAME
		               : NO_OVERFLOW;
	if (o->address >= guard && o->address < o->bottom && sp < o->bottom + OVERFLOW_NEAR &&
	    sp >= o->bottom - OVERFLOW_FAR)
		return sp >= guard ? FRAME : BIG_FRAME;
	/* A big frame that jumped over the guard and was touched below it. */
	if (sp < guard && sp >= o->bottom - OVERFLOW_FAR && o->address >= sp - OVERFLOW_NEAR &&
	    o->address < o->bottom)
		return BIG_FRAME;
	return NO_OVERFLOW;
}

/* ---- what becomes of the thread ---------------------------------------------- */

/* The library's code (Makefile). */
extern internal const char __start_green_text[], __stop_green_text[];

static bool in_runtime(uintptr_t pc)
{
	return pc >= (uintptr_t)__start_green_text && pc < (uintptr_t)__stop_green_text;
}

static bool wants_to_end_alone(const struct gt *gt)
{
	const struct gt_ext *ext = atomic_load_explicit(&gt->ext, memory_order_relaxed);
	int overflow = ext && ext->overflow ? ext->overflow : (int)rt.options.overflow;

	return overflow == GREEN_OVERFLOW_END;
}

/* Is one of the frames that of a signal handler?  Who called it left a mark. */
NO_ASAN static bool in_signal_handler(const struct overflow *o)
{
	uintptr_t word = o->regs.sp > o->bottom ? o->regs.sp : o->bottom;

	for (word = (word + 7) & ~(uintptr_t)7; word < o->top; word += 8)
		if (is_signal_frame(word, o->top))
			return true;
	return false;
}

static bool on_stack(const struct overflow *o, uintptr_t place)
{
	return place >= o->bottom - stacks_guard_size() && place + 16 <= o->top && place % 8 == 0;
}

/* The return address by which the runtime goes back to who called it; NULL: not
 * found, or it has not been called.  Its functions have frame pointers; what it has called
 * itself, functions of libc, may have none, but keeps its caller's. */
NO_ASAN static uintptr_t *way_out(const struct overflow *o)
{
	bool inside = in_runtime(o->regs.pc);
	uintptr_t fp = o->regs.fp, *place;

	if (!on_stack(o, fp) || !on_stack(o, o->regs.sp))
		return NULL;
	if (inside) {
		place = return_place(&o->regs, &fp);
	} else {
		place = (uintptr_t *)fp + 1;
		fp = *(uintptr_t *)fp;
	}
	for (unsigned i = 0; i < OVERFLOW_FRAMES_MAX; i++) {
		bool here = in_runtime(*place);
		if (inside && (!here || switch_is_diverted(place)))
			return place;
		inside |= here;
		if (!on_stack(o, fp) || fp < (uintptr_t)place)
			return NULL;
		place = (uintptr_t *)fp + 1;
		fp = *(uintptr_t *)fp;
	}
	return NULL;
}

/* Lets the runtime go on. */
static enum overflow_end end_later(const struct overflow *o, uintptr_t *place)
{
	if (!place || o->kind != FRAME || !stack_guard_open(o->stack, (void *)o->address))
		return KILLS_IN_RUNTIME;
	return switch_divert(place) ? ENDS_LATER : GOES_ON;
}

static void returned(void)
{
	struct gt *gt = gt_self();

	/* What is below may be guard again soon. */
	switch_stacks(&gt->sp, switch_prepare(stack_top(gt->stack), spawn_overflowed, gt));
}

/* Whose stack sp points into; NULL: nobody's, or not a green thread's. */
RACY static struct gt *gt_on_stack(const struct worker *w, const struct regs *regs)
{
	struct gt *current = atomic_load_explicit(&w->current, memory_order_relaxed);
	stack_id stack;

	if (stack_find((const void *)regs->sp, &stack) == STACK_PART_NONE)
		return NULL;
	if (current && current->stack == stack)
		return current;
	if (w->post_gt && w->post_gt->stack == stack)
		return w->post_gt;
	for (uint32_t i = 1; i < gt_high(); i++)
		if (gt_at(i)->stack == stack)
			return gt_at(i);
	return NULL;
}

#if defined(GREEN_TSAN)
/* TSan's own functions hold its locks now and then, and everybody would wait for who ended
 * there: such a one goes on in the guard, until its program's code comes as far. */
static bool goes_on_in_sanitizer(const struct overflow *o)
{
	static const char *const own[] = { "__tsan", "_ZN6__tsan", "__sanitizer",
		                           "_ZN11__sanitizer" };
	struct symbols symbols;
	char name[64];
	bool found = false;

	symbols_begin(&symbols);
	symbol_name(&symbols, (const void *)o->regs.pc, name, sizeof(name));
	symbols_end(&symbols);
	for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++)
		found |= strncmp(name, own[i], strlen(own[i])) == 0;
	return found && o->kind == FRAME && stack_guard_open(o->stack, (void *)o->address);
}
#else
static bool goes_on_in_sanitizer(const struct overflow *o)
{
	(void)o;
	return false;
}
#endif

static enum overflow_end end_of(const struct overflow *o)
{
	if (!o->gt || !wants_to_end_alone(o->gt))
		return KILLS;
	if (goes_on_in_sanitizer(o))
		return GOES_ON;
	if (in_signal_handler(o))
		return KILLS_IN_SIGNAL;
	uintptr_t *place = way_out(o);
	if (place || o->in_switch || in_runtime(o->regs.pc))
		return end_later(o, place);
	return ENDS_ALONE;
}

static const struct {
	green_fn fn, owes;
} debts[] = {
	{ runtime_main, runtime_main_owes },
	{ pool_member, pool_member_owes },
	{ imap_item, imap_item_owes },
	{ serve_handle, serve_handle_owes },
};

void overflow_pay(green_fn fn, void *arg)
{
	for (size_t i = 0; i < sizeof(debts) / sizeof(debts[0]); i++)
		if (debts[i].fn == fn)
			debts[i].owes(arg);
}

/* ---- the report --------------------------------------------------------------- */

static void report_stack(struct report *r, const struct overflow *o)
{
	report_str(r, "  stack: ");
	report_kib(r, stack_class_size(stack_class_of(o->stack)));
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

static void report_who(struct report *r, struct symbols *s, const struct overflow *o)
{
	report_str(r, "libgreen: stack overflow: ");
	if (o->gt)
		fatal_report_thread(r, s, o->gt);
	else
		report_str(r, "a green thread that had ended");
	report_str(r, " on worker ");
	report_number(r, o->w->id);
	report_str(r, o->kind == SIGNAL_FRAME ? " had no room left for a signal handler's frame\n"
	              : o->kind == BIG_FRAME  ? " entered a frame larger than what was left\n"
	                                      : " ran out of its stack\n");
	report_stack(r, o);
	if (o->gt) {
		report_str(r, "  ");
		fatal_report_origin(r, s, o->gt);
		report_str(r, "\n");
	}
	report_str(r, "  running ");
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
	size_t size = stack_class_size(stack_class_of(o->stack));

	report_str(r, "  remedy: ");
	if (!o->gt) {
		report_str(r, "only a signal handler can be so deep there: install it with "
		              "SA_ONSTACK\n");
	} else if (size < STACK_SIZE_MAX) {
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

static void report_end_of_thread(struct report *r, const struct overflow *o)
{
	static const char *const texts[] = {
		[KILLS] = "",
		[KILLS_IN_SIGNAL] = "  it cannot end alone: it was in a signal handler\n",
		[KILLS_IN_RUNTIME] =
			"  it cannot end alone: it was inside the runtime, which found "
			"no more room in the guard\n",
		[ENDS_ALONE] = "  it ends, the process goes on: nothing is unwound, what it held "
			       "stays held\n",
		[ENDS_LATER] = "  it ends when this call returns, the process goes on: nothing is "
			       "unwound, what it held stays held\n",
	};

	report_str(r, texts[o->end]);
}

static void report(const struct overflow *o)
{
	struct symbols symbols;
	struct report r;

	report_begin(&r, 2);
	symbols_begin(&symbols);
	report_who(&r, &symbols, o);
	report_callers(&r, &symbols, o);
	report_end_of_thread(&r, o);
	report_remedy(&r, o);
	if (o->end < ENDS_ALONE)
		flight_report(&r, &symbols, o->w);
	symbols_end(&symbols);
	report_end(&r);
}

void overflow_init(void)
{
	switch_returned_to = returned;
}

static bool find_out_on(struct overflow *o, stack_id stack, struct gt *gt, const siginfo_t *info)
{
	o->gt = gt;
	o->stack = stack;
	o->bottom = (uintptr_t)stack_bottom(stack);
	o->top = (uintptr_t)stack_top(stack);
	o->kind = classify(o, info);
	return o->kind != NO_OVERFLOW;
}

/* Has gt run out of its stack? */
static bool find_out(struct overflow *o, struct gt *gt, const siginfo_t *info)
{
	return gt && stack_is_slot(gt->stack) && find_out_on(o, gt->stack, gt, info);
}

/* Has somebody run out of a stack that is nobody's any more? */
static bool find_out_ended(struct overflow *o, const siginfo_t *info)
{
	stack_id stack;

	return stack_find((const void *)o->regs.sp, &stack) != STACK_PART_NONE &&
	       find_out_on(o, stack, NULL, info);
}

/* In the middle of a switch it is not who the worker says it runs, which is the next one
 * already, be it the runtime's own code or what that calls.  But a frame that is too big
 * may reach into the stack of somebody else, its guard even: where the caller's frame is
 * tells the one from the other. */
RACY static bool find_whose(struct overflow *o, const siginfo_t *info)
{
	struct gt *current = atomic_load_explicit(&o->w->current, memory_order_relaxed);
	struct gt *owner = NULL;
	bool found = find_out(o, current, info);

	/* In its own guard.  Nothing else is asked then: TSan, whose code may have met it,
	 * may hold a lock that its atomic loads want. */
	if (found && o->kind != BIG_FRAME)
		return true;
	owner = gt_on_stack(o->w, &o->regs);
	found = find_out(o, owner, info) &&
	        (in_runtime(o->regs.pc) || (o->kind != BIG_FRAME && on_stack(o, o->regs.fp)));
	if (!found)
		found = find_out(o, current, info) || find_out(o, owner, info) ||
		        (!owner && find_out_ended(o, info));
	o->in_switch = found && o->gt != current;
	return found;
}

enum overflow_verdict overflow_handle(const siginfo_t *info, void *context)
{
	struct overflow o = {
		.w = worker_self(),
		.regs = regs_of(context),
		.address = (uintptr_t)info->si_addr,
	};

	if (!o.w || !find_whose(&o, info))
		return OVERFLOW_NONE;
	o.end = end_of(&o);
	if (o.end == GOES_ON)
		return OVERFLOW_SETTLED;
	report(&o);
	if (o.end == ENDS_LATER)
		return OVERFLOW_SETTLED;
	if (o.end != ENDS_ALONE)
		return o.kind == SIGNAL_FRAME ? OVERFLOW_FATAL_SIGNAL : OVERFLOW_FATAL;
	switch_restart(context, stack_top(o.stack), spawn_overflowed, o.gt);
	return OVERFLOW_SETTLED;
}
