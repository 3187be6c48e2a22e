/* SPDX-License-Identifier: MIT
 *
 * Memory that other processes may share, for futexes without FUTEX_PRIVATE_FLAG: who
 * waits there may be woken from outside, so it waits in the kernel.  What is said to be
 * shared and is not costs time, no more.
 */
#ifndef INTERCEPT_SHARED_H
#define INTERCEPT_SHARED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* In both stages.  A mapping has come, or gone. */
void shared_note(uintptr_t at, size_t size);
void shared_forget(uintptr_t at, size_t size);
bool shared_has(uintptr_t at);

#endif
