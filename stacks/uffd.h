/* SPDX-License-Identifier: MIT
 *
 * The userfaultfd that the arenas are registered with: what is missing in them
 * is filled in by this process, and nobody else.
 *
 *   kernel   every touch of a missing page, by user code or inside a system
 *            call, sleeps until a handler thread has seen to it.  Needs
 *            CAP_SYS_PTRACE, vm.unprivileged_userfaultfd or /dev/userfaultfd.
 *   user     a touch by user code raises SIGBUS in the toucher, which sees to
 *            it itself; a system call gets EFAULT.  Needs nothing.
 *
 * The descriptor survives a program that closes all it has: while the runtime
 * runs, a keeper thread with a descriptor table of its own holds a second one,
 * and does by it what the others ask for once theirs is gone.
 */
#ifndef STACKS_UFFD_H
#define STACKS_UFFD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define UFFD_PAGE_MAX 4096
extern char uffd_zeros[UFFD_PAGE_MAX]; /* never written */

enum uffd_mode { UFFD_NONE, UFFD_USER, UFFD_KERNEL };

struct uffd_config {
	bool none, no_kernel, no_protect, no_move; /* imitate a kernel without */
	int (*keep_fd)(int fd);  /* takes the new descriptor, returns its new number */
	void (*drop_fd)(int fd); /* closes what keep_fd returned */
};

/* Opens one and tries it out; UFFD_NONE: why not is uffd_reason(). */
enum uffd_mode uffd_open(const struct uffd_config *config);
void uffd_close(void);
const char *uffd_reason(void);
bool uffd_can_protect(void);
bool uffd_can_move(void);
/* Is there a handler, who sees to a missing page also when a system call touches it? */
bool uffd_sees_calls(void);

/* In a forked child, where the old one is the parent's: another one, in user
 * mode; false when there is none to be had. */
bool uffd_reopen_in_child(void);

/* Has the program closed it?  Another one, with nothing registered; the old
 * one's arenas have become plain memory. */
bool uffd_is_lost(void);
enum uffd_mode uffd_renew(void);

/* Starts keeper and handler.  touched(address) is called for each touch of a
 * missing or protected page, in kernel mode.  0 or -errno. */
int uffd_start(void (*touched)(void *address));
void uffd_stop(void);

int uffd_register(void *start, size_t size);

/* All return 0 or -errno; async-signal-safe. */
int uffd_copy(void *to, const void *from, size_t size);         /* -EEXIST: something is there */
int uffd_copy_quietly(void *to, const void *from, size_t size); /* wakes nobody */
int uffd_zero(void *start, size_t size);                        /* fills what is missing */
int uffd_protect(void *start, size_t size, bool on);            /* against writing */
int uffd_move(void *to, void *from, size_t size);               /* -EBUSY: held.h */
int uffd_wake(void *start, size_t size);                        /* who waits there tries again */

#endif
