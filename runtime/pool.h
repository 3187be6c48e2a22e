/* SPDX-License-Identifier: MIT
 *
 * What imap needs of pools.
 */
#ifndef POOL_H
#define POOL_H

#include "green.h"

/* green_pool_spawn(); pc: of the public caller, user_fn: what reports shall name.  Unless wait:
 * -EAGAIN when the pool is full and the caller is no member. */
int pool_start(green_pool_t *pool, green_fn fn, void *arg, green_fn user_fn, bool wait, void *pc);

#endif
