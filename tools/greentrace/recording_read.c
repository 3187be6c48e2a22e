/* SPDX-License-Identifier: MIT
 *
 * Reading recordings.  The file may be damaged, or made to do harm: no number in it is
 * used unchecked, and no text is taken to end.
 */
#include "escape.h"
#include "greenps.h"
#include "recording.h"
#include "tally.h"
#include "timeline.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define NS_PER_TICK_MAX 1000.0
#define TIME_MAX ((int64_t)1 << 60) /* centuries: sums of two such times fit */

struct reader {
	struct trace *trace;
	FILE *file;
	const char *name;
	uint64_t at; /* bytes read */
	char *part;  /* part_room bytes */
	size_t part_room;
	struct frame *symbols;
	size_t symbols_count;
	struct path **paths;
	size_t paths_count;
	struct batch_functions functions;
	bool has_process, has_clock, has_end;
	uint64_t lost;
};

/* ---- checking ----------------------------------------------------------------- */

static bool ends(const char *text, size_t size)
{
	return memchr(text, 0, size) != NULL;
}

static bool is_time(int64_t ns)
{
	return ns >= 0 && ns < TIME_MAX;
}

/* ---- parts: false: damaged ------------------------------------------------------ */

static bool take_process(struct reader *r, const struct part_process *p)
{
	struct trace *t = r->trace;
	struct session *s = &t->session;

	if (r->has_process || !ends(p->program, sizeof(p->program)) || !is_time(p->started_ns))
		return false;
	r->has_process = true;
	t->started_ns = t->marked_ns = t->stopped_ns = p->started_ns;
	s->pid = (pid_t)p->pid;
	memcpy(s->target.program, p->program, sizeof(p->program));
	for (unsigned i = 0; i < LAYOUT_NAMES; i++) {
		if (!ends(p->whys[i], sizeof(p->whys[i])))
			return false;
		escape_text(s->layout.whys[i], sizeof(s->layout.whys[i]), p->whys[i], false);
	}
	s->wishes.switches = s->wishes.stacks = true;
	s->wishes.entries = p->flags & RECORDED_ENTRIES;
	s->wishes.queued = p->flags & RECORDED_QUEUED;
	s->wishes.syscalls = p->flags & RECORDED_SYSCALLS;
	s->wishes.faults = p->flags & RECORDED_FAULTS;
	s->wishes.requests = p->flags & RECORDED_REQUESTS;
	s->wishes.blocked_ns = p->blocked_ns;
	s->wishes.hog_ns = p->hog_ns;
	s->no_kernel_views = p->flags & RECORDED_NO_KERNEL;
	return true;
}

static bool take_clock(struct reader *r, const struct part_clock *c)
{
	struct trace *t = r->trace;

	if (!isfinite(c->ns_per_tick) || c->ns_per_tick <= 0 || c->ns_per_tick > NS_PER_TICK_MAX ||
	    !is_time(c->ns))
		return false;
	r->has_clock = true;
	t->started_ticks = c->started_ticks;
	t->clock.ticks = c->ticks;
	t->clock.ns = c->ns;
	t->clock.ns_per_tick = c->ns_per_tick;
	t->clock.nanoseconds = c->nanoseconds;
	return true;
}

/* Room for one more behind count of them; what there is grows by doubling. */
static bool make_room(void *array, size_t count, size_t size)
{
	void **at = array;

	if (count & (count - 1))
		return true;
	void *more = realloc(*at, (count ? 2 * count : 1) * size);
	if (more)
		*at = more;
	return more != NULL;
}

static bool take_symbol(struct reader *r, const struct part_symbol *p)
{
	const struct symbol *y = &p->symbol;

	if (!ends(y->function, sizeof(y->function)) || !ends(y->file, sizeof(y->file)) ||
	    !ends(y->source, sizeof(y->source)) || p->is_return > 1 ||
	    !make_room(&r->symbols, r->symbols_count, sizeof(*r->symbols)))
		return false;
	r->symbols[r->symbols_count++] = (struct frame){ p->pc, p->is_return };
	return names_put(r->trace->names, p->pc, p->is_return, y);
}

