/* SPDX-License-Identifier: MIT
 *
 * Faults for the tests: the n-th system call of a kind fails, through the door
 * of arch/sys.h.
 */
#include "harness.h"

#include "arch/sys.h"

#define FAULTS 4

static struct fault {
	long nr;
	unsigned skip, count;
	int error;
	_Atomic unsigned calls;
} faults[FAULTS];
static _Atomic unsigned active, hits;
static long (*real_call)(long nr, long a, long b, long c, long d, long e, long f);

static long fault_result(long nr)
{
	/* Acquire pairs with the release in fault_inject(). */
	unsigned n = atomic_load_explicit(&active, memory_order_acquire);

	for (struct fault *f = faults; f < faults + n; f++) {
		if (f->nr != nr)
			continue;
		unsigned call = atomic_fetch_add_explicit(&f->calls, 1, memory_order_relaxed);
		if (call < f->skip || (f->count && call - f->skip >= f->count))
			continue;
		atomic_fetch_add_explicit(&hits, 1, memory_order_relaxed);
		return -f->error;
	}
	return 0;
}

static long faulty_call(long nr, long a, long b, long c, long d, long e, long f)
{
	long r = fault_result(nr);

	return r ? r : real_call(nr, a, b, c, d, e, f);
}

void fault_prepare(void)
{
	if (sys.call == faulty_call)
		return;
	real_call = sys.call;
	sys.call = faulty_call;
	sys_fault_hook = fault_result;
}

void fault_inject(long nr, unsigned skip, unsigned count, int error)
{
	unsigned n = atomic_load(&active);

	fault_prepare();
	REQUIRE(n < FAULTS);
	faults[n].nr = nr;
	faults[n].skip = skip;
	faults[n].count = count;
	faults[n].error = error;
	atomic_store(&faults[n].calls, 0);
	atomic_store_explicit(&active, n + 1, memory_order_release);
}

void fault_clear(void)
{
	atomic_store(&active, 0);
}

unsigned fault_hits(void)
{
	return atomic_load(&hits);
}
