/* SPDX-License-Identifier: MIT
 *
 * The fast stage of calls on descriptors: one attempt that does not block.
 *
 * What it finds the full stage is told in c->result: how many bytes it has moved,
 * -EAGAIN when the call would block, -EPIPE when a signal is due; 0: nothing was tried.
 */
#include "arch/base.h"
#include "fdtab.h"
#include "intercept/call.h"
#include "intercept/link.h"
#include "intercept/thread_name.h"
#include "intercept/turn.h"
#include "intercept/user.h"
#include "intercept/wait.h"
#include "worker.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <linux/fs.h>
#include <sys/socket.h>
#include <sys/uio.h>

#define POLLED_MAX 64 /* descriptors of a poll(2) that are looked at afterwards */
#define NO_WAIT_FLAGS (MSG_DONTWAIT | MSG_OOB | MSG_ERRQUEUE)
#define SKIPS_MAX 16 /* attempts left out between two that are made */

static long more(struct call *c, long found)
{
	c->result = found;
	return CALL_MORE;
}

/* A call that would block: the full stage's, unless the file is O_NONBLOCK. */
static long would_block(struct call *c, int fd, uint16_t hint)
{
	if ((hint & FD_NONBLOCK) &&
	    (call_raw(SYS_fcntl, fd, F_GETFL, 0, 0, 0, 0) & O_NONBLOCK) != 0)
		return -EAGAIN;
	return more(c, -EAGAIN);
}

/* ---- sockets ------------------------------------------------------------------ */

static void note_drained(int fd, uint16_t hint, long n, size_t room, int flags)
{
	if ((hint & (FD_STREAM | FD_POLLED)) != FD_STREAM || n <= 0 || (flags & MSG_PEEK))
		return;
	if (!(hint & (FD_DRAINED | FD_REFILLED)) && (size_t)n < room)
		fd_hint_change(fd, 0, FD_DRAINED);
	/* It was thought to be empty, and this was the attempt that finds out. */
	else if (unlikely((hint & (FD_DRAINED | FD_NONBLOCK)) == FD_DRAINED))
		fd_hint_change(fd, FD_DRAINED, FD_REFILLED);
}

/* What comes in while the program works on what it got last is there at its next receive,
 * again and again: finding that out now and then costs the others little. */
static bool tries_all_the_same(void)
{
	struct worker *w = base_gs();

	return ++w->io_skipped % SKIPS_MAX == 0;
}

/* Is the socket's next receive worth an attempt? */
static inline bool may_have_data(uint16_t hint, int flags)
{
	return !(hint & FD_DRAINED) || (hint & FD_NONBLOCK) || (flags & NO_WAIT_FLAGS) ||
	       tries_all_the_same();
}

/* The attempt found nothing. */
static long is_empty(struct call *c, int fd, uint16_t hint)
{
	fd_hint_change(fd, FD_REFILLED, FD_DRAINED);
	return would_block(c, fd, hint);
}

/* An attempt by the entry's hand, as recvfrom(2) or sendto(2); tried() is told the result. */
static inline long attempt(struct call *c, long nr, int flags, call_tried_fn *tried)
{
	c->nr = nr;
	c->arg[3] = flags;
	c->result = (long)(uintptr_t)tried;
	return CALL_TRY_ALL;
}

/* That was it: the call is again as it was made. */
static inline void attempted(struct call *c)
{
	c->nr = (long)c->rax;
	c->arg[3] = (long)c->r10;
	c->arg[4] = (long)c->r8;
	c->arg[5] = (long)c->r9;
	c->result = 0;
}

static long received(struct call *c, long r)
{
	attempted(c);
	int fd = (int)c->arg[0], flags = c->nr == SYS_recvfrom ? (int)c->arg[3] : 0;
	size_t len = (size_t)c->arg[2];
	uint16_t hint = fd_hint(fd);

	if (r == -EAGAIN)
		return is_empty(c, fd, hint);
	note_drained(fd, hint, r, len, flags);
	if (unlikely((flags & MSG_WAITALL) && r > 0 && (size_t)r < len && (hint & FD_STREAM)))
		return more(c, flags & MSG_PEEK ? 0 : r);
	return r;
}

