/* SPDX-License-Identifier: MIT
 *
 * The starter: an OS thread that makes others, for green threads with thread-local storage
 * of their own (own_tls).  Those may hold any of libc's locks when they need one, the loader's
 * while a library is being loaded say, and what they made by pthread_create() would be a green
 * thread.  Nobody else may wait for such a lock, not even the monitor: its owner may be
 * waiting for the worker that the monitor is to interrupt.
 */
#ifndef STARTER_H
#define STARTER_H

#include "arch/cpu.h"

/* Returns when it is past what libc does at a thread's beginning.  0 or -errno.  OS thread. */
internal int starter_start(void);

/* Has it call offload_grow().  Any thread. */
internal void starter_ask(void);

internal void starter_stop(void);

#endif
