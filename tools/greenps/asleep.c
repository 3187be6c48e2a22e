/* SPDX-License-Identifier: MIT
 *
 * From a slot's word to its entry in the slab and the model of that; unpacking.
 *
 * In a core file a word may say that the stack is just being put away or brought back:
 * then its pages are there, or its entry, or both.  A live program goes on meanwhile:
 * an entry counts if the word is the same after it has been read as before.
 */
#include "asleep.h"
#include "packed.h"

#include <string.h>

#define BLOCK 1024 /* slots looked at at once */
#define PAGE 4096u

struct slot {
	uint32_t word, slab;
};

/* ---- the word --------------------------------------------------------------- */

static uint64_t slot_address(const struct snapshot *s, const struct stack_view *v)
{
	return s->arenas[v->class].sleep + v->slot * s->layout.slot_sleep.size;
}

static struct slot decode(const struct snapshot *s, const char *raw)
{
	return (struct slot){ (uint32_t)layout_get(raw, s->layout.slot_word),
		              (uint32_t)layout_get(raw, s->layout.slot_slab) };
}

/* False: nothing is known of it, it does not sleep. */
static bool read_slot(struct snapshot *s, const struct stack_view *v, struct slot *slot)
{
	char raw[SLOT_SIZE_MAX];

	if (!s->arenas[v->class].sleep ||
	    !target_read(s->t, slot_address(s, v), raw, s->layout.slot_sleep.size))
		return false;
	*slot = decode(s, raw);
	return true;
}

static uint64_t length_of(const struct snapshot *s, struct slot slot)
{
	return slot.word >> s->layout.slot_length_shift.value & s->layout.slot_length_mask.value;
}

static bool is_hibernated(const struct snapshot *s, struct slot slot)
{
	return (slot.word & s->layout.slot_state_mask.value) == s->layout.slot_hibernated.value;
}

/* ---- the bytes -------------------------------------------------------------- */

/* How long an entry is, nobody says: as much of it as can be read. */
static size_t read_code(struct snapshot *s, uint64_t address, unsigned char *code, size_t size)
{
	size_t in_page = PAGE - address % PAGE;

	if (target_read(s->t, address, code, size))
		return size;
	return in_page < size && target_read(s->t, address, code, in_page) ? in_page : 0;
}

/* The live bytes, which end at the top. */
static bool unpack(struct snapshot *s, struct slot slot, uint64_t top, uint64_t *words)
{
	const struct layout *l = &s->layout;
	static uint64_t like[PACK_WORDS_MAX];
	static unsigned char code[PACK_CODE_MAX];
	uint64_t count = length_of(s, slot) / 8, model = slot.word >> l->slot_model_shift.value;
	uint64_t model_top;
	struct recent recent;
	struct field f = { s->models + model * l->pack_model.size + l->pack_model_top.value,
		           l->pack_model_top.size };

	if (count > PACK_WORDS_MAX || model >= l->pack_models.value || !slot.slab || !s->slab)
		return false;
	size_t size = read_code(s, s->slab + slot.slab * l->slab_unit.value, code,
	                        (count + 3) / 4 + count * 9);
	return size && layout_global(s->t, f, &model_top) &&
	       target_read(s->t, s->words + model * l->pack_words_max.value * 8, like, count * 8) &&
	       packed_read(words, count, like, top - model_top, code, size, &recent);
}

/* From address up to the top; what is not live was zeroes or nothing. */
static bool read_packed(struct snapshot *s, struct slot slot, const struct stack_view *v,
                        uint64_t address, char *to)
{
	static uint64_t words[PACK_WORDS_MAX];
	struct slot again;
	uint64_t length = length_of(s, slot), wanted = v->top - address;

	if (length == 0 || !unpack(s, slot, v->top, words))
		return false;
	if (!s->t->core &&
	    (!read_slot(s, v, &again) || again.word != slot.word || again.slab != slot.slab))
		return false;
	if (wanted <= length) {
		memcpy(to, (const char *)words + (length - wanted), wanted);
	} else {
		memset(to, 0, wanted - length);
		memcpy(to + (wanted - length), words, length);
	}
	return true;
}

