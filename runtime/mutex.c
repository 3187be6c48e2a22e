/* SPDX-License-Identifier: MIT
 *
 * green_mutex: one compare-and-swap to lock, one to unlock, while nobody waits.
 *
 * The state goes FREE -> HELD by whoever is fastest.  A thread that has to wait
 * makes it WAITED, with the lock held, and queues.  To unlock a WAITED mutex is
 * to take a waiter off the queue, set FREE, and wake that waiter, which then
 * competes with everybody else ("barging": a running thread can use the mutex
 * in the time it takes a woken one to run).  A waiter that has lost for
 * STARVED_NS makes it STARVED: from then on an unlock hands the mutex to the
 * first waiter, until one gets it that has waited for less, or is the last.
 * (The idea and the figure are Go's, sync/mutex.go.)
 *
 * Why no waiter is forgotten: while there are waiters and the state is FREE or
 * HELD, one of them has been taken off the queue and has not yet got the lock
 * (the heir).  An heir first makes the state WAITED, and only then gives up or
 * queues again, so that the next unlock looks for a waiter.
 *
 * Lifetime: setting FREE is the last access of an unlock, made after the lock
 * is let go: whoever locks the mutex next may free it.  The heir may touch it
 * because it still counts as waiting.
 */
#include "behalf.h"
#include "mutex.h"
#include "trace.h"

#include <errno.h>

enum {
	MUTEX_FREE,
	MUTEX_HELD,
	MUTEX_WAITED,  /* somebody may be waiting */
	MUTEX_STARVED, /* as WAITED, and unlock hands over */
};

#define STARVED_NS 1000000
#define SPIN_TRIES 16

/* Only the holder writes the owner (or who hands over to it); others compare
 * it with their own handle, which only they themselves can have caused. */
static inline void owner_set(green_mutex_t *mutex, green_t owner)
{
	__atomic_store_n(&mutex->owner, owner, __ATOMIC_RELAXED);
}

bool mutex_owned(const green_mutex_t *mutex, const struct gt *self)
{
	return __atomic_load_n(&mutex->owner, __ATOMIC_RELAXED) == gt_handle(self);
}

/* Acquire pairs with the releases in mutex_release() and release_contended(). */
static inline bool try_acquire(green_mutex_t *mutex)
{
	uint32_t expected = MUTEX_FREE;
	return __atomic_compare_exchange_n(&mutex->state, &expected, MUTEX_HELD, false,
	                                   __ATOMIC_ACQUIRE, __ATOMIC_RELAXED);
}

/* Takes a free mutex, or else makes sure that its unlock looks for waiters.
 * With the lock held, so that a STARVED one stays so and a WAITED one can only
 * become FREE. */
static bool acquire_or_mark(green_mutex_t *mutex, bool starved)
{
	uint32_t state;
	do {
		if (__atomic_load_n(&mutex->state, __ATOMIC_RELAXED) == MUTEX_STARVED)
			return false;
		/* Acquire as in try_acquire(). */
		state = __atomic_exchange_n(&mutex->state, MUTEX_WAITED, __ATOMIC_ACQUIRE);
		if (state == MUTEX_FREE) {
			if (!mutex->waiters.first)
				__atomic_store_n(&mutex->state, MUTEX_HELD, __ATOMIC_RELAXED);
			return true;
		}
		state = MUTEX_WAITED;
		/* Fails if an unlock under way has just set FREE. */
	} while (starved &&
	         !__atomic_compare_exchange_n(&mutex->state, &state, MUTEX_STARVED, false,
	                                      __ATOMIC_RELAXED, __ATOMIC_RELAXED));
	return false;
}

/* The mutex was handed over to the caller, which waited since then: does
 * anybody still starve? */
static void settle(green_mutex_t *mutex, int64_t since_ns)
{
	bool starved = sched_now() - since_ns > STARVED_NS;
	spin_lock(spin_of(&mutex->lock));
	if (!mutex->waiters.first)
		__atomic_store_n(&mutex->state, MUTEX_HELD, __ATOMIC_RELAXED);
	else if (!starved)
		__atomic_store_n(&mutex->state, MUTEX_WAITED, __ATOMIC_RELAXED);
	spin_unlock(spin_of(&mutex->lock));
}

int mutex_acquire(green_mutex_t *mutex, struct gt *self, struct green_waiter *w, unsigned flags,
                  void *pc)
{
	struct spin *lock = spin_of(&mutex->lock);
	int64_t since_ns = 0; /* when it began to wait; 0: not yet */
	bool starved = false;

	for (;;) {
		spin_lock(lock);
		if (acquire_or_mark(mutex, starved)) {
			spin_unlock(lock);
			break;
		}
		int error = flags & PARK_SHIELDED ? 0 : park_check(self);
		if (error) {
			spin_unlock(lock);
			return error;
		}
		w->ticket = park_begin(self, PARK_MUTEX, mutex, pc);
		if (since_ns)
			wait_list_prepend(&mutex->waiters, w); /* it was passed over */
		else
			wait_list_append(&mutex->waiters, w);
		spin_unlock(lock);
		if (trace_wants(lock_wait))
			probe_lock_wait(gt_handle(self), mutex,
			                __atomic_load_n(&mutex->owner, __ATOMIC_RELAXED), pc);
		if (!since_ns)
			since_ns = sched_now();
		enum wake_reason reason = park_commit(w->ticket, flags, GREEN_FOREVER);
		if (reason != WAKE_PEER) {
			wait_withdraw(lock, &mutex->waiters, w);
			return park_error(reason);
		}
		if (w->handed) {
			w->handed = false;
			settle(mutex, since_ns);
			return 0;
		}
		starved = sched_now() - since_ns > STARVED_NS;
	}
	owner_set(mutex, gt_handle(self));
	return 0;
}

