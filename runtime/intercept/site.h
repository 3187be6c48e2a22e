/* SPDX-License-Identifier: MIT
 *
 * Finding the system calls in an object's text, and room for a jump at each.
 *
 * A syscall instruction has two bytes, a jump to anywhere near has five:
 *
 *	window   The instructions before it go along into the trampoline, as many as make
 *	         five bytes.  Nobody may jump into the middle of what is overwritten.
 *
 *	             mov $202, %eax              jmp trampoline
 *	             syscall            ->       (2 bytes that nobody executes)
 *	             cmp $-4096, %rax            cmp $-4096, %rax
 *
 *	pad      Where that cannot be, a short jump takes its place, to a long one in padding
 *	         within reach that is never executed: nops behind a jump or a return.
 *
 *	         1:  mov %edx, %eax          1:  mov %edx, %eax
 *	             syscall            ->       jmp 2f
 *	             …                           …
 *	             ret                         ret
 *	             nopw 0(%rax,%rax)       2:  jmp trampoline
 *
 * Either way the call goes on right behind the place of its instruction: return addresses
 * that unwinders see are in code that the object's tables describe.
 *
 * What might be jumped to counts as jumped to: the target of each relative branch, and of
 * all bytes in the text that look like one with a four-byte offset, or like a lea; entries
 * of tables that code refers to; addresses in the object's data.
 */
#ifndef INTERCEPT_SITE_H
#define INTERCEPT_SITE_H

#include "intercept/image.h"

struct site {
	uintptr_t at;     /* the syscall instruction */
	uintptr_t window; /* what goes along begins here; at itself: nothing does */
	uintptr_t pad;    /* where the long jump lies; 0: in the window */
	int32_t stub_nr;  /* of the call that is all its function does, -1: that does more */
};

/* Scratch memory for one image: three bits for each byte of its text. */
struct site_scratch {
	uint64_t *starts;  /* instructions begin here */
	uint64_t *targets; /* somebody may jump here */
	uint64_t *taken;   /* padding that has been given away */
};
size_t site_scratch_size(const struct image *image);

/* Fills sites[], of max; the number of them.  What must not or cannot be changed is only
 * counted in *left (the return of signal handlers not even that).  scratch: zeroes. */
unsigned sites_find(const struct image *image, void *scratch, struct site *sites, unsigned max,
                    unsigned *left);

#endif
