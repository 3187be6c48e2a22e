/* SPDX-License-Identifier: MIT
 *
 * The explorer of weave.h: threads as contexts on stacks of their own, and one
 * list of decisions that is replayed and advanced.
 */
#include "weave.h"
#include "memory.h"

#include "arch/switch.h"
#include "sanitizer.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#define STACK_SIZE ((size_t)256 * 1024)
#define DECISIONS_MAX 4096
#define STEPS_MAX 1000
#define MAIN MODEL_THREADS /* the explorer's own context */

struct context {
	void *sp, *fake, *fiber;
	char *stack;
	size_t size;
};

static struct context contexts[MODEL_THREADS + 1];
static unsigned current = MAIN;
static const struct model *model;

static struct thread {
	bool ended;
	bool (*ready)(const void *); /* what it waits for, or NULL */
	const void *argument;
} threads[MODEL_THREADS];

static unsigned preemptions, delays; /* left in this execution */
static uint64_t version;             /* of memory */
static const char *failure;

static struct {
	uint8_t taken, count;
} decisions[DECISIONS_MAX];
static unsigned decisions_count, decisions_replayed;

static struct step {
	unsigned thread;
	const char *what, *where;
	const volatile void *p;
} steps[STEPS_MAX];
static unsigned steps_count;

static struct model_suite *suites;

void model_enroll(struct model_suite *suite)
{
	suite->next = suites;
	suites = suite;
}

struct model_suite *model_suites(void)
{
	return suites;
}

/* ---- contexts --------------------------------------------------------------- */

static void switch_to(unsigned to)
{
	struct context *from = &contexts[current], *next = &contexts[to];

	current = to;
	if (to != MAIN && model->on_switch)
		model->on_switch(to);
	sanitizer_leave(&from->fake, next->stack, next->size, next->fiber, 0);
	switch_stacks(&from->sp, next->sp);
	sanitizer_arrive(from->fake);
}

unsigned model_self(void)
{
	return current;
}

bool explore_running(void)
{
	return current != MAIN;
}

void model_fail(const char *what)
{
	if (!failure)
		failure = what;
	if (explore_running())
		switch_to(MAIN); /* for good */
}

/* ---- decisions -------------------------------------------------------------- */

unsigned model_choose(unsigned n)
{
	if (n == 1)
		return 0;
	if (decisions_replayed == decisions_count) {
		if (decisions_count == DECISIONS_MAX)
			model_fail("more decisions than there is room for");
		decisions[decisions_count].taken = 0;
		decisions[decisions_count++].count = (uint8_t)n;
	}
	return decisions[decisions_replayed++].taken;
}

/* The next schedule: the last decision that can be taken otherwise is. */
static bool advance(void)
{
	while (decisions_count > 0) {
		if (++decisions[decisions_count - 1].taken < decisions[decisions_count - 1].count)
			return true;
		decisions_count--;
	}
	return false;
}

static bool enabled(unsigned i)
{
	return i < model->threads && !threads[i].ended &&
	       (!threads[i].ready || threads[i].ready(threads[i].argument));
}

static bool all_ended(void)
{
	for (unsigned i = 0; i < model->threads; i++)
		if (!threads[i].ended)
			return false;
	return true;
}

/* What can happen next: thread i goes on (i), or a store of it becomes visible
 * (i + MODEL_THREADS).  The thread that runs comes first.
 *
 * When a store becomes visible matters to the others only: just before one of
 * them goes on is early enough.  So none whose stores have just become visible
 * (drained) goes on next, and none become visible if only their thread can. */
static unsigned list_next(uint8_t *list, unsigned drained)
{
	bool running = explore_running() && enabled(current);
	bool others = !running || preemptions > 0;
	unsigned n = 0, can = 0;

	if (running && !(drained & 1u << current))
		list[n++] = (uint8_t)current;
	for (unsigned i = 0; others && i < model->threads; i++)
		if (i != current && enabled(i) && !(drained & 1u << i))
			list[n++] = (uint8_t)i;
	for (unsigned i = 0; i < n; i++)
		can |= 1u << list[i];
	for (unsigned i = 0; i < model->threads; i++)
		if (memory_pending(i) && (!can || can & ~(1u << i)))
			list[n++] = (uint8_t)(i + MODEL_THREADS);
	return n;
}

