/* SPDX-License-Identifier: MIT
 *
 * The atomic operations of <stdatomic.h> that the runtime uses, as calls of
 * weave.h.  Included before the sources that are to be explored.
 */
#ifndef MODEL_SHIM_H
#define MODEL_SHIM_H

#include "arch/cpu.h"
#include "weave.h"

#include <stdatomic.h>

#undef atomic_init
#undef atomic_load_explicit
#undef atomic_store_explicit
#undef atomic_exchange_explicit
#undef atomic_compare_exchange_strong_explicit
#undef atomic_compare_exchange_weak_explicit
#undef atomic_fetch_add_explicit
#undef atomic_fetch_sub_explicit
#undef atomic_fetch_or_explicit
#undef atomic_fetch_and_explicit
#undef atomic_thread_fence

/* The type without _Atomic: that of the value. */
#define MODEL_TYPE(p) __typeof__((void)0, *(p))
/* A statement expression: its value may be left unused. */
#define MODEL_MODIFY(op, p, value, order)                                                        \
	__extension__({                                                                          \
		(MODEL_TYPE(p))                                                                  \
			model_modify(op, p, sizeof(*(p)), (uint64_t)(value), order, MODEL_HERE); \
	})

#define atomic_init(p, value) \
	model_store(p, sizeof(*(p)), (uint64_t)(value), memory_order_relaxed, MODEL_HERE)
#define atomic_load_explicit(p, order) \
	((MODEL_TYPE(p))model_load(p, sizeof(*(p)), order, MODEL_HERE))
#define atomic_store_explicit(p, value, order) \
	model_store(p, sizeof(*(p)), (uint64_t)(value), order, MODEL_HERE)
#define atomic_exchange_explicit(p, value, order) MODEL_MODIFY(MODEL_EXCHANGE, p, value, order)
#define atomic_fetch_add_explicit(p, value, order) MODEL_MODIFY(MODEL_ADD, p, value, order)
#define atomic_fetch_sub_explicit(p, value, order) MODEL_MODIFY(MODEL_SUB, p, value, order)
#define atomic_fetch_or_explicit(p, value, order) MODEL_MODIFY(MODEL_OR, p, value, order)
#define atomic_fetch_and_explicit(p, value, order) MODEL_MODIFY(MODEL_AND, p, value, order)
#define atomic_compare_exchange_strong_explicit(p, expected, value, success, failure)     \
	model_exchange_if(p, sizeof(*(p)), expected, (uint64_t)(value), success, failure, \
	                  MODEL_HERE)
#define atomic_compare_exchange_weak_explicit atomic_compare_exchange_strong_explicit
#define atomic_thread_fence(order) model_fence(order, MODEL_HERE)

#define cpu_pause model_pause

#endif
