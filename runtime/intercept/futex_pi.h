/* SPDX-License-Identifier: MIT
 *
 * Mutexes that inherit priority, by FUTEX_LOCK_PI and its like: the word is 0 or the tid of
 * the owner, and a bit says that somebody waits.
 *
 * Green threads have one priority, so that there is none to inherit: what is left is a lock,
 * kept by the operations of the kernel's protocol.  Who owns or waits is known here alone, so
 * one that processes share is refused.
 *
 * No wake-up is lost: whoever takes the word in here sets the bit, for others may wait still,
 * so that its unlocking comes here, too, and wakes the next.  Who takes it by itself meanwhile
 * has not set the bit; the one that was waked finds that out, sets it, and waits on.
 */
#ifndef INTERCEPT_FUTEX_PI_H
#define INTERCEPT_FUTEX_PI_H

#include <stdbool.h>
#include <stdint.h>

/* 0; -EDEADLK, -EAGAIN (try), -ETIMEDOUT, -EFAULT, -ENOMEM, CALL_RESTARTNOINTR for a signal.
 * pc: of the caller. */
long futex_lock_pi(void *at, bool try, int64_t deadline_ns, void *pc);

/* 0, -EPERM, -EFAULT. */
long futex_unlock_pi(void *at);

/* Says so and why, and aborts: to libc any other answer means that it has the lock. */
_Noreturn void futex_refuse_shared_pi(void);

#endif