/* Lets somebody go on; returns when the caller shall. */
static void reschedule(void)
{
	uint8_t list[2 * MODEL_THREADS];
	unsigned drained = 0;

	for (;;) {
		unsigned n = list_next(list, drained);
		if (n == 0 && drained) {
			drained = 0;
			continue;
		}
		if (n == 0) {
			if (!all_ended())
				model_fail("all wait for each other");
			if (explore_running())
				switch_to(MAIN);
			return;
		}
		unsigned next = list[model_choose(n)];
		if (next >= MODEL_THREADS) {
			memory_drain(next - MODEL_THREADS);
			drained |= 1u << (next - MODEL_THREADS);
			continue;
		}
		if (next != current) {
			if (explore_running() && enabled(current))
				preemptions--;
			switch_to(next);
		}
		return;
	}
}

void explore_point(const char *what, const char *where, const volatile void *p)
{
	if (!explore_running())
		return;
	reschedule();
	if (steps_count == STEPS_MAX)
		model_fail("does not end");
	steps[steps_count++] = (struct step){ current, what, where, p };
}

void explore_changed(void)
{
	version++;
}

bool explore_delays(void)
{
	if (!explore_running() || delays == 0 || model_choose(2) == 0)
		return false;
	delays--;
	return true;
}

void model_wait(bool (*ready)(const void *), const void *argument)
{
	struct thread *self = &threads[current];

	if (ready(argument))
		return;
	self->ready = ready;
	self->argument = argument;
	reschedule();
	self->ready = NULL;
}

static bool changed(const void *since)
{
	return version != *(const uint64_t *)since;
}

void model_pause(void)
{
	uint64_t since = version;

	model_wait(changed, &since);
}

/* ---- executions ------------------------------------------------------------- */

static void thread_main(void *argument)
{
	sanitizer_arrive(NULL);
	for (;;) {
		model->thread(current);
		threads[current].ended = true;
		reschedule();
	}
	(void)argument;
}

static void contexts_open(void)
{
	for (unsigned i = 0; i < model->threads; i++) {
		struct context *c = &contexts[i];
		c->size = STACK_SIZE;
		c->stack = mmap(NULL, STACK_SIZE, PROT_READ | PROT_WRITE,
		                MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (c->stack == MAP_FAILED)
			abort();
		c->sp = switch_prepare(c->stack + STACK_SIZE, thread_main, NULL);
		c->fiber = sanitizer_fiber_new();
	}
	pthread_attr_t attr;
	void *bottom;
	if (pthread_getattr_np(pthread_self(), &attr) == 0) {
		pthread_attr_getstack(&attr, &bottom, &contexts[MAIN].size);
		contexts[MAIN].stack = bottom;
		pthread_attr_destroy(&attr);
	}
	contexts[MAIN].fiber = sanitizer_fiber_self();
}

static void contexts_close(void)
{
	for (unsigned i = 0; i < model->threads; i++) {
		munmap(contexts[i].stack, STACK_SIZE);
		sanitizer_fiber_free(contexts[i].fiber);
	}
}

static void execute(unsigned bound)
{
	for (unsigned i = 0; i < MODEL_THREADS; i++)
		threads[i] = (struct thread){ false, NULL, NULL };
	preemptions = bound;
	delays = model->delays;
	decisions_replayed = 0;
	steps_count = 0;
	memory_reset();
	model->setup();
	reschedule();
	if (failure)
		return;
	for (unsigned i = 0; i < model->threads; i++)
		while (memory_pending(i))
			memory_drain(i);
	model->check();
}

static void print_trace(void)
{
	printf("%s: %s\n", model->name, failure);
	for (unsigned i = 0; i < steps_count; i++)
		printf("  thread %u: %-8s %p at %s\n", steps[i].thread, steps[i].what,
		       (const void *)steps[i].p, steps[i].where);
}

struct model_result model_explore(const struct model *m, unsigned looser, bool trace)
{
	unsigned bound = m->preemptions > looser ? m->preemptions - looser : 1;
	struct model_result result = { 0, bound, NULL };

	model = m;
	failure = NULL;
	decisions_count = 0;
	contexts_open();
	do {
		execute(bound);
		result.executions++;
	} while (!failure && advance());
	contexts_close();
	if (failure && trace)
		print_trace();
	result.failure = failure;
	return result;
}
