/* SPDX-License-Identifier: MIT
 *
 * Waiting for descriptors and for operations on them.
 */
#include "io_wait.h"
#include "foreign.h"
#include "offload.h"
#include "behalf.h"
#include "trace.h"
#include "worker.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <time.h>

#define VAIN_MAX 16 /* wake-ups in vain before the first rest */
#define REST_FIRST GREEN_US(50)
#define REST_DOUBLINGS 8 /* up to 12.8 ms */
#define GOES_ON_MAX 128  /* calls without a wait before others get a turn */
#define NO_REASON_MAX 3  /* cancels without a reason before giving up */
#define ROUND_AGAIN 1    /* run_once() */

int64_t io_os_deadline(void)
{
	struct gt *os = foreign_existing();

	return os && os->ext ? os->ext->deadline_ns : GREEN_FOREVER;
}

int io_call_begin(struct io_call *call, int fd, void *pc)
{
	trace_enter(pc, PARK_IO, (uint64_t)(int64_t)fd);
	call->self = gt_self();
	call->pc = pc;
	call->fd = fd;
	call->generation = fd_generation(fd);
	call->block = !call->self && io_os_deadline() == GREEN_FOREVER;
	call->vain = 0;
	call->no_reason = 0;
	call->kept = call->shielded = false;
	call->wait = NULL;
	call->deadline_ns = GREEN_FOREVER;
	call->loan = (struct stack_loan){ { STACK_NONE } };
	return likely(!fd_is_private(fd)) ? 0 : -EBADF;
}

bool io_is_nonblocking(int fd)
{
	long flags = sys2(SYS_fcntl, fd, F_GETFL);

	return flags >= 0 && (flags & O_NONBLOCK);
}

/* ---- OS threads --------------------------------------------------------------- */

long io_os_poll(struct pollfd *fds, unsigned long count, int64_t deadline_ns)
{
	for (;;) {
		struct timespec left = { 0, 0 };
		if (deadline_ns != GREEN_FOREVER) {
			int64_t ns = deadline_ns - sys.now();
			if (ns < 0)
				ns = 0;
			left.tv_sec = ns / GREEN_S(1);
			left.tv_nsec = ns % GREEN_S(1);
		}
		long r = sys5(SYS_ppoll, fds, count, deadline_ns == GREEN_FOREVER ? NULL : &left,
		              NULL, 0);
		if (r != -EINTR)
			return r;
	}
}

static long os_ready(struct io_call *call, short events, int64_t deadline_ns)
{
	struct pollfd pfd = { .fd = call->fd, .events = events };
	int64_t scope = io_os_deadline();
	long r = io_os_poll(&pfd, 1, scope < deadline_ns ? scope : deadline_ns);

	if (r < 0)
		return r;
	if (r == 0)
		return -ETIMEDOUT;
	return pfd.revents & POLLNVAL ? -EBADF : pfd.revents;
}

/* ---- one operation ------------------------------------------------------------ */

struct io_op *io_op_for(const struct io_call *call, enum io_kind kind)
{
	struct io_op *op = io_op_get();

	if (op) {
		op->kind = (uint8_t)kind;
		op->fd = call->fd;
		op->group_next = NULL;
	}
	return op;
}

/* The count has one writer, the worker itself. */
static void count_in_flight(struct worker *w, uint32_t change)
{
	uint32_t n = atomic_load_explicit(&w->ops_in_flight, memory_order_relaxed);

	atomic_store_explicit(&w->ops_in_flight, n + change, memory_order_relaxed);
}

void io_op_landed(struct io_op *op)
{
	count_in_flight(op->worker, (uint32_t)-1);
}

static void wake_one(struct io_op *op)
{
	io_op_landed(op);
	io_op_wake(op);
}

/* An exact wait is listed with the descriptor but made on an epoll instance;
 * len holds the one of the two that is not in fd, + 1, offset likewise for
 * the events. */
static void exchange_fds(struct io_op *op)
{
	uint32_t events = op->events;
	int fd = op->fd;

	op->fd = (int)op->len - 1;
	op->len = (uint64_t)fd + 1;
	op->events = (uint32_t)op->offset;
	op->offset = events;
}

