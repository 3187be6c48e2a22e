/* SPDX-License-Identifier: MIT
 *
 * Timers of timer_create(2) that signal one thread (posix_timer.c).
 */
#ifndef INTERCEPT_POSIX_TIMER_H
#define INTERCEPT_POSIX_TIMER_H

#include "intercept/thread.h"

/* A signal of the process that is the expiry of such a timer becomes what the program
 * asked for: the thread that it is for.  NULL: any other signal. */
struct thread *posix_timer_target(siginfo_t *info);

#endif
