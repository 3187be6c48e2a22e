/* SPDX-License-Identifier: MIT
 *
 * Printing for people: a table, call paths, the wait-for graph.
 */
#include "core.h"
#include "escape.h"
#include "print.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define WAITERS_SHOWN 10 /* of one group */
#define NAME_MAX_WIDTH 32
#define WAIT_MAX_WIDTH 48

double seconds_since(const struct snapshot *s, int64_t ns)
{
	return ns && s->now_ns > ns ? (double)(s->now_ns - ns) / 1e9 : 0;
}

long stack_used(const struct snapshot *s, const struct thread *thread, long *size)
{
	struct stack_view v;

	*size = 0;
	if (!snapshot_stack(s, thread, &v))
		return -1;
	*size = (long)(v.end - v.low);
	return snapshot_is_saved(s, thread) ? (long)(v.top - thread->sp) : -1;
}

const char *state_of(const struct snapshot *s, const struct thread *thread)
{
	if (snapshot_runs_on(s, thread))
		return layout_state(&s->layout, (unsigned)s->layout.state_running.value);
	return layout_state(&s->layout, thread->state);
}

/* ---- parts of a line -------------------------------------------------------- */

static const char *place(const struct view *view, uint64_t address, bool is_return, char *to,
                         size_t size)
{
	char text[300];

	if (!address)
		return strcpy(to, "?");
	const struct symbol *y = symbol_at(view->symbols, address, is_return);
	if (y->function[0])
		snprintf(text, sizeof(text), "%s+0x%" PRIx64 " (%s)", y->function, y->into,
		         y->source[0] ? y->source : y->file);
	else if (y->file[0])
		snprintf(text, sizeof(text), "%s+0x%" PRIx64, y->file, y->into);
	else
		snprintf(text, sizeof(text), "0x%" PRIx64, address);
	return escape_text(to, size, text, false);
}

static const char *name_of(const struct view *view, const struct thread *thread, char *to,
                           size_t size)
{
	if (thread->name[0])
		return escape_text(to, size, thread->name, true);
	if (thread->foreign) {
		snprintf(to, size, "(OS thread)");
		return to;
	}
	const struct symbol *y = symbol_at(view->symbols, thread->fn, false);
	if (y->function[0])
		return escape_text(to, size, y->function, false);
	return place(view, thread->fn, false, to, size);
}

/* "67108866 name" of a thread that may have ended. */
static const char *who(const struct view *view, uint64_t id, char *to, size_t size)
{
	const struct thread *thread = snapshot_find(view->s, id);
	char name[160];

	if (thread)
		snprintf(to, size, "%" PRIu64 " %s", id, name_of(view, thread, name, sizeof(name)));
	else
		snprintf(to, size, "%" PRIu64 " (ended)", id);
	return to;
}

/* "mutex 0x1234 of 67108866", "io on descriptor 5"; "" of one that does not wait. */
static const char *wait_of(const struct view *view, const struct thread *thread, char *to,
                           size_t size)
{
	const struct layout *l = &view->s->layout;
	const char *why = layout_why(l, thread->why);

	to[0] = 0;
	if (!thread_is_parked(view->s, thread))
		return to;
	if (!thread->settled)
		snprintf(to, size, "%s (changing)", why);
	else if (thread->fd >= 0)
		snprintf(to, size, "%s on descriptor %d", why, thread->fd);
	else if (thread->why == l->why_join.value && thread->owner)
		snprintf(to, size, "%s of %" PRIu64, why, thread->owner);
	else if (thread->object && thread->owner)
		snprintf(to, size, "%s 0x%" PRIx64 " of %" PRIu64, why, thread->object,
		         thread->owner);
	else if (thread->object && thread->why != l->why_io.value)
		snprintf(to, size, "%s 0x%" PRIx64, why, thread->object);
	else
		snprintf(to, size, "%s", why);
	return to;
}

static const char *origin_of(const struct view *view, const struct thread *thread, char *to,
                             size_t size)
{
	if (thread->foreign)
		return "-";
	return thread->spawn_pc ? place(view, thread->spawn_pc, true, to, size) : "green_serve";
}

static void stack_text(const struct view *view, const struct thread *thread, char *to, size_t size)
{
	long whole, used = stack_used(view->s, thread, &whole);

	if (!whole)
		snprintf(to, size, "-");
	else if (used < 0)
		snprintf(to, size, "?/%ldK", whole / 1024);
	else
		snprintf(to, size, "%.1fK/%ldK", (double)used / 1024, whole / 1024);
}

/* ---- the table -------------------------------------------------------------- */

struct widths {
	int name, wait;
};

static bool shown(const struct view *view, const struct thread *thread)
{
	return !view->only || thread->id == view->only;
}

static struct widths measure(const struct view *view)
{
	struct widths w = { 4, 8 };
	char text[160];

	for (size_t i = 0; i < view->s->threads_count; i++) {
		const struct thread *thread = &view->s->threads[i];
		if (!shown(view, thread))
			continue;
		int name = (int)strlen(name_of(view, thread, text, sizeof(text)));
		int wait = (int)strlen(wait_of(view, thread, text, sizeof(text)));
		w.name = name > w.name ? name : w.name;
		w.wait = wait > w.wait ? wait : w.wait;
	}
	w.name = w.name < NAME_MAX_WIDTH ? w.name : NAME_MAX_WIDTH;
	w.wait = w.wait < WAIT_MAX_WIDTH ? w.wait : WAIT_MAX_WIDTH;
	return w;
}

