/* SPDX-License-Identifier: MIT
 *
 * struct uring: one worker's io_uring.  uring_setup.c finds out what the
 * kernel can do and makes the ring; engine_uring.c runs it.
 *
 * The library is used to lay out the ring, to fill submission entries and to
 * register things.  The ring is entered through sys.call, as everything is.
 * Nothing newer than liburing 2.1 is used.
 */
#ifndef ENGINE_URING_H
#define ENGINE_URING_H

#include "arch/compat_uring.h"
#include "op_list.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What a completion's user data names, beside the operation's address. */
enum uring_tag {
	URING_TAG_OP = 0,
	URING_TAG_CANCEL = 1, /* the answer to a cancel request for that operation */
	URING_TAG_BELL = 2,   /* the doorbell's wait or poll */
	URING_TAG_MASK = 7,
};

struct uring {
	struct io_uring ring;
	int enter_fd;         /* what is entered: ring.ring_fd, or its index if registered */
	unsigned enter_flags; /* those of every io_uring_enter() */
	unsigned cq_mask;     /* a completion's place in the ring */
	bool ring_registered; /* entered by index: survives a close of its number */
	bool bell_futex;      /* the doorbell is bell_rings, else bell */
	bool bell_multishot;
	bool bell_armed;             /* the doorbell is being waited for, or about to be */
	int bell;                    /* eventfd, or -1 */
	uint32_t bell_seen;          /* of bell_rings */
	_Atomic uint32_t bell_rings; /* futex */
	int error;                   /* -errno that poll() has to return, 0 */
	/* Operations that found no submission entry, in order. */
	struct op_list backlog;
	/* Operations with the kernel whose cancel request found no entry. */
	struct op_list cancels;
	/* Operations whose cancel request found nothing to cancel: it is made
	 * again at retry_at_ns. */
	struct op_list missed;
	int64_t retry_at_ns;
	struct op_list done; /* ended before the kernel saw them */
};

/* Sizes of the rings, in entries.  Tests make them tiny. */
extern unsigned uring_sq_entries, uring_cq_entries;

/* How long to wait for what closed rings still hold.  Tests do not. */
extern int64_t uring_release_ns;

/* As engine_ops.probe: also tells feature.h what the kernel has. */
int uring_probe(char *why, size_t size);

/* Makes ring and doorbell; the calling OS thread becomes the one that may
 * enter the ring.  0, -errno (and nothing is left behind). */
int uring_open(struct uring *u);

/* On the same OS thread. */
void uring_close(struct uring *u);

/* io_uring_enter(): takes up to submit entries of the submission ring, runs
 * deferred work if flags have IORING_ENTER_GETEVENTS, and with wait_ns != 0
 * sleeps for one completion that long (< 0: without end).  Entries taken, or
 * -errno. */
int uring_enter(struct uring *u, unsigned submit, unsigned flags, int64_t wait_ns);

#endif
