/* SPDX-License-Identifier: MIT
 *
 * libgreen: green threads over all cores, for code that looks synchronous.
 *
 * This header holds the runtime, green threads, cancellation and deadlines.
 * green_io.h holds input and output, green_sync.h what green threads wait
 * for one another with; both are included here.
 *
 * Conventions, for every function unless its comment says otherwise:
 *
 *   Errors     The result is >= 0 on success and -errno on failure.  errno is
 *              not part of the contract: it may or may not change.
 *   Switching  "May switch" means that the calling green thread may give its
 *              CPU to another one before the call returns.  A call that is
 *              not said to switch never does.
 *   Context    A call may be made from a green thread or from any OS thread.
 *              In an OS thread a call that would switch blocks that OS thread
 *              instead.  No call may be made from a signal handler.
 *   Cancel     A call that would wait returns -ECANCELED once its green thread
 *              has been cancelled, and -ETIMEDOUT once the time of a deadline
 *              scope has passed.  What can be done without waiting is done (a
 *              free mutex is locked, bytes that are there are read): a loop
 *              that never waits asks green_cancelled().  Calls that say
 *              "shielded" do neither.
 *   Time       Durations and deadlines are nanoseconds of CLOCK_MONOTONIC.
 *   Fork       A child made by fork() has no runtime: its calls behave as
 *              outside a runtime, those that need one return -EOWNERDEAD, and
 *              the parent's handles are stale (-ESRCH).  exec and _exit work.
 *              What other threads were using in the parent (a mutex, channel,
 *              pool or server) may be in any state, locked for ever too: the
 *              child keeps away from it.
 */
#ifndef GREEN_H
#define GREEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
/* Functions and structs may bear one name, as stat(2) does. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wshadow"
#endif

#pragma GCC visibility push(default)

#define GREEN_VERSION_MAJOR 0
#define GREEN_VERSION_MINOR 1
#define GREEN_VERSION "0.1.0"

#define GREEN_US(n) (1000 * (int64_t)(n))
#define GREEN_MS(n) (1000000 * (int64_t)(n))
#define GREEN_S(n) (1000000000 * (int64_t)(n))
#define GREEN_FOREVER INT64_MAX

/* ---- the runtime ------------------------------------------------------- */

enum green_noswitch_mode { /* what a violation of green_noswitch_begin() does */
	                   GREEN_NOSWITCH_LOG =
	                           0, /* a line on standard error, once for each pair of places */
	                   GREEN_NOSWITCH_ABORT = 1,
	                   GREEN_NOSWITCH_COUNT =
	                           2, /* it is counted in green_info(), as in all modes but "off" */
	                   GREEN_NOSWITCH_OFF = 3, /* sections do nothing */
};

#define GREEN_FLIGHT_OFF SIZE_MAX

enum green_engine {
	GREEN_ENGINE_AUTO = 0, /* io_uring, else epoll */
	GREEN_ENGINE_URING = 1,
	GREEN_ENGINE_EPOLL = 2,
};

/* What happens when a green thread runs out of its stack.  In both cases a report on
 * standard error says which, where it was spawned, how large its stack is and what it
 * was doing. */
enum green_overflow {
	GREEN_OVERFLOW_DEFAULT = 0, /* in attributes: as the options say; there: abort */
	GREEN_OVERFLOW_ABORT = 1,   /* the process is killed by SIGSEGV */
	/* That green thread ends, the process goes on: green_join() returns
	 * -EOVERFLOW; a connection of green_serve() is closed; the result of an item
	 * of green_pool_imap() is NULL; green_run() returns -EOVERFLOW if it was the
	 * first thread, all others having been cancelled.
	 * Nothing is unwound: no destructor or clean-up handler runs, memory is not
	 * freed, descriptors stay open, mutexes stay held (in the C library too, as
	 * malloc's: a function of it that was interrupted in the middle may leave
	 * what it was changing unusable), and what others were given of its stack is
	 * no longer there.
	 * Two overflows kill the process even so: in a signal handler; and inside a
	 * call of this library that does not find the rest of its way on the guard,
	 * which it may use up but for a page (hence three pages by default, in the
	 * options; where only attributes ask for it, set guard_size). */
	GREEN_OVERFLOW_END = 2,
};

/* What happens to what a green thread leaves on its stack, before another one gets that
 * stack.  (Registers of the CPU, the heap and what the kernel keeps are not the
 * runtime's to forget; nor is the stack of a thread that has not ended.) */