static inline long receive(struct call *c, int flags)
{
	uint16_t hint = fd_hint((int)c->arg[0]);

	if (unlikely(!(hint & FD_SOCKET) || c->arg[2] < 0) || !may_have_data(hint, flags) ||
	    !turn_lasts())
		return more(c, 0);
	if (flags & NO_WAIT_FLAGS)
		return CALL_REAL;
	long how = attempt(c, SYS_recvfrom, flags | MSG_DONTWAIT, received);
	return unlikely(hint & FD_DRAINED) ? CALL_TRY : how;
}

long fast_recvfrom(struct call *c)
{
	return receive(c, (int)c->arg[3]);
}

/* What may be done with the result of an attempt to send len bytes. */
static long sent(struct call *c, int fd, uint16_t hint, long r, size_t len, int flags)
{
	if (likely(r == (long)len))
		return r;
	if (r == -EPIPE)
		return flags & MSG_NOSIGNAL ? r : more(c, r);
	if (flags & MSG_DONTWAIT)
		return r;
	if (r == -EAGAIN)
		return would_block(c, fd, hint);
	return r > 0 && (hint & FD_STREAM) ? more(c, r) : r;
}

static long sent_bytes(struct call *c, long r)
{
	attempted(c);
	int fd = (int)c->arg[0], flags = c->nr == SYS_sendto ? (int)c->arg[3] : 0;

	return sent(c, fd, fd_hint(fd), r, (size_t)c->arg[2], flags);
}

static inline long send_bytes(struct call *c, int flags)
{
	uint16_t hint = fd_hint((int)c->arg[0]);

	if (unlikely(!(hint & FD_SOCKET) || c->arg[2] < 0) || (flags & MSG_FASTOPEN) ||
	    !turn_lasts())
		return more(c, 0);
	return attempt(c, SYS_sendto, flags | MSG_DONTWAIT | MSG_NOSIGNAL, sent_bytes);
}

long fast_sendto(struct call *c)
{
	return send_bytes(c, (int)c->arg[3]);
}

static size_t total_of(const struct msghdr *msg)
{
	size_t total = 0;

	for (size_t i = 0; i < msg->msg_iovlen; i++)
		total += msg->msg_iov[i].iov_len;
	return total;
}

long fast_recvmsg(struct call *c)
{
	int fd = (int)c->arg[0], flags = (int)c->arg[2];
	uint16_t hint = fd_hint(fd);

	if (unlikely(!(hint & FD_SOCKET)) || (flags & MSG_WAITALL) || !may_have_data(hint, flags) ||
	    !turn_lasts())
		return more(c, 0);
	long r = call_raw(SYS_recvmsg, fd, c->arg[1], flags | MSG_DONTWAIT, 0, 0, 0);
	if (flags & NO_WAIT_FLAGS) {
		if (r >= 0)
			wait_note_received((const struct msghdr *)c->arg[1]);
		return r;
	}
	if (r == -EAGAIN)
		return is_empty(c, fd, hint);
	/* The kernel has read it: it is there. */
	if (r >= 0)
		wait_note_received((const struct msghdr *)c->arg[1]);
	if (r > 0)
		note_drained(fd, hint, r, total_of((const struct msghdr *)c->arg[1]), flags);
	return r;
}

long fast_sendmsg(struct call *c)
{
	int fd = (int)c->arg[0], flags = (int)c->arg[2];
	uint16_t hint = fd_hint(fd);

	if (unlikely(!(hint & FD_SOCKET)) || (flags & MSG_FASTOPEN) || !turn_lasts())
		return more(c, 0);
	long r = call_raw(SYS_sendmsg, fd, c->arg[1], flags | MSG_DONTWAIT | MSG_NOSIGNAL, 0, 0, 0);
	size_t total = r > 0 ? total_of((const struct msghdr *)c->arg[1]) : 0;
	return sent(c, fd, hint, r, total, flags);
}

