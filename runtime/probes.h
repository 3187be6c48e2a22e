/* SPDX-License-Identifier: MIT
 *
 * The probes of trace_record.h, one function each.  They are called where the
 * semaphore says that somebody is attached, and do nothing else.
 */
#ifndef PROBES_H
#define PROBES_H

#include "arch/cpu.h"
#include "trace_record.h"

#include <stdint.h>

union trace_word {
	uint64_t word;
	struct trace_hot sem;
};

struct trace_semaphores { /* of the probes that are not hot */
	uint16_t spawn, exit, worker_start, worker_stop, block_enter, block_exit, lock_wait, steal;
	uint16_t hibernate, restore, noswitch, stuck, stack_grow;
};

/* Counted by the kernel, and by debuggers. */
extern internal union trace_word trace_hot;
extern internal struct trace_semaphores trace_semaphores;

/* Relaxed: who has just attached misses what happens meanwhile. */
#define trace_wants(probe) unlikely(__atomic_load_n(&trace_semaphores.probe, __ATOMIC_RELAXED))
#define trace_wants_hot(probe) unlikely(__atomic_load_n(&trace_hot.sem.probe, __ATOMIC_RELAXED))

/* All arguments as in trace_record.h. */
void probe_flush(const void *records, uint64_t count, uint64_t now, const void *worker);
void probe_resume(uint64_t thread, uint64_t site, uint64_t why, uint64_t away, uint64_t ready,
                  uint64_t waker);
void probe_stack(uint64_t thread, uint64_t site, uint64_t why, uint64_t pc, uint64_t sp,
                 uint64_t top);
void probe_enter(uint64_t thread, const void *site, uint64_t why, uint64_t object);
void probe_spawn(uint64_t thread, uint64_t parent, uint64_t fn, const char *name, const void *site);
void probe_exit(uint64_t thread, const void *result);
void probe_worker_start(uint64_t id, uint64_t tid, const void *worker);
void probe_worker_stop(uint64_t id, uint64_t tid, const void *worker);
void probe_block_enter(uint64_t thread, const void *site, uint64_t fn, const void *arg);
void probe_block_exit(uint64_t thread, const void *site, uint64_t fn, int64_t ns);
void probe_lock_wait(uint64_t thread, const void *mutex, uint64_t owner, const void *site);
void probe_steal(uint64_t thread, uint64_t from, uint64_t to);
void probe_hibernate(uint64_t thread, const void *sp, const void *top);
void probe_restore(uint64_t thread, const void *sp, const void *top);
void probe_noswitch(uint64_t thread, const void *site, uint64_t why, const void *begun);
void probe_stuck(const void *worker, uint64_t thread, int64_t ns);
void probe_stack_grow(uint64_t thread, uint64_t before, uint64_t depth, const void *fn);

#endif