enum green_scrub {
	GREEN_SCRUB_DEFAULT = 0, /* none */
	GREEN_SCRUB_NONE = 1,    /* it may be found there until it is overwritten */
	/* Pages with anything in them are filled with zeroes. */
	GREEN_SCRUB_DIRTY = 2,
	/* All pages go back to the kernel, so that not even the runtime's cache of stacks
	 * keeps memory.  No safer than dirty against other green threads, and dearer. */
	GREEN_SCRUB_ALWAYS = 3,
};

/* Options of green_init().  Zero means the default.  The variable named
 * beside a field overrides it from the environment, unless the program runs
 * with raised privileges (AT_SECURE). */
struct green_options {
	/* Workers; 0: one per CPU of the affinity mask, within the cgroup's CPU
	 * quota.  At most 1024.  GREEN_WORKERS. */
	unsigned workers;
	/* GREEN_ENGINE=auto|io_uring|epoll. */
	enum green_engine engine;
	/* Virtual bytes of a green thread's stack, guard included, when its
	 * attributes name none; rounded up to a stack class (64 KiB, 256 KiB,
	 * 1 MiB).  0: 64 KiB.  GREEN_STACK_SIZE, with K or M. */
	size_t stack_size;
	/* Guard at the low end of each stack, bytes; rounded up to pages, at most
	 * 48 KiB.  Code compiled without -fstack-clash-protection may step over a
	 * guard that is smaller than its largest frame.  0: one page; three with
	 * GREEN_OVERFLOW_END.  GREEN_GUARD_SIZE, with K. */
	size_t guard_size;
	/* Most green threads alive at once; spawns above it return -EAGAIN.
	 * 0: as many as the address space allows, at most 16,777,216.
	 * GREEN_THREADS_MAX. */
	size_t threads_max;
	/* Most OS threads of the offload pool, 4096 if it says more.  0: 64.
	 * GREEN_OFFLOAD_MAX. */
	unsigned offload_max;
	/* A worker that runs one green thread for longer than this is reported
	 * as stuck (in green_dump(), and on standard error when GREEN_DEBUG has
	 * "stuck").  Time in which the whole process was stopped does not count.
	 * 0: 100 ms.  GREEN_STUCK_MS. */
	int64_t stuck_ns;
	/* Workers are pinned to their CPUs unless set (or GREEN_PIN=0); under greenrun only
	 * by GREEN_PIN=1. */
	bool no_pin;
	/* The stack of a green thread that has been parked for this long, and that
	 * has at most 2 KiB on it, hibernates: it gives its memory back until the
	 * thread goes on or somebody touches it ("userfaultfd" rungs only).  While
	 * memory is short (/proc/pressure/memory, stack_bytes_max) a 64th of it is
	 * enough.  0: 1 s, from when a thousand stacks have been in use at once (and
	 * longer while many come back soon), where guards can be installed (Linux 6.13).
	 * GREEN_FOREVER: never, and userfaultfd is not used.
	 * GREEN_HIBERNATE_MS, where 0 is never.  What the kernel holds stays (buffers registered
	 * with io_uring, O_DIRECT; before Linux 6.8 whatever might be). The calls of green_io.h may
	 * be given memory on the stack of another green thread.  On the rung "userfaultfd" a plain
	 * system call with such a pointer may fail with EFAULT (write to the memory before), and no
	 * OS thread that touches it may block SIGBUS. */
	int64_t hibernate_after_ns;
	/* Memory for stacks, bytes.  A spawn that could exceed it, each thread
	 * counted with the least it takes (a page; hibernated, what is kept of it),
	 * returns -ENOMEM, and from three quarters on stacks hibernate early.
	 * Stacks that grow may exceed it.  0: no bound.  GREEN_STACK_BYTES_MAX, with
	 * K, M or G. */
	size_t stack_bytes_max;
	/* The flight recorder: how many records each worker keeps of who waited where,
	 * for how long and who woke it (green_flight_dump(), greentrace); rounded up to
	 * a power of two, 32 bytes each.  0: 1024.  GREEN_FLIGHT_OFF: none are kept while
	 * no tracer is attached.  GREEN_FLIGHT, where 0 is "off". */
	size_t flight_records;
	/* A signal that writes what green_flight_dump() does to standard error; its
	 * handler is installed by green_init() and taken away by green_fini().  0: none.
	 * GREEN_FLIGHT_SIGNAL, a number. */
	int flight_signal;
	/* GREEN_NOSWITCH=log|abort|count|off. */
	enum green_noswitch_mode noswitch;
	/* GREEN_OVERFLOW=abort|end. */
	enum green_overflow overflow;
	/* GREEN_SCRUB=none|dirty|always.  With the latter two a stack is not handed from
	 * one thread directly to the next, and stacks hibernate less densely. */
	enum green_scrub scrub;
	/* Features not to use, as in GREEN_FEATURES: "-name,-name".  NULL: none.
	 * Names: see green_info().  The string is only read during the call. */
	const char *features;
};