/* Where a core file has a hole there are zeroes, and no frame begins with one. */
static bool is_there(const struct snapshot *s, const void *to, size_t size)
{
	static const char zeros[PAGE];

	return !s->t->core || memcmp(to, zeros, size < sizeof(zeros) ? size : sizeof(zeros)) != 0;
}

bool asleep_read_stack(struct snapshot *s, const struct stack_view *v, uint64_t address, void *to)
{
	size_t size = v->top - address;
	struct slot slot;

	if (!read_slot(s, v, &slot))
		return target_read(s->t, address, to, size);
	if (!is_hibernated(s, slot) && target_read(s->t, address, to, size) &&
	    is_there(s, to, size))
		return true;
	return read_packed(s, slot, v, address, to);
}

/* ---- other memory ----------------------------------------------------------- */

static bool find_stack(const struct snapshot *s, uint64_t address, struct stack_view *v)
{
	for (uint32_t class = 0; class < sizeof(s->arenas) / sizeof(s->arenas[0]); class ++) {
		const struct arena_view *a = &s->arenas[class];
		uint64_t slot = (address - a->base) >> a->shift;
		if (!a->base || address < a->base || slot >= a->slots)
			continue;
		return snapshot_slot(
			s, (uint32_t)((class + 1) << s->layout.stack_id_shift.value | slot), v);
	}
	return false;
}

bool asleep_read(struct snapshot *s, uint64_t address, void *to, size_t size)
{
	static char bytes[PACK_WORDS_MAX * 8];
	struct stack_view v;
	struct slot slot;

	if (!find_stack(s, address, &v) || address >= v.top || v.top - address < size ||
	    v.top - address > sizeof(bytes) || !read_slot(s, &v, &slot) || !length_of(s, slot))
		return target_read(s->t, address, to, size);
	if (!asleep_read_stack(s, &v, address, bytes))
		return false;
	memcpy(to, bytes, size);
	return true;
}

/* ---- who sleeps ------------------------------------------------------------- */

/* Words of slots, read in blocks: neighbours usually are asked for one after another. */
struct block {
	char raw[BLOCK * SLOT_SIZE_MAX];
	uint32_t class, first, count;
};

static void read_block(struct snapshot *s, const struct stack_view *v, struct block *b)
{
	struct stack_view first = *v;
	const struct arena_view *a = &s->arenas[v->class];

	b->class = v->class;
	b->first = first.slot = v->slot / BLOCK * BLOCK;
	b->count = a->slots - b->first < BLOCK ? (uint32_t)(a->slots - b->first) : BLOCK;
	/* A core file has those that were ever in use. */
	for (; b->count; b->count /= 2)
		if (target_read(s->t, slot_address(s, &first), b->raw,
		                b->count * s->layout.slot_sleep.size))
			return;
}

static bool sleeps(struct snapshot *s, const struct stack_view *v, struct block *b)
{
	struct slot slot = { 0 };

	if (v->class != b->class || v->slot / BLOCK * BLOCK != b->first)
		read_block(s, v, b);
	if (v->slot - b->first < b->count)
		slot = decode(s, b->raw + (v->slot - b->first) * s->layout.slot_sleep.size);
	else if (!read_slot(s, v, &slot))
		return false;
	return length_of(s, slot) > 0;
}

void asleep_mark(struct snapshot *s)
{
	static struct block block = { .class = UINT32_MAX };
	struct stack_view v;

	for (size_t i = 0; i < s->threads_count; i++) {
		struct thread *thread = &s->threads[i];
		thread->hibernated = snapshot_stack(s, thread, &v) && s->arenas[v.class].sleep &&
		                     sleeps(s, &v, &block);
	}
}
