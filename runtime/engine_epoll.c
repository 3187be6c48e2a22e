/* SPDX-License-Identifier: MIT
 *
 * The epoll engine: readiness only, with the behaviour of the io_uring engine.
 *
 * Each descriptor has a slot: the list of operations that wait on it.  A
 * registration is one-shot and carries the union of what they want; when it
 * fires, those that got what they want complete and the rest is armed again.
 * A completed operation leaves the registration where it is, disarmed, so that
 * the next wait costs one epoll_ctl(), which also looks at the present state.
 *
 * A program may close a descriptor behind the runtime's back, and its number
 * may come to mean another file.  epoll_ctl() then says so (ENOENT, EBADF) when
 * the next operation comes.  A registration of the old file can outlive the
 * number when the file has other descriptors: its events carry the slot's
 * generation of back then, and are ignored.
 */
#include "op_list.h"

#include "arch/cpu.h"
#include "arch/sys.h"
#include "engine.h"
#include "fatal.h"
#include "fdtab.h"
#include "feature.h"
#include "worker.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>

#define POLL_BATCH 256     /* completions, and events, per poll() */
#define CHUNK_SLOTS 1024u  /* slots mapped together */
#define CHUNKS_MAX 262144u /* descriptors below 2^28 */
#define BELL UINT64_MAX    /* event data of the doorbell */

/* What epoll reports whether or not it was asked for. */
#define ALWAYS (EPOLLERR | EPOLLHUP)
/* What poll(2) says of files that cannot wait (epoll_ctl: EPERM). */
#define ALWAYS_READY (EPOLLIN | EPOLLOUT | EPOLLRDNORM | EPOLLWRNORM)
#define POLL_EVENTS_MASK 0xffffu

_Static_assert(POLLIN == EPOLLIN && POLLOUT == EPOLLOUT && POLLPRI == EPOLLPRI &&
                       POLLERR == EPOLLERR && POLLHUP == EPOLLHUP && POLLRDHUP == EPOLLRDHUP,
               "events of poll(2) and of epoll are the same bits");

struct slot {
	struct op_list ops;
	uint32_t generation; /* of the registration; in the upper half of its event data */
	bool registered;     /* as far as is known */
};

struct epoll {
	int fd;
	int bell;             /* eventfd */
	uint32_t waiting;     /* operations in slots */
	unsigned chunks_high; /* highest one in use + 1 */
	bool no_pwait2;
	struct op_list done; /* completed by the next poll() */
	long fetched;        /* entries of events, or -errno, that poll() has yet to see */
	struct epoll_event events[POLL_BATCH];
	struct slot *chunks[CHUNKS_MAX]; /* by descriptor / CHUNK_SLOTS; NORESERVE */
};

/* ---- slots ------------------------------------------------------------------ */

/* The slot of a descriptor, NULL: nothing has ever waited on it. */
static struct slot *find_slot(const struct epoll *e, unsigned fd)
{
	struct slot *chunk = fd / CHUNK_SLOTS < CHUNKS_MAX ? e->chunks[fd / CHUNK_SLOTS] : NULL;

	return likely(chunk != NULL) ? &chunk[fd % CHUNK_SLOTS] : NULL;
}

/* The same, made if need be; NULL: no memory, or a number that cannot be. */
static struct slot *make_slot(struct epoll *e, unsigned fd, long *error)
{
	struct slot *slot = find_slot(e, fd);

	if (likely(slot != NULL))
		return slot;
	*error = -EBADF;
	if (fd / CHUNK_SLOTS >= CHUNKS_MAX)
		return NULL;
	e->chunks[fd / CHUNK_SLOTS] =
		sys_map(CHUNK_SLOTS * sizeof(*slot), SYS_MAP_NORESERVE, error);
	if (e->chunks_high <= fd / CHUNK_SLOTS)
		e->chunks_high = fd / CHUNK_SLOTS + 1;
	return find_slot(e, fd);
}

/* Gives an operation its result, at the next poll(). */
static void settle(struct epoll *e, struct io_op *op, int32_t res)
{
	if (res == -EPERM) {
		res = (int32_t)(op->events & ALWAYS_READY);
		if (!res)
			res = -EINVAL; /* what io_uring says to a wait that cannot end */
	}
	op_list_done(&e->done, op, res);
}

static void settle_all(struct epoll *e, struct slot *slot, int32_t res)
{
	struct io_op *op;

	while ((op = op_list_take(&slot->ops))) {
		e->waiting--;
		settle(e, op, res);
	}
}

