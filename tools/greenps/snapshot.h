/* SPDX-License-Identifier: MIT
 *
 * struct snapshot: all workers and green threads of the target, as they were when
 * they were looked at.
 */
#ifndef SNAPSHOT_H
#define SNAPSHOT_H

#include "layout.h"

struct arena_view { /* of a stack class */
	uint64_t base, shift, slots;
	uint64_t sleep; /* address of what is known of each slot's sleep */
};

struct worker_view {
	uint32_t id;
	pid_t tid;
	uint64_t current; /* address of the thread's descriptor, 0: none */
	uint64_t switches;
	int64_t now, stuck_since;
	bool idle;
};

struct thread {
	uint64_t id; /* the handle, as green_self() returns it */
	uint64_t address;
	uint64_t park, sp, object, wait_pc, fn;
	uint64_t spawn_pc; /* 0: of green_serve() */
	int64_t since_ns;
	uint64_t owner; /* of the mutex, or the thread to be joined: a handle; 0 */
	int32_t fd;     /* for io and close; -1 */
	uint32_t stack; /* 0: none */
	uint16_t worker;
	uint8_t state, why;
	bool cancelled, migratable, foreign;
	bool hibernated; /* its stack is packed: nobody runs on it */
	bool settled;    /* it was the same before and after its details were read */
	char name[32];
};

struct stack_view {
	uint64_t low, top, end; /* of the slot; top: where frames begin */
	uint32_t class, slot;
};

struct snapshot {
	struct target *t;
	struct layout layout;
	uint64_t table; /* address of the table of descriptors */
	int64_t now_ns; /* CLOCK_MONOTONIC; of a core: the last time a worker knew */
	struct worker_view *workers;
	size_t workers_count;
	struct thread *threads; /* by index in the table */
	size_t threads_count;
	struct arena_view arenas[4];
	uint64_t slab, models, words; /* addresses of what hibernates, see asleep.h */
};

/* EXIT_OK; EXIT_NOTHING, said: no green threads; or a problem, reported. */
int snapshot_take(struct snapshot *s, struct target *t);
void snapshot_free(struct snapshot *s);

/* Looks at one descriptor, by its index.  False: nobody is there. */
bool snapshot_look(struct snapshot *s, uint32_t index, struct thread *thread);

uint32_t snapshot_index(const struct snapshot *s, uint64_t id);
const struct thread *snapshot_find(const struct snapshot *s, uint64_t id);

/* Who runs what, as far as that was so for both of them; NULL: nobody. */
const struct thread *snapshot_run_by(const struct snapshot *s, const struct worker_view *w);
const struct worker_view *snapshot_runs_on(const struct snapshot *s, const struct thread *thread);

/* The slot that the stack of this name is; false: there is none. */
bool snapshot_slot(const struct snapshot *s, uint32_t stack, struct stack_view *v);

/* Where the thread's stack lies; false: it has none. */
bool snapshot_stack(const struct snapshot *s, const struct thread *thread, struct stack_view *v);

/* Its registers are saved on its stack. */
bool snapshot_is_saved(const struct snapshot *s, const struct thread *thread);

static inline bool thread_is_parked(const struct snapshot *s, const struct thread *thread)
{
	return thread->state == s->layout.state_parked.value;
}

#endif
