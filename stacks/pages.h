/* SPDX-License-Identifier: MIT
 *
 * The pages of slots in arenas that are registered with userfaultfd: put in
 * when a slot starts cold, and when somebody touches what is missing.
 */
#ifndef STACKS_PAGES_H
#define STACKS_PAGES_H

#include "arena.h"

/* Gives the slot, whose pages are missing, all but its guard, if it is watched; but some
 * perhaps later (later.h).  0 or -errno. */
int pages_fill(const struct arena *a, uint32_t slot);

/* Gives a registered slot those pages that it lacks. */
void pages_complete(const struct arena *a, uint32_t slot);

bool page_is_present(char *page);

/* Starts the threads that see to missing pages.  0 or -errno. */
int pages_watch(void);

#endif
