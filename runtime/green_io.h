/* SPDX-License-Identifier: MIT
 *
 * Input and output for green threads.  Included by green.h, whose conventions
 * hold here.
 *
 * The calls of the first part take the arguments of their POSIX namesakes and
 * return what those return, or -errno.  They differ from them in this only:
 *
 *   - They wait whether or not O_NONBLOCK is set on the descriptor; who does not
 *     want to wait passes MSG_DONTWAIT.
 *   - A write or send waits until all bytes are taken.  It returns a short
 *     count only when an error, cancellation or deadline came after part of
 *     them; that error shows in the next call.
 *   - They never raise SIGPIPE on a socket: -EPIPE is returned.
 *   - EINTR is not returned: an interrupted call goes on.
 *   - In green threads SO_RCVTIMEO and SO_SNDTIMEO do not apply: use a deadline
 *     scope.
 *   - -ENOMEM also when a call needs a thread of the offload pool and none can
 *     be started.
 *   - With the epoll engine, a blocking listener (or tty, or other descriptor
 *     without a way to read and not wait) is accepted from (read) on a thread
 *     of the offload pool as soon as poll(2) says ready.  If another process, or
 *     a plain call, takes what was there in the instant between, neither cancel
 *     nor deadline nor green_close() ends the call before the next connection
 *     (byte) comes.  Share listeners with SOCK_NONBLOCK, and it cannot happen.
 *   - green_close() of a descriptor that green threads wait on makes those
 *     waits return -ECANCELED.
 *
 * All of them may switch.  Buffers belong to the caller and must stay valid
 * until the call returns; it returns only when nothing uses them any more.
 * In an OS thread, or without a runtime, they are the plain blocking calls.
 */
#include <green.h> /* which includes this file, behind what it needs */

#ifndef GREEN_IO_H
#define GREEN_IO_H

#include <poll.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>

