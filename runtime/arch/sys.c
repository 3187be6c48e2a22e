/* SPDX-License-Identifier: MIT
 *
 * The door to the kernel: the default entries of struct sys_table, and memory.
 */
#include "arch/sys.h"
#include "arch/compat.h"
#include "arch/cpu.h"

#include <errno.h>
#include <linux/futex.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#if defined(__x86_64__)
long sys_raw(long nr, long a, long b, long c, long d, long e, long f)
{
	long result;
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;

	__asm__ volatile("syscall"
	                 : "=a"(result)
	                 : "0"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
	                 : "rcx", "r11", "memory");
	return result;
}
#else
#error "libgreen runs on x86-64 only: add runtime/arch/ for this CPU"
#endif

static int64_t clock_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts); /* vDSO; cannot fail */
	return ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

static uint64_t seed_from_clock(void)
{
	static _Atomic uint64_t salt;

	return (uint64_t)clock_now() * 0x9e3779b97f4a7c15u + ++salt * 0xbf58476d1ce4e5b9u;
}

#if defined(GREEN_TSAN)
/* TSan remembers who made a descriptor until libc closes it. */
static long call_tsan(long nr, long a, long b, long c, long d, long e, long f)
{
	if (nr != SYS_close)
		return sys_raw(nr, a, b, c, d, e, f);
	return close((int)a) < 0 ? -errno : 0;
}
#else
#define call_tsan sys_raw
#endif

struct sys_table sys = { call_tsan, clock_now, seed_from_clock };
long (*sys_fault_hook)(long nr);

static void *map(size_t size, int protection, int flags, long *error)
{
#if defined(GREEN_TSAN) || defined(GREEN_ASAN)
	long fault = sys_fault(SYS_mmap);
	if (fault) {
		*error = fault;
		return NULL;
	}
	void *address = mmap(NULL, size, protection, flags, -1, 0);
	if (address == MAP_FAILED) {
		*error = -errno;
		return NULL;
	}
	return address;
#else
	long r = sys6(SYS_mmap, NULL, size, protection, flags, -1, 0);
	if (r < 0 && r > -4096) {
		*error = r;
		return NULL;
	}
	return (void *)r;
#endif
}

/* Where mlockall(MCL_FUTURE) and RLIMIT_MEMLOCK forbid a large mapping: a small
 * one, no longer locked, may grow. */
static void *map_by_growth(size_t size, int flags, long *error)
{
	const size_t page = 4096;
	void *small = map(page, PROT_NONE, flags, error);

	if (!small)
		return NULL;
	sys2(SYS_munlock, small, page);
	long r = sys4(SYS_mremap, small, page, size, MREMAP_MAYMOVE);
	if (r < 0 && r > -4096) {
		*error = r;
		sys_unmap(small, page);
		return NULL;
	}
	return (void *)r;
}

/* Addresses only.  After mlockall(MCL_FUTURE) the kernel would fill a mapping
 * with pages at once, a terabyte of them: but not while it is inaccessible, and
 * not when it is no longer locked by then. */
static void *reserve(size_t size, int flags, long *error)
{
	void *address = map(size, PROT_NONE, flags | MAP_NORESERVE, error);

	if (!address && *error == -EAGAIN)
		address = map_by_growth(size, flags | MAP_NORESERVE, error);
	if (!address)
		return NULL;
	sys2(SYS_munlock, address, size);
	long r = sys3(SYS_mprotect, address, size, PROT_READ | PROT_WRITE);
	if (r < 0) {
		*error = r;
		sys_unmap(address, size);
		return NULL;
	}
	return address;
}

void *sys_map(size_t size, unsigned flags, long *error)
{
	int mmap_flags = MAP_PRIVATE | MAP_ANONYMOUS | (flags & SYS_MAP_STACK ? MAP_STACK : 0);

	if (flags & SYS_MAP_NORESERVE)
		return reserve(size, mmap_flags, error);
	return map(size, PROT_READ | PROT_WRITE, mmap_flags, error);
}

void sys_unmap(void *address, size_t size)
{
	if (!address)
		return;
#if defined(GREEN_TSAN) || defined(GREEN_ASAN)
	munmap(address, size);
#else
	sys2(SYS_munmap, address, size);
#endif
}

void sys_name(void *address, size_t size, const char *name)
{
	sys5(SYS_prctl, PR_SET_VMA, PR_SET_VMA_ANON_NAME, address, size, name);
}

long sys_futex_wait(const uint32_t *word, uint32_t value, int64_t deadline_ns)
{
	struct timespec ts = { .tv_sec = deadline_ns / 1000000000,
		               .tv_nsec = deadline_ns % 1000000000 };

	/* WAIT_BITSET takes an absolute CLOCK_MONOTONIC time. */
	return sys6(SYS_futex, word, FUTEX_WAIT_BITSET_PRIVATE, value,
	            deadline_ns == INT64_MAX ? NULL : &ts, NULL, FUTEX_BITSET_MATCH_ANY);
}

long sys_futex_wake(const uint32_t *word, int count)
{
	return sys3(SYS_futex, word, FUTEX_WAKE_PRIVATE, count);
}