static uint32_t wanted(const struct slot *slot)
{
	uint32_t events = 0;

	for (const struct io_op *op = slot->ops.head; op; op = op->engine_next)
		events |= op->events;
	return events & POLL_EVENTS_MASK;
}

static long control(struct epoll *e, int action, int fd, struct slot *slot, uint32_t events)
{
	struct epoll_event event = {
		.events = (events & POLL_EVENTS_MASK) | EPOLLONESHOT,
		.data.u64 = (uint64_t)slot->generation << 32 | (unsigned)fd,
	};

	return sys4(SYS_epoll_ctl, e->fd, action, fd, &event);
}

/* Does epoll_ctl(MOD) say so when the number no longer means the file that was
 * registered? */
static bool file_is_gone(long r)
{
	return r == -ENOENT || r == -EBADF || r == -EPERM;
}

/* Arms the registration for what waits already and for events. */
static long arm(struct epoll *e, int fd, struct slot *slot, uint32_t events)
{
	if (slot->registered) {
		long r = control(e, EPOLL_CTL_MOD, fd, slot, wanted(slot) | events);

		if (likely(!file_is_gone(r)))
			return r;
		slot->registered = false;
		settle_all(e, slot, -EBADF);
	}
	slot->generation++;
	long r = control(e, EPOLL_CTL_ADD, fd, slot, events);
	if (r == -EEXIST)
		r = control(e, EPOLL_CTL_MOD, fd, slot, events);
	slot->registered = r == 0;
	return r;
}

static int engine_submit(struct worker *w, struct io_op *op)
{
	struct epoll *e = w->engine;
	long r = -EBADF;

	if (op->kind != IO_POLL)
		return -EOPNOTSUPP;
	assert(op_state(op) == OP_IDLE);
	op->cancel_sent = 0;
	struct slot *slot = make_slot(e, (unsigned)op->fd, &r);
	if (likely(slot != NULL))
		r = arm(e, op->fd, slot, op->events);
	if (unlikely(r < 0)) {
		settle(e, op, (int32_t)r);
		return 0;
	}
	op_set_state(op, OP_WAITING);
	op_list_add(&slot->ops, op);
	e->waiting++;
	return 0;
}

static void engine_cancel(struct worker *w, struct io_op *op)
{
	struct epoll *e = w->engine;

	if (op_state(op) != OP_WAITING)
		return;
	/* The registration may still fire, once, for nobody. */
	op_list_remove(&find_slot(e, (unsigned)op->fd)->ops, op);
	e->waiting--;
	op_list_done(&e->done, op, -ECANCELED);
}

/* ---- completion ------------------------------------------------------------- */

/* The registration has fired, and is disarmed by that. */
static void fired(struct epoll *e, uint64_t data, uint32_t events)
{
	int fd = (int)(uint32_t)data;
	struct slot *slot = find_slot(e, (unsigned)fd);

	assert(slot);
	if (slot->generation != (uint32_t)(data >> 32))
		return;
	struct io_op *next;
	for (struct io_op *op = slot->ops.head; op; op = next) {
		uint32_t got = events & (op->events | ALWAYS) & POLL_EVENTS_MASK;

		next = op->engine_next;
		if (!got)
			continue;
		op_list_remove(&slot->ops, op);
		e->waiting--;
		op_list_done(&e->done, op, (int32_t)got);
	}
	if (likely(!slot->ops.head))
		return;
	long r = control(e, EPOLL_CTL_MOD, fd, slot, wanted(slot));
	if (unlikely(r < 0)) {
		if (file_is_gone(r)) {
			slot->registered = false;
			r = -EBADF;
		}
		settle_all(e, slot, (int32_t)r);
	}
}

static long wait_in_kernel(struct epoll *e, int64_t wait_ns)
{
	if (wait_ns > 0 && !e->no_pwait2) {
		struct timespec ts = { .tv_sec = wait_ns / 1000000000,
			               .tv_nsec = wait_ns % 1000000000 };
		long r = sys6(SYS_epoll_pwait2, e->fd, e->events, POLL_BATCH, &ts, NULL, 0);

		/* Before Linux 5.11; EPERM: a seccomp filter older than that. */
		if (r != -ENOSYS && r != -EPERM)
			return r;
		e->no_pwait2 = true;
		feature_set(FEATURE_EPOLL_PWAIT2, false);
	}
	int64_t ms = wait_ns <= 0 ? wait_ns : (wait_ns + 999999) / 1000000;
	if (ms > INT32_MAX)
		ms = INT32_MAX;
	return sys6(SYS_epoll_pwait, e->fd, e->events, POLL_BATCH, ms < 0 ? -1 : ms, NULL, 0);
}

