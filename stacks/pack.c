/* SPDX-License-Identifier: MIT
 *
 * Models, and the code of pack.h.
 */
#include "pack.h"
#include "arch/cpu.h"
#include "arch/sys.h"

#include <assert.h>
#include <stdatomic.h>
#include <string.h>

#define WAYS 4u /* places a model may be at */
#define HASH 0x9e3779b97f4a7c15u

enum { SAME, MOVED, AGAIN, DIFFERS };

struct model {
	uint64_t key;           /* what the stacks like it have in common; 0: none yet */
	uint64_t top;           /* of the stack it was */
	_Atomic uint32_t codes; /* that refer to it */
};

static struct {
	struct model *models;
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
	packer.models = (struct model *)memory;
	packer.words = (uint64_t(*)[PACK_WORDS_MAX])(memory + heads);
	packer.size = size;
	memset(packer.seen, 0, sizeof(packer.seen));
	return 0;
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
	uint64_t magnitude = difference ^ (uint64_t)((int64_t)difference >> 63);

	return magnitude ? (unsigned)(64 - __builtin_clzll(magnitude)) / 8 + 1 : 1;
}

static unsigned char *put(unsigned char *code, uint64_t difference)
{
	unsigned count = bytes_of(difference);

	*code++ = (unsigned char)count;
	memcpy(code, &difference, count); /* little-endian */
	return code + count;
}

size_t pack(const void *sp, const void *top, uint64_t alike, unsigned char *code, unsigned *model)
{
	size_t length = (size_t)((const char *)top - (const char *)sp), words = length / 8;
	unsigned char *next = code + (words + 3) / 4;
	uint64_t last = 0;

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
		} else if (difference == last) {
			how = AGAIN;
		} else {
			how = DIFFERS;
			last = difference;
			next = put(next, difference);
		}
		code[i / 4] |= (unsigned char)(how << i % 4 * 2);
	}
	return (size_t)(next - code);
}

static const unsigned char *get(const unsigned char *code, uint64_t *difference)
{
	unsigned count = *code++, unused = 64 - 8 * count;
	uint64_t n = 0;

	assert(count >= 1 && count <= 8);
	for (unsigned i = 0; i < count; i++)
		n |= (uint64_t)code[i] << 8 * i;
	*difference = (uint64_t)((int64_t)(n << unused) >> unused);
	return code + count;
}

void unpack(void *to, size_t length, const void *top, const unsigned char *code, unsigned model)
{
	size_t words = length / 8;
	const unsigned char *next = code + (words + 3) / 4;
	const uint64_t *like = packer.words[model];
	uint64_t moved = (uintptr_t)top - packer.models[model].top, last = 0, *out = to;

	for (size_t i = 0; i < words; i++) {
		unsigned how = code[i / 4] >> i % 4 * 2 & 3;
		uint64_t difference = 0;
		if (how == MOVED)
			difference = moved;
		else if (how == DIFFERS)
			next = get(next, &last);
		if (how >= AGAIN)
			difference = last;
		out[i] = like[i] + difference;
	}
}
