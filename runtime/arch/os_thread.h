/* SPDX-License-Identifier: MIT
 *
 * The runtime's own OS threads: how each of them is made.
 */
#ifndef ARCH_OS_THREAD_H
#define ARCH_OS_THREAD_H

#include "arch/cpu.h"

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

#define SIGNAL_SETXID 33 /* of libc: setuid() & co. */

/* Starts fn(arg) on an OS thread of its own, which nothing intercepts.  stack: in bytes; 0 for
 * libc's default.  deaf: it runs none of the program's signal handlers, but for the faults
 * of its own code; else it has the caller's mask.  0 or -errno.  Any thread that may call
 * pthread_create(3); cannot switch. */
internal int os_thread_start(pthread_t *thread, void *(*fn)(void *), void *arg, size_t stack,
                             bool deaf);

#endif
