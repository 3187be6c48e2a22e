/* SPDX-License-Identifier: MIT
 *
 * The one door to the kernel: every system call of the runtime goes through
 * sys.call, every reading of the clock through sys.now, every random seed
 * through sys.seed.  Tests replace the entries to inject faults, to stop the
 * clock and to repeat a run.
 *
 * Results are the kernel's: >= 0 or -errno.  errno is never touched, nor any
 * other thread-local data: under interception the caller may be running on
 * somebody else's.  (Rings are made and registered through liburing, which
 * has system calls of its own; uring_setup.c asks sys_fault() before each.)
 */
#ifndef ARCH_SYS_H
#define ARCH_SYS_H

#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>

struct sys_table {
	long (*call)(long nr, long a, long b, long c, long d, long e, long f);
	int64_t (*now)(void);   /* nanoseconds of CLOCK_MONOTONIC */
	uint64_t (*seed)(void); /* for each worker's random numbers */
};

extern __attribute__((visibility("hidden"))) struct sys_table sys;

/* The real system call: one syscall instruction. */
long sys_raw(long nr, long a, long b, long c, long d, long e, long f);

/* Asks the door whether a call made through a library shall fail: 0, or the
 * -errno that a test injects.  NULL hook: always 0. */
extern __attribute__((visibility("hidden"))) long (*sys_fault_hook)(long nr);

static inline long sys_fault(long nr)
{
	return sys_fault_hook ? sys_fault_hook(nr) : 0;
}

#define SYS_ARG_(x) ((long)(x))
#define sys0(nr) sys.call((nr), 0, 0, 0, 0, 0, 0)
#define sys1(nr, a) sys.call((nr), SYS_ARG_(a), 0, 0, 0, 0, 0)
#define sys2(nr, a, b) sys.call((nr), SYS_ARG_(a), SYS_ARG_(b), 0, 0, 0, 0)
#define sys3(nr, a, b, c) sys.call((nr), SYS_ARG_(a), SYS_ARG_(b), SYS_ARG_(c), 0, 0, 0)
#define sys4(nr, a, b, c, d) \
	sys.call((nr), SYS_ARG_(a), SYS_ARG_(b), SYS_ARG_(c), SYS_ARG_(d), 0, 0)
#define sys5(nr, a, b, c, d, e) \
	sys.call((nr), SYS_ARG_(a), SYS_ARG_(b), SYS_ARG_(c), SYS_ARG_(d), SYS_ARG_(e), 0)
#define sys6(nr, a, b, c, d, e, f) \
	sys.call((nr), SYS_ARG_(a), SYS_ARG_(b), SYS_ARG_(c), SYS_ARG_(d), SYS_ARG_(e), SYS_ARG_(f))

/* Anonymous memory.  sys_map returns the address, or NULL with the negative
 * errno in *error.  Under the sanitizers these go through libc, which is where
 * those learn that old shadow memory is void. */
#define SYS_MAP_NORESERVE 1u /* reserve addresses only; never locked */
#define SYS_MAP_STACK 2u
void *sys_map(size_t size, unsigned flags, long *error);
void sys_unmap(void *address, size_t size);

/* Names a mapping in /proc/PID/maps; silently nothing where the kernel cannot. */
void sys_name(void *address, size_t size, const char *name);

long sys_futex_wait(const uint32_t *word, uint32_t value, int64_t deadline_ns);
long sys_futex_wake(const uint32_t *word, int count);

#endif
