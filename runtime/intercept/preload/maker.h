/* SPDX-License-Identifier: MIT
 *
 * The functions of libc that make threads: makers.c has one for each, which lets start.c
 * start the runtime first.
 */
#ifndef PRELOAD_MAKER_H
#define PRELOAD_MAKER_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

/* A thread is about to be made: the runtime is started, once a process. */
void maker_start(void);

/* libc's own function of that name, into *function. */
void maker_find(void *function, const char *name);

#endif
