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
FAST(prctl, CALL_THREADS, "names, and what set_tid_address said, are the green thread's")

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

/* The memory of thread stacks: fast_stack.c, stack_memory.c */
BOTH(mmap, CALL_THREADS, "MAP_STACK: from one region")
FAST(mprotect, CALL_THREADS, "guards of stacks are marks in page tables")
FAST(munmap, CALL_THREADS, "a stack goes back to its region")
FAST(mremap, CALL_THREADS, "passed on; shared memory is noted")
FAST(shmat, CALL_THREADS, "passed on; shared memory is noted")
FAST(madvise, CALL_THREADS, "an ended thread's stack is emptied where it was used")

/* Descriptors: transfer.c, socket.c, connection.c, splice.c, fast_io.c */
BOTH(read, CALL_FILES, "tried without blocking, then waits for readiness or the disk")
BOTH(write, CALL_FILES, "likewise; into the page cache on the spot")
BOTH(pread64, CALL_FILES, "from the page cache, else by the engine")
BOTH(pwrite64, CALL_FILES, "into the page cache on the spot, else by the engine")
FULL(readv, CALL_FILES, "as read")
FULL(writev, CALL_FILES, "as write")
FULL(preadv, CALL_FILES, "as pread64")
FULL(pwritev, CALL_FILES, "as pwrite64")
FULL(preadv2, CALL_FILES, "as pread64")
FULL(pwritev2, CALL_FILES, "as pwrite64")
BOTH(recvfrom, CALL_SOCKETS, "tried without blocking, then waits for readiness")
BOTH(recvmsg, CALL_SOCKETS, "tried without blocking, then waits for readiness")
BOTH(sendto, CALL_SOCKETS, "tried without blocking, then waits for readiness")
BOTH(sendmsg, CALL_SOCKETS, "tried without blocking, then waits for readiness")
FULL(recvmmsg, CALL_SOCKETS, "tried without blocking, then waits for readiness")
FULL(sendmmsg, CALL_SOCKETS, "tried without blocking, then waits for readiness")
FAST(setsockopt, CALL_SOCKETS, "passed on; time limits are noted")
FULL(accept, CALL_SOCKETS, "by the engine, else by the offload pool")
FULL(accept4, CALL_SOCKETS, "by the engine, else by the offload pool")
FULL(connect, CALL_SOCKETS, "by the engine, else by the offload pool")
FULL(sendfile, CALL_FILES, "to a socket through a buffer, else by the offload pool")
FULL(splice, CALL_FILES, "waits for readiness; pipes without blocking, else by the offload pool")
FULL(tee, CALL_FILES, "without blocking, waits for readiness")
FULL(vmsplice, CALL_FILES, "without blocking, waits for readiness")
FULL(copy_file_range, CALL_FILES, "by the offload pool")

/* Readiness: readiness.c, select.c, aio.c */
BOTH(poll, CALL_READINESS, "waits by the engine")
FULL(ppoll, CALL_READINESS, "waits by the engine")
FULL(select, CALL_READINESS, "waits by the engine")
FULL(pselect6, CALL_READINESS, "waits by the engine")
BOTH(epoll_wait, CALL_READINESS, "waits for the epoll descriptor to be readable")
FAST(epoll_ctl, CALL_READINESS, "passed on; what is waited for is noted")
FULL(epoll_pwait, CALL_READINESS, "waits for the epoll descriptor to be readable")
FULL(epoll_pwait2, CALL_READINESS, "waits for the epoll descriptor to be readable")
FULL(io_uring_setup, CALL_READINESS, "without what binds a ring to one OS thread")
FULL(io_uring_register, CALL_READINESS, "without what binds a ring to one OS thread")
FULL(io_uring_enter, CALL_READINESS, "waits for the ring to be readable")
FULL(io_getevents, CALL_READINESS, "takes what is there; waits on the offload pool")
FULL(io_pgetevents, CALL_READINESS, "takes what is there; waits on the offload pool")

/* Time: sleep.c */
BOTH(nanosleep, CALL_TIME, "a timer of the worker")
BOTH(clock_nanosleep, CALL_TIME, "a timer of the worker, or a timer descriptor")

