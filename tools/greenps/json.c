/* SPDX-License-Identifier: MIT
 *
 * Printing for programs: one JSON object on one line.  Ids and addresses are strings:
 * they do not fit the numbers of JSON's readers.
 */
#include "core.h"
#include "escape.h"
#include "print.h"

#include <inttypes.h>
#include <stdio.h>

static void member(const char *key, const char *text)
{
	printf("\"%s\":", key);
	escape_json(text);
}

static void print_place(const struct view *view, const char *key, uint64_t address, bool is_return)
{
	const struct symbol *y = symbol_at(view->symbols, address, is_return);

	printf("\"%s\":{\"pc\":\"0x%" PRIx64 "\"", key, address);
	if (y->function[0]) {
		printf(",\"offset\":%" PRIu64 ",", y->into);
		member("function", y->function);
	}
	if (y->file[0]) {
		printf(",");
		member("file", y->file);
	}
	if (y->source[0]) {
		printf(",");
		member("source", y->source);
	}
	printf("}");
}

static void print_worker(const struct view *view, const struct worker_view *w)
{
	const struct snapshot *s = view->s;
	const struct thread *runs = snapshot_run_by(s, w);

	printf("{\"id\":%u,\"tid\":%d,\"state\":\"%s\",\"switches\":%" PRIu64, w->id, (int)w->tid,
	       w->current ? "running"
	       : w->idle  ? "asleep"
	                  : "looking",
	       w->switches);
	if (runs)
		printf(",\"thread\":\"%" PRIu64 "\"", runs->id);
	if (w->stuck_since)
		printf(",\"stuck_s\":%.3f", seconds_since(s, w->stuck_since));
	printf("}");
}

static void print_wait(const struct view *view, const struct thread *thread)
{
	const struct layout *l = &view->s->layout;

	printf(",\"waits\":{");
	member("for", layout_why(l, thread->why));
	if (thread->fd >= 0)
		printf(",\"fd\":%d", thread->fd);
	else if (thread->object)
		printf(",\"object\":\"0x%" PRIx64 "\"", thread->object);
	if (thread->owner)
		printf(",\"owner\":\"%" PRIu64 "\"", thread->owner);
	printf(",\"since_s\":%.6f,", seconds_since(view->s, thread->since_ns));
	print_place(view, "at", thread->wait_pc, true);
	printf("}");
}

static void print_frames(const struct view *view, const struct thread *thread)
{
	struct frame frames[FRAMES_MAX];
	const char *why;
	size_t count = stack_walk(view->symbols, thread, frames, &why);

	if (why) {
		printf(",");
		member("no_frames", why);
	}
	printf(",\"frames\":[");
	for (size_t i = 0; i < count; i++) {
		printf("%s{", i ? "," : "");
		print_place(view, "at", frames[i].pc, frames[i].is_return);
		printf("}");
	}
	printf("]");
}

static void print_thread(const struct view *view, const struct thread *thread)
{
	long size, used = stack_used(view->s, thread, &size);

	printf("{\"id\":\"%" PRIu64 "\",", thread->id);
	member("state", state_of(view->s, thread));
	if (thread->name[0]) {
		printf(",");
		member("name", thread->name);
	}
	printf(",\"settled\":%s,\"cancelled\":%s,\"migratable\":%s,\"os_thread\":%s",
	       thread->settled ? "true" : "false", thread->cancelled ? "true" : "false",
	       thread->migratable ? "true" : "false", thread->foreign ? "true" : "false");
	if (!thread->foreign) {
		printf(",\"worker\":%u,", thread->worker);
		print_place(view, "runs", thread->fn, false);
		printf(",");
		if (thread->spawn_pc)
			print_place(view, "spawned", thread->spawn_pc, true);
		else
			printf("\"spawned\":{\"function\":\"green_serve\"}");
	}
	if (size)
		printf(",\"stack_size\":%ld,\"hibernated\":%s", size,
		       thread->hibernated ? "true" : "false");
	if (used >= 0)
		printf(",\"stack_used\":%ld", used);
	if (thread_is_parked(view->s, thread))
		print_wait(view, thread);
	if (view->stacks)
		print_frames(view, thread);
	printf("}");
}

static void print_ids(const struct thread *const *threads, size_t count)
{
	printf("[");
	for (size_t i = 0; i < count; i++)
		printf("%s\"%" PRIu64 "\"", i ? "," : "", threads[i]->id);
	printf("]");
}

static void print_groups(const struct view *view)
{
	const struct waits *w = view->waits;

	printf(",\"waits\":[");
	for (size_t i = 0; i < w->groups_count; i++) {
		const struct wait_group *g = &w->groups[i];
		const struct thread *first = w->waiters[g->first];
		printf("%s{", i ? "," : "");
		member("for", layout_why(&view->s->layout, first->why));
		if (first->fd >= 0)
			printf(",\"fd\":%d", first->fd);
		else
			printf(",\"object\":\"0x%" PRIx64 "\"", first->object);
		if (g->owner)
			printf(",\"owner\":\"%" PRIu64 "\"", g->owner);
		printf(",\"waiters\":");
		print_ids(w->waiters + g->first, g->count);
		printf("}");
	}
	printf("]");
}

void print_json(const struct view *view)
{
	const struct snapshot *s = view->s;
	bool first = true;

	printf("{\"format\":1,");
	member("libgreen", s->layout.library);
	printf(",\"pid\":%d,", (int)s->t->pid);
	member("program", s->t->program);
	if (s->t->core) {
		printf(",");
		member("core", core_path(s->t->core));
	}
	printf(",\"workers\":[");
	for (size_t i = 0; i < s->workers_count; i++) {
		printf("%s", i ? "," : "");
		print_worker(view, &s->workers[i]);
	}
	printf("]");
	if (view->census) {
		printf(",\"census\":");
		print_census_json(view);
		printf("}\n");
		return;
	}
	printf(",\"threads\":[");
	for (size_t i = 0; i < s->threads_count; i++) {
		if (view->only && s->threads[i].id != view->only)
			continue;
		printf("%s", first ? "" : ",");
		print_thread(view, &s->threads[i]);
		first = false;
	}
	printf("]");
	if (view->graph)
		print_groups(view);
	printf(",\"cycles\":[");
	for (size_t i = 0; i < view->waits->cycles_count; i++) {
		printf("%s", i ? "," : "");
		print_ids(view->waits->in_cycles + view->waits->cycles[i].first,
		          view->waits->cycles[i].count);
	}
	printf("]}\n");
}
