/* SPDX-License-Identifier: MIT
 *
 * green_info(): what the runtime is made of and has done.
 */
#include "feature.h"
#include "hibernate.h"
#include "noswitch.h"
#include "scheduler.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static void sum_workers(struct green_info *info)
{
	for (unsigned i = 0; i < rt.workers_count; i++) {
		struct worker *w = worker_at(i);
		info->switches += atomic_load_explicit(&w->switches, memory_order_relaxed);
		info->steals += atomic_load_explicit(&w->steals, memory_order_relaxed);
	}
	info->spawns =
		sched_spawned() - atomic_load_explicit(&rt.spawned_before, memory_order_relaxed);
}

int green_info(struct green_info *info)
{
	int state = atomic_load_explicit(&rt.state, memory_order_acquire);

	if (state != RUNTIME_READY && state != RUNTIME_RUNNING)
		return -ENXIO;
	memset(info, 0, sizeof(*info));
	snprintf(info->version, sizeof(info->version), "%s", GREEN_VERSION);
	snprintf(info->engine, sizeof(info->engine), "%s", rt.engine->name);
	snprintf(info->engine_reason, sizeof(info->engine_reason), "%s", rt.engine_reason);
	snprintf(info->stacks, sizeof(info->stacks), "%s", stacks_rung_name());
	snprintf(info->stacks_reason, sizeof(info->stacks_reason), "%s", stacks_reason());
	info->workers = rt.workers_count;
	info->stack_size = rt.options.stack_size;
	info->threads_max = rt.options.threads_max;
	info->threads = sched_alive();
	info->threads_peak = atomic_load_explicit(&rt.alive_peak, memory_order_relaxed);
	if (info->threads > info->threads_peak)
		info->threads_peak = info->threads;
	info->stacks_used = stacks_used();
	info->stacks_hibernated = stacks_hibernated();
	info->hibernated_bytes = hibernate_bytes();
	info->stuck = atomic_load_explicit(&rt.stuck, memory_order_relaxed);
	info->noswitch = noswitch_count();
	sum_workers(info);
	feature_list(info->features, sizeof(info->features));
	return 0;
}
