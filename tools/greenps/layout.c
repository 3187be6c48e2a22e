/* SPDX-License-Identifier: MIT
 *
 * From the ELF note in one of the target's files to the layout of its runtime.
 */
#include "layout.h"
#include "core.h"
#include "descriptor.h"
#include "escape.h"
#include "greenps.h"
#include "packed.h"

#include <elf.h>
#include <stdlib.h>
#include <string.h>

#define HEADERS_MAX 256
#define NOTES_MAX 65536
#define ITEMS_MAX 4096
#define ITEM_SIZE_MAX 1024

/* ---- the note --------------------------------------------------------------- */

struct search {
	struct target *t;
	uint64_t descriptor; /* its address; 0: not found yet */
	uint32_t version;    /* of a note of another version */
};

static void look_at_note(struct search *s, uint64_t address, const char *desc, size_t size)
{
	struct descriptor_note note;
	int64_t distance;

	if (size < sizeof(note))
		return;
	memcpy(&note, desc, sizeof(note));
	if (note.version != DESCRIPTOR_VERSION) {
		s->version = note.version;
		return;
	}
	memcpy(&distance, note.distance, sizeof(distance));
	s->descriptor = address + offsetof(struct descriptor_note, distance) + (uint64_t)distance;
}

static size_t rounded(uint32_t size)
{
	return ((size_t)size + 3) & ~(size_t)3;
}

static void walk_notes(struct search *s, uint64_t address, const char *notes, size_t size)
{
	static const char owner[] = DESCRIPTOR_NOTE;
	Elf64_Nhdr n;

	for (size_t at = 0; size - at >= sizeof(n);) {
		memcpy(&n, notes + at, sizeof(n));
		at += sizeof(n);
		if (rounded(n.n_namesz) > size - at)
			return;
		const char *name = notes + at;
		at += rounded(n.n_namesz);
		if (n.n_descsz > size - at)
			return;
		if (n.n_type == DESCRIPTOR_NOTE_TYPE && n.n_namesz == sizeof(owner) &&
		    memcmp(name, owner, sizeof(owner)) == 0)
			look_at_note(s, address + at, notes + at, n.n_descsz);
		if (rounded(n.n_descsz) > size - at)
			return;
		at += rounded(n.n_descsz);
	}
}

/* What to add to the addresses in a file's headers, if its start is mapped there. */
static bool bias_of(const Elf64_Phdr *p, unsigned count, uint64_t start, uint64_t *bias)
{
	for (unsigned i = 0; i < count; i++)
		if (p[i].p_type == PT_LOAD && p[i].p_offset < 4096) {
			*bias = start - (p[i].p_vaddr - p[i].p_offset);
			return true;
		}
	return false;
}

static void search_file(struct search *s, uint64_t start)
{
	static char notes[NOTES_MAX];
	Elf64_Ehdr e;
	Elf64_Phdr p[HEADERS_MAX];
	uint64_t bias;

	if (!target_read(s->t, start, &e, sizeof(e)) || memcmp(e.e_ident, ELFMAG, SELFMAG) != 0 ||
	    e.e_ident[EI_CLASS] != ELFCLASS64 || e.e_ident[EI_DATA] != ELFDATA2LSB ||
	    e.e_phentsize != sizeof(p[0]) || e.e_phnum > HEADERS_MAX ||
	    !target_read(s->t, start + e.e_phoff, p, e.e_phnum * sizeof(p[0])) ||
	    !bias_of(p, e.e_phnum, start, &bias))
		return;
	for (unsigned i = 0; i < e.e_phnum && !s->descriptor; i++)
		if (p[i].p_type == PT_NOTE && p[i].p_memsz <= NOTES_MAX &&
		    target_read(s->t, bias + p[i].p_vaddr, notes, p[i].p_memsz))
			walk_notes(s, bias + p[i].p_vaddr, notes, p[i].p_memsz);
}

/* ---- the descriptor --------------------------------------------------------- */

static unsigned register_number(const char *name)
{
	char *end;
	unsigned long n = strtoul(name, &end, 10);

	return *name && !*end && n < LAYOUT_REGISTERS ? (unsigned)n : LAYOUT_REGISTERS;
}

static void keep_name(char names[LAYOUT_NAMES][24], const struct descriptor_item *item,
                      const char *name)
{
	if (item->value < LAYOUT_NAMES)
		escape_text(names[item->value], sizeof(names[0]), name, false);
}

