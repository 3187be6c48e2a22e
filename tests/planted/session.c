/* SPDX-License-Identifier: MIT
 *
 * The library of upgrade.c: libsession, version 1, or 2 with -DVERSION=2.
 */
#include <fcntl.h>
#include <green.h>

int session_user(int id);

#if VERSION == 2
static __attribute__((noinline)) int session_refresh(void)
{
	char c = 0;
	int fd = green_open("/proc/sys/kernel/ostype", O_RDONLY, 0);
	ssize_t n = green_read(fd, &c, 1); /* planted */

	green_close(fd);
	return n == 1 && c ? 1 : 0;
}
#else
static int session_refresh(void)
{
	return 1;
}
#endif

int session_user(int id)
{
	return id >= 0 ? session_refresh() : 0;
}
