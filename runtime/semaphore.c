/* SPDX-License-Identifier: MIT
 *
 * green_sem: a post goes straight to the first waiter, or else is counted.
 * So there is a value only while nobody waits, and nobody is passed over.
 */
#include "trace.h"
#include "waiter.h"

#include <errno.h>

int green_sem_wait(green_sem_t *sem)
{
	struct gt *self = waiter_self_any();
	trace_enter(PARK_PC, PARK_SEM, (uintptr_t)sem);
	spin_lock(spin_of(&sem->lock));
	if (unlikely(!sem->value))
		return wait_in(spin_of(&sem->lock), &sem->waiters, self, PARK_SEM, sem, PARK_PC);
	sem->value--;
	spin_unlock(spin_of(&sem->lock));
	return 0;
}

int green_sem_trywait(green_sem_t *sem)
{
	int result = -EAGAIN;
	spin_lock(spin_of(&sem->lock));
	if (sem->value) {
		sem->value--;
		result = 0;
	}
	spin_unlock(spin_of(&sem->lock));
	return result;
}

int green_sem_post(green_sem_t *sem)
{
	struct spin *lock = spin_of(&sem->lock);
	int result = 0;
	spin_lock(lock);
	if (wait_list_wake(lock, &sem->waiters))
		return 0;
	if (sem->value == UINT32_MAX)
		result = -EOVERFLOW;
	else
		sem->value++;
	spin_unlock(lock);
	return result;
}
