/* SPDX-License-Identifier: MIT
 *
 * What green threads, and OS threads beside them, wait for one another with.
 * Included by green.h, whose conventions hold here.
 *
 * Objects with an INIT macro lie in the caller's memory and may be static; all
 * zero bytes are a valid initial value; they need no destruction but must not
 * be freed while somebody waits.  Waiters are served first come, first served,
 * unless said otherwise.  A call that has to wait returns -ENOMEM when there is
 * no memory for the record of that.  All calls but those of pools work between
 * green threads of all workers and OS threads, before green_init() too.
 */
#include <green.h> /* which includes this file, behind what it needs */

#ifndef GREEN_SYNC_H
#define GREEN_SYNC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct green_waiter;

struct green_wait_list { /* private */
	struct green_waiter *first, *last;
};

/* ---- mutex -------------------------------------------------------------- */

/* Not recursive.  A running thread may take a free mutex before an older
 * waiter; a waiter that has been passed over for 1 ms gets it handed over. */
typedef struct green_mutex {
	uint32_t state;
	uint32_t lock;
	uint64_t owner; /* handle, for reports and the wait-for graph */
	struct green_wait_list waiters;
} green_mutex_t;
/* clang-format off */
#define GREEN_MUTEX_INIT { 0, 0, 0, { 0, 0 } }
/* clang-format on */

/* 0; -EDEADLK when the caller holds it; -ECANCELED, -ETIMEDOUT (not locked
 * then).  May switch, but never when the mutex is free: then it is locked, by
 * a cancelled thread too. */
int green_mutex_lock(green_mutex_t *mutex);
int green_mutex_trylock(green_mutex_t *mutex); /* 0 or -EBUSY; never switches */
int green_mutex_unlock(green_mutex_t *mutex);  /* 0 or -EPERM; never switches */

/* ---- condition variable ------------------------------------------------- */

typedef struct green_cond {
	uint32_t lock;
	uint32_t unused;
	struct green_wait_list waiters;
} green_cond_t;
/* clang-format off */
#define GREEN_COND_INIT { 0, 0, { 0, 0 } }
/* clang-format on */

/* Unlocks mutex, waits for a signal, locks mutex again (shielded).  The mutex
 * is held on every return but -EPERM (it was not held).  0, -ECANCELED,
 * -ETIMEDOUT.  There are no spurious wake-ups.  May switch. */
int green_cond_wait(green_cond_t *cond, green_mutex_t *mutex);
int green_cond_signal(green_cond_t *cond);    /* wakes one; 0; never switches */
int green_cond_broadcast(green_cond_t *cond); /* wakes all; 0; never switches */

/* ---- semaphore ---------------------------------------------------------- */

typedef struct green_sem {
	uint32_t lock;
	uint32_t value;
	struct green_wait_list waiters;
} green_sem_t;
/* clang-format off */
#define GREEN_SEM_INIT(n) { 0, (n), { 0, 0 } }
/* clang-format on */

int green_sem_wait(green_sem_t *sem);    /* 0, -ECANCELED, -ETIMEDOUT; may switch */
int green_sem_trywait(green_sem_t *sem); /* 0 or -EAGAIN; never switches */
int green_sem_post(green_sem_t *sem);    /* 0 or -EOVERFLOW; never switches */

/* ---- wait group --------------------------------------------------------- */

typedef struct green_wg {
	uint32_t lock;
	uint32_t count;
	struct green_wait_list waiters;
} green_wg_t;
/* clang-format off */
#define GREEN_WG_INIT { 0, 0, { 0, 0 } }
/* clang-format on */

/* Adds n (may be negative) to the count; at zero all waiters go on.
 * 0; -EINVAL when the count would fall below zero.  Never switches. */
int green_wg_add(green_wg_t *wg, int n);
int green_wg_done(green_wg_t *wg); /* green_wg_add(wg, -1) */
int green_wg_wait(green_wg_t *wg); /* until zero; 0, -ECANCELED, -ETIMEDOUT; may switch */

/* ---- channel ------------------------------------------------------------ */

typedef struct green_chan green_chan_t;

/* A channel of elements of elem_size bytes (1 … 65,536; 0: signals without a
 * value) that holds up to capacity of them; 0: sender and receiver meet.
 * NULL with errno set when memory is short or the size is out of range. */
