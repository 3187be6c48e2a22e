/* SPDX-License-Identifier: MIT
 *
 * Reading the code of packed stacks (pack.h says what it is): for the runtime, and for
 * greenps, which finds code and model in a process or core file that it does not trust.
 */
#ifndef STACKS_PACKED_H
#define STACKS_PACKED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PACK_BYTES_MAX ((size_t)2048) /* that can be packed */
#define PACK_WORDS_MAX (PACK_BYTES_MAX / 8)
#define PACK_CODE_MAX (PACK_WORDS_MAX / 4 + PACK_WORDS_MAX * 9)

/* Of the code: readers from outside understand this one. */
#define PACK_FORMAT 1

enum packed_how { SAME, MOVED, AGAIN, DIFFERS };
enum { WORD = 16, EARLIER = 32 }; /* how a difference is written */

#define RECENT 16u /* differences that are remembered */

/* The differences that were written, the last one at `count - 1`. */
struct recent {
	uint64_t differences[RECENT];
	unsigned count;
};

static inline void remember(struct recent *recent, uint64_t difference)
{
	recent->differences[recent->count++ % RECENT] = difference;
}

static inline uint64_t recall(const struct recent *recent, unsigned back)
{
	return recent->differences[(recent->count - 1 - back) % RECENT];
}

/* Little-endian, signed. */
static inline uint64_t packed_number(const unsigned char *bytes, unsigned count)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < count; i++)
		n |= (uint64_t)bytes[i] << 8 * i;
	return count ? (uint64_t)((int64_t)(n << (64 - 8 * count)) >> (64 - 8 * count)) : 0;
}

/* One DIFFERS: the word, where the model's is `like`, and where the next one begins;
 * NULL: that is no code. */
static inline const unsigned char *packed_word(const unsigned char *code, const unsigned char *end,
                                               struct recent *recent, uint64_t like, uint64_t *word)
{
	if (code >= end)
		return NULL;
	unsigned how = *code++, count = how % WORD;

	if (how >= EARLIER) {
		if (how - EARLIER >= RECENT)
			return NULL;
		*word = like + recall(recent, how - EARLIER);
		return code;
	}
	if (count > 8 || count > (size_t)(end - code))
		return NULL;
	*word = packed_number(code, count);
	if (how < WORD) {
		remember(recent, *word);
		*word += like;
	}
	return code + count;
}

/* Writes the words that the code of at most size bytes stands for, where its model has
 * like[], `moved` bytes below the stack.  False: it is none.  What recent holds then is
 * of the stack; it is the caller's, who may have to clear it. */
static inline bool packed_read(uint64_t *out, size_t words, const uint64_t *like, uint64_t moved,
                               const unsigned char *code, size_t size, struct recent *recent)
{
	const unsigned char *next = code + (words + 3) / 4, *end = code + size;

	*recent = (struct recent){ .count = 0 };
	if (size < (words + 3) / 4)
		return false;
	for (size_t i = 0; i < words; i++)
		switch (code[i / 4] >> i % 4 * 2 & 3) {
		case SAME:
			out[i] = like[i];
			break;
		case MOVED:
			out[i] = like[i] + moved;
			break;
		case AGAIN:
			out[i] = like[i] + recall(recent, 0);
			break;
		default:
			next = packed_word(next, end, recent, like[i], &out[i]);
			if (!next)
				return false;
		}
	return true;
}

#endif
