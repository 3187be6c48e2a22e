/* SPDX-License-Identifier: MIT
 *
 * green_serve(): acceptors on several workers, and a green thread for each
 * connection, placed on the worker with the fewest.
 *
 *   green_serve()  waits for `running`: acceptors and handlers
 *   acceptors      at most ACCEPTORS_MAX, pinned to different workers; they
 *                  take a place (`room`), accept, and start a handler with it
 *   handlers       give the place back when they end
 *
 * The server lives in memory of its own and is counted: green_serve(), a
 * green_serve_stop(), each acceptor and each connection hold a reference, so
 * that the last of them to look at it frees it.
 *
 * Records of connections are linked either in `live` or, once told to end, in
 * `told`; the lock guards these lists, the list of acceptors and `stopping`.
 */
#include "behalf.h"
#include "io_socket.h"
#include "overflow.h"
#include "runtime.h"
#include "trace.h"
#include "worker.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>

#define ACCEPTORS_MAX 4
#define ACCEPTS_IN_A_ROW 32
#define FAILURES_IN_A_ROW 64  /* of single connections, before a rest */
#define REST_NS GREEN_MS(100) /* when descriptors or memory are short */
#define CANCEL_BATCH 64
#define SLAB_SIZE ((size_t)16 << 10)

struct connection {
	struct connection *next, **prev; /* live, told; next: free list too */
	struct green_serve *server;
	green_t thread; /* GREEN_NONE until the handler has begun */
	int fd;
	unsigned worker; /* whose load it counts in */
};

struct slab {
	struct slab *next;
	struct connection connections[];
};
#define SLAB_COUNT ((SLAB_SIZE - sizeof(struct slab)) / sizeof(struct connection))

struct green_serve {
	_Atomic uint32_t references;
	_Atomic uint32_t resting; /* acceptors that wait for something to be freed */
	_Atomic size_t handled;   /* connections now */
	_Atomic int error;        /* that ended it */
	int fd;
	bool limited, keep_open, nodelay;
	green_serve_fn handler;
	void *arg;
	struct green_attr attr; /* of the handlers */
	green_sem_t room;       /* places left, if limited */
	green_sem_t freed;      /* a connection has ended, for those who rest */
	green_wg_t running;     /* acceptors and handlers */

	struct spin lock;
	bool stopping, cancelling;
	bool cut_short; /* a handler was cancelled */
	unsigned acceptors_count;
	green_t acceptors[ACCEPTORS_MAX];
	struct connection *live, *told, *free;
	struct slab *slabs;
};

/* ---- the server's memory ----------------------------------------------------------- */

static void serve_ref(struct green_serve *s)
{
	atomic_fetch_add_explicit(&s->references, 1, memory_order_relaxed);
}

static void serve_unref(struct green_serve *s)
{
	/* Release: our use; acquire: everybody else's, before it is unmapped. */
	if (atomic_fetch_sub_explicit(&s->references, 1, memory_order_acq_rel) != 1)
		return;
	while (s->slabs) {
		struct slab *slab = s->slabs;
		s->slabs = slab->next;
		sys_unmap(slab, SLAB_SIZE);
	}
	sys_unmap(s, sizeof(*s));
}

/* The lock is held. */
static void add_slab(struct green_serve *s)
{
	long error;
	struct slab *slab = sys_map(SLAB_SIZE, 0, &error);

	if (!slab)
		return;
	sys_name(slab, SLAB_SIZE, "green: connections");
	slab->next = s->slabs;
	s->slabs = slab;
	for (size_t i = 0; i < SLAB_COUNT; i++) {
		slab->connections[i].next = s->free;
		s->free = &slab->connections[i];
	}
}

static void link_in(struct connection **list, struct connection *c)
{
	c->next = *list;
	c->prev = list;
	if (c->next)
		c->next->prev = &c->next;
	*list = c;
}

static void link_out(struct connection *c)
{
	*c->prev = c->next;
	if (c->next)
		c->next->prev = c->prev;
}

/* A record for a new connection, counted everywhere; NULL: no memory. */
static struct connection *connection_new(struct green_serve *s, int fd)
{
	spin_lock(&s->lock);
	if (!s->free)
		add_slab(s);
	struct connection *c = s->free;
	if (c) {
		s->free = c->next;
		link_in(&s->live, c);
		c->server = s;
		c->thread = GREEN_NONE;
		c->fd = fd;
		c->worker = sched_least_loaded();
	}
	spin_unlock(&s->lock);
	if (!c)
		return NULL;
	serve_ref(s);
	green_wg_add(&s->running, 1);
	atomic_fetch_add_explicit(&s->handled, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&worker_at(c->worker)->load, 1, memory_order_relaxed);
	return c;
}

