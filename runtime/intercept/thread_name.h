/* SPDX-License-Identifier: MIT
 *
 * /proc/self/task/TID/comm of a green thread: how pthread_setname_np(3) and
 * pthread_getname_np(3) get at another thread's name.
 *
 * The file that is opened is one in memory, for reading with the name in it; what was
 * written there becomes the name when it is closed.
 */
#ifndef INTERCEPT_THREAD_NAME_H
#define INTERCEPT_THREAD_NAME_H

#include <stdatomic.h>
#include <stdint.h>

/* CALL_PASS: the path is none of these. */
long thread_name_open(const char *path, uint64_t flags);
/* How many such files are open for writing. */
extern __attribute__((visibility("hidden"))) _Atomic unsigned thread_names_open;

/* The descriptor is about to be closed. */
void thread_name_close(int fd);

#endif