green_chan_t *green_chan_new(size_t elem_size, size_t capacity);

/* Frees it.  Nobody may wait in it or use it afterwards. NULL is ignored. */
void green_chan_free(green_chan_t *chan);

/* Copies the element at value into the channel; waits for room or a receiver.
 * 0; -EPIPE when closed; -ECANCELED, -ETIMEDOUT (not sent then).  May switch. */
int green_chan_send(green_chan_t *chan, const void *value);

/* Copies the oldest element to value.  0; -EPIPE when closed and empty;
 * -ECANCELED, -ETIMEDOUT (nothing taken then).  May switch. */
int green_chan_recv(green_chan_t *chan, void *value);

int green_chan_trysend(green_chan_t *chan, const void *value); /* 0, -EAGAIN, -EPIPE */
int green_chan_tryrecv(green_chan_t *chan, void *value);       /* 0, -EAGAIN, -EPIPE */

/* Wakes all who wait: senders with -EPIPE, receivers too once it is empty.
 * 0; -EPIPE when already closed.  Never switches. */
int green_chan_close(green_chan_t *chan);

size_t green_chan_len(const green_chan_t *chan); /* elements held now */

struct green_select {
	green_chan_t *chan; /* NULL: this case is never ready */
	bool send;          /* else receive */
	void *value;
	int result; /* set for the case taken: 0 or -EPIPE */
};

/* Waits until one of the n cases can go on, does it, and returns its index; a
 * random one when several can.  With dont_wait: -EAGAIN when none can.
 * -ECANCELED, -ETIMEDOUT; -EINVAL for n < 0 or > 65,535; -ENOMEM.  May switch. */
int green_select(struct green_select *cases, int n, bool dont_wait);

/* ---- pool: bounded concurrency ------------------------------------------ */

/* Eventlet's GreenPool.  Owned by its creator; calls that wait are for green threads. */
typedef struct green_pool green_pool_t;

green_pool_t *green_pool_new(size_t size); /* NULL with errno set; size >= 1 */

/* Waits for the members, then frees the pool; called by a member, it does not wait, and the
 * pool is freed when the last one has ended.  NULL is ignored.  Shielded.  May switch. */
void green_pool_delete(green_pool_t *pool);

/* Runs fn(arg) in a green thread of the pool; waits while the pool is full.
 * When the caller is a member of this full pool, it runs fn(arg) itself
 * (waiting would deadlock).  0, -ECANCELED, -ETIMEDOUT, and as green_go(); -EINVAL for no
 * fn.  May switch. */
int green_pool_spawn(green_pool_t *pool, green_fn fn, void *arg);

/* Until no member runs.  0, -ECANCELED, -ETIMEDOUT; -EDEADLK from a member.  May switch. */
int green_pool_waitall(green_pool_t *pool);
int green_pool_resize(green_pool_t *pool, size_t size); /* 0, -EINVAL; members are not stopped */
size_t green_pool_size(const green_pool_t *pool);
size_t green_pool_running(const green_pool_t *pool);
ptrdiff_t green_pool_free(const green_pool_t *pool); /* free places; < 0 after a resize */
size_t green_pool_waiting(const green_pool_t *pool); /* callers that wait for a place */

/* imap: fn applied to each item that next() yields, results in order, while
 * at most the pool's size of items are running or done and not yet taken.
 * next(arg, &item) returns 1 with an item, 0 at the end, or -errno; it is
 * called in the green threads that call green_imap_next(), one at a time, and
 * only as far ahead as that bound allows.  next may switch.  Its error ends the
 * sequence: every later green_imap_next() returns it.  The imap is the caller's, to be
 * deleted before the pool; NULL with errno set.  Never switches. */
typedef struct green_imap green_imap_t;
typedef int (*green_imap_source)(void *arg, void **item);

green_imap_t *green_pool_imap(green_pool_t *pool, green_fn fn, green_imap_source next, void *arg);

/* The next result, in order: 1 with *result, 0 at the end, -errno of the
 * source, -ECANCELED, -ETIMEDOUT (the result stays for the next call).  May switch. */
int green_imap_next(green_imap_t *imap, void **result);

/* Stops taking items, waits for those running, frees.  NULL is ignored.  Shielded.  May
 * switch. */
void green_imap_delete(green_imap_t *imap);

#ifdef __cplusplus
}
#endif
#endif
