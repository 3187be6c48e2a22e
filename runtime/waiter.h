/* SPDX-License-Identifier: MIT
 *
 * struct green_waiter: one thread waiting in one object of green_sync.h, the
 * lists such objects keep of them, and the pool the records come from.
 *
 * Records never lie on a green stack: whoever walks a list would fault in the
 * stacks of everybody who waits there.  Their memory is type-stable.
 *
 * How an object uses them, with its spin lock held at 2-4 and a:
 *
 *   The waiter                               Who wakes it
 *    1 self = park_self()                     a wait_list_claim(): takes waiters off
 *    2 the condition does not hold;             the list until one can be claimed
 *      park_check(self) says 0                b unlocks
 *    3 w = waiter_get(),                      c writes what it hands over
 *      w->ticket = park_begin(self, ...)      d park_finish(): from here on w belongs
 *    4 wait_list_append(list, w)                to the waiter again
 *                                            or, with nothing to write: wait_list_wake()
 *    5 unlocks, park_commit()
 *    6 on a timeout or cancel: wait_withdraw()
 *    7 waiter_put(w)
 *
 * No wake is lost to a waiter that has given up: park_claim() is the one place
 * where a waker and a timeout or cancel compete.  If the waker loses there, it
 * still holds what it came to deliver, and tries the next waiter or keeps it in
 * the object.  If it wins, park_commit() returns WAKE_PEER or WAKE_CLOSED, and
 * the cancellation stays pending for the next call.
 *
 * Lifetime of the object: after d the waiter may free it at once.  So a waker
 * unlocks in b, and touches nothing but records and descriptors afterwards.
 * Whoever does not have to wait sees the object's new state only with its lock
 * held, that is after the unlock in b.  A waiter that was woken by a peer does
 * not touch the object either (the mutex says why it may).
 */
#ifndef WAITER_H
#define WAITER_H

#include "park.h"
#include "spin.h"
#include "worker.h"

#define WAITER_INLINE 32 /* largest channel element that lies in the record */

struct green_waiter {
	struct green_waiter *next; /* in a wait list; free list; chain of claimed ones */
	struct green_waiter *prev; /* in a wait list; next batch of free records */
	struct park_ticket ticket;
	struct green_waiter *sibling; /* other cases of the same green_select() */
	void *buffer;                 /* where an element above WAITER_INLINE lies */
	uint32_t index;               /* case of green_select(); length of a free batch */
	uint32_t size;                /* of the element */
	bool listed;                  /* in a wait list; under the object's lock */
	bool claimed;                 /* by wait_list_claim(), which had it from a list */
	bool handed;                  /* mutex: the waiter owns it now */
	bool direct;                  /* channel: its only record, the element lies in it */
	_Alignas(8) unsigned char value[WAITER_INLINE];
};
_Static_assert(sizeof(struct green_waiter) <= 96, "a million waiters cost 96 MB");

/* Locks in public structs are plain words, so that C++ can include them. */
_Static_assert(sizeof(struct spin) == sizeof(uint32_t), "a spin lock is one word");
_Static_assert(_Alignof(struct spin) == _Alignof(uint32_t), "a spin lock is one word");

static inline struct spin *spin_of(uint32_t *word)
{
	return (struct spin *)word;
}

/* The calling green thread on its worker; NULL in OS threads. */
static inline struct gt *waiter_self(const struct worker *worker)
{
	return likely(worker) ? atomic_load_explicit(&worker->current, memory_order_relaxed) : NULL;
}

/* park_self() for hot paths. */
static inline struct gt *waiter_self_any(void)
{
	struct gt *self = waiter_self(worker_self());
	return likely(self) ? self : park_self();
}

/* A record, in no list; NULL: no memory.  Any OS thread, with an object's lock
 * held too: the pool's lock is the innermost one.  worker: the caller's, just
 * asked for, or NULL. */
struct green_waiter *waiter_get_slow(struct worker *worker);
void waiter_put_slow(struct worker *worker, struct green_waiter *w);

#define WAITERS_KEPT 256 /* free records of a worker */

static inline struct green_waiter *waiter_get_on(struct worker *worker)
{
	struct green_waiter *w;
	if (likely(worker && worker->waiter_free)) {
		w = worker->waiter_free;
		worker->waiter_free = w->next;
		worker->waiter_free_count--;
	} else if (!(w = waiter_get_slow(worker))) {
		return NULL;
	}
	w->listed = false;
	w->claimed = false;
	w->handed = false;
	w->direct = false;
	return w;
}

