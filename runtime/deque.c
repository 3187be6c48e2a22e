/* SPDX-License-Identifier: MIT
 *
 * The Chase-Lev deque of deque.h.
 */
#include "deque.h"
#include "arch/sys.h"

#include <errno.h>

#define DEQUE_FIRST 1024

static struct deque_array *array_new(uint64_t capacity)
{
	size_t bytes = sizeof(struct deque_array) + capacity * sizeof(uint32_t);
	long error;
	struct deque_array *a = sys_map(bytes, 0, &error);

	if (!a)
		return NULL;
	sys_name(a, bytes, "green queue");
	a->capacity = capacity;
	a->bytes = bytes;
	return a;
}

int deque_init(struct deque *d, uint64_t start)
{
	struct deque_array *a = array_new(DEQUE_FIRST);

	if (!a)
		return -ENOMEM;
	atomic_init(&d->top, start);
	atomic_init(&d->bottom, start);
	atomic_init(&d->array, a);
	return 0;
}

void deque_destroy(struct deque *d)
{
	struct deque_array *a = atomic_load_explicit(&d->array, memory_order_relaxed);

	while (a) {
		struct deque_array *older = a->older;
		sys_unmap(a, a->bytes);
		a = older;
	}
	atomic_store_explicit(&d->array, NULL, memory_order_relaxed);
}

static _Atomic uint32_t *slot_at(struct deque_array *a, uint64_t i)
{
	return &a->slot[i & (a->capacity - 1)];
}

static struct deque_array *deque_grow(struct deque *d, struct deque_array *a, uint64_t top,
                                      uint64_t bottom)
{
	struct deque_array *bigger = array_new(a->capacity * 2);

	if (!bigger)
		return NULL;
	for (uint64_t i = top; i != bottom; i++)
		atomic_store_explicit(slot_at(bigger, i),
		                      atomic_load_explicit(slot_at(a, i), memory_order_relaxed),
		                      memory_order_relaxed);
	bigger->older = a;
	/* Release pairs with the acquire in deque_steal(): a thief that sees the
	 * new array sees its slots. */
	atomic_store_explicit(&d->array, bigger, memory_order_release);
	return bigger;
}

int deque_push(struct deque *d, uint32_t value)
{
	uint64_t bottom = atomic_load_explicit(&d->bottom, memory_order_relaxed);
	/* Acquire pairs with the release of a thief's CAS: its slot may be reused. */
	uint64_t top = atomic_load_explicit(&d->top, memory_order_acquire);
	struct deque_array *a = atomic_load_explicit(&d->array, memory_order_relaxed);

	if (unlikely((int64_t)(bottom - top) >= (int64_t)a->capacity)) {
		a = deque_grow(d, a, top, bottom);
		if (!a)
			return -ENOMEM;
	}
	atomic_store_explicit(slot_at(a, bottom), value, memory_order_relaxed);
	/* Release pairs with the acquire of bottom in deque_steal(): who sees the
	 * index sees the slot, and the descriptor it names. */
	atomic_store_explicit(&d->bottom, bottom + 1, memory_order_release);
	return 0;
}

bool deque_pop(struct deque *d, uint32_t *value)
{
	uint64_t bottom = atomic_load_explicit(&d->bottom, memory_order_relaxed);

	/* Empty for sure: only the owner adds.  Saves the exchange below. */
	if ((int64_t)(bottom - atomic_load_explicit(&d->top, memory_order_relaxed)) <= 0)
		return false;
	bottom--;
	struct deque_array *a = atomic_load_explicit(&d->array, memory_order_relaxed);
	/* The new bottom must be visible before top is read, or owner and thief
	 * could both take the last entry: one sequentially consistent
	 * read-modify-write against the thief's load of bottom after its load of
	 * top (both sequentially consistent). */
	atomic_exchange_explicit(&d->bottom, bottom, memory_order_seq_cst);
	uint64_t top = atomic_load_explicit(&d->top, memory_order_seq_cst);

	if ((int64_t)(bottom - top) < 0) {
		atomic_store_explicit(&d->bottom, bottom + 1, memory_order_release);
		return false;
	}
	*value = atomic_load_explicit(slot_at(a, bottom), memory_order_relaxed);
	if (bottom != top)
		return true;
	/* The last one: whoever moves top has it. */
	bool won =
		atomic_compare_exchange_strong_explicit(&d->top, &top, top + 1,
	                                                memory_order_seq_cst, memory_order_relaxed);
	atomic_store_explicit(&d->bottom, bottom + 1, memory_order_release);
	return won;
}

bool deque_steal(struct deque *d, uint32_t *value, bool *raced)
{
	uint64_t top = atomic_load_explicit(&d->top, memory_order_seq_cst);
	uint64_t bottom = atomic_load_explicit(&d->bottom, memory_order_seq_cst);

	*raced = false;
	if ((int64_t)(bottom - top) <= 0)
		return false;
	/* Acquire pairs with the release in deque_grow(). */
	struct deque_array *a = atomic_load_explicit(&d->array, memory_order_acquire);
	*value = atomic_load_explicit(slot_at(a, top), memory_order_relaxed);
	/* Also releases the slot to the owner's next deque_push() around. */
	if (atomic_compare_exchange_strong_explicit(&d->top, &top, top + 1, memory_order_seq_cst,
	                                            memory_order_relaxed))
		return true;
	*raced = true;
	return false;
}
