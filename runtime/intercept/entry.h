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
/* The same for sched_yield(2), made by a function that does nothing else and is written in
 * assembly: by the ABI its caller has nothing in any register but those that a function
 * keeps, and those alone are as they were when it goes on. */
void intercept_yield_entry(void);

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

/* For intercept_yield_entry(): who goes on, see sched_yield_near(); and what is to be done in
 * a context that has come back otherwise (yield.c). */
struct worker;
struct sched_next;
struct sched_next intercept_yield(struct worker *w, void *sp);
void intercept_yielded(struct worker *w);
/* When all that it depends on is known. */
void intercept_yield_start(void);
extern internal bool intercept_yields_near;

/* Goes on as the caller of the call, with that result, on its stack, its registers as
 * they are in *c.  c->vector: put back first, unless NULL. */
_Noreturn void intercept_resume(struct call *c, long result);

/* Bytes of an XSAVE area, which components go into it, whether XSAVEC is there to fill it,
 * and whether the entry may do without either instruction, by hand. */
extern internal uint64_t intercept_vector_bytes, intercept_vector_mask;
extern internal bool intercept_vector_by_hand, intercept_vector_compact;
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