/* Makes the runtime ready: reads the environment, probes the kernel,
 * reserves memory.  NULL means all defaults.  Starts no thread.
 * After mlockall(MCL_FUTURE) stacks and tables are left unlocked: they are
 * address space, of which pages are used as needed.  MCL_CURRENT must come
 * before it, or with MCL_ONFAULT: it would fill them all.
 * Returns 0; -EALREADY when already initialised; -EINVAL for an option or a
 * GREEN_* variable with a bad value (green_error() names it); -ENOMEM when
 * the address space (RLIMIT_AS) or descriptors (-EMFILE) do not suffice;
 * -EOWNERDEAD in a forked child.  Never switches; OS threads only. */
int green_init(const struct green_options *options);

/* Text of the last error of green_init() or green_run() in this process:
 * names the thing at fault and the remedy.  "" when there was none.  Owned by
 * the runtime, valid until the next such call.  Never switches. */
const char *green_error(void);

/* Runs fn(arg) as the first green thread on all workers; the calling OS
 * thread becomes one of them.  Returns when fn has returned and every other
 * green thread has ended: those still alive when fn returns are cancelled
 * first.  The result of fn is stored in *result unless that is NULL.
 * Calls green_init(NULL) when nobody has.  May be called again afterwards.
 * Returns 0; -EBUSY when a run is under way; -EDEADLK when every green thread
 * waits for something that can never happen: no I/O, timer, offload or other
 * OS thread is left that could wake one (a report of who waits for what is
 * written to standard error, then all are cancelled; those that wait even so,
 * in a shield, are given up: they never run again, their handles are stale, what
 * they held stays held, their stacks are kept until green_fini()); -EAGAIN,
 * -ENOMEM, -EMFILE when the workers cannot be started (nothing was run); -EOWNERDEAD
 * in a forked child; -EPERM from a green thread; -EOVERFLOW, see enum green_overflow.
 * OS threads only. */
int green_run(void *(*fn)(void *), void *arg, void **result);

/* Gives back what green_init() took.  Returns 0; -EBUSY while green_run() is
 * under way; -ENXIO before green_init().  OS threads only.  After it every
 * call that needs a runtime returns -ENXIO until the next green_init().  It does
 * not wait for the kernel or a name server to end what green_open() or
 * green_connect_host() had begun when it was cancelled: a thread of the offload
 * pool with that goes on, and ends after it. */
int green_fini(void);

struct green_info {
	char version[16];
	unsigned workers;        /* running, or to be started */
	char engine[16];         /* "io_uring", "epoll" */
	char engine_reason[128]; /* why this one, when another was preferred */
	/* The rung in use: "userfaultfd-kernel", "userfaultfd", "guard-install",
	 * "mprotect", "none"; and why not a better one. */
	char stacks[32];
	char stacks_reason[128];
	size_t stack_size; /* default class, bytes */
	size_t threads_max;
	size_t threads;           /* alive now */
	size_t stacks_used;       /* stacks that back a started green thread now */
	size_t stacks_hibernated; /* of these, without memory of their own */
	size_t hibernated_bytes;  /* what is kept of those */
	/* Of the run that is under way, or else of the last one; all workers. */
	size_t threads_peak; /* as seen a hundred times a second */
	uint64_t switches;
	uint64_t spawns;    /* with the first thread */
	uint64_t steals;    /* times a worker took green threads from another */
	uint64_t stuck;     /* times a worker was found stuck */
	uint64_t noswitch;  /* calls that may switch entered in a green_noswitch section */
	char features[512]; /* "+name" in use, "-name" not there or switched off */
};

/* Fills *info.  Returns 0, or -ENXIO before green_init().  Never switches. */
int green_info(struct green_info *info);

