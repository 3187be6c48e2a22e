/* SPDX-License-Identifier: MIT
 *
 * The cheapest clock of the CPU.  Whether it can be trusted, trace.c finds out.
 */
#ifndef ARCH_CLOCK_H
#define ARCH_CLOCK_H

#include <stdbool.h>
#include <stdint.h>

/* Not ordered against other instructions: a few nanoseconds do not matter here. */
static inline uint64_t cpu_ticks(void)
{
#if defined(__x86_64__)
	return __builtin_ia32_rdtsc();
#else
	return 0;
#endif
}

/* Does it tick at one rate in all states of the CPU?  (Whether it is the same on all
 * CPUs, only the kernel knows.) */
static inline bool cpu_ticks_evenly(void)
{
#if defined(__x86_64__)
	uint32_t a = 0x80000007u, b, c, d;

	__asm__("cpuid" : "+a"(a), "=b"(b), "=c"(c), "=d"(d));
	return d & 1u << 8;
#else
	return false;
#endif
}

#endif
