/* SPDX-License-Identifier: MIT
 *
 * struct gt: the descriptor of one green thread, and the table of all of them.
 *
 * Descriptors are never freed, only reused (type-stable), so that a stale
 * pointer or index always points at a descriptor.  What makes a stale handle
 * harmless is the generation in `id`: every change that a holder of a handle
 * may ask for is one compare-and-swap on a word that contains it.
 *
 * An OS thread that calls a primitive gets a descriptor too ("foreign"): it
 * parks on a futex instead of switching, and everybody else needs not care.
 *
 * Handle: generation (38 bits) << 26 | index (26 bits); index 0 is nobody.
 */
#ifndef GT_H
#define GT_H

#include "arch/cpu.h"
#include "green.h"
#include "stack.h"

#include <stdatomic.h>

#define GT_INDEX_BITS 26
#define GT_INDEX_MASK ((1u << GT_INDEX_BITS) - 1)
#define GT_NONE 0u

/* Flags in the low bits of gt.id. */
enum {
	GT_CANCELLED = 1u << 0,  /* green_cancel() was called */
	GT_MIGRATABLE = 1u << 1, /* may move after it first ran */
	GT_FOREIGN = 1u << 2,    /* an OS thread */
	GT_LIVE = 1u << 3,       /* between spawn and exit */
	GT_PINNED = 1u << 4,     /* never-run, but only its worker may start it */
	GT_SYSTEM = 1u << 5,     /* the runtime's own; not counted as work */
	GT_OVERFLOWED = 1u << 6, /* ended because it had run out of its stack */
	GT_SIGNALLED = 1u << 7,  /* under interception: has signals to look at */

	GT_LOOK = GT_CANCELLED | GT_SIGNALLED, /* what ends a wait that is not shielded */
};

/* In gt.look, the hint at them in the first line. */
enum {
	LOOK_CANCELLED = 1u << 0,
	LOOK_SIGNALLED = 1u << 1, /* the only one that interception looks at (signal.h) */
};

enum {
	GT_KIND_FOREIGN = 1u << 0,
	GT_KIND_MIGRATABLE = 1u << 1,
	GT_KIND_HANDLER = 1u << 2,  /* of green_serve(): spawn_pc is the user's function */
	GT_KIND_PATIENCE_SHIFT = 3, /* above: when it hibernates, see sweep.h */
};

/* In the byte of the stack's class, which the end of a thread compares with 0. */
#define GT_CLASS_MASK 0x1fu
#define GT_CLASS_LENT 0x20u      /* its stack is somebody else's */
#define GT_CLASS_SCRUB 0x40u     /* its stack is not handed on to the next directly */
#define GT_CLASS_LOOKED_AT 0x80u /* by the census, when it ends */

enum gt_state { /* for reports only; the truth is the park word and the queues */
	        GT_FREE,
	        GT_FRESH,
	        GT_READY,
	        GT_RUNNING,
	        GT_PARKED,
	        GT_DEAD, /* ended, not yet joined */
};

/* Join word: generation (low 38 bits kept << 26) | who.
 *
 *	NOBODY -> DETACHED -> TAKEN           nobody will ask: the end frees it
 *	NOBODY -> DONE -> DETACHED            ended, then joined (or detached)
 *	NOBODY -> COMING -> a joiner's index  it waits; back to NOBODY if it gives up
 *	COMING -> TAKEN                       ended; belongs to the one who comes
 *	index -> ENDING -> TAKEN              ended; belongs to the one who waited
 *
 * In ENDING join_seq is read: the joiner may not go on before TAKEN, and since
 * the word does not leave ENDING by any other hand, the sequence read belongs
 * to the wait that is registered now, not to one given up before it. */
#define GT_JOIN_NOBODY 0u
#define GT_JOIN_ENDING (GT_INDEX_MASK - 4)
#define GT_JOIN_TAKEN (GT_INDEX_MASK - 3)
#define GT_JOIN_COMING (GT_INDEX_MASK - 2) /* a joiner is about to write join_seq */
#define GT_JOIN_DETACHED (GT_INDEX_MASK - 1)
#define GT_JOIN_DONE GT_INDEX_MASK

/* What a plain green thread does without: allocated on first use. */
struct gt_ext {
	struct gt_ext *next_free;
	char name[32];
	int64_t deadline_ns; /* innermost deadline scope; GREEN_FOREVER: none */
	unsigned shield;     /* depth of green_shield_begin() */
	void *noswitch;      /* where green_noswitch_begin() was called; NULL: not in one */
	struct green_serial *serial;
	void *pool;       /* green_pool this is a member of */
	green_fn user_fn; /* to report instead of gt.fn; NULL: that one */
	uint8_t overflow; /* enum green_overflow */
	uint64_t sigmask; /* for interception */
	void *vec;        /* vector state, when switched by switch_full() */
};

