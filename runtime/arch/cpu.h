/* SPDX-License-Identifier: MIT
 *
 * Small things the CPU is asked for: cache line size, a pause, spinning.
 */
#ifndef ARCH_CPU_H
#define ARCH_CPU_H

#include <stddef.h>

#define CACHE_LINE 64
#define cache_aligned _Alignas(CACHE_LINE)

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

/* On extern data of the hot paths: without it position-independent code goes
 * through the global offset table. */
#define internal __attribute__((visibility("hidden")))

/* Never inlined, nor copied for constant arguments (gcc). */
#if defined(__clang__)
#define never_inline __attribute__((noinline))
#else
#define never_inline __attribute__((noinline, noclone))
#endif

static inline void cpu_pause(void)
{
#if defined(__x86_64__)
	__builtin_ia32_pause();
#endif
}

/* Copies what the sanitizers must not look at: other threads' frames. */
static inline void cpu_copy(void *to, const void *from, size_t size)
{
#if defined(__x86_64__)
	__asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(size) : : "memory");
#endif
}

/* Writes to a byte what is there, at once; likewise. */
static inline void cpu_touch(void *at)
{
#if defined(__x86_64__)
	__asm__ volatile("lock; orb $0, %0" : "+m"(*(char *)at) : : "memory", "cc");
#endif
}

#if defined(__SANITIZE_THREAD__)
#define GREEN_TSAN 1
#endif
#if defined(__SANITIZE_ADDRESS__)
#define GREEN_ASAN 1
#endif
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define GREEN_TSAN 1
#endif
#if __has_feature(address_sanitizer)
#define GREEN_ASAN 1
#endif
#endif

/* Functions that the sanitizers shall not look at: readers of what its owner writes
 * meanwhile, for reports; readers of frames that are not theirs, where a frame pointer
 * of code without frame pointers may be any address. */
#define RACY __attribute__((no_sanitize("thread"), noinline))
#define NO_ASAN __attribute__((no_sanitize("address"), noinline))

#endif
