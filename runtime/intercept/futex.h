/* SPDX-License-Identifier: MIT
 *
 * futex(2) for green threads: one table of who waits at which address.
 *
 * A wait parks the green thread; its record lies in its struct thread.  OS threads that
 * are no workers wait in the kernel as ever, so a wake-up that finds fewer green threads
 * than it may wake asks the kernel, too, once there are such threads.  They wake green
 * threads, too: in link mode (link.h) those of the program, and anywhere those of the
 * runtime, which share libc's locks with green threads when they make or end a thread.
 * In link mode a wait is ended by nothing else: libc's locks know no other end, so neither a
 * cancel nor a deadline scope reaches them.
 */
#ifndef INTERCEPT_FUTEX_H
#define INTERCEPT_FUTEX_H

#include "arch/cpu.h"

#include <stdbool.h>
#include <stdint.h>

/* There are OS threads that may wait in the kernel for what green threads do. */
void futex_has_others(void);

struct call;

/* fast_futex.c.  Shall the table be looked at for this futex(2) of an OS thread, too?  Not in
 * a forked child, where it is the parent's. */
bool futex_may_wake(const struct call *c);
/* From now on.  0 or -errno. */
int futex_watch(void);
extern internal const bool *futex_watched;

struct futex_wait;
struct futex_waitv;

/* Waits while *address is value: 0 when woken, -EAGAIN, -ETIMEDOUT, -ENOMEM, CALL_RESTART*
 * for a signal.  In green threads of the program only.  pc: of the caller. */
long futex_wait(const void *address, uint32_t value, uint32_t bits, int64_t deadline_ns, void *pc);

/* The same at several addresses, with a record for each: the index of one that was
 * woken. */
long futex_wait_any(struct futex_wait *waits, const struct futex_waitv *at, unsigned count,
                    int64_t deadline_ns, void *pc);

/* Wakes up to `wake` waiters and moves up to `requeue` more to the target: how many in
 * all.  expected: unless the word has that value, -EAGAIN. */
long futex_requeue(const void *address, const void *target, uint32_t wake, uint32_t requeue,
                   const uint32_t *expected);

/* Wakes up to count who wait at the address with one of these bits; how many.  Any
 * context of the runtime. */
long futex_wake(const void *address, uint32_t count, uint32_t bits, bool shared);
/* Only those in the table; count 0: all of them, wherever they wait.  No bit is asked
 * for. */
void futex_wake_green(const void *address, uint32_t count);
/* Only those who wait in the kernel, if there are any. */
long futex_wake_kernel(const void *address, uint32_t count, uint32_t bits, bool shared);

#endif
