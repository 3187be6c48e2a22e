/* SPDX-License-Identifier: MIT
 *
 * Saying which calls blocked a worker.
 */
#include "intercept/audit.h"
#include "frames.h"
#include "intercept/call_name.h"
#include "intercept/tally.h"
#include "spin.h"
#include "symbol.h"

#define DEPTH 6

/* "flock (flock+0x7 (libc.so.6) < take+0x1f (program))" */
static void report_place(struct report *r, const struct audit_place *p)
{
	uintptr_t low = (uintptr_t)p->words, pcs[DEPTH];
	struct bounds copy = { low, low + sizeof(p->words) };
	uintptr_t pc = atomic_load_explicit(&p->pc, memory_order_relaxed);
	unsigned n = frames_search(&copy, pc, low, pcs, DEPTH);
	struct symbols symbols;

	report_str(r, call_name(p->nr));
	report_str(r, " at ");
	symbols_begin(&symbols);
	for (unsigned i = 0; i < n; i++) {
		report_str(r, i ? " < " : "");
		symbol_report(&symbols, r, (const void *)pcs[i], true);
	}
	symbols_end(&symbols);
}

static void report_thread(struct report *r, const struct audit_place *p)
{
	report_str(r, "thread ");
	report_number(r, p->tid);
	if (p->name[0]) {
		report_str(r, " ");
		report_quoted(r, p->name, sizeof(p->name));
	}
}

/* The monitor says it while the program runs, and who ends the program says the rest: not
 * before the monitor has written what it has begun, which would be lost. */
static struct spin saying;

void audit_say(void)
{
	spin_lock(&saying);
	for (unsigned i = 0; i < AUDIT_PLACES; i++) {
		struct audit_place *p = &audit_places[i];
		struct report r;
		/* Acquire pairs with the release in note(). */
		if (p->said || !atomic_load_explicit(&p->ready, memory_order_acquire))
			continue;
		p->said = true;
		report_begin(&r, tally_fd());
		report_str(&r, "greenrun: audit: a call that is not handled held its worker for ");
		report_us(&r, (int64_t)atomic_load_explicit(&p->longest_ns, memory_order_relaxed));
		report_str(&r, ", ");
		report_thread(&r, p);
		report_str(&r, ": ");
		report_place(&r, p);
		report_str(&r, "\n");
		report_end(&r);
	}
	spin_unlock(&saying);
}

void audit_report(struct report *r)
{
	report_str(r, "  held a worker");
	bool none = true;
	for (unsigned i = 0; i < AUDIT_PLACES; i++) {
		const struct audit_place *p = &audit_places[i];
		if (!atomic_load_explicit(&p->ready, memory_order_acquire))
			continue;
		none = false;
		report_str(r, "\n    ");
		report_number(r, (int64_t)atomic_load_explicit(&p->count, memory_order_relaxed));
		report_str(r, " times, ");
		report_us(r, (int64_t)atomic_load_explicit(&p->total_ns, memory_order_relaxed));
		report_str(r, " in all, longest ");
		report_us(r, (int64_t)atomic_load_explicit(&p->longest_ns, memory_order_relaxed));
		report_str(r, ": ");
		report_place(r, p);
	}
	report_str(r, none ? "   no call longer than the limit of --audit\n" : "\n");
}
