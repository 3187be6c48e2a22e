/* SPDX-License-Identifier: MIT
 *
 * A bounded explorer of interleavings, with store buffers and race detection.
 *
 * A model is up to four threads of real runtime code, compiled against
 * shim.h: each atomic operation becomes a call of this explorer, which may
 * let another thread go on there.  It runs the model again and again, depth
 * first over all decisions, until no schedule within the bounds is left.
 *
 * Bounds: how often a thread may be interrupted that could go on (preemptions;
 * a thread that waits or ends gives way for free), and how many stores may be
 * held back in the store buffer of their CPU (delays), with those after them.
 *
 * Memory: values are sequentially consistent but for the store buffers, which
 * behave as those of x86 (TSO): first in first out, seen early by their own CPU
 * only, emptied by read-modify-writes, sequentially consistent stores and
 * fences.  What C11 asks for beyond that is tested through plain data: a
 * model_cell is checked by vector clocks, so that an acquire or a release that
 * is missing shows as a race.  The rest of C11 (old values from a cache, failures
 * of a weak compare-and-swap for no reason) is not modelled.
 */
#ifndef WEAVE_H
#define WEAVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MODEL_THREADS 4

struct model {
	const char *name;
	unsigned threads;
	unsigned preemptions;
	unsigned delays;
	void (*setup)(void); /* before each execution */
	void (*thread)(unsigned number);
	void (*check)(void);                /* after each execution */
	void (*on_switch)(unsigned number); /* or NULL */
};

struct model_suite {
	const char *part;   /* of the runtime */
	const char *mutant; /* NULL: the code as it is */
	const struct model *models;
	size_t count;
	struct model_suite *next;
};

/* To be called by constructors; the list is in no particular order. */
void model_enroll(struct model_suite *suite);
struct model_suite *model_suites(void);

#if !defined(MODEL_MUTANT)
#define MODEL_MUTANT NULL
#endif

/* Defines the suite of a file: MODEL_SUITE("deque", models). */
#define MODEL_SUITE(name, array)                                                            \
	__attribute__((constructor)) static void enroll(void)                               \
	{                                                                                   \
		static struct model_suite suite = { name, MODEL_MUTANT, array,              \
			                            sizeof(array) / sizeof(*array), NULL }; \
		model_enroll(&suite);                                                       \
	}

struct model_result {
	uint64_t executions;
	unsigned preemptions; /* the bound it was run with */
	const char *failure;  /* NULL: none */
};

/* Explores all schedules, or until the first failure, whose steps are printed
 * if trace is set.  looser: preemptions to do without (a slow build). */
struct model_result model_explore(const struct model *model, unsigned looser, bool trace);

/* ---- for models ------------------------------------------------------------- */

/* Ends the exploration; returns only where no thread of the model runs (check). */
void model_fail(const char *what);
#define MODEL_TEXT_(x) #x
#define MODEL_TEXT(x) MODEL_TEXT_(x)
#define MODEL_HERE __FILE__ ":" MODEL_TEXT(__LINE__)
#define model_check(condition) ((condition) ? (void)0 : model_fail(MODEL_HERE ": not " #condition))

unsigned model_self(void);

/* One of n ways to go on; all are explored. */
unsigned model_choose(unsigned n);

/* Waits until ready(argument).  If nobody can go on any more, that is a failure.
 * ready() must look at the model's own data only. */
void model_wait(bool (*ready)(const void *argument), const void *argument);

/* In a loop that waits: until memory has changed. */
void model_pause(void);

/* Plain data of the runtime's users. */
struct model_cell {
	uint64_t value;
	uint32_t wrote[MODEL_THREADS], read[MODEL_THREADS];
};
void model_write(struct model_cell *cell, uint64_t value);
uint64_t model_read(struct model_cell *cell);

/* ---- for shim.h ---------------------------------------------------------- */

uint64_t model_load(const volatile void *p, size_t size, int order, const char *where);
void model_store(volatile void *p, size_t size, uint64_t value, int order, const char *where);
enum model_op { MODEL_EXCHANGE, MODEL_ADD, MODEL_SUB, MODEL_OR, MODEL_AND };
uint64_t model_modify(enum model_op op, volatile void *p, size_t size, uint64_t value, int order,
                      const char *where);
bool model_exchange_if(volatile void *p, size_t size, void *expected, uint64_t value, int success,
                       int failure, const char *where);
void model_fence(int order, const char *where);

#endif
