/* SPDX-License-Identifier: MIT
 *
 * Asked by tests/run before the suites of a build: that it runs at all shows that
 * the build's sanitizer does here; exit status 3 says that the kernel refuses
 * io_uring to this process, and standard output why.
 */
#include <errno.h>
#include <linux/io_uring.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

int main(void)
{
	struct io_uring_params params = { 0 };
	long fd = syscall(SYS_io_uring_setup, 1, &params);

	if (fd < 0) {
		printf("io_uring_setup: %s\n", strerror(errno));
		return 3;
	}
	close((int)fd);
	return 0;
}
