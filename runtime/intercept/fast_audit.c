/* SPDX-License-Identifier: MIT
 *
 * Timing the calls that are passed on, and noting the long ones.
 */
#include "intercept/audit.h"
#include "intercept/thread.h"

#include <sys/resource.h>
#include <time.h>

#define PROBES 8

int64_t audit_limit_ns;
struct audit_place audit_places[AUDIT_PLACES];

struct moment {
	int64_t wall_ns, cpu_ns;
	long slept; /* times that this OS thread gave up its CPU */
};

static int64_t clock_ns(long clock)
{
	struct timespec t = { 0 };

	call_raw(SYS_clock_gettime, clock, (long)&t, 0, 0, 0, 0);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void note_moment(struct moment *m)
{
	struct rusage usage;

	usage.ru_nvcsw = 0;
	call_raw(SYS_getrusage, RUSAGE_THREAD, (long)&usage, 0, 0, 0, 0);
	m->slept = usage.ru_nvcsw;
	m->cpu_ns = clock_ns(CLOCK_THREAD_CPUTIME_ID);
	m->wall_ns = clock_ns(CLOCK_MONOTONIC);
}

/* The place of this call, taken now if it is new; NULL when there is no room. */
static struct audit_place *place_of(const struct call *c, bool *is_new)
{
	uintptr_t key = c->pc * 0x9e3779b97f4a7c15u;

	for (unsigned i = 0; i < PROBES; i++) {
		struct audit_place *p = &audit_places[((key >> 40) + i) % AUDIT_PLACES];
		uintptr_t there = 0;
		/* Relaxed: what belongs to it is published by ready. */
		*is_new = atomic_compare_exchange_strong_explicit(&p->pc, &there, c->pc,
		                                                  memory_order_relaxed,
		                                                  memory_order_relaxed);
		if (*is_new || (there == c->pc && p->nr == (uint32_t)c->nr))
			return p;
	}
	return NULL;
}

static void note(const struct call *c, int64_t ns)
{
	bool is_new;
	struct audit_place *p = place_of(c, &is_new);

	if (!p)
		return;
	if (is_new) {
		const struct thread *t = thread_self_fast();
		p->nr = (uint32_t)c->nr;
		p->tid = atomic_load_explicit(&t->tid, memory_order_relaxed);
		for (unsigned i = 0; i < sizeof(p->name); i++)
			p->name[i] = t->name[i];
		for (unsigned i = 0; i < AUDIT_WORDS; i++)
			p->words[i] = ((const volatile uintptr_t *)c->sp)[i];
	}
	atomic_fetch_add_explicit(&p->count, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&p->total_ns, (uint64_t)ns, memory_order_relaxed);
	if ((uint64_t)ns > atomic_load_explicit(&p->longest_ns, memory_order_relaxed))
		atomic_store_explicit(&p->longest_ns, (uint64_t)ns, memory_order_relaxed);
	if (is_new) /* release: pairs with the acquire of who reads it */
		atomic_store_explicit(&p->ready, true, memory_order_release);
}

long audit_call(const struct call *c)
{
	struct moment before, after;

	note_moment(&before);
	long r = call_real(c);
	note_moment(&after);
	bool slept = after.slept != before.slept;
	int64_t ns = slept ? after.wall_ns - before.wall_ns : after.cpu_ns - before.cpu_ns;
	if (ns >= audit_limit_ns)
		note(c, ns);
	return r;
}