/* Writes one line per green thread to fd: id, name, state, what it waits for
 * and for how long, who spawned it, one line per worker, and one for each place
 * that spawned: how deep the stacks of its threads were used, as far as they have
 * been looked at (a sample when they end; parked ones as they are).  A snapshot, not
 * atomic.  Never switches; blocks as write(2) does.
 * Returns 0 or -errno of the write. */
int green_dump(int fd);

/* Writes what the flight recorder of each worker holds to fd, oldest first: a line
 * for each time a green thread went on after it had waited, with when that was, which
 * one, what for and where in the program, how long it waited, how long of that it
 * was ready and had no CPU, and who woke it.  (A yield is recorded only while a
 * tracer is attached.)  A snapshot, not atomic.  May be called from a signal handler
 * too.  Never switches; blocks as write(2) does.
 * Returns 0 or -errno of the write; -ENODATA when nothing is kept. */
int green_flight_dump(int fd);

/* ---- green threads ----------------------------------------------------- */

/* A green thread.  Holds a generation: a handle whose thread has ended and
 * been joined (or was detached) is stale, and calls with it return -ESRCH. */
typedef uint64_t green_t;
#define GREEN_NONE ((green_t)0)

typedef void *(*green_fn)(void *arg);

struct green_serial; /* a serial group */

/* Attributes of green_spawn().  Zero means the default. */
struct green_attr {
	const char *name;  /* copied, at most 31 bytes; NULL: the function's symbol */
	size_t stack_size; /* as in green_options; above 1 MiB: -EINVAL */
	/* May run on any worker at any time, not only before it first runs.  Its
	 * code promises to keep no address of thread-local data (errno is one)
	 * across a call that may switch. */
	bool migratable;
	bool detached;
	struct green_serial *serial;
	/* As in green_options, for this thread; rounded up to 1, 2, 4, 8 … ms, at most six days.
	 * 0: as the options say.  Without effect when those say never. */
	int64_t hibernate_after_ns;
	enum green_overflow overflow; /* 0: as the options say */
	/* After green_intercept(): shares its worker's thread-local storage, as all do without
	 * interception.  For code of the program's own, which keeps nothing there across
	 * calls that may switch, and holds none of libc's locks then (stdio's are).  It may
	 * not be migratable unless it keeps that promise anyway. */
	bool shared_tls;
};

/* Starts fn(arg) as a detached green thread.  Returns 0, -EAGAIN at
 * threads_max, -ENOMEM, -ENXIO outside green_run() (before green_init(), after
 * the run, and in OS threads from when the run's first function has returned),
 * -EOWNERDEAD in a forked child.  Never switches.  Any thread may call it while
 * green_run() is under way.  What green threads spawn while a run ends is born
 * cancelled: one that always spawns another keeps the run from ending. */
int green_go(green_fn fn, void *arg);

/* As green_go(), with attributes (NULL: none), and joinable unless they say
 * detached.  Stores the handle in *thread (NULL only when detached).  A
 * joinable green thread must be joined or detached; its descriptor is kept
 * until then.  Additionally -EINVAL for bad attributes: a stack above 1 MiB,
 * migratable together with serial, a negative time, thread == NULL without
 * detached. */
int green_spawn(green_t *thread, const struct green_attr *attr, green_fn fn, void *arg);

/* Waits until the green thread has ended and stores its result in *result
 * unless NULL.  May switch.  0; -ESRCH for a stale or invalid handle (a second
 * join of the same thread too); -EDEADLK for the caller's own; -EINVAL when
 * detached or when somebody else is joining it; -EOVERFLOW when it has ended by an
 * overflow of its stack (enum green_overflow): it has been joined, its result is NULL. */
int green_join(green_t thread, void **result);

/* Lets the green thread's descriptor go when it ends.  0; -ESRCH; -EINVAL when
 * already detached or being joined.  Never switches. */
int green_detach(green_t thread);

/* Lets others run.  May switch.  Returns 0; -ECANCELED or -ETIMEDOUT as every
 * call that may switch, after having yielded.  OS threads: sched_yield. */
int green_yield(void);

/* The calling green thread, or GREEN_NONE in an OS thread. */
green_t green_self(void);

/* Waits for duration_ns (<= 0: like green_yield()).  May switch. Returns 0,
 * -ECANCELED, or -ETIMEDOUT when a deadline scope passed first. */
