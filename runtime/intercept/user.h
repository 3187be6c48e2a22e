/* SPDX-License-Identifier: MIT
 *
 * Memory of the program at an address that may be none: what the kernel answers with
 * EFAULT.  In both stages.
 */
#ifndef INTERCEPT_USER_H
#define INTERCEPT_USER_H

#include <stdbool.h>
#include <stdint.h>

/* 0 or -EFAULT (user_x86_64.S). */
int user_load(const void *at, uint32_t *value);
int user_store(void *at, uint32_t value);

/* In a handler of SIGSEGV or SIGBUS: was it one of these that faulted?  Then it returns
 * -EFAULT when the handler has returned. */
bool user_faulted(void *ucontext);

#endif
