/* SPDX-License-Identifier: MIT
 *
 * Names of the system calls that block, or that libraries make.
 */
#include "view.h"

#include <stdio.h>
#include <sys/syscall.h>

#define NAME(call) [SYS_##call] = #call

static const char *const names[] = {
	NAME(accept4),
	NAME(accept),
	NAME(clock_nanosleep),
	NAME(clone),
	NAME(clone3),
	NAME(close),
	NAME(connect),
	NAME(copy_file_range),
	NAME(epoll_pwait),
	NAME(epoll_wait),
	NAME(execve),
	NAME(fallocate),
	NAME(fcntl),
	NAME(fdatasync),
	NAME(flock),
	NAME(fork),
	NAME(fstat),
	NAME(fsync),
	NAME(ftruncate),
	NAME(futex),
	NAME(getdents64),
	NAME(getrandom),
	NAME(io_uring_enter),
	NAME(ioctl),
	NAME(lseek),
	NAME(lstat),
	NAME(madvise),
	NAME(mkdir),
	NAME(mmap),
	NAME(mprotect),
	NAME(mremap),
	NAME(msync),
	NAME(munmap),
	NAME(nanosleep),
	NAME(newfstatat),
	NAME(open),
	NAME(openat2),
	NAME(openat),
	NAME(pause),
	NAME(pipe2),
	NAME(pipe),
	NAME(poll),
	NAME(ppoll),
	NAME(pread64),
	NAME(preadv),
	NAME(pselect6),
	NAME(pwrite64),
	NAME(pwritev),
	NAME(read),
	NAME(readlink),
	NAME(readv),
	NAME(recvfrom),
	NAME(recvmmsg),
	NAME(recvmsg),
	NAME(rename),
	NAME(rt_sigaction),
	NAME(rt_sigprocmask),
	NAME(rt_sigtimedwait),
	NAME(sched_yield),
	NAME(select),
	NAME(semop),
	NAME(semtimedop),
	NAME(sendfile),
	NAME(sendmmsg),
	NAME(sendmsg),
	NAME(sendto),
	NAME(splice),
	NAME(stat),
	NAME(statfs),
	NAME(statx),
	NAME(sync),
	NAME(syncfs),
	NAME(truncate),
	NAME(unlink),
	NAME(vfork),
	NAME(wait4),
	NAME(waitid),
	NAME(write),
	NAME(writev),
};

const char *syscall_text(int number)
{
	static char other[32];

	if (number < 0)
		return "page fault";
	if ((size_t)number < sizeof(names) / sizeof(names[0]) && names[number])
		return names[number];
	snprintf(other, sizeof(other), "syscall %d", number);
	return other;
}
