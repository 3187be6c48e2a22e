/* SPDX-License-Identifier: MIT
 *
 * The entry (entry_x86_64.S) as C sees it, and the two stages behind it.
 */
#ifndef INTERCEPT_ENTRY_H
#define INTERCEPT_ENTRY_H

#include "intercept/call.h"

/* Not to be called: jumped to, with rcx where to go on, everything else as at a
 * syscall instruction.  For the patcher's trampolines, and what the handler of SIGSYS
 * sets RIP to. */
void intercept_entry(void);
/* The same for callers that have nothing in vector registers: by the ABI any function's
 * that does nothing but this call, in assembly. */
void intercept_plain_entry(void);

/* fast_entry.c and intercept.c. */
long intercept_fast(struct call *c);
long intercept_full(struct call *c);
/* What becomes of a call that a fast handler passes on. */
long intercept_pass(struct call *c);
/* The call is over with that result, or is to be made again, and something may have come
 * for the green thread: what the result is then (signal_deliver.c). */
long intercept_end(struct call *c, long result);
/* The same, with c->result. */
long intercept_look(struct call *c);
/* Makes the call again. */
long intercept_again(struct call *c);

/* Goes on as the caller of the call, with that result, on its stack, its registers as
 * they are in *c.  c->vector: put back first, unless NULL. */
_Noreturn void intercept_resume(struct call *c, long result);

/* Bytes of an XSAVEC area, which components go into it, and whether the entry may do
 * without that instruction, by hand. */
extern internal uint64_t intercept_vector_bytes, intercept_vector_mask;
extern internal bool intercept_vector_by_hand;
void intercept_vector_init(void);

/* Where memory counts most (GREEN_LEAN): for each green thread, at its index, room for the
 * vector state of one call.  It is kept there, by hand, where on the stack nothing else
 * would reach into another page.  A call that a handler has jumped out of keeps the room,
 * and the thread does without.  NULL: there are none. */
extern internal char *intercept_rooms;
extern internal uint64_t intercept_room_lines; /* of 64 bytes, in each */
/* After threads_init() and intercept_vector_init(), under greenrun. */
void intercept_rooms_init(void);

#endif