/* Files and locks: file.c, lock.c, close.c */
FULL(open, CALL_FILES, "a FIFO by the offload pool")
FULL(openat, CALL_FILES, "a FIFO by the offload pool")
FULL(openat2, CALL_FILES, "a FIFO by the offload pool")
FULL(creat, CALL_FILES, "a FIFO by the offload pool")
FULL(fsync, CALL_FILES, "by the engine, else by the offload pool")
FULL(fdatasync, CALL_FILES, "by the engine, else by the offload pool")
FULL(sync, CALL_FILES, "by the offload pool")
FULL(syncfs, CALL_FILES, "by the offload pool")
FULL(sync_file_range, CALL_FILES, "by the offload pool")
FULL(msync, CALL_FILES, "by the offload pool")
FULL(fallocate, CALL_FILES, "by the offload pool")
FULL(truncate, CALL_FILES, "passed on; the caller has the signal that this may earn")
FULL(ftruncate, CALL_FILES, "likewise")
FULL(flock, CALL_FILES, "tried without blocking, then by the offload pool")
BOTH(fcntl, CALL_FILES, "F_SETLKW tried without blocking, then by the offload pool")
FULL(msgsnd, CALL_FILES, "tried without blocking, then by the offload pool")
FULL(msgrcv, CALL_FILES, "tried without blocking, then by the offload pool")
FULL(semop, CALL_FILES, "tried without blocking, then by the offload pool")
FULL(semtimedop, CALL_FILES, "tried without blocking, then by the offload pool")
FULL(mq_timedsend, CALL_FILES, "tried without blocking, then waits for readiness")
FULL(mq_timedreceive, CALL_FILES, "tried without blocking, then waits for readiness")
BOTH(close, CALL_FILES, "does not end what waits; not the runtime's own")
FULL(dup2, CALL_FILES, "likewise for what is replaced")
FULL(dup3, CALL_FILES, "likewise for what is replaced")
FULL(close_range, CALL_FILES, "likewise")

/* Processes: process.c, fast_process.c, children.c */
FULL(fork, CALL_PROCESSES, "the child goes on natively")
FAST(vfork, CALL_PROCESSES, "the child runs natively, with the program's mask")
FULL(execve, CALL_PROCESSES, "with the program's mask")
FULL(execveat, CALL_PROCESSES, "with the program's mask")
FULL(wait4, CALL_PROCESSES, "waits at a pidfd, or on an OS thread")
FULL(waitid, CALL_PROCESSES, "waits at a pidfd, or on an OS thread")

/* The end: tally.c */
FULL(exit_group, CALL_PROCESSES, "after the report, if somebody asked for one")

/* Identity: credentials.c, fs_identity.c */
FULL(setuid, CALL_PROCESSES, "made by every OS thread")
FULL(setgid, CALL_PROCESSES, "made by every OS thread")
FULL(setreuid, CALL_PROCESSES, "made by every OS thread")
FULL(setregid, CALL_PROCESSES, "made by every OS thread")
FULL(setresuid, CALL_PROCESSES, "made by every OS thread")
FULL(setresgid, CALL_PROCESSES, "made by every OS thread")
FULL(setgroups, CALL_PROCESSES, "made by every OS thread")
FULL(setfsuid, CALL_PROCESSES, "the green thread's own")
FULL(setfsgid, CALL_PROCESSES, "the green thread's own")

/* Signals: signal_call.c, fast_signal.c, posix_timer.c */
FULL(rt_sigaction, CALL_SIGNALS, "kept; green-signals has the real handler")
BOTH(rt_sigprocmask, CALL_SIGNALS, "the green thread's own mask")
FULL(sigaltstack, CALL_SIGNALS, "the green thread's own")
FULL(rt_sigpending, CALL_SIGNALS, "with it, or with the kernel")
FULL(rt_sigsuspend, CALL_SIGNALS, "parks")
FULL(pause, CALL_SIGNALS, "parks")
FULL(rt_sigtimedwait, CALL_SIGNALS, "parks")
FULL(kill, CALL_SIGNALS, "to this process: to a green thread at once")
FULL(tkill, CALL_SIGNALS, "to a green thread")
FULL(tgkill, CALL_SIGNALS, "to a green thread")
FULL(rt_sigqueueinfo, CALL_SIGNALS, "to this process: to a green thread at once")
FULL(rt_tgsigqueueinfo, CALL_SIGNALS, "to a green thread")
FULL(signalfd, CALL_SIGNALS, "the kernel's; which signals is noted")
FULL(signalfd4, CALL_SIGNALS, "the kernel's; which signals is noted")
FULL(timer_create, CALL_SIGNALS, "expires for a green thread")
FULL(timer_delete, CALL_SIGNALS, "expires for a green thread")
