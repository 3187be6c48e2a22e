/* SPDX-License-Identifier: MIT
 *
 * The word of a slot: its state (hibernate.h), and what it takes to unpack it.
 *
 * A length that is not 0 says that the live bytes are in the slab, whatever the state:
 * the slot's pages may be gone already or be where they cannot be found (SWEEPING), or
 * not be back yet (RESTORING).  So a core file written at any moment has them.
 */
#ifndef STACKS_SLOT_WORD_H
#define STACKS_SLOT_WORD_H

enum { RESIDENT, SWEEPING, HIBERNATED, RESTORING, STATE_MASK = 3 };
#define LENGTH_SHIFT 2 /* of the live bytes */
#define LENGTH_MASK 0xfffu
#define MODEL_SHIFT 16 /* of their code */

#endif
