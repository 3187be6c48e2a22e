/* SPDX-License-Identifier: MIT
 *
 * The table of futex.h.
 *
 * Waiting and waking at one address are ordered by its bucket's lock: a waiter looks at
 * the word with the lock held and is in the list before it lets go; who wakes has
 * changed the word before it takes the lock.  Records are type-stable, park_claim() lets
 * one waker win (waiter.h has the same argument).
 */
#include "intercept/futex.h"
#include "intercept/call.h"
#include "intercept/link.h"
#include "intercept/thread.h"
#include "intercept/user.h"
#include "offload.h"
#include "spin.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <sys/mman.h>

#define BUCKET_BITS 15
#define BUCKETS (1u << BUCKET_BITS)
#define HASH_FACTOR 0x9e3779b97f4a7c15u

struct bucket {
	struct spin lock;
	_Atomic uint32_t count; /* under the lock; read by wakers without it */
	struct futex_wait *first, *last;
};

static struct bucket buckets[BUCKETS];

/* Somebody may wait in the kernel: other OS threads; other processes, where memory is
 * shared with them. */
static _Atomic bool others;

void futex_has_others(void)
{
	atomic_store_explicit(&others, true, memory_order_relaxed);
}

int futex_watch(void)
{
	long error = 0;
	bool *page = sys_map(1, 0, &error);

	if (!page)
		return (int)error;
	long r = sys3(SYS_madvise, page, 1, MADV_WIPEONFORK);
	if (r < 0) {
		sys_unmap(page, 1);
		return (int)r;
	}
	*page = true;
	futex_watched = page;
	return 0;
}

static struct bucket *bucket_of(uintptr_t address)
{
	return &buckets[(address >> 2) * HASH_FACTOR >> (64 - BUCKET_BITS)];
}

/* ---- lists; under the bucket's lock ----------------------------------------- */

static void append(struct bucket *b, struct futex_wait *w, uintptr_t address)
{
	atomic_store_explicit(&w->address, address, memory_order_relaxed);
	w->next = NULL;
	w->prev = b->last;
	if (b->last)
		b->last->next = w;
	else
		b->first = w;
	b->last = w;
	w->listed = true;
	/* Relaxed: ordered by the fence in wake_none(). */
	atomic_store_explicit(&b->count, b->count + 1, memory_order_relaxed);
}

static void take_out(struct bucket *b, struct futex_wait *w)
{
	if (w->prev)
		w->prev->next = w->next;
	else
		b->first = w->next;
	if (w->next)
		w->next->prev = w->prev;
	else
		b->last = w->prev;
	w->listed = false;
	atomic_store_explicit(&b->count, b->count - 1, memory_order_relaxed);
}

/* Takes a record out of whichever list it is in by now (requeued, perhaps). */
static void withdraw(struct futex_wait *w)
{
	for (;;) {
		/* Relaxed: looked at again with the lock held. */
		uintptr_t address = atomic_load_explicit(&w->address, memory_order_relaxed);
		struct bucket *b = bucket_of(address);
		spin_lock(&b->lock);
		bool same = atomic_load_explicit(&w->address, memory_order_relaxed) == address;
		if (same && w->listed)
			take_out(b, w);
		spin_unlock(&b->lock);
		if (same)
			return;
	}
}

/* ---- waiting ------------------------------------------------------------------ */

static long look(const void *at, uint32_t value)
{
	uint32_t word;
	int r = user_load(at, &word);

	return r < 0 ? r : word != value ? -EAGAIN : 0;
}

static long result_of(enum wake_reason reason, bool timed)
{
	switch (reason) {
	case WAKE_PEER:
		return 0;
	case WAKE_TIMEOUT:
		return -ETIMEDOUT;
	case WAKE_NOMEM:
		return -ENOMEM;
	default:
		return timed ? CALL_RESTART_BLOCK : CALL_RESTARTSYS;
	}
}

/* What may end a wait, but for its own deadline: see the header. */
static unsigned ends(void)
{
	return link_on ? PARK_SHIELDED : 0;
}

