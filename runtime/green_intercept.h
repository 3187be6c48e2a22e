/* SPDX-License-Identifier: MIT
 *
 * libgreen: code that never heard of green threads, on green threads.
 *
 * With interception on, the process's system calls pass the runtime first: threads that
 * pthread_create(3) makes are green threads, and calls that would block park one instead.
 * x86-64 only.  Included by green.h.
 */
#include <green.h> /* which includes this file, behind what it needs */

#ifndef GREEN_INTERCEPT_H
#define GREEN_INTERCEPT_H

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Makes the calling OS thread worker 0, starts the others and interception, and returns
 * as a green thread, on the same stack.  Ends with the process.  For libgreenrun.so,
 * which calls it before the program's first thread is made.
 *
 * Options come from the environment (GREEN_*).  0; -EALREADY; -EBUSY during green_run();
 * -EPERM on any thread but the process's first; -ENOTSUP where the CPU or the build cannot,
 * or what green_init() and green_run() return; green_error() says why, and the process is as
 * it was. */
int green_intercept_start(void);

/* ---- in a program that links libgreen: link mode ---------------------------------
 *
 * Libraries that block (a driver of a database, a resolver, stdio) then park the green
 * thread that calls them instead.  Every green thread that may run their code, which is
 * each that is spawned without green_attr.shared_tls, gets thread-local storage of its own,
 * as a thread of libc's has it: errno, __thread variables, OpenSSL's queue of errors and
 * pthread_getspecific(3) are its own, key destructors run when it ends, and it may be
 * migratable without a promise.  Its stack is libc's then, at least as large as was asked
 * for, and does not hibernate; green_attr.overflow has no effect on it.  That costs about
 * 4 us a thread that is spawned and ended (0.1 us without), and 8 KB of memory instead of
 * 4 ("greenbench link").
 *
 *  - A cancel and a deadline scope end an intercepted call as they end one of libgreen's:
 *    it fails, errno is ECANCELED or ETIMEDOUT.  What waits for a lock, a condition, a
 *    semaphore of libc's or for a thread (futexes) is not ended by them: those functions
 *    could not say so.
 *  - libc's locks work between all: green threads, those with shared_tls, OS threads, the
 *    offload pool; sem_post(3) in a handler wakes a green thread.  By dispatch alone (see
 *    green_intercept()) what OS threads of the program's wake is not seen: use green_sync.h
 *    between those and green threads there.
 *  - Masks and handlers of signals are the OS threads', as without interception, but that a
 *    green thread's mask goes with it.  A handler runs as plain code of the OS thread that it
 *    interrupts, must not leave by longjmp(3), and ends no wait.  A signal sent to a green
 *    thread (pthread_kill(3), raise(3)) goes to the worker where it is; pthread_cancel(3) is
 *    seen at its next call, and wakes nobody.  ppoll(2) and the like with a mask, sigwait(3)
 *    and pause(2) hold up their worker.  SIGSYS is the library's.
 *  - The child of fork(2) goes on as plain code.
 *  - The runtime does not report deadlocks, and never preempts.
 */
enum green_intercept_set {
	GREEN_INTERCEPT_SOCKETS = 1,    /* connect, accept, recv, send … */
	GREEN_INTERCEPT_READINESS = 2,  /* poll, select, epoll_wait … */
	GREEN_INTERCEPT_TIME = 4,       /* nanosleep and what rests on it */
	GREEN_INTERCEPT_FILES = 8,      /* read, write, pipes and terminals, locks, fsync … */
	GREEN_INTERCEPT_THREADS = 16,   /* pthread_create(3) makes green threads */
	GREEN_INTERCEPT_PROCESSES = 32, /* wait4, waitid: system(3), pclose(3) … */
	GREEN_INTERCEPT_ALL = 63,
};

/* Has these kinds of system calls intercepted, from the next green_run() on until the
 * process ends.  Futexes always are, on which locks rest.  GREEN_INTERCEPT in the environment
 * says how; libc can be rewritten only while the caller is the one thread of the process,
 * best before green_init(): else every call is dispatched, which is slower (a microsecond or
 * two each).  Does not switch.  Once a process, in an OS thread, outside green_run().
 *
 * 0; -EINVAL for an empty or unknown set, and for a bad GREEN_INTERCEPT; -EALREADY; -EBUSY
 * during green_run(), or where GREEN_INTERCEPT asks for rewriting too late; -ENOTSUP where
 * CPU, kernel or build cannot, and with GREEN_INTERCEPT=off; -EPERM and the like where the
 * system forbids it; -ENOMEM.  green_error() says why. */
int green_intercept(unsigned set);
int green_intercept_all(void);

/* Leaves the calls of that library (its file's name up to a dot or a dash, such as "libpq")
 * as they are, those that it makes through functions of libc included: the nearest caller
 * outside libc decides, as far as the stack shows.  Futexes stay intercepted.  Does not
 * switch.  Outside green_run(), when the library is loaded.  Each intercepted call is slower
 * by some 100 ns then.  0; -ENOENT: no such library; -EINVAL; -EBUSY; -ENOMEM: more than
 * 512 objects; -ENOTSUP. */
int green_intercept_exempt(const char *library);

/* Is it intercepted?  The name of a system call ("poll", "futex"), or of a common function
 * that makes one ("recv", "sleep", "pthread_create").  Does not switch.  Anywhere but in a
 * signal handler. */
bool green_is_intercepted(const char *name);

/* Between these the caller is plain code of its OS thread: nothing is intercepted, and
 * functions of libgreen take it for no green thread.  Its worker does nothing else
 * meanwhile.  In green threads; elsewhere, and without interception, nothing happens.  May
 * be nested.  Neither switches; do not end the thread in between.  0; the second: -EINVAL
 * without the first. */
int green_blocking_begin(void);
int green_blocking_end(void);

/* What interception rests on, for reports. */
struct green_intercept_info {
	bool on;             /* system calls are intercepted */
	bool dispatch;       /* by Syscall User Dispatch, too: those of all code */
	unsigned sites;      /* system calls that were rewritten, in libc and beside it */
	unsigned sites_left; /* for which there was no room */
	uint64_t dispatched; /* calls that only dispatch saw, so far */
	char text[256];      /* the same in words, with the reason where something is off */
};
/* 0, or -ENOTSUP in a build that cannot intercept.  Does not switch; anywhere but in a
 * signal handler. */
int green_intercept_info(struct green_intercept_info *info);

#ifdef __cplusplus
}
#endif

#endif