static int engine_poll(struct worker *w, int64_t wait_ns)
{
	struct epoll *e = w->engine;
	long count = e->fetched;

	e->fetched = 0;
	if (likely(!count))
		count = wait_in_kernel(e, e->done.head ? 0 : wait_ns);
	if (unlikely(count < 0) && count != -EINTR)
		return count == -EINVAL ? -EBADF : (int)count; /* the number is another file's */
	for (long i = 0; i < count; i++)
		if (e->events[i].data.u64 != BELL)
			fired(e, e->events[i].data.u64, e->events[i].events);
	return op_list_deliver(&e->done, POLL_BATCH);
}

/* Only the kernel knows what is ready.  While operations wait it is asked, and
 * what it says is kept for poll(). */
static bool engine_busy(struct worker *w)
{
	struct epoll *e = w->engine;

	if (!e->fetched && e->waiting && !e->done.head)
		e->fetched = wait_in_kernel(e, 0);
	return e->done.head || e->fetched;
}

static void engine_doorbell(struct worker *w)
{
	const struct epoll *e = w->engine;
	const uint64_t one = 1;
	long r;

	do
		r = sys3(SYS_write, e->bell, &one, sizeof(one));
	while (r == -EINTR);
	if (unlikely(r == -EBADF || r == -EINVAL))
		fatal_lost_fd(w);
}

/* ---- life ------------------------------------------------------------------- */

static int open_fds(struct epoll *e)
{
	/* Edge-triggered: every ring is an event, and nobody has to read it. */
	struct epoll_event event = { .events = EPOLLIN | EPOLLET, .data.u64 = BELL };

	e->bell = -1;
	e->fd = fd_private((int)sys1(SYS_epoll_create1, EPOLL_CLOEXEC));
	if (e->fd < 0)
		return e->fd;
	e->bell = fd_private((int)sys2(SYS_eventfd2, 0, EFD_CLOEXEC | EFD_NONBLOCK));
	if (e->bell < 0)
		return e->bell;
	return (int)sys4(SYS_epoll_ctl, e->fd, EPOLL_CTL_ADD, e->bell, &event);
}

static void close_all(struct epoll *e)
{
	fd_private_close(e->bell);
	fd_private_close(e->fd);
	for (unsigned i = 0; i < e->chunks_high; i++)
		if (e->chunks[i])
			sys_unmap(e->chunks[i], CHUNK_SLOTS * sizeof(struct slot));
	sys_unmap(e, sizeof(*e));
}

static int engine_start(struct worker *w)
{
	long error = -ENOMEM;
	struct epoll *e = sys_map(sizeof(*e), SYS_MAP_NORESERVE, &error);

	if (!e)
		return (int)error;
	int r = open_fds(e);
	if (r < 0) {
		close_all(e);
		return r;
	}
	e->no_pwait2 = !feature_on(FEATURE_EPOLL_PWAIT2);
	w->engine = e;
	return 0;
}

static void engine_stop(struct worker *w)
{
	struct epoll *e = w->engine;

	w->engine = NULL;
	close_all(e);
}

/* Every kernel has epoll; what might lack is a descriptor. */
static int engine_probe(char *why, size_t size)
{
	long fd = sys1(SYS_epoll_create1, EPOLL_CLOEXEC);

	if (fd < 0) {
		snprintf(why, size, "epoll_create1 failed (errno %ld)", -fd);
		return (int)fd;
	}
	struct epoll_event event;
	struct timespec now = { 0, 0 };
	long r = sys6(SYS_epoll_pwait2, fd, &event, 1, &now, NULL, 0);
	feature_set(FEATURE_EPOLL_PWAIT2, r == 0);
	sys1(SYS_close, fd);
	return 0;
}

const struct engine_ops engine_epoll = {
	.name = "epoll",
	.probe = engine_probe,
	.start = engine_start,
	.stop = engine_stop,
	.submit = engine_submit,
	.cancel = engine_cancel,
	.poll = engine_poll,
	.busy = engine_busy,
	.doorbell = engine_doorbell,
};