/* In the list, unless the word has changed or is not there.  By itself: what it needs of the
 * stack is not there while the thread waits. */
static never_inline long list_one(struct gt *self, const void *at, uint32_t value, uint32_t bits,
                                  void *pc)
{
	uintptr_t address = (uintptr_t)at;
	struct futex_wait *w = &thread_of(self)->futex;
	struct bucket *b = bucket_of(address);

	spin_lock(&b->lock);
	long r = look(at, value);
	if (r == 0) {
		w->bits = bits;
		w->ticket = park_begin(self, PARK_FUTEX, (void *)address, pc);
		append(b, w, address);
	}
	spin_unlock(&b->lock);
	return r;
}

long futex_wait(const void *at, uint32_t value, uint32_t bits, int64_t deadline_ns, void *pc)
{
	struct gt *self = gt_self();
	long r = list_one(self, at, value, bits, pc);

	if (r < 0)
		return r;
	struct futex_wait *w = &thread_of(self)->futex;
	enum wake_reason reason = park_commit(w->ticket, ends(), deadline_ns);
	if (reason != WAKE_PEER)
		withdraw(w);
	return result_of(reason, deadline_ns != GREEN_FOREVER);
}

/* Lists a group of records at several addresses: how many, until a word was found to have
 * changed, or not to be there: *error. */
static unsigned list_all(struct futex_wait *waits, const struct futex_waitv *at, unsigned count,
                         struct park_ticket ticket, long *error)
{
	for (unsigned i = 0; i < count; i++) {
		struct futex_wait *w = &waits[i];
		struct bucket *b = bucket_of(at[i].uaddr);
		spin_lock(&b->lock);
		*error = look((const void *)(uintptr_t)at[i].uaddr, (uint32_t)at[i].val);
		if (*error < 0) {
			spin_unlock(&b->lock);
			return i;
		}
		w->bits = FUTEX_BITSET_MATCH_ANY;
		w->woke = false;
		w->ticket = ticket;
		append(b, w, at[i].uaddr);
		spin_unlock(&b->lock);
	}
	return count;
}

long futex_wait_any(struct futex_wait *waits, const struct futex_waitv *at, unsigned count,
                    int64_t deadline_ns, void *pc)
{
	struct park_ticket ticket =
		park_begin(gt_self(), PARK_FUTEX, (void *)(uintptr_t)at[0].uaddr, pc);
	long error = 0, woke = -1;
	unsigned listed = list_all(waits, at, count, ticket, &error);
	enum wake_reason reason = WAKE_NONE;

	/* A wake-up that came meanwhile counts more than a word that has changed. */
	if (listed == count || !park_abort(ticket))
		reason = park_commit(ticket, ends(), deadline_ns);
	for (unsigned i = 0; i < listed; i++) {
		withdraw(&waits[i]);
		if (waits[i].woke)
			woke = i;
	}
	if (woke >= 0)
		return woke;
	return reason == WAKE_NONE ? error : result_of(reason, deadline_ns != GREEN_FOREVER);
}

/* ---- waking --------------------------------------------------------------------- */

/* Claims up to count waiters at the address, and adds them to the end of a chain.  The
 * lock is held. */
static uint32_t claim_at(struct bucket *b, uintptr_t address, uint32_t count, uint32_t bits,
                         struct futex_wait ***end)
{
	uint32_t claimed = 0;

	for (struct futex_wait *w = b->first, *next; w && claimed < count; w = next) {
		next = w->next;
		if (atomic_load_explicit(&w->address, memory_order_relaxed) != address ||
		    !(w->bits & bits))
			continue;
		take_out(b, w);
		if (!park_claim(w->ticket, WAKE_PEER))
			continue; /* its time has run out, or a signal came */
		w->woke = true;
		w->next = NULL;
		**end = w;
		*end = &w->next;
		claimed++;
	}
	return claimed;
}

static void finish(struct futex_wait *chain)
{
	while (chain) {
		struct futex_wait *next = chain->next;
		park_finish(chain->ticket.gt);
		chain = next;
	}
}

