/* SPDX-License-Identifier: MIT
 *
 * Stacks: where green threads keep their frames.
 *
 * One arena (one mapping, two VMAs: used, never used) per stride class holds
 * all stacks of that class side by side:
 *
 *      low                                                        high
 *      | guard | usable .................... frames <- SP | colour |
 *      ^ slot base                                                 ^ slot end
 *
 * A slot that is given back goes to the caller's cache and keeps its pages
 * ("hot"); when the cache is full its coldest half loses them and goes back to
 * the arena, which hands out the lowest free slot first, so that memory in use
 * stays dense.
 *
 * What lies in the slots and below them is the rung of a ladder, tried at start:
 *   userfaultfd-kernel, userfaultfd
 *                  the arena is registered with userfaultfd (uffd.h has the
 *                  two modes); the guard is a page that is missing
 *   guard-install  MADV_GUARD_INSTALL: no VMA is split (Linux 6.13)
 *   mprotect       PROT_NONE pages, two VMAs each: only the first
 *                  STACK_MPROTECT_MAX slots, the rest is unguarded and says so
 *   none           the memory checker's own guards (valgrind)
 *
 * On the first two, slots are watched, and nothing appears in one by itself; where
 * guards can be installed, they are as on that rung until one of their chunk, or above,
 * shall hibernate (watch.h).  When a slot that is watched is started cold, its top page is copied
 * in and all below it is mapped to the kernel's page of zeroes: growing is then an ordinary write
 * fault, in user code and in system calls alike, that userfaultfd does not see.  Where there is
 * a handler, the zeroes may come later (later.h).  (Not one page of
 * the arena is marked as a guard: one such mark would keep the kernel from taking back the page
 * table of its 2 MiB.)
 *
 * Nothing here knows what a green thread is.  All calls may be made by any OS
 * thread; a cache belongs to one worker at a time.
 */
#ifndef STACKS_STACK_H
#define STACKS_STACK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A stack's name: class + 1 in the top two bits, slot below. 0 is "no stack". */
typedef uint32_t stack_id;
#define STACK_NONE 0u
#define STACK_LENT 1u /* somebody else's memory: nothing here knows where it lies */
#define STACK_ID_SHIFT 30

#define STACK_CLASSES 3 /* 64 KiB, 256 KiB, 1 MiB */
#define STACK_SIZE_MAX ((size_t)1 << 20)
#define STACK_GUARD_MAX ((size_t)48 << 10) /* leaves 16 KiB of the smallest class */
#define STACK_BARE_MAX 16
#define STACK_CACHE_MAX 256 /* hot slots per class and worker */

/* Stacks whose tops lie at the same place of their slots would share few cache
 * sets: the start is moved down by 0 to 31 lines. */
#define STACK_COLOUR_FACTOR 11u
#define STACK_COLOUR_MASK 31u
#define STACK_COLOUR_SHIFT 6

enum stack_rung {
	STACK_RUNG_USERFAULTFD_KERNEL,
	STACK_RUNG_USERFAULTFD,
	STACK_RUNG_GUARD_INSTALL,
	STACK_RUNG_MPROTECT,
	STACK_RUNG_NONE,
};

enum stack_scrub { STACK_SCRUB_NONE, STACK_SCRUB_DIRTY, STACK_SCRUB_ALWAYS }; /* scrub.h */

struct stacks_config {
	size_t guard_size;   /* bytes; 0: one page */
	size_t slots_max;    /* of the smallest class; 0: as many as can be reserved, <= 2^24 */
	unsigned caches_max; /* caches that will be used (workers); 0: 1024 */
	enum stack_scrub scrub;
	bool no_userfaultfd; /* imitate an older or stricter kernel */
	bool no_userfaultfd_kernel;
	bool no_write_protect;
	bool no_move;
	bool no_guard_install;
	bool no_mprotect;
	bool watch_later; /* slots are plain memory with a guard until one is to hibernate */
	bool or_never;    /* where that cannot be, no userfaultfd */
	/* The userfaultfd is the owner's to keep: moves it, returns its new number;
	 * closes it.  NULL: it stays where it is. */
	int (*keep_fd)(int fd);
	void (*drop_fd)(int fd);
};

static inline unsigned stack_class_of(stack_id stack)
{
	return (stack >> STACK_ID_SHIFT) - 1;
}

/* Does it lie in an arena? */
static inline bool stack_is_slot(stack_id stack)
{
	return stack >> STACK_ID_SHIFT != 0;
}

/* Hot slots of one worker, hottest last. Zero-initialised. */
struct stack_cache {
	struct stack_cache_class {
		_Atomic uint32_t count; /* written by the owner, read by stacks_used() */
		uint32_t limit;         /* 0: nothing is kept without a closer look */
		stack_id slots[STACK_CACHE_MAX];
		_Atomic uint32_t bare_count; /* as count: fetched, still without pages */
		stack_id bare[STACK_BARE_MAX];
	} class[STACK_CLASSES];
	bool listed, keeps;
	struct stack_cache *next; /* in the list of all caches */
};