int green_sleep(int64_t duration_ns);

/* Name of a green thread for reports; GREEN_NONE means the caller.  name is
 * copied, at most 31 bytes.  0, -ESRCH, -ENOMEM.  Never switches. */
int green_set_name(green_t thread, const char *name);

/* Copies the name (or the symbol of its function) into buf, NUL-terminated.
 * 0, -ESRCH.  Never switches. */
int green_get_name(green_t thread, char *buf, size_t size);

/* The worker the caller runs on, from 0; -1 in an OS thread.  May be out of
 * date by the time it is used in a migratable green thread. */
int green_worker(void);

/* Nanoseconds of CLOCK_MONOTONIC. Never switches. */
int64_t green_now(void);

/* ---- serial groups ----------------------------------------------------- */

/* Green threads of one serial group share a worker and never run in parallel:
 * between two calls that may switch, a member has the group's data to itself,
 * as code has under Eventlet.  NULL when memory is short or outside
 * green_run(). */
struct green_serial *green_serial_new(void);

/* Frees the group.  Its members may still run: the group lives until the last
 * has ended.  NULL is ignored. */
void green_serial_free(struct green_serial *group);

/* ---- cancellation and deadlines ---------------------------------------- */

/* Cancels a green thread: the call it waits in returns -ECANCELED, and so does
 * every later call of it that would wait, until it ends.  An operation that
 * has already completed keeps its result: the cancellation then shows in the
 * next call.  0; -ESRCH.  Never switches. */
int green_cancel(green_t thread);

/* True when the caller has been cancelled and is not shielded. */
bool green_cancelled(void);

/* Between begin and end, calls of this green thread ignore cancellation and
 * deadline scopes opened outside the shield (scopes opened inside it count):
 * for clean-up that must wait.  Nests; must be ended in the opposite order; the
 * struct lies in the caller's frame.  In OS threads both do nothing; so they do
 * when memory is short.  Neither switches. */
struct green_shield {
	int64_t saved_deadline_ns;
};
void green_shield_begin(struct green_shield *shield);
void green_shield_end(struct green_shield *shield);

/* A section in which this green thread shall not give up its CPU, for code that
 * relies on nobody else running meanwhile.  Entering any call that may switch, be it
 * that it would not have to, violates it: a report names the call and the begin, or
 * the process ends, or it is counted only (green_options.noswitch, GREEN_NOSWITCH).
 * The call is then made as usual.  Nests; must be ended by the thread that began it,
 * in the opposite order; the struct lies in the caller's frame.  In OS threads, and
 * in mode "off", both do nothing; so they do when memory is short.  Until the first
 * section of a process, sections cost nothing; from then on a function call in each
 * call that may switch. Never switches. */
struct green_noswitch {
	void *outer;
};
void green_noswitch_begin(struct green_noswitch *section);
void green_noswitch_end(struct green_noswitch *section);

/* A scope of time.  Between begin and end every call of this green thread that
 * would wait returns -ETIMEDOUT once timeout_ns have passed since begin.
 * Scopes nest: the earliest deadline counts.  timeout_ns <= 0 has passed at
 * once, GREEN_FOREVER never passes.  Scopes must be ended in the order opposite
 * to their beginning, by the thread that began them; the struct lies in the
 * caller's frame.  green_deadline_end() returns true when this scope's own
 * time had passed. Works in OS threads too. Never switches. */
struct green_deadline {
	int64_t outer_deadline_ns;
	int64_t own_deadline_ns;
};
void green_deadline_begin(struct green_deadline *scope, int64_t timeout_ns);
bool green_deadline_end(struct green_deadline *scope);

/* ---- what can only block ----------------------------------------------- */

/* Runs fn(arg) on an OS thread of an elastic, bounded pool while other green
 * threads go on; returns fn's result in *result (unless NULL) when fn has
 * returned.  May switch; shielded: returns only after fn.  In an OS thread
 * calls fn directly.  0; -EAGAIN when no pool thread exists and none can be
 * started; -ECANCELED or -ETIMEDOUT when that was so before fn was started. */
int green_offload(green_fn fn, void *arg, void **result);

#include <green_io.h>
#include <green_sync.h>
#include <green_intercept.h>

#pragma GCC visibility pop

#ifdef __cplusplus
#pragma GCC diagnostic pop
}
#endif
#endif