static inline bool is_exact(const struct io_op *op)
{
	return unlikely(op->len != 0) && op->kind == IO_POLL;
}

int io_op_start(struct io_op *op, struct park_ticket waiter, uint32_t generation)
{
	struct worker *w = worker_self();

	op->waiter = waiter;
	op->worker = w;
	int r = fd_begin(op, generation);
	if (r < 0)
		return r;
	if (is_exact(op))
		exchange_fds(op);
	count_in_flight(w, 1);
	r = rt.engine->submit(w, op);
	if (likely(r == 0))
		return 0;
	count_in_flight(w, (uint32_t)-1);
	io_op_ended(op);
	return r;
}

bool io_op_ended(struct io_op *op)
{
	if (is_exact(op))
		exchange_fds(op);
	return fd_end(op);
}

bool io_poll_in_vain(const struct io_op *op)
{
	uint32_t asked = op->events | POLLERR | POLLHUP | POLLNVAL;

	return op->res > 0 && op->len == 0 && !((uint32_t)op->res & asked);
}

int io_poll_exactly(struct io_op *op)
{
	struct epoll_event event = { .events = op->events };

	long fd = sys1(SYS_epoll_create1, EPOLL_CLOEXEC);
	if (fd < 0)
		return (int)fd;
	long r = sys4(SYS_epoll_ctl, fd, EPOLL_CTL_ADD, op->fd, &event);
	if (r < 0) {
		sys1(SYS_close, fd);
		return (int)r;
	}
	fd_made((int)fd, FD_PRIVATE);
	op->len = (uint64_t)fd + 1;
	op->offset = POLLIN;
	return 0;
}

void io_poll_as_usual(struct io_op *op)
{
	if (op->len)
		fd_private_close((int)op->len - 1);
	op->len = 0;
}

int io_cancel_reason(struct io_call *call, int64_t deadline_ns)
{
	/* Not park_check(): what interrupted the operation may not be told there yet. */
	int r = park_check_slow(call->self);

	if (r < 0)
		return r;
	if (deadline_ns != GREEN_FOREVER && sys.now() >= deadline_ns)
		return -ETIMEDOUT;
	/* Nobody asked: the deadline's timer could not be armed for want of
	 * memory, or the asker has changed its mind. */
	return ++call->no_reason > NO_REASON_MAX ? -ENOMEM : 0;
}

/* The program has closed the descriptor meanwhile, by an emulated close(2): the
 * call goes on with the duplicate that it was left. */
static void follow(struct io_call *call, struct io_op *op)
{
	if (call->kept)
		fd_private_close(call->fd);
	call->fd = op->fd = op->kept_fd;
	call->generation = fd_generation(op->fd);
	call->kept = true;
	op->kept_fd = -1;
}

/* One round of io_op_run(): as there, ROUND_AGAIN to go round again. */
static long run_once(struct io_call *call, struct io_op *op, int64_t deadline_ns)
{
	int r = likely(!call->shielded) ? park_check(call->self) : 0;

	if (unlikely(r < 0))
		return r;
	struct park_ticket ticket = park_begin(call->self, PARK_IO, op, call->pc);
	op->complete = wake_one;
	r = io_op_start(op, ticket, call->generation);
	if (unlikely(r < 0)) {
		if (!park_abort(ticket))
			park_commit(ticket, PARK_SHIELDED, GREEN_FOREVER);
		return r;
	}
	park_commit(ticket, call->shielded ? PARK_OP | PARK_SHIELDED : PARK_OP, deadline_ns);
	bool closing = io_op_ended(op);
	if (unlikely(op->kept_fd >= 0))
		follow(call, op);
	if (likely(op->res != -ECANCELED))
		return unlikely(closing) && op->kind == IO_POLL ? -ECANCELED : 0;
	if (closing)
		return -ECANCELED;
	r = io_cancel_reason(call, deadline_ns);
	return r < 0 ? r : ROUND_AGAIN;
}

long io_op_run(struct io_call *call, struct io_op *op, int64_t deadline_ns)
{
	long r;

	do
		r = run_once(call, op, deadline_ns);
	while (unlikely(r == ROUND_AGAIN));
	return r;
}

