/* SPDX-License-Identifier: MIT
 *
 * Guards: the pages at the low end of a slot that no frame may touch, and the
 * ladder of ways to make them.
 */
#ifndef STACKS_GUARD_H
#define STACKS_GUARD_H

#include "arena.h"

/* Each mprotect guard costs two of the process's VMAs (default limit 65,530). */
#define STACK_MPROTECT_MAX 30000u

/* Tries the rungs; guard_fini() closes what that opened.  size: bytes of a guard, whole pages. */
void guard_init(const struct stacks_config *config, size_t size, bool valgrind);

void guard_fini(void);
/* The userfaultfd is gone, and no stack is in use: 0, or -EBADF when there is
 * no other to be had. */
int guard_renew(void);

/* Guards those of the slots that have none yet.  0, or -errno from the kernel:
 * those for which arena_is_settled() then holds may be used. */
int guard_install(struct arena *a, const uint32_t *slots, unsigned count);

/* Makes a page of the slot's guard usable: memory of zeroes; the slot is not settled
 * then.  And all of the guard one again, whatever has become of it.  0 or -errno;
 * async-signal-safe. */
int guard_open(struct arena *a, uint32_t slot, char *page);
int guard_close(struct arena *a, uint32_t slot);

/* The guard that was made while the slot was not watched (watch.h) goes: a page that is
 * missing is one now. */
void guard_forget(struct arena *a, uint32_t slot);

enum stack_rung guard_rung(void);
/* Are arenas registered with userfaultfd: all of them from the start, or, `later`,
 * what shall hibernate? */
static inline bool guard_by_uffd(void)
{
	return guard_rung() <= STACK_RUNG_USERFAULTFD;
}
bool guard_later(void);
size_t guard_size(void);
size_t guard_missing(void); /* slots that were handed out without one */

#endif
