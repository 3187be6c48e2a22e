/* SPDX-License-Identifier: MIT
 *
 * Robust mutexes of a thread that ends: whoever locks one next, or waits for it, learns that
 * its owner has died.  The kernel sees to it for its own threads; it knows no green ones.
 */
#ifndef INTERCEPT_ROBUST_H
#define INTERCEPT_ROBUST_H

#include "intercept/thread.h"

/* Wakes one who waits at the word. */
typedef void robust_wake(const void *word);

/* t, which has its tid still, ends, or has ended with its process (heir.h). */
void robust_deaths(const struct thread *t, robust_wake *wake);

#endif