/* ---- what bounds them ----------------------------------------------------------------- */

long fast_setsockopt(struct call *c)
{
	if (c->arg[1] == SOL_SOCKET) {
		int option = (int)c->arg[2];
		/* _OLD and _NEW: 20, 21 and 66, 67. */
		if (option == SO_RCVTIMEO || option == SO_SNDTIMEO || option == 66 || option == 67)
			atomic_store_explicit(&wait_limits_used, true, memory_order_relaxed);
		if (option == SO_LINGER)
			atomic_store_explicit(&wait_lingers_used, true, memory_order_relaxed);
	}
	return CALL_PASS;
}

/* ---- files ------------------------------------------------------------------------ */

static bool cannot(long r)
{
	return r == -EOPNOTSUPP || r == -EINVAL || r == -ENOSYS;
}

/* In link mode OS threads and exempt libraries close descriptors unseen, and a call on
 * whatever has the number by now would hold the worker. */
static bool is_at_once(uint16_t hint)
{
	return (hint & FD_AT_ONCE) && !link_on;
}

/* One that is no socket: read(2) where at is -1, pread(2). */
static long read_file(struct call *c, int fd, uint16_t hint, long at)
{
	struct iovec iov = { (void *)c->arg[1], (size_t)c->arg[2] };

	if (hint & FD_NO_NOWAIT_READ)
		return hint & FD_BUFFERED ? CALL_REAL : more(c, 0);
	long r = call_raw(SYS_preadv2, fd, (long)&iov, 1, at, 0, RWF_NOWAIT);
	if (cannot(r))
		return more(c, 0);
	if (hint & FD_STORED) {
		/* Short: the page cache's end, or the file's? */
		if (r == -EAGAIN || (r > 0 && (size_t)r < iov.iov_len))
			return more(c, r == -EAGAIN ? 0 : r);
		return r;
	}
	return r == -EAGAIN ? would_block(c, fd, hint) : r;
}

long fast_read(struct call *c)
{
	int fd = (int)c->arg[0];
	uint16_t hint = fd_hint(fd);

	if ((hint & FD_SOCKET) && c->arg[2] > 0) {
		c->arg[4] = c->arg[5] = 0; /* no address */
		return receive(c, 0);
	}
	if (unlikely(!(hint & FD_NOT_SOCKET)) || !turn_lasts())
		return more(c, 0);
	return is_at_once(hint) ? CALL_REAL : read_file(c, fd, hint, -1);
}

long fast_pread64(struct call *c)
{
	int fd = (int)c->arg[0];
	uint16_t hint = fd_hint(fd);

	if (c->arg[3] < 0)
		return -EINVAL;
	if (unlikely(!(hint & FD_STORED)) || !turn_lasts())
		return more(c, 0);
	return read_file(c, fd, hint, c->arg[3]);
}

/* Events are told by adding 1 to an eventfd, which knows no RWF_NOWAIT: one that is ready takes
 * that much without waiting, but maybe no more. */
static bool is_event(const struct call *c, int fd, uint16_t hint)
{
	struct pollfd out = { .fd = fd, .events = POLLOUT };
	const uint32_t *value = (const uint32_t *)c->arg[1];
	uint32_t low, high;

	return (hint & FD_ANONYMOUS) && !link_on && c->arg[2] == sizeof(uint64_t) &&
	       user_load(value, &low) == 0 && user_load(value + 1, &high) == 0 && low == 1 &&
	       high == 0 && call_raw(SYS_poll, (long)&out, 1, 0, 0, 0, 0) == 1 &&
	       out.revents == POLLOUT;
}

static long write_file(struct call *c, int fd, uint16_t hint)
{
	struct iovec iov = { (void *)c->arg[1], (size_t)c->arg[2] };

	if (hint & FD_STORED)
		return hint & FD_BUFFERED ? call_real(c) : more(c, 0);
	if (hint & FD_NO_NOWAIT_WRITE)
		return is_event(c, fd, hint) ? CALL_REAL : more(c, 0);
	long r = call_raw(SYS_pwritev2, fd, (long)&iov, 1, -1, 0, RWF_NOWAIT);
	if (cannot(r))
		return more(c, 0);
	if (r == -EAGAIN)
		return would_block(c, fd, hint);
	return r == -EPIPE || (r > 0 && (size_t)r < iov.iov_len) ? more(c, r) : r;
}