/* Reserves the smallest class's arena and picks the rung; the others follow
 * when first needed.  0; -EINVAL for a guard that leaves less than 16 KiB of
 * the smallest class; -ENOMEM (RLIMIT_AS, RLIMIT_DATA: tries smaller arenas
 * first, down to 64 slots of the smallest class). */
int stacks_init(const struct stacks_config *config);

/* Before and after stacks are used: the threads that see to missing pages, where
 * the rung has any.  0 or -errno. */
int stacks_start(void);
void stacks_stop(void);
unsigned stacks_threads(void); /* running now */

/* Are they still running?  0; 1: one had been ended and has been replaced;
 * -EOWNERDEAD: it could not be.  One caller at a time. */
int stacks_watch(void);

/* In a forked child that runs on this stack (or none): the arenas are no longer
 * watched there.  Watches them again, or at least guards that stack. */
void stacks_forked(stack_id running);

/* Somebody touched a missing page of an arena (SIGBUS, BUS_ADRERR): true when
 * it is there now and the touch shall be repeated.  Async-signal-safe. */
bool stack_touched(void *address);

/* If address lies in a guard that is a missing page: makes that page deadly for
 * good, by SIGSEGV.  Async-signal-safe. */
bool stack_guard_deadly(void *address);

/* The guard of this stack has been touched by who may not be stopped there: makes
 * that page part of the stack.  False: it is the lowest, which stays a guard, or
 * the kernel refused.  Async-signal-safe. */
bool stack_guard_open(stack_id stack, void *address);

/* Who ran on the stack is gone, and somebody begins anew at its top: the guard is
 * whole again, the memory below sp has been given back. */
void stack_reclaim(stack_id stack, const void *sp);

/* Unmaps everything; no stack is in use and all caches have been flushed. */
void stacks_fini(void);

/* The class for a stack of size bytes, guard included; -EINVAL above
 * STACK_SIZE_MAX.  0 means the smallest. */
int stack_class(size_t size);
size_t stack_class_size(unsigned class); /* stride, bytes */
size_t stacks_capacity(unsigned class);  /* stacks that can be promised; 0: not mapped yet */

/* Counts one more stack of the class as promised: stack_acquire() for it will
 * then find a slot.  0, or -ENOMEM when the class is full. */
int stack_reserve(unsigned class);
void stack_unreserve(unsigned class);

/* A stack of the class: hot from the cache, else the lowest free slot, with
 * its guard installed.  0, or 1: it holds nothing but zeroes; -ENOMEM from the kernel
 * (the guard could not be installed) or when nothing was reserved. */
int stack_acquire(struct stack_cache *cache, unsigned class, stack_id *stack);
/* The same, and it holds nothing but zeroes: 1 or -ENOMEM. */
int stack_acquire_fresh(struct stack_cache *cache, unsigned class, stack_id *stack);

/* How far from its top down the stack is not zero: bytes.  The caller runs on it, or
 * nobody does. */
size_t stack_depth(stack_id stack);

/* Gives it back, scrubbed if that was asked for; nobody may be running on it.  Does
 * not unreserve. */
void stack_release(struct stack_cache *cache, stack_id stack);

/* Empties a cache into the arenas (a worker that ends); it may be used again. */
void stack_cache_flush(struct stack_cache *cache);

void *stack_top(stack_id stack);     /* highest address for frames, coloured, 16-aligned */
void *stack_bottom(stack_id stack);  /* lowest usable address, above the guard */
size_t stack_usable(stack_id stack); /* bytes between them */

/* A pinned stack has memory that the kernel was handed a pointer to (a buffer,
 * an iovec, an address): its pages must stay.  Counts; pairs nest.  Any thread's
 * (lend.h); the pin of another may outlast the stack's use.  Nothing on one that is
 * lent. */
void stack_pin(stack_id stack);
void stack_unpin(stack_id stack);
/* All stacks, also those not in use yet. */
void stack_pin_all(void);
void stack_unpin_all(void);
/* For who has marked the stack as about to lose its pages: if this is false,
 * whoever pins it from now on sees the mark after that. */
bool stack_is_pinned(stack_id stack);

/* What an address in an arena belongs to; async-signal-safe. */
enum stack_part { STACK_PART_NONE, STACK_PART_GUARD, STACK_PART_FRAMES };
enum stack_part stack_find(const void *address, stack_id *stack);

enum stack_rung stacks_rung(void);
const char *stacks_rung_name(void);
const char *stacks_reason(void); /* why not a better one; "" */
bool stacks_can_hibernate(void);
bool stacks_install_guards(void); /* for good, or until slots are watched: watch.h */
bool stacks_can_move(void);       /* also those on which there may be what the kernel holds */
size_t stacks_used(void);         /* acquired and not released, all classes */
size_t stacks_unguarded(void);    /* slots handed out so far that have no guard */
size_t stacks_guard_size(void);

#endif