static void keep_item(struct layout *l, const struct descriptor_item *item)
{
	static const struct {
		const char *name;
		size_t at;
	} members[] = {
#define LAYOUT_ENTRY(member, name) { name, offsetof(struct layout, member) },
		LAYOUT_ITEMS(LAYOUT_ENTRY) LAYOUT_SLEEP_ITEMS(LAYOUT_ENTRY)
			LAYOUT_OPTIONAL_ITEMS(LAYOUT_ENTRY)
#undef LAYOUT_ENTRY
	};
	struct field f = { item->value, item->size };

	if (strncmp(item->name, "state:", 6) == 0)
		keep_name(l->states, item, item->name + 6);
	if (strncmp(item->name, "why:", 4) == 0)
		keep_name(l->whys, item, item->name + 4);
	if (strncmp(item->name, "call:", 5) == 0)
		keep_name(l->whys, item, item->name + 5);
	if (strncmp(item->name, "frame.reg", 9) == 0) {
		unsigned n = register_number(item->name + 9);
		if (n < LAYOUT_REGISTERS)
			l->registers[n] = f;
	}
	/* A size of UINT64_MAX marks what has not been found. */
	for (size_t i = 0; i < sizeof(members) / sizeof(members[0]); i++)
		if (strcmp(item->name, members[i].name) == 0)
			memcpy((char *)l + members[i].at, &f, sizeof(f));
}

/* 1, or 0 if there is no descriptor at that address. */
static int read_items(struct layout *l, struct target *t, uint64_t address)
{
	struct descriptor d;
	struct descriptor_item item;

	if (!target_read(t, address, &d, offsetof(struct descriptor, items)) ||
	    memcmp(d.magic, DESCRIPTOR_MAGIC, sizeof(d.magic)) != 0 || d.items_count > ITEMS_MAX ||
	    d.item_size < sizeof(item) || d.item_size > ITEM_SIZE_MAX)
		return 0;
	memset(l, 0, sizeof(*l));
#define LAYOUT_UNKNOWN(member, name) l->member.size = UINT64_MAX;
	LAYOUT_ITEMS(LAYOUT_UNKNOWN)
	LAYOUT_SLEEP_ITEMS(LAYOUT_UNKNOWN)
	LAYOUT_OPTIONAL_ITEMS(LAYOUT_UNKNOWN)
#undef LAYOUT_UNKNOWN
	memcpy(l->library, d.library, sizeof(d.library));
	for (uint32_t i = 0; i < d.items_count; i++) {
		if (!target_read(t, address + d.header_size + (uint64_t)i * d.item_size, &item,
		                 sizeof(item)))
			return 0;
		item.name[sizeof(item.name) - 1] = 0;
		keep_item(l, &item);
	}
	return 1;
}

/* ---- checking it ------------------------------------------------------------ */

static int lacks(const struct layout *l, const char *name)
{
	char library[80];

	return problem("the program's libgreen (%s) does not describe \"%s\": use the %s that "
	               "came with it",
	               escape_text(library, sizeof(library), l->library, false), name, tool_name);
}

static bool fits(struct field f, struct field in)
{
	return in.size <= STRUCT_SIZE_MAX && f.value <= in.size && f.size <= in.size - f.value;
}

static bool understands_sleep(const struct layout *l)
{
	bool found = true;

#define LAYOUT_FOUND(member, name) found = found && l->member.size != UINT64_MAX;
	LAYOUT_SLEEP_ITEMS(LAYOUT_FOUND)
#undef LAYOUT_FOUND
	return found && l->pack_format.value == PACK_FORMAT && fits(l->arena_sleep, l->arena) &&
	       fits(l->slot_word, l->slot_sleep) && fits(l->slot_slab, l->slot_sleep) &&
	       l->slot_sleep.size > 0 && l->slot_sleep.size <= SLOT_SIZE_MAX &&
	       l->slot_length_shift.value < 32 && l->slot_model_shift.value < 32 &&
	       fits(l->view_slab, l->hibernate_view) && fits(l->view_models, l->hibernate_view) &&
	       fits(l->view_words, l->hibernate_view) && fits(l->pack_model_top, l->pack_model) &&
	       l->pack_words_max.value <= PACK_WORDS_MAX;
}

