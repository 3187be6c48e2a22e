/* SPDX-License-Identifier: MIT
 *
 * The two segment bases that user space may set: FS, through which all code reaches
 * its thread-local storage, and GS, which nobody uses.  Under interception a green
 * thread has an FS base of its own, and the worker is found through GS.
 *
 * On x86-64 this takes FSGSBASE (Linux 5.9 and a CPU from 2012): ask base_usable().
 */
#ifndef ARCH_BASE_H
#define ARCH_BASE_H

#include <stdbool.h>
#include <stddef.h>

/* Are they in use?  Set by interception alone, before the first worker starts: green
 * threads have thread-local storage of their own, workers are found through GS. */
extern __attribute__((visibility("hidden"))) bool own_tls;

#if defined(__x86_64__)
#include <sys/auxv.h>

#define BASE_HWCAP2_FSGSBASE (1u << 1)

static inline bool base_usable(void)
{
	return getauxval(AT_HWCAP2) & BASE_HWCAP2_FSGSBASE;
}

static inline void *base_fs(void)
{
	void *base;

	__asm__ volatile("rdfsbase %0" : "=r"(base) : : "memory");
	return base;
}

static inline void base_set_fs(void *base)
{
	__asm__ volatile("wrfsbase %0" : : "r"(base) : "memory");
}

static inline void *base_gs(void)
{
	void *base;

	__asm__ volatile("rdgsbase %0" : "=r"(base) : : "memory");
	return base;
}

static inline void base_set_gs(void *base)
{
	__asm__ volatile("wrgsbase %0" : : "r"(base) : "memory");
}
#else
static inline bool base_usable(void)
{
	return false;
}

static inline void *base_fs(void)
{
	return NULL;
}

static inline void base_set_fs(void *base)
{
	(void)base;
}

static inline void *base_gs(void)
{
	return NULL;
}

static inline void base_set_gs(void *base)
{
	(void)base;
}
#endif

/* Around a call into libc that enters the kernel for the runtime itself, pthread_create()
 * above all: without a worker it is intercepted no more than an OS thread's, and what it
 * starts inherits none.  Nothing of the runtime may be called in between. */
static inline void *bypass_begin(void)
{
	void *gs = own_tls ? base_gs() : NULL;

	if (own_tls)
		base_set_gs(NULL);
	return gs;
}

static inline void bypass_end(void *gs)
{
	if (own_tls)
		base_set_gs(gs);
}

#endif
