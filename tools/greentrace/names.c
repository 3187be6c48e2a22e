/* SPDX-License-Identifier: MIT
 *
 * Looking names up, on top of what greenps does, and keeping them.
 */
#include "names.h"
#include "escape.h"
#include "room.h"

#include <inttypes.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#define SYMBOLS_SIZE ROOM(8192) /* lists */
#define PATHS_SIZE ROOM(4096)
#define REFRESHES_MAX 64 /* libraries that are loaded late */

struct known {
	uint64_t pc;
	bool is_return;
	uint32_t number;
	struct known *next;
	struct symbol symbol;
};

struct names {
	struct snapshot snapshot;
	struct symbols *symbols; /* NULL: of a recording */
	unsigned refreshes;
	struct names_listener listener;
	uint32_t symbols_count, paths_count; /* the listener has been told of */
	struct known *known[SYMBOLS_SIZE];
	struct path *paths[PATHS_SIZE];
};

struct names *names_open(struct target *target, const struct layout *layout)
{
	struct names *n = calloc(1, sizeof(*n));

	if (!n || !target)
		return n;
	n->snapshot.t = target;
	n->snapshot.layout = *layout;
	n->symbols = symbols_open(&n->snapshot);
	if (n->symbols)
		return n;
	free(n);
	return NULL;
}

void names_close(struct names *n)
{
	if (!n)
		return;
	for (size_t i = 0; i < SYMBOLS_SIZE; i++)
		while (n->known[i]) {
			struct known *next = n->known[i]->next;
			free(n->known[i]);
			n->known[i] = next;
		}
	for (size_t i = 0; i < PATHS_SIZE; i++)
		while (n->paths[i]) {
			struct path *next = n->paths[i]->next;
			free(n->paths[i]->frames);
			free(n->paths[i]);
			n->paths[i] = next;
		}
	symbols_close(n->symbols);
	free(n);
}

/* ---- symbols ------------------------------------------------------------------ */

static void look_up(struct names *n, struct known *k)
{
	if (!n->symbols)
		return;
	k->symbol = *symbol_at(n->symbols, k->pc, k->is_return);
	if (k->symbol.file[0] || n->refreshes >= REFRESHES_MAX)
		return;
	/* In no file: perhaps in a library that was not there yet. */
	n->refreshes++;
	struct symbols *now = symbols_open(&n->snapshot);
	if (!now)
		return;
	if (symbol_at(now, k->pc, k->is_return)->file[0]) {
		symbols_close(n->symbols);
		n->symbols = now;
		k->symbol = *symbol_at(now, k->pc, k->is_return);
	} else {
		symbols_close(now);
	}
}

static struct known **list_of(struct names *n, uint64_t pc, bool is_return)
{
	uint64_t hash = (pc + is_return) * 0x9e3779b97f4a7c15u;

	return &n->known[hash >> 32 & (SYMBOLS_SIZE - 1)];
}

static struct known *find(struct names *n, uint64_t pc, bool is_return)
{
	struct known *k = *list_of(n, pc, is_return);

	while (k && (k->pc != pc || k->is_return != is_return))
		k = k->next;
	return k;
}

static struct known *add(struct names *n, uint64_t pc, bool is_return)
{
	struct known **list = list_of(n, pc, is_return), *k = calloc(1, sizeof(*k));

	if (!k)
		return NULL;
	k->pc = pc;
	k->is_return = is_return;
	k->number = n->symbols_count++;
	k->next = *list;
	*list = k;
	return k;
}

const struct symbol *names_get(struct names *n, uint64_t pc, bool is_return)
{
	static struct known unknown = { .number = UINT32_MAX };
	struct known *k = find(n, pc, is_return);

	if (k)
		return &k->symbol;
	k = add(n, pc, is_return);
	if (!k)
		return &unknown.symbol;
	look_up(n, k);
	if (n->listener.symbol)
		n->listener.symbol(n->listener.arg, pc, is_return, &k->symbol);
	return &k->symbol;
}