static bool take_path(struct reader *r, const uint32_t *numbers, size_t size)
{
	struct frame frames[FRAMES_MAX];
	size_t depth = size / sizeof(*numbers);

	if (depth == 0 || depth > FRAMES_MAX || size % sizeof(*numbers) ||
	    !make_room(&r->paths, r->paths_count, sizeof(struct path *)))
		return false;
	for (size_t i = 0; i < depth; i++) {
		if (numbers[i] >= r->symbols_count)
			return false;
		frames[i] = r->symbols[numbers[i]];
	}
	struct path *path = names_put_path(r->trace->names, frames, depth);
	r->paths[r->paths_count++] = path;
	return path != NULL;
}

static bool take_functions(struct reader *r, const struct part_function *f, size_t count)
{
	bool is_new;

	batch_clear(&r->functions);
	for (size_t i = 0; i < count; i++) {
		uint64_t *fn = batch_put(&r->functions, f[i].index, &is_new);
		if (!fn)
			return false;
		*fn = f[i].fn;
	}
	return true;
}

static bool take_records(struct reader *r, const struct part_records *p, size_t size)
{
	static struct event_records e;
	const size_t each = sizeof(e.records[0]), pair = sizeof(struct part_function);

	if (!r->has_clock || p->count == 0 || p->count > TRACE_BATCH ||
	    p->functions > TRACE_BATCH ||
	    size != sizeof(*p) + p->count * each + p->functions * pair)
		return false;
	const char *records = (const char *)(p + 1);
	if (!take_functions(r, (const void *)(records + p->count * each), p->functions))
		return false;
	e = (struct event_records){
		.kind = EVENT_RECORDS,
		.count = p->count,
		.time_ns = p->time_ns,
		.ticks = p->ticks,
		.tid = p->tid,
	};
	memcpy(e.records, records, p->count * each);
	tally_records(r->trace, &e);
	/* In case that the end is missing. */
	if (is_time((int64_t)p->time_ns) && (int64_t)p->time_ns > r->trace->stopped_ns)
		r->trace->stopped_ns = (int64_t)p->time_ns;
	return true;
}

static bool take_stack(struct reader *r, const struct part_stack *p)
{
	static struct event_stack e; /* its stack is not looked at */
	struct path *path = NULL;

	if (p->path != RECORDING_NONE) {
		if (p->path >= r->paths_count)
			return false;
		path = r->paths[p->path];
		path->count++;
	}
	e.kind = p->kind;
	e.tid = p->tid;
	e.syscall = p->syscall;
	e.time_ns = p->time_ns;
	e.thread = p->thread;
	e.ns = p->ns;
	e.site = p->site;
	e.why = p->why;
	tally_stack(r->trace, &e, path);
	return true;
}

static bool take_descriptor(struct reader *r, const struct part_descriptor *p)
{
	if (!ends(p->text, sizeof(p->text)))
		return false;
	tally_descriptor(r->trace, p->site, p->why, p->text);
	return true;
}

static bool take_end(struct reader *r, const struct part_end *p)
{
	if (!is_time(p->stopped_ns) || p->stopped_ns < r->trace->started_ns)
		return false;
	r->has_end = true;
	r->trace->stopped_ns = p->stopped_ns;
	r->lost = p->lost;
	return true;
}

static bool take_part(struct reader *r, uint32_t kind, size_t size)
{
	const void *part = r->part;

	if (!r->has_process && kind != PART_PROCESS)
		return false;
#define WHOLE(type) (size == sizeof(type))
	switch (kind) {
	case PART_PROCESS:
		return WHOLE(struct part_process) && take_process(r, part);
	case PART_CLOCK:
		return WHOLE(struct part_clock) && take_clock(r, part);
	case PART_SYMBOL:
		return WHOLE(struct part_symbol) && take_symbol(r, part);
	case PART_PATH:
		return take_path(r, part, size);
	case PART_RECORDS:
		return size >= sizeof(struct part_records) && take_records(r, part, size);
	case PART_STACK:
		return WHOLE(struct part_stack) && take_stack(r, part);
	case PART_SMALL:
		if (WHOLE(struct event_small))
			tally_small(r->trace, part);
		return WHOLE(struct event_small);
	case PART_DESCRIPTOR:
		return WHOLE(struct part_descriptor) && take_descriptor(r, part);
	case PART_ENTRY:
		if (WHOLE(struct part_entry))
			tally_entry(r->trace, &((const struct part_entry *)part)->key,
			            ((const struct part_entry *)part)->count);
		return WHOLE(struct part_entry);
	case PART_REQUEST:
		if (WHOLE(struct event_request))
			tally_request(r->trace, part);
		return WHOLE(struct event_request);
	case PART_SYSCALL:
		if (WHOLE(struct part_syscall))
			tally_syscall(r->trace, &((const struct part_syscall *)part)->key,
			              ((const struct part_syscall *)part)->count);
		return WHOLE(struct part_syscall);
	case PART_END:
		return WHOLE(struct part_end) && take_end(r, part);
	default:
		return true; /* of a later greentrace */
	}
#undef WHOLE
}

