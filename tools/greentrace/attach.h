/* SPDX-License-Identifier: MIT
 *
 * struct attachment: the BPF programs in the kernel, and their links to one process.
 */
#ifndef ATTACH_H
#define ATTACH_H

#include "session.h"

/* 0 or -errno, with *what then saying what it was about. */
int attach(struct session *s, const struct receiver *r, const char **what);
void detach(struct attachment *a);
/* What the kernel counts and who blocks is looked at only in between: from when all is attached
 * until anything is taken out again. */
void attachment_begin(struct attachment *a);
void attachment_end(struct attachment *a);
/* Frees it; detaches first. */
void attachment_free(struct attachment *a);

/* Samples and observes one more worker: by its tid as this process sees it, and the address
 * of its struct there. */
void attach_worker(struct session *s, pid_t tid, uint64_t address);

/* Hands over what is there, but for some 20 ms only.  False: there is more. */
bool attachment_drain(struct attachment *a);
int attachment_fd(const struct attachment *a);

/* Sum of a counter over all CPUs. */
uint64_t attachment_count(const struct attachment *a, enum count which);

/* Where the runtime's code and data are, now that it runs. */
void attachment_refresh(struct session *s);
/* How far below the top of its stack an address lies; 0: in none. */
uint64_t attachment_depth(const struct attachment *a, uint64_t address);

/* Calls each with every system call that was seen, and how often it was. */
void attachment_syscalls(const struct attachment *a,
                         void (*each)(void *arg, const struct syscall_key *key, uint64_t n),
                         void *arg);

/* Calls each with every switch point that was entered, and how often it was. */
void attachment_entries(const struct attachment *a,
                        void (*each)(void *arg, const struct entry_key *key, uint64_t n),
                        void *arg);

#endif
