/* SPDX-License-Identifier: MIT
 *
 * The system calls that are not simply passed on, one a line:
 *
 *	FAST(name, group, what)   fast_NAME(), and the real call when that says CALL_MORE
 *	FULL(name, group, what)   call_NAME()
 *	BOTH(name, group, what)   fast_NAME(), and call_NAME() when that says CALL_MORE
 *
 * No include guard: whoever includes it says what a line becomes.
 */

/* Threads: thread.c, thread_exit.c, fast_thread.c */
BOTH(clone3, CALL_THREADS, "a green thread, if it shall be a thread")
BOTH(clone, CALL_THREADS, "a green thread, if it shall be a thread")
FULL(exit, CALL_THREADS, "ends the green thread")
FULL(sched_yield, CALL_THREADS, "others run first")
FAST(gettid, CALL_THREADS, "the green thread's own")
FAST(set_tid_address, CALL_THREADS, "kept for the end of the green thread")
FAST(set_robust_list, CALL_THREADS, "kept for the end of the green thread")
FAST(get_robust_list, CALL_THREADS, "what was kept")
FAST(rseq, CALL_THREADS, "not to be had: it belongs to an OS thread")
FAST(prctl, CALL_THREADS, "names are the green thread's")

/* Which CPU, in which turn: fast_sched.c.  Workers stay where they are. */
FAST(sched_setaffinity, CALL_THREADS, "remembered")
FAST(sched_getaffinity, CALL_THREADS, "the process's, or what was remembered")
FAST(sched_setscheduler, CALL_THREADS, "no real-time policy for a green thread")
FAST(sched_getscheduler, CALL_THREADS, "the process's")
FAST(sched_setparam, CALL_THREADS, "no effect on a green thread")
FAST(sched_getparam, CALL_THREADS, "the process's")
FAST(sched_setattr, CALL_THREADS, "no effect on a green thread")
FAST(sched_getattr, CALL_THREADS, "the process's")
FAST(sched_rr_get_interval, CALL_THREADS, "the process's")
FAST(getpriority, CALL_THREADS, "the process's")
FAST(setpriority, CALL_THREADS, "no effect on a green thread")

/* Futexes: futex_call.c, fast_futex.c */
BOTH(futex, CALL_THREADS, "a table of green threads that wait")
FULL(futex_waitv, CALL_THREADS, "likewise")
