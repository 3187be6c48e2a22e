/* SPDX-License-Identifier: MIT
 *
 * Scrubbing: what a green thread leaves on its stack is gone before another one gets
 * that stack.
 *
 *   none    it stays until it is overwritten, or the slot's pages are given back
 *   dirty   pages with anything in them are filled with zeroes and stay, or go back to
 *           the kernel where that is cheaper
 *   always  all pages go back to the kernel, which hands out zeroes
 *
 * Scrubbing is done when the thread has ended, by its worker.  Both ways also forget
 * what hibernation has put elsewhere: the packed bytes, and the page they were put
 * together on; no stack is made a model of others (pack.h).
 */
#ifndef STACKS_SCRUB_H
#define STACKS_SCRUB_H

#include "arena.h"

/* Before any stack is used. */
void scrub_init(enum stack_scrub how);

bool scrub_is_on(void);

/* Gives the slot's pages back to the kernel.  False: it lacks pages now that it cannot
 * be without. */
bool scrub_all(struct arena *a, uint32_t slot);

/* Nobody runs on the stack, and nobody knows it.  False: what lies on it is gone, but
 * it cannot be used again before its pages have been given back. */
bool scrub_stack(stack_id stack);

#endif