/* An operation on an epoll instance has said that something is there: what? */
static long events_of(struct io_op *op)
{
	struct pollfd pfd = { .fd = op->fd, .events = (short)op->events };
	long r = sys3(SYS_poll, &pfd, 1, 0);

	return r > 0 ? pfd.revents : (long)op->events;
}

static long ready_exactly(struct io_call *call, struct io_op *op, int64_t deadline_ns)
{
	if (io_poll_exactly(op) < 0)
		return (long)op->events; /* io_backoff() is there for such cases */
	long r = io_op_run(call, op, deadline_ns);
	if (r == 0)
		r = op->res < 0 ? op->res : events_of(op);
	io_poll_as_usual(op);
	return r;
}

long io_ready_until(struct io_call *call, short events, int64_t deadline_ns)
{
	if (!call->self)
		return os_ready(call, events, deadline_ns);
	struct io_op *op = io_op_for(call, IO_POLL);
	if (unlikely(!op))
		return -ENOMEM;
	op->events = (uint16_t)events;
	long r = io_op_run(call, op, deadline_ns);
	if (likely(r == 0))
		r = unlikely(io_poll_in_vain(op)) ? ready_exactly(call, op, deadline_ns) : op->res;
	io_op_put(op);
	if (unlikely(r > 0 && (r & POLLNVAL)))
		return -EBADF;
	return r > 0 ? r & (events | POLLERR | POLLHUP) : r;
}

long io_ready(struct io_call *call, short events)
{
	if (unlikely(call->wait != NULL))
		return call->wait(call, events);
	if (unlikely(++call->vain > VAIN_MAX)) {
		int r = io_backoff(call);
		if (r < 0)
			return r;
	}
	return io_ready_until(call, events, GREEN_FOREVER);
}

int io_backoff(struct io_call *call)
{
	int doublings = call->vain - VAIN_MAX - 1;

	if (doublings < 0)
		doublings = 0;
	if (doublings > REST_DOUBLINGS) {
		doublings = REST_DOUBLINGS;
		call->vain = VAIN_MAX + 1 + REST_DOUBLINGS;
	}
	return thread_sleep(REST_FIRST << doublings, call->pc);
}

/* ---- operations that carry data ------------------------------------------------- */

/* The blocking call of an operation that has bytes. */
static long transfer_blocking(const struct io_op *op)
{
	int64_t offset = (int64_t)op->offset;
	bool at = offset >= 0; /* -1: the file's own position */

	switch ((enum io_kind)op->kind) {
	case IO_READ:
		return at ? sys4(SYS_pread64, op->fd, op->addr, op->len, offset)
		          : sys3(SYS_read, op->fd, op->addr, op->len);
	case IO_WRITE:
		return at ? sys4(SYS_pwrite64, op->fd, op->addr, op->len, offset)
		          : sys3(SYS_write, op->fd, op->addr, op->len);
	case IO_READV:
		if (op->events)
			return sys6(SYS_preadv2, op->fd, op->addr, op->len, offset, 0, op->events);
		return at ? sys5(SYS_preadv, op->fd, op->addr, op->len, offset, 0)
		          : sys3(SYS_readv, op->fd, op->addr, op->len);
	case IO_WRITEV:
		if (op->events)
			return sys6(SYS_pwritev2, op->fd, op->addr, op->len, offset, 0, op->events);
		return at ? sys5(SYS_pwritev, op->fd, op->addr, op->len, offset, 0)
		          : sys3(SYS_writev, op->fd, op->addr, op->len);
	default:
		return -EOPNOTSUPP;
	}
}

static long call_blocking(const struct io_op *op)
{
	switch ((enum io_kind)op->kind) {
	case IO_ACCEPT:
		return sys4(SYS_accept4, op->fd, op->addr, op->offset, op->events);
	case IO_CONNECT:
		return sys3(SYS_connect, op->fd, op->addr, op->len);
	case IO_FSYNC:
		return sys1(op->events ? SYS_fdatasync : SYS_fsync, op->fd);
	default:
		return transfer_blocking(op);
	}
}

/* What must be there for op not to block; 0: nothing that poll(2) can tell. */
static short events_for(const struct io_op *op)
{
	struct stat st;

	switch ((enum io_kind)op->kind) {
	case IO_ACCEPT:
		return POLLIN;
	case IO_READ:
	case IO_READV:
		if (sys2(SYS_fstat, op->fd, &st) < 0 || S_ISREG(st.st_mode) ||
		    S_ISBLK(st.st_mode) || S_ISDIR(st.st_mode))
			return 0;
		return POLLIN;
	default:
		return 0;
	}
}