long fast_write(struct call *c)
{
	int fd = (int)c->arg[0];
	uint16_t hint = fd_hint(fd);

	if (hint & FD_SOCKET) {
		c->arg[4] = c->arg[5] = 0; /* no address */
		return send_bytes(c, 0);
	}
	if (unlikely(!(hint & FD_NOT_SOCKET)) || !turn_lasts())
		return more(c, 0);
	if (is_at_once(hint))
		return CALL_REAL;
	long r = write_file(c, fd, hint);
	return unlikely(r == -EFBIG) ? more(c, r) : r;
}

long fast_pwrite64(struct call *c)
{
	uint16_t hint = fd_hint((int)c->arg[0]);
	uint16_t plain = FD_STORED | FD_BUFFERED;

	if (c->arg[3] < 0)
		return -EINVAL;
	if ((hint & plain) != plain || !turn_lasts())
		return more(c, 0);
	long r = call_real(c);
	return unlikely(r == -EFBIG) ? more(c, r) : r;
}

/* ---- readiness ---------------------------------------------------------------------- */

/* Of the first few: they are looked at by poll(2) before they are read. */
static void note_ready(const struct pollfd *fds, long count)
{
	for (unsigned i = 0; i < POLLED_MAX && count > 0; i++)
		if (fds[i].revents) {
			count--;
			fd_polled(fds[i].fd);
		}
}

static long polled(struct call *c, long r)
{
	c->arg[2] = (long)c->rdx;
	c->result = 0;
	if (r == 0)
		return (int)c->arg[2] == 0 ? 0 : more(c, -EAGAIN);
	if (r > 0)
		note_ready((const struct pollfd *)c->arg[0], r);
	return r;
}

/* What is ready now; the full stage waits, or lets others have a turn. */
long fast_poll(struct call *c)
{
	if (!turn_lasts())
		return more(c, 0);
	c->arg[2] = 0;
	c->result = (long)(uintptr_t)polled;
	return CALL_TRY;
}

long fast_epoll_ctl(struct call *c)
{
	fd_polled((int)c->arg[2]);
	return CALL_PASS;
}

long fast_epoll_wait(struct call *c)
{
	c->result = 0;
	if (!turn_lasts())
		return CALL_MORE;
	long r = call_raw(SYS_epoll_pwait, c->arg[0], c->arg[1], c->arg[2], 0, 0, 0);
	return r != 0 || (int)c->arg[3] == 0 ? r : more(c, -EAGAIN);
}

/* ---- others --------------------------------------------------------------------------- */

/* Nobody waits on it, and it does not linger: what was known of the number is void. */
long fast_close(struct call *c)
{
	int fd = (int)c->arg[0];

	if (unlikely(fd_is_waited(fd)) || (fd_hint(fd) & FD_PRIVATE) ||
	    atomic_load_explicit(&wait_lingers_used, memory_order_relaxed) ||
	    unlikely(atomic_load_explicit(&thread_names_open, memory_order_relaxed)))
		return CALL_MORE;
	if (fd_hint(fd))
		fd_made(fd, 0);
	return CALL_PASS;
}

long fast_fcntl(struct call *c)
{
	int fd = (int)c->arg[0];

	if (fd_hint(fd) & FD_PRIVATE)
		return -EBADF;
	if (c->arg[1] == F_SETFL)
		fd_hint_change(fd, FD_BUFFERED | FD_NONBLOCK, 0);
	return c->arg[1] == F_SETLKW || c->arg[1] == F_OFD_SETLKW ? CALL_MORE : CALL_PASS;
}

/* Their full stage keeps the end of the sleep in c->result. */
long fast_nanosleep(struct call *c)
{
	return more(c, 0);
}

long fast_clock_nanosleep(struct call *c)
{
	return more(c, 0);
}
