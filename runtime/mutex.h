/* SPDX-License-Identifier: MIT
 *
 * What condition variables need of mutexes.
 */
#ifndef MUTEX_H
#define MUTEX_H

#include "waiter.h"

/* Is self the owner? */
bool mutex_owned(const green_mutex_t *mutex, const struct gt *self);

/* Unlocks; the caller is the owner. */
void mutex_release(green_mutex_t *mutex);

/* Locks for self, with a wait record that the caller got and keeps; flags as of
 * park_commit().  0, -ECANCELED, -ETIMEDOUT. */
int mutex_acquire(green_mutex_t *mutex, struct gt *self, struct green_waiter *w, unsigned flags,
                  void *pc);

#endif