bool names_put(struct names *n, uint64_t pc, bool is_return, const struct symbol *symbol)
{
	struct known *k = find(n, pc, is_return);

	if (!k)
		k = add(n, pc, is_return);
	if (k)
		k->symbol = *symbol;
	return k != NULL;
}

uint32_t names_number(const struct symbol *symbol)
{
	const char *known = (const char *)symbol - offsetof(struct known, symbol);

	return ((const struct known *)(const void *)known)->number;
}

void names_listen(struct names *n, const struct names_listener *listener)
{
	static const struct names_listener nobody;

	n->listener = listener ? *listener : nobody;
	n->symbols_count = n->paths_count = 0;
}

bool names_find(struct names *n, const char *function, uint64_t *start, uint64_t *end)
{
	return symbol_find(n->symbols, function, start, end);
}

/* ---- paths -------------------------------------------------------------------- */

static uint64_t hash_of(const struct frame *frames, size_t depth)
{
	uint64_t hash = depth;

	for (size_t i = 0; i < depth; i++)
		hash = (hash ^ frames[i].pc) * 0x9e3779b97f4a7c15u, hash ^= hash >> 29;
	return hash;
}

static bool same(const struct path *p, uint64_t hash, const struct frame *frames, size_t depth)
{
	if (p->hash != hash || p->depth != depth)
		return false;
	for (size_t i = 0; i < depth; i++)
		if (p->pcs[i] != frames[i].pc)
			return false;
	return true;
}

static struct path *new_path(struct names *n, const struct frame *frames, size_t depth)
{
	struct path *p = calloc(1, sizeof(*p) + depth * sizeof(p->pcs[0]));

	if (!p)
		return NULL;
	p->frames = calloc(depth, sizeof(struct symbol *));
	if (!p->frames) {
		free(p);
		return NULL;
	}
	p->depth = depth;
	for (size_t i = 0; i < depth; i++) {
		p->pcs[i] = frames[i].pc;
		p->frames[i] = names_get(n, frames[i].pc, frames[i].is_return);
	}
	return p;
}

static struct path *intern(struct names *n, const struct frame *frames, size_t depth)
{
	uint64_t hash = hash_of(frames, depth);
	struct path **list = &n->paths[hash >> 32 & (PATHS_SIZE - 1)];

	for (struct path *p = *list; p; p = p->next)
		if (same(p, hash, frames, depth))
			return p;
	struct path *p = new_path(n, frames, depth);
	if (!p)
		return NULL;
	p->hash = hash;
	p->number = n->paths_count++;
	p->next = *list;
	*list = p;
	if (n->listener.path)
		n->listener.path(n->listener.arg, p);
	return p;
}

/* First code of a green thread, on its new stack: of no interest to anybody. */
static bool is_boot(struct names *n, const struct frame *frame)
{
	const char *function = names_get(n, frame->pc, frame->is_return)->function;

	return strcmp(function, "spawn_boot") == 0 || strcmp(function, "switch_boot") == 0 ||
	       strcmp(function, "runtime_main") == 0;
}

/* The first frame of a path from a probe of the runtime's to the site. */
static size_t first_of(const struct names *n, const struct frame *frames, size_t depth,
                       uint64_t site, uint64_t why)
{
	const struct layout *l = &n->snapshot.layout;
	size_t i = 0;

	if (why < TRACE_CALL) {
		while (i < depth && frames[i].pc != site)
			i++;
		return i < depth ? i : 0;
	}
	/* An intercepted call: there are libraries in between. */
	while (i < depth && frames[i].pc >= l->text.value && frames[i].pc < l->text_end.value)
		i++;
	return i;
}

void path_note(struct path *path, uint64_t site, uint64_t why)
{
	path->why = why;
	for (path->at = 0; path->at + 1 < path->depth; path->at++)
		if (path->pcs[path->at] == site)
			return;
	if (path->pcs[path->at] != site)
		path->at = 0;
}