static inline void waiter_put_on(struct worker *worker, struct green_waiter *w)
{
	if (unlikely(!worker || worker->waiter_free_count >= WAITERS_KEPT)) {
		waiter_put_slow(worker, w);
		return;
	}
	w->next = worker->waiter_free;
	worker->waiter_free = w;
	worker->waiter_free_count++;
}

static inline struct green_waiter *waiter_get(void)
{
	return waiter_get_on(worker_self());
}

static inline void waiter_put(struct green_waiter *w)
{
	waiter_put_on(worker_self(), w);
}

/* Gives back what a worker that ends has kept.  Its own OS thread. */
void waiter_flush(struct worker *worker);

/* In a forked child: the pool begins anew (another thread may have been
 * changing it). */
void waiter_forked(void);

/* The stack of a thread that lends a buffer in it while parked stays in memory. */
static inline void waiter_pin(const struct gt *self)
{
	stack_pin(self->stack);
}

static inline void waiter_unpin(const struct gt *self)
{
	stack_unpin(self->stack);
}

/* ---- lists; under the object's lock ---------------------------------------- */

static inline void wait_list_append(struct green_wait_list *list, struct green_waiter *w)
{
	w->next = NULL;
	w->prev = list->last;
	if (list->last)
		list->last->next = w;
	else
		list->first = w;
	list->last = w;
	w->listed = true;
}

static inline void wait_list_prepend(struct green_wait_list *list, struct green_waiter *w)
{
	w->prev = NULL;
	w->next = list->first;
	if (list->first)
		list->first->prev = w;
	else
		list->last = w;
	list->first = w;
	w->listed = true;
}

static inline void wait_list_remove(struct green_wait_list *list, struct green_waiter *w)
{
	if (w->prev)
		w->prev->next = w->next;
	else
		list->first = w->next;
	if (w->next)
		w->next->prev = w->prev;
	else
		list->last = w->prev;
	w->listed = false;
}

/* Takes waiters off the list until one can be claimed for the caller, which
 * then owes it a park_finish().  NULL: nobody is left. */
static inline struct green_waiter *wait_list_claim(struct green_wait_list *list,
                                                   enum wake_reason reason)
{
	struct green_waiter *w;
	while ((w = list->first)) {
		struct park_ticket ticket = w->ticket;
		wait_list_remove(list, w);
		if (likely(park_claim(ticket, reason))) {
			w->claimed = true;
			return w;
		}
	}
	return NULL;
}

/* Wakes the first who has not given up, with one access to its park word instead
 * of two: for objects that have nothing to write after the claim.  Called with
 * the lock held.  True: the lock has been let go, and the object may be gone.
 * False: nobody is left, the lock is held (again: it was let go in between, when
 * nobody had been woken who could have freed the object). */
static inline bool wait_list_wake(struct spin *lock, struct green_wait_list *list)
{
	struct green_waiter *w;
	while ((w = list->first)) {
		struct park_ticket ticket = w->ticket;
		wait_list_remove(list, w);
		spin_unlock(lock);
		if (likely(park_wake(ticket, WAKE_PEER)))
			return true;
		spin_lock(lock);
	}
	return false;
}

/* Claims everybody, and adds them to the end of chain. */
struct green_waiter *wait_list_claim_all(struct green_wait_list *list, enum wake_reason reason,
                                         struct green_waiter *chain);

/* Finishes a chain of claimed waiters, oldest first.  Without the lock. */
void waiters_finish(struct green_waiter *chain);

/* The simple wait: steps 2 to 7 above, in an object whose lock the caller holds
 * and whose condition does not hold.  Lets the lock go.  0: woken by a peer,
 * and the object may be gone; -ECANCELED, -ETIMEDOUT, -ENOMEM: it did not
 * happen. */
int wait_in(struct spin *lock, struct green_wait_list *list, struct gt *self, enum park_why why,
            void *object, void *pc);

/* After a timeout or cancel: takes w out of the list if nobody has.  Takes the
 * lock. */
void wait_withdraw(struct spin *lock, struct green_wait_list *list, struct green_waiter *w);

#endif