/* Nothing that is read by these offsets leaves the buffers it is in. */
static int check(const struct layout *l)
{
#define LAYOUT_FOUND(member, name)        \
	if (l->member.size == UINT64_MAX) \
		return lacks(l, name);
	LAYOUT_ITEMS(LAYOUT_FOUND)
#undef LAYOUT_FOUND
	const struct field in_gt[] = { l->gt_sp,       l->gt_park, l->gt_stack,    l->gt_worker,
		                       l->gt_state,    l->gt_why,  l->gt_wait_obj, l->gt_wait_pc,
		                       l->gt_since_ns, l->gt_ext,  l->gt_id,       l->gt_fn,
		                       l->gt_spawn_pc };
	const struct field in_worker[] = { l->worker_current, l->worker_now, l->worker_stuck_since,
		                           l->worker_tid, l->worker_switches };
	const struct field in_runtime[] = { l->runtime_state, l->runtime_workers_count,
		                            l->runtime_workers, l->runtime_idle };
	const struct field in_census[] = { l->census_pc,   l->census_fn,     l->census_deepest,
		                           l->census_size, l->census_looked, l->census_is_handler };
	const struct field in_arena[] = { l->arena_base, l->arena_shift, l->arena_slots };
	bool ok = l->index_bits.value < 64 && l->gt.size > 0 && l->frame.size <= STRUCT_SIZE_MAX &&
	          fits(l->frame_pc, l->frame) && l->stack_id_shift.value < 32 &&
	          l->colour_shift.value < 32 && l->colour_factor.value < 65536 &&
	          l->colour_mask.value < 65536 && fits(l->gt_ext_name, l->gt_ext_struct) &&
	          (l->gt_kind.size == UINT64_MAX || fits(l->gt_kind, l->gt));
#define ALL_FIT(array, in)                                              \
	for (size_t i = 0; i < sizeof(array) / sizeof((array)[0]); i++) \
		ok = ok && fits((array)[i], in);
	ALL_FIT(in_gt, l->gt)
	ALL_FIT(in_worker, l->worker)
	ALL_FIT(in_runtime, l->runtime)
	ALL_FIT(in_arena, l->arena)
	ALL_FIT(in_census, l->census_site)
#undef ALL_FIT
	for (unsigned i = 0; i < LAYOUT_REGISTERS; i++)
		ok = ok && fits(l->registers[i], l->frame);
	return ok ? EXIT_OK : problem("the program's descriptor of libgreen is damaged");
}

/* ---- for the others --------------------------------------------------------- */

static int not_found(const struct search *s)
{
	char program[300];
	struct target *t = s->t;

	escape_text(program, sizeof(program), t->program, true);
	if (t->gone)
		return problem("process %d (%s) ended while it was being read", (int)t->pid,
		               program);
	if (s->version)
		return problem("process %d (%s) has a libgreen whose descriptor is of version %u; "
		               "this %s knows %d: use the one that came with that library",
		               (int)t->pid, program, s->version, tool_name, DESCRIPTOR_VERSION);
	if (t->core)
		return problem(
			"%s: no libgreen 0.1 or later found in this core file of %s; if the "
			"program does use it, its files are missing here, or the core is cut "
			"short",
			core_path(t->core), program);
	return problem("process %d (%s) is not a libgreen program (or its libgreen is older than "
	               "0.1)",
	               (int)t->pid, program);
}

int layout_find(struct layout *l, struct target *t)
{
	struct layout other;
	struct search s = { .t = t };
	uint64_t state;
	bool found = false, active = false;

	/* A program may have two, one linked in and one shared: the active one counts. */
	for (size_t i = 0; i < t->mappings_count && !active; i++) {
		if (t->mappings[i].offset != 0)
			continue;
		s.descriptor = 0;
		search_file(&s, t->mappings[i].start);
		if (!s.descriptor || !read_items(&other, t, s.descriptor))
			continue;
		active = layout_global(t,
		                       (struct field){ other.rt.value + other.runtime_state.value,
		                                       other.runtime_state.size },
		                       &state) &&
		         state != 0;
		if (!found || active) {
			*l = other;
			l->base = t->mappings[i].start;
		}
		found = true;
	}
	if (!found)
		return not_found(&s);
	l->has_sleep = understands_sleep(l);
	return check(l);
}

uint64_t layout_get(const void *raw, struct field f)
{
	uint64_t n = 0;

	memcpy(&n, (const char *)raw + f.value, f.size < sizeof(n) ? f.size : sizeof(n));
	return n;
}

bool layout_global(struct target *t, struct field f, uint64_t *value)
{
	*value = 0;
	return f.size <= sizeof(*value) && target_read(t, f.value, value, f.size);
}

/* Its spawn_pc is the function; a runtime that does not say its kind may have some, too. */
static bool is_handler(const struct layout *l, const void *raw)
{
	return l->gt_kind.size != UINT64_MAX && l->kind_handler.size != UINT64_MAX &&
	       (layout_get(raw, l->gt_kind) & l->kind_handler.value);
}

uint64_t layout_function(const struct layout *l, struct target *t, const void *raw)
{
	uint64_t ext = layout_get(raw, l->gt_ext), function = 0;
	struct field user_fn = { ext + l->gt_ext_user_fn.value, l->gt_ext_user_fn.size };

	if (is_handler(l, raw))
		return layout_get(raw, l->gt_spawn_pc);
	if (ext)
		layout_global(t, user_fn, &function);
	return function ? function : layout_get(raw, l->gt_fn);
}

uint64_t layout_origin(const struct layout *l, const void *raw)
{
	return is_handler(l, raw) ? 0 : layout_get(raw, l->gt_spawn_pc);
}

const char *layout_state(const struct layout *l, unsigned state)
{
	return state < LAYOUT_NAMES && l->states[state][0] ? l->states[state] : "?";
}

const char *layout_why(const struct layout *l, unsigned why)
{
	return why < LAYOUT_NAMES && l->whys[why][0] ? l->whys[why] : "?";
}