struct gt {
	/* First line: touched by every switch, by the worker that runs it and
	 * by the one waker that claims it. */
	cache_aligned void *sp;     /* saved stack pointer while not running */
	_Atomic uint64_t park;      /* park.h */
	uint32_t next;              /* link of the one queue it is in */
	stack_id stack;             /* STACK_NONE until it first runs */
	_Atomic uint16_t worker;    /* where it last ran, or shall run */
	_Atomic uint8_t state;      /* enum gt_state */
	_Atomic uint8_t why;        /* enum park_why */
	uint8_t stack_class;        /* and GT_CLASS_* */
	_Atomic uint8_t kind;       /* GT_KIND_*: for the hot paths, fixed at spawn */
	_Atomic uint8_t park_flags; /* PARK_SHIELDED, PARK_OP: goes into the word with SAVED */
	_Atomic uint8_t look;       /* there may be something in id to look at: LOOK_* */
	void *_Atomic wait_obj;     /* what it waits for (park.h) */
	void *_Atomic wait_pc;      /* code address of the call it waits in */
	_Atomic int64_t since_ns;   /* when it parked, to the tick; < 0: trace.h */
	struct gt_ext *_Atomic ext; /* NULL: defaults */
	/* Second line: spawn, exit, join, cancel. */
	_Atomic uint64_t id; /* generation << 26 | GT_* flags */
	green_fn fn;
	void *arg;                  /* its argument; its result once it has ended */
	void *spawn_pc;             /* code address of the spawn */
	_Atomic uint64_t join;      /* generation << 26 | GT_JOIN_* or the joiner's index */
	_Atomic uint32_t timer_pos; /* place in its worker's heap + 1; 0: not armed */
	_Atomic uint32_t attn;      /* link of the attention list + 1; 0: not in one */
	uint64_t join_seq;          /* park sequence of the joiner */
	void *fs_base;              /* for interception: its own TLS block */
};
_Static_assert(sizeof(struct gt) == 128, "a descriptor is two cache lines");
_Static_assert(offsetof(struct gt, id) == 64, "the switch touches the first line only");

/* The table: one mapping of NORESERVE memory, indexed. */
extern internal struct gt *gt_table;
extern internal _Atomic uint32_t gt_table_high; /* entries handed out at least once, + 1 */

static inline struct gt *gt_at(uint32_t index)
{
	return &gt_table[index];
}

static inline uint32_t gt_index(const struct gt *gt)
{
	return (uint32_t)(gt - gt_table);
}

/* The generation part of an id, join word or handle. */
static inline uint64_t gt_gen(uint64_t word)
{
	return word & ~(uint64_t)GT_INDEX_MASK;
}

static inline green_t gt_handle(const struct gt *gt)
{
	return gt_gen(atomic_load_explicit(&gt->id, memory_order_relaxed)) | gt_index(gt);
}

/* Reserves the table (once per process; further calls are free). 0, -ENOMEM. */
int gt_table_init(size_t count_max);

/* A descriptor with a fresh generation and no flags.  NULL: the table is full.
 * Any OS thread; cache is the calling worker's or NULL. */
struct gt_cache {
	uint32_t head, count; /* the magazine in use */
	uint32_t spares;      /* full ones, linked as in the table */
	uint32_t spares_count;
	uint32_t plot, plot_count; /* untouched ones that are its own, from the first on */
};
struct gt *gt_alloc(struct gt_cache *cache);

/* Ends the descriptor's generation and puts it back. */
void gt_free(struct gt_cache *cache, struct gt *gt);
void gt_cache_flush(struct gt_cache *cache);

/* The descriptor of a handle if its generation still is the current one, else
 * NULL.  The answer may be stale at once: act on it by CAS on id or join.
 * gt_lookup() knows green threads only, gt_find() OS threads too. */
struct gt *gt_lookup(green_t handle);
struct gt *gt_find(green_t handle);

/* Sets flags if the generation is still the handle's: -ESRCH otherwise. */
int gt_set_flag(green_t handle, uint64_t flag);

/* The extension, allocated if need be; NULL: no memory.  Any thread, but what
 * it may touch in another's extension is the name. */
struct gt_ext *gt_ext(struct gt *gt);

/* Around fork(). */
void gt_table_lock(void);
void gt_table_unlock(void);
/* In a forked child: all handles are stale. */
void gt_table_orphan(void);

/* Highest index ever handed out + 1: bound for walks over the table. */
uint32_t gt_high(void);

/* For reports, in a signal handler too: the function of the user that it runs, and
 * the code address of the spawn (NULL: green_serve() started it). */
void *gt_function(const struct gt *gt);
void *gt_origin(const struct gt *gt);

/* Name, or symbol of the function, for reports: reads the symbol table anew. */
void gt_name(const struct gt *gt, char *buf, size_t size);

/* Relaxed: a holder of a stale ticket may ask, too, and does nothing with the
 * answer. */
static inline uint8_t gt_kind(const struct gt *gt)
{
	return atomic_load_explicit(&gt->kind, memory_order_relaxed);
}

static inline void gt_set_kind(struct gt *gt, uint8_t kind)
{
	atomic_store_explicit(&gt->kind, kind, memory_order_relaxed);
}

static inline bool gt_has(const struct gt *gt, uint64_t flag)
{
	return atomic_load_explicit(&gt->id, memory_order_relaxed) & flag;
}

#endif
