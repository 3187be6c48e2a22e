/* SPDX-License-Identifier: MIT
 *
 * Walking a green stack by frame pointers, from outside or in a signal handler.
 */
#ifndef FRAMES_H
#define FRAMES_H

#include "arch/regs.h"

#include <stdint.h>

struct bounds { /* of a stack */
	uintptr_t bottom, top;
};

/* The return address above a frame pointer that lies in the stack, 0 if it does not;
 * *fp becomes the caller's.  Frames lie above one another. */
uintptr_t frames_up(const struct bounds *b, uintptr_t *fp);

/* Code addresses of a context, innermost first: pc, then its callers, at most max.
 * A leaf without a frame (most of libc's system calls are) returns to what sp points
 * at, and fp is its caller's. */
unsigned frames_walk(const struct bounds *b, struct regs regs, uintptr_t *pcs, unsigned max);

/* The same where the frame pointer is not known: what looks like a return address
 * from sp on, until a frame that a frame pointer leads from.  Code without frame
 * pointers may leave addresses there that nobody will return to. */
unsigned frames_search(const struct bounds *b, uintptr_t pc, uintptr_t sp, uintptr_t *pcs,
                       unsigned max);

#endif
