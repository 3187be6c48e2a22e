/* SPDX-License-Identifier: MIT
 *
 * What a stuck worker is doing: the kernel says where it sleeps in a system call; one
 * that computes says it itself, in the handler of a signal.
 */
#include "stall.h"
#include "arch/regs.h"
#include "fatal.h"
#include "flight.h"
#include "frames.h"
#include "symbol.h"
#include "trace.h"
#include "worker.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STALL_FRAMES 16
#define STALL_EVERY_NS GREEN_S(1)
#define ANSWER_NS GREEN_S(1) /* a worker without a CPU answers late */
#define WAITING_MAX 8

struct stall {          /* what is found out */
	long call;      /* the system call; -1: it computes */
	unsigned count; /* of pcs; 0: not known */
	uintptr_t pcs[STALL_FRAMES];
};

static struct {
	int64_t last_ns; /* when the last report was begun */
	unsigned left_out;
} rate; /* more than one a second help nobody */

/* Asked and answered; one question at a time. */
static struct {
	_Atomic uint32_t answered;
	_Atomic int tid; /* who is asked; 0: nobody */
	struct stall stall;
	/* The monitor's: the report that waits for the answer. */
	struct sigaction before;
	struct worker *worker; /* NULL: none */
	struct gt *gt;
	int64_t for_ns, until_ns;
} question;

/* Its owner writes it when the thread starts and ends. */
RACY static struct bounds bounds_of(const struct gt *gt)
{
	stack_id stack = *(const volatile stack_id *)&gt->stack;

	if (!stack_is_slot(stack))
		return (struct bounds){ 0 };
	return (struct bounds){ (uintptr_t)stack_bottom(stack), (uintptr_t)stack_top(stack) };
}

/* ---- asking it -------------------------------------------------------------------- */

/* On the worker.  A signal of that number for somebody else is ignored, as if nobody
 * handled it. */
static void on_question(int sig, siginfo_t *info, void *context)
{
	int tid = (int)sys0(SYS_gettid);
	struct gt *gt = gt_self();
	struct regs regs = regs_of(context);

	(void)sig;
	/* Acquire pairs with the release of the question; only one may answer. */
	if (info->si_code != SI_TKILL ||
	    !atomic_compare_exchange_strong_explicit(&question.tid, &tid, 0, memory_order_acquire,
	                                             memory_order_relaxed))
		return;
	struct bounds b = gt ? bounds_of(gt) : (struct bounds){ 0 };
	if (b.top && regs.sp >= b.bottom && regs.sp < b.top)
		question.stall.count = frames_walk(&b, regs, question.stall.pcs, STALL_FRAMES);
	/* Release: the stack. */
	atomic_store_explicit(&question.answered, 1, memory_order_release);
}

/* False: it cannot be asked. */
static bool ask(const struct worker *w)
{
	struct sigaction action;

	if (sigaction(SIGURG, NULL, &question.before) < 0 ||
	    (question.before.sa_handler != SIG_DFL && question.before.sa_handler != SIG_IGN))
		return false;
	memset(&action, 0, sizeof(action));
	action.sa_sigaction = on_question;
	action.sa_flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK;
	sigfillset(&action.sa_mask);
	if (sigaction(SIGURG, &action, NULL) < 0)
		return false;
	question.stall = (struct stall){ .call = -1 };
	atomic_store_explicit(&question.answered, 0, memory_order_relaxed);
	atomic_store_explicit(&question.tid, w->tid, memory_order_release);
	if (sys3(SYS_tgkill, sys0(SYS_getpid), w->tid, SIGURG) == 0)
		return true;
	sigaction(SIGURG, &question.before, NULL);
	return false;
}

/* Has it answered, or late: is it known that it will not? */
static bool is_answered(bool late)
{
	/* Acquire pairs with the release in on_question(): the stack. */
	if (atomic_load_explicit(&question.answered, memory_order_acquire))
		return true;
	/* Withdrawn; or else the answer is being written at this moment. */
	return late && atomic_exchange_explicit(&question.tid, 0, memory_order_relaxed) != 0;
}

/* ---- looking at it ------------------------------------------------------------------ */

/* "35 0x7ffd... (six arguments) sp pc", "running", or "-1 sp pc": asleep, but not in a
 * call.  False: the kernel does not say where it is. */
