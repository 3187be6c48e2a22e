/* SPDX-License-Identifier: MIT
 *
 * The descriptor table: listing, closing, and the runtime's own descriptors.
 */
#include "fdtab.h"
#include "trace.h"
#include "worker.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>

#define FDTAB_MAX (1u << 20)
#define FDTAB_USUAL_MIN 65536u
#define FDTAB_LEAST 1024u /* when the address space is short */

/* The kernel's own table grows to the highest number in use, and fork copies
 * it: the runtime's descriptors do not go above this. */
#define FD_PRIVATE_TOP 16384u
#define FD_PRIVATE_TRIES 64

struct fd_entry *fdtab;
uint32_t fdtab_size;

static uint64_t nofile(bool hard)
{
	struct rlimit limit;

	if (sys4(SYS_prlimit64, 0, RLIMIT_NOFILE, NULL, &limit) < 0)
		return FDTAB_USUAL_MIN;
	return hard ? limit.rlim_max : limit.rlim_cur;
}

int fdtab_init(void)
{
	uint64_t count = nofile(true);
	long error = 0;

	if (fdtab)
		return 0;
	if (count > FDTAB_MAX)
		count = FDTAB_MAX;
	if (count < FDTAB_USUAL_MIN)
		count = FDTAB_USUAL_MIN;
	for (; count >= FDTAB_LEAST; count /= 2) {
		fdtab = sys_map(count * sizeof(*fdtab), SYS_MAP_NORESERVE, &error);
		if (fdtab) {
			sys_name(fdtab, count * sizeof(*fdtab), "green descriptors");
			fdtab_size = (uint32_t)count;
			return 0;
		}
	}
	return (int)error;
}

void fd_hint_change(int fd, uint16_t clear, uint16_t set)
{
	struct fd_entry *e = fd_entry(fd);

	if (!e)
		return;
	uint16_t was = atomic_load_explicit(&e->hint, memory_order_relaxed);
	uint16_t now = (uint16_t)((was & ~clear) | set);
	if (now != was && !(was & FD_PRIVATE))
		atomic_store_explicit(&e->hint, now, memory_order_relaxed);
}

void fd_made(int fd, uint16_t hint)
{
	struct fd_entry *e = fd_entry(fd);

	if (e)
		atomic_store_explicit(&e->hint, hint, memory_order_relaxed);
}

/* ---- operations on a descriptor -------------------------------------------- */

int fd_begin(struct io_op *op, uint32_t generation)
{
	struct fd_entry *e = fd_entry(op->fd);
	int r = 0;

	if (!e)
		return -EBADF;
	spin_lock(&e->lock);
	if (e->closing) {
		r = -EBADF;
	} else if (atomic_load_explicit(&e->generation, memory_order_relaxed) != generation) {
		r = -ECANCELED;
	} else {
		op->fd_next = e->ops;
		op->fd_prev = &e->ops;
		if (e->ops)
			e->ops->fd_prev = &op->fd_next;
		e->ops = op;
	}
	spin_unlock(&e->lock);
	return r;
}

/* The thread that waits for the list to be empty, taken out of the entry; the
 * lock is held. */
static struct park_ticket take_closer(struct fd_entry *e)
{
	struct park_ticket ticket = { NULL, 0 };

	if (e->closer && !e->ops) {
		ticket.gt = gt_at(e->closer);
		ticket.seq = e->closer_seq;
		e->closer = GT_NONE;
	}
	return ticket;
}

bool fd_end(struct io_op *op)
{
	struct fd_entry *e = fd_entry(op->fd);

	spin_lock(&e->lock);
	*op->fd_prev = op->fd_next;
	if (op->fd_next)
		op->fd_next->fd_prev = op->fd_prev;
	bool closing = e->closing;
	struct park_ticket closer = take_closer(e);
	spin_unlock(&e->lock);

	if (unlikely(closer.gt))
		park_wake(closer, WAKE_PEER);
	return closing;
}

bool fd_take(int fd)
{
	struct fd_entry *e = fd_entry(fd);

	return !e || !atomic_exchange_explicit(&e->taking, true, memory_order_acquire);
}

void fd_taken(int fd)
{
	struct fd_entry *e = fd_entry(fd);

	/* Release pairs with the acquire above: what the next one finds there. */
	if (e)
		atomic_store_explicit(&e->taking, false, memory_order_release);
}

/* ---- closing ----------------------------------------------------------------- */

/* Asks for the end of op, on the worker that has it; the entry's lock is held,
 * so that op is still listed and its waiter still its waiter. */
