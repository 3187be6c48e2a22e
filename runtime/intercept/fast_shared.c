/* SPDX-License-Identifier: MIT
 *
 * The list of shared.h, and the calls of System V's shared memory that change it;
 * mmap(2) and munmap(2): fast_stack.c.
 */
#include "intercept/call.h"
#include "intercept/futex.h"
#include "intercept/shared.h"
#include "spin.h"

#include <sys/mman.h>
#include <sys/shm.h>

#define RANGES 64

static struct {
	struct spin lock;
	_Atomic unsigned count; /* under the lock, read without */
	bool too_many;          /* then everything passes for shared */
	struct {
		uintptr_t from, to;
	} at[RANGES];
} shared;

void shared_note(uintptr_t at, size_t size)
{
	futex_has_others();
	spin_lock(&shared.lock);
	if (shared.count < RANGES) {
		shared.at[shared.count].from = at;
		shared.at[shared.count].to = at + size;
		/* Release: the range. */
		atomic_store_explicit(&shared.count, shared.count + 1, memory_order_release);
	} else {
		shared.too_many = true;
	}
	spin_unlock(&shared.lock);
}

void shared_forget(uintptr_t at, size_t size)
{
	/* Relaxed: who unmaps knows that it has been mapped. */
	if (likely(!atomic_load_explicit(&shared.count, memory_order_relaxed)))
		return;
	spin_lock(&shared.lock);
	for (unsigned i = 0; i < shared.count;)
		if (shared.at[i].from >= at && shared.at[i].to <= at + size) {
			shared.at[i] = shared.at[shared.count - 1];
			shared.count--;
		} else {
			i++;
		}
	spin_unlock(&shared.lock);
}

bool shared_has(uintptr_t at)
{
	if (likely(!atomic_load_explicit(&shared.count, memory_order_acquire)))
		return false;
	spin_lock(&shared.lock);
	bool found = shared.too_many;
	for (unsigned i = 0; i < shared.count && !found; i++)
		found = at >= shared.at[i].from && at < shared.at[i].to;
	spin_unlock(&shared.lock);
	return found;
}

long fast_shmat(struct call *c)
{
	struct shmid_ds about;
	long at = call_real(c);

	about.shm_segsz = 0;
	if (at < 0 && at > -4096)
		return at;
	if (call_raw(SYS_shmctl, c->arg[0], IPC_STAT, (long)&about, 0, 0, 0) >= 0)
		shared_note((uintptr_t)at, about.shm_segsz);
	return at;
}

long fast_mremap(struct call *c)
{
	long at = call_real(c);

	if (at > 0 && shared_has((uintptr_t)c->arg[0]))
		shared_note((uintptr_t)at, (size_t)c->arg[2]);
	return at;
}
