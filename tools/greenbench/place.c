/* SPDX-License-Identifier: MIT
 *
 * Finding a serial group on each worker.
 *
 * Where a group lies is the runtime's choice, so groups are made, asked where
 * they are, and kept when their worker has none yet.  The runtime prefers idle
 * workers: those that have their group are kept busy until all are found.
 */
#include "place.h"

#include <stdatomic.h>
#include <stdlib.h>

#define TRIES_PER_WORKER 64

static void *where_am_i(void *arg)
{
	*(int *)arg = green_worker();
	return NULL;
}

/* The worker a group runs on, -1 when that cannot be found out. */
static int ask(struct green_serial *group)
{
	struct green_attr attr = { .serial = group };
	green_t thread;
	int *worker = malloc(sizeof(*worker)), result = -1;
	if (!worker)
		return -1;
	if (green_spawn(&thread, &attr, where_am_i, worker) == 0 && green_join(thread, NULL) == 0)
		result = *worker;
	free(worker);
	return result;
}

static _Atomic bool all_found;
static green_wg_t busy;

static void *keep_busy(void *arg)
{
	while (!atomic_load_explicit(&all_found, memory_order_relaxed))
		green_yield();
	green_wg_done(&busy);
	return arg;
}

static void take(struct place *place, unsigned worker, struct green_serial *group)
{
	struct green_attr attr = { .serial = group, .detached = true };
	place->groups[worker] = group;
	green_wg_add(&busy, 1);
	if (green_spawn(NULL, &attr, keep_busy, NULL))
		green_wg_done(&busy);
}

static unsigned fill(struct place *place)
{
	unsigned found = 0;
	for (unsigned i = 0; i < place->workers * TRIES_PER_WORKER; i++) {
		struct green_serial *group = green_serial_new();
		if (!group)
			break;
		int worker = ask(group);
		if (worker < 0 || (unsigned)worker >= place->workers || place->groups[worker]) {
			green_serial_free(group);
			continue;
		}
		take(place, (unsigned)worker, group);
		if (++found == place->workers)
			break;
	}
	atomic_store_explicit(&all_found, true, memory_order_relaxed);
	green_wg_wait(&busy);
	return found;
}

int place_init(struct place *place, struct run *run)
{
	*place = (struct place){ .workers = run->workers };
	if (run->workers == 1)
		return 0;
	place->groups = run_alloc(run, run->workers, sizeof(struct green_serial *));
	if (!place->groups)
		return run->status;
	unsigned found = fill(place);
	if (found == place->workers)
		return 0;
	place_free(place);
	return run_cannot(run, "only %u of %u workers take green threads", found, run->workers);
}

void place_free(struct place *place)
{
	for (unsigned i = 0; place->groups && i < place->workers; i++)
		green_serial_free(place->groups[i]);
	free(place->groups);
	place->groups = NULL;
}

struct green_attr place_attr(const struct place *place, unsigned worker, bool detached)
{
	return (struct green_attr){
		.detached = detached,
		.serial = place->groups ? place->groups[worker] : NULL,
	};
}