/* Of clone(2) the way back is not told, as its child has none. */
static size_t walk_caller(struct names *n, const struct event_stack *e, struct frame *frames)
{
	uint64_t registers[LAYOUT_REGISTERS];
	struct frame found[FRAMES_MAX];

	if (e->size <= sizeof(e->why))
		return 0;
	memcpy(registers, e->registers, sizeof(registers));
	registers[EVENT_PC] = e->why;
	registers[EVENT_SP] += sizeof(e->why);
	size_t depth = stack_walk_copy(n->symbols, registers, e->stack + sizeof(e->why),
	                               e->size - sizeof(e->why), found);
	if (depth == FRAMES_MAX)
		depth--;
	if (depth)
		found[0].is_return = true;
	memcpy(frames, found, depth * sizeof(*frames));
	return depth;
}

struct path *names_path(struct names *n, const struct event_stack *e, uint64_t site)
{
	uint64_t registers[LAYOUT_REGISTERS];
	struct frame frames[FRAMES_MAX];

	_Static_assert(EVENT_REGISTERS == LAYOUT_REGISTERS, "both go by DWARF numbers");
	memcpy(registers, e->registers, sizeof(registers));
	size_t depth = stack_walk_copy(n->symbols, registers, e->stack, e->size, frames);
	if (depth == 1 && e->kind == EVENT_SYSCALL)
		depth += walk_caller(n, e, frames + 1);
	const bool cut = depth == FRAMES_MAX;
	size_t first = site ? first_of(n, frames, depth, site, e->why) : 0;
	while (depth > first + 1 && is_boot(n, &frames[depth - 1]))
		depth--;
	if (depth == first)
		return NULL;
	struct path *p = intern(n, frames + first, depth - first);
	if (!p)
		return NULL;
	p->count++;
	p->cut = cut;
	return p;
}

struct path *names_put_path(struct names *n, const struct frame *frames, size_t depth)
{
	return intern(n, frames, depth);
}

struct path *names_alone(struct names *n, uint64_t pc)
{
	const struct frame frame = { pc, true };

	return intern(n, &frame, 1);
}

/* Of a program with a libc of its own only what starts threads is told from its functions. */
static bool is_libc(const struct symbol *y)
{
	return strncmp(y->file, "libc.so", 7) == 0 || strstr(y->function, "pthread_create");
}

bool names_is_runtimes(const struct names *n, const struct path *path)
{
	const struct layout *l = &n->snapshot.layout;

	for (size_t i = 1; path && i < path->depth; i++)
		if (path->pcs[i] >= l->text.value && path->pcs[i] < l->text_end.value)
			return is_libc(path->frames[i - 1]);
	return false;
}

void names_each_path(struct names *n, void (*each)(void *arg, const struct path *path), void *arg)
{
	for (size_t i = 0; i < PATHS_SIZE; i++)
		for (const struct path *p = n->paths[i]; p; p = p->next)
			each(arg, p);
}

/* ---- text --------------------------------------------------------------------- */

char *function_text(char *to, size_t size, const struct symbol *y)
{
	char text[320];

	if (y->function[0])
		snprintf(text, sizeof(text), "%s", y->function);
	else if (y->file[0])
		snprintf(text, sizeof(text), "%s+0x%" PRIx64, y->file, y->into);
	else
		snprintf(text, sizeof(text), "?");
	return escape_text(to, size, text, false);
}

char *place_text(char *to, size_t size, const struct symbol *y)
{
	char text[400];

	if (y->function[0] && y->source[0])
		snprintf(text, sizeof(text), "%s (%s)", y->function, y->source);
	else if (y->function[0])
		snprintf(text, sizeof(text), "%s+0x%" PRIx64 " (%s)", y->function, y->into,
		         y->file);
	else
		return function_text(to, size, y);
	return escape_text(to, size, text, false);
}

void path_print(FILE *file, const struct path *path)
{
	char text[512];

	for (size_t i = 0; i < path->depth; i++)
		fprintf(file, "      %s\n", place_text(text, sizeof(text), path->frames[i]));
}