static uint32_t wake_green(uintptr_t address, uint32_t count, uint32_t bits)
{
	struct futex_wait *chain = NULL, **end = &chain;
	struct bucket *b = bucket_of(address);

	/* The caller's change of the word, then the look at the count; a waiter counts
	 * itself after it has taken the lock and looked at the word (a full barrier
	 * each). */
	atomic_thread_fence(memory_order_seq_cst);
	if (!atomic_load_explicit(&b->lock.held, memory_order_acquire) &&
	    !atomic_load_explicit(&b->count, memory_order_relaxed))
		return 0;
	spin_lock(&b->lock);
	uint32_t woken = claim_at(b, address, count, bits, &end);
	spin_unlock(&b->lock);
	finish(chain);
	return woken;
}

long futex_wake_kernel(const void *address, uint32_t count, uint32_t bits, bool shared)
{
	if (!atomic_load_explicit(&others, memory_order_relaxed) &&
	    !atomic_load_explicit(&offload_used, memory_order_relaxed))
		return 0;
	long woken = sys6(SYS_futex, address, FUTEX_WAKE_BITSET | (shared ? 0 : FUTEX_PRIVATE_FLAG),
	                  count, NULL, NULL, bits);
	return woken > 0 ? woken : 0;
}

long futex_wake(const void *address, uint32_t count, uint32_t bits, bool shared)
{
	uint32_t woken = wake_green((uintptr_t)address, count, bits);

	if (woken < count)
		return woken + futex_wake_kernel(address, count - woken, bits, shared);
	return woken;
}

static void wake_everybody(void)
{
	for (unsigned i = 0; i < BUCKETS; i++) {
		struct futex_wait *chain = NULL, **end = &chain;

		spin_lock(&buckets[i].lock);
		while (buckets[i].first)
			claim_at(&buckets[i], buckets[i].first->address, 1, FUTEX_BITSET_MATCH_ANY,
			         &end);
		spin_unlock(&buckets[i].lock);
		finish(chain);
	}
}

void futex_wake_green(const void *address, uint32_t count)
{
	if (count)
		wake_green((uintptr_t)address, count, FUTEX_BITSET_MATCH_ANY);
	else
		wake_everybody();
}

/* ---- requeueing ------------------------------------------------------------------- */

static void lock_both(struct bucket *a, struct bucket *b)
{
	spin_lock(a < b ? &a->lock : &b->lock);
	if (a != b)
		spin_lock(a < b ? &b->lock : &a->lock);
}

static void unlock_both(struct bucket *a, struct bucket *b)
{
	spin_unlock(&a->lock);
	if (a != b)
		spin_unlock(&b->lock);
}

/* Moves up to count waiters from one address to another.  Both locks are held. */
static uint32_t move(struct bucket *from, uintptr_t address, struct bucket *to, uintptr_t target,
                     uint32_t count)
{
	uint32_t moved = 0;

	for (struct futex_wait *w = from->first, *next; w && moved < count; w = next) {
		next = w->next;
		if (atomic_load_explicit(&w->address, memory_order_relaxed) != address)
			continue;
		take_out(from, w);
		append(to, w, target);
		moved++;
	}
	return moved;
}

long futex_requeue(const void *at, const void *target, uint32_t wake, uint32_t requeue,
                   const uint32_t *expected)
{
	uintptr_t address = (uintptr_t)at;
	struct bucket *from = bucket_of(address), *to = bucket_of((uintptr_t)target);
	struct futex_wait *chain = NULL, **end = &chain;

	lock_both(from, to);
	long r = expected ? look(at, *expected) : 0;
	if (r < 0) {
		unlock_both(from, to);
		return r;
	}
	uint32_t count = claim_at(from, address, wake, FUTEX_BITSET_MATCH_ANY, &end);
	if (at != target)
		count += move(from, address, to, (uintptr_t)target, requeue);
	unlock_both(from, to);
	finish(chain);
	return count;
}
