/* SPDX-License-Identifier: MIT
 *
 * Serial groups.  A group is no more than a worker chosen once: its members are
 * started there and, not being migratable, stay there, and a worker runs one
 * green thread at a time.  Between two switch points a member has the group's
 * data to itself.
 */
#include "serial.h"
#include "runtime.h"
#include "worker.h"

#include <stdlib.h>

struct green_serial {
	_Atomic uint32_t references; /* the owner's and one a member */
	uint32_t worker;
};

struct green_serial *green_serial_new(void)
{
	if (runtime_usable() < 0)
		return NULL;
	struct green_serial *group = malloc(sizeof(*group));
	if (!group)
		return NULL;
	atomic_init(&group->references, 1);
	group->worker = sched_least_loaded();
	return group;
}

void serial_join(struct green_serial *group)
{
	atomic_fetch_add_explicit(&group->references, 1, memory_order_relaxed);
}

void serial_leave(struct green_serial *group)
{
	/* Release: our use; acquire: everybody else's, before it is freed. */
	if (atomic_fetch_sub_explicit(&group->references, 1, memory_order_acq_rel) == 1)
		free(group);
}

unsigned serial_worker(const struct green_serial *group)
{
	return group->worker;
}

void green_serial_free(struct green_serial *group)
{
	if (group)
		serial_leave(group);
}