static void ask_to_end(struct io_op *op)
{
	/* Release pairs with the acquire in park_attend(). */
	atomic_store_explicit(&op->cancel_wanted, 1, memory_order_release);
	if (op->worker)
		sched_attention(op->waiter.gt);
	else if (op->kind == IO_CONNECT) /* on the offload pool: this ends it there */
		sys2(SYS_shutdown, op->fd, SHUT_RDWR);
}

/* Waits until no operation is listed.  The lock is held on entry, not on return. */
static void wait_for_ops(struct fd_entry *e, int fd, void *pc)
{
	struct gt *self = park_self();
	struct park_ticket ticket = { NULL, 0 };

	e->closing = true;
	if (self) {
		ticket = park_begin(self, PARK_CLOSE, (void *)(intptr_t)fd, pc);
		e->closer_seq = ticket.seq;
		e->closer = gt_index(self);
	}
	for (struct io_op *op = e->ops; op; op = op->fd_next)
		ask_to_end(op);
	spin_unlock(&e->lock);

	if (self) {
		park_commit(ticket, PARK_SHIELDED, GREEN_FOREVER);
		return;
	}
	/* An OS thread for which no descriptor could be had. */
	for (bool waiting = true; waiting; sys0(SYS_sched_yield)) {
		spin_lock(&e->lock);
		waiting = e->ops != NULL;
		spin_unlock(&e->lock);
	}
}

int fd_close(int fd, void *pc)
{
	struct fd_entry *e = fd_entry(fd);

	trace_enter(pc, PARK_CLOSE, (uint64_t)(int64_t)fd);
	if (!e || atomic_load_explicit(&rt.state, memory_order_relaxed) == RUNTIME_FORKED)
		return (int)sys1(SYS_close, fd);
	if (fd_is_private(fd))
		return -EBADF;
	spin_lock(&e->lock);
	if (e->closing) {
		spin_unlock(&e->lock);
		return -EBADF;
	}
	if (unlikely(e->ops)) {
		wait_for_ops(e, fd, pc);
		spin_lock(&e->lock);
	}
	e->closing = false;
	atomic_store_explicit(&e->hint, 0, memory_order_relaxed);
	/* Release pairs with the acquire in fd_generation(). */
	atomic_store_explicit(&e->generation,
	                      atomic_load_explicit(&e->generation, memory_order_relaxed) + 1,
	                      memory_order_release);
	/* Under the lock: nobody can begin to wait on the number between the new
	 * generation and the end of the old descriptor, and whoever gets the
	 * number again may wait on it at once. */
	int r = (int)sys1(SYS_close, fd);
	spin_unlock(&e->lock);
	return r == -EINTR ? 0 : r; /* Linux has closed it */
}

/* ---- the runtime's own ------------------------------------------------------- */

/* A duplicate with the highest free number above fd; -errno: none. */
static long duplicate_high(int fd)
{
	uint64_t top = nofile(false);
	long r = -EMFILE;

	if (top > FD_PRIVATE_TOP)
		top = FD_PRIVATE_TOP;
	if (top > fdtab_size)
		top = fdtab_size;
	int tries = FD_PRIVATE_TRIES;
	for (int at = (int)top - 1; at > fd && tries > 0; at--) {
		if (fd_is_private(at))
			continue;
		r = sys3(SYS_fcntl, fd, F_DUPFD_CLOEXEC, at);
		if (r >= 0)
			break;
		tries--;
	}
	return r;
}

void fd_keep(int fd)
{
	struct fd_entry *e = fd_entry(fd);

	if (!e)
		return;
	spin_lock(&e->lock);
	for (struct io_op *op = e->ops; op; op = op->fd_next) {
		if (op->kept_fd >= 0)
			continue;
		long own = duplicate_high(fd);
		if (own < 0)
			break;
		fd_made((int)own, FD_PRIVATE);
		op->kept_fd = (int32_t)own;
	}
	spin_unlock(&e->lock);
	fd_made(fd, 0);
}

int fd_private(int fd)
{
	if (fd < 0)
		return fd;
	long high = duplicate_high(fd);
	if (high >= 0) {
		sys1(SYS_close, fd);
		fd = (int)high;
	} else {
		sys3(SYS_fcntl, fd, F_SETFD, FD_CLOEXEC);
	}
	fd_made(fd, FD_PRIVATE);
	return fd;
}

void fd_private_close(int fd)
{
	if (fd < 0)
		return;
	fd_made(fd, 0);
	sys1(SYS_close, fd);
}
