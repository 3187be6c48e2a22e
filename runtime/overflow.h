/* SPDX-License-Identifier: MIT
 *
 * Stack overflow: telling it from other faults, reporting it, and, where that is
 * asked for, ending the green thread alone.
 *
 * Ending alone is starting over: the stack is empty again, and what is called on it
 * is the end of a green thread instead of its function (spawn_overflowed()).  Nothing
 * that lay on the stack is undone.  This is right where the thread's own code, or a
 * library that it called, was interrupted.  Two places are different:
 *
 *   the runtime        may have been changing what others use.  It is let go on, on a
 *                      page of the guard, all of which but the lowest it may use up,
 *                      and the thread ends when it returns to who called it: that
 *                      return address is replaced.  So is what it has called, such as
 *                      functions of libc.
 *   a signal handler   has interrupted nobody knows what.  The process ends.
 */
#ifndef OVERFLOW_H
#define OVERFLOW_H

#include <signal.h>

/* Pages of a guard that suffice for the runtime, beside the one that stays. */
#define OVERFLOW_GUARD_PAGES 3

enum overflow_verdict {
	OVERFLOW_NONE,         /* it is some other fault */
	OVERFLOW_FATAL,        /* it would happen again if the handler returned */
	OVERFLOW_FATAL_SIGNAL, /* the frame of a signal handler did not fit: it would not */
	OVERFLOW_SETTLED,      /* the handler shall return */
};

/* Once, before any green thread runs. */
void overflow_init(void);

/* In a handler of SIGSEGV or SIGBUS: has the green thread that the calling
 * worker runs run out of its stack?  Then says so on standard error, and changes the
 * context where the thread shall end alone.  Async-signal-safe. */
enum overflow_verdict overflow_handle(const siginfo_t *info, void *context);

/* The runtime's functions that green threads run and that call one of the user's; and
 * what each owes others when that one ends by an overflow.  Both get the thread's
 * argument; what lay on the stack is gone. */
void *runtime_main(void *unused), *runtime_main_owes(void *unused);
void *pool_member(void *member), *pool_member_owes(void *member);
void *imap_item(void *item), *imap_item_owes(void *item);
void *serve_handle(void *connection), *serve_handle_owes(void *connection);

/* Pays for fn, if it is one of these. */
void overflow_pay(void *(*fn)(void *), void *arg);

#endif
