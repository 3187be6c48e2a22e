/* SPDX-License-Identifier: MIT
 *
 * The keeper: an OS thread with a descriptor table of its own that holds the
 * userfaultfd; and, in kernel mode, the handler, which reads from it who waits
 * for a page.
 *
 * Neither allocates, touches a green stack, or takes a lock that somebody who
 * touches one may hold.  The handler waits for nobody: any thread may come to wait for
 * it in the middle of anything (later.h).
 */
#ifndef STACKS_KEEPER_H
#define STACKS_KEEPER_H

#include <stdbool.h>

/* handle: called by the handler with each address somebody waits at; NULL: no
 * handler.  0 or -errno. */
int keeper_start(int uffd, void (*handle)(void *address));
void keeper_stop(void);
unsigned keeper_threads(void); /* there are now */
bool keeper_has_handler(void);

/* Somebody may have ended one of the threads (a seccomp filter, a debugger).
 * 0: they are there; 1: the handler was not, another has its place; -EOWNERDEAD:
 * nobody can take the place of the one that is gone.  One caller at a time. */
int keeper_watch(void);
/* In a forked child: there is none. */
void keeper_forget(void);

/* Has the keeper ask its descriptor; -EBADF when there is no keeper. Any
 * thread, async-signal-safe. */
long keeper_ask(unsigned long request, void *argument);

#endif