/* Waits for nobody but a disk: the loader reads so while it has its locks. */
static bool is_of_disk(const struct io_op *op)
{
	return (op->kind == IO_READ || op->kind == IO_READV) && !events_for(op);
}

/* On a thread of the offload pool, where signals are blocked.  What blocks there
 * cannot be cancelled, so it looks once more, and alone: of many that have seen
 * one connection the others get -EAGAIN, and wait for the next one where they
 * can be cancelled.  Only another process or a plain call can be faster now. */
static void *perform_blocking(void *arg)
{
	struct io_op *op = arg;
	struct pollfd pfd = { .fd = op->fd, .events = events_for(op) };

	if (!pfd.events) {
		op->res = (int32_t)call_blocking(op);
		return NULL;
	}
	op->res = -EAGAIN;
	if (!fd_take(op->fd))
		return NULL;
	if (sys3(SYS_poll, &pfd, 1, 0) != 0)
		op->res = (int32_t)call_blocking(op);
	fd_taken(op->fd);
	return NULL;
}

/* A cancel or deadline ends a connect on the pool by shutting the socket. */
static void abandon_connect(void *arg)
{
	struct io_op *op = arg;

	sys2(SYS_shutdown, op->fd, SHUT_RDWR);
}

static long offload_op(struct io_call *call, struct io_op *op)
{
	op->worker = NULL;
	op->waiter = (struct park_ticket){ call->self, 0 };
	int r = fd_begin(op, call->generation);
	if (r < 0)
		return r;
	if (is_of_disk(op))
		r = offload_brief(perform_blocking, op, call->shielded, call->pc);
	else if (call->shielded)
		r = offload_to_end(perform_blocking, op, call->pc);
	else
		r = offload_run(perform_blocking, op, NULL,
		                op->kind == IO_CONNECT ? abandon_connect : NULL, call->pc);
	if (fd_end(op) && r == 0 && op->kind == IO_CONNECT)
		r = -ECANCELED;
	if (r == -EAGAIN) /* no thread: the call's own EAGAIN means something else */
		r = -ENOMEM;
	return r < 0 ? r : op->res;
}

long io_perform_offloaded(struct io_call *call, struct io_op *op)
{
	stack_pin(call->self->stack);
	long r = offload_op(call, op);
	stack_unpin(call->self->stack);
	io_op_put(op);
	return r;
}

long io_perform(struct io_call *call, struct io_op *op)
{
	stack_id stack = call->self->stack;

	stack_pin(stack);
	long r = io_op_run(call, op, GREEN_FOREVER);
	if (r == 0)
		r = op->res;
	else if (r == -EOPNOTSUPP)
		r = offload_op(call, op);
	stack_unpin(stack);
	io_op_put(op);
	return r;
}

/* ---- attempts --------------------------------------------------------------------- */

void io_went_on(const struct io_call *call)
{
	if (!call->self)
		return;
	struct worker *w = worker_self();
	uint64_t switches = atomic_load_explicit(&w->switches, memory_order_relaxed);

	if (w->io_switches != switches) {
		w->io_switches = switches;
		w->io_went_on = 0;
	} else if (unlikely(++w->io_went_on >= GOES_ON_MAX)) {
		w->io_went_on = 0;
		thread_yield(call->pc);
	}
}

long io_run(struct io_call *call, short events, io_attempt *attempt, void *args, bool expect_wait)
{
	for (bool waited = false;; waited = true) {
		if (waited || !expect_wait || call->block) {
			long r;
			do
				r = attempt(args, call->block);
			while (unlikely(r == -EINTR));
			if (r != -EAGAIN) {
				if (!waited)
					io_went_on(call);
				return r;
			}
			/* EAGAIN of a blocking call: its own time limit (SO_RCVTIMEO). */
			if (call->block && !io_is_nonblocking(call->fd))
				return r;
		}
		long ready = io_ready(call, events);
		if (unlikely(ready < 0))
			return ready;
	}
}
