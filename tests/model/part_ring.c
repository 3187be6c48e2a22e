/* SPDX-License-Identifier: MIT
 *
 * The ring: one owner and two thieves that take half.  Each entry goes to
 * exactly one, who sees what was written before the push.
 */
#include "shim.h"

#include "ring.h"
#include <string.h>

/* Small, so that it fills and wraps. */
#undef RING_SIZE
#define RING_SIZE 4

#include "ring.c"

#define ITEMS 16
#define FENCE 0xfefefefeu

static struct ring r;
static struct model_cell content[ITEMS];
static unsigned taken[ITEMS], pushed;

static void push(void)
{
	model_write(&content[pushed + 1], pushed + 1);
	if (ring_push(&r, pushed + 1))
		pushed++;
}

static void account(uint32_t value)
{
	/* The owner may not have counted it yet. */
	model_check(value >= 1 && value <= pushed + 1);
	model_check(model_read(&content[value]) == value);
	taken[value]++;
	model_check(taken[value] == 1);
}

static void pop(void)
{
	uint32_t value = 0;

	if (ring_pop(&r, &value))
		account(value);
}

static void steal(void)
{
	uint32_t values[RING_SIZE / 2 + 8];

	for (unsigned i = 0; i < sizeof(values) / sizeof(*values); i++)
		values[i] = FENCE;
	unsigned n = ring_steal_half(&r, values);
	model_check(n <= RING_SIZE / 2);
	model_check(values[RING_SIZE / 2] == FENCE);
	for (unsigned i = 0; i < n; i++)
		account(values[i]);
}

static void begin(unsigned filled)
{
	pushed = 0;
	memset(taken, 0, sizeof(taken));
	memset(content, 0, sizeof(content));
	memset(&r, 0, sizeof(r));
	ring_init(&r, UINT32_MAX - 1);
	for (unsigned i = 0; i < filled; i++)
		push();
}

static void all_taken_once(void)
{
	uint32_t value;

	for (unsigned i = 0; i < ITEMS && ring_pop(&r, &value); i++)
		account(value);
	model_check(ring_count(&r) == 0);
	for (unsigned i = 1; i <= pushed; i++)
		model_check(taken[i] == 1);
}

static void setup_two(void)
{
	begin(2);
}

static void setup_full(void)
{
	begin(RING_SIZE);
}

static void come_and_go(unsigned number)
{
	if (number > 0) {
		steal();
		return;
	}
	push();
	pop();
	push();
}

/* Slots are written again while thieves look at them. */
static void wrap(unsigned number)
{
	if (number > 0) {
		steal();
		return;
	}
	push();
	pop();
	push();
	pop();
	push();
}

static const struct model models[] = {
	{ "push and pop", 3, 3, 0, setup_two, come_and_go, all_taken_once, NULL },
	{ "push and pop, store buffers", 2, 2, 2, setup_two, come_and_go, all_taken_once, NULL },
	{ "full", 3, 2, 0, setup_full, wrap, all_taken_once, NULL },
	{ "full, store buffers", 2, 2, 1, setup_full, wrap, all_taken_once, NULL },
};
MODEL_SUITE("ring", models)