/* give_place: the acceptor's place goes back with it. */
static void connection_end(struct connection *c, bool give_place)
{
	struct green_serve *s = c->server;

	atomic_fetch_sub_explicit(&worker_at(c->worker)->load, 1, memory_order_relaxed);
	atomic_fetch_sub_explicit(&s->handled, 1, memory_order_relaxed);
	spin_lock(&s->lock);
	link_out(c);
	c->next = s->free;
	s->free = c;
	spin_unlock(&s->lock);
	if (s->limited && give_place)
		green_sem_post(&s->room);
	if (unlikely(atomic_load_explicit(&s->resting, memory_order_relaxed)))
		green_sem_post(&s->freed);
	green_wg_done(&s->running);
	serve_unref(s);
}

/* ---- ending -------------------------------------------------------------------------- */

/* No acceptor takes a further connection. */
static void stop_accepting(struct green_serve *s)
{
	green_t acceptors[ACCEPTORS_MAX];

	spin_lock(&s->lock);
	s->stopping = true;
	unsigned n = s->acceptors_count;
	for (unsigned i = 0; i < n; i++)
		acceptors[i] = s->acceptors[i];
	spin_unlock(&s->lock);
	for (unsigned i = 0; i < n; i++)
		green_cancel(acceptors[i]); /* -ESRCH: it has ended */
}

static bool is_stopping(struct green_serve *s)
{
	spin_lock(&s->lock);
	bool stopping = s->stopping;
	spin_unlock(&s->lock);
	return stopping;
}

/* Cancels every handler, those that have not begun yet included. */
static void cancel_handlers(struct green_serve *s)
{
	green_t batch[CANCEL_BATCH];
	unsigned n;

	do {
		n = 0;
		spin_lock(&s->lock);
		s->cancelling = true;
		s->cut_short |= s->live != NULL;
		while (s->live && n < CANCEL_BATCH) {
			struct connection *c = s->live;
			link_out(c);
			link_in(&s->told, c);
			batch[n++] = c->thread;
		}
		spin_unlock(&s->lock);
		for (unsigned i = 0; i < n; i++)
			green_cancel(batch[i]);
	} while (n > 0);
}

static bool was_cut_short(struct green_serve *s)
{
	spin_lock(&s->lock);
	bool cut_short = s->cut_short;
	spin_unlock(&s->lock);
	return cut_short;
}

static bool is_handler(struct green_serve *s, green_t thread)
{
	bool found = false;

	spin_lock(&s->lock);
	for (struct connection *c = s->live; c && !found; c = c->next)
		found = c->thread == thread;
	for (struct connection *c = s->told; c && !found; c = c->next)
		found = c->thread == thread;
	spin_unlock(&s->lock);
	return found;
}

/* ---- handlers ------------------------------------------------------------------------ */

/* A thief may have started the handler elsewhere, where it now stays: the load
 * is there, and the next connections go to others. */
static void move_load(struct connection *c)
{
	unsigned here = (unsigned)green_worker();

	if (likely(here == c->worker))
		return;
	atomic_fetch_sub_explicit(&worker_at(c->worker)->load, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&worker_at(here)->load, 1, memory_order_relaxed);
	c->worker = here;
}

static void finish(struct connection *c)
{
	if (!c->server->keep_open)
		green_close(c->fd);
	connection_end(c, true);
}

void *serve_handle(void *arg)
{
	struct connection *c = arg;
	struct green_serve *s = c->server;

	move_load(c);

	spin_lock(&s->lock);
	c->thread = green_self();
	bool cancelled = s->cancelling;
	s->cut_short |= cancelled;
	spin_unlock(&s->lock);
	if (unlikely(cancelled))
		green_cancel(green_self());

	s->handler(c->fd, s->arg);
	/* In a forked child none of the rest is this process's. */
	if (unlikely(runtime_forked()))
		return NULL;
	finish(c);
	return NULL;
}

void *serve_handle_owes(void *arg)
{
	finish(arg);
	return NULL;
}

/* ---- acceptors ----------------------------------------------------------------------- */

