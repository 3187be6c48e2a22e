/* SPDX-License-Identifier: MIT
 *
 * Watching: registering slots with userfaultfd when the first of them shall hibernate.
 *
 * What is watched costs more: a slot that starts cold is filled by two system calls, and
 * growing replaces the kernel's page of zeroes.  So slots are plain memory with a guard
 * until one of their chunk, or of one above, shall hibernate.  A mark in each arena
 * says up to where they are watched; it only rises, chunk by chunk, so that an arena
 * is one VMA more, not many.
 *
 *      | watched ................ | plain, guards ........ | never used ..... |
 *      ^ slot 0                   ^ arena.watched          ^ arena.dumpable
 */
#ifndef STACKS_WATCH_H
#define STACKS_WATCH_H

#include "arena.h"

/* Watches the slots below end, whole chunks.  False: not yet, or not at all.  Those that
 * are SWEEPING may lack pages afterwards: pages_complete().  One caller at a time. */
bool watch_up_to(unsigned class, uint32_t end);

/* Registers once more what is watched, with another userfaultfd. */
int watch_again(void);

#endif
