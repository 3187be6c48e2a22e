/* SPDX-License-Identifier: MIT
 *
 * green_noswitch_begin() and green_noswitch_end(), and what happens to those who
 * enter a call that may switch between them.
 */
#include "noswitch.h"
#include "fatal.h"
#include "flight.h"
#include "symbol.h"
#include "trace.h"
#include "worker.h"

#define KNOWN 64 /* pairs of places that are told once */

static struct {
	_Atomic uint64_t count;
	_Atomic uint64_t known[KNOWN];
} noswitch;

uint64_t noswitch_count(void)
{
	return atomic_load_explicit(&noswitch.count, memory_order_relaxed);
}

void noswitch_reset(void)
{
	atomic_store_explicit(&noswitch.count, 0, memory_order_relaxed);
	for (unsigned i = 0; i < KNOWN; i++)
		atomic_store_explicit(&noswitch.known[i], 0, memory_order_relaxed);
}

void green_noswitch_begin(struct green_noswitch *section)
{
	struct gt *self = gt_self();

	section->outer = NULL;
	if (!self || rt.options.noswitch == GREEN_NOSWITCH_OFF)
		return;
	struct gt_ext *ext = gt_ext(self);
	if (!ext)
		return;
	section->outer = ext->noswitch;
	ext->noswitch = PARK_PC;
	/* Relaxed: asked for by this thread, which has just written it. */
	if (!atomic_load_explicit(&trace_sections, memory_order_relaxed))
		atomic_store_explicit(&trace_sections, 1, memory_order_relaxed);
}

void green_noswitch_end(struct green_noswitch *section)
{
	struct gt *self = gt_self();

	if (self && self->ext)
		self->ext->noswitch = section->outer;
}

/* True for the first of a pair of places, while there is room to remember them. */
static bool is_news(const void *begun, const void *pc)
{
	uint64_t key = (uintptr_t)begun * 0x9e3779b97f4a7c15u ^ (uintptr_t)pc;

	for (unsigned i = 0; i < KNOWN; i++) {
		uint64_t was = 0;
		/* Relaxed: whoever comes second reads what the first has put there. */
		if (atomic_compare_exchange_strong_explicit(&noswitch.known[i], &was, key,
		                                            memory_order_relaxed,
		                                            memory_order_relaxed))
			return true;
		if (was == key)
			return false;
	}
	return false;
}

static void tell(const struct gt *self, const void *begun, const void *pc, enum park_why why)
{
	struct symbols symbols;
	struct report r;

	report_begin(&r, 2);
	symbols_begin(&symbols);
	report_str(&r, "libgreen: noswitch: ");
	fatal_report_thread(&r, &symbols, self);
	report_str(&r, " entered a call that may switch (");
	report_str(&r, park_why_name(why));
	report_str(&r, ") at ");
	symbol_report(&symbols, &r, pc, true);
	report_str(&r, ", in the section begun at ");
	symbol_report(&symbols, &r, begun, true);
	report_str(&r, "\n");
	if (rt.options.noswitch == GREEN_NOSWITCH_ABORT)
		flight_report(&r, &symbols, worker_self());
	symbols_end(&symbols);
	report_end(&r);
}

static never_inline void violated(struct gt *self, const void *begun, void *pc, enum park_why why)
{
	enum green_noswitch_mode mode = rt.options.noswitch;

	atomic_fetch_add_explicit(&noswitch.count, 1, memory_order_relaxed);
	if (trace_wants(noswitch))
		probe_noswitch(gt_handle(self), pc, (uint64_t)why, begun);
	if (mode == GREEN_NOSWITCH_ABORT || (mode == GREEN_NOSWITCH_LOG && is_news(begun, pc)))
		tell(self, begun, pc, why);
	if (mode == GREEN_NOSWITCH_ABORT)
		fatal_abort();
}

void noswitch_entered(struct gt *self, void *pc, enum park_why why)
{
	if (self->ext && self->ext->noswitch)
		violated(self, self->ext->noswitch, pc, why);
}
