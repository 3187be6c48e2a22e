/* SPDX-License-Identifier: MIT
 *
 * The tree of bits of struct slotmap.
 */
#include "slotmap.h"

#include <assert.h>

/* Words of the level that has a bit for each of count things. */
static size_t level_words(size_t count)
{
	return (count + 63) / 64;
}

size_t slotmap_size(uint32_t count)
{
	size_t words = level_words(count), sum = words;

	while (words > 1) {
		words = level_words(words);
		sum += words;
	}
	return sum * sizeof(uint64_t);
}

void slotmap_init(struct slotmap *map, void *memory, uint32_t count)
{
	uint64_t *next = memory;
	size_t things = count;

	assert(count > 0 && count <= (uint32_t)1 << 30);
	map->levels = 0;
	atomic_store_explicit(&map->taken, 0, memory_order_relaxed);
	do {
		size_t words = level_words(things);
		map->words[map->levels++] = next;
		/* Bits beyond the last thing are taken for good. */
		if (things % 64)
			next[words - 1] = ~(uint64_t)0 << things % 64;
		next += words;
		things = words;
	} while (things > 1);
	assert(map->levels <= SLOTMAP_LEVELS);
}

/* The first word of level 0 with a zero bit; -1 when there is none. */
static int64_t find_word(const struct slotmap *map)
{
	size_t i = 0;

	for (unsigned level = map->levels; level-- > 0;) {
		uint64_t word = map->words[level][i];
		if (!~word)
			return -1;
		if (level)
			i = i * 64 + (size_t)__builtin_ctzll(~word);
	}
	return (int64_t)i;
}

/* Word i of level 0 has just been filled: tells the levels above. */
static void mark_full(struct slotmap *map, size_t i)
{
	for (unsigned level = 1; level < map->levels; level++) {
		uint64_t *word = &map->words[level][i / 64];
		*word |= (uint64_t)1 << i % 64;
		if (~*word)
			return;
		i /= 64;
	}
}

/* Word i of level 0 was full until now. */
static void mark_room(struct slotmap *map, size_t i)
{
	for (unsigned level = 1; level < map->levels; level++) {
		uint64_t *word = &map->words[level][i / 64];
		uint64_t before = *word;
		*word = before & ~((uint64_t)1 << i % 64);
		if (~before)
			return;
		i /= 64;
	}
}

unsigned slotmap_take(struct slotmap *map, uint32_t *slots, unsigned want)
{
	unsigned n = 0;

	spin_lock(&map->lock);
	while (n < want) {
		int64_t i = find_word(map);
		if (i < 0)
			break;
		uint64_t *word = &map->words[0][i];
		while (n < want && ~*word) {
			int bit = __builtin_ctzll(~*word);
			*word |= (uint64_t)1 << bit;
			slots[n++] = (uint32_t)(i * 64 + bit);
		}
		if (!~*word)
			mark_full(map, (size_t)i);
	}
	atomic_fetch_add_explicit(&map->taken, n, memory_order_relaxed);
	spin_unlock(&map->lock);
	return n;
}

void slotmap_give(struct slotmap *map, const uint32_t *slots, unsigned count)
{
	spin_lock(&map->lock);
	for (unsigned n = 0; n < count; n++) {
		size_t i = slots[n] / 64;
		uint64_t *word = &map->words[0][i];
		uint64_t before = *word;
		assert(before >> slots[n] % 64 & 1);
		*word = before & ~((uint64_t)1 << slots[n] % 64);
		if (!~before)
			mark_room(map, i);
	}
	atomic_fetch_sub_explicit(&map->taken, count, memory_order_relaxed);
	spin_unlock(&map->lock);
}

bool slotmap_is_taken(struct slotmap *map, uint32_t slot)
{
	spin_lock(&map->lock);
	bool taken = map->words[0][slot / 64] >> slot % 64 & 1;
	spin_unlock(&map->lock);
	return taken;
}
