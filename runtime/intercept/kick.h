/* SPDX-License-Identifier: MIT
 *
 * What the kick (kick.c) is good for besides signals: preemption, and system calls that
 * every OS thread has to make for itself.
 */
#ifndef INTERCEPT_KICK_H
#define INTERCEPT_KICK_H

#include "intercept/call.h"

#include <signal.h>

#define SIGNAL_RESTORER 0x04000000ul /* SA_RESTORER, which libc keeps to itself */

/* A real handler of ours: all signals but faults are blocked meanwhile. */
void signal_install(int sig, void (*handler)(int, siginfo_t *, void *), unsigned long flags);

/* A real signal for the process or an OS thread, in its handler (signal_thread.c). */
void signal_real(int sig, siginfo_t *info, void *context);

/* An OS thread is asked to make a call (credentials.c), in the handler of the kick. */
void credentials_asked(const siginfo_t *info);

/* Addresses of the program's that lead nowhere are answered with EFAULT, no more. */
void kick_hear_faults(void);

/* The two tails of the entry (entry_x86_64.S): from the last look at gt.look; to where only
 * the stack pointer (in r11) and the jump (to rcx) are left; to its end. */
extern const char intercept_leave[], intercept_leave_done[], intercept_leave_end[];
extern const char intercept_yield_leave[], intercept_yield_done[], intercept_yield_end[];
/* The end of the entry, which begins with intercept_yield_entry. */
extern const char intercept_entry_end[];

#endif