static bool look(const struct worker *w, const struct gt *gt, struct stall *stall)
{
	char path[64], text[256], *at = text;
	uint64_t numbers[8] = { 0 };

	snprintf(path, sizeof(path), "/proc/self/task/%d/syscall", w->tid);
	long fd = sys3(SYS_open, path, O_RDONLY | O_CLOEXEC, 0);
	if (fd < 0)
		return false;
	long n = sys3(SYS_read, fd, text, sizeof(text) - 1);
	sys1(SYS_close, fd);
	if (n <= 0 || text[0] < '0' || text[0] > '9')
		return false;
	text[n] = 0;
	stall->call = strtol(text, &at, 10);
	for (unsigned i = 0; i < 8; i++)
		numbers[i] = strtoull(at, &at, 16);
	struct bounds b = bounds_of(gt);
	if (b.top && numbers[6] >= b.bottom && numbers[6] < b.top)
		stall->count = frames_search(&b, numbers[7], numbers[6], stall->pcs, STALL_FRAMES);
	return true;
}

/* ---- the report ----------------------------------------------------------------------- */

/* The started threads that wait for this worker, by name, the first few. */
static void report_waiting(struct report *r, struct symbols *s, const struct worker *w)
{
	unsigned shown = 0;

	for (uint32_t i = 1; i < gt_high() && shown < WAITING_MAX; i++) {
		struct gt *gt = gt_at(i);
		if (atomic_load_explicit(&gt->state, memory_order_relaxed) != GT_READY ||
		    atomic_load_explicit(&gt->worker, memory_order_relaxed) != w->id)
			continue;
		report_str(r, "libgreen:   waiting for worker ");
		report_number(r, w->id);
		report_str(r, ": ");
		fatal_report_thread(r, s, gt);
		report_str(r, "\n");
		shown++;
	}
}

static void report_head(struct report *r, struct symbols *s, const struct worker *w,
                        const struct gt *gt, int64_t for_ns)
{
	report_str(r, "libgreen: worker ");
	report_number(r, w->id);
	report_str(r, " is stuck: it has been running ");
	if (gt)
		fatal_report_thread(r, s, gt);
	report_str(r, " for ");
	report_number(r, for_ns / 1000000);
	report_str(r, " ms without a switch");
}

static void report_stack(struct report *r, struct symbols *s, const struct stall *stall)
{
	if (stall->call >= 0) {
		report_str(r, ", now in system call ");
		report_number(r, stall->call);
	}
	report_str(r, "\n");
	for (unsigned i = 0; i < stall->count; i++) {
		report_str(r, i ? "libgreen:   called by " : "libgreen:   at ");
		symbol_report(s, r, (const void *)stall->pcs[i], i > 0);
		report_str(r, "\n");
	}
}

static void write_report(const struct worker *w, const struct gt *gt, int64_t for_ns,
                         const struct stall *stall)
{
	struct symbols symbols;
	struct report r;

	report_begin(&r, 2);
	symbols_begin(&symbols);
	if (rate.left_out) {
		report_str(&r, "libgreen: (");
		report_number(&r, rate.left_out);
		report_str(&r, " reports of stuck workers were left out)\n");
	}
	rate.left_out = 0;
	report_head(&r, &symbols, w, gt, for_ns);
	report_stack(&r, &symbols, stall);
	report_waiting(&r, &symbols, w);
	flight_report(&r, &symbols, w);
	symbols_end(&symbols);
	report_end(&r);
}

static bool is_too_many(void)
{
	int64_t now = sys.now();

	if (question.worker || (rate.last_ns && now - rate.last_ns < STALL_EVERY_NS)) {
		rate.left_out++;
		return true;
	}
	rate.last_ns = now;
	return false;
}

void stall_report(struct worker *w, int64_t for_ns)
{
	struct gt *gt = atomic_load_explicit(&w->current, memory_order_relaxed);
	struct stall stall = { .call = -1 };

	if (is_too_many())
		return;
	if (!gt || look(w, gt, &stall) || !ask(w)) {
		write_report(w, gt, for_ns, &stall);
		return;
	}
	question.worker = w;
	question.gt = gt;
	question.for_ns = for_ns;
	question.until_ns = sys.now() + ANSWER_NS;
}

static void finish(bool late)
{
	if (!question.worker || !is_answered(late))
		return;
	sigaction(SIGURG, &question.before, NULL);
	write_report(question.worker, question.gt, question.for_ns, &question.stall);
	question.worker = NULL;
}

void stall_tick(int64_t now)
{
	finish(now >= question.until_ns);
}

void stall_stop(void)
{
	while (question.worker) {
		finish(true);
		if (question.worker)
			sys0(SYS_sched_yield);
	}
}