/* Descriptors, memory or threads are short: waits for a connection to end, but
 * not for long. */
static void rest(struct green_serve *s)
{
	struct green_deadline scope;

	while (green_sem_trywait(&s->freed) == 0)
		; /* left over from earlier */
	atomic_fetch_add_explicit(&s->resting, 1, memory_order_relaxed);
	green_deadline_begin(&scope, REST_NS);
	green_sem_wait(&s->freed);
	green_deadline_end(&scope);
	atomic_fetch_sub_explicit(&s->resting, 1, memory_order_relaxed);
}

/* Starts the handler of fd; waits while there is no memory for it.  False: the
 * server is stopping, and fd is closed. */
static bool start_handler(struct green_serve *s, int fd)
{
	int on = 1;

	if (s->nodelay)
		sys5(SYS_setsockopt, fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	for (;;) {
		struct connection *c = connection_new(s, fd);
		if (c) {
			struct spawn spawn = { .fn = serve_handle,
				               .arg = c,
				               .attr = &s->attr,
				               .pc = (void *)(uintptr_t)s->handler,
				               .worker = (int)c->worker,
				               .detached = true,
				               .handler = true };
			if (likely(sched_spawn(&spawn, NULL) == 0))
				return true;
			connection_end(c, false);
		}
		rest(s);
		if (is_stopping(s)) {
			green_close(fd);
			return false;
		}
	}
}

enum verdict { GO_ON, REST, END };

/* What an error of accept4(2) means. */
static enum verdict judge(int error)
{
	switch (-error) {
	case EMFILE:
	case ENFILE:
	case ENOBUFS:
	case ENOMEM:
		return REST;
	case EAGAIN: /* the rest: this one connection came to nothing */
	case ECONNABORTED:
	case EPERM:
	case EPROTO:
	case ENETDOWN:
	case ENOPROTOOPT:
	case EHOSTDOWN:
	case ENONET:
	case EHOSTUNREACH:
	case EOPNOTSUPP:
	case ENETUNREACH:
	case ETIMEDOUT:
		return GO_ON;
	default:
		return END;
	}
}

/* The listener cannot be used any more. */
static void fail(struct green_serve *s, int error)
{
	int none = 0;

	/* Somebody has closed it. */
	if (error == -ECANCELED)
		error = -EBADF;
	/* Relaxed: read after `running` has come to zero. */
	atomic_compare_exchange_strong_explicit(&s->error, &none, error, memory_order_relaxed,
	                                        memory_order_relaxed);
	stop_accepting(s);
}

static void accept_until_stopped(struct green_serve *s)
{
	unsigned in_a_row = 0, failures = 0;

	for (;;) {
		if (s->limited && green_sem_wait(&s->room) < 0)
			return;
		int fd =
			is_stopping(s) ? -ECANCELED : green_accept(s->fd, NULL, NULL, SOCK_CLOEXEC);
		if (fd >= 0) {
			failures = 0;
			if (!start_handler(s, fd))
				return;
			if (++in_a_row % ACCEPTS_IN_A_ROW == 0)
				green_yield();
			continue;
		}
		if (s->limited)
			green_sem_post(&s->room);
		if (is_stopping(s) || green_cancelled())
			return;
		enum verdict verdict = judge(fd);
		if (verdict == END) {
			fail(s, fd);
			return;
		}
		if (verdict == REST || ++failures % FAILURES_IN_A_ROW == 0)
			rest(s);
	}
}

static void *acceptor(void *arg)
{
	struct green_serve *s = arg;

	spin_lock(&s->lock);
	bool stopping = s->stopping;
	s->acceptors[s->acceptors_count++] = green_self();
	spin_unlock(&s->lock);
	if (!stopping)
		accept_until_stopped(s);
	green_wg_done(&s->running);
	serve_unref(s);
	return NULL;
}

/* 0, or -errno when not even one could be started. */
static int start_acceptors(struct green_serve *s, unsigned count, void *pc)
{
	struct green_attr attr = { .name = "green_serve" };
	unsigned started = 0;
	int r = 0;

	for (unsigned i = 0; i < count && r == 0; i++) {
		struct spawn spawn = { .fn = acceptor,
			               .arg = s,
			               .attr = &attr,
			               .pc = pc,
			               .worker = (int)i,
			               .detached = true,
			               .pinned = true };
		serve_ref(s);
		green_wg_add(&s->running, 1);
		r = sched_spawn(&spawn, NULL);
		if (r == 0) {
			started++;
			continue;
		}
		green_wg_done(&s->running);
		serve_unref(s);
	}
	return started ? 0 : r;
}

/* ---- the public calls ----------------------------------------------------------------- */

static int check_listener(int fd, bool *internet)
{
	int value = 0;

	if (fd_is_private(fd))
		return -EBADF;
	int r = io_socket_option(fd, SO_ACCEPTCONN, &value);
	if (r < 0)
		return r;
	if (!value)
		return -EINVAL;
	r = io_socket_option(fd, SO_DOMAIN, &value);
	*internet = value == AF_INET || value == AF_INET6;
	return r;
}

/* A blocking listener without an engine that accepts: each wait for it holds a
 * thread of the offload pool when another acceptor was faster. */
static unsigned acceptors_for(int fd)
{
	if (rt.engine != &engine_uring && !io_is_nonblocking(fd))
		return 1;
	return rt.workers_count < ACCEPTORS_MAX ? rt.workers_count : ACCEPTORS_MAX;
}

static struct green_serve *serve_new(int fd, green_serve_fn handler, void *arg,
                                     const struct green_serve_options *options)
{
	long error;
	struct green_serve *s = sys_map(sizeof(*s), 0, &error);

	if (!s)
		return NULL;
	atomic_store_explicit(&s->references, 1, memory_order_relaxed);
	s->fd = fd;
	s->handler = handler;
	s->arg = arg;
	if (!options)
		return s;
	s->keep_open = options->keep_open;
	s->attr.stack_size = options->stack_size;
	s->limited = options->concurrency > 0 && options->concurrency < UINT32_MAX;
	s->room = (green_sem_t)GREEN_SEM_INIT((uint32_t)options->concurrency);
	/* Release: whoever finds it there finds it filled in. */
	if (options->handle)
		__atomic_store_n(options->handle, s, __ATOMIC_RELEASE);
	return s;
}

/* The caller of green_serve() was cancelled: so is everybody else. */
static void end_all(struct green_serve *s, void *pc)
{
	struct green_shield shield;

	stop_accepting(s);
	cancel_handlers(s);
	green_shield_begin(&shield);
	while (wg_wait(&s->running, pc) < 0)
		thread_yield(pc); /* not shielded for want of memory */
	green_shield_end(&shield);
}

int green_serve(int fd, green_serve_fn handler, void *arg,
                const struct green_serve_options *options)
{
	void *pc = PARK_PC;
	bool internet = false;

	if (!gt_self())
		return -EPERM;
	trace_enter(pc, PARK_IO, (uint64_t)(int64_t)fd);
	if (!handler || (options && options->stack_size > STACK_SIZE_MAX))
		return -EINVAL;
	int r = check_listener(fd, &internet);
	if (r < 0)
		return r;
	struct green_serve *s = serve_new(fd, handler, arg, options);
	if (!s)
		return -ENOMEM;
	s->nodelay = internet && !(options && options->no_nodelay);
	r = start_acceptors(s, acceptors_for(fd), pc);
	if (r == 0) {
		r = wg_wait(&s->running, pc);
		if (r < 0)
			end_all(s, pc);
		else
			r = atomic_load_explicit(&s->error, memory_order_relaxed);
	}
	serve_unref(s);
	return r;
}

int green_serve_stop(struct green_serve *s, int64_t drain_ns)
{
	struct green_deadline scope;
	green_t self = green_self();
	void *pc = PARK_PC;

	if (!s)
		return -EINVAL;
	trace_enter(pc, PARK_WG, (uintptr_t)s);
	serve_ref(s);
	stop_accepting(s);
	if (self != GREEN_NONE && is_handler(s, self)) {
		serve_unref(s);
		return -EDEADLK; /* it cannot wait for itself */
	}
	green_deadline_begin(&scope, drain_ns);
	int r = wg_wait(&s->running, pc);
	bool late = green_deadline_end(&scope);
	if (r == -ETIMEDOUT && late) {
		/* Perhaps only acceptors were left, which end by themselves. */
		cancel_handlers(s);
		r = wg_wait(&s->running, pc);
		if (r == 0 && was_cut_short(s))
			r = -ETIMEDOUT;
	}
	serve_unref(s);
	return r;
}

size_t green_serve_connections(const struct green_serve *s)
{
	return s ? atomic_load_explicit(&s->handled, memory_order_relaxed) : 0;
}
