/* SPDX-License-Identifier: MIT
 *
 * The slab: where the live bytes of hibernated stacks lie, in entries of whole
 * units of 64 bytes.
 *
 * One reserved mapping, filled from below.  One taker at a time; anybody may
 * give, a signal handler too: what is given goes on a lock-free list of its
 * size, which the taker empties as a whole.
 */
#ifndef STACKS_SLAB_H
#define STACKS_SLAB_H

#include <stddef.h>
#include <stdint.h>

#define SLAB_UNIT ((size_t)64)
#define SLAB_BYTES_MAX ((size_t)2048) /* of an entry */
#define SLAB_MARGIN ((size_t)4096)    /* readable below the first and above the last */

/* Reserves room for count entries of the largest size, or fewer. 0, -ENOMEM. */
int slab_init(size_t count);
void slab_fini(void);

/* An entry for that many bytes; 0: none left. */
uint32_t slab_take(size_t bytes);
void slab_give(uint32_t entry, size_t bytes);
char *slab_at(uint32_t entry);

#endif
