/* SPDX-License-Identifier: MIT
 *
 * The descriptor table: which operations wait on which descriptor, so that
 * green_close() can end them, on whichever worker they are; and what is known
 * about a descriptor that saves a system call.
 *
 * A descriptor's number may be closed and used again while a call is between
 * two attempts.  Each entry therefore counts its closings: a call remembers
 * the count it began with (fd_generation), and fd_begin() refuses to wait on
 * whatever has the number now.
 */
#ifndef FDTAB_H
#define FDTAB_H

#include "io_op.h"
#include "spin.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What was seen last time.  A program may close a descriptor behind the
 * runtime's back, so that none of this may be trusted: a wrong hint costs a
 * system call more, never a wrong result.  (One exception: a pipe closed and
 * replaced by a socket, both with plain system calls, keeps FD_NOT_SOCKET,
 * and green_write() on it may then raise SIGPIPE.) */
enum fd_hint {
	FD_SOCKET = 1u << 0,
	FD_NOT_SOCKET = 1u << 1,
	FD_STREAM = 1u << 2,         /* SOCK_STREAM or the like */
	FD_DRAINED = 1u << 3,        /* the last receive came out short: probably empty */
	FD_NO_NOWAIT_READ = 1u << 4, /* RWF_NOWAIT is not supported */
	FD_NO_NOWAIT_WRITE = 1u << 5,
	FD_PRIVATE = 1u << 7, /* the runtime's own; not a hint */
	/* Of interest where system calls are emulated: */
	FD_STORED = 1u << 8,     /* a regular file, disk or directory */
	FD_BUFFERED = 1u << 9,   /* writes to it go into the page cache */
	FD_NONBLOCK = 1u << 10,  /* O_NONBLOCK when it was last asked for */
	FD_POLLED = 1u << 11,    /* asked for readiness before it is read: never FD_DRAINED */
	FD_AT_ONCE = 1u << 12,   /* /dev/null and its like: no call on it ever waits */
	FD_ANONYMOUS = 1u << 14, /* has no type: an eventfd or its like */
	FD_REFILLED = 1u << 13,  /* was not empty when it was FD_DRAINED last: not so again */
};

struct fd_entry {
	struct spin lock;            /* ops, closing, closer */
	_Atomic uint32_t generation; /* closings so far */
	struct io_op *ops;           /* waiting on it */
	uint64_t closer_seq;         /* ticket of the thread in fd_close() */
	uint32_t closer;             /* its index; 0: nobody waits */
	_Atomic uint16_t hint;       /* enum fd_hint; lock-free, relaxed */
	bool closing;
	_Atomic bool taking; /* a thread of the offload pool is about to read or accept */
};
_Static_assert(sizeof(struct fd_entry) == 32, "two entries a cache line");

/* For one at a time: true and the descriptor is the caller's until fd_taken(). */
bool fd_take(int fd);
void fd_taken(int fd);

extern struct fd_entry *fdtab;
extern uint32_t fdtab_size; /* 0 before fdtab_init() */

/* Reserves the table (once per process). 0, -ENOMEM. */
int fdtab_init(void);

/* The entry, NULL when out of range. */
static inline struct fd_entry *fd_entry(int fd)
{
	return (uint32_t)fd < fdtab_size ? &fdtab[fd] : NULL;
}

static inline uint32_t fd_generation(int fd)
{
	struct fd_entry *e = fd_entry(fd);
	/* Acquire pairs with the release in fd_close(). */
	return e ? atomic_load_explicit(&e->generation, memory_order_acquire) : 0;
}

static inline uint16_t fd_hint(int fd)
{
	struct fd_entry *e = fd_entry(fd);
	return e ? atomic_load_explicit(&e->hint, memory_order_relaxed) : 0;
}

/* Clears and sets bits; writes only what changes. */
void fd_hint_change(int fd, uint16_t clear, uint16_t set);

/* The program waits for fd's readiness by poll(2) or the like: the next receive, short as
 * the last one may have been, finds what that wait was for. */
static inline void fd_polled(int fd)
{
	if ((fd_hint(fd) & (FD_POLLED | FD_DRAINED)) != FD_POLLED)
		fd_hint_change(fd, FD_DRAINED, FD_POLLED);
}

/* The runtime has just made fd: what was known of that number is void. */
void fd_made(int fd, uint16_t hint);

/* op->fd is about to be waited on by op (whose waiter is set): -EBADF when out
 * of range or being closed, -ECANCELED when it has been closed since
 * generation, else 0 and the operation is listed until fd_end(). */
int fd_begin(struct io_op *op, uint32_t generation);

/* True when the descriptor is being closed: the call must not touch it again. */
bool fd_end(struct io_op *op);

/* green_close(): marks fd as closing (-EBADF if out of range or already
 * closing), asks for a cancel of every operation on it, waits (shielded) until
 * all have ended, closes it.  May switch.  pc: of the public caller. */
int fd_close(int fd, void *pc);

/* The program is about to close fd by an emulated close(2), dup2(2) …, which does
 * not end the calls that wait on it: leaves each of them a duplicate to go on with
 * (op->kept_fd), where one can be had.  What was known of the number is void. */
void fd_keep(int fd);

/* Would fd_keep() have anything to do?  Waits that begin meanwhile apart. */
static inline bool fd_is_waited(int fd)
{
	const struct fd_entry *e = fd_entry(fd);

	return e && __atomic_load_n(&e->ops, __ATOMIC_RELAXED) != NULL;
}

/* The runtime's own descriptors are made close-on-exec and moved as high as
 * RLIMIT_NOFILE allows, out of the way of programs that count on low numbers
 * or close a range.  Takes over fd; returns the new number, or fd itself when
 * there is no room above; -errno of fd if that was negative. */
int fd_private(int fd);
void fd_private_close(int fd);

static inline bool fd_is_private(int fd)
{
	return fd_hint(fd) & FD_PRIVATE;
}

#endif
