/* SPDX-License-Identifier: MIT
 *
 * The steal policy, all of it.
 *
 * Who: a worker without work of its own, before it spins and before it sleeps.
 * From whom: the others by distance (same core, same last-level cache, same
 *   NUMA node, the rest), starting at a random one within each distance.
 * What: never-run threads, one at a time, oldest first; half of a queue of
 *   migratable threads; threads that were sent to a worker to start there, but
 *   only when it has not taken them for ARRIVAL_OLD_NS or is known to be stuck
 *   (they were sent to spread the load: a thief that is merely faster would
 *   undo that).  Started threads that are not migratable are never taken.
 * Also: a worker whose thread is preempted for the sake of those that were themselves
 *   (monitor.c) takes one of them from where more wait than here.  So those who compute
 *   have equal shares, and stay where they are as soon as as many wait everywhere.
 * How many look: the waker of sched_wake_any() wakes one; one that finds
 *   something wakes the next (loop.c).
 * How often: as often as it pays.  A thief whose loot has kept it busy for less
 *   than STEAL_PAYS_NS has cost its victim more than that (lines of the queue
 *   taken away, a descriptor read from afar, and the one who waits for the thread
 *   wakes later): it rests, without a look at others' queues, each time twice as
 *   long, up to REST_MAX_NS.  Loot that was worth it ends that, and so does a
 *   victim that has neither switched nor spawned meanwhile: it would not have come
 *   to it.
 */
#include "scheduler.h"
#include "trace.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ARRIVAL_OLD_NS 200000
#define STEAL_PAYS_NS 1500
#define REST_MIN_NS 2000
#define REST_MAX_NS 64000
#define TIERS 4

static uint64_t random_next(struct worker *w)
{
	/* xorshift64*: Vigna, "An experimental exploration of Marsaglia's
	 * xorshift generators, scrambled", 2016. */
	w->random ^= w->random >> 12;
	w->random ^= w->random << 25;
	w->random ^= w->random >> 27;
	return w->random * 0x2545f4914f6cdd1du;
}

static bool arrivals_ripe(const struct worker *victim)
{
	int64_t since = atomic_load_explicit(&victim->arrivals_since, memory_order_relaxed);

	return since && (atomic_load_explicit(&victim->stuck_since, memory_order_relaxed) ||
	                 sys.now() - since > ARRIVAL_OLD_NS);
}

/* With its lock held. */
static struct gt *pop_arrival(struct worker *victim)
{
	struct gt *gt = local_pop(&victim->arrivals);

	if (!victim->arrivals.head)
		atomic_store_explicit(&victim->arrivals_since, 0, memory_order_relaxed);
	return gt;
}

static struct gt *steal_arrival(struct worker *victim)
{
	if (!arrivals_ripe(victim))
		return NULL;
	spin_lock(&victim->arrivals_lock);
	struct gt *gt = pop_arrival(victim);
	spin_unlock(&victim->arrivals_lock);
	return gt;
}

/* One of more than those.  Who is between two threads is about to take one itself, which
 * does not wait any more. */
static struct gt *steal_surplus(struct worker *victim, uint32_t own)
{
	struct gt *gt = NULL;

	if (!atomic_load_explicit(&victim->arrivals_since, memory_order_relaxed))
		return NULL;
	spin_lock(&victim->arrivals_lock);
	/* Relaxed: set before what ran was put here, and until one has been taken from here. */
	bool takes_one = !atomic_load_explicit(&victim->current, memory_order_relaxed);
	if (victim->arrivals.count > own + takes_one)
		gt = pop_arrival(victim);
	spin_unlock(&victim->arrivals_lock);
	return gt;
}

static struct gt *steal_shared(struct worker *w, struct worker *victim)
{
	uint32_t taken[RING_SIZE / 2];
	unsigned n = ring_count(&victim->shared) ? ring_steal_half(&victim->shared, taken) : 0;

	/* Ours is empty, or we would not be here: all fit. */
	for (unsigned i = 1; i < n; i++)
		ring_push(&w->shared, taken[i]);
	return n ? gt_at(taken[0]) : NULL;
}

static struct gt *steal_fresh(struct worker *victim)
{
	uint32_t index;
	bool raced;

	do
		if (deque_steal(&victim->fresh, &index, &raced))
			return gt_at(index);
	while (raced);
	return NULL;
}

static struct gt *steal_from(struct worker *w, struct worker *victim)
{
	struct gt *gt = steal_fresh(victim);

	if (!gt)
		gt = steal_shared(w, victim);
	if (!gt)
		gt = steal_arrival(victim);
	return gt;
}

static uint64_t progress_of(const struct worker *w)
{
	return atomic_load_explicit(&w->switches, memory_order_relaxed) +
	       atomic_load_explicit(&w->spawned, memory_order_relaxed);
}

static void note_theft(struct worker *w, const struct worker *victim, const struct gt *gt)
{
	w->stole_at = atomic_load_explicit(&w->now, memory_order_relaxed);
	w->stole_from = victim->id;
	w->victim_progress = progress_of(victim);
	atomic_store_explicit(&w->steals,
	                      atomic_load_explicit(&w->steals, memory_order_relaxed) + 1,
	                      memory_order_relaxed);
	if (trace_wants(steal))
		probe_steal(gt_handle(gt), victim->id, w->id);
}