#ifdef __cplusplus
extern "C" {
#endif

ssize_t green_read(int fd, void *buf, size_t count);
ssize_t green_write(int fd, const void *buf, size_t count);
ssize_t green_readv(int fd, const struct iovec *iov, int iovcnt);
ssize_t green_writev(int fd, const struct iovec *iov, int iovcnt);
ssize_t green_pread(int fd, void *buf, size_t count, off_t offset);
ssize_t green_pwrite(int fd, const void *buf, size_t count, off_t offset);
ssize_t green_preadv(int fd, const struct iovec *iov, int iovcnt, off_t offset);
ssize_t green_pwritev(int fd, const struct iovec *iov, int iovcnt, off_t offset);

ssize_t green_recv(int fd, void *buf, size_t len, int flags);
ssize_t green_send(int fd, const void *buf, size_t len, int flags);
ssize_t green_recvfrom(int fd, void *buf, size_t len, int flags, struct sockaddr *addr,
                       socklen_t *addrlen);
ssize_t green_sendto(int fd, const void *buf, size_t len, int flags, const struct sockaddr *addr,
                     socklen_t addrlen);
ssize_t green_recvmsg(int fd, struct msghdr *msg, int flags);
ssize_t green_sendmsg(int fd, const struct msghdr *msg, int flags);

/* socket(2); never waits.  The descriptor is close-on-exec. */
int green_socket(int domain, int type, int protocol);

/* accept4(2): flags are SOCK_CLOEXEC and SOCK_NONBLOCK. */
int green_accept(int fd, struct sockaddr *addr, socklen_t *addrlen, int flags);

/* connect(2).  -EISCONN, -ECONNREFUSED … as there. */
int green_connect(int fd, const struct sockaddr *addr, socklen_t addrlen);

/* What waits in open(2), as a FIFO's open does for the other side, keeps a thread of the
 * offload pool: until the other side comes, when the call has been cancelled too. */
int green_open(const char *path, int flags, mode_t mode);
int green_openat(int dirfd, const char *path, int flags, mode_t mode);

/* Closes the descriptor.  What waits on it, on any worker, returns -ECANCELED
 * first.  Shielded.  0, or -EBADF, -EIO as close(2); the descriptor is gone in
 * every case but -EBADF. */
int green_close(int fd);

int green_fsync(int fd);
int green_fdatasync(int fd);

/* sendfile(2), but sends all count bytes or up to the end of the file. */
ssize_t green_sendfile(int out_fd, int in_fd, off_t *offset, size_t count);

/* poll(2): timeout in milliseconds, -1 for ever.  0 when it passed. */
int green_poll(struct pollfd *fds, nfds_t nfds, int timeout_ms);

/* Waits until one of events (POLLIN …) is ready on fd.  Returns the ready
 * events, also where the time is over or it is cancelled; -ETIMEDOUT after timeout_ns
 * (GREEN_FOREVER: never); -EBADF. */
int green_wait_fd(int fd, short events, int64_t timeout_ns);

/* ---- connections by name ------------------------------------------------ */

/* Connects a stream socket to "host:port", "[v6]:port" or "unix:/path" and
 * returns it, close-on-exec.  Names are looked up by getaddrinfo on the
 * offload pool; addresses are tried in its order.  POSIX connect() is
 * green_connect(); this is the name Eventlet's connect() has here.  May switch.
 * -EINVAL when the address cannot be parsed, -EHOSTUNREACH when the name does
 * not resolve, -EMFILE or -ENFILE when descriptors are short for that, else the error of
 * the last address tried. */
int green_connect_host(const char *address);

/* Listens on "host:port", ":port" (all addresses), "[v6]:port" or
 * "unix:/path" with SO_REUSEADDR; port 0 picks a free one.  Of a name's
 * addresses it takes the first that this machine has.  backlog <= 0: 4096.
 * Returns the descriptor, close-on-exec.  Errors as above, and -EADDRINUSE …
 * May switch (name lookup). */
int green_listen(const char *address, int backlog);

/* Port of a bound IPv4 or IPv6 socket; -EINVAL for other families. */
int green_port(int fd);

/* ---- servers ------------------------------------------------------------ */

struct green_serve;

/* Called in a green thread of its own for each connection.  The descriptor is
 * closed (green_close) when it returns, unless keep_open was set. */
typedef void (*green_serve_fn)(int fd, void *arg);

struct green_serve_options {
	/* Most connections handled at once; further ones wait in the listen
	 * queue.  0: no limit but threads_max. */
	size_t concurrency;
	size_t stack_size; /* of the handlers; 0: default */
	bool keep_open;    /* the handler closes the descriptor itself */
	bool no_nodelay;   /* do not set TCP_NODELAY on connections */
	/* Filled with the server before the first accept, for green_serve_stop();
	 * may be NULL. */
	struct green_serve **handle;
};

/* Accepts connections on fd until green_serve_stop() and runs handler(conn,
 * arg) for each in a new green thread; spreads them over the workers.  When
 * descriptors run out (EMFILE, ENFILE, ENOBUFS, ENOMEM) it waits for one to be
 * closed, at most 100 ms, and goes on.  Returns 0 after a stop, when the last
 * handler has returned; -ECANCELED when its green thread was cancelled (the
 * handlers are cancelled too); -EBADF, -EINVAL, -ENOTSOCK.  fd stays open and
 * the caller's.  Green threads only (-EPERM).  May switch. */
int green_serve(int fd, green_serve_fn handler, void *arg,
                const struct green_serve_options *options);

/* Stops accepting, waits until every handler has returned or drain_ns have
 * passed (<= 0: at once), then cancels those left and waits for them.  The handle is
 * invalid after green_serve() has returned.  Returns 0 when all drained by themselves,
 * -ETIMEDOUT when some were cancelled; also that, or -ECANCELED, when the caller's own
 * time was over before the end: the server goes on draining.  -EDEADLK from one of its
 * own handlers, which cannot wait for itself: accepting stops all the same.  -EINVAL for
 * NULL: green_serve() has not filled in the handle yet.  May switch. */
int green_serve_stop(struct green_serve *server, int64_t drain_ns);

/* Connections handled now; 0 for NULL.  The handle is valid as for green_serve_stop(). */
size_t green_serve_connections(const struct green_serve *server);

#ifdef __cplusplus
}
#endif
#endif