/* ---- the file ------------------------------------------------------------------- */

static bool get(struct reader *r, void *to, size_t size)
{
	if (size > 0 && fread(to, size, 1, r->file) != 1)
		return false;
	r->at += size;
	return true;
}

/* The next size bytes into r->part. */
static bool get_part(struct reader *r, size_t size)
{
	if (size > r->part_room) {
		char *more = realloc(r->part, size);
		if (!more)
			return false;
		r->part = more;
		r->part_room = size;
	}
	return get(r, r->part, size);
}

static int bad(const struct reader *r, const char *what)
{
	char shown[300];

	return problem("%s: %s", escape_text(shown, sizeof(shown), r->name, true), what);
}

static int damaged(const struct reader *r)
{
	char shown[300];

	return problem("%s: it is damaged at byte %llu",
	               escape_text(shown, sizeof(shown), r->name, true), (unsigned long long)r->at);
}

static int read_head(struct reader *r)
{
	struct recording_head head;

	if (!get(r, &head, sizeof(head)))
		return ferror(r->file) ? bad(r, strerror(errno))
		                       : bad(r, "it is too short for a recording of greentrace");
	if (memcmp(head.magic, RECORDING_MAGIC, sizeof(head.magic)) != 0)
		return bad(r, "it is no recording of greentrace");
	if (head.version != RECORDING_VERSION) {
		char shown[300];
		return problem("%s: it is of version %u; this greentrace reads version %u",
		               escape_text(shown, sizeof(shown), r->name, true), head.version,
		               RECORDING_VERSION);
	}
	if (head.head_size < sizeof(head) || head.head_size > RECORDING_PART_MAX)
		return damaged(r);
	return get_part(r, head.head_size - sizeof(head)) ? EXIT_OK : damaged(r);
}

static int read_parts(struct reader *r)
{
	struct recording_part part;

	while (!r->has_end) {
		uint64_t at = r->at;
		if (!get(r, &part, sizeof(part)))
			break;
		if (part.size > RECORDING_PART_MAX) {
			r->at = at;
			return damaged(r);
		}
		if (!get_part(r, part.size))
			break;
		if (!take_part(r, part.kind, part.size)) {
			r->at = at;
			return damaged(r);
		}
	}
	if (ferror(r->file))
		return bad(r, strerror(errno));
	if (r->has_end)
		return getc(r->file) == EOF ? EXIT_OK : damaged(r);
	if (!r->has_process)
		return bad(r, "it is cut short: nothing is left of it");
	bad(r, "it is cut short: what follows is not all that there was");
	return EXIT_INCOMPLETE;
}

/* The one who reads: a trace has one batch at a time. */
static uint64_t function_of(struct trace *t, uint32_t index)
{
	return batch_get(t->read_functions, index);
}

int recording_read(struct trace *t, FILE *file, const char *name)
{
	struct reader *r = calloc(1, sizeof(*r));
	int status = EXIT_PROBLEM;

	t->session.target.memory = -1;
	t->session.pidfd = -1;
	t->names = names_open(NULL, NULL);
	if (!r || !t->names) {
		complain("no memory");
		goto free_reader;
	}
	r->trace = t;
	r->file = file;
	r->name = name;
	t->function_of = function_of;
	t->read_functions = &r->functions;
	status = timeline_open(t);
	if (status == EXIT_OK)
		status = read_head(r);
	if (status == EXIT_OK)
		status = read_parts(r);
	tally_end(t);
	t->read_lost = r->lost;
	t->read_functions = NULL;
free_reader:
	if (r) {
		free(r->symbols);
		free(r->paths);
		free(r->part);
	}
	free(r);
	return status;
}
