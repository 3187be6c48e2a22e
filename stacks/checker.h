/* SPDX-License-Identifier: MIT
 *
 * What the memory checkers are told about stacks: valgrind where they begin
 * and end, the address sanitizer that the frames of an ended thread are gone.
 * (Which stack is running is told around the switch, not here.)
 */
#ifndef STACKS_CHECKER_H
#define STACKS_CHECKER_H

#include "arch/cpu.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if __has_include(<valgrind/valgrind.h>)
#include <valgrind/valgrind.h>
#define CHECKER_VALGRIND 1
#endif

#ifdef GREEN_ASAN
#include <sanitizer/asan_interface.h>
#endif

/* Most slots of an arena that the checker can shadow; 0: any number. */
#if defined(GREEN_ASAN) || defined(GREEN_TSAN)
#define CHECKER_SLOTS_MAX ((size_t)1 << 16)
#else
#define CHECKER_SLOTS_MAX ((size_t)0)
#endif
/* May a touch of a stack be a fault that the process itself sees to?  The thread
 * sanitizer makes atomic accesses while it holds a lock of its own, which the
 * one who sees to it would wait for: no userfaultfd. */
#if defined(GREEN_TSAN)
#define CHECKER_ALLOWS_FAULTS false
#else
#define CHECKER_ALLOWS_FAULTS true
#endif
#define CHECKER_VALGRIND_SLOTS_MAX ((size_t)1 << 12)

static inline bool checker_is_valgrind(void)
{
#ifdef CHECKER_VALGRIND
	return RUNNING_ON_VALGRIND != 0;
#else
	return false;
#endif
}

/* Returns the name valgrind gave the stack. */
static inline unsigned checker_register(void *low, void *high)
{
#ifdef CHECKER_VALGRIND
	return VALGRIND_STACK_REGISTER(low, (char *)high - 1);
#else
	(void)low, (void)high;
	return 0;
#endif
}

static inline void checker_deregister(unsigned name)
{
#ifdef CHECKER_VALGRIND
	VALGRIND_STACK_DEREGISTER(name);
#else
	(void)name;
#endif
}

#ifdef GREEN_ASAN
/* Frames that were never returned from have left poison behind. */
static inline void checker_clean(void *low, size_t size)
{
	__asan_unpoison_memory_region(low, size);
}
#endif

#endif
