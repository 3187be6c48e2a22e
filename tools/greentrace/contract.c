/* SPDX-License-Identifier: MIT
 *
 * Judging contracts.
 */
#include "contract.h"
#include "attach.h"
#include "escape.h"
#include "greenps.h"
#include "lockfile.h"
#include "run.h"
#include "view.h"

#include <inttypes.h>
#include <string.h>

/* ---- the lockfile ---------------------------------------------------------------- */

/* An unmodified program's lock is a system call only if somebody else has it just then. */
static bool is_by_chance(const struct trace *t, const struct site *site)
{
	return site->why >= TRACE_CALL &&
	       strncmp(layout_why(&t->session.layout, site->why), "futex", 5) == 0;
}

/* False: no memory. */
static bool make_lock(struct trace *t, struct lock *lock)
{
	for (size_t i = 0; i < t->sites.size; i++) {
		const struct site *site = t->sites.slots[i];
		if (!site || !site->entries || is_by_chance(t, site))
			continue;
		const struct symbol *y = site->symbol;
		char place[64];
		/* Without symbols, the place in the file: any other build changes it. */
		snprintf(place, sizeof(place), "+0x%" PRIx64, y->into);
		if (!lock_add(lock, layout_why(&t->session.layout, site->why), y->file,
		              y->function[0] ? y->function : place))
			return false;
	}
	return true;
}

int contract_lock(struct trace *t)
{
	struct lock now = { 0 };
	int status = make_lock(t, &now) ? lock_write(&now, t->options->lock)
	                                : problem("no memory for the lockfile");

	lock_free(&now);
	return status;
}

static int judge_check(struct trace *t)
{
	struct lock now = { 0 }, before = { 0 };
	int status = make_lock(t, &now) ? lock_read(&before, t->options->check)
	                                : problem("no memory for the lockfile");

	if (status == EXIT_OK && lock_compare(&before, &now) > 0)
		status = EXIT_BROKEN;
	lock_free(&now);
	lock_free(&before);
	return status;
}

/* ---- durations -------------------------------------------------------------------- */

static bool judge_stops(struct trace *t, enum event_kind kind, uint64_t least_ns)
{
	bool kept = true;
	char max[16];

	if (!least_ns)
		return true;
	for (const struct stop *stop = t->stops; stop; stop = stop->next) {
		if (stop->kind != kind || stop->ns.max_ns < least_ns)
			continue;
		kept = false;
		printf("broken: %s %s, %" PRIu64 " times, up to %s\n",
		       kind == EVENT_HOG ? "no switch for that long:" : "a worker was blocked:",
		       kind == EVENT_HOG ? "a green thread computed" : syscall_text(stop->syscall),
		       stop->ns.count, time_text(max, stop->ns.max_ns));
		if (stop->path)
			path_print(stdout, stop->path);
	}
	return kept;
}

static bool judge_queued(struct trace *t)
{
	uint64_t most = t->options->max_queued_ns;
	char max[16];

	if (!most || t->queued.max_ns <= most)
		return true;
	printf("broken: a worker waited %s for a CPU\n", time_text(max, t->queued.max_ns));
	return false;
}

static bool judge_yield(struct trace *t)
{
	char shown[256];

	if (!t->options->no_yield || !t->forbidden)
		return true;
	printf("broken: %" PRIu64 " calls that may switch below %s; the first:\n",
	       t->forbidden_seen, escape_text(shown, sizeof(shown), t->options->no_yield, false));
	path_print(stdout, t->forbidden);
	return false;
}

/* A recording has only what was looked for. */
static int was_seen(const struct trace *t)
{
	const struct options *o = t->options;
	const struct wishes *w = &t->session.wishes;

	if ((o->lock || o->check) && !w->entries)
		return problem("it was recorded without --entries: calls are not in it");
	if (o->no_blocked_ns && (!w->blocked_ns || w->blocked_ns > o->no_blocked_ns))
		return problem("it was recorded with --blocked %.6g: shorter ones are not in it",
		               (double)w->blocked_ns / 1e6);
	if (o->no_hog_ns && (!w->hog_ns || w->hog_ns > o->no_hog_ns))
		return problem("it was recorded with --hog %.6g: shorter ones are not in it",
		               (double)w->hog_ns / 1e6);
	if (o->max_queued_ns && !w->queued)
		return problem("how long workers waited for a CPU was not recorded");
	return EXIT_OK;
}

int contract_judge(struct trace *t)
{
	const struct options *o = t->options;
	int seen = was_seen(t);

	if (seen != EXIT_OK)
		return seen;
	uint64_t lost = trace_lost(t);
	int status = o->check ? judge_check(t) : EXIT_OK;

	if (status == EXIT_PROBLEM)
		return status;
	if (!judge_stops(t, EVENT_BLOCKED, o->no_blocked_ns))
		status = EXIT_BROKEN;
	if (!judge_stops(t, EVENT_HOG, o->no_hog_ns))
		status = EXIT_BROKEN;
	if (!judge_queued(t))
		status = EXIT_BROKEN;
	if (!judge_yield(t))
		status = EXIT_BROKEN;
	if (status != EXIT_OK)
		return status;
	if (t->session.no_kernel_views && (o->no_blocked_ns || o->max_queued_ns)) {
		complain("inconclusive: what the kernel does was not seen");
		return EXIT_INCONCLUSIVE;
	}
	if (lost) {
		complain("inconclusive: %" PRIu64 " records, stacks or calls were lost; --buffer "
		         "makes room for more records",
		         lost);
		return EXIT_INCONCLUSIVE;
	}
	return EXIT_OK;
}
