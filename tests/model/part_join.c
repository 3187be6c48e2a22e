/* SPDX-License-Identifier: MIT
 *
 * The end of a green thread against those who join or detach it: exactly one
 * gets its result and lets the descriptor go, once; a joiner that gives up and
 * comes back is not forgotten.
 */
#include "shim.h"

#include "park.c"
#include "spawn.c"
#include "thread.c"

struct runtime rt;
struct sys_table sys;
/* 0 is nobody, 1 to 3 are the threads of the model, the last one ends. */
static struct gt descriptors[MODEL_THREADS + 1];
static struct gt *const target = &descriptors[MODEL_THREADS];
static struct worker worker;

#define GEN ((uint64_t)5 << GT_INDEX_BITS)
#define NEXT_GEN (GEN + ((uint64_t)1 << GT_INDEX_BITS))
#define HANDLE (GEN | MODEL_THREADS)

static unsigned readied[MODEL_THREADS + 1], freed, won, answers;
static struct model_cell outcome; /* what the thread's function has written */

/* ---- the world around ------------------------------------------------------- */

struct worker *worker_self(void)
{
	return &worker;
}

struct gt *park_self(void)
{
	return &descriptors[model_self() + 1];
}

static bool is_ready(const void *index)
{
	return readied[*(const uint32_t *)index] > 0;
}

void sched_ready(struct gt *gt)
{
	readied[gt_index(gt)]++;
	model_check(readied[gt_index(gt)] == 1);
}

void sched_switch(struct gt *self, enum post post)
{
	uint32_t index = gt_index(self);

	model_check(post == POST_PARK);
	park_saved(self);
	model_wait(is_ready, &index);
	readied[index] = 0;
}

void sched_attention(struct gt *gt)
{
	(void)gt;
	model_fail("no operation is in flight here");
}

struct gt *gt_lookup(green_t handle)
{
	uint64_t id = atomic_load_explicit(&target->id, memory_order_acquire);

	return gt_gen(id) == gt_gen(handle) && (id & GT_LIVE) ? target : NULL;
}

/* It is taken for another thread at once. */
void gt_free(struct gt_cache *cache, struct gt *gt)
{
	(void)cache;
	model_check(gt == target);
	freed++;
	model_check(freed == 1);
	atomic_store_explicit(&gt->join, NEXT_GEN | GT_JOIN_NOBODY, memory_order_relaxed);
	atomic_store_explicit(&gt->id, NEXT_GEN | GT_LIVE, memory_order_release);
}

static void setup(void)
{
	memset(descriptors, 0, sizeof(descriptors));
	memset(&worker, 0, sizeof(worker));
	memset(&outcome, 0, sizeof(outcome));
	memset(readied, 0, sizeof(readied));
	gt_table = descriptors;
	for (unsigned i = 1; i <= MODEL_THREADS; i++) {
		atomic_init(&descriptors[i].id, GEN | GT_LIVE);
		atomic_init(&descriptors[i].join, GEN | GT_JOIN_NOBODY);
	}
	freed = won = answers = 0;
}

/* ---- who takes part ----------------------------------------------------------- */

static void end(void)
{
	model_write(&outcome, 7);
	target->arg = target;
	announce_end(&worker, target);
}

static void have(int r)
{
	model_check(r == 0 || r == -EINVAL || r == -ESRCH);
	won += r == 0;
	answers++;
}

static void join(void)
{
	void *result = NULL;
	int r = green_join(HANDLE, &result);

	have(r);
	if (r != 0)
		return;
	model_check(result == target);
	model_check(model_read(&outcome) == 7);
}

/* A deadline ends its wait now and then. */
static void join_in_the_end(void)
{
	int r;

	while ((r = green_join(HANDLE, NULL)) == -ETIMEDOUT)
		;
	have(r);
	model_check(r == 0);
}

static void detach(void)
{
	have(green_detach(HANDLE));
}

/* The deadline of thread 1, twice. */
static void expire(void)
{
	for (int i = 0; i < 2; i++) {
		uint64_t word = atomic_load_explicit(&descriptors[2].park, memory_order_acquire);
		park_expire(&descriptors[2], (uint32_t)(word >> PARK_SEQ_SHIFT));
	}
}

/* ---- scenes ------------------------------------------------------------------- */

static void joined(unsigned number)
{
	if (number == 0)
		end();
	else
		join();
}

static void joined_or_detached(unsigned number)
{
	if (number == 0)
		end();
	else if (number == 1)
		join();
	else
		detach();
}

static void detached(unsigned number)
{
	if (number == 0)
		end();
	else
		detach();
}

static void given_up(unsigned number)
{
	if (number == 0)
		end();
	else if (number == 1)
		join_in_the_end();
	else
		expire();
}

static void one_has_it(void)
{
	model_check(answers > 0 && won == 1);
	model_check(freed == 1);
	/* Nobody has written to the next life. */
	model_check(target->join == (NEXT_GEN | GT_JOIN_NOBODY));
}

static const struct model models[] = {
	{ "one joins", 2, 4, 0, setup, joined, one_has_it, NULL },
	{ "one joins, store buffers", 2, 2, 1, setup, joined, one_has_it, NULL },
	{ "two join", 3, 3, 0, setup, joined, one_has_it, NULL },
	{ "joined or detached", 3, 3, 0, setup, joined_or_detached, one_has_it, NULL },
	{ "two detach", 3, 3, 0, setup, detached, one_has_it, NULL },
	{ "given up and back", 3, 3, 0, setup, given_up, one_has_it, NULL },
};
MODEL_SUITE("join", models)
