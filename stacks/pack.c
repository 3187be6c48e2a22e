/* SPDX-License-Identifier: MIT
 *
 * Models, and the code of pack.h.
 */
#include "pack.h"
#include "arch/cpu.h"
#include "arch/sys.h"
#include "scrub.h"

#include <assert.h>
#include <stdatomic.h>
#include <string.h>

#define WAYS 4u /* places a model may be at */
#define HASH 0x9e3779b97f4a7c15u

static struct {
	struct pack_model *models;
	uint64_t (*words)[PACK_WORDS_MAX]; /* of each model */
	size_t size;
	uint64_t seen[PACK_MODELS]; /* keys, once */
	uint64_t raw[PACK_WORDS_MAX];
} packer;

int pack_init(void)
{
	size_t heads = (PACK_MODELS * sizeof(*packer.models) + 4095) & ~(size_t)4095;
	size_t size = heads + PACK_MODELS * sizeof(*packer.words);
	long error;
	char *memory = sys_map(size, SYS_MAP_NORESERVE, &error);

	if (!memory)
		return (int)error;
	sys_name(memory, size, "green model stacks");
	packer.models = (struct pack_model *)memory;
	packer.words = (uint64_t(*)[PACK_WORDS_MAX])(memory + heads);
	packer.size = size;
	memset(packer.seen, 0, sizeof(packer.seen));
	return 0;
}

void pack_where(const void **models, const void **words)
{
	*models = packer.models;
	*words = packer.words;
}

void pack_fini(void)
{
	sys_unmap(packer.models, packer.size);
	packer.models = NULL;
}

/* ---- models ----------------------------------------------------------------- */

static void make_model(unsigned at, uint64_t key, uint64_t top, size_t words)
{
	packer.models[at].key = key;
	packer.models[at].top = top;
	memcpy(packer.words[at], packer.raw, words * 8);
}

/* The model for the raw words, made of them when they are the second of their
 * kind; 0: there is none, nor a place for one. */
static unsigned model_for(uint64_t alike, uint64_t top, size_t words)
{
	uint64_t key = ((alike + words) * HASH) | 1;
	unsigned first = (unsigned)(key >> 32) & (PACK_MODELS - 1) & ~(WAYS - 1);
	unsigned unused = 0;

	if (scrub_is_on())
		return 0; /* nobody keeps what was on another's stack */
	for (unsigned at = first; at < first + WAYS; at++) {
		if (at > 0 && packer.models[at].key == key)
			return at;
		/* Acquire pairs with the release in pack_forget(): nobody reads it. */
		if (!atomic_load_explicit(&packer.models[at].codes, memory_order_acquire))
			unused = at;
	}
	uint64_t *seen = &packer.seen[key >> 16 & (PACK_MODELS - 1)];
	if (*seen != key) {
		*seen = key;
		return 0;
	}
	if (unused)
		make_model(unused, key, top, words);
	return unused;
}

void pack_forget(unsigned model)
{
	/* Release: all reading of the model came before. */
	atomic_fetch_sub_explicit(&packer.models[model].codes, 1, memory_order_release);
}

/* ---- the code --------------------------------------------------------------- */

/* Bytes that a signed number takes. */
static unsigned bytes_of(uint64_t difference)
{
	uint64_t magnitude = difference ^ (0 - (difference >> 63));

	return magnitude ? (unsigned)(64 - __builtin_clzll(magnitude)) / 8 + 1 : 1;
}

static unsigned char *put(unsigned char *code, struct recent *recent, uint64_t word,
                          uint64_t difference)
{
	unsigned count = bytes_of(difference), plain = word ? bytes_of(word) : 0;

	for (unsigned back = 1; back < recent->count && back < RECENT; back++)
		if (recall(recent, back) == difference) {
			*code = (unsigned char)(EARLIER + back);
			return code + 1;
		}
	if (plain < count) {
		*code++ = (unsigned char)(WORD + plain);
		memcpy(code, &word, plain); /* little-endian */
		return code + plain;
	}
	remember(recent, difference);
	*code++ = (unsigned char)count;
	memcpy(code, &difference, count);
	return code + count;
}

size_t pack(const void *sp, const void *top, uint64_t alike, unsigned char *code, unsigned *model)
{
	size_t length = (size_t)((const char *)top - (const char *)sp), words = length / 8;
	unsigned char *next = code + (words + 3) / 4;
	struct recent recent = { .count = 0 };

	assert(length % 8 == 0 && length <= PACK_BYTES_MAX);
	cpu_copy(packer.raw, sp, length);
	*model = model_for(alike, (uintptr_t)top, words);
	const uint64_t *like = packer.words[*model];
	uint64_t moved = (uintptr_t)top - packer.models[*model].top;
	atomic_fetch_add_explicit(&packer.models[*model].codes, 1, memory_order_relaxed);
	memset(code, 0, (words + 3) / 4);
	for (size_t i = 0; i < words; i++) {
		uint64_t difference = packer.raw[i] - like[i];
		unsigned how = SAME;
		if (difference == 0)
			continue;
		if (difference == moved) {
			how = MOVED;
		} else if (recent.count && difference == recall(&recent, 0)) {
			how = AGAIN;
		} else {
			how = DIFFERS;
			next = put(next, &recent, packer.raw[i], difference);
		}
		code[i / 4] |= (unsigned char)(how << i % 4 * 2);
	}
	if (scrub_is_on()) {
		memset(packer.raw, 0, length);
		explicit_bzero(&recent, sizeof(recent));
	}
	return (size_t)(next - code);
}

void unpack(void *to, size_t length, const void *top, const unsigned char *code, unsigned model)
{
	uint64_t moved = (uintptr_t)top - packer.models[model].top;
	struct recent recent;
	bool whole = packed_read(to, length / 8, packer.words[model], moved, code, PACK_CODE_MAX,
	                         &recent);

	assert(whole);
	(void)whole;
	if (scrub_is_on())
		explicit_bzero(&recent, sizeof(recent));
}