static void hand_over(green_mutex_t *mutex, struct green_waiter *w)
{
	owner_set(mutex, gt_handle(w->ticket.gt));
	w->handed = true;
}

static __attribute__((noinline)) void release_contended(green_mutex_t *mutex)
{
	struct green_waiter *w;
	uint32_t expected;

	for (;;) {
		spin_lock(spin_of(&mutex->lock));
		w = wait_list_claim(&mutex->waiters, WAKE_PEER);
		if (w)
			break;
		/* All had given up.  Whoever queues from now on makes it WAITED again. */
		__atomic_store_n(&mutex->state, MUTEX_HELD, __ATOMIC_RELAXED);
		spin_unlock(spin_of(&mutex->lock));
		expected = MUTEX_HELD;
		if (__atomic_compare_exchange_n(&mutex->state, &expected, MUTEX_FREE, false,
		                                __ATOMIC_RELEASE, __ATOMIC_RELAXED))
			return;
	}
	/* From the claim to the finish w is ours, and w counts as waiting. */
	struct gt *heir = w->ticket.gt;
	expected = MUTEX_WAITED;
	if (__atomic_load_n(&mutex->state, __ATOMIC_RELAXED) == MUTEX_STARVED) {
		hand_over(mutex, w);
		spin_unlock(spin_of(&mutex->lock));
	} else {
		spin_unlock(spin_of(&mutex->lock));
		/* Fails if it has just become STARVED.  Release pairs with the acquires
		 * in try_acquire() and acquire_or_mark(). */
		if (!__atomic_compare_exchange_n(&mutex->state, &expected, MUTEX_FREE, false,
		                                 __ATOMIC_RELEASE, __ATOMIC_RELAXED))
			hand_over(mutex, w);
	}
	park_finish(heir);
}

void mutex_release(green_mutex_t *mutex)
{
	uint32_t expected = MUTEX_HELD;
	owner_set(mutex, GREEN_NONE);
	/* Release pairs with the acquires in try_acquire() and acquire_or_mark(). */
	if (unlikely(!__atomic_compare_exchange_n(&mutex->state, &expected, MUTEX_FREE, false,
	                                          __ATOMIC_RELEASE, __ATOMIC_RELAXED)))
		release_contended(mutex);
}

/* A holder that runs on another CPU is likely to be done sooner than this thread
 * could park and be woken: worth SPIN_TRIES looks, one or two microseconds.
 * (Saves 9 of 10 sleeps of a worker when two hammer one mutex.)  Descriptors
 * are type-stable: a look at one that has been reused is harmless. */
static bool acquire_spinning(green_mutex_t *mutex, const struct gt *self)
{
	uint16_t worker = atomic_load_explicit(&self->worker, memory_order_relaxed);
	for (unsigned i = 0; i < SPIN_TRIES; i++) {
		uint32_t state = __atomic_load_n(&mutex->state, __ATOMIC_RELAXED);
		if (state == MUTEX_STARVED)
			return false;
		if (state == MUTEX_FREE && try_acquire(mutex))
			return true;
		green_t owner = __atomic_load_n(&mutex->owner, __ATOMIC_RELAXED);
		const struct gt *holder = gt_at((uint32_t)owner & GT_INDEX_MASK);
		if (owner &&
		    (atomic_load_explicit(&holder->state, memory_order_relaxed) != GT_RUNNING ||
		     atomic_load_explicit(&holder->worker, memory_order_relaxed) == worker))
			return false;
		for (unsigned pause = 0; pause < 4; pause++)
			cpu_pause();
	}
	return false;
}

static __attribute__((noinline)) int lock_contended(green_mutex_t *mutex, struct gt *self, void *pc)
{
	if (mutex_owned(mutex, self))
		return -EDEADLK;
	if (acquire_spinning(mutex, self)) {
		owner_set(mutex, gt_handle(self));
		return 0;
	}
	struct green_waiter *w = waiter_get();
	if (!w)
		return -ENOMEM;
	int error = mutex_acquire(mutex, self, w, 0, pc);
	waiter_put(w);
	return error;
}

static inline int lock_for(green_mutex_t *mutex, void *pc)
{
	struct gt *self = waiter_self_any();
	if (unlikely(!self))
		return -ENOMEM;
	if (likely(try_acquire(mutex))) {
		owner_set(mutex, gt_handle(self));
		return 0;
	}
	return lock_contended(mutex, self, pc);
}

int green_mutex_lock(green_mutex_t *mutex)
{
	trace_enter(PARK_PC, PARK_MUTEX, (uintptr_t)mutex);
	return lock_for(mutex, PARK_PC);
}

int mutex_lock(green_mutex_t *mutex, void *pc)
{
	return lock_for(mutex, pc);
}

int green_mutex_trylock(green_mutex_t *mutex)
{
	struct gt *self = waiter_self_any();
	if (!self || !try_acquire(mutex))
		return -EBUSY;
	owner_set(mutex, gt_handle(self));
	return 0;
}

int green_mutex_unlock(green_mutex_t *mutex)
{
	struct gt *self = waiter_self_any();
	if (unlikely(!self || !mutex_owned(mutex, self)))
		return -EPERM;
	mutex_release(mutex);
	return 0;
}