void steal_judge(struct worker *w)
{
	int64_t now = atomic_load_explicit(&w->now, memory_order_relaxed);

	if (!w->stole_at)
		return;
	if (now - w->stole_at >= STEAL_PAYS_NS ||
	    progress_of(worker_at(w->stole_from)) == w->victim_progress)
		w->rest_ns = 0;
	else if (w->rest_ns < REST_MAX_NS)
		w->rest_ns = w->rest_ns ? w->rest_ns * 2 : REST_MIN_NS;
	w->rests_until = now + w->rest_ns;
	w->stole_at = 0;
}

struct gt *steal_any(struct worker *w)
{
	unsigned first = 0;

	for (unsigned tier = 0; tier < TIERS; tier++) {
		unsigned n = w->tier_end[tier] - first;
		unsigned start = n > 1 ? (unsigned)(random_next(w) % n) : 0;
		for (unsigned i = 0; i < n; i++) {
			struct worker *victim = worker_at(w->victims[first + (start + i) % n]);
			struct gt *gt = steal_from(w, victim);
			if (!gt)
				continue;
			note_theft(w, victim, gt);
			if (gt->stack == STACK_NONE && sched_prepare(w, gt) < 0)
				return NULL;
			return gt;
		}
		first = w->tier_end[tier];
	}
	return NULL;
}

/* It has waited: behind the others here it might be taken back before it has run. */
static void arrive_first(struct worker *w, struct gt *gt)
{
	spin_lock(&w->arrivals_lock);
	if (!w->arrivals.head)
		atomic_store_explicit(&w->arrivals_since, sys.now(), memory_order_relaxed);
	local_push_first(&w->arrivals, gt);
	w->before_demoted += w->demoted.head != GT_NONE;
	spin_unlock(&w->arrivals_lock);
}

void steal_level(struct worker *w)
{
	uint32_t own = w->demoted.count + sched_arrivals(w);
	unsigned n = w->tier_end[TIERS - 1], start = n > 1 ? (unsigned)(random_next(w) % n) : 0;

	for (unsigned i = 0; i < n; i++) {
		struct worker *victim = worker_at(w->victims[(start + i) % n]);
		struct gt *gt = steal_surplus(victim, own);
		if (!gt)
			continue;
		note_theft(w, victim, gt);
		arrive_first(w, gt);
		return;
	}
}

bool steal_possible(const struct worker *w)
{
	for (unsigned i = 0; i < rt.workers_count; i++) {
		struct worker *victim = worker_at(i);
		if (victim == w)
			continue;
		if (deque_count(&victim->fresh) > 0 || ring_count(&victim->shared) ||
		    arrivals_ripe(victim))
			return true;
	}
	return false;
}

/* ---- distance ------------------------------------------------------------- */

/* First line of a sysfs file of a CPU; "" when it is not there. */
static void cpu_file(int cpu, const char *name, char *buf, int size)
{
	char path[128];

	buf[0] = 0;
	snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu%d/%s", cpu, name);
	FILE *f = fopen(path, "re");
	if (!f)
		return;
	if (!fgets(buf, size, f))
		buf[0] = 0;
	fclose(f);
}

struct place {
	char core[64], cache[64], package[64];
};

static void place_of(int cpu, struct place *p)
{
	memset(p, 0, sizeof(*p));
	if (cpu < 0)
		return;
	cpu_file(cpu, "topology/thread_siblings_list", p->core, sizeof(p->core));
	cpu_file(cpu, "cache/index3/shared_cpu_list", p->cache, sizeof(p->cache));
	cpu_file(cpu, "topology/physical_package_id", p->package, sizeof(p->package));
}

static unsigned distance(const struct place *a, const struct place *b)
{
	if (a->core[0] && strcmp(a->core, b->core) == 0)
		return 0;
	if (a->cache[0] && strcmp(a->cache, b->cache) == 0)
		return 1;
	if (a->package[0] && strcmp(a->package, b->package) == 0)
		return 2;
	return 3;
}

void steal_init(void)
{
	unsigned n = rt.workers_count;
	/* One other worker is the nearest wherever it is, and asking takes 15 us a CPU. */
	struct place *places = n > 2 ? calloc(n, sizeof(*places)) : NULL;

	for (unsigned i = 0; places && i < n; i++)
		place_of(rt.cpus[i], &places[i]);
	for (unsigned i = 0; i < n; i++) {
		struct worker *w = worker_at(i);
		unsigned at = 0;
		for (unsigned tier = 0; tier < TIERS; tier++) {
			for (unsigned j = 0; j < n; j++) {
				unsigned far = places ? distance(&places[i], &places[j]) : 3;
				if (j != i && far == tier)
					w->victims[at++] = (uint16_t)j;
			}
			w->tier_end[tier] = (uint16_t)at;
		}
	}
	free(places);
}
