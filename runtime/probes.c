/* SPDX-License-Identifier: MIT
 *
 * The sites of all probes, and their semaphores.  Compiled without a red zone:
 * arch/probe.h says why.  Not inlined, so that the arguments are where the ABI
 * passes them, and there is one site of each.
 */
#include "probes.h"
#include "arch/base.h"
#include "arch/probe.h"
#include "worker.h"

#include <stddef.h>

probe_semaphores union trace_word trace_hot;
probe_semaphores struct trace_semaphores trace_semaphores;

/* The asm names them by their offsets. */
#define HOT_AT(probe, offset) \
	_Static_assert(offsetof(struct trace_hot, probe) == (offset), "as in its note")
#define AT(probe, offset) \
	_Static_assert(offsetof(struct trace_semaphores, probe) == (offset), "as in its note")
_Static_assert(sizeof(trace_hot) == 8, "one load and test");

#define PROBE_FUNCTION __attribute__((noinline, cold)) void

/* The call by which a kernel has replaced the nop leads to a page of the kernel's, which
 * makes a system call: it is no call of the program's, and may pass (intercept/dispatch.h).
 * Not inlined, both: a compiler that sees their branches makes two sites of one probe. */
static never_inline struct worker *open_gate(void)
{
	struct worker *w = own_tls ? worker_self() : NULL;

	if (w)
		w->gate = GATE_OPEN;
	return w;
}

static never_inline void shut_gate(struct worker *w)
{
	if (w)
		w->gate = GATE_SHUT;
}

#define PROBE(count, ...)                           \
	do {                                        \
		struct worker *gated = open_gate(); \
		PROBE##count(__VA_ARGS__);          \
		shut_gate(gated);                   \
	} while (0)

HOT_AT(flush, 0);
PROBE_FUNCTION probe_flush(const void *records, uint64_t count, uint64_t now, const void *worker)
{
	PROBE(4, "flush", "trace_hot", records, count, now, worker);
}

HOT_AT(resume, 2);
PROBE_FUNCTION probe_resume(uint64_t thread, uint64_t site, uint64_t why, uint64_t away,
                            uint64_t ready, uint64_t waker)
{
	PROBE(6, "resume", "trace_hot+2", thread, site, why, away, ready, waker);
}

HOT_AT(stack, 4);
PROBE_FUNCTION probe_stack(uint64_t thread, uint64_t site, uint64_t why, uint64_t pc, uint64_t sp,
                           uint64_t top)
{
	PROBE(6, "stack", "trace_hot+4", thread, site, why, pc, sp, top);
}

HOT_AT(enter, 6);
PROBE_FUNCTION probe_enter(uint64_t thread, const void *site, uint64_t why, uint64_t object)
{
	PROBE(4, "enter", "trace_hot+6", thread, site, why, object);
}

AT(spawn, 0);
PROBE_FUNCTION probe_spawn(uint64_t thread, uint64_t parent, uint64_t fn, const char *name,
                           const void *site)
{
	PROBE(5, "spawn", "trace_semaphores", thread, parent, fn, name, site);
}

AT(exit, 2);
PROBE_FUNCTION probe_exit(uint64_t thread, const void *result)
{
	PROBE(2, "exit", "trace_semaphores+2", thread, result);
}

AT(worker_start, 4);
PROBE_FUNCTION probe_worker_start(uint64_t id, uint64_t tid, const void *worker)
{
	PROBE(3, "worker_start", "trace_semaphores+4", id, tid, worker);
}

AT(worker_stop, 6);
PROBE_FUNCTION probe_worker_stop(uint64_t id, uint64_t tid, const void *worker)
{
	PROBE(3, "worker_stop", "trace_semaphores+6", id, tid, worker);
}

AT(block_enter, 8);
PROBE_FUNCTION probe_block_enter(uint64_t thread, const void *site, uint64_t fn, const void *arg)
{
	PROBE(4, "block_enter", "trace_semaphores+8", thread, site, fn, arg);
}

AT(block_exit, 10);
PROBE_FUNCTION probe_block_exit(uint64_t thread, const void *site, uint64_t fn, int64_t ns)
{
	PROBE(4, "block_exit", "trace_semaphores+10", thread, site, fn, ns);
}

AT(lock_wait, 12);
PROBE_FUNCTION probe_lock_wait(uint64_t thread, const void *mutex, uint64_t owner, const void *site)
{
	PROBE(4, "lock_wait", "trace_semaphores+12", thread, mutex, owner, site);
}

AT(steal, 14);
PROBE_FUNCTION probe_steal(uint64_t thread, uint64_t from, uint64_t to)
{
	PROBE(3, "steal", "trace_semaphores+14", thread, from, to);
}

AT(hibernate, 16);
PROBE_FUNCTION probe_hibernate(uint64_t thread, const void *sp, const void *top)
{
	PROBE(3, "hibernate", "trace_semaphores+16", thread, sp, top);
}

AT(restore, 18);
PROBE_FUNCTION probe_restore(uint64_t thread, const void *sp, const void *top)
{
	PROBE(3, "restore", "trace_semaphores+18", thread, sp, top);
}

AT(noswitch, 20);
PROBE_FUNCTION probe_noswitch(uint64_t thread, const void *site, uint64_t why, const void *begun)
{
	PROBE(4, "noswitch", "trace_semaphores+20", thread, site, why, begun);
}

AT(stuck, 22);
PROBE_FUNCTION probe_stuck(const void *worker, uint64_t thread, int64_t ns)
{
	PROBE(3, "stuck", "trace_semaphores+22", worker, thread, ns);
}

AT(stack_grow, 24);
PROBE_FUNCTION probe_stack_grow(uint64_t thread, uint64_t before, uint64_t depth, const void *fn)
{
	PROBE(4, "stack_grow", "trace_semaphores+24", thread, before, depth, fn);
}
