/* SPDX-License-Identifier: MIT
 *
 * Packing: the live bytes of a parked stack in a code that is a fifth as long.
 *
 * Threads that wait at the same place have nearly the same frames on their
 * stacks.  The first such stacks are kept as models; of the others only the
 * difference to their model is stored, word by word:
 *
 *	two bits a word, four words a byte, lowest bits first:
 *	  SAME     the model's word
 *	  MOVED    the model's word, moved as the stack is (an address in it)
 *	  AGAIN    the model's word plus the last difference written
 *	           (addresses in the descriptor, say, which lie all over a stack)
 *	  DIFFERS  the model's word plus a difference of its own
 *	then for each DIFFERS a byte that says how it is written:
 *	  n        n bytes: the difference, little-endian, signed
 *	  16 + n   n bytes: the word itself
 *	  32 + k   the difference that was written k differences before the last
 *
 * Model 0 is nothing but zeroes.  A model never changes while a code refers to
 * it: it counts them.  One packer at a time; anybody may unpack, a signal
 * handler too.
 */
#ifndef STACKS_PACK_H
#define STACKS_PACK_H

#include "packed.h"

#define PACK_MODELS 1024u

struct pack_model {
	uint64_t key;           /* what the stacks like it have in common; 0: none yet */
	uint64_t top;           /* of the stack it was */
	_Atomic uint32_t codes; /* that refer to it */
};

/* 0, -ENOMEM. */
int pack_init(void);
void pack_fini(void);

/* Where the heads of the models lie, and PACK_WORDS_MAX words of each. */
void pack_where(const void **models, const void **words);

/* Packs what lies from sp up to top, a whole number of words; nobody may write
 * there meanwhile.  alike: the same for stacks that are probably much alike.
 * The code's size; *model: what unpack() and pack_forget() want to know. */
size_t pack(const void *sp, const void *top, uint64_t alike, unsigned char *code, unsigned *model);

/* Writes to `to` what lay on the length bytes below top. */
void unpack(void *to, size_t length, const void *top, const unsigned char *code, unsigned model);

/* The code will not be unpacked any more. */
void pack_forget(unsigned model);

#endif
