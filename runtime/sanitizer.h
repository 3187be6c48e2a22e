/* SPDX-License-Identifier: MIT
 *
 * What AddressSanitizer and ThreadSanitizer must be told around a switch.
 * Used in one place, sched_jump().  Without a sanitizer all of it is nothing.
 *
 * TSan keeps a shadow call stack per "fiber": each context has one, made when
 * a green thread starts and destroyed when it has ended.  The functions must
 * be inlined: a wrapper's exit would pop the new fiber's shadow stack.
 */
#ifndef SANITIZER_H
#define SANITIZER_H

#include "arch/cpu.h"

#include <stddef.h>

#if defined(GREEN_ASAN)
#include <sanitizer/common_interface_defs.h>
#endif
#if defined(GREEN_TSAN)
#include <sanitizer/tsan_interface.h>
#endif

#define SANITIZER_INLINE static inline __attribute__((always_inline))

/* Leaving for a stack [bottom, bottom + size); *fake keeps what ASan returns.
 * gone: the present context will never run again. */
SANITIZER_INLINE void sanitizer_leave(void **fake, const void *bottom, size_t size, void *fiber,
                                      int gone)
{
	(void)fake, (void)bottom, (void)size, (void)fiber, (void)gone;
#if defined(GREEN_ASAN)
	__sanitizer_start_switch_fiber(gone ? NULL : fake, bottom, size);
#endif
#if defined(GREEN_TSAN)
	__tsan_switch_to_fiber(fiber, 0);
#endif
}

/* Arrived; fake is what was kept when this context left, NULL on first entry. */
SANITIZER_INLINE void sanitizer_arrive(void *fake)
{
	(void)fake;
#if defined(GREEN_ASAN)
	__sanitizer_finish_switch_fiber(fake, NULL, NULL);
#endif
}

SANITIZER_INLINE void *sanitizer_fiber_new(void)
{
#if defined(GREEN_TSAN)
	return __tsan_create_fiber(0);
#else
	return NULL;
#endif
}

SANITIZER_INLINE void *sanitizer_fiber_self(void)
{
#if defined(GREEN_TSAN)
	return __tsan_get_current_fiber();
#else
	return NULL;
#endif
}

SANITIZER_INLINE void sanitizer_fiber_free(void *fiber)
{
	(void)fiber;
#if defined(GREEN_TSAN)
	if (fiber)
		__tsan_destroy_fiber(fiber);
#endif
}

#endif