static void print_row(const struct view *view, const struct thread *thread, struct widths w)
{
	char name[160], wait[160], stack[32], worker[16] = "any", since[32] = "-", spawned[320];

	stack_text(view, thread, stack, sizeof(stack));
	if (thread->foreign)
		snprintf(worker, sizeof(worker), "-");
	else if (!thread->migratable)
		snprintf(worker, sizeof(worker), "%u", thread->worker);
	if (thread_is_parked(view->s, thread))
		snprintf(since, sizeof(since), "%.3f", seconds_since(view->s, thread->since_ns));
	printf("%-12" PRIu64 " %-8s %-*s %-*s %9s %12s %6s %s%s%s\n", thread->id,
	       state_of(view->s, thread), w.name, name_of(view, thread, name, sizeof(name)), w.wait,
	       wait_of(view, thread, wait, sizeof(wait)), since, stack, worker,
	       origin_of(view, thread, spawned, sizeof(spawned)),
	       thread->hibernated ? ", hibernated" : "", thread->cancelled ? ", cancelled" : "");
}

static void print_frames(const struct view *view, const struct thread *thread)
{
	struct frame frames[FRAMES_MAX];
	char text[320];
	const char *why;
	size_t count = stack_walk(view->symbols, thread, frames, &why);

	if (count == 0)
		printf("    (%s)\n", why);
	for (size_t i = 0; i < count; i++)
		printf("    #%-2zu 0x%016" PRIx64 " %s\n", i, frames[i].pc,
		       place(view, frames[i].pc, frames[i].is_return, text, sizeof(text)));
}

static void print_table(const struct view *view)
{
	struct widths w = measure(view);

	printf("%-12s %-8s %-*s %-*s %9s %12s %6s %s\n", "ID", "STATE", w.name, "NAME", w.wait,
	       "WAITS ON", "SINCE (s)", "STACK", "WORKER", "SPAWNED AT");
	for (size_t i = 0; i < view->s->threads_count; i++) {
		const struct thread *thread = &view->s->threads[i];
		if (!shown(view, thread))
			continue;
		print_row(view, thread, w);
		if (view->stacks)
			print_frames(view, thread);
	}
}

/* ---- head ------------------------------------------------------------------- */

static void print_head(const struct view *view)
{
	const struct snapshot *s = view->s;
	char program[300], library[80];
	size_t parked = 0, running = 0, hibernated = 0;

	for (size_t i = 0; i < s->threads_count; i++) {
		parked += thread_is_parked(s, &s->threads[i]);
		running += snapshot_runs_on(s, &s->threads[i]) != NULL;
		hibernated += s->threads[i].hibernated && thread_is_parked(s, &s->threads[i]);
	}
	if (s->t->core)
		printf("core %s of ", core_path(s->t->core));
	printf("process %d (%s), libgreen %s: %zu workers, %zu green threads, %zu running, "
	       "%zu parked",
	       (int)s->t->pid, escape_text(program, sizeof(program), s->t->program, false),
	       escape_text(library, sizeof(library), s->layout.library, false), s->workers_count,
	       s->threads_count, running, parked);
	if (hibernated)
		printf(", %zu of them hibernated", hibernated);
	printf("\n");
	for (size_t i = 0; i < s->workers_count; i++) {
		const struct worker_view *w = &s->workers[i];
		if (w->stuck_since)
			printf("worker %u (OS thread %d) has been stuck in one green thread for "
			       "%.3f s\n",
			       w->id, (int)w->tid, seconds_since(s, w->stuck_since));
	}
}

/* ---- the graph -------------------------------------------------------------- */

/* "channel 0x12", "mutex 0x34 of 67108866 holder". */
static void print_object(const struct view *view, const struct wait_group *g)
{
	const struct layout *l = &view->s->layout;
	const struct thread *first = view->waits->waiters[g->first];
	bool channel = first->why == l->why_send.value || first->why == l->why_receive.value;
	char text[320];

	printf("%s", channel ? "channel" : layout_why(l, first->why));
	if (first->fd >= 0)
		printf(" on descriptor %d", first->fd);
	else if (first->why != l->why_join.value)
		printf(" 0x%" PRIx64, first->object);
	if (g->owner)
		printf(" of %s", who(view, g->owner, text, sizeof(text)));
}

static void print_group(const struct view *view, const struct wait_group *g)
{
	const struct thread *const *waiters = view->waits->waiters + g->first;
	char thread[320], at[320];

	print_object(view, g);
	printf(": %zu wait%s\n", g->count, g->count == 1 ? "s" : "");
	for (size_t i = 0; i < g->count && i < WAITERS_SHOWN; i++)
		printf("    %s, %s for %.3f s at %s\n",
		       who(view, waiters[i]->id, thread, sizeof(thread)),
		       layout_why(&view->s->layout, waiters[i]->why),
		       seconds_since(view->s, waiters[i]->since_ns),
		       place(view, waiters[i]->wait_pc, true, at, sizeof(at)));
	if (g->count > WAITERS_SHOWN)
		printf("    and %zu more\n", g->count - WAITERS_SHOWN);
}

static void print_cycles(const struct view *view)
{
	char text[320], wait[160];

	for (size_t c = 0; c < view->waits->cycles_count; c++) {
		const struct cycle *cycle = &view->waits->cycles[c];
		const struct thread *const *threads = view->waits->in_cycles + cycle->first;
		printf("cycle of %zu: none of these can go on by itself\n", cycle->count);
		for (size_t i = 0; i < cycle->count; i++)
			printf("    %s waits: %s\n", who(view, threads[i]->id, text, sizeof(text)),
			       wait_of(view, threads[i], wait, sizeof(wait)));
	}
}

void print_text(const struct view *view)
{
	print_head(view);
	print_table(view);
	if (view->graph) {
		printf("\nWho waits for what:\n");
		for (size_t i = 0; i < view->waits->groups_count; i++)
			print_group(view, &view->waits->groups[i]);
	}
	if (view->waits->cycles_count)
		printf("\n");
	print_cycles(view);
}
