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

/* Threads: thread.c, fast_thread.c */
FULL(sched_yield, CALL_THREADS, "others run first")
FAST(gettid, CALL_THREADS, "the green thread's own")
