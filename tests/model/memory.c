/* SPDX-License-Identifier: MIT
 *
 * Memory as the explorer's threads see it: the store buffers of x86, and the
 * vector clocks that tell whether plain data is ordered by what C11 promises.
 */
#include "memory.h"

#include <stdatomic.h>
#include <string.h>

#define BUFFER_SIZE 16
#define LOCATIONS 512 /* power of two, several times what a model touches */

struct clock {
	uint32_t at[MODEL_THREADS];
};

/* What one who acquires an atomic object learns. */
static struct location {
	const volatile void *p;
	uint64_t execution;
	struct clock release;
} locations[LOCATIONS];
static uint64_t execution;

struct pending {
	volatile void *p;
	size_t size;
	uint64_t value;
	struct clock release;
};

static struct cpu {
	struct clock now;
	struct clock fenced;  /* at the last releasing fence */
	struct clock learned; /* by loads that did not acquire: for a fence */
	struct pending buffer[BUFFER_SIZE];
	unsigned first, count;
} cpus[MODEL_THREADS];

static struct cpu *self(void)
{
	return &cpus[model_self()];
}

static void join(struct clock *to, const struct clock *from)
{
	for (unsigned i = 0; i < MODEL_THREADS; i++)
		if (to->at[i] < from->at[i])
			to->at[i] = from->at[i];
}

static bool acquires(int order)
{
	return order == memory_order_acquire || order == memory_order_acq_rel ||
	       order == memory_order_seq_cst || order == memory_order_consume;
}

static bool releases(int order)
{
	return order == memory_order_release || order == memory_order_acq_rel ||
	       order == memory_order_seq_cst;
}

static struct location *location(const volatile void *p)
{
	size_t i = ((uintptr_t)p >> 2) * 0x9e3779b1u % LOCATIONS;

	for (;; i = (i + 1) % LOCATIONS) {
		if (locations[i].execution != execution) {
			memset(&locations[i], 0, sizeof(locations[i]));
			locations[i].p = p;
			locations[i].execution = execution;
		}
		if (locations[i].p == p)
			return &locations[i];
	}
}

void memory_reset(void)
{
	execution++;
	for (unsigned i = 0; i < MODEL_THREADS; i++) {
		memset(&cpus[i].now, 0, sizeof(cpus[i].now));
		memset(&cpus[i].fenced, 0, sizeof(cpus[i].fenced));
		memset(&cpus[i].learned, 0, sizeof(cpus[i].learned));
		cpus[i].now.at[i] = 1;
		cpus[i].count = 0;
	}
}

static uint64_t peek(const volatile void *p, size_t size)
{
	uint64_t value = 0;

	memcpy(&value, (const void *)p, size); /* little-endian */
	return value;
}

static void poke(volatile void *p, size_t size, uint64_t value)
{
	memcpy((void *)p, &value, size);
	explore_changed();
}

/* ---- store buffers ---------------------------------------------------------- */

bool memory_pending(unsigned thread)
{
	return cpus[thread].count > 0;
}

void memory_drain(unsigned thread)
{
	struct cpu *cpu = &cpus[thread];
	struct pending *s = &cpu->buffer[cpu->first];

	poke(s->p, s->size, s->value);
	location(s->p)->release = s->release;
	cpu->first = (cpu->first + 1) % BUFFER_SIZE;
	cpu->count--;
}

static void drain_all(void)
{
	while (memory_pending(model_self()))
		memory_drain(model_self());
}

static void hold_back(volatile void *p, size_t size, uint64_t value, const struct clock *release)
{
	struct cpu *cpu = self();

	if (cpu->count == BUFFER_SIZE)
		memory_drain(model_self());
	cpu->buffer[(cpu->first + cpu->count++) % BUFFER_SIZE] =
		(struct pending){ p, size, value, *release };
}

/* The newest store to p that only its own CPU sees. */
static const struct pending *own_store(const volatile void *p)
{
	const struct cpu *cpu = self();

	for (unsigned i = cpu->count; i-- > 0;)
		if (cpu->buffer[(cpu->first + i) % BUFFER_SIZE].p == p)
			return &cpu->buffer[(cpu->first + i) % BUFFER_SIZE];
	return NULL;
}

