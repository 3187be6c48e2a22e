/* SPDX-License-Identifier: MIT
 *
 * The deque: one owner and two thieves.  Each entry goes to exactly one, who
 * sees what was written before the push.
 */
#include "shim.h"

#include "arch/sys.h"
#include <string.h>

/* Memory of one execution. */
static char arena[3 * 4096] __attribute__((aligned(64)));
static size_t arena_used;

static void *arena_map(size_t bytes)
{
	void *p = arena + arena_used;

	arena_used += (bytes + 63) / 64 * 64;
	return memset(p, 0, bytes);
}
#define sys_map(bytes, flags, error) ((void)(error), arena_map(bytes))
#define sys_unmap(p, bytes) ((void)(p), (void)(bytes))
#define sys_name(p, bytes, name) ((void)(p), (void)(bytes))

#include "deque.c"

#define ITEMS 8

static struct deque d;
static struct model_cell content[ITEMS]; /* what an entry stands for */
static unsigned taken[ITEMS], pushed;

static void push(void)
{
	pushed++;
	model_write(&content[pushed], pushed);
	model_check(deque_push(&d, pushed) == 0);
}

static void account(uint32_t value)
{
	model_check(value >= 1 && value <= pushed);
	model_check(model_read(&content[value]) == value);
	taken[value]++;
	model_check(taken[value] == 1);
}

static void pop(void)
{
	uint32_t value = 0;

	if (deque_pop(&d, &value))
		account(value);
}

static void steal(void)
{
	uint32_t values[2] = { 0, 0 }; /* a mutant takes two */
	bool raced;

	if (!deque_steal(&d, values, &raced))
		return;
	account(values[0]);
	if (values[1])
		account(values[1]);
}

/* Room for two, indices about to wrap. */
static void begin(unsigned filled)
{
	pushed = 0;
	arena_used = 0;
	memset(taken, 0, sizeof(taken));
	memset(content, 0, sizeof(content));
	deque_init(&d, UINT64_MAX - 1);
	arena_used = 0;
	atomic_init(&d.array, array_new(2));
	for (unsigned i = 0; i < filled; i++)
		push();
}

static void all_taken_once(void)
{
	uint32_t value;
	bool raced;

	for (unsigned i = 0; i < ITEMS && deque_steal(&d, &value, &raced); i++)
		account(value);
	model_check(deque_count(&d) == 0);
	for (unsigned i = 1; i <= pushed; i++)
		model_check(taken[i] == 1);
}

static void setup_empty(void)
{
	begin(0);
}

static void setup_one(void)
{
	begin(1);
}

static void setup_full(void)
{
	begin(2);
}

/* For the last entry, again and again. */
static void fight(unsigned number)
{
	if (number > 0) {
		steal();
		return;
	}
	pop();
	push();
	pop();
}

static void come_and_go(unsigned number)
{
	if (number > 0) {
		steal();
		return;
	}
	push();
	push();
	pop();
	pop();
}

static void grow(unsigned number)
{
	if (number == 0) {
		push();
		pop();
		pop();
	} else {
		steal();
		if (number == 1)
			steal();
	}
}

/* The second one is taken without a CAS by the owner. */
static void race_for_two(unsigned number)
{
	if (number > 0) {
		steal();
		steal();
		return;
	}
	pop();
	pop();
}

static const struct model models[] = {
	{ "last entry", 3, 3, 0, setup_one, fight, all_taken_once, NULL },
	{ "last entry, store buffers", 2, 2, 1, setup_one, fight, all_taken_once, NULL },
	{ "two entries", 3, 2, 0, setup_full, race_for_two, all_taken_once, NULL },
	{ "two entries, store buffers", 2, 3, 1, setup_full, race_for_two, all_taken_once, NULL },
	{ "push and pop", 3, 2, 0, setup_empty, come_and_go, all_taken_once, NULL },
	{ "push and pop, store buffers", 2, 2, 1, setup_empty, come_and_go, all_taken_once, NULL },
	{ "grow", 3, 2, 0, setup_full, grow, all_taken_once, NULL },
	{ "grow, store buffers", 2, 1, 1, setup_full, grow, all_taken_once, NULL },
};
MODEL_SUITE("deque", models)
