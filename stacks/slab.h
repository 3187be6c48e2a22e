/* SPDX-License-Identifier: MIT
 *
 * The slab: where the packed bytes of hibernated stacks lie.
 *
 * One reserved mapping of blocks of 16 KiB.  A block holds entries of one size,
 * a multiple of 8 bytes, and a bit for each: set while it is free.
 *
 *      | heads | (never used) | block 1: 72 72 72 … | block 2: 96 96 … |
 *
 * One taker at a time; anybody may give, a signal handler too: giving is setting
 * the bit.  What has been given is found, and blocks that have become empty go
 * back to the kernel, when the taker tidies up.
 */
#ifndef STACKS_SLAB_H
#define STACKS_SLAB_H

#include <stddef.h>
#include <stdint.h>

#define SLAB_BLOCK ((size_t)16384)
#define SLAB_UNIT ((size_t)8)       /* entries are named by their place, in these */
#define SLAB_BYTES_MIN ((size_t)32) /* smaller ones take as much */
#define SLAB_BYTES_MAX ((size_t)2400)

/* Reserves room for that many bytes, or fewer. 0, -ENOMEM. */
int slab_init(size_t bytes);
void slab_fini(void);

/* An entry for that many bytes; 0: none left.  slab_at() is 8-aligned. */
uint32_t slab_take(size_t bytes);
void slab_give(uint32_t entry);
void *slab_at(uint32_t entry);

/* The taker, now and then. */
void slab_tidy(void);

size_t slab_bytes(void); /* of blocks in use */

#endif