/* ---- operations ------------------------------------------------------------- */

static void learn(const struct clock *release, int order)
{
	join(acquires(order) ? &self()->now : &self()->learned, release);
}

/* What a store of the running thread tells those who acquire it. */
static struct clock tell(int order)
{
	struct clock told = releases(order) ? self()->now : self()->fenced;

	self()->now.at[model_self()]++;
	return told;
}

uint64_t model_load(const volatile void *p, size_t size, int order, const char *where)
{
	explore_point("load", where, p);
	if (!explore_running())
		return peek(p, size);
	const struct pending *own = own_store(p);
	if (own)
		return own->value;
	learn(&location(p)->release, order);
	return peek(p, size);
}

void model_store(volatile void *p, size_t size, uint64_t value, int order, const char *where)
{
	explore_point("store", where, p);
	if (!explore_running()) {
		poke(p, size, value);
		return;
	}
	struct clock release = tell(order);
	if (order == memory_order_seq_cst)
		drain_all();
	else if (memory_pending(model_self()) || explore_delays()) {
		hold_back(p, size, value, &release);
		return;
	}
	poke(p, size, value);
	location(p)->release = release;
}

static uint64_t result_of(enum model_op op, uint64_t old, uint64_t value)
{
	switch (op) {
	case MODEL_ADD:
		return old + value;
	case MODEL_SUB:
		return old - value;
	case MODEL_OR:
		return old | value;
	case MODEL_AND:
		return old & value;
	default:
		return value;
	}
}

/* The store of a read-modify-write: it carries on what the one before told. */
static void replace(volatile void *p, size_t size, uint64_t value, int order)
{
	learn(&location(p)->release, order);
	struct clock release = tell(order);
	join(&location(p)->release, &release);
	poke(p, size, value);
}

uint64_t model_modify(enum model_op op, volatile void *p, size_t size, uint64_t value, int order,
                      const char *where)
{
	explore_point("modify", where, p);
	if (explore_running())
		drain_all();
	uint64_t old = peek(p, size);
	if (explore_running())
		replace(p, size, result_of(op, old, value), order);
	else
		poke(p, size, result_of(op, old, value));
	return old;
}

bool model_exchange_if(volatile void *p, size_t size, void *expected, uint64_t value, int success,
                       int failure, const char *where)
{
	explore_point("exchange", where, p);
	if (explore_running())
		drain_all();
	uint64_t old = peek(p, size);
	bool equal = old == peek(expected, size);
	if (!equal)
		memcpy(expected, &old, size);
	if (!explore_running()) {
		if (equal)
			poke(p, size, value);
	} else if (equal) {
		replace(p, size, value, success);
	} else {
		learn(&location(p)->release, failure);
	}
	return equal;
}

void model_fence(int order, const char *where)
{
	explore_point("fence", where, NULL);
	if (!explore_running())
		return;
	if (order == memory_order_seq_cst)
		drain_all();
	if (acquires(order))
		join(&self()->now, &self()->learned);
	if (releases(order))
		self()->fenced = self()->now;
}

/* ---- plain data ------------------------------------------------------------- */

static void require_seen(const uint32_t *by, const char *race)
{
	for (unsigned i = 0; i < MODEL_THREADS; i++)
		if (i != model_self() && by[i] > self()->now.at[i])
			model_fail(race);
}

void model_write(struct model_cell *cell, uint64_t value)
{
	if (explore_running()) {
		require_seen(cell->wrote, "race: written, and the earlier write is not seen");
		require_seen(cell->read, "race: written while another may read");
		cell->wrote[model_self()] = self()->now.at[model_self()];
	} else {
		memset(cell, 0, sizeof(*cell));
	}
	cell->value = value;
}

uint64_t model_read(struct model_cell *cell)
{
	if (explore_running()) {
		require_seen(cell->wrote, "race: read, and the write is not seen");
		cell->read[model_self()] = self()->now.at[model_self()];
	}
	return cell->value;
}
