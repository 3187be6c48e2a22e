/* SPDX-License-Identifier: MIT
 *
 * Hibernation: the live bytes of a parked stack, packed, move into the slab, its pages
 * go back to the kernel, and come back when it is resumed or touched.
 *
 *                      stack_lull               stacks_hibernate
 *      RESIDENT ------------------> SWEEPING ------------------> HIBERNATED
 *          ^      (or gives up)         |                             |
 *          +----------------------------+                 stack_rouse |
 *          |                                              or a touch  v
 *          +------------------------------------------------- RESTORING
 *
 * Each arrow is a compare-and-swap of the slot's word or made by who won the
 * last one, and only that one changes the slot's pages:
 *
 *   hibernate  protect against writing, copy, drop.  A write before the
 *              protection is in the copy; one after it faults and waits for
 *              HIBERNATED, then restores: none is lost.
 *   restore    the zeroes of the slot first, unless they may come later (later.h),
 *              its top page with the live bytes last, by one UFFDIO_COPY.
 *
 * What is live lies between the saved stack pointer and the top, at most
 * PACK_BYTES_MAX: with the colour that is never more than the top page.
 *
 * Runs of neighbours are protected by one call each, and dropped by one for all of a
 * chunk (2 MiB, the reach of one page-table page).  When all of a chunk sleep, the whole
 * chunk is, along with neighbours of which that is true, and the kernel takes the page
 * tables too.  Each call interrupts every other CPU that the process runs on.
 *
 * Who lulls must make sure that nobody runs on the stack, or begins to without
 * stack_rouse(): see runtime/sweep.c.
 */
#ifndef STACKS_HIBERNATE_H
#define STACKS_HIBERNATE_H

#include "stack.h"

#define STACK_CHUNK_MAX 32  /* slots of the smallest class in 2 MiB */
#define STACK_CHUNKS_MAX 8u /* of which stacks hibernate at once */

struct stack_sleeper {
	stack_id stack; /* lulled */
	void *sp;
	size_t users;   /* bytes on it that are not this library's frames: held.h */
	uint64_t alike; /* the same for stacks that are probably much alike */
	/* stacks_hibernate()'s own */
	uint32_t slab;
	unsigned model;
	bool protected, aside;
};

/* Where what hibernates lies, for readers from outside (runtime/descriptor.h). */
struct hibernate_view {
	const void *slab;   /* entry 0 */
	const void *models; /* heads: struct pack_model */
	const void *words;  /* of each model, PACK_WORDS_MAX */
};

extern struct hibernate_view hibernate_view;

/* Makes ready to hibernate (once between init and fini). 0, -ENOMEM, -ENOSYS. */
int hibernate_init(void);
void hibernate_fini(void);
bool hibernate_is_ready(void);

unsigned stack_chunk_slots(unsigned class);
uint32_t stack_chunks(unsigned class); /* that have ever been in use */
stack_id stack_in_chunk(unsigned class, uint32_t chunk, unsigned i);
bool stack_chunk_sleeps(unsigned class, uint32_t chunk);
uint32_t *stack_chunk_note(unsigned class, uint32_t chunk); /* the sweeper's own; 0 at first */

/* Those of the chunk that somebody has, or had, and that do not hibernate: written to
 * stacks, ascending; how many. */
unsigned stack_chunk_awake(unsigned class, uint32_t chunk, stack_id *stacks);

/* Who runs on the stack, for the sweeper: any number; 0: nobody. */
void stack_set_owner(stack_id stack, uint32_t owner);
uint32_t stack_owner(stack_id stack);

bool stack_is_hibernated(stack_id stack); /* at the moment */

/* RESIDENT -> SWEEPING; false: it is not resident.  And back. */
bool stack_lull(stack_id stack);
void stack_unlull(stack_id stack);
/* May this much of a lulled stack be hibernated?  Not when it is pinned. */
bool stack_fits_slab(const struct stack_sleeper *s);

/* Too much lies on it to be hibernated: only what is below sp goes, which nobody
 * needs.  Lulled; not twice for the same tag. */
void stack_trim(stack_id stack, const void *sp, uint32_t tag);
bool stack_is_trimmed(stack_id stack, uint32_t tag);

/* Hibernates stacks of one class, of at most so many chunks, in ascending order; those
 * that cannot be are resident again.  One caller at a time, and hibernate_lock() around
 * it and lulling. */
void stacks_hibernate(struct stack_sleeper *sleepers, unsigned count);
void hibernate_lock(void); /* also around fork() */
void hibernate_unlock(void);

/* Gives the kernel what restored stacks have left in the slab; under the lock. */
void hibernate_tidy(void);
size_t hibernate_bytes(void); /* of memory that hibernated stacks take */

/* The stack is resident when this returns: 0, or -ENOMEM. */
int stack_rouse(stack_id stack);

/* In a forked child: nobody is about to finish what others had begun.
 * watched: touches are seen there; else all comes back now. */
void hibernate_forked(bool watched);

/* A page of the stack is missing or protected: makes it accessible.  0, -ENOMEM; 1, for
 * the handler, which waits for nobody: others are at it, and the touch shall be repeated. */
int hibernate_touched(stack_id stack, void *page, bool handler);

size_t stacks_hibernated(void);     /* now */
uint64_t stacks_hibernations(void); /* ever, in this process */

#endif
