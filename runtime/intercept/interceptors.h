/* SPDX-License-Identifier: MIT
 *
 * The interceptors: which of them bring system calls to the entry.  Rewritten sites
 * (patch.h) are fast and see what was loaded at start; Syscall User Dispatch
 * (dispatch.h) sees everything and is slow.  GREEN_INTERCEPT says which:
 *
 *	auto      both as far as this system lets them; one will do
 *	patch     rewriting alone, of all shared objects that are loaded at that time
 *	dispatch  Syscall User Dispatch alone
 *	both      both, or an error
 */
#ifndef INTERCEPT_INTERCEPTORS_H
#define INTERCEPT_INTERCEPTORS_H

#include "intercept/intercept.h"

#include <stddef.h>

struct worker;

/* Once, on a thread that is not armed; others: the process has more of them, so no code can
 * be rewritten.  0 or -errno, with error_set(). */
int interceptors_start(enum intercept_mode mode, bool others);

/* On each worker's own OS thread, before it runs green threads, and on the one thread of a
 * forked child: dispatch belongs to an OS thread. */
int interceptors_arm(struct worker *w);

/* One line for reports: what is on, and why something is not. */
void interceptors_describe(char *buf, size_t size);

#endif
